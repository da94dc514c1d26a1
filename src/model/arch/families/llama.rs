//! Llama 1 to 3, Vicuna, SmolLM: the plain decoder, with optional biases.
//!
//! Must not know: the other families.

use super::{Family, Gguf};
use crate::error::Result;
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::{Defaults, Settings};

pub const FAMILY: Family = Family {
    name: "llama",
    architecture: "LlamaForCausalLM",
    from_config,
    gguf: Some(Gguf { architecture: "llama", permuted: true }),
};

fn from_config(settings: &Settings<'_>) -> Result<DecoderConfig> {
    let config = settings.decoder(FAMILY.name, &Defaults { kv_heads: None, head_dim: None, context: 2048 })?;
    // one switch for q, k, v and o
    let attention_bias = settings.flag_or("attention_bias", false)?;
    let mlp_bias = settings.flag_or("mlp_bias", false)?;
    let config = DecoderConfig { qkv_bias: attention_bias, o_bias: attention_bias, mlp_bias, ..config };
    settings.with_window(config, None)
}
