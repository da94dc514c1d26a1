//! The text models of Gemma 3: five layers with a window to one without, a rope of its own for each kind, and norms on
//! queries and keys.
//!
//! Must not know: the other families, except for what Gemma 2 shares with it.

use serde_json::{Map, Value, json};

use super::{Family, Gguf, Header, gemma2, pattern};
use crate::error::Result;
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::{self, Settings};
use crate::model::arch::rope::{Rope, RopeScaling};

pub const FAMILY: Family = Family {
    name: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    from_config,
    to_config,
    gguf: Some(Gguf { architecture: "gemma3", permuted: false, finish: Some(from_gguf) }),
};

/// Base frequencies where config.json is silent.
const GLOBAL: f64 = 1e6;
const LOCAL: f64 = 1e4;

fn from_config(settings: &Settings<'_>) -> Result<DecoderConfig> {
    let (global, local) = ropes(settings, settings.context(&gemma2::DEFAULTS)?)?;
    let config = gemma2::decoder(settings, FAMILY.name, &gemma2::DEFAULTS, global)?;
    let every = settings.size_if("sliding_window_pattern")?.unwrap_or(6);
    let slides = settings.layer_types(config.layers())?.unwrap_or_else(|| pattern(config.layers(), every));
    let logit_cap = gemma2::cap(settings, "final_logit_softcapping", None)?;
    let config = DecoderConfig { qk_norm: true, logit_cap, ..config };
    Ok(with_local_rope(gemma2::with_windows(settings, config, &slides)?, &slides, &local))
}

/// The ropes of layers that see everything and of those with a window, in either spelling.
fn ropes(settings: &Settings<'_>, context: usize) -> Result<(Rope, Rope)> {
    let (global, local) =
        (settings.number_or("rope_theta", GLOBAL)?, settings.number_or("rope_local_base_freq", LOCAL)?);
    let Some(parameters) = settings.get("rope_parameters") else {
        return Ok((
            settings.rope_of("rope_scaling", settings.get("rope_scaling"), global, context)?,
            Rope::plain(local),
        ));
    };
    let kinds = ["full_attention", "sliding_attention"];
    let by_kind = parameters.as_object().filter(|map| map.keys().all(|key| kinds.contains(&key.as_str())));
    let Some(by_kind) = by_kind else {
        return Err(
            settings.refuse("rope_parameters", "it must hold full_attention and sliding_attention, and nothing else")
        );
    };
    if settings.get("rope_scaling").is_some() {
        return Err(
            settings.refuse("rope_scaling", "rope_parameters says the same in another spelling; keep one of them")
        );
    }
    let read = |kind: &str, theta| {
        settings.rope_of("rope_parameters", by_kind.get(kind).filter(|value: &&Value| !value.is_null()), theta, context)
    };
    Ok((read("full_attention", global)?, read("sliding_attention", local)?))
}

/// Gives the layers that slide the other rope.
fn with_local_rope(mut config: DecoderConfig, slides: &[bool], local: &Rope) -> DecoderConfig {
    for (block, slides) in config.blocks.iter_mut().zip(slides) {
        if *slides {
            block.rope = local.clone();
        }
    }
    config
}

fn to_config(config: &DecoderConfig) -> Option<Map<String, Value>> {
    let of =
        |slides: bool| config.blocks.iter().find(|block| block.window.is_some() == slides).map(|block| &block.rope);
    let (global, local) = (Rope::plain(GLOBAL), Rope::plain(LOCAL));
    let (global, local) = (of(false).unwrap_or(&global), of(true).unwrap_or(&local));
    if !config.qk_norm || config.attention_cap.is_some() || local.scaling != RopeScaling::None {
        return None;
    }
    let mut map = gemma2::keys(config, global, local)?;
    map.extend(config_json::rope_keys(global, config.context)?);
    map.insert("rope_local_base_freq".into(), json!(local.theta));
    map.insert("final_logit_softcapping".into(), json!(config.logit_cap));
    // transformers before 4.53 reads no layer_types
    let slides: Vec<bool> = config.blocks.iter().map(|block| block.window.is_some()).collect();
    let every = slides.iter().position(|slides| !slides).map_or(slides.len() + 1, |first| first + 1);
    if pattern(slides.len(), every) == slides {
        map.insert("sliding_window_pattern".into(), json!(every));
    }
    Some(map)
}

fn from_gguf(header: &dyn Header, config: DecoderConfig) -> Result<DecoderConfig> {
    let mut config = gemma2::scaled_by_size(gemma2::as_gemma(config), 62);
    config.logit_cap = header.number("final_logit_softcapping")?;
    let Some(window) = header.size("attention.sliding_window")?.filter(|width| *width > 0) else { return Ok(config) };
    let slides = header.sliding(config.layers())?;
    let slides = slides.unwrap_or_else(|| pattern(config.layers(), 6));
    let local = Rope::plain(header.number("rope.freq_base_swa")?.unwrap_or(LOCAL));
    for (block, slides) in config.blocks.iter_mut().zip(&slides) {
        block.window = Some(window).filter(|_| *slides);
    }
    Ok(with_local_rope(config, &slides, &local))
}
