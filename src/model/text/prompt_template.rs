//! From a question to prompt ids: raw, through the model's chat template, or through one from a file.
//!
//! Text from a template is tokenised without special tokens, since templates write them themselves;
//! raw text with them, as transformers' tokenisers do by default. Must not know: stages.

use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::model::text::thoughts::{Tags, Think, opened_by};
use crate::model::text::{ChatTemplate, Message, Text};

/// The template that a prompt is put into before it is tokenised. `F` is what is known of a template file: in settings its
/// path, where it is used the template, and in a key nothing, because the file's digest is an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptTemplate<F> {
    /// No template.
    None,
    /// The chat template that comes with the model. It is an error if there is none.
    Model,
    /// The chat template in a file.
    File(F),
}

const NONE: &str = "none";
const MODEL: &str = "model";
/// Only in keys: settings name the file.
const FILE: &str = "file";

impl<F> PromptTemplate<F> {
    /// The same with something else in place of a file.
    pub fn with<G, E>(&self, of_file: impl FnOnce(&F) -> Result<G, E>) -> Result<PromptTemplate<G>, E> {
        Ok(match self {
            Self::None => PromptTemplate::None,
            Self::Model => PromptTemplate::Model,
            Self::File(file) => PromptTemplate::File(of_file(file)?),
        })
    }

    /// As it enters a key.
    pub fn kind(&self) -> PromptTemplate<()> {
        match self {
            Self::None => PromptTemplate::None,
            Self::Model => PromptTemplate::Model,
            Self::File(_) => PromptTemplate::File(()),
        }
    }
}

impl Serialize for PromptTemplate<PathBuf> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str(NONE),
            Self::Model => serializer.serialize_str(MODEL),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PromptTemplate<PathBuf> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            NONE => Self::None,
            MODEL => Self::Model,
            path => Self::File(path.into()),
        })
    }
}

impl Serialize for PromptTemplate<()> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::None => NONE,
            Self::Model => MODEL,
            Self::File(()) => FILE,
        })
    }
}

impl<'de> Deserialize<'de> for PromptTemplate<()> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            NONE => Ok(Self::None),
            MODEL => Ok(Self::Model),
            FILE => Ok(Self::File(())),
            other => Err(D::Error::unknown_variant(other, &[NONE, MODEL, FILE])),
        }
    }
}

/// A prompt as a model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub ids: Vec<u32>,
    /// The tags of the thought in which the answer begins, where the prompt opens one.
    pub inside: Option<Tags>,
}

/// A prompt that a model is to answer.
///
/// # Errors
/// The model's own template where the model has none, whatever a template raises, and thoughts that are switched where
/// there is no switch.
pub fn prompt(
    text: &Text,
    template: &PromptTemplate<ChatTemplate>,
    think: Think,
    date: Option<&str>,
    messages: &[Message],
) -> Result<Prompt> {
    let date = date.unwrap_or_default();
    let rendered = match template {
        PromptTemplate::None if think != Think::Model => {
            return Err(Error::user(format!("think = \"{think}\" needs a chat template, whose switch it sets"))
                .hint("set generate.chat_template, or generate.think = \"model\""));
        }
        PromptTemplate::None => {
            let raw: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            let raw = raw.join("\n");
            return Ok(Prompt { ids: text.encode(&raw, true)?, inside: opened_by(&raw) });
        }
        PromptTemplate::Model => text.render_chat(messages, true, think, date)?,
        PromptTemplate::File(template) => text.render_with(template, messages, true, think, date)?,
    };
    Ok(Prompt { ids: text.encode(&rendered, false)?, inside: opened_by(&rendered) })
}

/// The ids of a prompt, with thoughts as the template has them by itself.
///
/// # Errors
/// Those of [`prompt`].
pub fn prompt_ids(
    text: &Text,
    template: &PromptTemplate<ChatTemplate>,
    date: Option<&str>,
    messages: &[Message],
) -> Result<Vec<u32>> {
    Ok(prompt(text, template, Think::Model, date, messages)?.ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_named_by_its_path_in_settings_and_by_its_kind_in_keys() {
        for (template, typed, kind) in [
            (PromptTemplate::None, "\"none\"", "\"none\""),
            (PromptTemplate::Model, "\"model\"", "\"model\""),
            (PromptTemplate::File(PathBuf::from("/t.jinja")), "\"/t.jinja\"", "\"file\""),
        ] {
            assert_eq!(serde_json::to_string(&template).unwrap(), typed);
            assert_eq!(serde_json::from_str::<PromptTemplate<PathBuf>>(typed).unwrap(), template);
            assert_eq!(serde_json::to_string(&template.kind()).unwrap(), kind);
            assert_eq!(serde_json::from_str::<PromptTemplate<()>>(kind).unwrap(), template.kind());
        }
    }
}
