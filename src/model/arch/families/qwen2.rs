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
    Ok(DecoderConfig { qkv_bias: true, sliding_window: window(settings, config.layers)?, ..config })
}

/// `use_sliding_window` switches the window on for the layers from `max_window_layers` upwards.
pub(super) fn window(settings: &Settings<'_>, layers: usize) -> Result<Option<usize>> {
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
    if settings.get("layer_types").is_some() {
        // the list decides; a window that no layer uses is none
        return settings.window(layers, width).or_else(|error| settings.window(layers, None).map_err(|_| error));
    }
    match width {
        Some(width) if from == 0 => Ok(Some(width)),
        Some(_) if from < layers as u64 => Err(settings.refuse(
            "max_window_layers",
            &format!("with use_sliding_window it splits the {layers} layers in two kinds, which is not supported"),
        )),
        _ => Ok(None),
    }
}
