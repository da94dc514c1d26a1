//! What the nodes of a plan read: outputs in the store, files, and models.
//!
//! Must not know: any particular stage, how a plan is made, what is done with an input.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::plan::Plan;
use super::sources::{ModelDigests, Sources};
use crate::config::Pipeline;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, Loaded};
use crate::stages::{FileInput, Input, Node, Role};
use crate::store::Store;

/// Everything that a stage may be given to read.
pub(super) struct Inputs<'a> {
    pub store: &'a Store,
    pub models: &'a Loaded,
    pub sources: Sources<'a>,
}

impl<'a> Inputs<'a> {
    pub fn new(pipeline: &'a Pipeline, store: &'a Store, models: &'a Loaded) -> Self {
        Self { store, models, sources: Sources::new(pipeline, store, models) }
    }

    /// Bytes of an output that is known.
    pub fn output(&self, plan: &Plan, node: &str, output: &str) -> Result<Option<Bytes>> {
        let Some(planned) = plan.find(node) else { return Ok(None) };
        if let Some(outputs) = &planned.evaluated {
            return Ok(outputs.iter().find(|known| known.name == output).map(|known| known.bytes.clone()));
        }
        match planned.record.as_ref().and_then(|record| record.outputs.get(output)) {
            Some(output) => self.store.map(&output.digest).map(Some),
            None => Ok(None),
        }
    }

    /// The content of an input that is a file.
    pub fn file(&self, node: &Node, name: &str, planned: Option<&Digest>) -> Result<FileInput> {
        match node.inputs.get(name) {
            Some(Input::File(path)) => self.sources.read(path, planned),
            _ => Err(missing_input(node, name)),
        }
    }

    /// An opened model and its three digests.
    ///
    /// # Errors
    /// User: the model is not on this machine, or cannot be read.
    pub fn model(&self, role: Role) -> Result<(Arc<Checkpoint>, ModelDigests)> {
        let source = self.sources.source(role)?;
        let missing = || Error::user(format!("{source} is not on this machine")).hint("`dean run` fetches it");
        let checkpoint = self.models.checkpoint(&self.sources.located(role)?.ok_or_else(missing)?)?;
        let digests = self.sources.model(role, &|_, _| ())?;
        Ok((checkpoint, digests.ok_or_else(|| Error::fault("an opened model has no digests"))?))
    }
}

pub(super) fn missing_input(node: &Node, name: &str) -> Error {
    Error::fault(format!("{} has no input {name}", node.called()))
}

/// The models that a node reads.
pub(super) fn roles(node: &Node) -> BTreeSet<Role> {
    let role = |input: &Input| if let Input::Model { role, .. } = input { Some(*role) } else { None };
    node.inputs.values().filter_map(role).collect()
}
