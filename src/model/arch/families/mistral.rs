//! Mistral 7B and its kin (MD-Judge among them): Llama with a window over the past.
//!
//! Its GGUF files say `llama`, so there is no GGUF mapping here. Must not know: the other families.

use serde_json::{Map, Value, json};

use super::Family;
use crate::error::Result;
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::{Defaults, Settings, llama_kind};

pub const FAMILY: Family =
    Family { name: "mistral", architecture: "MistralForCausalLM", from_config, to_config, gguf: None };

fn from_config(settings: &Settings<'_>) -> Result<DecoderConfig> {
    let config = settings.decoder(FAMILY.name, &Defaults { kv_heads: Some(8), head_dim: None, context: 131_072 })?;
    // absent means 4096 (MistralConfig), null means none: version 0.2 says null
    let window = match settings.raw("sliding_window") {
        None => Some(4096),
        Some(_) => settings.size_if("sliding_window")?,
    };
    settings.with_window(config, window)
}

fn to_config(config: &DecoderConfig) -> Option<Map<String, Value>> {
    if config.qkv_bias || config.o_bias || config.mlp_bias || config.qk_norm {
        return None;
    }
    let mut map = llama_kind(config)?;
    // null where there is none, for silence means 4096
    map.insert("sliding_window".into(), json!(config.one_block()?.window));
    Some(map)
}
