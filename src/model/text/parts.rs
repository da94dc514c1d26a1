//! What a model says about its text: the tokeniser's definition, the chat template, special tokens, the ends of answers.
//!
//! It is found in the files of a Hugging Face directory or in a GGUF header, and can be written down as the files of
//! such a directory. Must not know: how text is tokenised, weights.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::chat_template::ChatTemplate;
use super::definition::Definition;
use super::gguf_vocabulary::GgufVocabulary;
use super::tokenizer_model::TokenizerModel;
use crate::error::{Error, Result};
use crate::model::checkpoint::gguf::GgufFile;
use crate::model::source::layout::{self, Layout};

/// Tokeniser classes that put BOS and EOS by their own two switches, whatever tokenizer.json says.
const LLAMA: &str = "LlamaTokenizer";
const LLAMA_CLASSES: &[&str] = &[LLAMA, "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"];

/// The special tokens that templates may use by name.
const SPECIALS: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];

/// Tokens that end a turn, by their text: many GGUF files name the end of a document only, though their chat template
/// ends turns with another token. llama.cpp's vocabulary finds them in the same way.
const TURN_ENDS: [&str; 7] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|eom_id|>", "<EOT>", "<end_of_utterance>"];

/// Special tokens by name, such as `bos_token`.
pub(in crate::model) type Specials = Vec<(&'static str, String)>;

/// Both kinds of checkpoint find these out before a [`super::Text`] can be built.
pub(in crate::model) struct Parts {
    /// How errors call the tokeniser.
    pub place: String,
    pub definition: Definition,
    pub template: Option<ChatTemplate>,
    pub specials: Specials,
    /// Ascending, each once.
    pub stop_ids: Vec<u32>,
}

impl Parts {
    /// The text side of a GGUF header.
    pub fn of_gguf(file: &GgufFile) -> Result<Self> {
        let place = file.path().display().to_string();
        Self::of_header(file, place.clone()).map_err(|error| error.within(place))
    }

    fn of_header(file: &GgufFile, place: String) -> Result<Self> {
        let vocabulary = GgufVocabulary::of(file)?;
        let key = |short: &str| format!("tokenizer.ggml.{short}");
        let mut specials = Vec::new();
        for (name, short) in
            SPECIALS.iter().zip(["bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"])
        {
            let token = vocabulary.id(&key(short))?.and_then(|id| vocabulary.token(id));
            specials.extend(token.map(|token| (*name, token.to_owned())));
        }
        let mut stop_ids = Vec::new();
        for short in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            stop_ids.extend(vocabulary.id(&key(short))?);
        }
        if file.meta(&key("eot_token_id")).is_none() {
            stop_ids.extend(TURN_ENDS.iter().filter_map(|text| vocabulary.id_of(text)));
        }
        let template = file.text("tokenizer.chat_template");
        let template = template.map(|source| ChatTemplate::new(format!("{place}: chat template"), source));
        Ok(Self { place, definition: vocabulary.definition()?, template, specials, stop_ids: sorted(stop_ids) })
    }

    /// The text side of a Hugging Face directory. `config` is its config.json.
    pub fn of_directory(layout: &Layout, config: &Value) -> Result<Self> {
        let settings = optional(layout, layout::TOKENIZER_CONFIG)?;
        let map = optional(layout, layout::SPECIAL_TOKENS)?;
        let mut specials: Specials = SPECIALS
            .iter()
            .filter_map(|name| special(&settings, name).or_else(|| special(&map, name)).map(|text| (*name, text)))
            .collect();
        let (file, mut definition, class) = tokenizer(layout, &settings, &mut specials)?;
        complete(&mut definition, &settings, &specials, &class).map_err(|error| error.within(file.display()))?;

        let template = match layout.text(layout::CHAT_TEMPLATE)? {
            Some((file, source)) => Some(ChatTemplate::new(file.display().to_string(), source)),
            None => chat_template(&settings).map(|source| {
                let file = layout.root().join(layout::TOKENIZER_CONFIG);
                ChatTemplate::new(format!("{}: chat_template", file.display()), source)
            }),
        };
        let generation = optional(layout, layout::GENERATION_CONFIG)?;
        let eos = generation.get("eos_token_id").filter(|value| !value.is_null()).or(config.get("eos_token_id"));
        let mut stop_ids = ids_of(eos).map_err(|error| error.within(layout.root().display()))?;
        // chat models often end a turn with the tokeniser's eos_token while config.json names the end of a document
        let eos_token = specials.iter().find(|(name, _)| *name == "eos_token");
        stop_ids.extend(eos_token.and_then(|(_, text)| definition.id(text)));
        let place = file.display().to_string();
        Ok(Self { place, definition, template, specials, stop_ids: sorted(stop_ids) })
    }

    /// The ids that config.json repeats: `bos_token_id`, `eos_token_id` and `pad_token_id`, where there are such tokens.
    pub fn ids(&self) -> Vec<(&'static str, u32)> {
        let keys = [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("pad_token", "pad_token_id")];
        let id = |special: &str| {
            let (_, text) = self.specials.iter().find(|(name, _)| *name == special)?;
            self.definition.id(text)
        };
        keys.into_iter().filter_map(|(special, key)| Some((key, id(special)?))).collect()
    }

    /// The files that say this in Hugging Face layout, by name. `context` is how many tokens the model was made for.
    pub fn into_files(self, context: usize) -> Vec<(&'static str, Value)> {
        let eos = match self.stop_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let mut generation = Map::from_iter([("eos_token_id".to_owned(), eos)]);
        for (key, id) in self.ids() {
            generation.entry(key).or_insert_with(|| id.into());
        }
        let mut settings = Map::from_iter([
            ("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast")),
            ("model_max_length".to_owned(), json!(context)),
            ("clean_up_tokenization_spaces".to_owned(), json!(false)),
        ]);
        settings.extend(self.specials.into_iter().map(|(name, text)| (name.to_owned(), json!(text))));
        if let Some(template) = self.template {
            settings.insert("chat_template".into(), json!(template.source()));
        }
        vec![
            ("generation_config.json", Value::Object(generation)),
            ("tokenizer.json", self.definition.into_json()),
            ("tokenizer_config.json", Value::Object(settings)),
        ]
    }
}

fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The tokeniser of a directory, with the file that it comes from and its class: tokenizer.json itself, else what
/// tokenizer.model stands for. Special tokens that no setting names are then those of the file.
fn tokenizer(layout: &Layout, settings: &Value, specials: &mut Specials) -> Result<(PathBuf, Definition, String)> {
    let class = settings.get("tokenizer_class").and_then(Value::as_str);
    if let Some((file, definition)) = layout.json(layout::TOKENIZER)? {
        return Ok((file, Definition::new(definition), class.unwrap_or_default().to_owned()));
    }
    let way = "make one with transformers: `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`";
    let directory = layout.root().display();
    let Some(file) = layout.companion(layout::TOKENIZER_MODEL) else {
        let message = format!("{directory} has neither tokenizer.json nor tokenizer.model");
        return Err(Error::user(message).hint(way));
    };
    // without a class, the model families here are Llama's relatives
    let class = class.unwrap_or(LLAMA);
    if !LLAMA_CLASSES.contains(&class) {
        let message =
            format!("{directory} has no tokenizer.json, and a tokenizer.model is not read for the class {class}");
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
    let beyond = optional(layout, layout::ADDED_TOKENS)?;
    let special = |text: &str| specials.iter().any(|(_, known)| known == text);
    definition.add(
        beyond
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(text, id)| Some((u32::try_from(id.as_u64()?).ok()?, text.as_str(), special(text)))),
    );
    Ok((file, definition, class.to_owned()))
}

/// Brings a tokenizer.json to what transformers makes of it: no truncation or padding, the tokens that only
/// tokenizer_config.json adds, and for Llama's classes their own BOS and EOS.
fn complete(definition: &mut Definition, settings: &Value, specials: &Specials, class: &str) -> Result<()> {
    definition.uncut()?;
    definition.check_drawn()?;
    let mut beyond = Vec::new();
    for (id, token) in settings.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten() {
        let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
        if !content.is_empty() && definition.id(content).is_none() {
            let id = id.parse().map_err(|_| Error::user(format!("added_tokens_decoder has the id {id}")))?;
            beyond.push((id, content, token.get("special").and_then(Value::as_bool).unwrap_or(false)));
        }
    }
    definition.add(beyond.into_iter());

    if LLAMA_CLASSES.contains(&class) {
        let end = |switch: &str, default: bool, name: &str| -> Result<Option<(u32, &str)>> {
            if !settings.get(switch).and_then(Value::as_bool).unwrap_or(default) {
                return Ok(None);
            }
            let Some((_, text)) = specials.iter().find(|(special, _)| *special == name) else {
                return Err(Error::user(format!("{class} adds {name}, but tokenizer_config.json does not name it")));
            };
            let id = definition.id(text).ok_or_else(|| Error::user(format!("{name} {text} is not a token")))?;
            Ok(Some((id, text.as_str())))
        };
        let ends = (end("add_bos_token", true, "bos_token")?, end("add_eos_token", false, "eos_token")?);
        definition.enclose(ends.0, ends.1);
    }
    Ok(())
}

/// A special token: its text, or a table that holds its text.
fn special(settings: &Value, name: &str) -> Option<String> {
    let value = settings.get(name)?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// The template in tokenizer_config.json: a text, or a list of named ones of which `default` counts.
fn chat_template(settings: &Value) -> Option<&str> {
    let value = settings.get("chat_template")?;
    let named = || {
        let entries = value.as_array()?;
        let entry = entries.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))?;
        entry.get("template")?.as_str()
    };
    value.as_str().or_else(named)
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

/// A JSON file that need not be there.
fn optional(layout: &Layout, name: &str) -> Result<Value> {
    Ok(layout.json(name)?.map_or_else(|| Value::Object(Map::new()), |(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_ends_are_one_or_a_list() {
        assert_eq!(ids_of(Some(&json!(2))).unwrap(), [2]);
        assert_eq!(ids_of(Some(&json!([0, 1]))).unwrap(), [0, 1]);
        assert_eq!(ids_of(Some(&Value::Null)).unwrap(), [0; 0]);
        assert!(ids_of(Some(&json!("x"))).is_err() && ids_of(Some(&json!([-1]))).is_err());
    }
}
