//! Text to ids and back: the tokeniser, the chat template, the tokens that end an answer.
//!
//! Whatever a model came in, its tokeniser is first a tokenizer.json (GGUF headers and SentencePiece's files are
//! written down as one), so there is one definition to build from and to take the digest of. No code of the model is run.
//! Must not know: weights, pipelines, what a prompt is for.

pub mod chat;
mod from_gguf;
mod from_sentencepiece;
mod sentence_piece;
mod template;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files;
use crate::model::checkpoint::gguf::GgufFile;
use crate::model::text::from_gguf::{Vocabulary, added_token, post_processor};
use crate::model::text::from_sentencepiece::TokenizerModel;
pub use crate::model::text::template::Message;
use crate::model::text::template::render;

/// Tokeniser classes that put BOS and EOS by their own two switches, whatever tokenizer.json says.
const LLAMA: &str = "LlamaTokenizer";
const LLAMA_CLASSES: &[&str] = &[LLAMA, "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"];

/// The special tokens that templates may use by name.
const SPECIALS: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// Everything that turns conversations into ids and ids into answers. `Sync`.
pub struct Text {
    /// How errors call the model.
    place: String,
    tokenizer: Tokenizer,
    template: Option<String>,
    specials: Vec<(&'static str, String)>,
    stop_ids: Vec<u32>,
    vocab_size: usize,
    digest: Digest,
}

/// What both kinds of checkpoint must find out before a [`Text`] can be built.
pub(in crate::model) struct Parts {
    pub definition: Value,
    pub template: Option<String>,
    pub specials: Vec<(&'static str, String)>,
    pub stop_ids: Vec<u32>,
}

impl Parts {
    /// The text side of a GGUF header.
    pub fn of_gguf(file: &GgufFile) -> Result<Self> {
        let vocabulary = Vocabulary::of(file)?;
        let key = |short: &str| format!("tokenizer.ggml.{short}");
        let mut specials = Vec::new();
        for (name, short) in
            SPECIALS.iter().zip(["bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"])
        {
            let token = vocabulary.id(&key(short))?.and_then(|id| vocabulary.token(id));
            specials.extend(token.map(|token| (*name, token.to_owned())));
        }
        let mut stop_ids = Vec::new();
        for short in ["eos_token_id", "eot_token_id"] {
            stop_ids.extend(vocabulary.id(&key(short))?);
        }
        stop_ids.sort_unstable();
        stop_ids.dedup();
        let template = file.text("tokenizer.chat_template").map(str::to_owned);
        Ok(Self { definition: vocabulary.definition()?, template, specials, stop_ids })
    }

    /// The id of a special token such as `eos_token`.
    pub fn id(&self, special: &str) -> Option<u32> {
        let (_, text) = self.specials.iter().find(|(name, _)| *name == special)?;
        id_in(&self.definition, text)
    }
}

impl Text {
    /// The text side of a Hugging Face directory. `config` is its config.json, `vocab_size` the embedding's rows.
    pub(in crate::model) fn from_directory(directory: &Path, config: &Value, vocab_size: usize) -> Result<Self> {
        let settings = optional(&directory.join("tokenizer_config.json"))?;
        let map = optional(&directory.join("special_tokens_map.json"))?;
        let mut specials: Vec<(&'static str, String)> = SPECIALS
            .iter()
            .filter_map(|name| special(&settings, name).or_else(|| special(&map, name)).map(|text| (*name, text)))
            .collect();
        let (file, mut definition, class) = definition(directory, &settings, &mut specials)?;
        complete(&mut definition, &settings, &specials, &class).map_err(|error| error.within(file.display()))?;

        let template_file = directory.join("chat_template.jinja");
        let template = if template_file.is_file() {
            Some(files::read_to_string(&template_file)?)
        } else {
            chat_template(&settings)
        };
        let generation = optional(&directory.join("generation_config.json"))?;
        let eos = generation.get("eos_token_id").filter(|value| !value.is_null()).or(config.get("eos_token_id"));
        let mut stop_ids = ids_of(eos).map_err(|error| error.within(directory.display()))?;
        // chat models often end a turn with the tokeniser's eos_token while config.json names the end of a document
        let eos_token = specials.iter().find(|(name, _)| *name == "eos_token");
        stop_ids.extend(eos_token.and_then(|(_, text)| id_in(&definition, text)));
        let parts = Parts { definition, template, specials, stop_ids };
        Self::build(file.display().to_string(), parts, vocab_size)
    }

    /// The text side of a GGUF file.
    pub(in crate::model) fn from_gguf(file: &GgufFile, vocab_size: usize) -> Result<Self> {
        let place = file.path().display().to_string();
        Self::build(place.clone(), Parts::of_gguf(file).map_err(|error: Error| error.within(place))?, vocab_size)
    }

    fn build(place: String, parts: Parts, vocab_size: usize) -> Result<Self> {
        let Parts { definition, template, specials, mut stop_ids } = parts;
        stop_ids.sort_unstable();
        stop_ids.dedup();
        let digest = Digest::of_json(&json!({
            "tokenizer": definition, "chat_template": template, "stop_ids": stop_ids,
            "specials": specials.iter().map(|(name, text)| json!([name, text])).collect::<Vec<_>>(),
        }));
        let malformed = |why: String| Error::user(format!("{place}: the tokeniser is malformed: {why}"));
        let bytes = definition.to_string();
        // the library checks a definition for most faults, but slices by some of its numbers
        let built = std::panic::catch_unwind(|| Tokenizer::from_bytes(bytes.as_bytes()))
            .map_err(|_| malformed("it breaks the tokenizers library".into()))?;
        let tokenizer = built.map_err(|cause| malformed(cause.to_string()))?;
        // the library gives tokens outside of the vocabulary the next free id, whatever is written
        for token in definition.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let (content, id) = (token["content"].as_str().unwrap_or_default(), token["id"].as_u64());
            let given = tokenizer.token_to_id(content);
            if !content.is_empty() && given.map(u64::from) != id {
                return Err(malformed(format!("the added token {content} should have the id {id:?}, not {given:?}")));
            }
        }
        Ok(Self { place, tokenizer, template, specials, stop_ids, vocab_size, digest })
    }

    /// Token ids of a text. With `special_tokens` the model's own additions come too, such as a BOS;
    /// special tokens that are spelled out in the text become themselves either way.
    ///
    /// # Errors
    /// The tokeniser knows a token that the embedding has no row for.
    pub fn encode(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = self
            .tokenizer
            .encode_fast(text, special_tokens)
            .map_err(|cause| Error::user(format!("{}: cannot tokenise: {cause}", self.place)))?;
        let ids = encoding.get_ids().to_vec();
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
        self.tokenizer
            .decode(ids, skip_special)
            .map_err(|cause| Error::user(format!("{}: cannot decode ids: {cause}", self.place)))
    }

    /// The ids that end an answer, ascending: `eos_token_id` of generation_config.json, else of config.json,
    /// and the tokeniser's `eos_token`; in GGUF the end of the sequence and of the turn.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Renders a conversation with the model's own template. The result is to be encoded without special tokens.
    ///
    /// # Errors
    /// There is no template, or it fails.
    pub fn render_chat(&self, messages: &[Message], add_generation_prompt: bool, chat_date: &str) -> Result<String> {
        let source = self.template.as_deref().ok_or_else(|| {
            Error::user(format!("{}: this model has no chat template", self.place))
                .hint("set chat_template = \"none\", or name a template file")
        })?;
        self.render_template(
            source,
            &format!("{}: chat template", self.place),
            messages,
            add_generation_prompt,
            chat_date,
        )
    }

    /// As [`Self::render_chat`], with a template of the caller's; `name` is how errors call it.
    pub fn render_template(
        &self,
        source: &str,
        name: &str,
        messages: &[Message],
        add_generation_prompt: bool,
        chat_date: &str,
    ) -> Result<String> {
        render(source, name, messages, &self.specials, add_generation_prompt, chat_date)
    }

    /// The digest of tokeniser, chat template, special and stop ids.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// The tokeniser of a directory, as a tokenizer.json, with the file that it comes from and its class: tokenizer.json itself,
/// else what tokenizer.model stands for. Special tokens that no setting names are then those of the file.
fn definition(
    directory: &Path,
    settings: &Value,
    specials: &mut Vec<(&'static str, String)>,
) -> Result<(PathBuf, Value, String)> {
    let class = settings.get("tokenizer_class").and_then(Value::as_str);
    let file = directory.join("tokenizer.json");
    if file.is_file() {
        let definition = json_file(&file)?;
        return Ok((file, definition, class.unwrap_or_default().to_owned()));
    }
    let way = "make one with transformers: `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`";
    let file = directory.join("tokenizer.model");
    if !file.is_file() {
        let message = format!("{} has neither tokenizer.json nor tokenizer.model", directory.display());
        return Err(Error::user(message).hint(way));
    }
    // without a class, the model families here are Llama's relatives
    let class = class.unwrap_or(LLAMA);
    if !LLAMA_CLASSES.contains(&class) {
        let message = format!(
            "{} has no tokenizer.json, and a tokenizer.model is not read for the class {class}",
            directory.display()
        );
        return Err(Error::user(message).hint(way));
    }
    let model = TokenizerModel::open(&file)?;
    for (name, text) in [("bos_token", &model.beginning), ("eos_token", &model.end), ("unk_token", &model.unknown)] {
        if !specials.iter().any(|(known, _)| *known == name) {
            specials.push((name, text.clone()));
        }
    }
    let flag = |name: &str| settings.get(name).and_then(Value::as_bool);
    // transformers 4 takes silence for legacy, as `LlamaConverter` does
    let definition = model.definition(flag("legacy").unwrap_or(true), flag("add_prefix_space"));
    let mut definition = definition.map_err(|error| error.within(file.display()))?;
    // before transformers 4.34 tokens beyond the file lay in a file of their own
    let beyond = optional(&directory.join("added_tokens.json"))?;
    let mut beyond: Vec<(u32, &str)> = beyond
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(text, id)| Some((u32::try_from(id.as_u64()?).ok()?, text.as_str())))
        .filter(|(_, text)| !text.is_empty() && id_in(&definition, text).is_none())
        .collect();
    beyond.sort_unstable();
    if let Some(added) = definition.get_mut("added_tokens").and_then(Value::as_array_mut) {
        let special = |text: &str| specials.iter().any(|(_, known)| known == text);
        added.extend(beyond.into_iter().map(|(id, text)| added_token(id, text, special(text))));
    }
    Ok((file, definition, class.to_owned()))
}

/// Brings a tokenizer.json to what transformers makes of it: no truncation or padding, the tokens that only
/// tokenizer_config.json adds, and for Llama's classes their own BOS and EOS.
fn complete(definition: &mut Value, settings: &Value, specials: &[(&'static str, String)], class: &str) -> Result<()> {
    let read_only: Value = definition.clone();
    let map = definition.as_object_mut().ok_or_else(|| Error::user("this is not a tokenizer.json"))?;
    map.insert("truncation".into(), Value::Null);
    map.insert("padding".into(), Value::Null);

    let mut missing: Vec<(u32, &str, bool)> = Vec::new();
    for (id, token) in settings.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten() {
        let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
        if !content.is_empty() && id_in(&read_only, content).is_none() {
            let id = id.parse().map_err(|_| Error::user(format!("added_tokens_decoder has the id {id}")))?;
            missing.push((id, content, token.get("special").and_then(Value::as_bool).unwrap_or(false)));
        }
    }
    missing.sort_unstable();
    let added = map.entry("added_tokens").or_insert_with(|| json!([]));
    if let Some(added) = added.as_array_mut() {
        added.extend(missing.into_iter().map(|(id, content, special)| added_token(id, content, special)));
    }

    if LLAMA_CLASSES.contains(&class) {
        let end = |switch: &str, default: bool, name: &str| -> Result<Option<(u32, &str)>> {
            if !settings.get(switch).and_then(Value::as_bool).unwrap_or(default) {
                return Ok(None);
            }
            let Some((_, text)) = specials.iter().find(|(special, _)| *special == name) else {
                return Err(Error::user(format!("{class} adds {name}, but tokenizer_config.json does not name it")));
            };
            let id = id_in(&read_only, text).ok_or_else(|| Error::user(format!("{name} {text} is not a token")))?;
            Ok(Some((id, text.as_str())))
        };
        let ends = (end("add_bos_token", true, "bos_token")?, end("add_eos_token", false, "eos_token")?);
        map.insert("post_processor".into(), post_processor(ends.0, ends.1));
    }
    Ok(())
}

/// A token's id in a tokenizer.json: among the added tokens, or in the model's vocabulary.
fn id_in(definition: &Value, token: &str) -> Option<u32> {
    let added = definition.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let found = added.into_iter().find(|entry| entry.get("content").and_then(Value::as_str) == Some(token));
    let id = found.and_then(|entry| entry.get("id")).or_else(|| definition.get("model")?.get("vocab")?.get(token));
    id.and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok())
}

/// A special token: its text, or a table that holds its text.
fn special(settings: &Value, name: &str) -> Option<String> {
    let value = settings.get(name)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// The template in tokenizer_config.json: a text, or a list of named ones of which `default` counts.
fn chat_template(settings: &Value) -> Option<String> {
    let value = settings.get("chat_template")?;
    let named = || {
        let entries = value.as_array()?;
        let entry = entries.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?;
        entry.get("template")?.as_str()
    };
    value.as_str().or_else(named).map(str::to_owned)
}

/// `eos_token_id`: an id, a list of ids, or nothing.
fn ids_of(value: Option<&Value>) -> Result<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(one) => id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| Error::user("eos_token_id must be a token id or a list of them"))
}

fn json_file(path: &Path) -> Result<Value> {
    serde_json::from_str(&files::read_to_string(path)?)
        .map_err(|cause| Error::user(format!("{} is not JSON: {cause}", path.display())))
}

/// A JSON file that need not be there.
fn optional(path: &Path) -> Result<Value> {
    if path.is_file() { json_file(path) } else { Ok(Value::Object(Map::new())) }
}

#[cfg(test)]
mod tests;
