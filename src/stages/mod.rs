//! The stages: rooms of one shape.
//!
//! A stage is a pure function from parameters and input artifacts to output artifacts. Its file holds
//! its `Params`, its version (a number raised by hand when the meaning of its outputs changes), the
//! nodes it contributes to a plan, what it can `check` before anything runs, and `run`. Adding a stage
//! is one file and one line in [`REGISTRY`].
//!
//! A stage sees its inputs, the models and a place for shards through [`Work`], what is there before
//! anything ran through [`Outside`], and earlier stages' results through [`Planning`]. It must not know:
//! the store, keys, the terminal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{Memory, Pipeline, Template};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files;
use crate::model::cost::Estimate;
use crate::model::patch::Patch as Edits;
use crate::model::{Checkpoint, Decoder, Models};

mod generate;
mod judge;
mod patch;
mod perplexity;
pub mod report;
mod score;
mod select;
mod tokenize;
mod variant;

pub use variant::Variant;

/// Every stage, in an order in which each comes after those it reads.
pub const REGISTRY: [&dyn Stage; 8] = [
    &tokenize::Tokenize,
    &score::Score,
    &select::Select,
    &patch::Patch,
    &generate::Generate,
    &judge::Judge,
    &perplexity::Perplexity,
    &report::Report,
];

/// The stage of that name.
pub fn find(name: &str) -> Option<&'static dyn Stage> {
    REGISTRY.into_iter().find(|stage| stage.name() == name)
}

/// Bytes of an output by node and name, if they are known.
pub type OutputOf<'a> = dyn Fn(&str, &str) -> Result<Option<Vec<u8>>> + 'a;

/// Bytes of an output of an earlier run of the same stage whose parameters a closure accepts.
pub type Earlier<'a> = dyn Fn(&dyn Fn(&Value) -> bool, &str) -> Result<Option<Vec<u8>>> + 'a;

/// Outputs of a stage: name and bytes.
pub type Outputs = Vec<(String, Vec<u8>)>;

/// What every stage is.
pub trait Stage: Sync {
    /// The word used in keys, records and node names.
    fn name(&self) -> &'static str;

    /// Raised by hand whenever the same parameters and inputs would give other outputs.
    fn version(&self) -> u32;

    /// The applications of this stage that a pipeline asks for, as far as they are known.
    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>>;

    /// What would make `run` fail, as far as files, configurations and tokenisers tell. The engine asks before it
    /// computes anything, and only for nodes that are missing; it must be quick and read no weights.
    ///
    /// # Errors
    /// The same as `run`'s, hours earlier.
    fn check(&self, _: &Outside<'_>) -> Result<()> {
        Ok(())
    }

    /// What `run` will take, where that can be told before it and is worth telling. Asked like `check`.
    ///
    /// # Errors
    /// If it takes more than it may have.
    fn cost(&self, _: &Outside<'_>) -> Result<Option<Estimate>> {
        Ok(None)
    }

    /// Computes the outputs.
    fn run(&self, work: &Work<'_>) -> Result<Outputs>;

    /// Whether planning may evaluate the stage in memory: it is quick and needs no model.
    fn is_cheap(&self) -> bool {
        false
    }
}

/// One application of a stage, before its inputs' digests are known.
#[derive(Clone, Debug)]
pub struct Node {
    /// `score[privacy]`
    pub name: String,
    pub params: Value,
    pub inputs: BTreeMap<String, Input>,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file beside the pipeline; its digest is that of its bytes.
    File(PathBuf),
    /// One of the three digests of a model.
    Model { model: ModelName, part: ModelPart },
    /// An output of another node.
    Output { node: String, output: String },
    /// A mask by its own digest; its content is a part of another node's output.
    Mask { digest: Digest, node: String, output: String },
    /// Not known before an earlier stage has run.
    Unknown { node: String },
}

/// Which model of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelName {
    /// `[model]`: the one that is scored and patched.
    Model,
    /// `[judge]`: the one that judges, if a model does.
    Judge,
}

/// What of a model a stage reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelPart {
    Weights,
    Architecture,
    Text,
}

impl Input {
    pub(crate) fn output(node: &str, output: &str) -> Self {
        Self::Output { node: node.into(), output: output.into() }
    }
}

/// The inputs that make a model's part of a manifest: `weights`, `architecture`, `text`.
pub(crate) fn model_inputs(model: ModelName, parts: &[ModelPart]) -> BTreeMap<String, Input> {
    let name = |part: &ModelPart| match part {
        ModelPart::Weights => "weights",
        ModelPart::Architecture => "architecture",
        ModelPart::Text => "text",
    };
    parts.iter().map(|part| (name(part).to_owned(), Input::Model { model, part: *part })).collect()
}

/// What a stage may look at while a plan is made.
pub struct Planning<'a> {
    pub pipeline: &'a Pipeline,
    /// Bytes of an output of an earlier node, if it is known already.
    pub output: &'a OutputOf<'a>,
}

/// Told how far a stage is. `unit` is a word for a person: `samples`, `tokens`, `rows`, `windows`.
pub trait Progress {
    fn at(&self, done: u64, total: u64, unit: &str);
    fn note(&self, text: &str);
}

/// A place for the finished parts of a long stage, so that a killed run goes on where it was.
pub trait Shards {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;
    fn names(&self) -> Result<Vec<String>>;
    fn remove(&self, name: &str) -> Result<()>;
}

/// What is there before any stage has run: parameters, the files beside the pipeline, the models, and of other stages'
/// outputs those that are in the store.
pub struct Outside<'a> {
    /// The node's name, for messages.
    pub node: &'a str,
    pub params: &'a Value,
    /// The path of an input that is a file.
    pub file: &'a dyn Fn(&str) -> Result<PathBuf>,
    /// The bytes of an input that is known already.
    pub known: &'a dyn Fn(&str) -> Result<Option<Vec<u8>>>,
    pub models: &'a Models,
    pub model_path: &'a dyn Fn(ModelName) -> Result<PathBuf>,
    /// How much memory may be taken; must not change a result.
    pub memory: Memory,
}

impl Outside<'_> {
    /// The parameters as the stage's own type.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P> {
        serde_json::from_value(self.params.clone())
            .map_err(|error| Error::fault(format!("parameters of {} do not read back: {error}", self.node)))
    }

    /// A model's configuration and text; its weights stay where they are.
    pub fn checkpoint(&self, model: ModelName) -> Result<Arc<Checkpoint>> {
        self.models.checkpoint(&(self.model_path)(model)?)
    }

    /// The text of the input `template`, where `kind` says that there is one.
    pub(crate) fn template(&self, kind: &str) -> Result<Option<String>> {
        if kind != FROM_FILE {
            return Ok(None);
        }
        template_of(files::read(&(self.file)("template")?)?).map(Some)
    }
}

/// A stage's view of the world while it runs.
pub struct Work<'a> {
    /// The node's name, for messages.
    pub node: &'a str,
    pub params: &'a Value,
    /// Bytes of an input artifact or file by its name.
    pub input: &'a dyn Fn(&str) -> Result<Vec<u8>>,
    /// The inputs: name and content digest.
    pub inputs: &'a BTreeMap<String, Digest>,
    /// The path of an input that is a file.
    pub file: &'a dyn Fn(&str) -> Result<PathBuf>,
    /// An output of an earlier run of this stage with the same inputs, whose parameters the closure accepts.
    pub earlier: &'a Earlier<'a>,
    pub models: &'a Models,
    pub model_path: &'a dyn Fn(ModelName) -> Result<PathBuf>,
    /// How much memory may be taken; must not change a result.
    pub memory: Memory,
    pub shards: &'a dyn Shards,
    pub progress: &'a dyn Progress,
    /// True once a signal asked to stop.
    pub stop: &'a dyn Fn() -> bool,
    /// How often a long stage writes a shard.
    pub checkpoint_every: Duration,
}

impl Work<'_> {
    /// What was there before any stage had run; its inputs are here.
    pub fn outside(&self) -> Outside<'_> {
        Outside {
            node: self.node,
            params: self.params,
            file: self.file,
            known: &nothing,
            models: self.models,
            model_path: self.model_path,
            memory: self.memory,
        }
    }

    /// The parameters as the stage's own type.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P> {
        self.outside().params()
    }

    /// An error if a signal asked to stop; what is finished is in shards by then.
    pub fn check_stop(&self) -> Result<()> {
        if (self.stop)() { Err(Error::stopped(format!("stopped in {}", self.node))) } else { Ok(()) }
    }

    pub fn read(&self, input: &str) -> Result<Vec<u8>> {
        (self.input)(input)
    }

    /// A model of the pipeline on the device.
    pub fn decoder(&self, model: ModelName, dtype: &str) -> Result<Arc<Decoder>> {
        let mut loading = |done: usize, total: usize| self.progress.at(done as u64, total as u64, "tensors loaded");
        self.models.decoder(&(self.model_path)(model)?, dtype, &mut loading)
    }

    /// The base model, or the base with this node's patch.
    pub fn variant(&self, dtype: &str) -> Result<Arc<Decoder>> {
        let base = self.decoder(ModelName::Model, dtype)?;
        if !self.inputs.contains_key("patch") {
            return Ok(base);
        }
        let patch = Edits::from_safetensors(&self.read("patch")?)?;
        Ok(Arc::new(base.edited(&patch.edits()?)?))
    }
}

fn nothing(_: &str) -> Result<Option<Vec<u8>>> {
    Ok(None)
}

/// Parameters as JSON. Optional ones at their default must have been left out by serde.
pub(crate) fn params_of(params: &impl Serialize) -> Result<Value> {
    serde_json::to_value(params).map_err(|error| Error::fault(format!("parameters are not JSON: {error}")))
}

/// The kind of a template that lies beside the pipeline.
const FROM_FILE: &str = "file";

/// How a template setting enters a key: by kind, the file's content as an input of its own.
pub(crate) fn template_kind(template: &Template) -> &'static str {
    match template {
        Template::None => "none",
        Template::Model => "model",
        Template::File(_) => FROM_FILE,
    }
}

/// The text of a template input, where there is one.
pub(crate) fn template_text(work: &Work<'_>) -> Result<Option<String>> {
    if !work.inputs.contains_key("template") {
        return Ok(None);
    }
    template_of(work.read("template")?).map(Some)
}

fn template_of(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| Error::user("the chat template is not UTF-8 text").hint("save the template file as UTF-8"))
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
        let rooms: Vec<String> = files::list(&room)
            .unwrap()
            .iter()
            .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
            .filter(|name| !["mod", "variant"].contains(&name.as_str()))
            .collect();
        let mut names: Vec<String> = REGISTRY.iter().map(|stage| stage.name().to_owned()).collect();
        names.sort();
        assert_eq!(rooms, names, "one file and one line for each stage");
    }
}
