//! Makes plans: asks each stage for its nodes, resolves their inputs to digests, computes keys and looks them up.
//!
//! Keys depend on the *content* of inputs, so the nodes after a miss have no keys yet. A cheap stage whose inputs are all there
//! is evaluated in memory, without publishing. So a plan can name the nodes that follow it before the stage has run. A run
//! plans again after every node, and takes over what did not change. Must not know: any particular stage.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::execute::alone;
use super::inputs::Inputs;
use super::plan::{Evaluated, Plan, Planned, State};
use super::sources::ModelDigests;
use crate::config::Pipeline;
use crate::digest::{Digest, Manifest};
use crate::error::{Error, Result};
use crate::model::device::Precision;
use crate::model::{Checkpoint, Decoder, Loaded};
use crate::stages::{Input, Node, Outputs, Parsed, Planning, REGISTRY, Role, Stage};
use crate::store::{Record, Store};

/// Makes plans of one pipeline over one store.
pub struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) inputs: Inputs<'a>,
    last: Mutex<Last>,
    /// Outputs of cheap stages by key, so that planning again costs nothing.
    evaluated: Mutex<HashMap<Digest, Arc<[Evaluated]>>>,
    parsed: Parsed,
}

/// What the last plan found.
#[derive(Default)]
struct Last {
    plan: Plan,
    /// The keys that were looked up.
    found: HashMap<Digest, (State, Option<Record>)>,
}

/// The digests of files during one plan: many nodes read the same, and each is looked at once.
type Files = RefCell<HashMap<PathBuf, Digest>>;

impl<'a> Planner<'a> {
    pub fn new(pipeline: &'a Pipeline, store: &'a Store, models: &'a Loaded) -> Self {
        Self {
            pipeline,
            inputs: Inputs::new(pipeline, store, models),
            last: Mutex::default(),
            evaluated: Mutex::default(),
            parsed: Parsed::default(),
        }
    }

    /// What is planned.
    pub fn pipeline(&self) -> &'a Pipeline {
        self.pipeline
    }

    /// The plan for the present state of the store. `verify` hashes blobs that were never checked, so that a damaged one is a
    /// miss.
    pub fn plan(&self, verify: bool) -> Result<Plan> {
        self.make(Last::default(), verify)
    }

    /// The next plan, made with the same function as the last one. Keys that were looked up then are not looked up again;
    /// [`Planner::learn`] says what changed. Files beside the pipeline are looked at again.
    pub fn again(&self) -> Result<Plan> {
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        self.make(last, true)
    }

    /// Notes what a key produced, here or in another process.
    pub fn learn(&self, record: Record) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.found.insert(record.key, (State::Hit, Some(record)));
    }

    fn make(&self, last: Last, verify: bool) -> Result<Plan> {
        let plan = self.make_once(last, verify)?;
        if self.disown_incomplete(&plan)? {
            // What was thought to be there is not. It is a miss now, and so is what read it.
            return self.make_once(Last::default(), verify);
        }
        Ok(plan)
    }

    /// Disowns the records of the hits that lack an output which another node reads, or from which its other nodes follow. A
    /// stage has all of its outputs, so such a record was damaged. Returns whether there was one.
    fn disown_incomplete(&self, plan: &Plan) -> Result<bool> {
        let mut found = false;
        for input in plan.nodes.iter().flat_map(|planned| planned.node.inputs.values()) {
            let (node, output) = match input {
                Input::Output { node, output } | Input::Part { node, output, .. } => (node, Some(output)),
                Input::Unknown { node } => (node, None),
                Input::File(_) | Input::Model { .. } => continue,
            };
            let Some(Planned { stage, key: Some(key), record: Some(record), .. }) = plan.find(node) else { continue };
            if output.is_none_or(|output| !record.outputs.contains_key(output)) {
                let missing =
                    output.map_or("an output is missing".to_owned(), |output| format!("it has no output `{output}`"));
                self.inputs.store.disown(stage.name(), key, &missing)?;
                found = true;
            }
        }
        Ok(found)
    }

    fn make_once(&self, mut last: Last, verify: bool) -> Result<Plan> {
        let mut plan = Plan::default();
        let files = Files::default();
        for stage in REGISTRY {
            let measured = plan.nodes.iter().filter(|planned| planned.stage.measures());
            let measured: Vec<&Node> = measured.map(|planned| &planned.node).collect();
            let nodes = stage.nodes(&Planning {
                pipeline: self.pipeline,
                digest: &|node, output| plan.find(node).and_then(|planned| planned.output(output)),
                output: &|node, output| self.inputs.output(&plan, node, output),
                parsed: &self.parsed,
                measured: &measured,
            })?;
            for node in nodes {
                let planned = self.place(&plan, &mut last, stage, node, &files, verify)?;
                plan.push(planned);
            }
        }
        last.plan = plan.clone();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(plan)
    }

    fn place(
        &self,
        plan: &Plan,
        last: &mut Last,
        stage: &'static dyn Stage,
        node: Node,
        files: &Files,
        verify: bool,
    ) -> Result<Arc<Planned>> {
        let mut digests = Vec::with_capacity(node.inputs.len());
        let mut waits_for: Vec<String> = Vec::new();
        let mut causes = HashSet::new();
        for input in node.inputs.values() {
            match self.resolve(plan, input, files)? {
                Ok(digest) => digests.push(digest),
                Err(cause) if causes.insert(cause) => waits_for.push(cause.to_owned()),
                Err(_) => {}
            }
        }
        let before = last.plan.shared(&node.name).filter(|before| before.node == node);
        if !waits_for.is_empty() {
            if let Some(before) = before.filter(|before| before.waits_for == waits_for) {
                return Ok(before.clone());
            }
            let (state, evaluated) = (State::Miss, None);
            return Ok(Arc::new(Planned {
                node,
                stage,
                manifest: None,
                key: None,
                state,
                record: None,
                evaluated,
                waits_for,
            }));
        }
        // The same node with the same inputs has the same key.
        let same = |manifest: &&Arc<Manifest>| manifest.inputs.values().eq(&digests);
        let known = before.and_then(|before| Some((before, before.manifest.as_ref().filter(same)?, before.key?)));
        let (manifest, key) = match known {
            Some((before, ..)) if before.state == State::Hit => return Ok(before.clone()),
            Some((_, manifest, key)) => (manifest.clone(), key),
            None => {
                let manifest = Arc::new(Manifest {
                    stage: stage.name().into(),
                    version: stage.version(),
                    params: node.params.clone(),
                    inputs: node.inputs.keys().cloned().zip(digests).collect::<BTreeMap<_, _>>(),
                });
                let key = manifest.key();
                (manifest, key)
            }
        };
        let (state, record) = match last.found.get(&key) {
            Some(found) => found.clone(),
            None => {
                let found = self.look_up(stage, &key, verify)?;
                last.found.insert(key, found.clone());
                found
            }
        };
        let mut planned = Planned {
            node,
            stage,
            manifest: Some(manifest.clone()),
            key: Some(key),
            state,
            record,
            evaluated: None,
            waits_for,
        };
        if planned.record.is_none() && stage.is_cheap() {
            planned.evaluated = Some(self.evaluate(plan, &planned, &manifest, key)?);
        }
        Ok(Arc::new(planned))
    }

    fn look_up(&self, stage: &dyn Stage, key: &Digest, verify: bool) -> Result<(State, Option<Record>)> {
        let record = if verify {
            self.inputs.store.peek_verified(stage.name(), key)?
        } else {
            self.inputs.store.peek(stage.name(), key)?
        };
        let state = match &record {
            Some(_) => State::Hit,
            None if self.inputs.store.partial_exists(key) => State::Partial,
            None => State::Miss,
        };
        Ok((state, record))
    }

    /// The digest of an input, or the name of what it waits for.
    fn resolve<'i>(&self, plan: &Plan, input: &'i Input, files: &Files) -> Result<Result<Digest, &'i str>> {
        Ok(match input {
            Input::File(path) => Ok(self.digest_of(path, files)?),
            Input::Model { role, part } => match self.inputs.sources.model(*role, &|_, _| ())? {
                Some(digests) => Ok(digests.part(*part)),
                None => Err(role.name()),
            },
            Input::Output { node, output } => {
                plan.find(node).and_then(|planned| planned.output(output)).ok_or(node.as_str())
            }
            Input::Part { digest, .. } => Ok(*digest),
            Input::Unknown { node } => Err(node.as_str()),
        })
    }

    fn digest_of(&self, path: &Path, files: &Files) -> Result<Digest> {
        if let Some(digest) = files.borrow().get(path) {
            return Ok(*digest);
        }
        let digest = self.inputs.sources.file(path)?;
        files.borrow_mut().insert(path.to_owned(), digest);
        Ok(digest)
    }

    /// Bytes of an output that is known.
    pub fn output_bytes(&self, plan: &Plan, node: &str, output: &str) -> Result<Option<Bytes>> {
        self.inputs.output(plan, node, output)
    }

    /// An opened model and its three digests.
    ///
    /// # Errors
    /// User: the model is not on this machine, or cannot be read.
    pub fn model(&self, role: Role) -> Result<(Arc<Checkpoint>, ModelDigests)> {
        self.inputs.model(role)
    }

    /// A model on the device.
    ///
    /// # Errors
    /// User: the model is not on this machine, or cannot be read.
    pub fn decoder(&self, role: Role, precision: Precision) -> Result<Arc<Decoder>> {
        let path = self.inputs.sources.fetched(role, &|_| ())?;
        self.inputs.models.decoder(&path, precision, None, &mut |_, _| ())
    }

    /// Computes a node anew from what its inputs are now, whatever the store holds of it, and publishes nothing.
    ///
    /// # Errors
    /// User: an input that is not there yet. Those of the stage.
    pub fn anew(&self, plan: &Plan, node: &str) -> Result<Outputs> {
        let planned = plan.find(node).ok_or_else(|| Error::user(format!("{node} is not a node of this pipeline")))?;
        let Some(manifest) = &planned.manifest else {
            return Err(Error::user(format!("{node} waits for {}", planned.waits_for.join(", ")))
                .hint("`dean run` computes what it waits for"));
        };
        alone(&self.inputs, plan, &planned.node, planned.stage, manifest)
    }

    /// Computes a node from those of its inputs that are known now, and publishes nothing; for a stage that says something of
    /// whatever there is ([`Stage::takes_parts_with`]). Returns also the nodes that the others wait for. `None` for other stages, and
    /// while nothing is known that comes from a node which differs between variants.
    ///
    /// # Errors
    /// Those of the stage.
    pub fn so_far(&self, plan: &Plan, node: &str) -> Result<Option<(Outputs, BTreeSet<String>)>> {
        let Some(planned) = plan.find(node) else { return Ok(None) };
        let Some(needed) = planned.stage.takes_parts_with() else { return Ok(None) };
        let files = Files::default();
        let (mut known, mut digests, mut missing) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut says_something = false;
        for (name, input) in &planned.node.inputs {
            match self.resolve(plan, input, &files)? {
                Ok(digest) => {
                    let maker = if let Input::Output { node, .. } = input { plan.find(node) } else { None };
                    says_something |= maker.is_some_and(|maker| maker.node.turn > 0);
                    known.insert(name.clone(), input.clone());
                    digests.insert(name.clone(), digest);
                }
                Err(node) => {
                    missing.insert(node.to_owned());
                }
            }
        }
        if !says_something || !known.contains_key(needed) {
            return Ok(None);
        }
        let manifest = Manifest {
            stage: planned.stage.name().to_owned(),
            version: planned.stage.version(),
            params: planned.node.params.clone(),
            inputs: digests,
        };
        let part = Node { inputs: known, ..planned.node.clone() };
        Ok(Some((alone(&self.inputs, plan, &part, planned.stage, &manifest)?, missing)))
    }

    fn evaluate(&self, plan: &Plan, planned: &Planned, manifest: &Manifest, key: Digest) -> Result<Arc<[Evaluated]>> {
        let memo = || self.evaluated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outputs) = memo().get(&key) {
            return Ok(outputs.clone());
        }
        let outputs = alone(&self.inputs, plan, &planned.node, planned.stage, manifest)?;
        let evaluated =
            |(name, bytes): (String, Vec<u8>)| Evaluated { name, digest: Digest::of(&bytes), bytes: bytes.into() };
        let outputs: Arc<[Evaluated]> = outputs.into_iter().map(evaluated).collect();
        memo().insert(key, outputs.clone());
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests;
