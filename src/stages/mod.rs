//! The stages: rooms of one shape.
//!
//! A stage is a pure function from parameters and input artifacts to output artifacts. Its file holds
//! its `Params`, its version (a number raised by hand when the meaning of its outputs changes), the
//! nodes it contributes to a plan, what it can `check` before anything runs, and `run`. Adding a stage
//! is one file and one line in [`REGISTRY`].
//!
//! While a plan is made, a stage sees earlier results through [`Planning`]. Before anything runs, it sees files and models
//! through [`Preview`]. While it runs, it sees its inputs, the models and a place for shards through [`Context`]. It must not
//! know: the store, keys, the paths of its inputs, the terminal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::choice::choices;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files;
use crate::naming;

mod context;
mod controls;
mod divergence;
mod generate;
mod inspect;
mod judge;
mod patch;
mod perplexity;
mod report;
mod score;
mod select;
mod tokenize;
pub mod variant;

pub use context::{
    Context, Earlier, FileInput, Fill, Outlet, OutputOf, Parsed, Planning, Preview, Progress, Relative, Relatives,
    Shards,
};
pub use variant::Variant;

/// Every stage, in an order in which each comes after those it reads.
pub const REGISTRY: [&dyn Stage; 11] = [
    &tokenize::Tokenize,
    &score::Score,
    &select::Select,
    &controls::Controls,
    &patch::Patch,
    &generate::Generate,
    &inspect::Inspect,
    &judge::Judge,
    &divergence::Divergence,
    &perplexity::Perplexity,
    &report::Report,
];

/// The stage of that name.
pub fn find(name: &str) -> Option<&'static dyn Stage> {
    REGISTRY.into_iter().find(|stage| stage.name() == name)
}

/// Outputs of a stage: name and bytes. Large ones go through [`Outlet`] instead.
pub type Outputs = Vec<(String, Vec<u8>)>;

/// What every stage is.
pub trait Stage: Sync {
    /// The word used in keys, records and node names.
    fn name(&self) -> &'static str;

    /// Raised by hand whenever the same parameters and inputs would give other outputs.
    fn version(&self) -> u32;

    /// The applications of this stage that a pipeline asks for, as far as they are known.
    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>>;

    /// Finds what would make `run` fail, as far as files, configurations and tokenisers show it. Returns warnings for a person.
    /// The engine calls it before it computes anything, and only for missing nodes. It must be quick and read no weights.
    ///
    /// # Errors
    /// The same as `run`'s, hours earlier.
    fn check(&self, _: &Preview<'_>) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// What `run` will take; `None` if that is not known before it runs, or not worth saying. Called like `check`.
    ///
    /// # Errors
    /// User: it would take more than it may.
    fn forecast(&self, _: &Preview<'_>) -> Result<Option<Forecast>> {
        Ok(None)
    }

    /// How much `run` does, in a unit of the stage's own in which time is proportional: what a recorded run took then says what
    /// another one will take. `None` if all runs take about the same, or if that is not known before they run.
    ///
    /// # Errors
    /// As of [`Self::check`].
    fn work(&self, _: &Preview<'_>) -> Result<Option<f64>> {
        Ok(None)
    }

    /// Whether one of its outputs is a table of outcomes, with the name [`crate::tables::OUTCOMES`]. Report shows the outcomes
    /// of all stages that measure.
    fn measures(&self) -> bool {
        false
    }

    /// The one input that `run` needs to make something of any part of the others, so that people can see what there is before
    /// all is there; `None` if it makes nothing of parts.
    fn takes_parts_with(&self) -> Option<&'static str> {
        None
    }

    /// Computes the outputs.
    fn run(&self, context: &Context<'_>) -> Result<Outputs>;

    /// Whether planning may evaluate the stage in memory: it is quick and needs no model.
    fn is_cheap(&self) -> bool {
        false
    }
}

/// One application of a stage, before its inputs' digests are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// `score[privacy]`
    pub name: String,
    /// The variant that it is about, if it is about one. What it is called enters no key.
    pub variant: Option<Variant>,
    pub params: Value,
    /// Settings that change no result, such as how much memory may be taken. They enter no key.
    pub unkeyed: Value,
    pub inputs: BTreeMap<String, Input>,
    /// When a run comes to it: lower turns first, and among equals in the plan's order. What all variants need has 0. So
    /// everything is known of one variant before the next one begins. It enters no key.
    pub turn: u32,
}

impl Node {
    /// What people call it: `generate[p=q=1e-5]` for `generate[a77a2cfe]`.
    pub fn title(&self) -> String {
        match self.parts() {
            Some((before, variant, after)) => format!("{before}{}{after}", variant.name),
            None => self.name.clone(),
        }
    }

    /// The same in a sentence, with the beginning of the mask's digest behind: `generate[p=q=1e-5] (a77a2cfe)`.
    pub fn called(&self) -> String {
        naming::with_mask(&self.title(), self.mask())
    }

    /// The mask of its variant.
    pub fn mask(&self) -> Option<&Digest> {
        self.variant.as_ref()?.mask.as_ref()
    }

    /// Whether a person means it: by its name or its title, and by its variant in any spelling.
    pub fn is_called(&self, text: &str) -> bool {
        let text = naming::without_mask(text);
        let of_variant = || {
            let (before, variant, after) = self.parts()?;
            Some(variant.is_called(text.strip_prefix(before)?.strip_suffix(after)?))
        };
        text == self.name || of_variant().unwrap_or_default()
    }

    /// Its variant, and what stands in its name before and after the variant's label.
    fn parts(&self) -> Option<(&str, &Variant, &str)> {
        let variant = self.variant.as_ref()?;
        let (before, after) = self.name.rsplit_once(&variant.label)?;
        Some((before, variant, after))
    }
}

/// What a node will take, as its stage tells it before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// What follows the node's name in a sentence: `takes 3 TFLOP and at most 2 GiB`.
    pub words: String,
    /// The same for a program.
    pub facts: Value,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file beside the pipeline; its digest is that of its bytes.
    File(PathBuf),
    /// One of the three digests of a model.
    Model { role: Role, part: ModelPart },
    /// An output of another node.
    Output { node: String, output: String },
    /// A part of another node's output, by the part's own digest: what else that output holds does not matter.
    Part { digest: Digest, node: String, output: String },
    /// Not known before an earlier stage has run.
    Unknown { node: String },
}

/// What a model of the pipeline is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `[model]`: the one that is scored and patched.
    Subject,
    /// The one that judges, if a model does: that of `[judge]` is 0, those of `[judge.NAME]` follow by their names.
    Judge(usize),
}

impl Role {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subject => "model",
            Self::Judge(_) => "judge model",
        }
    }

    /// The setting that names it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Subject => "model.source",
            Self::Judge(0) => "judge.source",
            Self::Judge(_) => "judge.NAME.source",
        }
    }
}

choices! {
    /// What of a model a stage reads, as its digest is called in manifests.
    ModelPart {
        Weights = "weights",
        Architecture = "architecture",
        Text = "text",
    }
}

impl Input {
    pub(crate) fn output(node: &str, output: &str) -> Self {
        Self::Output { node: node.into(), output: output.into() }
    }
}

/// The inputs that make a model's part of a manifest: `weights`, `architecture`, `text`.
pub(crate) fn model_inputs(role: Role, parts: &[ModelPart]) -> BTreeMap<String, Input> {
    parts.iter().map(|part| (part.name().to_owned(), Input::Model { role, part: *part })).collect()
}

/// Parameters as JSON. Optional ones at their default must have been left out by serde.
pub(crate) fn params_of(params: &impl Serialize) -> Result<Value> {
    serde_json::to_value(params).map_err(|error| Error::fault(format!("parameters are not JSON: {error}")))
}

/// Inputs whose files do not exist make a sentence before anything runs.
pub(crate) fn must_exist(path: &Path) -> Result<()> {
    files::open(path).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_names_every_file_of_the_room() {
        let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/stages");
        let mut rooms: Vec<String> = files::list(&room)
            .unwrap()
            .iter()
            .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
            .filter(|name| !["context", "mod", "variant"].contains(&name.as_str()))
            .collect();
        rooms.dedup();
        let mut names: Vec<String> = REGISTRY.iter().map(|stage| stage.name().to_owned()).collect();
        names.sort();
        assert_eq!(rooms, names, "one file and one line for each stage");
    }
}
