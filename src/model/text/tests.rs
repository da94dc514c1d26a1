//! Tokenisers and templates against ids that transformers made, and against an independent SentencePiece.

use std::collections::HashMap;

use super::definition::added_token;
use super::*;
use crate::files;
use crate::model::Checkpoint;
use crate::model::checkpoint::tests::{shared, smollm2};

fn golden(path: &Path) -> Value {
    serde_json::from_slice(&files::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_i64().unwrap()).unwrap()).collect()
}

fn text(path: &Path) -> Text {
    Checkpoint::open(path).unwrap().into_text().unwrap()
}

#[test]
fn the_tiny_tokenizers_agree_with_transformers() {
    for name in ["qwen2-tied", "mistral-sw"] {
        let Some(folder) = shared(&format!("golden/tiny/{name}")) else { return };
        let text = text(&folder);
        let golden = golden(&folder.join("golden/golden.json"));
        let cases = golden["tokenizer"].as_array().unwrap();
        assert!(cases.len() >= 10);
        for case in cases {
            let expected = ids(&case["ids"]);
            assert_eq!(text.encode(case["text"].as_str().unwrap(), true).unwrap(), expected, "{name}: {case}");
            assert_eq!(text.decode(&expected, false).unwrap(), case["decoded"].as_str().unwrap(), "{name}");
        }
        assert_eq!(text.stop_ids(), [2]);
    }
}

#[test]
fn special_tokens_are_added_and_skipped_on_demand() {
    let Some(folder) = shared("golden/tiny/mistral-sw") else { return };
    let text = text(&folder);
    assert_eq!(text.encode("Hello world", false).unwrap(), [44, 720, 83, 922]);
    assert_eq!(text.decode(&[1, 44, 720, 83, 922, 2], true).unwrap(), "Hello world");
    let chat = text.render_chat(&[Message::user("Hello world")], true, "").unwrap();
    assert_eq!(chat, "<s>[INST] Hello world [/INST]");
    assert_eq!(text.encode(&chat, false).unwrap()[..2], [1, 3]);
}

#[test]
fn a_csv_row_of_the_real_model_has_the_ids_of_the_released_code() {
    let (Some(path), Some(folder)) = (smollm2(), shared("golden/smollm2")) else { return };
    let text = text(&path);
    let samples = golden(&folder.join("samples.json"));
    let mut compared = 0;
    for (_, set) in samples.as_object().unwrap() {
        let file = shared(&format!("data/{}", set["csv"].as_str().unwrap())).unwrap();
        let mut reader = csv::Reader::from_reader(files::open(&file).unwrap());
        let column = |name: &str, headers: &csv::StringRecord| headers.iter().position(|h| h == name).unwrap();
        let headers = reader.headers().unwrap().clone();
        let (prompt, response) = (column("prompt", &headers), column("response", &headers));
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        for (row, expected) in set["rows"].as_array().unwrap().iter().zip(set["inp"].as_array().unwrap()) {
            let row = &rows[usize::try_from(row.as_u64().unwrap()).unwrap()];
            let mut found = text.encode(&row[prompt], true).unwrap();
            found.extend(&text.encode(&row[response], true).unwrap()[1..]);
            assert_eq!(found, ids(expected));
            compared += 1;
        }
    }
    assert_eq!(compared, 48);
}

#[test]
fn prompts_and_answers_of_the_real_model_agree_with_transformers() {
    let (Some(path), Some(folder)) = (smollm2(), shared("golden/smollm2/generations.jsonl")) else { return };
    let text = text(&path);
    let mut modes: HashMap<String, usize> = HashMap::new();
    for line in files::read_to_string(&folder).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let question = case["question"].as_str().unwrap();
        let mode = case["mode"].as_str().unwrap();
        let prompt = match mode {
            "raw" => text.encode(question, true).unwrap(),
            _ => text.encode(&text.render_chat(&[Message::user(question)], true, "").unwrap(), false).unwrap(),
        };
        assert_eq!(prompt, ids(&case["prompt_ids"]), "{case}");
        let answer = ids(&case["gen_ids"]);
        assert_eq!(text.decode(&answer, true).unwrap().trim(), case["text"].as_str().unwrap().trim());
        let stops = answer.iter().position(|id| text.stop_ids().contains(id));
        assert_eq!(stops, case["stopped"].as_bool().unwrap().then(|| answer.len() - 1), "{case}");
        *modes.entry(mode.to_owned()).or_default() += 1;
    }
    assert!(modes["raw"] > 0 && modes["chatml"] > 0);
}

/// SentencePiece's own algorithm, straight from its description: join the neighbours with the best score.
fn sentence_piece(vocabulary: &HashMap<String, (u32, f64)>, text: &str) -> Vec<u32> {
    let mut parts: Vec<String> = format!("▁{}", text.replace(' ', "▁")).chars().map(String::from).collect();
    loop {
        let mut best: Option<(f64, usize)> = None;
        for at in 1..parts.len() {
            let joined = format!("{}{}", parts[at - 1], parts[at]);
            if let Some((_, score)) = vocabulary.get(&joined)
                && best.is_none_or(|(known, _)| *score > known)
            {
                best = Some((*score, at));
            }
        }
        let Some((_, at)) = best else { break };
        let right = parts.remove(at);
        parts[at - 1].push_str(&right);
    }
    let bytes = |part: &str| part.bytes().map(|byte| u32::from(byte) + 3).collect::<Vec<_>>();
    parts.iter().flat_map(|part| vocabulary.get(part).map_or_else(|| bytes(part), |(id, _)| vec![*id])).collect()
}

#[test]
fn scores_become_the_merges_of_sentence_piece() {
    use crate::model::checkpoint::gguf::Meta;
    let Some(path) = shared("data/models/stories260K/stories260K-f32.gguf") else { return };
    let file = GgufFile::open(&path).unwrap();
    let (Some(Meta::Texts(tokens)), Some(Meta::Numbers(scores))) =
        (file.meta("tokenizer.ggml.tokens"), file.meta("tokenizer.ggml.scores"))
    else {
        panic!("no vocabulary");
    };
    // the first 259 are <unk>, <s>, </s> and the bytes
    let vocabulary: HashMap<String, (u32, f64)> =
        (0u32..).zip(tokens.iter().zip(scores)).skip(259).map(|(id, (t, s))| (t.clone(), (id, *s))).collect();
    let text = text(&path);
    let Some(corpus) = shared("data/salad_privacy.csv") else { return };
    let corpus = files::read_to_string(&corpus).unwrap();
    let odd =
        ["Once upon a time, there was a little girl named Lily.", "  two  spaces\n\n6. item", "naïve 😀 数字", "a"];
    for line in corpus.lines().take(200).chain(odd).filter(|line| !line.is_empty()) {
        let expected = sentence_piece(&vocabulary, line);
        let found = text.encode(line, true).unwrap();
        assert_eq!(found[0], 1);
        assert_eq!(found[1..], expected, "{line}");
        assert_eq!(text.decode(&found, true).unwrap(), line);
    }
    assert_eq!(text.stop_ids(), [2]);
    let error = text.render_chat(&[Message::user("x")], true, "").unwrap_err();
    assert!(error.hint_text().unwrap().contains("\"none\""));
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
    Text::from_directory(dir.path(), &json!({"eos_token_id": [0, 1]}), 6)
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
    let gap = directory(json!({}), json!({"added_tokens_decoder": {"9": {"content": "<x>"}}})).err().unwrap();
    assert!(gap.message().contains("<x>"), "{gap}");
    let beyond = json!({"added_tokens": [added_token(3, "<s>", true), added_token(4, "</s>", true),
        added_token(5, "<x>", true), added_token(6, "<y>", true)]});
    let error = directory(beyond, json!({})).unwrap().encode("a <y>", false).unwrap_err();
    assert!(error.message().contains("<y>, token 6"), "{error}");
    let model = directory(json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}), json!({}));
    assert!(model.err().unwrap().message().contains("the tokeniser is malformed"));
}
