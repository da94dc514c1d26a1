//! What a user sees of models as they lie on disks: files that were never fetched, parts of models, other kinds of models; and the
//! notes about models that are used in another way than their files say.
//!
//! Must not know: where in the code a message is made.

use std::fs;

use serde_json::{Value, json};

use crate::bad_input::run_with;
use crate::support::{Project, copy_tree};

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 135\n";
const PAGE: &str = "<!DOCTYPE html>\n<html><body>Sign in</body></html>\n";

/// What is said of a model with another content of one file.
fn with(file: &str, content: &str) -> String {
    let project = Project::new();
    project.write(&format!("model/{file}"), content);
    project.refused(&["run"])
}

#[test]
fn every_file_that_was_not_fetched_is_called_so() {
    for file in
        ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
    {
        for (content, what) in [
            (POINTER, "is a Git LFS pointer, not the file itself\nhint: fetch the model's files with `git lfs pull`"),
            (
                PAGE,
                "is a web page, not the file itself\nhint: download the file itself, for example with `hf download`",
            ),
            (
                "Entry not found",
                "is a server's answer that there is no such file, not the file itself\nhint: download the file itself, for example with `hf download`",
            ),
            ("", "is empty\nhint: copy or download the file again"),
        ] {
            assert_eq!(with(file, content).trim(), format!("error: [project]/model/{file} {what}"));
        }
    }
    for file in ["special_tokens_map.json", "chat_template.jinja", "chat_template.json"] {
        let told = with(file, POINTER);
        assert!(told.starts_with(&format!("error: [project]/model/{file} is a Git LFS pointer")), "{told}");
    }
    let project = Project::new();
    project.write("model.gguf", POINTER);
    let told = run_with(&project, "model.source=model.gguf");
    assert!(told.starts_with("error: [project]/model.gguf is a Git LFS pointer, not the file itself"), "{told}");
    fs::remove_file(project.dir.join("model/model.safetensors")).unwrap();
    project.write("model/pytorch_model.bin", PAGE);
    let told = project.refused(&["run"]);
    assert!(told.starts_with("error: [project]/model/pytorch_model.bin is a web page"), "{told}");
    fs::remove_file(project.dir.join("model/pytorch_model.bin")).unwrap();
    project.write("model/model.safetensors.index.json", POINTER);
    let told = project.refused(&["run"]);
    assert!(told.contains("model.safetensors.index.json is a Git LFS pointer"), "{told}");
}

/// What is said of a directory that has these files in the place of the weights.
fn without_weights(files: &[&str]) -> String {
    let project = Project::new();
    let weights = project.dir.join("model/model.safetensors");
    for file in files {
        let file = project.dir.join("model").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(&weights, file).unwrap();
    }
    fs::remove_file(weights).unwrap();
    project.refused(&["run"])
}

#[test]
fn parts_of_models_and_other_kinds_of_them() {
    insta::assert_snapshot!(without_weights(&["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]), @"
    error: [project]/model: shards without model.safetensors.index.json: model-00001-of-00002.safetensors is one of several files; found config.json, generation_config.json, model-00001-of-00002.safetensors, model-00002-of-00002.safetensors, tokenizer.json, tokenizer_config.json
    hint: the index says which tensor lies in which of them; download it too
    ");
    insta::assert_snapshot!(without_weights(&["adapter_config.json", "adapter_model.safetensors"]), @"
    error: [project]/model: no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found adapter_config.json, adapter_model.safetensors, config.json, generation_config.json, tokenizer.json, tokenizer_config.json
    hint: adapter_config.json belongs to a LoRA adapter, which changes another model: merge it into that one with peft (`merge_and_unload`), save the result, and use its directory
    ");
    insta::assert_snapshot!(without_weights(&["tf_model.h5"]), @"
    error: [project]/model: no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found config.json, generation_config.json, tf_model.h5, tokenizer.json, tokenizer_config.json
    hint: tf_model.h5 holds the weights for TensorFlow; download the model's safetensors too, or save it with transformers: `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)`
    ");
    insta::assert_snapshot!(without_weights(&["flax_model.msgpack"]), @"
    error: [project]/model: no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found config.json, flax_model.msgpack, generation_config.json, tokenizer.json, tokenizer_config.json
    hint: flax_model.msgpack holds the weights for Flax; download the model's safetensors too, or save it with transformers: `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)`
    ");
    insta::assert_snapshot!(without_weights(&["onnx/model.onnx"]), @"
    error: [project]/model: no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found config.json, generation_config.json, tokenizer.json, tokenizer_config.json
    hint: onnx/ holds the weights for ONNX; download the model's safetensors too, or save it with transformers: `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)`
    ");
    insta::assert_snapshot!(without_weights(&["consolidated.00.pth", "params.json"]), @"
    error: [project]/model: no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found config.json, consolidated.00.pth, generation_config.json, params.json, tokenizer.json, tokenizer_config.json
    hint: consolidated.00.pth holds the weights for Meta's own code; download the model's safetensors too, or save it with transformers: `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)`
    ");
    let project = Project::new();
    fs::remove_file(project.dir.join("model/model.safetensors")).unwrap();
    let index = json!({"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors", "model.norm.weight": "model-00002-of-00002.safetensors"}});
    project.write("model/model.safetensors.index.json", index.to_string());
    insta::assert_snapshot!(project.refused(&["run"]), @"
    error: [project]/model: model.safetensors.index.json: weight_map puts lm_head.weight into model-00001-of-00002.safetensors, which is not there; 2 of the 2 files that it names are missing
    hint: download the model again
    ");
    let project = Project::new();
    insta::assert_snapshot!(run_with(&project, "model.source=model/model.safetensors"), @"
    error: [project]/model/model.safetensors is neither a model directory nor a .gguf file
    hint: name the directory, which holds the settings too: [project]/model
    ");
    for (key, value) in [("model_type", json!("mixtral")), ("num_local_experts", json!(8))] {
        project.configure(key, value);
    }
    insta::assert_snapshot!(project.refused(&["run"]), @"
    error: [project]/model/config.json: model_type is mixtral, a mixture of experts, which is not supported
    hint: supported model families are llama, mistral, qwen2, qwen3, gemma2, gemma3_text
    ");
}

#[test]
fn gguf_files_that_are_no_model_of_a_supported_kind() {
    use dean_testing::{Format, Gguf, Meta};
    let project = Project::new();
    let with = |file: Gguf| {
        project.write("model.gguf", file.bytes());
        run_with(&project, "model.source=model.gguf")
    };
    let text = |text: &str| Meta::String(text.to_owned());
    let file = |architecture: &str| Gguf::new(architecture, 32, 8, Format::F32);
    insta::assert_snapshot!(with(file("clip")), @"
    error: [project]/model.gguf: this is the part of a model that reads images or sound (mmproj)
    hint: name the file of the language model, which has the same name without mmproj
    ");
    insta::assert_snapshot!(with(file("llama").with("general.type", text("adapter"))), @"
    error: [project]/model.gguf: this is a LoRA adapter, which changes another model
    hint: merge it into that model with llama.cpp's `llama-export-lora`, and use the result
    ");
    insta::assert_snapshot!(with(file("phi3")), @"
    error: [project]/model.gguf: general.architecture is phi3, which is not supported
    hint: supported model families are llama, mistral, qwen2, qwen3, gemma2, gemma3_text
    ");
    insta::assert_snapshot!(with(file("qwen3moe").with("qwen3moe.expert_count", Meta::U32(128))), @"
    error: [project]/model.gguf: general.architecture is qwen3moe, a mixture of experts, which is not supported
    hint: supported model families are llama, mistral, qwen2, qwen3, gemma2, gemma3_text
    ");
    insta::assert_snapshot!(with(file("llama").with("llama.expert_count", Meta::U32(8))), @"
    error: [project]/model.gguf: llama.expert_count is 8; mixtures of experts are not supported
    hint: use a dense model of a supported family
    ");
    insta::assert_snapshot!(with(file("llama").with("split.count", Meta::U16(3))), @"
    error: [project]/model.gguf: this is one of 3 parts of a GGUF file, but its name says 1
    hint: give the parts their names back: NAME-00001-of-00003.gguf and so on
    ");
    project.write("m-00001-of-00003.gguf", file("llama").bytes());
    insta::assert_snapshot!(run_with(&project, "model.source=m-00001-of-00003.gguf"), @"
    error: [project]/m-00001-of-00003.gguf: of its 3 parts these are missing: m-00002-of-00003.gguf, m-00003-of-00003.gguf
    hint: all parts of a GGUF file belong into one folder; download the others too
    ");
}

#[test]
fn a_folder_of_the_cache_stands_for_its_snapshot() {
    let project = Project::new();
    let cache = project.dir.join("models--owner--name");
    fs::create_dir_all(cache.join("snapshots")).unwrap();
    fs::rename(project.dir.join("model"), cache.join("snapshots/0a1b")).unwrap();
    let command = ["run", "--until", "tokenize", "--set", "model.source=\"models--owner--name\""];
    let (_, told) = project.ok(&command);
    let expected = "models--owner--name is a folder of the Hugging Face cache; the model in ";
    assert!(told.contains(expected) && told.contains("models--owner--name/snapshots/0a1b is used"), "{told}");
    copy_tree(&cache.join("snapshots/0a1b"), &cache.join("snapshots/2c3d"));
    insta::assert_snapshot!(project.refused(&command), @"
    error: [project]/models--owner--name: not a model in Hugging Face layout: no config.json; no file is there
    hint: name one of the snapshots in it: [project]/models--owner--name/snapshots/0a1b, [project]/models--owner--name/snapshots/2c3d
    ");
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::write(cache.join("refs/main"), "2c3d").unwrap();
    assert!(project.ok(&command).1.contains("snapshots/2c3d is used"));
}

#[test]
fn what_is_not_known_of_a_model_is_told_before_it_is_used() {
    let project = Project::new();
    project.configure("hidden_bias_scale", json!(0.5));
    let mut generation: Value =
        serde_json::from_str(&fs::read_to_string(project.dir.join("model/generation_config.json")).unwrap()).unwrap();
    generation["num_beams"] = json!(4);
    generation["temperature"] = json!(0.6);
    project.write("model/generation_config.json", generation.to_string());
    project.write("model/adapter_config.json", "{}");
    let plan = project.plain(&project.ok(&["plan"]).1);
    insta::assert_snapshot!(plan, @"
    warning: [project]/model: the adapter that adapter_config.json describes is not applied; to use it, merge it into the weights with peft
    warning: [project]/model/config.json says hidden_bias_scale = 0.5, which dean does not know; if it changes what the model does, results differ
    warning: [project]/model/generation_config.json says num_beams = 4, which transformers heeds even in greedy answers; dean's answers are the most likely tokens without it
    ");
    let (doctor, _) = project.ok(&["doctor"]);
    assert!(doctor.contains("hidden_bias_scale = 0.5, which dean does not know"), "{doctor}");
}
