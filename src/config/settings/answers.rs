//! The sections about answers: how they come about, and who judges them.
//!
//! Must not know: files, places, and how settings depend on each other.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::Choice;
use crate::config::values::{limit, positive, some_share, some_source, temperature, texts};
use crate::judge::{self, Entry, Parse};
use crate::model::decoder::draw::Sampling;
use crate::model::source::spec::Source;
use crate::model::text::prompt_template::PromptTemplate;
use crate::model::text::thoughts::Think;

/// `[generate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Generate {
    /// The longest answer.
    ///
    /// Key: generate.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_new_tokens: usize,
    /// How questions are dressed: "model", "none" or a file.
    ///
    /// Key: generate.
    #[schemars(with = "String")]
    pub chat_template: PromptTemplate<PathBuf>,
    /// "off" or "on" sets the chat template's own switch for thoughts.
    ///
    /// Key: generate.
    pub think: Think,
    /// Texts that end an answer; it is cut before them.
    ///
    /// Key: generate.
    #[serde(deserialize_with = "texts")]
    pub stop: Vec<String>,
    /// 0: the likeliest token each time. Above: tokens are drawn, more evenly the higher it is.
    ///
    /// Key: generate.
    #[serde(deserialize_with = "temperature")]
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Only the likeliest so many tokens are drawn.
    ///
    /// Key: generate.
    #[serde(deserialize_with = "limit")]
    #[schemars(range(min = 1))]
    pub top_k: Option<usize>,
    /// Only the likeliest tokens are drawn, as few as have this share of the probability.
    ///
    /// Key: generate.
    #[serde(deserialize_with = "some_share")]
    #[schemars(range(max = 1))]
    pub top_p: Option<f64>,
    /// Which tokens are drawn; with the question and the position it decides each draw.
    ///
    /// Key: generate.
    pub seed: u64,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            max_new_tokens: 64,
            chat_template: PromptTemplate::Model,
            think: Think::Model,
            stop: Vec::new(),
            temperature: 0.0,
            top_k: None,
            top_p: None,
            seed: 0,
        }
    }
}

impl Generate {
    /// How tokens are drawn, if they are. The settings of a draw mean nothing at temperature 0.
    pub fn sampling(&self) -> Option<Sampling> {
        let Self { temperature, top_k, top_p, seed, .. } = *self;
        let top_p = top_p.filter(|share| *share < 1.0);
        (temperature > 0.0).then_some(Sampling { temperature, top_k, top_p, seed })
    }
}

/// `[judge]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Judge {
    /// Phrases of caution, or a model that is asked.
    ///
    /// Key: judge.
    pub kind: Choice<Entry>,
    /// The judge model, written like model.source; "md-judge" needs it.
    ///
    /// Key: none; the content of the model enters.
    #[serde(deserialize_with = "some_source")]
    #[schemars(with = "String")]
    pub source: Option<Source>,
    /// A file with the judge's question; one for any chat model comes with dean.
    ///
    /// Key: judge.
    pub template: Option<PathBuf>,
    /// How the judge model's text is read.
    ///
    /// Key: judge.
    pub parse: Parse,
}

impl Default for Judge {
    fn default() -> Self {
        Self { kind: judge::DEFAULT, source: None, template: None, parse: Parse::default() }
    }
}

impl Judge {
    /// The model that judges, if one does. One that was typed beside a kind without a model stays unused, so that
    /// `--set judge.kind=refusal` is enough to change over.
    pub fn model(&self) -> Option<&Source> {
        self.source.as_ref().filter(|_| self.kind.needs_model)
    }
}
