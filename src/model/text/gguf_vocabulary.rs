//! The vocabulary of a GGUF header, written down as a [`Definition`].
//!
//! Two kinds exist in the supported families. `gpt2` is byte-level BPE: vocabulary and merges are in
//! the file, the splitting rule goes by a name (`gguf_rules.rs`). `llama` is SentencePiece BPE.
//! Must not know: chat templates, what ids are used for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::gguf::{GgufFile, Meta};
use crate::model::text::definition::{Definition, post_processor};
use crate::model::text::gguf_rules;
use crate::model::text::pieces::{CONTROL, NORMAL, Pieces, Prefix, Search, UNKNOWN, USER_DEFINED, spaces};

/// Tokens that end an answer, by their text: many GGUF files name the end of a document only, though their chat template ends
/// turns with another token. llama.cpp's vocabulary finds them in the same way, and makes them control tokens.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// A text of [`ENDS`] that is no end in vocabularies which have all of some others, and what it is there.
const EXCEPTIONS: &[(&str, &[&str], i64)] = &[
    ("<|end|>", &["<|return|>", "<|call|>"], USER_DEFINED),
    ("<|end|>", &["<|flush|>", "<|call|>"], USER_DEFINED),
    ("<|end|>", &["<|flush|>", "<|calls|>"], USER_DEFINED),
    ("</s>", &["<|tool_response>"], NORMAL),
    ("</s>", &["<|plamo:eos|>"], NORMAL),
];

const GPT2: &str = "gpt2";
const LLAMA: &str = "llama";

/// The vocabulary part of a GGUF header.
pub(super) struct GgufVocabulary<'a> {
    file: &'a GgufFile,
    tokens: &'a [String],
    types: Vec<i64>,
    ends: Vec<u32>,
}

impl<'a> GgufVocabulary<'a> {
    pub fn of(file: &'a GgufFile) -> Result<Self> {
        let Some(Meta::Texts(tokens)) = file.meta("tokenizer.ggml.tokens") else {
            return Err(Error::user("the header has no vocabulary (tokenizer.ggml.tokens)"));
        };
        let types = match file.meta("tokenizer.ggml.token_type") {
            Some(Meta::Numbers(types)) if types.len() == tokens.len() => types.iter().map(|n| *n as i64).collect(),
            None => vec![1; tokens.len()],
            Some(_) => return Err(Error::user("tokenizer.ggml.token_type does not have one type per token")),
        };
        let mut vocabulary = Self { file, tokens, types, ends: Vec::new() };
        vocabulary.find_ends();
        Ok(vocabulary)
    }

    /// Finds the ends of answers, and gives their tokens the type that the rest of the program knows them by.
    fn find_ends(&mut self) {
        let ids: BTreeMap<&str, u32> =
            ENDS.iter().chain(&["<|plamo:eos|>"]).filter_map(|text| Some((*text, self.id_of(text)?))).collect();
        for (text, id) in ids.iter().filter(|(text, _)| ENDS.contains(text)) {
            let exception = EXCEPTIONS
                .iter()
                .find(|(end, beside, _)| end == text && beside.iter().all(|one| ids.contains_key(one)));
            let Some(kind) = self.types.get_mut(*id as usize) else { continue };
            match exception {
                Some((_, _, other)) => *kind = *other,
                None => {
                    *kind = CONTROL;
                    self.ends.push(*id);
                }
            }
        }
    }

    /// The ids of the tokens that end an answer by their text.
    pub fn ends(&self) -> Vec<u32> {
        self.ends.clone()
    }

    /// The id under a key such as `tokenizer.ggml.eos_token_id`, if it names a token.
    pub fn id(&self, key: &str) -> Result<Option<u32>> {
        match self.file.meta(key) {
            None => Ok(None),
            Some(Meta::Whole(id)) => match usize::try_from(*id) {
                Ok(index) if index < self.tokens.len() => Ok(u32::try_from(index).ok()),
                _ => Err(Error::user(format!("{key} is {id}, but there are {} tokens", self.tokens.len()))),
            },
            Some(_) => Err(Error::user(format!("{key} is not a token id"))),
        }
    }

    pub fn token(&self, id: u32) -> Option<&'a str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// The id of a token by its text.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.tokens.iter().position(|token| token == text).and_then(|at| u32::try_from(at).ok())
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        match self.file.meta(key) {
            Some(Meta::Bool(on)) => *on,
            _ => default,
        }
    }

    /// The whole tokeniser as a tokenizer.json.
    pub fn definition(&self) -> Result<Definition> {
        match self.file.text("tokenizer.ggml.model") {
            Some(GPT2) => self.byte_level().map(Definition::new),
            Some(LLAMA) => self.sentence_piece().map(Definition::new),
            other => Err(Error::user(format!(
                "tokenizer.ggml.model is {}, which is not supported",
                other.unwrap_or("missing")
            ))
            .hint(format!("supported tokenisers of GGUF files are {GPT2} and {LLAMA}"))),
        }
    }

    /// Tokens and their types, without scores.
    fn pieces(&self) -> Pieces<'_> {
        Pieces { texts: self.tokens, types: &self.types, scores: &[] }
    }

    fn assemble(&self, bos_default: bool, parts: Parts) -> Result<Value> {
        let ends = |switch: &str, default: bool, key: &str| -> Result<Option<(u32, &str)>> {
            if !self.flag(switch, default) {
                return Ok(None);
            }
            let id = self.id(key)?.ok_or_else(|| Error::user(format!("{switch} is on, but there is no {key}")))?;
            Ok(self.token(id).map(|token| (id, token)))
        };
        let first = ends("tokenizer.ggml.add_bos_token", bos_default, "tokenizer.ggml.bos_token_id")?;
        let last = ends("tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id")?;
        let Parts { normalizer, pre_tokenizer, decoder, model } = parts;
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.pieces().added(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": post_processor(first, last), "decoder": decoder, "model": model,
        }))
    }

    fn byte_level(&self) -> Result<Value> {
        let rule = gguf_rules::find(self.file.text("tokenizer.ggml.pre"))?;
        let Some(Meta::Texts(merges)) = self.file.meta("tokenizer.ggml.merges") else {
            return Err(Error::user("the header has no merges (tokenizer.ggml.merges)"));
        };
        let merges: Vec<(&str, &str)> = merges
            .iter()
            .map(|merge| {
                merge.split_once(' ').ok_or_else(|| Error::user(format!("`{merge}` is not a merge of two tokens")))
            })
            .collect::<Result<_>>()?;
        let vocabulary: Map<String, Value> =
            self.pieces().ids().iter().map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
        self.assemble(
            rule.bos,
            Parts {
                normalizer: if rule.nfc { json!({"type": "NFC"}) } else { Value::Null },
                pre_tokenizer: rule.pre_tokenizer(),
                decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
                model: json!({"type": "BPE", "byte_fallback": false, "fuse_unk": false, "ignore_merges": rule.whole_words,
                              "vocab": vocabulary, "merges": merges}),
            },
        )
    }

    fn sentence_piece(&self) -> Result<Value> {
        let Some(Meta::Numbers(scores)) = self.file.meta("tokenizer.ggml.scores") else {
            return Err(Error::user("the header has no scores (tokenizer.ggml.scores)"));
        };
        let prefix = self.flag("tokenizer.ggml.add_space_prefix", true);
        let [normalizer, pre_tokenizer, decoder] = spaces(if prefix { Prefix::Each } else { Prefix::None });
        let marked = self.types.iter().position(|kind| *kind == UNKNOWN).and_then(|index| u32::try_from(index).ok());
        let unknown = self.id("tokenizer.ggml.unknown_token_id")?.or(marked).and_then(|id| self.token(id));
        let model = Pieces { scores, ..self.pieces() }.model(Search::Bpe, unknown)?;
        self.assemble(true, Parts { normalizer, pre_tokenizer, decoder, model })
    }
}

/// What differs between the two kinds.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}
