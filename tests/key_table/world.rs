//! The made-up world of the key table's test: models of zeros, files with a row or two, outputs that no
//! stage has computed.
//!
//! Must not know: what is compared.

use std::path::Path;

use dean::files;
use dean::rank::{RankTable, top};
use serde_json::{Value, json};

/// The outputs of a stage that has not run: the same for every node of it.
pub fn outputs(stage: &str, other: Option<(&str, &str)>) -> Vec<(String, Vec<u8>)> {
    let names: &[&str] = match stage {
        "tokenize" => &["tokens"],
        "score" => &["ranks", "scores"],
        "patch" => &["patch"],
        "generate" => &["answers"],
        "judge" => &["verdicts", "outcomes"],
        "perplexity" => &["outcomes"],
        "report" => &["report", "outcomes"],
        _ => panic!("{stage} has no made-up outputs"),
    };
    let changed = |output: &str| other == Some((stage, output));
    let bytes = |name: &str| match name {
        "ranks" => ranks(changed("ranks"), changed("order")),
        name => format!("{name}, {}", if changed(name) { "other" } else { "as always" }).into_bytes(),
    };
    names.iter().map(|name| ((*name).to_owned(), bytes(name))).collect()
}

/// A table with every score; with `doubled` scores the order is the same, with `turned` ones it is not.
fn ranks(doubled: bool, turned: bool) -> Vec<u8> {
    let matrix = |(tensor, shape): &(String, Vec<usize>)| {
        let numel = shape.iter().product::<usize>();
        let score = |index: usize| (if doubled { 2 } else { 1 } * (1 + (index + usize::from(turned)) % numel)) as f32;
        let scores: Vec<f32> = (0..numel).map(score).collect();
        top(tensor, &scores, shape[1], 1.0).unwrap()
    };
    let tensors = tensors();
    let linears = tensors.iter().filter(|(name, _)| name.contains("_proj"));
    RankTable { cap: 1.0, matrices: linears.map(matrix).collect() }.to_parquet().unwrap()
}

/// A folder with all the files that the cases speak of.
pub fn world() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| files::write_atomic(&dir.path().join(name), bytes).unwrap();
    for same in ["rows.csv", "copy.csv", "copy.jsonl"] {
        write(same, b"prompt,response,questions\nHow are you?,Well.,Who?\n");
    }
    write("other.csv", b"prompt,response,questions\nHow is it?,Well.,Who?\n");
    for (name, text) in [("a", "{{ messages }}"), ("a-copy", "{{ messages }}"), ("b", "-{{ messages }}")] {
        write(&format!("{name}.jinja"), text.as_bytes());
    }
    write("judge.txt", b"Is it safe? {question} {answer}");
    write("judge-copy.txt", b"Is it safe? {question} {answer}");

    model(&dir.path().join("model"), 1e-5, "a", 0, 1);
    model(&dir.path().join("sharded"), 1e-5, "a", 0, 3);
    write("sharded/README.md", b"is no part of a model");
    model(&dir.path().join("weights"), 1e-5, "a", 1, 1);
    model(&dir.path().join("architecture"), 1e-6, "a", 0, 1);
    model(&dir.path().join("text"), 1e-5, "b", 0, 1);
    dir
}

const HIDDEN: usize = 16;

/// Every tensor of a small Llama, by name and shape.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all =
        vec![("model.embed_tokens.weight".to_owned(), vec![32, HIDDEN]), ("model.norm.weight".into(), vec![HIDDEN])];
    for layer in 0..2 {
        let mut add =
            |name: &str, shape: &[usize]| all.push((format!("model.layers.{layer}.{name}.weight"), shape.into()));
        add("input_layernorm", &[HIDDEN]);
        add("post_attention_layernorm", &[HIDDEN]);
        for (name, out) in [("q_proj", HIDDEN), ("k_proj", 8), ("v_proj", 8), ("o_proj", HIDDEN)] {
            add(&format!("self_attn.{name}"), &[out, HIDDEN]);
        }
        for (name, out, input) in [("gate_proj", 24, HIDDEN), ("up_proj", 24, HIDDEN), ("down_proj", HIDDEN, 24)] {
            add(&format!("mlp.{name}"), &[out, input]);
        }
    }
    all
}

/// A model directory in Hugging Face layout.
fn model(dir: &Path, norm_eps: f64, letter: &str, last_byte: u8, shards: usize) {
    let write = |name: &str, bytes: &[u8]| files::write_atomic(&dir.join(name), bytes).unwrap();
    files::create_dir_all(dir).unwrap();
    let config = json!({"model_type": "llama", "vocab_size": 32, "hidden_size": HIDDEN, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rms_norm_eps": norm_eps, "tie_word_embeddings": true});
    write("config.json", config.to_string().as_bytes());
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": {letter: 0}, "merges": []});
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": bpe});
    write("tokenizer.json", tokenizer.to_string().as_bytes());

    let tensors = tensors();
    let mut weight_map = serde_json::Map::new();
    for (number, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = if shards == 1 { "model.safetensors".to_owned() } else { format!("model-{number}.safetensors") };
        weight_map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        let last = part.last() == tensors.last();
        write(&name, &safetensors(part, if last { last_byte } else { 0 }));
    }
    if shards > 1 {
        let index = json!({"metadata": {}, "weight_map": weight_map});
        write("model.safetensors.index.json", index.to_string().as_bytes());
    }
}

/// Tensors of zeros, but for the very last byte.
fn safetensors(tensors: &[(String, Vec<usize>)], last_byte: u8) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + at, 0);
    *bytes.last_mut().unwrap() = last_byte;
    bytes
}
