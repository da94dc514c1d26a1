//! The vocabulary of a GGUF header, written down as a [`Definition`].
//!
//! Two kinds exist in the supported families. `gpt2` is byte-level BPE: vocabulary and merges are in
//! the file, the splitting rule goes by a name (`tokenizer.ggml.pre`). `llama` is SentencePiece BPE.
//! Must not know: chat templates, what ids are used for.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::checkpoint::gguf::{GgufFile, Meta};
use crate::model::text::definition::{Definition, post_processor};
use crate::model::text::pieces::{Pieces, Prefix, Search, UNKNOWN, spaces};

const GPT2: &str = "gpt2";
const LLAMA: &str = "llama";

/// The vocabulary part of a GGUF header.
pub(super) struct GgufVocabulary<'a> {
    file: &'a GgufFile,
    tokens: &'a [String],
    types: Vec<i64>,
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
        let vocabulary: Map<String, Value> =
            self.pieces().ids().iter().map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
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
