//! The sections about answers: how they come about, and who judges them.
//!
//! Must not know: files, places, and how settings depend on each other.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::Choice;
use crate::config::values::{limit, positive, some_share, some_source, temperature, texts};
use crate::data::AnswersOf;
use crate::judge::{self, Access, Entry, Parse};
use crate::model::decoder::draw::Sampling;
use crate::model::source::spec::Source;
use crate::model::text::prompt_template::PromptTemplate;
use crate::model::text::thoughts::Think;

/// `[generate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Generate {
    /// Who answers: the "model", or a "file" with answers that were made elsewhere.
    ///
    /// Key: generate.
    pub kind: AnswersOf,
    /// The file of answers; only "file" reads it.
    ///
    /// Key: none; the bytes enter, and which container they are.
    pub path: Option<PathBuf>,
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
            kind: AnswersOf::Model,
            path: None,
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

/// `[judge]`, and `[judge.NAME]` for each further judge
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Judge {
    /// Phrases of caution, or a model that is asked.
    ///
    /// Key: judge.
    pub kind: Choice<Entry>,
    /// The judge model, written like model.source; all but "refusal" need it, or `url`.
    ///
    /// Key: none; the content of the model enters.
    #[serde(deserialize_with = "some_source")]
    #[schemars(with = "String")]
    pub source: Option<Source>,
    /// The endpoint that judges in place of a model here: what stands before /chat/completions.
    ///
    /// Key: judge.
    pub url: Option<String>,
    /// What the endpoint calls its model.
    ///
    /// Key: judge.
    pub model: Option<String>,
    /// The environment variable that holds the endpoint's key; the key itself is written nowhere.
    ///
    /// Key: none.
    pub key_env: Option<String>,
    /// How long an answer of the endpoint is waited for.
    ///
    /// Key: none.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: usize,
    /// How many answers the endpoint is asked about at once.
    ///
    /// Key: none.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub at_once: usize,
    /// A file with the judge's question; for "md-judge", one for any chat model comes with dean.
    ///
    /// Key: judge.
    pub template: Option<PathBuf>,
    /// How the text of "md-judge" is read.
    ///
    /// Key: judge.
    pub parse: Parse,
}

impl Default for Judge {
    fn default() -> Self {
        Self {
            kind: judge::DEFAULT,
            source: None,
            url: None,
            model: None,
            key_env: None,
            timeout_seconds: 60,
            at_once: 8,
            template: None,
            parse: Parse::default(),
        }
    }
}

impl Judge {
    /// The model that judges, if one does. One that was typed beside a kind without a model stays unused, so that
    /// `--set judge.kind=refusal` is enough to change over.
    pub fn model(&self) -> Option<&Source> {
        self.source.as_ref().filter(|_| self.kind.asks() && self.endpoint().is_none())
    }

    /// How it is asked.
    pub fn access(&self) -> Access {
        let timeout = Duration::from_secs(self.timeout_seconds as u64);
        Access { key_env: self.key_env.clone(), timeout, at_once: self.at_once }
    }

    /// The endpoint that judges, if one does, and what it calls its model.
    pub fn endpoint(&self) -> Option<(&str, &str)> {
        let url = self.url.as_ref().filter(|_| self.kind.asks())?;
        Some((url, self.model.as_deref().unwrap_or_default()))
    }
}
