//! What a GGUF header says, as the files that stand beside the weights in Hugging Face layout: config.json,
//! generation_config.json, tokenizer.json and tokenizer_config.json.
//!
//! No family is named here. A config.json is right if its family reads out of it the decoder that the header
//! describes; so the spellings that the families have are tried, and the first that reads back is taken.
//! Must not know: weights, which families there are.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::arch::config::{Block, DecoderConfig};
use crate::model::arch::families::{self, FAMILIES};
use crate::model::arch::rope::RopeScaling;
use crate::model::checkpoint::gguf::GgufFile;
use crate::model::checkpoint::weights::Dtype;
use crate::model::text::Parts;

/// Names and contents.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// The four files, sorted by name.
pub(in crate::model) fn files(file: &GgufFile, config: &DecoderConfig, dtype: Dtype) -> Result<Files> {
    let text = Parts::of_gguf(file).map_err(|error| error.within(file.path().display()))?;
    let mut settings = config_json(config).map_err(|error| error.within(file.path().display()))?;
    settings.insert("torch_dtype".into(), torch_name(dtype).into());
    let eos = match text.stop_ids.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let mut generation = Map::from_iter([("eos_token_id".to_owned(), eos)]);
    for (special, key) in [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("pad_token", "pad_token_id")]
    {
        let Some(id) = text.id(special) else { continue };
        settings.insert(key.into(), id.into());
        generation.entry(key).or_insert_with(|| id.into());
    }
    let mut tokenizer = Map::from_iter([
        ("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast")),
        ("model_max_length".to_owned(), json!(config.context)),
        ("clean_up_tokenization_spaces".to_owned(), json!(false)),
    ]);
    tokenizer.extend(text.specials.iter().map(|(name, text)| ((*name).to_owned(), json!(text))));
    if let Some(template) = &text.template {
        tokenizer.insert("chat_template".into(), json!(template));
    }
    let contents = [
        ("config.json", Value::Object(settings)),
        ("generation_config.json", Value::Object(generation)),
        ("tokenizer.json", text.definition),
        ("tokenizer_config.json", Value::Object(tokenizer)),
    ];
    let written = |(name, value): (&'static str, Value)| {
        let mut bytes = serde_json::to_vec_pretty(&value)
            .map_err(|cause| Error::fault(format!("{name} cannot be written: {cause}")))?;
        bytes.push(b'\n');
        Ok((name, bytes))
    };
    contents.into_iter().map(written).collect()
}

fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
    }
}

/// A config.json that is read as `config`: by its own family, else by the first that can say it.
fn config_json(config: &DecoderConfig) -> Result<Map<String, Value>> {
    let own = FAMILIES.iter().filter(|family| family.name == config.family);
    let others = FAMILIES.iter().filter(|family| family.name != config.family);
    let unsaid = || {
        Error::user("no config.json of a supported family says what this header says")
            .hint("export the model's Hugging Face directory instead of its GGUF file")
    };
    let block = config.one_block().ok_or_else(unsaid)?;
    for family in own.chain(others) {
        for window in windows(block) {
            let mut map = common(config, block);
            map.insert("model_type".into(), family.name.into());
            map.insert("architectures".into(), json!([family.architecture]));
            map.extend(window);
            let read = families::from_config(Path::new("config.json"), &map);
            let same = |read: DecoderConfig| DecoderConfig { family: config.family.clone(), ..read } == *config;
            if read.is_ok_and(same) {
                return Ok(map);
            }
        }
    }
    Err(unsaid())
}

/// The settings that all families spell alike. A bias that only one family has, and always, has no key.
fn common(config: &DecoderConfig, block: &Block) -> Map<String, Value> {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    set("vocab_size", config.vocab_size.into());
    set("hidden_size", config.hidden_size.into());
    set("intermediate_size", config.intermediate_size.into());
    set("num_hidden_layers", config.layers().into());
    set("num_attention_heads", config.heads.into());
    set("num_key_value_heads", config.kv_heads.into());
    set("head_dim", config.head_dim.into());
    set("hidden_act", "silu".into());
    set("max_position_embeddings", config.context.into());
    set("rms_norm_eps", config.norm_eps.into());
    set("rope_theta", block.rope.theta.into());
    set("tie_word_embeddings", config.tied_head.into());
    if config.qkv_bias && config.o_bias {
        set("attention_bias", true.into());
    }
    if config.mlp_bias {
        set("mlp_bias", true.into());
    }
    match block.rope.scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => set("rope_scaling", json!({"rope_type": "linear", "factor": factor})),
        RopeScaling::Dynamic { factor, .. } => set("rope_scaling", json!({"rope_type": "dynamic", "factor": factor})),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => set(
            "rope_scaling",
            json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                   "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_context}),
        ),
    }
    map
}

/// The ways in which families say a window, or that there is none.
fn windows(block: &Block) -> Vec<Map<String, Value>> {
    let ways = match block.window {
        None => vec![json!({}), json!({"sliding_window": null})],
        Some(width) => vec![
            json!({"sliding_window": width}),
            json!({"sliding_window": width, "use_sliding_window": true, "max_window_layers": 0}),
        ],
    };
    ways.into_iter().filter_map(|way| way.as_object().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch::config::tests::small;
    use crate::model::arch::rope::Rope;

    #[test]
    fn every_decoder_of_a_gguf_file_has_a_config_json() {
        let scaled =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
        let family = |name: &str| DecoderConfig { family: name.into(), ..small() };
        let cases = [
            (small(), "llama"),
            (DecoderConfig { qkv_bias: true, o_bias: true, mlp_bias: true, tied_head: false, ..small() }, "llama"),
            (small().with_blocks(|block| block.rope = Rope { theta: 5e5, scaling: scaled.clone() }), "llama"),
            (small().with_blocks(|block| block.rope.scaling = RopeScaling::Linear { factor: 4.0 }), "llama"),
            // its GGUF files call themselves llama
            (small().with_window(8), "mistral"),
            (DecoderConfig { qkv_bias: true, ..family("qwen2") }, "qwen2"),
            (DecoderConfig { qkv_bias: true, ..family("qwen2") }.with_window(8), "qwen2"),
            (DecoderConfig { qk_norm: true, head_dim: 8, ..family("qwen3") }, "qwen3"),
        ];
        for (config, name) in cases {
            let map = config_json(&config).unwrap();
            assert_eq!(map["model_type"], name, "{config:?}");
            let read = families::from_config(Path::new("c"), &map).unwrap();
            assert_eq!(DecoderConfig { family: config.family.clone(), ..read }, config);
        }
        assert!(config_json(&DecoderConfig { o_bias: true, ..small() }).is_err());
    }
}
