//! Thousands of broken models: bytes of valid files turned, cut, doubled and replaced by extremes, the same ones at
//! every run. Opening one, and using what opens, must return, and must not hold more memory than the files warrant.
//!
//! Memory is what the thread's allocator counts (`allocator::counting`), so a length that is believed before the bytes are
//! there is seen even where the system would hand out the pages lazily. Must not know: how any format is read.
#![allow(clippy::disallowed_methods, reason = "thousands of files need no sync to the disk")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dean_testing::{Format, Gguf, Meta};
use serde_json::{Value, json};

use crate::allocator::counting::peak;
use crate::foreign::{Breaker, CASES, LONGEST, broken};
use crate::model::text::thoughts::Think;
use crate::model::{Checkpoint, Message};

/// What a model may take besides its files, and how often their bytes: names and shapes of the thousands of layers that a
/// config.json may claim, and every form that a file's numbers and pieces go through.
const LEAST: usize = 12 << 20;
const TIMES: usize = 40;

/// Breaks one file of a model in [`CASES`] ways. The whole one must open, so that there is something to break.
fn break_file(directory: &Path, name: &str, model: &Path) {
    let whole = fs::read(directory.join(name)).unwrap();
    exercise(model).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (mut random, mut opened, mut most) = (Breaker::new(), 0, 0);
    for case in 0..CASES {
        let broken = broken(&mut random, &whole, case);
        fs::write(directory.join(name), &broken).unwrap();
        let others: usize =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len() as usize).sum();
        let begun = Instant::now();
        let (outcome, held) = peak(|| exercise(model));
        assert!(begun.elapsed() < LONGEST, "{name}, case {case}: {:?}; {outcome:?}", begun.elapsed());
        opened += usize::from(outcome.is_ok());
        most = most.max(held);
        let limit = LEAST + TIMES * others;
        assert!(held <= limit, "{name}, case {case}: {held} bytes were held, {limit} are the most; {outcome:?}");
    }
    fs::write(directory.join(name), &whole).unwrap();
    assert!(opened < CASES, "{name}: nothing was broken");
    assert!(opened > 0, "{name}: nothing opened");
    say(&format!("{name}: {CASES} broken, {opened} opened, at most {most} bytes held"));
}

#[allow(clippy::disallowed_macros, reason = "what was found belongs to the test's output")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Opens a model and uses all of it. What is broken deeper than opening looks is an error as well.
fn exercise(model: &Path) -> crate::error::Result<()> {
    let opened = Checkpoint::open(model)?;
    let mut outcome = Ok(());
    for spec in opened.config().tensors() {
        outcome = outcome.and(opened.tensor(&spec.name).map(drop));
    }
    let text = opened.text()?;
    // The models here have fewer rows than their tokeniser has ids, which is an error of its own.
    let ids = text.encode("Once upon a time\n <s> 🙂", true).unwrap_or_else(|_| (0..400).collect());
    text.decode(&ids, true)?;
    let turns = [Message::system("Be brief."), Message::user("Once upon a time")];
    // A model without a template is none the worse for it.
    let _ = text.render_chat(&turns, true, Think::Model, "26 Jul 2024");
    outcome.and(opened.weights_digest(&|_, _| ()).map(drop))
}

/// A complete model out of the fixtures: config.json, tokenizer.model and the named files.
fn model(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let own = [
        ("config.json", fixture("pytorch/model/config.json")),
        ("tokenizer.model", fixture("sentencepiece/bpe.model")),
    ];
    for (name, bytes) in own.iter().chain(files) {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&own[0].1).unwrap();
    config["eos_token_id"] = json!([2]);
    config["rope_scaling"] = json!({"rope_type": "linear", "factor": 2.0});
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).unwrap()
}

#[test]
fn broken_safetensors_and_configurations_are_survived() {
    let weights = fixture("pytorch/model/model.safetensors");
    let settings = |end: u32| {
        let tokens = json!({end.to_string(): {"content": "<|end|>", "special": true}});
        json!({"tokenizer_class": "LlamaTokenizer", "legacy": false, "bos_token": {"content": "<s>"},
               "added_tokens_decoder": tokens, "chat_template": "{{ messages }}"})
        .to_string()
        .into_bytes()
    };
    let dir = model(&[("model.safetensors", weights), ("tokenizer_config.json", settings(380))]);
    for name in ["model.safetensors", "config.json", "tokenizer_config.json", "tokenizer.model"] {
        break_file(dir.path(), name, dir.path());
    }
    fs::write(dir.path().join("tokenizer.model"), fixture("sentencepiece/unigram.model")).unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), settings(320)).unwrap();
    break_file(dir.path(), "tokenizer.model", dir.path());
}

#[test]
fn broken_tokenisers_and_templates_are_survived() {
    let weights = fixture("pytorch/model/model.safetensors");
    let template = "{%- set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' and loop.index0 >= ns.last \
        %}{% set ns.last = loop.index0 %}<s>[{{ m['content'].strip()|replace('a', 'b') ~ '!' * 2 }}]{% elif m.content is \
        string %}{{ {'a': [1, m.content]}|tojson(indent=1) }}{% endif %}{% endfor %}{% macro end(x) %}{{ x[1:] + x }}\
        {% endmacro %}{{ end('</s>') if add_generation_prompt else raise_exception('no') }}";
    let mut tokenizer = dean_testing::byte_level(&["<|start|>", "<|end|>"]);
    // Regular expressions and replacements, as in the tokenisers of many models.
    let split =
        r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": "a{2,}"}, "content": "aa"}, {"type": "NFC"}]});
    tokenizer["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]});
    let files = [("model.safetensors", weights), ("tokenizer.json", tokenizer.to_string().into_bytes())];
    let dir = model(&files);
    fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    break_file(dir.path(), "tokenizer.json", dir.path());
    break_file(dir.path(), "chat_template.jinja", dir.path());
}

#[test]
fn broken_indexes_are_survived() {
    let whole = fixture("pytorch/model/model.safetensors");
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let names = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__");
    let map: serde_json::Map<String, Value> = names.map(|name| (name.clone(), json!("model-1.safetensors"))).collect();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string().into_bytes();
    let dir = model(&[("model-1.safetensors", whole), ("model.safetensors.index.json", index)]);
    break_file(dir.path(), "model.safetensors.index.json", dir.path());

    let files =
        ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"]
            .map(|name| (name, fixture(&format!("pytorch/model/{name}"))));
    let dir = model(&files);
    break_file(dir.path(), "pytorch_model.bin.index.json", dir.path());
}

#[test]
fn broken_pytorch_files_are_survived() {
    for name in ["state-dict.bin", "views.bin", "legacy.bin"] {
        let mut bytes = fixture(&format!("pytorch/{name}"));
        // Without checksums, or every turned bit would end there.
        for (mark, at) in [(b"PK\x03\x04", 14), (b"PK\x01\x02", 16)] {
            let places: Vec<usize> =
                bytes.windows(4).enumerate().filter(|(_, window)| window == mark).map(|(place, _)| place).collect();
            for place in places {
                bytes[place + at..place + at + 4].fill(0);
            }
        }
        let dir = model(&[("pytorch_model.bin", bytes)]);
        break_file(dir.path(), "pytorch_model.bin", dir.path());
    }
}

#[test]
fn broken_gguf_files_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    fs::write(&path, gguf()).unwrap();
    break_file(dir.path(), "m.gguf", &path);
}

/// A GGUF file of one layer with a SentencePiece vocabulary of seven.
fn gguf() -> Vec<u8> {
    let text = |text: &str| Meta::String(text.to_owned());
    let mut file = Gguf::new("llama", 16, 7, Format::F32);
    for (key, value) in [
        ("model", text("llama")),
        ("tokens", Meta::Array(["<unk>", "<s>", "</s>", "<0x20>", "▁", "a", "▁a"].map(text).into())),
        ("token_type", Meta::Array([2, 3, 3, 6, 1, 1, 1].map(Meta::I32).into())),
        ("scores", Meta::Array((0_u8..7).map(|n| Meta::F32(-f32::from(n))).collect())),
        ("bos_token_id", Meta::U32(1)),
        ("eos_token_id", Meta::U32(2)),
        ("unknown_token_id", Meta::U32(0)),
    ] {
        file = file.with(&format!("tokenizer.ggml.{key}"), value);
    }
    file.bytes()
}
