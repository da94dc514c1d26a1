//! What a stage sees of the world: [`Planning`] while a plan is made, [`Preview`] before anything runs,
//! [`Context`] while it runs.
//!
//! Inputs are bytes that were compared with the digest in the stage's key. So a stage can only use what its key names. Must not know: the store, keys, any particular stage.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Node, Role};
use crate::config::Pipeline;
use crate::data::{Format, Glance, Row, Wanted, glance, read_rows};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::{self, Stamp};
use crate::model::decoder::Edit;
use crate::model::device::Precision;
use crate::model::loaded::KnownPatch;
use crate::model::patch::Patch;
use crate::model::text::ChatTemplate;
use crate::model::text::prompt_template::PromptTemplate;
use crate::model::{Checkpoint, Decoder, Loaded};

/// Bytes of an output by node and name, if they are known.
pub type OutputOf<'a> = dyn Fn(&str, &str) -> Result<Option<Bytes>> + 'a;

/// Bytes of an output of an earlier run of the same stage whose parameters a closure accepts.
pub type Earlier<'a> = dyn Fn(&dyn Fn(&Value) -> bool, &str) -> Result<Option<Bytes>> + 'a;

/// What a stage put out under the same parameters, from inputs that differ from the node's own in one of them.
pub struct Relative {
    /// The bytes of the input that differs, where the relative has it.
    pub input: Option<Bytes>,
    pub output: Bytes,
}

/// The relatives of a node in the store, for the input that may differ and the output that is wanted.
pub type Relatives<'a> = dyn Fn(&str, &str) -> Result<Vec<Relative>> + 'a;

/// Fills an output piece by piece.
pub type Fill<'a> = dyn FnMut(&mut (dyn Write + Send)) -> Result<()> + 'a;

/// Takes outputs that are too large to lie in memory whole.
pub trait Outlet {
    /// Adds an output with this name, once it is filled.
    ///
    /// # Errors
    /// What `fill` says, or why nothing can be written.
    fn write(&self, name: &str, fill: &mut Fill<'_>) -> Result<()>;
}

/// What a stage may look at while a plan is made.
pub struct Planning<'a> {
    pub pipeline: &'a Pipeline,
    /// The content digest of an output of an earlier node, if it is known already.
    pub digest: &'a dyn Fn(&str, &str) -> Option<Digest>,
    /// Its bytes.
    pub output: &'a OutputOf<'a>,
    pub parsed: &'a Parsed,
    /// The nodes of earlier stages that measure.
    pub measured: &'a [&'a Node],
}

/// Outputs that were parsed for a plan, by their digests, so that planning again parses nothing twice.
#[derive(Default)]
pub struct Parsed {
    outputs: Mutex<HashMap<ParsedKey, Arc<dyn Any + Send + Sync>>>,
    /// What a look at data files showed, and under which stamps.
    glances: Mutex<HashMap<PathBuf, (Stamp, Glance)>>,
}

/// What was made, and of which contents.
type ParsedKey = (TypeId, Vec<Digest>);

impl Planning<'_> {
    /// What `parse` makes of some outputs, each a node and a name; none while one of them is not known.
    ///
    /// # Errors
    /// Outputs that cannot be read, and what `parse` says.
    pub fn parsed<T: Send + Sync + 'static, const N: usize>(
        &self,
        outputs: [(&str, &str); N],
        parse: impl FnOnce([Bytes; N]) -> Result<T>,
    ) -> Result<Option<Arc<T>>> {
        let known = || self.parsed.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let digests = outputs.iter().map(|(node, output)| (self.digest)(node, output)).collect::<Option<Vec<_>>>();
        let Some(digests) = digests else { return Ok(None) };
        let key = (TypeId::of::<T>(), digests);
        if let Some(Ok(found)) = known().get(&key).map(|found| found.clone().downcast::<T>()) {
            return Ok(Some(found));
        }
        let mut bytes = [const { Bytes::new() }; N];
        for (bytes, (node, output)) in bytes.iter_mut().zip(outputs) {
            let Some(found) = (self.output)(node, output)? else { return Ok(None) };
            *bytes = found;
        }
        let made = Arc::new(parse(bytes)?);
        known().insert(key, made.clone());
        Ok(Some(made))
    }

    /// The container and the columns of a data file. It is looked into again only when its stamp has changed.
    ///
    /// # Errors
    /// User: a file that cannot be read, or that is no data file.
    pub fn glance(&self, path: &Path) -> Result<Glance> {
        let known = || self.parsed.glances.lock().unwrap_or_else(PoisonError::into_inner);
        super::must_exist(path)?;
        let stamp = Stamp::of(path)?;
        if let Some((before, glance)) = known().get(path)
            && *before == stamp
        {
            return Ok(glance.clone());
        }
        let seen = glance(path, &files::read(path)?.into())?;
        known().insert(path.to_owned(), (stamp, seen.clone()));
        Ok(seen)
    }
}

/// Is told how far a stage is. `unit` is a word for a person: `samples`, `tokens`, `rows`, `windows`.
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

/// A file beside the pipeline. It was read whole and compared with its digest.
pub struct FileInput {
    pub bytes: Bytes,
    /// How messages call it. It says nothing about the content: the format is a parameter.
    pub origin: String,
}

impl FileInput {
    /// Some columns of every row.
    ///
    /// # Errors
    /// Those of [`read_rows`], with the file's name in front.
    pub fn rows(&self, format: Format, wanted: &[Wanted]) -> Result<Vec<Row>> {
        read_rows(&self.bytes, format, wanted).map_err(|error| error.within(&self.origin))
    }

    /// The content as text.
    ///
    /// # Errors
    /// Anything that is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.bytes)
            .map_err(|_| Error::user(format!("{} is not UTF-8 text", self.origin)).hint("save the file as UTF-8"))
    }
}

/// What is there before any stage has run: parameters, the files beside the pipeline, the models, and of other stages'
/// outputs those that are in the store.
pub struct Preview<'a> {
    /// The node's name, for messages.
    pub node: &'a str,
    pub params: &'a Value,
    /// [`Node::unkeyed`](super::Node::unkeyed).
    pub unkeyed: &'a Value,
    /// The content of an input that is a file.
    pub file: &'a dyn Fn(&str) -> Result<FileInput>,
    /// The bytes of an input that is known already.
    pub known: &'a dyn Fn(&str) -> Result<Option<Bytes>>,
    pub models: &'a Loaded,
    /// Where a model lies, if it is on this machine.
    pub model_path: &'a dyn Fn(Role) -> Result<Option<PathBuf>>,
}

impl Preview<'_> {
    /// The parameters as the stage's own type.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P> {
        self.typed(self.params)
    }

    /// The settings that change no result, as the stage's own type.
    pub fn unkeyed<P: DeserializeOwned>(&self) -> Result<P> {
        self.typed(self.unkeyed)
    }

    fn typed<P: DeserializeOwned>(&self, value: &Value) -> Result<P> {
        P::deserialize(value)
            .map_err(|error| Error::fault(format!("parameters of {} do not read back: {error}", self.node)))
    }

    /// A model's configuration and text; its weights stay where they are.
    ///
    /// # Errors
    /// A model that is not on this machine or cannot be used.
    pub fn checkpoint(&self, role: Role) -> Result<Arc<Checkpoint>> {
        self.models.checkpoint(&here(role, (self.model_path)(role)?)?)
    }

    /// The same, or none while the model is not on this machine.
    pub fn checkpoint_if_here(&self, role: Role) -> Result<Option<Arc<Checkpoint>>> {
        (self.model_path)(role)?.map(|path| self.models.checkpoint(&path)).transpose()
    }

    /// A chat template, read from the input `template` where it is a file.
    pub(super) fn template(&self, template: &PromptTemplate<()>) -> Result<PromptTemplate<ChatTemplate>> {
        template.with(|()| {
            let file = (self.file)("template")?;
            Ok(ChatTemplate::new(file.origin.clone(), file.text()?))
        })
    }
}

/// A stage's view of the world while it runs.
pub struct Context<'a> {
    /// The node's name, for messages.
    pub node: &'a str,
    pub params: &'a Value,
    /// [`Node::unkeyed`](super::Node::unkeyed).
    pub unkeyed: &'a Value,
    /// Bytes of an input that another node put out; a large one is mapped, not read.
    pub input: &'a dyn Fn(&str) -> Result<Bytes>,
    /// The inputs: name and content digest.
    pub inputs: &'a BTreeMap<String, Digest>,
    /// The content of an input that is a file.
    pub file: &'a dyn Fn(&str) -> Result<FileInput>,
    /// An output of an earlier run of this stage with the same inputs, whose parameters the closure accepts.
    pub earlier: &'a Earlier<'a>,
    /// Only for what makes a stage faster: its result must not depend on what the store happens to hold.
    pub relatives: &'a Relatives<'a>,
    pub models: &'a Loaded,
    /// Where a model lies, if it is on this machine.
    pub model_path: &'a dyn Fn(Role) -> Result<Option<PathBuf>>,
    pub shards: &'a dyn Shards,
    /// For outputs that are not returned by `run`, since they are large.
    pub outlet: &'a dyn Outlet,
    pub progress: &'a dyn Progress,
    /// True once a signal asked to stop.
    pub stop: &'a dyn Fn() -> bool,
    /// How often a long stage writes a shard.
    pub checkpoint_every: Duration,
}

impl Context<'_> {
    /// What was there before any stage had run; its inputs are here.
    pub fn preview(&self) -> Preview<'_> {
        Preview {
            node: self.node,
            params: self.params,
            unkeyed: self.unkeyed,
            file: self.file,
            known: &nothing,
            models: self.models,
            model_path: self.model_path,
        }
    }

    /// The parameters as the stage's own type.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P> {
        self.preview().params()
    }

    /// An error if a signal asked to stop; what is finished is in shards by then.
    pub fn check_stop(&self) -> Result<()> {
        if (self.stop)() { Err(Error::stopped(format!("stopped in {}", self.node))) } else { Ok(()) }
    }

    /// The bytes of an input that another node put out.
    pub fn read(&self, input: &str) -> Result<Bytes> {
        (self.input)(input)
    }

    /// A model's configuration and text, and its weights one tensor at a time.
    pub fn checkpoint(&self, role: Role) -> Result<Arc<Checkpoint>> {
        self.preview().checkpoint(role)
    }

    /// A model of the pipeline on the device.
    pub fn decoder(&self, role: Role, precision: Precision) -> Result<Arc<Decoder>> {
        self.patched(role, precision, None)
    }

    /// The base model, or the base with this node's patch.
    pub fn variant(&self, precision: Precision) -> Result<Arc<Decoder>> {
        let edits = || Patch::from_safetensors(&self.read("patch")?)?.edits();
        let edits: &dyn Fn() -> Result<Vec<Edit>> = &edits;
        self.patched(Role::Subject, precision, self.inputs.get("patch").map(|digest| (*digest, edits)))
    }

    fn patched(&self, role: Role, precision: Precision, patch: Option<KnownPatch<'_>>) -> Result<Arc<Decoder>> {
        let mut loading = |done: usize, total: usize| self.progress.at(done as u64, total as u64, "tensors loaded");
        self.models.decoder(&here(role, (self.model_path)(role)?)?, precision, patch, &mut loading)
    }
}

/// The path, or that there is none.
fn here(role: Role, path: Option<PathBuf>) -> Result<PathBuf> {
    let missing = || Error::user(format!("the {} is not on this machine", role.name())).hint("`dean run` fetches it");
    path.ok_or_else(missing)
}

fn nothing(_: &str) -> Result<Option<Bytes>> {
    Ok(None)
}
