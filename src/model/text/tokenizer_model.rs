//! Reads SentencePiece's own file, `tokenizer.model`, for models that come without a tokenizer.json.
//!
//! The file is a protocol buffer, `ModelProto` of sentencepiece_model.proto; of it are read the pieces and those
//! settings that decide how text is cut. What a setting asks for and the tokeniser built here does not do is refused.
//! Nothing is allocated by a length that the file states. Must not know: tokenizer_config.json, what ids are used for.

use std::path::Path;

use serde_json::json;

use crate::error::{Error, Result};
use crate::files;
use crate::model::source::impostor;
use crate::model::text::definition::Definition;
use crate::model::text::pieces::{Pieces, Prefix, Search, spaces};

/// Published files have up to 4 MB.
const LARGEST: usize = 64 << 20;

/// The pieces of one file, and what it says about them.
pub(super) struct TokenizerModel {
    texts: Vec<String>,
    types: Vec<i64>,
    scores: Vec<f64>,
    search: i64,
    /// Text of the pieces for the unknown, the beginning and the end.
    pub unknown: String,
    pub beginning: String,
    pub end: String,
    /// Whether a space goes before the text.
    prefix: bool,
}

impl TokenizerModel {
    /// # Errors
    /// The file is too large, truncated or malformed, or asks for what is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        let map = files::map(path)?;
        impostor::check(path, &map)?;
        let read = if map.len() > LARGEST {
            Err(Error::user(format!("the file has {} bytes; {LARGEST} are the most", map.len())))
        } else {
            Self::read(&map)
        };
        read.map_err(|error| match error.hint_text() {
            Some(_) => error.within(path.display()),
            None => error.within(path.display()).hint("copy or download the file again"),
        })
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let mut model = Self {
            texts: Vec::new(),
            types: Vec::new(),
            scores: Vec::new(),
            search: 1,
            unknown: "<unk>".into(),
            beginning: "<s>".into(),
            end: "</s>".into(),
            prefix: true,
        };
        let (mut table, mut extra) = (false, true);
        let mut cursor = Cursor { rest: bytes };
        while let Some(field) = cursor.field()? {
            match field {
                (1, Field::Bytes(piece)) => model.piece(piece)?,
                (2, Field::Bytes(trainer)) => model.trainer(trainer)?,
                (3, Field::Bytes(normalizer)) => {
                    let mut cursor = Cursor { rest: normalizer };
                    while let Some(field) = cursor.field()? {
                        match field {
                            (2, Field::Bytes(charsmap)) => table = !charsmap.is_empty(),
                            (3, Field::Number(on)) => model.prefix = on != 0,
                            (4, Field::Number(on)) => extra = on != 0,
                            (5, Field::Number(0)) => return Err(unsupported("escape_whitespaces = false")),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if table {
            return Err(unsupported("a table of character replacements (precompiled_charsmap)"));
        }
        if extra {
            return Err(unsupported("remove_extra_whitespaces"));
        }
        let ids = model.pieces().ids();
        if ids.len() != model.texts.len() || !ids.contains_key(model.unknown.as_str()) {
            return Err(Error::user("this is not a SentencePiece model: pieces are missing or there twice"));
        }
        Ok(model)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<()> {
        let (mut text, mut score, mut kind) = ("", 0.0_f32, 1);
        let mut cursor = Cursor { rest: bytes };
        while let Some(field) = cursor.field()? {
            match field {
                (1, Field::Bytes(bytes)) => text = utf8(bytes)?,
                (2, Field::Four(bytes)) => score = f32::from_le_bytes(bytes),
                (3, Field::Number(number)) => kind = i64::try_from(number).unwrap_or(i64::MAX),
                _ => {}
            }
        }
        if text.is_empty() || !score.is_finite() || !(1..=6).contains(&kind) {
            let id = self.texts.len();
            return Err(Error::user(format!("piece {id} is malformed: text {text:?}, score {score}, type {kind}")));
        }
        self.texts.push(text.to_owned());
        self.scores.push(f64::from(score));
        self.types.push(kind);
        Ok(())
    }

    fn trainer(&mut self, bytes: &[u8]) -> Result<()> {
        let mut cursor = Cursor { rest: bytes };
        while let Some(field) = cursor.field()? {
            match field {
                (3, Field::Number(search)) => self.search = i64::try_from(search).unwrap_or(i64::MAX),
                (24, Field::Number(on)) if on != 0 => return Err(unsupported("treat_whitespace_as_suffix")),
                (45, Field::Bytes(text)) => self.unknown = utf8(text)?.to_owned(),
                (46, Field::Bytes(text)) => self.beginning = utf8(text)?.to_owned(),
                (47, Field::Bytes(text)) => self.end = utf8(text)?.to_owned(),
                _ => {}
            }
        }
        Ok(())
    }

    fn pieces(&self) -> Pieces<'_> {
        Pieces { texts: &self.texts, types: &self.types, scores: &self.scores }
    }

    /// The tokeniser, without a post-processor.
    ///
    /// `legacy` as in tokenizer_config.json: whether a space goes before each stretch between special tokens or before the
    /// first one only; `prefix` is its add_prefix_space, where that is set.
    pub fn definition(&self, legacy: bool, prefix: Option<bool>) -> Result<Definition> {
        let search = match self.search {
            1 => Search::Unigram,
            2 => Search::Bpe,
            other => return Err(unsupported(&format!("model_type {other}, neither unigram (1) nor BPE (2)"))),
        };
        let [normalizer, pre_tokenizer, decoder] = spaces(match (prefix.unwrap_or(self.prefix), legacy) {
            (true, true) => Prefix::Each,
            (true, false) => Prefix::First,
            (false, true) => Prefix::None,
            (false, false) => Prefix::Never,
        });
        let pieces = self.pieces();
        Ok(Definition::new(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": pieces.added(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder,
            "model": pieces.model(search, Some(&self.unknown))?,
        })))
    }
}

fn unsupported(what: &str) -> Error {
    Error::user(format!("the tokeniser uses {what}, which is not supported")).hint(
        "make a tokenizer.json with transformers: `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`",
    )
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::user("a piece is not UTF-8"))
}

/// The value of a field, by wire type.
enum Field<'a> {
    Number(u64),
    Four([u8; 4]),
    Bytes(&'a [u8]),
    /// Eight bytes; nothing that is read here has them.
    Eight,
}

/// The fields of one message, one after the other.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn field(&mut self) -> Result<Option<(u64, Field<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let value = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => {
                self.take(8)?;
                Field::Eight
            }
            2 => {
                let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Four(self.take(4)?.try_into().map_err(|_| Error::fault("a slice of the wrong length"))?),
            _ => return Err(malformed()),
        };
        Ok(Some((key >> 3, value)))
    }

    /// A varint of at most 64 bits.
    fn number(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)? else { return Err(malformed()) };
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(malformed())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn malformed() -> Error {
    Error::user("the file is truncated, or not a SentencePiece model")
}

#[cfg(test)]
mod tests;
