//! A plan: the nodes of a pipeline, each with its key, its state and what it waits for.
//!
//! Must not know: how a plan is made, any particular stage.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::price::Total;
use crate::digest::{Digest, Manifest};
use crate::stages::{Node, Stage};
use crate::store::Record;

/// Whether a node has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its outputs are in the store.
    Hit,
    /// Some of its shards are.
    Partial,
    Miss,
}

/// One node of a plan.
pub struct Planned {
    pub node: Node,
    pub stage: &'static dyn Stage,
    /// None while an input is not known.
    pub manifest: Option<Arc<Manifest>>,
    pub key: Option<Digest>,
    pub state: State,
    pub record: Option<Record>,
    /// Outputs of a cheap stage that was evaluated in memory.
    pub(super) evaluated: Option<Arc<[Evaluated]>>,
    /// Nodes whose outputs are not known yet, or `model` while a model is not on this machine.
    pub waits_for: Vec<String>,
}

/// An output that was made for planning alone.
pub(super) struct Evaluated {
    pub name: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

impl Planned {
    /// The content digest of an output, if it is known.
    pub(super) fn output(&self, name: &str) -> Option<Digest> {
        let recorded = self.record.as_ref().and_then(|record| record.outputs.get(name)).map(|output| output.digest);
        recorded.or_else(|| {
            let outputs = self.evaluated.as_ref()?;
            outputs.iter().find(|output| output.name == name).map(|output| output.digest)
        })
    }
}

/// The nodes of a pipeline, in an order in which each comes after those it reads.
#[derive(Clone, Default)]
pub struct Plan {
    pub nodes: Vec<Arc<Planned>>,
    /// Where in `nodes` a name is.
    places: HashMap<String, usize>,
}

impl Plan {
    pub fn find(&self, node: &str) -> Option<&Planned> {
        self.shared(node).map(Arc::as_ref)
    }

    /// The node that a person means: by its name as it stands, else by its title, or with its variant in another spelling.
    pub fn meant(&self, text: &str) -> Option<&Planned> {
        let text = text.trim();
        self.find(text).or_else(|| self.nodes.iter().find(|planned| planned.node.is_called(text)).map(Arc::as_ref))
    }

    /// What people call the node of a name.
    pub fn title(&self, node: &str) -> String {
        self.find(node).map_or_else(|| node.to_owned(), |planned| planned.node.title())
    }

    /// The same in a sentence, with the mask behind.
    pub fn called(&self, node: &str) -> String {
        self.find(node).map_or_else(|| node.to_owned(), |planned| planned.node.called())
    }

    pub(super) fn shared(&self, node: &str) -> Option<&Arc<Planned>> {
        self.places.get(node).and_then(|place| self.nodes.get(*place))
    }

    pub(super) fn push(&mut self, planned: Arc<Planned>) {
        self.places.entry(planned.node.name.clone()).or_insert(self.nodes.len());
        self.nodes.push(planned);
    }

    pub fn is_complete(&self) -> bool {
        self.nodes.iter().all(|planned| planned.state == State::Hit)
    }
}

/// What of a run is done now.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Only nodes of turns up to this one ([`crate::stages::Node::turn`]).
    pub turns: Option<u32>,
    /// The id of the run of which an earlier part was done.
    pub of: Option<String>,
    /// What other jobs will cost, which take their turns after this part.
    pub others: Total,
}
