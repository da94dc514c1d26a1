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

    /// Whether text is cut by merges.
    pub fn is_bpe(&self) -> bool {
        self.0.get("model").is_some_and(|model| match model.get("type") {
            Some(kind) => kind == "BPE",
            None => model.get("merges").is_some(),
        })
    }

    /// Adds tokens, entries of `added_tokens`. Those whose text is a token already are passed over.
    pub fn add(&mut self, tokens: Vec<Value>) {
        let text = |token: &Value| token["content"].as_str().unwrap_or_default().to_owned();
        let mut missing: Vec<Value> =
            tokens.into_iter().filter(|token| !text(token).is_empty() && self.id(&text(token)).is_none()).collect();
        missing.sort_by_key(|token| token["id"].as_u64());
        self.push(missing);
    }

    /// Makes tokens special that are none of the added ones: they are cut out of a text before anything else, and hidden where
    /// special tokens are. A text that is no token stays none: the embedding has no row for it.
    pub fn make_special<'t>(&mut self, texts: impl Iterator<Item = &'t str>) {
        for text in texts {
            let added = self.added().any(|entry| entry.get("content").and_then(Value::as_str) == Some(text));
            if let Some(id) = self.id(text).filter(|_| !added) {
                self.push(vec![added_token(id, text, true)]);
            }
        }
    }

    fn push(&mut self, tokens: Vec<Value>) {
        let Some(map) = self.0.as_object_mut() else { return };
        if let Some(added) = map.entry("added_tokens").or_insert_with(|| json!([])).as_array_mut() {
            added.extend(tokens);
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
    /// The tokeniser leaves out merges at random, or draws among several ways to cut a text, as one does in training.
    pub fn check_drawn(&self) -> Result<()> {
        for (setting, neutral) in [("dropout", 0.0), ("alpha", 0.0), ("nbest_size", 0.0)] {
            let rate = self.0.get("model").and_then(|model| model.get(setting)).and_then(Value::as_f64);
            if let Some(rate) = rate.filter(|rate| *rate != neutral) {
                let article = if setting == "alpha" { "an" } else { "a" };
                let message = format!("the tokeniser has {article} {setting} of {rate}: it cuts text at random");
                return Err(Error::user(message).hint(format!("set `{setting}` to null in a copy of tokenizer.json")));
            }
        }
        Ok(())
    }

    /// The tokens that are put before and after a text. None if it is done in a way that is not looked into.
    pub fn ends(&self) -> Option<(Option<u32>, Option<u32>)> {
        let processor = self.0.get("post_processor").filter(|processor| !processor.is_null());
        processor.map_or(Some((None, None)), ends_of)
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

/// The single tokens that a `post_processor` puts before and after one text.
fn ends_of(processor: &Value) -> Option<(Option<u32>, Option<u32>)> {
    match processor.get("type")?.as_str()? {
        // it shifts offsets only
        "ByteLevel" => Some((None, None)),
        "Sequence" => {
            let mut all = (None, None);
            for part in processor.get("processors")?.as_array()? {
                match (all, ends_of(part)?) {
                    (_, (None, None)) => {}
                    ((None, None), ends) => all = ends,
                    _ => return None,
                }
            }
            Some(all)
        }
        "TemplateProcessing" => {
            let (mut before, mut after, mut text) = (Vec::new(), Vec::new(), false);
            for piece in processor.get("single")?.as_array()? {
                if piece.get("Sequence").is_some() {
                    text = true;
                    continue;
                }
                let name = piece.get("SpecialToken")?.get("id")?.as_str()?;
                let ids = processor.get("special_tokens")?.get(name)?.get("ids")?.as_array()?;
                let side = if text { &mut after } else { &mut before };
                side.extend(ids.iter().filter_map(Value::as_u64));
            }
            let one = |ids: Vec<u64>| match ids.as_slice() {
                [] => Some(None),
                [id] => u32::try_from(*id).ok().map(Some),
                _ => None,
            };
            Some((one(before)?, one(after)?))
        }
        _ => None,
    }
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
