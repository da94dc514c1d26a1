//! stories260K, which lies in the shared data as a GGUF file and as a directory with the same weights.
//!
//! Must not know: how either is read.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::quantized::gguf_file::Content;
use dean::files;
use dean::model::text::thoughts::Think;
use dean::model::{Checkpoint, Message};
use libtest_mimic::Trial;

use super::needs;

pub fn tests() -> Vec<Trial> {
    needs::tests![needs::shared => gguf_and_safetensors_of_one_model_are_equal,
        scores_become_the_merges_of_sentence_piece]
}

fn gguf_and_safetensors_of_one_model_are_equal(shared: PathBuf) {
    let folder = shared.join("data/models/stories260K");
    let ours = Checkpoint::open(&folder).unwrap();
    let gguf = Checkpoint::open(&folder.join("stories260K-f32.gguf")).unwrap();
    assert_eq!(ours.config(), gguf.config());
    assert_eq!(ours.architecture_digest().unwrap(), gguf.architecture_digest().unwrap());
    for spec in ours.config().tensors() {
        assert_eq!(ours.tensor(&spec.name).unwrap(), gguf.tensor(&spec.name).unwrap(), "{}", spec.name);
    }
    let quiet = |_: u64, _: u64| {};
    assert_ne!(ours.weights_digest(&quiet).unwrap(), gguf.weights_digest(&quiet).unwrap(), "the bytes do differ");
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

fn scores_become_the_merges_of_sentence_piece(shared: PathBuf) {
    let path = shared.join("data/models/stories260K/stories260K-f32.gguf");
    let header = Content::read(&mut files::open(&path).unwrap()).unwrap();
    let list = |name: &str| header.metadata[name].to_vec().unwrap();
    let tokens = list("tokenizer.ggml.tokens").iter().map(|token| token.to_string().unwrap().clone());
    let scores = list("tokenizer.ggml.scores").iter().map(|score| f64::from(score.to_f32().unwrap()));
    // the first 259 are <unk>, <s>, </s> and the bytes
    let vocabulary: HashMap<String, (u32, f64)> =
        (0u32..).zip(tokens.zip(scores)).skip(259).map(|(id, (token, score))| (token, (id, score))).collect();
    let text = Checkpoint::open(&path).unwrap().into_text().unwrap();
    let corpus = files::read_to_string(&shared.join("data/salad_privacy.csv")).unwrap();
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
    let error = text.render_chat(&[Message::user("x")], true, Think::Model, "").unwrap_err();
    assert!(error.hint_text().unwrap().contains("\"none\""));
}
