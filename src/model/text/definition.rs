//! A tokeniser as Hugging Face's tokenizer.json describes it.
//!
//! Every source of a tokeniser ends in one of these: a tokenizer.json as it is, a GGUF vocabulary or a SentencePiece file
//! written down as one. Must not know: where a definition came from, chat templates.

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::bounded::{self, Limits};
use crate::error::{Error, Result};

/// Memory that the tokenizers library may take for a byte of a definition: text, the form in between, and tables in both
/// directions.
const BYTES_OF_BYTE: usize = 40;

/// The content of a tokenizer.json.
#[derive(Clone)]
pub(in crate::model) struct Definition(Value);

impl Definition {
    pub fn new(content: Value) -> Self {
        Self(content)
    }

    pub fn json(&self) -> &Value {
        &self.0
    }

    pub fn into_json(self) -> Value {
        self.0
    }

    /// A token's id: among the added tokens, or in the model's vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        let entry = self.added().find(|entry| entry.get("content").and_then(Value::as_str) == Some(token));
        let id = entry.and_then(|entry| entry.get("id")).or_else(|| self.0.get("model")?.get("vocab")?.get(token));
        id.and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok())
    }

    fn added(&self) -> impl Iterator<Item = &Value> {
        self.0.get("added_tokens").and_then(Value::as_array).into_iter().flatten()
    }

    /// Adds tokens: id, text, and whether it is special. Those whose text is a token already are passed over.
    pub fn add<'t>(&mut self, tokens: impl Iterator<Item = (u32, &'t str, bool)>) {
        let mut missing: Vec<_> = tokens.filter(|(_, text, _)| !text.is_empty() && self.id(text).is_none()).collect();
        missing.sort_unstable();
        let Some(map) = self.0.as_object_mut() else { return };
        if let Some(added) = map.entry("added_tokens").or_insert_with(|| json!([])).as_array_mut() {
            added.extend(missing.into_iter().map(|(id, text, special)| added_token(id, text, special)));
        }
    }

    /// Takes out what is for training batches: truncation and padding.
    ///
    /// # Errors
    /// This is not a table.
    pub fn uncut(&mut self) -> Result<()> {
        let map = self.0.as_object_mut().ok_or_else(|| Error::user("this is not a tokenizer.json"))?;
        map.insert("truncation".into(), Value::Null);
        map.insert("padding".into(), Value::Null);
        Ok(())
    }

    /// Whether equal texts always have equal ids.
    ///
    /// # Errors
    /// The tokeniser leaves out merges at random, as one does in training.
    pub fn check_drawn(&self) -> Result<()> {
        let dropout = self.0.get("model").and_then(|model| model.get("dropout")).and_then(Value::as_f64);
        match dropout.filter(|rate| *rate != 0.0) {
            None => Ok(()),
            Some(rate) => Err(Error::user(format!("the tokeniser has a dropout of {rate}: it cuts text at random"))
                .hint("set `dropout` to null in a copy of tokenizer.json")),
        }
    }

    /// Makes the tokeniser put a token before each text and one after it, and nothing else.
    pub fn enclose(&mut self, first: Option<(u32, &str)>, last: Option<(u32, &str)>) {
        if let Some(map) = self.0.as_object_mut() {
            map.insert("post_processor".into(), post_processor(first, last));
        }
    }

    /// The tokeniser. `place` is how errors call the definition.
    ///
    /// # Errors
    /// The definition is malformed, or the library would give a token another id than it says.
    pub fn build(&self, place: &str) -> Result<Tokenizer> {
        let malformed = |why: String| Error::user(format!("{place}: the tokeniser is malformed: {why}"));
        let bytes = self.0.to_string();
        // the library believes most of what it reads: sizes, depths, regular expressions, places in other lists
        let limits = Limits::of_input(bytes.len(), BYTES_OF_BYTE);
        let built =
            bounded::within(limits, move || Tokenizer::from_bytes(bytes.as_bytes()).map_err(|cause| cause.to_string()));
        let tokenizer = built.unwrap_or_else(|excess| Err(excess.to_string())).map_err(malformed)?;
        // the library gives tokens outside of the vocabulary the next free id, whatever is written
        for token in self.added() {
            let (content, id) = (token["content"].as_str().unwrap_or_default(), token["id"].as_u64());
            let given = tokenizer.token_to_id(content);
            if !content.is_empty() && given.map(u64::from) != id {
                return Err(malformed(format!("the added token {content} should have the id {id:?}, not {given:?}")));
            }
        }
        Ok(tokenizer)
    }
}

/// An entry of `added_tokens`.
pub(super) fn added_token(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
           "normalized": false, "special": special})
}

/// A `post_processor` that puts a token before and after, or null for neither.
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
