//! Llama 1 to 3, Vicuna, SmolLM: the plain decoder, with optional biases.
//!
//! Must not know: the other families.

use serde_json::{Map, Value};

use super::{Family, Gguf};
use crate::error::Result;
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::{Defaults, Settings, llama_kind};

pub const FAMILY: Family = Family {
    name: "llama",
    architecture: "LlamaForCausalLM",
    from_config,
    to_config,
    gguf: Some(Gguf { architecture: "llama", permuted: true, finish: None }),
};

fn from_config(settings: &Settings<'_>) -> Result<DecoderConfig> {
    let config = settings.decoder(FAMILY.name, &Defaults { kv_heads: None, head_dim: None, context: 2048 })?;
    // one switch for q, k, v and o
    let attention_bias = settings.flag_or("attention_bias", false)?;
    let mlp_bias = settings.flag_or("mlp_bias", false)?;
    let config = DecoderConfig { qkv_bias: attention_bias, o_bias: attention_bias, mlp_bias, ..config };
    settings.with_window(config, None)
}

fn to_config(config: &DecoderConfig) -> Option<Map<String, Value>> {
    if config.qkv_bias != config.o_bias || config.qk_norm || config.one_block()?.window.is_some() {
        return None;
    }
    let mut map = llama_kind(config)?;
    let switches = [("attention_bias", config.o_bias), ("mlp_bias", config.mlp_bias)];
    map.extend(switches.into_iter().filter(|(_, on)| *on).map(|(key, on)| (key.to_owned(), on.into())));
    Some(map)
}
