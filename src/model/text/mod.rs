//! Text to ids and back: the tokeniser, the chat template, the tokens that end an answer.
//!
//! Whatever a model came in, its tokeniser is first a tokenizer.json (GGUF headers and SentencePiece's files are
//! written down as one), so there is one definition to build from and to take the digest of. No code of the model is run.
//! Must not know: weights, pipelines, what a prompt is for.

mod chat_template;
mod definition;
mod gguf_vocabulary;
mod jinja;
mod parts;
mod pieces;
pub mod prompt_template;
mod tokenizer_model;

use std::sync::Arc;

use serde_json::{Value, json};
use tokenizers::Tokenizer;

pub use self::chat_template::{ChatTemplate, Message};
pub(in crate::model) use self::parts::Parts;
use self::parts::Specials;
use crate::bounded::{self, Limits};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::checkpoint::gguf::GgufFile;
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
    specials: Specials,
    stop_ids: Vec<u32>,
    vocab_size: usize,
    digest: Digest,
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
        let Parts { place, definition, template, specials, stop_ids } = parts;
        let digest = Digest::of_json(&json!({
            "tokenizer": definition.json(), "chat_template": template.as_ref().map(ChatTemplate::source),
            "stop_ids": stop_ids,
            "specials": specials.iter().map(|(name, text)| json!([name, text])).collect::<Vec<_>>(),
        }));
        let tokenizer = Arc::new(definition.build(&place)?);
        Ok(Self { place, tokenizer, template, specials, stop_ids, vocab_size, digest })
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

    /// The text of some ids, without any clean-up of spaces.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let (tokenizer, ids) = (Arc::clone(&self.tokenizer), ids.to_vec());
        let decoded = bounded::within(Limits::SMALL, move || {
            tokenizer.decode(&ids, skip_special).map_err(|cause| cause.to_string())
        });
        let text = decoded.unwrap_or_else(|excess| Err(excess.to_string()));
        text.map_err(|cause| Error::user(format!("{}: cannot decode ids: {cause}", self.place)))
    }

    /// The ids that end an answer, ascending: `eos_token_id` of generation_config.json, else of config.json,
    /// and the tokeniser's `eos_token`; in GGUF the end of the sequence and of the turn.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Renders a conversation with the model's own template. The result is to be encoded without special tokens.
    ///
    /// # Errors
    /// There is no template, or it fails.
    pub fn render_chat(&self, messages: &[Message], add_generation_prompt: bool, chat_date: &str) -> Result<String> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::user("chat_template is \"model\", but this model has no chat template")
                .hint("set it to \"none\" for the bare text, or to a template file")
        })?;
        self.render_with(template, messages, add_generation_prompt, chat_date)
    }

    /// As [`Self::render_chat`], with a template of the caller's.
    pub fn render_with(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        add_generation_prompt: bool,
        chat_date: &str,
    ) -> Result<String> {
        template.render(messages, &self.specials, add_generation_prompt, chat_date)
    }

    /// The digest of tokeniser, chat template, special and stop ids.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests;
