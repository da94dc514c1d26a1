//! Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a window over the past that is mostly off.
//!
//! Must not know: the other families (Qwen3 borrows what is here on windows).

use serde_json::{Map, Value, json};

use super::{Family, Gguf};
use crate::error::Result;
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::{Defaults, Settings, llama_kind};

pub const FAMILY: Family = Family {
    name: "qwen2",
    architecture: "Qwen2ForCausalLM",
    from_config,
    to_config,
    gguf: Some(Gguf { architecture: "qwen2", permuted: false, finish: None }),
};

fn from_config(settings: &Settings<'_>) -> Result<DecoderConfig> {
    let config = settings.decoder(FAMILY.name, &Defaults { kv_heads: Some(32), head_dim: None, context: 32_768 })?;
    with_windows(settings, DecoderConfig { qkv_bias: true, ..config })
}

/// Sets the layers' windows: those from `max_window_layers` on slide, unless `layer_types` lists them.
pub(super) fn with_windows(settings: &Settings<'_>, mut config: DecoderConfig) -> Result<DecoderConfig> {
    let on = settings.flag_or("use_sliding_window", false)?;
    let width = match settings.raw("sliding_window") {
        None => Some(4096),
        Some(_) => settings.size_if("sliding_window")?,
    };
    let from = settings.raw("max_window_layers").map_or(Some(28), |value| value.as_u64());
    let Some(from) = from else {
        return Err(settings.refuse("max_window_layers", "it must be a whole number"));
    };
    let width = width.filter(|_| on);
    let types = settings.layer_types(config.layers())?;
    for (layer, block) in config.blocks.iter_mut().enumerate() {
        let slides = types.as_ref().map_or(layer as u64 >= from, |types| types[layer]);
        block.window = width.filter(|_| slides);
        if types.is_some() && slides && width.is_none() {
            let why = "a sliding_attention layer needs use_sliding_window and a sliding_window";
            return Err(settings.refuse("layer_types", why));
        }
    }
    Ok(config)
}

fn to_config(config: &DecoderConfig) -> Option<Map<String, Value>> {
    if !config.qkv_bias || config.o_bias || config.mlp_bias || config.qk_norm {
        return None;
    }
    let mut map = llama_kind(config)?;
    map.extend(window_keys(config)?);
    Some(map)
}

/// What [`with_windows`] reads as these windows. Silence means none; windows of two widths cannot be said.
pub(super) fn window_keys(config: &DecoderConfig) -> Option<Map<String, Value>> {
    let windows: Vec<Option<usize>> = config.blocks.iter().map(|block| block.window).collect();
    let Some(from) = windows.iter().position(Option::is_some) else { return Some(Map::new()) };
    let width = windows.iter().flatten().next()?;
    if windows.iter().flatten().any(|other| other != width) {
        return None;
    }
    let mut keys =
        vec![("sliding_window", json!(width)), ("use_sliding_window", json!(true)), ("max_window_layers", json!(from))];
    if windows[from..].contains(&None) {
        let kind = |window: &Option<usize>| if window.is_some() { "sliding_attention" } else { "full_attention" };
        keys.push(("layer_types", windows.iter().map(kind).collect()));
    }
    Some(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}
