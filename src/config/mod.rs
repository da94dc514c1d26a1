//! pipeline.toml to [`Pipeline`]: from what was typed to what it means.
//!
//! ```text
//! pipeline.toml, --set ──document.rs──► one tree of names and values, each with its place (node.rs)
//!                                          │ serde, by reader.rs; what does not fit: complaint.rs
//!                                          ▼
//!        settings.rs: every key, its default, its meaning ──resolve.rs, grid.rs──► Pipeline
//!                └── schema.rs: the same for editors and hints
//! ```
//!
//! Paths in the file are relative to the file, paths in `--set` to the working directory; a
//! [`Pipeline`] holds absolute ones. Every complaint names the place (`pipeline.toml:12:3`, `--set
//! select.q`), what was expected, and the nearest known key.
//! Must not know: stages, the store, and whether the files that are named exist.

mod complaint;
mod document;
mod grid;
mod node;
mod reader;
mod resolve;
mod schema;
mod search;
mod settings;
pub mod sweep;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

pub use schema::{keys, schema};
pub use search::{CHEAP, Search};
pub use settings::{
    Controls, Data, Divergence, Generate, Inspect, Judge, Model, Patch, Perplexity, Questions, Report, Run, Score,
    Tokenize,
};
pub use sweep::Sweep;
pub use values::Window;

use crate::bounded::{self, Limits};
use crate::error::{Error, Result};
use crate::model::matrix::{Layers, Modules};
use crate::rank::{Point, Rule};

/// Reads a pipeline file under `--set` options (`key.path=TOMLVALUE`, later ones win). `file` may be
/// relative to `cwd`, which is absolute. `$DEAN_SOURCES` is read for `run.sources`.
///
/// Errors: the file cannot be read, or something in it or in an option is not as the schema says.
pub fn load(file: &Path, sets: &[String], cwd: &Path) -> Result<Pipeline> {
    load_swept(file, &[], sets, cwd)
}

/// The same with values of the file's `[sweep]` in the place of what it says elsewhere. They are written like options, and
/// paths among them are relative to the file.
pub fn load_swept(file: &Path, swept: &[String], sets: &[String], cwd: &Path) -> Result<Pipeline> {
    let sources = std::env::var_os("DEAN_SOURCES").filter(|value| !value.is_empty()).map(|value| cwd.join(value));
    let (typed, swept, sets, cwd) = (file.to_owned(), swept.to_vec(), sets.to_vec(), cwd.to_owned());
    // A job may come from somebody else, as a model does.
    let pipeline = bounded::within(Limits::SMALL, move || {
        let document = document::Document::read(&typed, &swept, &sets, &cwd)?;
        resolve::resolve(document.settings()?, &document, sources)
    });
    pipeline.unwrap_or_else(|excess| Err(Error::user(format!("{}: {excess}", file.display()))))
}

/// One job, resolved: every path absolute, every default in place, every cross-check passed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pipeline {
    /// The pipeline file.
    pub file: PathBuf,
    pub model: Model,
    /// Calibration sets by name: those that `select.rule` speaks of, and no others. Further draws of a set are sets of their own.
    pub data: BTreeMap<String, Data>,
    pub tokenize: Tokenize,
    /// Question sets by name.
    pub questions: BTreeMap<String, Questions>,
    pub score: Score,
    pub select: Select,
    /// What is swept over. It is no part of a job: each of its jobs is one without it.
    #[serde(skip)]
    pub sweep: Sweep,
    pub controls: Controls,
    pub patch: Patch,
    pub generate: Generate,
    pub judge: Judge,
    /// Further judges of the same answers by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub judges: BTreeMap<String, Judge>,
    /// None: there is no question set of that name.
    pub divergence: Option<Divergence>,
    /// None: perplexity is not measured.
    pub perplexity: Option<Perplexity>,
    pub inspect: Inspect,
    pub report: Report,
    /// Does not make another job.
    #[serde(skip)]
    pub search: Search,
    pub run: Run,
}

impl Pipeline {
    /// Every judge with its name; that of `[judge]` comes first and has none.
    pub fn judges(&self) -> impl Iterator<Item = (Option<&str>, &Judge)> {
        std::iter::once((None, &self.judge)).chain(self.judges.iter().map(|(name, judge)| (Some(name.as_str()), judge)))
    }
}

/// `[select]` with what it takes from `[score]`.
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

fn rule_as_text<S: Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(rule)
}

fn points_as_pairs<S: Serializer>(points: &[Point], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(points.iter().map(|point| (point.p, point.q)))
}
