//! Gemma 2: a window in every second layer, norms on both sides of attention and of the MLP, soft caps.
//!
//! What Gemma 3 shares with it is here too. Must not know: the other families.

use serde_json::{Map, Value, json};

use super::{Family, Gguf, Header, pattern};
use crate::error::Result;
use crate::model::arch::config::{Block, DecoderConfig, Gate, Norms};
use crate::model::arch::config_json::{self, Defaults, Settings};
use crate::model::arch::rope::Rope;

pub const FAMILY: Family = Family {
    name: "gemma2",
    architecture: "Gemma2ForCausalLM",
    from_config,
    to_config,
    gguf: Some(Gguf { architecture: "gemma2", permuted: false, finish: Some(from_gguf) }),
};

/// What transformers assumes for both generations.
pub(super) const DEFAULTS: Defaults = Defaults { kv_heads: Some(4), head_dim: Some(256), context: 131_072 };

fn from_config(settings: &Settings<'_>) -> Result<DecoderConfig> {
    let defaults = Defaults { context: 8192, ..DEFAULTS };
    let rope = settings.rope(settings.context(&defaults)?)?;
    let config = decoder(settings, FAMILY.name, &defaults, rope)?;
    let config = DecoderConfig {
        attention_cap: cap(settings, "attn_logit_softcapping", Some(50.0))?,
        logit_cap: cap(settings, "final_logit_softcapping", Some(30.0))?,
        ..config
    };
    // published files have it beside sliding_window; transformers reads the latter alone
    settings.get("sliding_window_size");
    let slides = settings.layer_types(config.layers())?.unwrap_or_else(|| pattern(config.layers(), 2));
    with_windows(settings, config, &slides)
}

/// A soft cap. Absent means the default, null means none.
pub(super) fn cap(settings: &Settings<'_>, key: &'static str, default: Option<f64>) -> Result<Option<f64>> {
    match settings.raw(key) {
        None => Ok(default),
        Some(Value::Null) => Ok(None),
        Some(_) => settings.number_or(key, 0.0).map(Some),
    }
}

/// The converter writes nothing about how attention is scaled; llama.cpp knows the 27B by its layers.
fn from_gguf(header: &dyn Header, config: DecoderConfig) -> Result<DecoderConfig> {
    let slides = header.sliding(config.layers())?;
    let slides = slides.unwrap_or_else(|| pattern(config.layers(), 2));
    let window = Some(header.size("attention.sliding_window")?.unwrap_or(4096));
    let mut config = DecoderConfig {
        attention_cap: Some(header.number("attn_logit_softcapping")?.unwrap_or(50.0)),
        logit_cap: Some(header.number("final_logit_softcapping")?.unwrap_or(30.0)),
        ..as_gemma(config)
    };
    for (block, slides) in config.blocks.iter_mut().zip(slides) {
        block.window = window.filter(|_| slides);
    }
    Ok(scaled_by_size(config, 46))
}

fn to_config(config: &DecoderConfig) -> Option<Map<String, Value>> {
    if config.qk_norm {
        return None;
    }
    let rope = &config.blocks.first()?.rope;
    let mut map = keys(config, rope, rope)?;
    map.extend(config_json::rope_keys(rope, config.context)?);
    map.insert("attn_logit_softcapping".into(), json!(config.attention_cap));
    map.insert("final_logit_softcapping".into(), json!(config.logit_cap));
    Some(map)
}

/// What [`decoder`] and [`with_windows`] read as this decoder, if they read it at all: a layer with a window has the rope
/// `local`, another `global`.
pub(super) fn keys(config: &DecoderConfig, global: &Rope, local: &Rope) -> Option<Map<String, Value>> {
    let windows: Vec<usize> = config.blocks.iter().filter_map(|block| block.window).collect();
    let window = windows.first().copied().unwrap_or(4096);
    let block = |window: Option<usize>| {
        let rope = if window.is_some() { local } else { global };
        Block { window, rope: rope.clone(), norms: Norms::Around, gate: Gate::GeluTanh }
    };
    let scalar = config.scale().powi(-2).round();
    let same = config.blocks.iter().all(|found| *found == block(found.window))
        && windows.iter().all(|width| *width == window)
        && (config.qkv_bias, config.mlp_bias) == (config.o_bias, false)
        && *config == as_gemma(config.clone())
        && config.attention_scale == Some(scalar.sqrt().recip());
    let kind = |block: &Block| if block.window.is_some() { "sliding_attention" } else { "full_attention" };
    let kinds: Vec<&str> = config.blocks.iter().map(kind).collect();
    let said = json!({
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "attention_bias": config.o_bias,
        "query_pre_attn_scalar": scalar as u64, "sliding_window": window, "layer_types": kinds,
    });
    let mut map = config_json::common(config);
    map.extend(said.as_object().filter(|_| same)?.clone());
    Some(map)
}

/// What both generations have, as config.json says it.
pub(super) fn decoder(settings: &Settings<'_>, name: &str, defaults: &Defaults, rope: Rope) -> Result<DecoderConfig> {
    for key in ["hidden_activation", "hidden_act"] {
        // the second is in published files, and has no effect in transformers
        if settings.get(key).is_some_and(|name| !matches!(name.as_str(), Some("gelu_pytorch_tanh"))) {
            return Err(settings.refuse(key, "only \"gelu_pytorch_tanh\" is supported"));
        }
    }
    let config = as_gemma(settings.sizes(name, defaults, rope)?);
    let attention_bias = settings.flag_or("attention_bias", false)?;
    let scalar = settings.number_or("query_pre_attn_scalar", 256.0)?;
    Ok(DecoderConfig {
        qkv_bias: attention_bias,
        o_bias: attention_bias,
        tied_head: settings.flag_or("tie_word_embeddings", true)?,
        attention_scale: Some(scalar.sqrt().recip()),
        ..config
    })
}

/// A decoder of Llama's kind as both Gemmas change it.
pub(super) fn as_gemma(config: DecoderConfig) -> DecoderConfig {
    let block = |block| Block { norms: Norms::Around, gate: Gate::GeluTanh, ..block };
    DecoderConfig {
        norm_offset: true,
        embedding_scale: Some((config.hidden_size as f64).sqrt()),
        blocks: config.blocks.into_iter().map(block).collect(),
        ..config
    }
}

/// Attention's scale where a file does not say it: by the width of a head, and in the largest model, which has this many
/// layers, by what a head would be wide if hidden_size were shared.
pub(super) fn scaled_by_size(config: DecoderConfig, layers_of_largest: usize) -> DecoderConfig {
    let largest = config.layers() == layers_of_largest;
    let width = if largest { config.hidden_size / config.heads } else { config.head_dim };
    DecoderConfig { attention_scale: Some((width as f64).sqrt().recip()), ..config }
}

/// Gives the layers that slide their window.
pub(super) fn with_windows(
    settings: &Settings<'_>,
    mut config: DecoderConfig,
    slides: &[bool],
) -> Result<DecoderConfig> {
    let window = match settings.raw("sliding_window") {
        None => Some(4096),
        Some(_) => settings.size_if("sliding_window")?,
    };
    if window.is_none() && slides.contains(&true) {
        return Err(settings.refuse("sliding_window", "layers of the type sliding_attention need a window"));
    }
    for (block, slides) in config.blocks.iter_mut().zip(slides) {
        block.window = window.filter(|_| *slides);
    }
    Ok(config)
}
