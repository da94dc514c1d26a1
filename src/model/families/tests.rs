//! What each family makes of a config.json, and what it refuses.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::model::config::RopeScaling;

/// A complete config.json of a family, with some keys set; null removes nothing.
fn config(family: &str, changes: Value) -> Result<DecoderConfig> {
    let mut value = json!({
        "model_type": family, "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    });
    let map = value.as_object_mut().unwrap();
    map.extend(changes.as_object().unwrap().clone());
    from_config(Path::new("m/config.json"), map)
}

fn refusal(family: &str, changes: Value) -> String {
    config(family, changes).unwrap_err().message().to_owned()
}

#[test]
fn each_family_is_one_file_and_one_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/families");
    let mut files: Vec<String> = crate::files::list(&folder)
        .unwrap()
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|stem| stem != "mod" && stem != "tests")
        .collect();
    files.sort();
    let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
}

#[test]
fn silence_means_what_transformers_means() {
    let llama = config("llama", json!({"num_key_value_heads": null})).unwrap();
    assert_eq!((llama.kv_heads, llama.head_dim, llama.context), (4, 16, 2048));
    assert_eq!((llama.rope_theta, llama.norm_eps, llama.tied_head), (10000.0, 1e-6, false));
    assert_eq!(config("mistral", json!({})).unwrap().sliding_window, Some(4096));
    assert_eq!(config("mistral", json!({"sliding_window": null})).unwrap().sliding_window, None);
    let qwen2 = config("qwen2", json!({"sliding_window": 24, "max_window_layers": 0})).unwrap();
    assert_eq!((qwen2.qkv_bias, qwen2.o_bias, qwen2.qk_norm, qwen2.sliding_window), (true, false, false, None));
    let qwen3 = config("qwen3", json!({})).unwrap();
    assert_eq!((qwen3.head_dim, qwen3.qkv_bias, qwen3.qk_norm), (128, false, true));
}

#[test]
fn windows_are_for_every_layer_or_for_none() {
    let on = json!({"use_sliding_window": true, "sliding_window": 24, "max_window_layers": 0});
    assert_eq!(config("qwen2", on).unwrap().sliding_window, Some(24));
    let above = json!({"use_sliding_window": true, "sliding_window": 24, "max_window_layers": 3});
    assert_eq!(config("qwen2", above).unwrap().sliding_window, None);
    let split = json!({"use_sliding_window": true, "sliding_window": 24, "max_window_layers": 2});
    assert!(refusal("qwen2", split).contains("max_window_layers"));
    let full = ["full_attention"; 3];
    let sliding = ["sliding_attention"; 3];
    assert_eq!(config("llama", json!({"layer_types": full})).unwrap().sliding_window, None);
    assert!(refusal("llama", json!({"layer_types": sliding})).contains("layer_types"));
    assert!(refusal("mistral", json!({"layer_types": full})).contains("layer_types"));
    let listed = json!({"layer_types": sliding, "use_sliding_window": true, "sliding_window": 8});
    assert_eq!(config("qwen3", listed).unwrap().sliding_window, Some(8));
    let mixed = json!({"layer_types": ["full_attention", "sliding_attention", "full_attention"],
                       "use_sliding_window": true, "sliding_window": 8});
    assert!(refusal("qwen3", mixed).contains("layer_types"));
}

#[test]
fn rope_is_read_in_both_spellings() {
    let llama3 = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let old = config("llama", json!({"rope_theta": 500000, "rope_scaling": llama3})).unwrap();
    let mut newer = llama3.clone();
    newer["rope_theta"] = json!(500000.0);
    assert_eq!(old, config("llama", json!({"rope_parameters": newer})).unwrap());
    assert!(matches!(old.rope_scaling, RopeScaling::Llama3 { original_context: 8192, .. }));
    let linear = config("llama", json!({"rope_scaling": {"type": "linear", "factor": 2}})).unwrap();
    assert_eq!(linear.rope_scaling, RopeScaling::Linear { factor: 2.0 });
    let dynamic = config("llama", json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}})).unwrap();
    assert_eq!(dynamic.rope_scaling, RopeScaling::Dynamic { factor: 2.0, original_context: 2048 });
}

#[test]
fn what_would_change_the_mathematics_is_refused_by_name() {
    for (family, key, value) in [
        ("llama", "hidden_act", json!("gelu")),
        ("llama", "partial_rotary_factor", json!(0.5)),
        ("llama", "quantization_config", json!({"bits": 4})),
        ("llama", "sliding_window", json!(4096)),
        ("llama", "rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("llama", "rope_scaling", json!({"rope_type": "linear", "factor": 4.0, "mrope_section": [1, 2]})),
        ("llama", "rope_scaling", json!({"rope_type": "linear"})),
        ("llama", "rope_scaling", json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]})),
        ("llama", "rope_scaling", json!({"type": "su", "factor": 4.0})),
        ("llama", "rope_parameters", json!({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0})),
        ("llama", "rope_parameters", json!({"rope_type": "default", "partial_rotary_factor": 0.5})),
        ("llama", "rope_interleaved", json!(true)),
        ("llama", "use_sliding_window", json!(true)),
        ("llama", "quantization", json!({"group_size": 64, "bits": 4})),
        ("llama", "compression_config", json!({"quant_method": "compressed-tensors"})),
        ("llama", "attention_bias", json!("yes")),
        ("llama", "head_dim", json!(5)),
        ("llama", "num_local_experts", json!(8)),
        ("llama", "final_logit_softcapping", json!(30.0)),
        ("llama", "tie_word_embeddings", json!(1)),
        ("mistral", "mlp_bias", json!(true)),
        ("mistral", "layer_types", json!(["sliding_attention", "full_attention", "sliding_attention"])),
        ("qwen2", "mlp_bias", json!(true)),
        ("qwen2", "attention_bias", json!(true)),
        ("qwen2", "hidden_act", json!("gelu_new")),
        ("qwen2", "max_window_layers", json!("all")),
        ("qwen3", "mlp_bias", json!(true)),
        ("qwen3", "rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        ("mistral", "attention_bias", json!(true)),
        ("mistral", "rope_scaling", json!("linear")),
        ("qwen2", "use_mrope", json!(true)),
        ("qwen3", "num_experts", json!(8)),
        ("llama", "num_key_value_heads", json!(3)),
        ("llama", "hidden_size", json!(-64)),
        ("llama", "hidden_size", json!(1e30)),
        ("llama", "vocab_size", json!(u64::MAX)),
        ("llama", "rms_norm_eps", json!("small")),
    ] {
        let message = refusal(family, json!({key: value}));
        assert!(message.contains(key) && message.contains("m/config.json"), "{message}");
    }
    let harmless = json!({"partial_rotary_factor": 1.0, "attention_bias": false, "use_cache": false, "_x": 3,
        "rope_interleaved": false, "pretraining_tp": 2});
    config("mistral", harmless).unwrap();
}

#[test]
fn quantised_models_and_models_with_code_of_their_own_are_shown_a_way_out() {
    for method in ["gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "hqq", "mxfp4"] {
        let error = config("qwen2", json!({"quantization_config": {"bits": 4, "quant_method": method}})).unwrap_err();
        let told = format!("m/config.json: quantization_config says {method}; quantised weights cannot be read");
        assert_eq!(error.message(), told);
        assert!(error.hint_text().unwrap().contains(".gguf"));
    }
    // Known family or not: the code is what stands in the way.
    for family in ["llama", "chatglm"] {
        let code = json!({"AutoModelForCausalLM": "modeling_x.XForCausalLM"});
        let error = config(family, json!({"auto_map": code})).unwrap_err();
        assert!(error.message().starts_with("m/config.json: auto_map is {\"AutoModelForCausalLM\""), "{error}");
        assert!(error.message().ends_with("no code of a model is run"), "{error}");
        assert!(error.hint_text().unwrap().contains("trust_remote_code"));
    }
    for none in [json!(null), json!({})] {
        config("llama", json!({"auto_map": none, "quantization_config": null})).unwrap();
    }
}

#[test]
fn an_unknown_family_is_told_which_there_are() {
    let error = config("gpt_neox", json!({})).unwrap_err();
    assert_eq!(error.message(), "m/config.json: model_type is gpt_neox, which is not supported");
    assert_eq!(error.hint_text(), Some("supported model families are llama, mistral, qwen2, qwen3"));
    assert!(refusal("llama", json!({"architectures": ["LlamaForSequenceClassification"]})).contains("architectures"));
}
