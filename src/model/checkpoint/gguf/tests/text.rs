//! Tokenisers that are carried over from a tokenizer.json into a header, and chat templates of headers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dean_testing::{Gguf, Meta};

use crate::error::Result;
use crate::files;
use crate::model::gguf::GgufFile;
use crate::model::text::Text;
use crate::model::text::thoughts::Think;

/// A tokenizer.json's vocabulary and merges as GGUF metadata.
fn tokenizer_meta(file: &Path, pre: &str, add_bos: bool) -> Vec<(String, Meta)> {
    let json: serde_json::Value = serde_json::from_slice(&files::read(file).unwrap()).unwrap();
    let mut tokens: BTreeMap<u64, (String, i32)> = BTreeMap::new();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens.insert(id.as_u64().unwrap(), (token.clone(), 1));
    }
    for token in json["added_tokens"].as_array().unwrap() {
        tokens.insert(token["id"].as_u64().unwrap(), (token["content"].as_str().unwrap().to_owned(), 3));
    }
    let text = |value: &serde_json::Value| match value.as_array() {
        Some(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        None => value.as_str().unwrap().to_owned(),
    };
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| Meta::String(text(merge)));
    let key = |short: &str| format!("tokenizer.ggml.{short}");
    vec![
        (key("model"), Meta::String("gpt2".into())),
        (key("pre"), Meta::String(pre.into())),
        (key("tokens"), Meta::Array(tokens.values().map(|(token, _)| Meta::String(token.clone())).collect())),
        (key("token_type"), Meta::Array(tokens.values().map(|(_, kind)| Meta::I32(*kind)).collect())),
        (key("merges"), Meta::Array(merges.collect())),
        (key("add_bos_token"), Meta::Bool(add_bos)),
        (key("bos_token_id"), Meta::U32(0)),
        (key("eos_token_id"), Meta::U32(1)),
    ]
}

/// A model of `tests/interop`, with what transformers says of it.
fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/models").join(name)
}

fn text_of(meta: &[(String, Meta)]) -> Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    files::write_atomic(&path, &Gguf { metadata: meta.to_vec(), tensors: Vec::new() }.bytes()).unwrap();
    Text::from_gguf(&GgufFile::open(&path).unwrap(), 304)
}

#[test]
fn a_gguf_tokenizer_equals_the_tokenizer_json_it_came_from() {
    for (name, pre, bos) in [("qwen2-tied", "qwen2", false), ("mistral", "gpt-2", true)] {
        let folder = committed(name);
        let text = text_of(&tokenizer_meta(&folder.join("tokenizer.json"), pre, bos)).unwrap();
        let golden: serde_json::Value =
            serde_json::from_slice(&files::read(&folder.join("golden/golden.json")).unwrap()).unwrap();
        for case in golden["tokenizer"].as_array().unwrap() {
            let plain = case["text"].as_str().unwrap();
            let ids = text.encode(plain, true).unwrap();
            assert_eq!(serde_json::json!(ids), case["ids"], "{name}: {case}");
            let begin = if bos { "<s>" } else { "" };
            assert_eq!(text.decode(&ids, false).unwrap(), format!("{begin}{plain}"), "{name}");
        }
        assert_eq!(text.stop_ids(), [1, 3], "the end of the text, and by its name that of a turn");
    }
}

#[test]
fn turns_end_with_tokens_of_known_names_whatever_else_the_file_names() {
    let folder = committed("qwen2-tied");
    let mut meta = tokenizer_meta(&folder.join("tokenizer.json"), "qwen2", false);
    // Id 3 is <|im_end|>, and 1 is the end of the text. Whatever type the file gives them, they are special.
    assert_eq!(text_of(&meta).unwrap().stop_ids(), [1, 3]);
    meta.push(("tokenizer.ggml.eot_token_id".into(), Meta::U32(2)));
    assert_eq!(text_of(&meta).unwrap().stop_ids(), [1, 2, 3]);
    let stops = |names: [&str; 3]| {
        let mut meta = meta.clone();
        meta.truncate(8);
        let Meta::Array(tokens) = &mut meta[2].1 else { panic!("no tokens") };
        for (token, name) in tokens[300..].iter_mut().zip(names) {
            *token = Meta::String(name.into());
        }
        // no merge may make a token that is no longer there
        let Meta::Array(merges) = &mut meta[4].1 else { panic!("no merges") };
        merges.truncate(1);
        let Meta::Array(types) = &mut meta[3].1 else { panic!("no types") };
        types[300..].fill(Meta::I32(1));
        let text = text_of(&meta).unwrap();
        let shown = [false, true].map(|hidden| text.decode(&[300, 301, 302], hidden).unwrap());
        (text.stop_ids()[2..].to_vec(), shown)
    };
    let all = ["<|eot_id|>", "<end_of_turn>", "<|eom_id|>"];
    assert_eq!(stops(all), (vec![300, 301, 302], [all.concat(), String::new()]), "shown or hidden as asked");
    assert_eq!(stops(["_<EOT>", "[EOS]", "<|start|>"]).0, [300, 301]);
    // Where <|end|> only ends a message, and <|return|> the turn.
    let harmony = ["<|return|>", "<|call|>", "<|end|>"];
    assert_eq!(stops(harmony), (vec![300, 301], [harmony.concat(), "<|end|>".into()]));
}

#[test]
fn names_of_templates_are_listed_where_there_is_no_default() {
    let mut meta = tokenizer_meta(&committed("qwen2-tied").join("tokenizer.json"), "qwen2", false);
    meta.push(("tokenizer.chat_template.rag".into(), Meta::String("{{ 1 }}".into())));
    let error = |meta: &[(String, Meta)]| text_of(meta).unwrap().render_chat(&[], true, Think::Model, "").unwrap_err();
    assert!(error(&meta).message().ends_with("m.gguf are named rag, and none is the default"));
    meta.push(("tokenizer.chat_template".into(), Meta::String("{{ raise_exception('no') }}".into())));
    assert!(error(&meta).message().ends_with("m.gguf: tokenizer.chat_template, line 1: the template says: no"));
}

#[test]
fn splitting_rules_go_by_name() {
    let folder = committed("qwen2-tied");
    let meta = |pre: &str| tokenizer_meta(&folder.join("tokenizer.json"), pre, false);
    let ids = |pre: &str, text: &str| text_of(&meta(pre)).unwrap().encode(text, true).unwrap();
    assert_eq!(ids("llama-bpe", "tabs\tand so I'LL"), ids("qwen2", "tabs\tand so I'LL"));
    // only Qwen composes accents
    assert_ne!(ids("llama-bpe", "e\u{301}"), ids("qwen2", "e\u{301}"));

    // Llama 3 lets three digits stay together, Qwen none: seen with one more merge
    let digits = |pre: &str| {
        let mut meta = meta(pre);
        // the last token gives up its place to "12", which the only merge makes
        let Meta::Array(tokens) = &mut meta[2].1 else { panic!("no tokens") };
        tokens[303] = Meta::String("12".into());
        meta[4].1 = Meta::Array(vec![Meta::String("1 2".into())]);
        text_of(&meta).unwrap().encode("12", true).unwrap()
    };
    assert_eq!(digits("llama-bpe"), [303]);
    assert_eq!(digits("qwen2").len(), 2);

    // llama.cpp's default is a rule of its own: it cuts signs off before anything else
    assert_ne!(ids("default", "no\u{301}. x"), ids("qwen2", "no\u{301}. x"));
    let error = text_of(&meta("chatglm-bpe")).err().unwrap();
    let hint = error.hint_text().unwrap();
    assert!(error.message().contains("tokenizer.ggml.pre is chatglm-bpe") && hint.contains("tekken"), "{error}");
    let mut other = meta("qwen2");
    other[0].1 = Meta::String("t5".into());
    assert!(text_of(&other).err().unwrap().message().contains("tokenizer.ggml.model is t5"));
    let mut outside = meta("qwen2");
    outside[7].1 = Meta::U32(99_999);
    assert!(text_of(&outside).err().unwrap().message().contains("eos_token_id is 99999"));
}
