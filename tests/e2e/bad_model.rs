//! What a user sees when a model cannot be used: weights, settings, tokenisers and GGUF files that are
//! broken, or that do not belong together. As in `bad_input.rs`, word for word.
//!
//! Must not know: where in the code a message is made.

use std::fs;

use serde_json::json;

use crate::bad_input::run_with;
use crate::support::Project;

#[test]
fn safetensors_that_are_broken() {
    let project = Project::new();
    let file = project.dir.join("model/model.safetensors");
    let whole = fs::read(&file).unwrap();
    let header = usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    let with = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        project.refused(&["run"])
    };
    insta::assert_snapshot!(with(&whole[..whole.len() - 100]), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (34084 bytes)
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&whole[..header / 2]), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (992 bytes)
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&whole[..5]), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (5 bytes)
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b""), @"
    error: [project]/model/model.safetensors is empty
    hint: copy or download the file again
    ");
    let mut broken = whole.clone();
    broken[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    insta::assert_snapshot!(with(&broken), @"
    error: [project]/model/model.safetensors is truncated, or not a safetensors file (34184 bytes)
    hint: copy or download the file again
    ");
    let mut broken = whole.clone();
    broken[8] = b'[';
    insta::assert_snapshot!(with(&broken), @"
    error: [project]/model/model.safetensors has a malformed header: invalid JSON in header: invalid type: sequence, expected struct HashMetadata at line 1 column 0
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), @"
    error: [project]/model/model.safetensors is a Git LFS pointer, not the file itself
    hint: fetch the model's files with `git lfs pull`
    ");
    fs::remove_file(&file).unwrap();
    insta::assert_snapshot!(project.refused(&["run"]), @"
    error: [project]/model: no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found config.json, generation_config.json, tokenizer.json, tokenizer_config.json
    hint: use a model whose weights are stored as safetensors or as PyTorch .bin files, or a .gguf file
    ");
    fs::write(&file, whole).unwrap();
    project.ok(&["run", "--until", "tokenize"]);
}

#[test]
fn pytorch_files_that_hold_more_than_tensors() {
    let project = Project::new();
    fs::remove_file(project.dir.join("model/model.safetensors")).unwrap();
    let with = |name: &str| {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch").join(name);
        project.write("model/pytorch_model.bin", fs::read(file).unwrap());
        project.refused(&["run"])
    };
    insta::assert_snapshot!(with("hostile.bin"), @"
    error: [project]/model/pytorch_model.bin: it calls for posix.system, which is no part of a plain tensor
    hint: nothing of it was run; get the weights from a source that you trust, preferably as safetensors
    ");
    insta::assert_snapshot!(with("training.bin"), @r#"
    error: [project]/model/pytorch_model.bin: epoch is a number, not a tensor
    hint: save the tensors alone: `torch.save(model.state_dict(), "pytorch_model.bin")`
    "#);
}

#[test]
fn weights_that_are_not_numbers() {
    let project = Project::new();
    let file = project.dir.join("model/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    // Somewhere in the last layer's matrices: the file is sorted, and the final norm is small.
    bytes[end - 3000..end - 2996].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    insta::assert_snapshot!(project.refused(&["run"]), @"
    error: score[fairness]: [project]/model: model.layers.1.self_attn.k_proj.weight is NaN at row 2, column 2; weights must be finite
    hint: the weights are damaged, or overflowed when they were saved: copy or download them again
    ");
}

#[test]
fn settings_that_do_not_fit_the_weights() {
    let with = |key: &str, value: serde_json::Value| {
        let project = Project::new();
        project.configure(key, value);
        project.refused(&["run"])
    };
    insta::assert_snapshot!(with("intermediate_size", json!(32)), @"
    error: [project]/model: model.layers.0.mlp.gate_proj.weight has the shape [24, 16], but config.json makes it [32, 16] (intermediate_size, hidden_size)
    hint: check that the weights and config.json belong to the same model
    ");
    insta::assert_snapshot!(with("num_hidden_layers", json!(3)), @"
    error: [project]/model: the tensor model.layers.2.input_layernorm.weight is missing
    hint: config.json asks for it; check that both belong to the same model
    ");
    insta::assert_snapshot!(with("num_key_value_heads", json!(3)), @"error: [project]/model/config.json: num_attention_heads is 4 and num_key_value_heads 3: the first must be a multiple of the second");
    insta::assert_snapshot!(with("model_type", json!("gpt2")), @"
    error: [project]/model/config.json: model_type is gpt2, which is not supported
    hint: supported model families are llama, mistral, qwen2, qwen3, gemma2, gemma3_text
    ");
    insta::assert_snapshot!(with("auto_map", json!({"AutoModelForCausalLM": "modeling_x.X"})), @r#"
    error: [project]/model/config.json: auto_map is {"AutoModelForCausalLM":"modeling_x.X"}; the model comes with code of its own, and no code of a model is run
    hint: use a model that transformers loads without `trust_remote_code`; if this one is a plain decoder in all but name, take auto_map out of a copy of config.json
    "#);
    insta::assert_snapshot!(with("quantization_config", json!({"bits": 4, "quant_method": "awq"})), @"
    error: [project]/model/config.json: quantization_config says awq; quantised weights cannot be read
    hint: use the model's unquantised directory, or a .gguf file of it
    ");
    insta::assert_snapshot!(with("architectures", json!(["LlamaForSequenceClassification"])), @"
    error: [project]/model/config.json: architectures is LlamaForSequenceClassification, but model_type llama stands for LlamaForCausalLM
    hint: a chat model must be a causal language model; other heads are not supported
    ");
    insta::assert_snapshot!(with("hidden_size", json!("wide")), @r#"error: [project]/model/config.json: hidden_size is "wide"; it must be a positive whole number"#);
    insta::assert_snapshot!(with("hidden_act", json!("gelu")), @r#"error: [project]/model/config.json: hidden_act is "gelu"; only "silu" is supported"#);
    insta::assert_snapshot!(with("vocab_size", json!(u64::MAX)), @"error: [project]/model/config.json: vocab_size is 18446744073709551615; it must lie between 1 and 16777216");
}

#[test]
fn text_files_of_a_model_that_are_broken() {
    let with = |path: &str, content: Option<&str>| {
        let project = Project::new();
        match content {
            Some(content) => project.write(path, content),
            None => fs::remove_file(project.dir.join(path)).unwrap(),
        }
        project.refused(&["run"])
    };
    insta::assert_snapshot!(with("model/config.json", Some("{")), @"
    error: [project]/model/config.json is not JSON: EOF while parsing an object at line 1 column 1
    hint: download the model again
    ");
    insta::assert_snapshot!(with("model/tokenizer.json", None), @"
    error: [project]/model has neither tokenizer.json nor tokenizer.model
    hint: make one with transformers: `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`
    ");
    insta::assert_snapshot!(with("model/tokenizer.json", Some("{}")), @"error: [project]/model/tokenizer.json: the tokeniser is malformed: Model missing. at line 1 column 52");
    let template = r#"{"chat_template": "{% for message in %}"}"#;
    insta::assert_snapshot!(with("model/tokenizer_config.json", Some(template)), @r#"
    error: generate[base]: [project]/data/questions.csv: line 2: [project]/model/tokenizer_config.json: chat_template, line 1: unexpected end of block
    hint: correct the template, name another one with chat_template, or set chat_template = "none"
    "#);
    insta::assert_snapshot!(with("model/tokenizer_config.json", Some("{}")), @r#"
    error: generate[base]: [project]/data/questions.csv: line 2: chat_template is "model", but this model has no chat template
    hint: set it to "none" for the bare text, or to a template file
    "#);
}

#[test]
fn gguf_that_is_broken() {
    let project = Project::new();
    let with = |bytes: &[u8]| {
        project.write("model.gguf", bytes);
        run_with(&project, "model.source=model.gguf")
    };
    let header = |version: u32, tensors: u64, metadata: u64| {
        [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &metadata.to_le_bytes()].concat()
    };
    insta::assert_snapshot!(with(b""), @"
    error: [project]/model.gguf is empty
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b"GGUF"), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 4 bytes
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&[&b"GGUF"[..], &[0xFF; 64]].concat()), @"
    error: [project]/model.gguf: GGUF version 4294967295 is not supported; 2 and 3 are
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(b"PK\x03\x04 and so on"), @"
    error: [project]/model.gguf: this is not a GGUF file
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&header(3, u64::MAX, 0)), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 24 bytes
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&header(3, 0, u64::MAX)), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 24 bytes
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(with(&header(3, 0, 0)), @"
    error: [project]/model.gguf: general.architecture is missing, which is not supported
    hint: supported model families are llama, mistral, qwen2, qwen3, gemma2, gemma3_text
    ");
    // A key of 2^63 bytes.
    let long = [header(3, 0, 1), (1_u64 << 63).to_le_bytes().to_vec()].concat();
    insta::assert_snapshot!(with(&long), @"
    error: [project]/model.gguf: the file is truncated or malformed: its header goes on past its 32 bytes
    hint: copy or download the file again
    ");
}
