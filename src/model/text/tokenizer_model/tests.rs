//! SentencePiece models that were trained by tests/sentencepiece/make.py, against the ids of transformers; and files
//! that are cut, turned or ask for more. Must not know: how merges are made.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::files;
use crate::model::source::layout::Layout;
use crate::model::text::Text;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece").join(name)
}

/// A directory with a tokenizer.model and some JSON files, as text.
fn text(model: &[u8], named: &[(&str, &Value)]) -> Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    files::write_atomic(&dir.path().join("tokenizer.model"), model).unwrap();
    for (name, value) in named {
        files::write_atomic(&dir.path().join(name), value.to_string().as_bytes()).unwrap();
    }
    for name in ["config.json", "model.safetensors"] {
        files::write_atomic(&dir.path().join(name), b"").unwrap();
    }
    Text::from_directory(&Layout::of_directory(dir.path())?, &json!({"eos_token_id": 2}), 1000)
}

#[test]
fn ids_and_texts_are_those_of_transformers() {
    for kind in ["bpe", "unigram"] {
        let model = files::read(&fixture(&format!("{kind}.model"))).unwrap();
        let goldens: Value = serde_json::from_slice(&files::read(&fixture(&format!("{kind}.json"))).unwrap()).unwrap();
        for golden in goldens.as_array().unwrap() {
            let text = text(&model, &[("tokenizer_config.json", &golden["settings"])]).unwrap();
            let cases = golden["cases"].as_array().unwrap();
            assert!(cases.len() >= 30);
            for case in cases {
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                let place = format!("{kind}, {}: {}", golden["settings"], case["text"]);
                assert_eq!(text.encode(case["text"].as_str().unwrap(), true).unwrap(), ids, "{place}");
                assert_eq!(text.decode(&ids, false).unwrap(), case["decoded"].as_str().unwrap(), "{place}");
            }
            assert_eq!(text.stop_ids(), [2]);
        }
    }
}

#[test]
fn tokens_of_an_older_file_and_a_switch_for_the_first_space_count() {
    let model = files::read(&fixture("bpe.model")).unwrap();
    let beyond = json!({"<pad>": 380, "<s>": 7});
    let settings = json!({"add_prefix_space": false, "add_bos_token": false, "legacy": false});
    let text = text(&model, &[("added_tokens.json", &beyond), ("tokenizer_config.json", &settings)]).unwrap();
    assert_eq!(text.encode("<pad>", true).unwrap(), [380]);
    assert_eq!(text.encode("<s>", true).unwrap(), [1], "the model's own id stands");
    let plain = text.encode("at", true).unwrap();
    assert_eq!(plain.len(), 1);
    assert_eq!(text.decode(&plain, true).unwrap(), "at");
}

#[test]
fn tokenizer_json_goes_first_and_other_classes_are_refused() {
    let model = files::read(&fixture("bpe.model")).unwrap();
    let other = json!({"tokenizer_class": "T5Tokenizer"});
    let error = text(&model, &[("tokenizer_config.json", &other)]).map(|_| ()).unwrap_err();
    assert!(
        error.message().ends_with("has no tokenizer.json, and a tokenizer.model is not read for the class T5Tokenizer")
    );
    assert!(error.hint_text().unwrap().contains("AutoTokenizer"));
    let error = text(&model, &[("tokenizer.json", &json!({}))]).map(|_| ()).unwrap_err();
    assert!(error.message().contains("tokenizer.json: the tokeniser is malformed"), "{error}");
}

/// A field of a message: bytes.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[field << 3 | 2, content.len() as u8], content].concat()
}

/// A field of a message: a number, whose field may have two bytes.
fn number(field: u16, value: u8) -> Vec<u8> {
    let key = field << 3;
    if key < 128 { vec![key as u8, value] } else { vec![(key & 127) as u8 | 128, (key >> 7) as u8, value] }
}

#[test]
fn what_a_file_asks_for_beyond_this_is_refused() {
    let piece =
        |text: &str, kind: u8| bytes(1, &[bytes(1, text.as_bytes()), vec![21, 0, 0, 0, 0], number(3, kind)].concat());
    let pieces = [piece("<unk>", 2), piece("<s>", 3), piece("</s>", 3), piece("a", 1)].concat();
    let (bpe, plain) = (bytes(2, &number(3, 2)), bytes(3, &number(4, 0)));
    let good = [&pieces[..], &bpe, &plain].concat();
    let made = text(&good, &[]).unwrap();
    assert_eq!(made.encode("a", true).unwrap().first(), Some(&1));
    let refused = |parts: &[&[u8]]| {
        let message = text(&parts.concat(), &[]).map(|_| ()).unwrap_err().message().to_owned();
        message[message.find("tokenizer.model").unwrap()..].to_owned()
    };
    insta::assert_snapshot!(refused(&[&pieces, &bytes(2, &number(3, 3)), &plain]), @"tokenizer.model: the tokeniser uses model_type 3, neither unigram (1) nor BPE (2), which is not supported");
    insta::assert_snapshot!(refused(&[&good, &bytes(2, &number(24, 1))]), @"tokenizer.model: the tokeniser uses treat_whitespace_as_suffix, which is not supported");
    insta::assert_snapshot!(refused(&[&pieces, &bpe]), @"tokenizer.model: the tokeniser uses remove_extra_whitespaces, which is not supported");
    insta::assert_snapshot!(refused(&[&good, &bytes(3, &bytes(2, b"table"))]), @"tokenizer.model: the tokeniser uses a table of character replacements (precompiled_charsmap), which is not supported");
    insta::assert_snapshot!(refused(&[&good, &bytes(3, &number(5, 0))]), @"tokenizer.model: the tokeniser uses escape_whitespaces = false, which is not supported");
    insta::assert_snapshot!(refused(&[&good, &piece("a", 1)]), @"tokenizer.model: this is not a SentencePiece model: pieces are missing or there twice");
    insta::assert_snapshot!(refused(&[&good, &piece("", 1)]), @r#"tokenizer.model: piece 4 is malformed: text "", score 0, type 1"#);
    insta::assert_snapshot!(refused(&[&good, &piece("b", 9)]), @r#"tokenizer.model: piece 4 is malformed: text "b", score 0, type 9"#);
    insta::assert_snapshot!(refused(&[&good, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]), @"tokenizer.model: the file is truncated, or not a SentencePiece model");
    insta::assert_snapshot!(refused(&[&good, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]), @"tokenizer.model: the file is truncated, or not a SentencePiece model");
    insta::assert_snapshot!(refused(&[b"version https://git-lfs"]), @"tokenizer.model is a Git LFS pointer, not the file itself");
    insta::assert_snapshot!(refused(&[b""]), @"tokenizer.model is empty");
}
