//! pipeline.toml to [`Pipeline`]: from what was typed to what it means.
//!
//! ```text
//! pipeline.toml, --set ──document.rs──► dotted keys, each checked and with its place
//!        schema.rs, kind.rs: the table of all keys     │ defaults filled in
//!                                                      ▼
//!                            typed.rs: PipelineToml ──resolve.rs, grid.rs, source.rs──► Pipeline
//! ```
//!
//! Paths in the file are relative to the file, paths in `--set` to the working directory; a
//! [`Pipeline`] holds absolute ones. Every complaint names the place (`pipeline.toml:12:3`, `--set
//! select.q`), what was expected, and the nearest known key.
//! Must not know: stages, the store, and whether the files that are named exist.

mod choices;
mod document;
mod grid;
mod kind;
mod resolve;
mod schema;
mod typed;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

pub use choices::{Action, Device, Dtype, Template, Window};

pub use schema::reference;

use crate::choice::Choice;
use crate::data::Join;
use crate::error::Result;
use crate::judge::{Entry, Parse};
use crate::model::matrix::{Layers, Modules};
use crate::model::source::spec::Source;
use crate::rank::{Point, Rule};
use crate::score::{Keep, Method};
use crate::size::Budget;

/// Reads a pipeline file under `--set` options (`key.path=TOMLVALUE`, later ones win). `file` may be
/// relative to `cwd`, which is absolute. `$DEAN_SOURCES` is read for `run.sources`.
///
/// Errors: the file cannot be read, or something in it or in an option is not as the schema says.
pub fn load(file: &Path, sets: &[String], cwd: &Path) -> Result<Pipeline> {
    let document = document::Document::read(file, sets, cwd)?;
    let sources = std::env::var_os("DEAN_SOURCES").filter(|value| !value.is_empty()).map(|value| cwd.join(value));
    resolve::resolve(document.typed()?, &document, sources)
}

/// One job, resolved: every path absolute, every default in place, every cross-check passed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pipeline {
    /// The pipeline file.
    pub file: PathBuf,
    pub model: Model,
    /// Calibration sets by name; holds every name that `select.rule` speaks of.
    pub data: BTreeMap<String, Data>,
    pub tokenize: Tokenize,
    /// Question sets by name.
    pub questions: BTreeMap<String, Questions>,
    pub score: Score,
    pub select: Select,
    pub patch: Patch,
    pub generate: Generate,
    pub judge: Judge,
    /// None: perplexity is not measured.
    pub perplexity: Option<Perplexity>,
    pub run: Run,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    pub source: Source,
    /// The number format that the model computes in.
    pub dtype: Dtype,
}

/// `[data.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Data {
    /// A CSV or JSONL file.
    pub path: PathBuf,
    /// The column of prompts.
    pub prompt: String,
    /// The column of responses.
    pub response: String,
    /// How many rows are drawn, at least 1.
    pub samples: usize,
    /// Which rows are drawn: the first `samples` of numpy's `default_rng(seed).permutation(rows)`, after `skip`.
    pub seed: u64,
    /// How many rows of that order are passed over first.
    pub skip: usize,
}

/// `[tokenize]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tokenize {
    /// How calibration prompts are dressed.
    pub chat_template: Template,
    /// Tokenise the response with special tokens and drop the first id, as the released code does.
    pub drop_first_response_token: bool,
    /// What a chat template's `strftime_now` returns, here and in generation.
    pub chat_date: String,
}

/// `[questions.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Questions {
    /// A CSV or JSONL file.
    pub path: PathBuf,
    pub column: String,
    /// Only the first so many rows, at least 1.
    pub limit: Option<usize>,
}

/// `[score]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    pub method: Choice<dyn Method>,
    /// Where the method "random" begins.
    pub seed: u64,
    pub modules: Modules,
    pub layers: Layers,
    /// The share of each matrix that a rank table keeps, in (0, 1]; no p or q is above it.
    pub cap: f64,
    /// The most that scoring may hold at once. Enters no key.
    pub memory: Budget,
    pub keep: Keep,
}

/// `[select]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Select {
    /// Within `score.modules`.
    pub modules: Modules,
    /// Within `score.layers`.
    pub layers: Layers,
    /// Speaks only of names in [`Pipeline::data`].
    #[serde(serialize_with = "rule_as_text")]
    pub rule: Rule,
    /// Distinct, sorted by q, then by p; never empty. Every p and q is in (0, 1) and at most
    /// `score.cap`; p is there exactly if the rule uses it. Serialised as `[[p, q], …]`.
    #[serde(serialize_with = "points_as_pairs")]
    pub points: Vec<Point>,
}

/// `[patch]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    pub action: Action,
}

/// `[generate]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generate {
    /// At least 1.
    pub max_new_tokens: usize,
    /// How questions are dressed.
    pub chat_template: Template,
}

/// `[judge]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judge {
    pub kind: Choice<Entry>,
    /// The model that judges; there if the kind needs one.
    pub source: Option<Source>,
    /// The file with the question that the model is asked; None: the one that comes with dean, for any chat model.
    pub template: Option<PathBuf>,
    /// How the model's text becomes a verdict.
    pub parse: Parse,
}

impl Judge {
    /// The model that judges, if one does. One that was typed beside a kind without a model stays unused, so that
    /// `--set judge.kind=refusal` is enough to change over.
    pub fn model(&self) -> Option<&Source> {
        self.source.as_ref().filter(|_| self.kind.needs_model)
    }
}

/// `[perplexity]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// A text file.
    pub path: PathBuf,
    pub window: Window,
    pub join: Join,
    /// Only the first so many windows, at least 1.
    pub limit: Option<usize>,
}

/// `[run]`: this machine. Nothing here enters a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub device: Device,
    /// The store's directory.
    pub store: PathBuf,
    /// Threads on the CPU, at least 1; None: one a core.
    pub threads: Option<usize>,
    /// How often a long stage publishes a shard; 0: after each step.
    pub checkpoint_seconds: u64,
    /// Where fetched models are kept: `run.sources`, else $DEAN_SOURCES, else `sources/` in the store.
    pub sources: PathBuf,
}

fn rule_as_text<S: Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(rule)
}

fn points_as_pairs<S: Serializer>(points: &[Point], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(points.iter().map(|point| (point.p, point.q)))
}
