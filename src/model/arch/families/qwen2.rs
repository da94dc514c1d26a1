//! Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a window over the past that is mostly off.
//!
//! Must not know: the other families (Qwen3 borrows [`window`], which is Qwen2's).

use super::{Family, Gguf};
use crate::error::Result;
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::{Defaults, Settings};

pub const FAMILY: Family = Family {
    name: "qwen2",
    architecture: "Qwen2ForCausalLM",
    from_config,
    gguf: Some(Gguf { architecture: "qwen2", permuted: false }),
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
