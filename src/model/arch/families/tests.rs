//! What each family makes of a config.json, and what it refuses.

mod gemma;

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::model::arch::config::{Gate, Norms};
use crate::model::arch::rope::{Rope, RopeScaling};
use crate::model::testing::small;

/// A complete config.json of a family, with some keys set; null removes nothing.
fn config(family: &str, changes: Value) -> Result<DecoderConfig> {
    let mut value = json!({
        "model_type": family, "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    });
    let map = value.as_object_mut().unwrap();
    map.extend(changes.as_object().unwrap().clone());
    from_config(Path::new("m/config.json"), map, &mut Vec::new())
}

fn refusal(family: &str, changes: Value) -> String {
    config(family, changes).unwrap_err().message().to_owned()
}

#[test]
fn each_family_is_one_file_and_one_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/arch/families");
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

/// Where a family's name may stand in the code, outside of its own file: text of a literal, and why.
const NAMED: &[(&str, &str, &str)] = &[
    ("config_json.rs", "llama3", "a kind of rope scaling has this name in config.json, in every family"),
    ("config_json.rs", "supported types are default, linear, dynamic, llama3 and yarn", "the kinds of rope scaling"),
    ("config_keys.rs", "is_llama_config", "a harmless key"),
    ("config.rs", "{ROPE_FACTORS} holds factors other than Llama 3.1's", "the name of a rope scaling"),
    ("config.rs", "supported are none, linear, yarn with its factor, and Llama 3.1's frequency factors", "as above"),
    (
        "config.rs",
        "merge it into that model with llama.cpp's `llama-export-lora`, and use the result",
        "the name of a program",
    ),
    ("gguf_vocabulary.rs", "llama", "GGUF calls SentencePiece so"),
    ("gguf_vocabulary.rs", "supported tokenisers of GGUF files are {GPT2} and {LLAMA}", "a constant's name"),
    ("gguf_rules.rs", "llama-bpe", "rules for cutting words go by these names in GGUF"),
    ("gguf_rules.rs", "llama3", "as above"),
    ("gguf_rules.rs", "llama-v3", "as above"),
    ("gguf_rules.rs", "qwen2", "as above"),
    ("gguf_rules.rs", "deepseek-r1-qwen", "as above"),
    ("gguf_rules.rs", "smollm", "as above"),
    (
        "gguf_rules.rs",
        "convert the model again with a newer llama.cpp, or use its Hugging Face directory",
        "the name of a program",
    ),
    ("settings.rs", "fix_mistral_regex", "a setting of tokenisers"),
    ("parts.rs", "LlamaTokenizer", "a class of tokenisers, which several families share"),
    ("parts.rs", "LlamaTokenizerFast", "as above"),
    ("parts.rs", "CodeLlamaTokenizer", "as above"),
    ("parts.rs", "CodeLlamaTokenizerFast", "as above"),
    ("llama_guard.rs", "llama-guard", "the name of a judge"),
    ("llama_guard.rs", "asks Llama Guard 3, by its own chat template", "as above"),
    ("llama_guard.rs", "Llama Guard judges by its own list of hazards…", "as above"),
    ("qwen3guard.rs", "qwen3guard", "as above"),
    ("qwen3guard.rs", "asks Qwen3Guard-Gen, by its own chat template", "as above"),
    ("qwen3guard.rs", "Qwen3Guard has a third word…", "as above"),
    ("mod.rs", "use a GGUF file of it, which holds that part alone, or save…", "the name of a page"),
    ("mod.rs", "\\\nExamples:…", "an example's path"),
];

/// Text literals of a source file, without comments and tests.
fn literals(source: &str) -> Vec<String> {
    let code = source
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap()
        .split("\n#[cfg(test)]\npub(crate) mod tests")
        .next()
        .unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n").replace("'\"'", "");
    let (mut found, mut rest) = (Vec::new(), code.as_str());
    while let Some((before, inside)) = rest.split_once('"') {
        let hashes = before.len() - before.trim_end_matches('#').len();
        let raw = before.trim_end_matches('#').ends_with('r');
        let close = format!("\"{}", "#".repeat(if raw { hashes } else { 0 }));
        let escaped = |end: usize| !raw && (inside[..end].len() - inside[..end].trim_end_matches('\\').len()) % 2 == 1;
        let end = inside.match_indices(&close).map(|(end, _)| end).find(|end| !escaped(*end)).unwrap();
        found.push(inside[..end].to_owned());
        rest = &inside[end + close.len()..];
    }
    found
}

#[test]
fn a_family_is_named_in_its_own_file_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found, mut files) = (vec![root.clone()], Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for path in crate::files::list(&folder).unwrap() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let own = path.parent().unwrap().ends_with("model/arch/families");
            if path.is_dir() {
                folders.extend((name != "tests").then_some(path));
            } else if name.ends_with(".rs")
                && !name.contains("tests")
                && name != "testing.rs"
                && (!own || name == "mod.rs")
            {
                files += 1;
                let told = |literal: &String| {
                    let literal = literal.to_lowercase();
                    let stem = |family: &Family| family.name.trim_end_matches(char::is_numeric);
                    let others = ["vicuna", "smollm", "gemma", "phi3"];
                    FAMILIES.iter().map(stem).chain(others).any(|family| literal.contains(family))
                };
                let texts = literals(&crate::files::read_to_string(&path).unwrap());
                found.extend(texts.into_iter().filter(told).map(|literal| (name.clone(), literal)));
            }
        }
    }
    assert!(files > 100, "only {files} files were looked at");
    let is = |entry: &(&str, &str, &str), (file, literal): &(String, String)| match entry.1.strip_suffix('…') {
        Some(beginning) => entry.0 == file && literal.starts_with(beginning),
        None => entry.0 == file && entry.1 == literal,
    };
    let new: Vec<_> = found.iter().filter(|found| !NAMED.iter().any(|entry| is(entry, found))).collect();
    let gone: Vec<_> = NAMED.iter().filter(|entry| !found.iter().any(|found| is(entry, found))).collect();
    assert!(new.is_empty(), "a family belongs into its own file and the table, or into NAMED with a reason: {new:?}");
    assert!(gone.is_empty(), "these are no longer there: {gone:?}");
    // The scanner sees what it should.
    assert_eq!(literals("f(\"a\\\"b\", r#\"c\"d\"#) // \"e\"\n// \"no\"\n"), ["a\\\"b", "c\"d", "e"]);
}

#[test]
fn silence_means_what_transformers_means() {
    let llama = config("llama", json!({"num_key_value_heads": null})).unwrap();
    assert_eq!((llama.kv_heads, llama.head_dim, llama.context), (4, 16, 2048));
    assert_eq!((llama.blocks[0].rope.theta, llama.norm_eps, llama.tied_head), (10000.0, 1e-6, false));
    assert_eq!(config("mistral", json!({})).unwrap().blocks[0].window, Some(4096));
    assert_eq!(config("mistral", json!({"sliding_window": null})).unwrap().blocks[0].window, None);
    let qwen2 = config("qwen2", json!({"sliding_window": 24, "max_window_layers": 0})).unwrap();
    assert_eq!((qwen2.qkv_bias, qwen2.o_bias, qwen2.qk_norm, qwen2.blocks[0].window), (true, false, false, None));
    let qwen3 = config("qwen3", json!({})).unwrap();
    assert_eq!((qwen3.head_dim, qwen3.qkv_bias, qwen3.qk_norm), (128, false, true));
}

#[test]
fn each_layer_has_the_window_that_the_settings_give_it() {
    let on = json!({"use_sliding_window": true, "sliding_window": 24, "max_window_layers": 0});
    assert_eq!(config("qwen2", on).unwrap().blocks[0].window, Some(24));
    let above = json!({"use_sliding_window": true, "sliding_window": 24, "max_window_layers": 3});
    assert_eq!(config("qwen2", above).unwrap().blocks[0].window, None);
    let windows = |family: &str, settings| -> Vec<Option<usize>> {
        config(family, settings).unwrap().blocks.iter().map(|block| block.window).collect()
    };
    let split = json!({"use_sliding_window": true, "sliding_window": 24, "max_window_layers": 2});
    assert_eq!(windows("qwen2", split), [None, None, Some(24)], "layers from max_window_layers on slide");
    let full = ["full_attention"; 3];
    let sliding = ["sliding_attention"; 3];
    assert_eq!(config("llama", json!({"layer_types": full})).unwrap().blocks[0].window, None);
    assert!(refusal("llama", json!({"layer_types": sliding})).contains("layer_types"));
    assert!(refusal("mistral", json!({"layer_types": full})).contains("layer_types"));
    let listed = json!({"layer_types": sliding, "use_sliding_window": true, "sliding_window": 8});
    assert_eq!(config("qwen3", listed).unwrap().blocks[0].window, Some(8));
    let mixed = json!({"layer_types": ["full_attention", "sliding_attention", "full_attention"],
                       "use_sliding_window": true, "sliding_window": 8});
    assert_eq!(windows("qwen3", mixed), [None, Some(8), None]);
    assert!(
        refusal("qwen3", json!({"layer_types": sliding})).contains("layer_types"),
        "a layer slides without a window"
    );
}

#[test]
fn rope_is_read_in_both_spellings() {
    let llama3 = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let old = config("llama", json!({"rope_theta": 500000, "rope_scaling": llama3})).unwrap();
    let mut newer = llama3.clone();
    newer["rope_theta"] = json!(500000.0);
    assert_eq!(old, config("llama", json!({"rope_parameters": newer})).unwrap());
    assert!(matches!(old.blocks[0].rope.scaling, RopeScaling::Llama3 { original_context: 8192, .. }));
    let linear = config("llama", json!({"rope_scaling": {"type": "linear", "factor": 2}})).unwrap();
    assert_eq!(linear.blocks[0].rope.scaling, RopeScaling::Linear { factor: 2.0 });
    let yarn = |settings: Value| config("qwen2", settings).unwrap().blocks[0].rope.scaling.clone();
    let plain = RopeScaling::Yarn {
        factor: 4.0,
        original_context: 32_768,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 0.1 * 4f64.ln() + 1.0,
        truncate: true,
    };
    let spelled = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "mscale": 0});
    assert_eq!(yarn(json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": null}})), plain);
    assert_eq!(yarn(json!({"rope_scaling": spelled})), plain);
    let outside = json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 7},
        "original_max_position_embeddings": 32768});
    assert_eq!(yarn(outside), plain, "the one outside goes first");
    let dynamic = config("llama", json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}})).unwrap();
    assert_eq!(dynamic.blocks[0].rope.scaling, RopeScaling::Dynamic { factor: 2.0, original_context: 2048 });
}

#[test]
fn what_would_change_the_mathematics_is_refused_by_name() {
    for (family, key, value) in [
        ("llama", "hidden_act", json!("gelu")),
        ("llama", "partial_rotary_factor", json!(0.5)),
        ("llama", "quantization_config", json!({"bits": 4})),
        ("llama", "sliding_window", json!(4096)),
        ("llama", "rope_scaling", json!({"rope_type": "longrope", "factor": 4.0})),
        ("llama", "rope_scaling", json!({"rope_type": "linear", "factor": 4.0, "mrope_section": [1, 2]})),
        ("llama", "rope_scaling", json!({"rope_type": "linear"})),
        ("llama", "rope_scaling", json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]})),
        ("llama", "rope_scaling", json!({"type": "su", "factor": 4.0})),
        ("llama", "rope_parameters", json!({"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0})),
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
        ("qwen3", "rope_scaling", json!({"rope_type": "longrope", "factor": 4.0})),
        ("mistral", "attention_bias", json!(true)),
        ("mistral", "rope_scaling", json!("linear")),
        ("qwen2", "use_mrope", json!(true)),
        ("qwen3", "num_experts", json!(8)),
        ("gemma2", "hidden_activation", json!("gelu")),
        ("gemma2", "hidden_act", json!("silu")),
        ("gemma2", "mlp_bias", json!(true)),
        ("gemma2", "sliding_window", json!(null)),
        ("gemma2", "layer_types", json!(["sliding_attention", "full_attention", "chunked_attention"])),
        ("gemma2", "query_pre_attn_scalar", json!(0)),
        ("gemma2", "attn_logit_softcapping", json!(-50.0)),
        ("gemma2", "final_logit_softcapping", json!("high")),
        ("gemma2", "use_bidirectional_attention", json!(true)),
        ("gemma3_text", "attn_logit_softcapping", json!(50.0)),
        ("gemma3_text", "use_bidirectional_attention", json!(true)),
        ("gemma3_text", "hidden_activation", json!("silu")),
        ("gemma3_text", "rope_parameters", json!({"rope_type": "default", "rope_theta": 1e6})),
        ("gemma3_text", "rope_parameters", json!({"full_attention": {"rope_type": "longrope", "factor": 2.0}})),
        ("llama", "rope_scaling", json!({"rope_type": "yarn", "factor": 2.0, "beta_fast": 1.0, "beta_slow": 2.0})),
        ("llama", "rope_scaling", json!({"rope_type": "yarn", "factor": 2.0, "attention_factor": -1.0})),
        ("llama", "rope_scaling", json!({"rope_type": "yarn", "factor": 2.0, "extrapolation_factor": 1.0})),
        ("gemma3_text", "rope_local_base_freq", json!("low")),
        ("gemma3_text", "sliding_window_pattern", json!(0)),
        ("llama", "logits_soft_cap", json!(30.0)),
        ("llama", "num_experts", json!(8)),
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
    assert_eq!(
        error.hint_text(),
        Some("supported model families are llama, mistral, qwen2, qwen3, gemma2, gemma3_text")
    );
    assert!(refusal("llama", json!({"architectures": ["LlamaForSequenceClassification"]})).contains("architectures"));
}

/// Every combination of what a header of the Llama kind can say, in every family.
fn decoders() -> Vec<DecoderConfig> {
    let scalings = [
        RopeScaling::None,
        RopeScaling::Linear { factor: 4.0 },
        RopeScaling::Dynamic { factor: 2.0, original_context: 64 },
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 },
        RopeScaling::Yarn {
            factor: 4.0,
            original_context: 32,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.25,
            truncate: false,
        },
    ];
    let windows = [[None, None], [Some(8), Some(8)], [None, Some(8)], [Some(8), None], [Some(4), Some(8)]];
    let mut all = Vec::new();
    for (family, switches) in FAMILIES.iter().flat_map(|family| (0..32_u32).map(move |switches| (family, switches))) {
        let on = |bit: u32| switches >> bit & 1 == 1;
        for (scaling, windows) in scalings.iter().flat_map(|scaling| windows.iter().map(move |two| (scaling, two))) {
            let mut config = DecoderConfig {
                family: family.name.into(),
                qkv_bias: on(0),
                o_bias: on(1),
                mlp_bias: on(2),
                qk_norm: on(3),
                tied_head: on(4),
                ..small()
            };
            let theta = 1e4 + f64::from(switches) / 3.0;
            for (block, window) in config.blocks.iter_mut().zip(windows) {
                block.rope = Rope { theta, scaling: scaling.clone() };
                block.window = *window;
            }
            all.push(config);
        }
    }
    all
}

#[test]
fn what_a_config_json_is_written_for_is_read_back() {
    let mut own = std::collections::BTreeMap::new();
    for config in decoders() {
        let speaker = |family: &&Family| (family.to_config)(&config).is_some();
        let speaks = FAMILIES.iter().filter(speaker).any(|family| family.name == config.family);
        let Ok(map) = to_config(&config) else {
            assert!(!FAMILIES.iter().any(|family| speaker(&family)));
            continue;
        };
        let read =
            from_config(Path::new("c"), &map, &mut Vec::new()).unwrap_or_else(|error| panic!("{error}: {config:?}"));
        assert_eq!(map["model_type"], read.family.as_str());
        assert_eq!(map["model_type"] == config.family.as_str(), speaks, "{config:?}");
        *own.entry(config.family.clone()).or_insert(0) += usize::from(speaks);
        assert_eq!(DecoderConfig { family: config.family.clone(), ..read }, config);
    }
    // A window in a file that calls itself llama, as Mistral's do.
    assert_eq!(to_config(&small().with_window(8)).unwrap()["model_type"], "mistral");
    assert!(["llama", "mistral", "qwen2", "qwen3"].iter().all(|family| own[*family] >= 16), "{own:?}");
    let beyond = RopeScaling::Dynamic { factor: 2.0, original_context: 128 };
    for nobody in [
        DecoderConfig { o_bias: true, ..small() },
        DecoderConfig { logit_cap: Some(30.0), ..small() },
        small().with_blocks(|block| block.rope.scaling = beyond.clone()),
    ] {
        let refused = to_config(&nobody).unwrap_err();
        assert!(refused.message().starts_with("no config.json of a supported family"), "{refused}");
    }
}

#[test]
fn what_a_family_reads_it_can_say() {
    let windowed = json!({"use_sliding_window": true, "sliding_window": 24, "max_window_layers": 1});
    for family in FAMILIES {
        let mut read = 0;
        for changes in [
            json!({}),
            json!({"attention_bias": true}),
            json!({"mlp_bias": true}),
            json!({"sliding_window": null}),
            json!({"head_dim": 32, "tie_word_embeddings": true}),
            windowed.clone(),
        ] {
            let Ok(config) = config(family.name, changes) else { continue };
            read += 1;
            let map = to_config(&config).unwrap();
            assert_eq!(from_config(Path::new("c"), &map, &mut Vec::new()).unwrap(), config, "{map:?}");
        }
        assert!(read >= 3, "{} reads only {read}", family.name);
    }
}
