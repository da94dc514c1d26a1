//! Tokenisers and templates that a directory describes. `tests/interop` and `tests/outside` compare ids with those of
//! transformers and of SentencePiece.

use std::path::Path;

use super::definition::added_token;
use super::*;
use crate::files;
use crate::model::Checkpoint;

#[test]
fn special_tokens_are_added_and_skipped_on_demand() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/models/mistral");
    let text = Checkpoint::open(&model).unwrap().into_text().unwrap();
    let ids = text.encode("a", false).unwrap();
    let [id] = ids[..] else { panic!("one token: {ids:?}") };
    assert_eq!(text.encode("a", true).unwrap(), [0, id]);
    assert_eq!(text.decode(&[0, id, 1], true).unwrap(), "a");
    assert_eq!(text.decode(&[0, id, 1], false).unwrap(), "<s>a</s>");
}

/// A word-level model directory's text, with the given side files.
fn directory(tokenizer_changes: Value, settings: Value) -> Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    let mut tokenizer = json!({
        "version": "1.0", "pre_tokenizer": {"type": "Whitespace"},
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "added_tokens": [added_token(3, "<s>", true), added_token(4, "</s>", true)],
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "[unk]": 2}, "unk_token": "[unk]"},
    });
    tokenizer.as_object_mut().unwrap().extend(tokenizer_changes.as_object().unwrap().clone());
    for (name, value) in [("tokenizer.json", &tokenizer), ("tokenizer_config.json", &settings)] {
        files::write_atomic(&dir.path().join(name), value.to_string().as_bytes()).unwrap();
    }
    for name in ["config.json", "model.safetensors"] {
        files::write_atomic(&dir.path().join(name), b"").unwrap();
    }
    Text::from_directory(&Layout::of_directory(dir.path()).unwrap(), &json!({"eos_token_id": [0, 1]}), 6)
}

#[test]
fn llama_classes_follow_their_switches_and_nothing_is_truncated() {
    let names = json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}});
    let with = |more: Value| {
        let mut settings = names.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        directory(json!({}), settings).unwrap()
    };
    let plain = with(json!({}));
    assert_eq!(plain.encode("a b a", true).unwrap(), [0, 1, 0]);
    assert_eq!(plain.stop_ids(), [0, 1, 4]);
    let llama = with(json!({"tokenizer_class": "LlamaTokenizer", "add_eos_token": true}));
    assert_eq!(llama.encode("a b a", true).unwrap(), [3, 0, 1, 0, 4]);
    assert_ne!(llama.digest(), plain.digest());
    let off = with(json!({"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false}));
    assert_eq!(off.encode("a", true).unwrap(), [0]);
}

#[test]
fn templates_and_tokens_may_sit_in_tokenizer_config() {
    let settings = json!({
        "chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "{{ messages[0].content }}<x>"}],
        "added_tokens_decoder": {"5": {"content": "<x>", "special": true}, "3": {"content": "<s>", "special": true}},
    });
    let text = directory(json!({}), settings).unwrap();
    let chat = text.render_chat(&[Message::user("b")], false, "").unwrap();
    assert_eq!(text.encode(&chat, false).unwrap(), [1, 5]);
    assert_eq!(text.decode(&[1, 5], true).unwrap(), "b");
}

#[test]
fn broken_tokenizers_are_sentences() {
    let random = json!({"model": {"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []}});
    let error = directory(random, json!({})).err().unwrap();
    assert!(error.message().ends_with("the tokeniser has a dropout of 0.1: it cuts text at random"), "{error}");
    let gap = directory(json!({}), json!({"added_tokens_decoder": {"9": {"content": "<x>"}}})).err().unwrap();
    assert!(gap.message().contains("<x>"), "{gap}");
    let beyond = json!({"added_tokens": [added_token(3, "<s>", true), added_token(4, "</s>", true),
        added_token(5, "<x>", true), added_token(6, "<y>", true)]});
    let error = directory(beyond, json!({})).unwrap().encode("a <y>", false).unwrap_err();
    assert!(error.message().contains("<y>, token 6"), "{error}");
    let model = directory(json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}), json!({}));
    assert!(model.err().unwrap().message().contains("the tokeniser is malformed"));
}
