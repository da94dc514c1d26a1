//! Qwen3 (dense): Qwen2 without its biases, with a norm on each query and key head.
//!
//! Must not know: the other families, except that Qwen3 spells its window as Qwen2 does.

use serde_json::{Map, Value};

use super::{Family, Gguf, qwen2};
use crate::error::Result;
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::{Defaults, Settings, llama_kind};

pub const FAMILY: Family = Family {
    name: "qwen3",
    architecture: "Qwen3ForCausalLM",
    from_config,
    to_config,
    gguf: Some(Gguf { architecture: "qwen3", permuted: false, finish: None }),
};

fn from_config(settings: &Settings<'_>) -> Result<DecoderConfig> {
    let defaults = Defaults { kv_heads: Some(32), head_dim: Some(128), context: 32_768 };
    let config = settings.decoder(FAMILY.name, &defaults)?;
    let attention_bias = settings.flag_or("attention_bias", false)?;
    let config = DecoderConfig { qkv_bias: attention_bias, o_bias: attention_bias, qk_norm: true, ..config };
    qwen2::with_windows(settings, config)
}

fn to_config(config: &DecoderConfig) -> Option<Map<String, Value>> {
    if !config.qk_norm || config.qkv_bias != config.o_bias || config.mlp_bias {
        return None;
    }
    let mut map = llama_kind(config)?;
    map.extend(qwen2::window_keys(config)?);
    if config.o_bias {
        map.insert("attention_bias".into(), true.into());
    }
    Some(map)
}
