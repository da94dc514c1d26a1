//! A tokeniser out of a GGUF header, written down as a Hugging Face tokenizer.json.
//!
//! Two kinds exist in the supported families. `gpt2` is byte-level BPE: vocabulary and merges are in
//! the file, the splitting rule goes by a name (`tokenizer.ggml.pre`). `llama` is SentencePiece BPE: pieces
//! have scores, and the merges are derived from them as transformers' `LlamaConverter` does.
//! Must not know: chat templates, what ids are used for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::gguf::{GgufFile, Meta};
use crate::error::{Error, Result};

/// llama.cpp's token types.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

const GPT2: &str = "gpt2";
const LLAMA: &str = "llama";

/// Longer pieces do not occur; the limit keeps a broken file from costing quadratic time.
const LONGEST_PIECE: usize = 512;

/// The vocabulary part of a GGUF header.
pub(super) struct Vocabulary<'a> {
    file: &'a GgufFile,
    tokens: &'a [String],
    types: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    pub fn of(file: &'a GgufFile) -> Result<Self> {
        let Some(Meta::Texts(tokens)) = file.meta("tokenizer.ggml.tokens") else {
            return Err(Error::user("the header has no vocabulary (tokenizer.ggml.tokens)"));
        };
        let types = match file.meta("tokenizer.ggml.token_type") {
            Some(Meta::Numbers(types)) if types.len() == tokens.len() => types.iter().map(|n| *n as i64).collect(),
            None => vec![1; tokens.len()],
            Some(_) => return Err(Error::user("tokenizer.ggml.token_type does not have one type per token")),
        };
        Ok(Self { file, tokens, types })
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

    fn flag(&self, key: &str, default: bool) -> bool {
        match self.file.meta(key) {
            Some(Meta::Bool(on)) => *on,
            _ => default,
        }
    }

    /// The whole tokeniser as a tokenizer.json.
    pub fn definition(&self) -> Result<Value> {
        match self.file.text("tokenizer.ggml.model") {
            Some(GPT2) => self.byte_level(),
            Some(LLAMA) => self.sentence_piece(),
            other => Err(Error::user(format!(
                "tokenizer.ggml.model is {}, which is not supported",
                other.unwrap_or("missing")
            ))
            .hint(format!("supported tokenisers of GGUF files are {GPT2} and {LLAMA}"))),
        }
    }

    /// Ids by text; of equal texts the first counts.
    fn ids(&self) -> BTreeMap<&'a str, u32> {
        let mut ids = BTreeMap::new();
        for (id, token) in (0u32..).zip(self.tokens) {
            ids.entry(token.as_str()).or_insert(id);
        }
        ids
    }

    fn assemble(&self, bos_default: bool, parts: Parts) -> Result<Value> {
        let ids = self.ids();
        let added: Vec<Value> = (0u32..)
            .zip(self.tokens.iter().zip(&self.types))
            .filter(|(id, (token, kind))| {
                let stands_alone = matches!(**kind, CONTROL | USER_DEFINED | UNKNOWN) && !token.is_empty();
                stands_alone && ids.get(token.as_str()) == Some(id)
            })
            .map(|(id, (token, kind))| added_token(id, token, *kind != USER_DEFINED))
            .collect();
        let ends = |switch: &str, default: bool, key: &str| -> Result<Option<(u32, &str)>> {
            if !self.flag(switch, default) {
                return Ok(None);
            }
            let id = self.id(key)?.ok_or_else(|| Error::user(format!("{switch} is on, but there is no {key}")))?;
            Ok(self.token(id).map(|token| (id, token)))
        };
        let first = ends("tokenizer.ggml.add_bos_token", bos_default, "tokenizer.ggml.bos_token_id")?;
        let last = ends("tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id")?;
        let vocabulary: Map<String, Value> = ids.iter().map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
        let Parts { normalizer, pre_tokenizer, decoder, mut model } = parts;
        model["type"] = "BPE".into();
        model["vocab"] = Value::Object(vocabulary);
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": post_processor(first, last), "decoder": decoder, "model": model,
        }))
    }

    fn byte_level(&self) -> Result<Value> {
        let name = self.file.text("tokenizer.ggml.pre").unwrap_or("missing");
        let rule = RULES.iter().find(|rule| rule.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> = RULES.iter().flat_map(|rule| rule.names).copied().collect();
            Error::user(format!("tokenizer.ggml.pre is {name}, a splitting rule that is not supported"))
                .hint(format!("supported are {}; the model's Hugging Face directory would work", known.join(", ")))
        })?;
        let Some(Meta::Texts(merges)) = self.file.meta("tokenizer.ggml.merges") else {
            return Err(Error::user("the header has no merges (tokenizer.ggml.merges)"));
        };
        let merges: Vec<(&str, &str)> = merges
            .iter()
            .map(|merge| {
                merge.split_once(' ').ok_or_else(|| Error::user(format!("`{merge}` is not a merge of two tokens")))
            })
            .collect::<Result<_>>()?;
        let splits_itself = matches!(rule.split, Split::Digits | Split::Plain);
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": splits_itself});
        let first = match rule.split {
            Split::Plain => None,
            Split::Digits => Some(json!({"type": "Digits", "individual_digits": true})),
            Split::Regex(regex) => {
                Some(json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}))
            }
        };
        let pre_tokenizer = match first {
            None => byte_level,
            Some(first) => json!({"type": "Sequence", "pretokenizers": [first, byte_level]}),
        };
        self.assemble(
            rule.bos,
            Parts {
                normalizer: if rule.nfc { json!({"type": "NFC"}) } else { Value::Null },
                pre_tokenizer,
                decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
                model: json!({"byte_fallback": false, "fuse_unk": false, "ignore_merges": rule.whole_words, "merges": merges}),
            },
        )
    }

    fn sentence_piece(&self) -> Result<Value> {
        let prefix = self.flag("tokenizer.ggml.add_space_prefix", true);
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let normalizer = if prefix {
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]})
        } else {
            spaces
        };
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let marked = self.types.iter().position(|kind| *kind == UNKNOWN).and_then(|index| u32::try_from(index).ok());
        let unknown = self.id("tokenizer.ggml.unknown_token_id")?.or(marked).and_then(|id| self.token(id));
        let merges = self.merges_by_score()?;
        self.assemble(
            true,
            Parts {
                normalizer,
                pre_tokenizer: Value::Null,
                decoder: json!({"type": "Sequence", "decoders": decoders}),
                model: json!({"unk_token": unknown, "byte_fallback": true, "fuse_unk": true, "merges": merges}),
            },
        )
    }

    /// `generate_merges` of transformers: each way to cut a piece in two pieces is a merge; the better
    /// the piece's score the earlier, then the longer the left part, then the right.
    fn merges_by_score(&self) -> Result<Vec<(&'a str, &'a str)>> {
        let Some(Meta::Numbers(scores)) = self.file.meta("tokenizer.ggml.scores") else {
            return Err(Error::user("the header has no scores (tokenizer.ggml.scores)"));
        };
        if scores.len() != self.tokens.len() {
            return Err(Error::user(format!("there are {} tokens but {} scores", self.tokens.len(), scores.len())));
        }
        let ids = self.ids();
        let kind = |id: u32| self.types.get(id as usize).copied().unwrap_or(UNUSED);
        let piece =
            |text: &str| ids.get(text).copied().filter(|id| !matches!(kind(*id), UNKNOWN | CONTROL | UNUSED | BYTE));
        let mut merges = Vec::new();
        for (whole, score) in self.tokens.iter().zip(scores) {
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

/// What differs between the two kinds.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

/// How byte-level BPE cuts text into words before merging.
enum Split {
    /// GPT-2's own expression, built into the byte-level step.
    Plain,
    /// Every digit alone, then as [`Split::Plain`].
    Digits,
    Regex(&'static str),
}

/// A value of `tokenizer.ggml.pre`, and what the tokenizer.json of those models says.
struct Rule {
    names: &'static [&'static str],
    split: Split,
    nfc: bool,
    /// A word that is a token is taken whole (`ignore_merges`).
    whole_words: bool,
    /// Whether a file that is silent about `add_bos_token` wants one.
    bos: bool,
}

const RULES: &[Rule] = &[
    Rule { names: &["gpt-2", "default"], split: Split::Plain, nfc: false, whole_words: false, bos: false },
    Rule { names: &["smollm"], split: Split::Digits, nfc: false, whole_words: false, bos: false },
    Rule {
        names: &["qwen2", "deepseek-r1-qwen"],
        split: Split::Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        nfc: true,
        whole_words: false,
        bos: false,
    },
    Rule {
        names: &["llama-bpe", "llama3", "llama-v3"],
        split: Split::Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        nfc: false,
        whole_words: true,
        bos: true,
    },
];

/// An entry of tokenizer.json's `added_tokens`.
pub(super) fn added_token(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": special})
}

/// A post-processor that puts a token before and after, or null for neither.
pub(super) fn post_processor(first: Option<(u32, &str)>, last: Option<(u32, &str)>) -> Value {
    if first.is_none() && last.is_none() {
        return Value::Null;
    }
    let part = |sequence: &str, kind: u32| {
        let token =
            |token: Option<(u32, &str)>| token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": kind}}));
        let middle = json!({"Sequence": {"id": sequence, "type_id": kind}});
        [token(first), Some(middle), token(last)].into_iter().flatten().collect::<Vec<_>>()
    };
    let specials: Map<String, Value> = [first, last]
        .into_iter()
        .flatten()
        .map(|(id, text)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})))
        .collect();
    let pair = [part("A", 0), part("B", 1)].concat();
    json!({"type": "TemplateProcessing", "single": part("A", 0), "pair": pair,
           "special_tokens": specials})
}
