//! The made-up world of the key table's test: models of zeros, files with a row or two, outputs that no
//! stage has computed.
//!
//! Must not know: what is compared.

use std::path::Path;

use dean::files;
use dean::rank::{RankTable, top};
use safetensors::Dtype;
use serde_json::json;

/// The outputs of a stage that has not run: the same for every node of it.
pub fn outputs(stage: &str, other: Option<(&str, &str)>) -> Vec<(String, Vec<u8>)> {
    let names: &[&str] = match stage {
        "tokenize" => &["tokens", "prompts"],
        "score" => &["ranks", "scores"],
        "patch" => &["patch"],
        "generate" => &["answers"],
        "inspect" => &["outcomes"],
        "judge" => &["verdicts", "outcomes"],
        "divergence" => &["states", "outcomes"],
        "perplexity" => &["outcomes"],
        "report" => &["report", "outcomes", "leaks"],
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
    let matrix = |(tensor, shape): &dean_testing::Tensor| {
        let numel = shape.iter().product::<usize>();
        let score = |index: usize| (if doubled { 2 } else { 1 } * (1 + (index + usize::from(turned)) % numel)) as f32;
        let scores: Vec<f32> = (0..numel).map(score).collect();
        top(tensor, &scores, shape[1], 1.0).unwrap()
    };
    let tensors = dean_testing::tensors(&dean_testing::config(json!({})));
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
    for same in ["given.jsonl", "given-copy.jsonl", "given.csv"] {
        write(same, b"{\"row\": 0, \"answer\": \"I.\"}\n");
    }
    write("given-other.jsonl", b"{\"row\": 0, \"answer\": \"You.\"}\n");
    write("other.csv", b"prompt,response,questions\nHow is it?,Well.,Who?\n");
    write(
        "chat.jsonl",
        br#"{"messages": [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well."}]}"#,
    );
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

/// A model directory in Hugging Face layout: zeros, but for the very last byte of the weights.
fn model(dir: &Path, norm_eps: f64, letter: &str, last_byte: u8, shards: usize) {
    let write = |name: &str, bytes: &[u8]| files::write_atomic(&dir.join(name), bytes).unwrap();
    files::create_dir_all(dir).unwrap();
    let config = dean_testing::config(json!({ "rms_norm_eps": norm_eps }));
    write("config.json", config.to_string().as_bytes());
    let vocabulary = serde_json::Map::from_iter([(letter.to_owned(), json!(0))]);
    write("tokenizer.json", dean_testing::bpe(vocabulary, &[], false).to_string().as_bytes());

    let tensors = dean_testing::tensors(&config);
    let mut weight_map = serde_json::Map::new();
    for (number, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = if shards == 1 { "model.safetensors".to_owned() } else { format!("model-{number}.safetensors") };
        weight_map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        let mut bytes = dean_testing::safetensors(part, Dtype::BF16, |_, _| 0.0);
        if part.last() == tensors.last() {
            *bytes.last_mut().unwrap() = last_byte;
        }
        write(&name, &bytes);
    }
    if shards > 1 {
        let index = json!({"metadata": {}, "weight_map": weight_map});
        write("model.safetensors.index.json", index.to_string().as_bytes());
    }
}
