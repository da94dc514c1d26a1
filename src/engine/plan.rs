//! Plans: the nodes of a pipeline, each with its key, its state and where its inputs come from.
//!
//! Keys depend on the *content* of inputs, so what follows a miss has no key yet. A cheap stage whose
//! inputs are all there is evaluated in memory, without publishing; that is how a plan can show masks
//! before they were selected in earnest. Must not know: any particular stage.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::sources::{ModelDigests, Sources};
use crate::config::Pipeline;
use crate::digest::{Digest, Manifest};
use crate::error::{Error, Kind, Result};
use crate::model::{Checkpoint, Models};
use crate::stages::{
    Context, FileInput, Forecast, Input, Node, Outputs, Planning, Preview, Progress, REGISTRY, Role, Shards, Stage,
};
use crate::store::{Record, Store};

/// Whether a node has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    pub manifest: Option<Manifest>,
    pub key: Option<Digest>,
    pub state: State,
    pub record: Option<Record>,
    /// Outputs of a cheap stage that was evaluated in memory.
    evaluated: Option<Outputs>,
    /// Nodes whose outputs are not known yet, or `model` while a model is not on this machine.
    pub waits_for: Vec<String>,
}

impl Planned {
    /// The content digest of an output, if it is known.
    fn output(&self, name: &str) -> Option<Digest> {
        let recorded = self.record.as_ref().and_then(|record| record.outputs.get(name)).map(|output| output.digest);
        recorded.or_else(|| {
            let outputs = self.evaluated.as_ref()?;
            outputs.iter().find(|(known, _)| known == name).map(|(_, bytes)| Digest::of(bytes))
        })
    }
}

/// The nodes of a pipeline, in an order in which each comes after those it reads.
pub struct Plan {
    pub nodes: Vec<Planned>,
}

impl Plan {
    pub fn find(&self, node: &str) -> Option<&Planned> {
        self.nodes.iter().find(|planned| planned.node.name == node)
    }

    pub fn is_complete(&self) -> bool {
        self.nodes.iter().all(|planned| planned.state == State::Hit)
    }
}

/// Makes plans of one pipeline over one store.
pub struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) store: &'a Store,
    pub(super) models: &'a Models,
    pub(super) sources: Sources<'a>,
    /// Outputs of cheap stages by key, so that planning again costs nothing.
    evaluated: Mutex<HashMap<Digest, Outputs>>,
}

impl<'a> Planner<'a> {
    pub fn new(pipeline: &'a Pipeline, store: &'a Store, models: &'a Models) -> Self {
        let sources = Sources::new(pipeline, store, models);
        Self { pipeline, store, models, sources, evaluated: Mutex::default() }
    }

    /// What is planned.
    pub fn pipeline(&self) -> &'a Pipeline {
        self.pipeline
    }

    /// The plan as the store is now. `verify` looks into blobs that were never checked, so that damage is a miss.
    pub fn plan(&self, verify: bool) -> Result<Plan> {
        let mut plan = Plan { nodes: Vec::new() };
        for stage in REGISTRY {
            let nodes = {
                let output = |node: &str, output: &str| self.output_bytes(&plan, node, output);
                stage.nodes(&Planning { pipeline: self.pipeline, output: &output })?
            };
            for node in nodes {
                let planned = self.place(&plan, stage, node, verify)?;
                plan.nodes.push(planned);
            }
        }
        Ok(plan)
    }

    /// Asks the stages of missing nodes whether they could do their work, before anything is computed, and returns what a
    /// person should know before it is. Models that are not on this machine cannot be asked yet.
    ///
    /// # Errors
    /// What the first of the `wanted` nodes that cannot be computed would say.
    pub fn check(&self, plan: &Plan, wanted: &dyn Fn(&Planned) -> bool) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        // Variants that differ in their patch alone are one question.
        let mut answered = HashSet::new();
        for planned in &plan.nodes {
            let node = &planned.node;
            if node.inputs.values().any(|input| matches!(input, Input::Unknown { .. })) {
                continue;
            }
            let outside = node.inputs.iter().filter(|(_, input)| matches!(input, Input::File(_) | Input::Model { .. }));
            let question =
                (planned.stage.name(), node.params.to_string(), format!("{:?}", outside.collect::<Vec<_>>()));
            if planned.state == State::Hit {
                answered.insert(question);
            } else if wanted(planned) && self.has_models_of(node)? {
                if answered.insert(question) {
                    warnings.extend(self.ask(plan, planned, |preview| planned.stage.check(preview))?);
                }
                self.forecast(plan, planned)?;
            }
        }
        Ok(warnings)
    }

    /// What a missing node will take, as far as that is known now.
    ///
    /// # Errors
    /// If it takes more than it may have.
    pub fn forecast(&self, plan: &Plan, planned: &Planned) -> Result<Option<Forecast>> {
        if planned.state == State::Hit || !self.has_models_of(&planned.node)? {
            return Ok(None);
        }
        self.ask(plan, planned, |preview| planned.stage.forecast(preview))
    }

    fn ask<R>(&self, plan: &Plan, planned: &Planned, question: impl Fn(&Preview<'_>) -> Result<R>) -> Result<R> {
        let node = &planned.node;
        let digest = |name: &str| planned.manifest.as_ref().and_then(|manifest| manifest.inputs.get(name));
        let known = |name: &str| match node.inputs.get(name) {
            Some(Input::Output { node, output }) => self.output_bytes(plan, node, output),
            _ => Ok(None),
        };
        let preview = Preview {
            node: &node.name,
            params: &node.params,
            unkeyed: &node.unkeyed,
            file: &|name| self.file(node, name, digest(name)),
            known: &known,
            models: self.models,
            model_path: &|role| self.sources.located(role),
        };
        question(&preview).map_err(|error| error.within(&node.name))
    }

    fn has_models_of(&self, node: &Node) -> Result<bool> {
        for role in roles(node) {
            if self.sources.located(role)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The content of an input that is a file.
    fn file(&self, node: &Node, name: &str, planned: Option<&Digest>) -> Result<FileInput> {
        match node.inputs.get(name) {
            Some(Input::File(path)) => self.sources.read(path, planned),
            _ => Err(missing_input(node, name)),
        }
    }

    fn place(&self, plan: &Plan, stage: &'static dyn Stage, node: Node, verify: bool) -> Result<Planned> {
        let mut inputs = BTreeMap::new();
        let mut waits_for = Vec::new();
        for (name, input) in &node.inputs {
            match self.resolve(plan, input)? {
                Ok(digest) => drop(inputs.insert(name.clone(), digest)),
                Err(cause) if !waits_for.contains(&cause) => waits_for.push(cause),
                Err(_) => {}
            }
        }
        let mut planned = Planned {
            node,
            stage,
            manifest: None,
            key: None,
            state: State::Miss,
            record: None,
            evaluated: None,
            waits_for,
        };
        if !planned.waits_for.is_empty() {
            return Ok(planned);
        }
        let manifest = Manifest {
            stage: stage.name().into(),
            version: stage.version(),
            params: planned.node.params.clone(),
            inputs,
        };
        let key = manifest.key();
        planned.record =
            if verify { self.store.peek_verified(stage.name(), &key)? } else { self.store.peek(stage.name(), &key)? };
        planned.state = match &planned.record {
            Some(_) => State::Hit,
            None if self.store.partial_exists(&key) => State::Partial,
            None => State::Miss,
        };
        if planned.record.is_none() && stage.is_cheap() {
            planned.evaluated = Some(self.evaluate(plan, &planned, &manifest, key)?);
        }
        planned.manifest = Some(manifest);
        planned.key = Some(key);
        Ok(planned)
    }

    /// The digest of an input, or the name of what it waits for.
    fn resolve(&self, plan: &Plan, input: &Input) -> Result<Result<Digest, String>> {
        Ok(match input {
            Input::File(path) => Ok(self.sources.file(path)?),
            Input::Model { role, part } => match self.sources.model(*role, &|_, _| ())? {
                Some(digests) => Ok(digests.part(*part)),
                None => Err(role.name().to_owned()),
            },
            Input::Output { node, output } => {
                plan.find(node).and_then(|planned| planned.output(output)).ok_or_else(|| node.clone())
            }
            Input::Mask { digest, .. } => Ok(*digest),
            Input::Unknown { node } => Err(node.clone()),
        })
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

    /// Computes a node anew from what its inputs are now, whatever the store holds of it, and publishes nothing.
    ///
    /// # Errors
    /// User: an input that is not there yet. Those of the stage.
    pub fn anew(&self, plan: &Plan, node: &str) -> Result<Outputs> {
        let planned = plan.find(node).ok_or_else(|| Error::user(format!("{node} is not a node of this pipeline")))?;
        let Some(manifest) = &planned.manifest else {
            return Err(Error::user(format!("{node} waits for {}", planned.waits_for.join(", ")))
                .hint("`dean run --until score` computes the rank tables"));
        };
        let place =
            Place { shards: &NoShards, progress: &NoProgress, stop: &|| false, checkpoint_every: Duration::MAX };
        self.execute(plan, &planned.node, planned.stage, manifest, &place)
    }

    /// Bytes of an output that is known.
    pub fn output_bytes(&self, plan: &Plan, node: &str, output: &str) -> Result<Option<Vec<u8>>> {
        let Some(planned) = plan.find(node) else { return Ok(None) };
        if let Some(outputs) = &planned.evaluated {
            return Ok(outputs.iter().find(|(name, _)| name == output).map(|(_, bytes)| bytes.clone()));
        }
        match planned.record.as_ref().and_then(|record| record.outputs.get(output)) {
            Some(output) => self.store.read(&output.digest).map(Some),
            None => Ok(None),
        }
    }

    fn evaluate(&self, plan: &Plan, planned: &Planned, manifest: &Manifest, key: Digest) -> Result<Outputs> {
        let memo = || self.evaluated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outputs) = memo().get(&key) {
            return Ok(outputs.clone());
        }
        let place =
            Place { shards: &NoShards, progress: &NoProgress, stop: &|| false, checkpoint_every: Duration::MAX };
        let outputs = self.execute(plan, &planned.node, planned.stage, manifest, &place)?;
        memo().insert(key, outputs.clone());
        Ok(outputs)
    }

    /// Runs a stage on the inputs that the plan knows; the only way in which any stage is ever run. What it made with a
    /// model whose files changed meanwhile is neither returned nor kept in a shard.
    pub(super) fn execute(
        &self,
        plan: &Plan,
        node: &Node,
        stage: &dyn Stage,
        manifest: &Manifest,
        place: &Place<'_>,
    ) -> Result<Outputs> {
        let missing = |name: &str| missing_input(node, name);
        let input = |name: &str| match node.inputs.get(name).ok_or_else(|| missing(name))? {
            Input::Output { node, output } | Input::Mask { node, output, .. } => {
                self.output_bytes(plan, node, output)?.ok_or_else(|| missing(name))
            }
            Input::File(_) | Input::Model { .. } | Input::Unknown { .. } => Err(missing(name)),
        };
        let file = |name: &str| self.file(node, name, manifest.inputs.get(name));
        let unchanged = || roles(node).into_iter().try_for_each(|role| self.sources.unchanged(role));
        let earlier = |accepts: &dyn Fn(&serde_json::Value) -> bool, output: &str| {
            for record in self.store.records(stage.name())? {
                let same = record.manifest.inputs == manifest.inputs && record.manifest.version == manifest.version;
                if same
                    && accepts(&record.manifest.params)
                    && let Some(output) = record.outputs.get(output)
                    && self.store.verify(&output.digest)?
                {
                    return self.store.read(&output.digest).map(Some);
                }
            }
            Ok(None)
        };
        let outputs = stage
            .run(&Context {
                node: &node.name,
                params: &node.params,
                unkeyed: &node.unkeyed,
                input: &input,
                inputs: &manifest.inputs,
                file: &file,
                earlier: &earlier,
                models: self.models,
                model_path: &|role| self.sources.located(role),
                shards: &Guarded { shards: place.shards, unchanged: &unchanged },
                progress: place.progress,
                stop: place.stop,
                checkpoint_every: place.checkpoint_every,
            })
            .map_err(|error| match error.kind() {
                // It names its place itself.
                Kind::Stopped => error,
                Kind::User | Kind::Fault => error.within(&node.name),
            });
        // Where files changed, that is what to tell, whatever the stage made of them.
        if outputs.as_ref().err().map(Error::kind) != Some(Kind::Stopped) {
            unchanged().map_err(|error| error.within(&node.name))?;
        }
        outputs
    }
}

fn missing_input(node: &Node, name: &str) -> Error {
    Error::fault(format!("{} has no input {name}", node.name))
}

/// The models that a node reads.
pub(super) fn roles(node: &Node) -> BTreeSet<Role> {
    let role = |input: &Input| if let Input::Model { role, .. } = input { Some(*role) } else { None };
    node.inputs.values().filter_map(role).collect()
}

/// Where a stage runs: what it may keep and whom it tells.
pub(super) struct Place<'a> {
    pub shards: &'a dyn Shards,
    pub progress: &'a dyn Progress,
    pub stop: &'a dyn Fn() -> bool,
    pub checkpoint_every: Duration,
}

/// Shards that are only written while the models of their node are what the key says.
struct Guarded<'a> {
    shards: &'a dyn Shards,
    unchanged: &'a dyn Fn() -> Result<()>,
}

impl Shards for Guarded<'_> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        (self.unchanged)()?;
        self.shards.put(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.shards.get(name)
    }

    fn names(&self) -> Result<Vec<String>> {
        self.shards.names()
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.shards.remove(name)
    }
}

struct NoShards;

impl Shards for NoShards {
    fn put(&self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn remove(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

struct NoProgress;

impl Progress for NoProgress {
    fn at(&self, _: u64, _: u64, _: &str) {}

    fn note(&self, _: &str) {}
}
