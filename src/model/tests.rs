//! Thousands of broken models: bytes of valid files turned, cut, doubled and replaced by extremes, the same ones at
//! every run. Opening one, and using what opens, must return, and must not hold more memory than the files warrant.
//!
//! Memory is what the thread's allocator counts (`allocator::counting`), so a length that is believed before the bytes are
//! there is seen even where the system would hand out the pages lazily. Must not know: how any format is read.
#![allow(clippy::disallowed_methods, reason = "thousands of files need no sync to the disk")]

use std::fs;
use std::path::{Path, PathBuf};

use dean_testing::{Format, Gguf, Meta, Random};
use serde_json::{Value, json};

use crate::allocator::counting::peak;
use crate::model::Checkpoint;

/// Broken inputs of each kind of file.
const CASES: usize = 700;

/// What a model may take besides its files, and how often their bytes: names and shapes of the thousands of layers that a
/// config.json may claim, and every form that a file's numbers and pieces go through.
const LEAST: usize = 12 << 20;
const TIMES: usize = 40;

/// Breaks files and documents at random.
struct Breaker(Random);

impl Breaker {
    fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit)
    }

    /// A place, every other time near the beginning, where headers are.
    fn place(&mut self, length: usize) -> usize {
        let within = if self.below(2) == 0 { length.min(600) } else { length };
        self.below(within)
    }

    fn mutate(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            let at = self.place(bytes.len());
            let end = (at + 1 + self.below(24)).min(bytes.len());
            match self.below(8) {
                0 | 1 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte = self.0.bits() as u8),
                2 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << self.0.below(8)),
                3 => {
                    let numbers = [u64::MAX, 0, 1 << 63, 1 << 40, u64::from(u32::MAX), 1 << 31, 3];
                    let extreme = numbers[self.below(numbers.len())].to_le_bytes();
                    let width = [1, 2, 4, 8][self.below(4)];
                    bytes.iter_mut().skip(at).zip(&extreme[..width]).for_each(|(byte, extreme)| *byte = *extreme);
                }
                4 => drop(bytes.drain(at..end)),
                5 => {
                    let copy = bytes[at..end].to_vec();
                    let to = self.place(bytes.len());
                    bytes.splice(to..to, copy);
                }
                6 => {
                    let texts: [&[u8]; 8] = [b"9", b"-", b"\"", b"99999999999", b"{", b"null", b"[", b"1e999"];
                    let text = texts[self.below(texts.len())];
                    bytes.splice(at..end.min(at + self.below(2) * 3), text.iter().copied());
                }
                _ if self.below(4) == 0 => bytes.truncate(at),
                _ => {}
            }
            if bytes.is_empty() {
                return bytes;
            }
        }
        bytes
    }

    /// Replaces one value somewhere in a JSON document.
    fn replace(&mut self, value: &mut Value) {
        let within = match value {
            Value::Object(map) if !map.is_empty() && self.below(6) > 0 => {
                let at = self.below(map.len());
                map.values_mut().nth(at)
            }
            Value::Array(list) if !list.is_empty() && self.below(6) > 0 => {
                let at = self.below(list.len());
                list.get_mut(at)
            }
            _ => None,
        };
        if let Some(within) = within {
            return self.replace(within);
        }
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let others = [
            json!(null),
            json!(-1),
            json!(0),
            json!(1),
            json!(2),
            json!(1e308),
            json!(u64::MAX),
            json!(1 << 24),
            json!(4096),
            json!(""),
            json!("a".repeat(3000)),
            json!([]),
            json!({}),
            json!(true),
            json!(0.5),
            json!("../x"),
            deep,
        ];
        *value = others[self.below(others.len())].clone();
    }
}

/// Breaks one file of a model in [`CASES`] ways. The whole one must open, so that there is something to break.
fn break_file(directory: &Path, name: &str, model: &Path) {
    let whole = fs::read(directory.join(name)).unwrap();
    exercise(model).unwrap_or_else(|error| panic!("{name}: {error}"));
    let document: Option<Value> = serde_json::from_slice(&whole).ok();
    let (mut random, mut opened, mut most) = (Breaker(Random(0)), 0, 0);
    for case in 0..CASES {
        let broken = match &document {
            Some(document) if case % 2 == 0 => {
                let mut document = document.clone();
                random.replace(&mut document);
                document.to_string().into_bytes()
            }
            _ => random.mutate(whole.clone()),
        };
        fs::write(directory.join(name), &broken).unwrap();
        let others: usize =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len() as usize).sum();
        let (outcome, held) = peak(|| exercise(model));
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
