//! SentencePiece's tokenisers, written down as a Hugging Face tokenizer.json.
//!
//! The pieces come out of a GGUF header or of a tokenizer.model. What is made of them is what transformers'
//! `LlamaConverter` makes: byte fallback, spaces as ▁, and for BPE the merges that the pieces' scores stand for.
//! Must not know: either file format, chat templates, what ids are used for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::text::definition::added_token;

/// Types of pieces, in both formats.
pub(super) const NORMAL: i64 = 1;
pub(super) const UNKNOWN: i64 = 2;
pub(super) const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;
pub(super) const UNUSED: i64 = 5;
pub(super) const BYTE: i64 = 6;

/// Longer pieces do not occur; the limit keeps a broken file from costing quadratic time.
const LONGEST_PIECE: usize = 512;

/// A vocabulary: texts, types and scores by id. All three are of one length, or scores are empty.
pub(super) struct Pieces<'a> {
    pub texts: &'a [String],
    pub types: &'a [i64],
    pub scores: &'a [f64],
}

/// Where a space is put before the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    None,
    /// Before each stretch between special tokens (transformers' `legacy`).
    Each,
    /// Before the first stretch, unless it begins with a space.
    First,
    /// Nowhere, and as [`Self::First`] in all else.
    Never,
}

/// Which search the pieces were trained for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Bpe,
    Unigram,
}

impl<'a> Pieces<'a> {
    /// Ids by text; of equal texts the first counts.
    pub fn ids(&self) -> BTreeMap<&'a str, u32> {
        let mut ids = BTreeMap::new();
        for (id, text) in (0u32..).zip(self.texts) {
            ids.entry(text.as_str()).or_insert(id);
        }
        ids
    }

    /// The pieces that are cut out of a text before anything else: tokenizer.json's `added_tokens`.
    pub fn added(&self) -> Vec<Value> {
        let ids = self.ids();
        (0u32..)
            .zip(self.texts.iter().zip(self.types))
            .filter(|(id, (text, kind))| {
                let stands_alone = matches!(**kind, CONTROL | USER_DEFINED | UNKNOWN) && !text.is_empty();
                stands_alone && ids.get(text.as_str()) == Some(id)
            })
            .map(|(id, (text, kind))| added_token(id, text, *kind != USER_DEFINED))
            .collect()
    }

    /// tokenizer.json's `model`. `unknown` is the piece for what no other can say.
    pub fn model(&self, search: Search, unknown: Option<&str>) -> Result<Value> {
        match search {
            Search::Bpe => {
                let vocabulary: Map<String, Value> =
                    self.ids().iter().map(|(text, id)| ((*text).to_owned(), json!(id))).collect();
                Ok(json!({"type": "BPE", "unk_token": unknown, "byte_fallback": true, "fuse_unk": true,
                          "vocab": vocabulary, "merges": self.merges()?}))
            }
            Search::Unigram => {
                let id = unknown.and_then(|unknown| self.ids().get(unknown).copied());
                let scored: Vec<(&String, &f64)> = self.texts.iter().zip(self.scores).collect();
                Ok(json!({"type": "Unigram", "unk_id": id, "vocab": scored, "byte_fallback": true}))
            }
        }
    }

    /// `generate_merges` of transformers: each way to cut a piece in two pieces is a merge; the better
    /// the piece's score the earlier, then the longer the left part, then the right.
    fn merges(&self) -> Result<Vec<(&'a str, &'a str)>> {
        if self.scores.len() != self.texts.len() {
            return Err(Error::user(format!("there are {} tokens but {} scores", self.texts.len(), self.scores.len())));
        }
        let ids = self.ids();
        let kind = |id: u32| self.types.get(id as usize).copied().unwrap_or(UNUSED);
        let piece =
            |text: &str| ids.get(text).copied().filter(|id| !matches!(kind(*id), UNKNOWN | CONTROL | UNUSED | BYTE));
        let mut merges = Vec::new();
        for (whole, score) in self.texts.iter().zip(self.scores) {
            if piece(whole).is_none() {
                continue;
            }
            if whole.len() > LONGEST_PIECE {
                return Err(Error::user(format!("the vocabulary has a piece of {} bytes", whole.len())));
            }
            let mut cuts: Vec<(u32, u32, &str, &str)> = whole
                .char_indices()
                .skip(1)
                .filter_map(|(at, _)| {
                    let (left, right) = whole.split_at(at);
                    Some((piece(left)?, piece(right)?, left, right))
                })
                .collect();
            cuts.sort_unstable_by_key(|(left, right, _, _)| (*left, *right));
            merges.extend(cuts.into_iter().map(|(_, _, left, right)| (*score, left, right)));
        }
        let length = |text: &str| text.chars().count();
        merges.sort_by(|a, b| {
            b.0.total_cmp(&a.0).then(length(b.1).cmp(&length(a.1))).then(length(b.2).cmp(&length(a.2)))
        });
        Ok(merges.into_iter().map(|(_, left, right)| (left, right)).collect())
    }
}

/// tokenizer.json's `normalizer`, `pre_tokenizer` and `decoder`: spaces become ▁, and come back.
pub(super) fn spaces(prefix: Prefix) -> [Value; 3] {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let metaspace =
        |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
    let (normalizer, pre_tokenizer) = match prefix {
        Prefix::None => (replace, Value::Null),
        Prefix::Each => {
            (json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}), Value::Null)
        }
        Prefix::First => (Value::Null, metaspace("first")),
        Prefix::Never => (Value::Null, metaspace("never")),
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if matches!(prefix, Prefix::Each | Prefix::First) {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    [normalizer, pre_tokenizer, json!({"type": "Sequence", "decoders": decoders})]
}
