//! Text to ids and back: the tokeniser, the chat template, the tokens that end an answer.
//!
//! Whatever a model came in, its tokeniser is first a tokenizer.json (GGUF headers and SentencePiece's files are
//! written down as one), so there is one definition to build from and to take the digest of. No code of the model is run.
//! Must not know: weights, pipelines, what a prompt is for.

mod chat_template;
mod definition;
mod generation;
mod gguf_rules;
mod gguf_vocabulary;
mod jinja;
mod parts;
mod pieces;
pub mod prompt_template;
mod settings;
pub mod thoughts;
mod tokenizer_model;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokenizers::Tokenizer;

pub use self::chat_template::{ChatTemplate, Message};
pub(in crate::model) use self::parts::Parts;
use self::parts::Specials;
use self::thoughts::Think;
use crate::bounded::{self, Limits};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::gguf::GgufFile;
use crate::model::greedy::Greedy;
use crate::model::source::layout::Layout;

/// Memory that the tokenizers library may take for a byte of text. It keeps several forms of it, with the place of every byte
/// in the others: some 200 bytes.
const BYTES_OF_BYTE: usize = 1000;

/// Everything that turns conversations into ids and ids into answers. `Sync`.
pub struct Text {
    /// How errors call the tokeniser.
    place: String,
    /// Shared with the threads that work with it.
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    named: Option<(String, Vec<String>)>,
    specials: Specials,
    greedy: Greedy,
    cleans_up: bool,
    /// Special tokens that are tags of thoughts.
    tags: BTreeMap<u32, String>,
    vocab_size: usize,
    digest: Digest,
    notes: Vec<String>,
}

impl Text {
    /// The text side of a Hugging Face directory. `config` is its config.json, `vocab_size` the embedding's rows.
    pub(in crate::model) fn from_directory(layout: &Layout, config: &Value, vocab_size: usize) -> Result<Self> {
        Self::new(Parts::of_directory(layout, config)?, vocab_size)
    }

    /// The text side of a GGUF file.
    pub(in crate::model) fn from_gguf(file: &GgufFile, vocab_size: usize) -> Result<Self> {
        Self::new(Parts::of_gguf(file)?, vocab_size)
    }

    fn new(parts: Parts, vocab_size: usize) -> Result<Self> {
        let digest = digest(&parts);
        let Parts { place, definition, template, named, specials, greedy, splits_special, cleans_up, notes } = parts;
        let mut tokenizer = definition.build(&place)?;
        tokenizer.set_encode_special_tokens(splits_special);
        let added = tokenizer.get_added_tokens_decoder().into_iter();
        let tags = added.filter(|(_, token)| token.special && thoughts::is_tag(&token.content));
        let tags = tags.map(|(id, token)| (id, token.content)).collect();
        let tokenizer = Arc::new(tokenizer);
        Ok(Self { place, tokenizer, template, named, specials, greedy, cleans_up, tags, vocab_size, digest, notes })
    }

    /// Token ids of a text. With `special_tokens` the model's own additions come too, such as a BOS;
    /// special tokens that are spelled out in the text become themselves either way.
    ///
    /// # Errors
    /// The tokeniser knows a token that the embedding has no row for.
    pub fn encode(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>> {
        // The regular expressions and replacements of a tokeniser come with a model, as its templates do.
        let limits = Limits::of_input(text.len(), BYTES_OF_BYTE);
        let (tokenizer, text) = (Arc::clone(&self.tokenizer), text.to_owned());
        let encoded = bounded::within(limits, move || {
            let encoding = tokenizer.encode_fast(text, special_tokens).map_err(|cause| cause.to_string())?;
            Ok(encoding.get_ids().to_vec())
        });
        let ids = encoded.unwrap_or_else(|excess| Err(excess.to_string()));
        let ids: Vec<u32> =
            ids.map_err(|cause: String| Error::user(format!("{}: cannot tokenise: {cause}", self.place)))?;
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            None => Ok(ids),
            Some(id) => {
                let token = self.tokenizer.id_to_token(*id).unwrap_or_default();
                let message = format!(
                    "{}: the text holds {token}, token {id}, but the model's vocabulary ends at {}",
                    self.place, self.vocab_size
                );
                Err(Error::user(message)
                    .hint("tokeniser and weights do not belong together, or the text needs another one"))
            }
        }
    }

    /// The text of some ids. With `skip_special` the special tokens among them are left out, otherwise they are spelled out.
    ///
    /// # Errors
    /// The tokeniser cannot decode them.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let (tokenizer, ids) = (Arc::clone(&self.tokenizer), ids.to_vec());
        let decoded = bounded::within(Limits::SMALL, move || {
            tokenizer.decode(&ids, skip_special).map_err(|cause| cause.to_string())
        });
        let decoded = decoded.unwrap_or_else(|excess| Err(excess.to_string()));
        let decoded = decoded.map_err(|cause| Error::user(format!("{}: cannot decode ids: {cause}", self.place)))?;
        Ok(if self.cleans_up { cleaned_up(decoded) } else { decoded })
    }

    /// What a user should know of the files that this was read from.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The text of an answer's ids as it is read: without special tokens, but with the tags of thoughts, which are special
    /// tokens in some vocabularies.
    pub fn decode_answer(&self, ids: &[u32]) -> Result<String> {
        let mut text = String::new();
        for piece in ids.split_inclusive(|id| self.tags.contains_key(id)) {
            let tag = piece.last().and_then(|last| self.tags.get(last));
            text.push_str(&self.decode(&piece[..piece.len() - usize::from(tag.is_some())], true)?);
            text.extend(tag.map(String::as_str));
        }
        Ok(text)
    }

    /// The id of a special token that is spelled so.
    pub fn special_id(&self, text: &str) -> Option<u32> {
        let added = self.tokenizer.get_added_tokens_decoder().into_iter();
        added.filter(|(_, token)| token.special && token.content == text).map(|(id, _)| id).min()
    }

    /// The ids that end an answer, ascending: `eos_token_id` of generation_config.json, else of config.json,
    /// and the tokeniser's `eos_token`; in GGUF the end of the sequence and of the turn.
    pub fn stop_ids(&self) -> &[u32] {
        &self.greedy.stops
    }

    /// How an answer goes on and ends: [`Self::stop_ids`], and what generation_config.json asks for.
    pub fn greedy(&self) -> &Greedy {
        &self.greedy
    }

    /// Whether the model has a chat template of its own.
    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// Renders a conversation with the model's own template. The result is to be encoded without special tokens.
    ///
    /// # Errors
    /// There is no template, or it fails.
    pub fn render_chat(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        think: Think,
        chat_date: &str,
    ) -> Result<String> {
        let template = self.template.as_ref().ok_or_else(|| match &self.named {
            None => Error::user("chat_template is \"model\", but this model has no chat template")
                .hint("set it to \"none\" for the bare text, or to a template file"),
            Some((place, names)) => {
                let names = names.join(", ");
                let message = format!("chat_template is \"model\", but the templates in {place} are named {names}, and none is the default");
                Error::user(message).hint("save the one that you want as a file, and set chat_template to the file's path")
            }
        })?;
        self.render_with(template, messages, add_generation_prompt, think, chat_date)
    }

    /// As [`Self::render_chat`], with a template of the caller's.
    pub fn render_with(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        add_generation_prompt: bool,
        think: Think,
        chat_date: &str,
    ) -> Result<String> {
        template.render(messages, &self.specials, add_generation_prompt, think, chat_date)
    }

    /// The digest of tokeniser, chat template, special and stop ids.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// The digest of everything that turns texts into ids and ids into texts. What is added later stays out while it has the value
/// that was implied before, because keys of existing artifacts depend on it.
fn digest(parts: &Parts) -> Digest {
    let template = parts.template.as_ref().map(ChatTemplate::source);
    // the last three are rare, and count where the template asks for them
    let named = |name: &str| FIRST_SPECIALS.contains(&name) || template.is_some_and(|source| source.contains(name));
    let specials = parts.specials.iter().filter(|(name, _)| named(name));
    let mut value = json!({
        "tokenizer": parts.definition.json(), "chat_template": template, "stop_ids": parts.greedy.stops,
        "specials": specials.map(|(name, text)| json!([name, text])).collect::<Vec<_>>(),
    });
    for (name, on) in [("splits_special", parts.splits_special), ("cleans_up", parts.cleans_up)] {
        if on {
            value[name] = true.into();
        }
    }
    if !parts.greedy.adjustments.are_none() {
        value["adjustments"] = json!(parts.greedy.adjustments);
    }
    Digest::of_json(&value)
}

/// The special tokens that were always part of the digest.
const FIRST_SPECIALS: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// As transformers' `clean_up_tokenization`, one replacement after the other.
fn cleaned_up(text: String) -> String {
    [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"]
        .into_iter()
        .fold(text, |text, blank| text.replace(blank, blank.trim()))
}

#[cfg(test)]
mod tests;
