//! Running one stage, with the inputs that a plan names.
//!
//! Must not know: any particular stage, how a plan is made, claims.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::inputs::{Inputs, missing_input, roles};
use super::plan::Plan;
use crate::digest::{Digest, Manifest};
use crate::error::{Error, Kind, Result};
use crate::stages::{Context, Fill, Input, Node, Outlet, Outputs, Progress, Relative, Shards, Stage};
use crate::store::Store;

/// Runs a stage in memory: it keeps no shards and reports no progress.
pub(super) fn alone(
    inputs: &Inputs<'_>,
    plan: &Plan,
    node: &Node,
    stage: &dyn Stage,
    manifest: &Manifest,
) -> Result<Outputs> {
    let outlet = InMemory::default();
    let place = Place {
        shards: &InMemory::default(),
        outlet: &outlet,
        progress: &NoProgress,
        stop: &|| false,
        checkpoint_every: Duration::MAX,
    };
    let mut outputs = execute(inputs, plan, node, stage, manifest, &place)?;
    outputs.extend(outlet.0.into_inner());
    Ok(outputs)
}

/// Runs a stage on the inputs that the plan names. Every stage is run by this function. If the files of a model changed in
/// the meantime, the outputs are not returned, and no shard is kept.
pub(super) fn execute(
    inputs: &Inputs<'_>,
    plan: &Plan,
    node: &Node,
    stage: &dyn Stage,
    manifest: &Manifest,
    place: &Place<'_>,
) -> Result<Outputs> {
    let called = node.called();
    let missing = |name: &str| missing_input(node, name);
    let input = |name: &str| match node.inputs.get(name).ok_or_else(|| missing(name))? {
        Input::Output { node, output } | Input::Part { node, output, .. } => {
            inputs.output(plan, node, output)?.ok_or_else(|| missing(name))
        }
        Input::File(_) | Input::Model { .. } | Input::Unknown { .. } => Err(missing(name)),
    };
    let file = |name: &str| inputs.file(node, name, manifest.inputs.get(name));
    let unchanged = || roles(node).into_iter().try_for_each(|role| inputs.sources.unchanged(role));
    let earlier = |accepts: &dyn Fn(&serde_json::Value) -> bool, output: &str| {
        for record in inputs.store.records(stage.name())? {
            let same = record.manifest.inputs == manifest.inputs && record.manifest.version == manifest.version;
            if same
                && accepts(&record.manifest.params)
                && let Some(output) = record.outputs.get(output)
                && inputs.store.verify(&output.digest)?
                // A collection may have taken it at this moment, because this run does not name it.
                && let Ok(bytes) = inputs.store.map(&output.digest)
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    };
    let relatives = |input: &str, output: &str| relatives(inputs.store, stage, manifest, input, output);
    let outputs = stage
        .run(&Context {
            node: &called,
            params: &node.params,
            unkeyed: &node.unkeyed,
            input: &input,
            inputs: &manifest.inputs,
            file: &file,
            earlier: &earlier,
            relatives: &relatives,
            models: inputs.models,
            model_path: &|role| inputs.sources.located(role),
            shards: &Guarded { shards: place.shards, unchanged: &unchanged },
            outlet: place.outlet,
            progress: place.progress,
            stop: place.stop,
            checkpoint_every: place.checkpoint_every,
        })
        .map_err(|error| match error.kind() {
            // It names its place itself.
            Kind::Stopped => error,
            Kind::User | Kind::Fault => error.within(&called),
        });
    // If files changed, that is the error to report, whatever the stage returned.
    if outputs.as_ref().err().map(Error::kind) != Some(Kind::Stopped) {
        unchanged().map_err(|error| error.within(&called))?;
    }
    outputs
}

/// See [`Context::relatives`].
fn relatives(store: &Store, stage: &dyn Stage, own: &Manifest, input: &str, output: &str) -> Result<Vec<Relative>> {
    let others = |manifest: &Manifest| {
        let mut inputs = manifest.inputs.clone();
        inputs.remove(input);
        inputs
    };
    let mut found = Vec::new();
    for record in store.records(stage.name())? {
        let other = &record.manifest;
        let Some(output) = record.outputs.get(output) else { continue };
        if (other.version, &other.params, others(other)) != (own.version, &own.params, others(own)) {
            continue;
        }
        // What is gone or damaged helps nobody, and is no reason to stop.
        let there = |digest: &Digest| store.verify(digest).is_ok_and(|there| there);
        let differing = other.inputs.get(input);
        if there(&output.digest) && differing.is_none_or(there) {
            // A collection may take a relative at any moment, because no run names it.
            let input = differing.map(|digest| store.map(digest)).transpose();
            if let (Ok(input), Ok(output)) = (input, store.map(&output.digest)) {
                found.push(Relative { input, output });
            }
        }
    }
    Ok(found)
}

/// The surroundings of a running stage: where its shards and outputs go, and who hears of its progress.
pub(super) struct Place<'a> {
    pub shards: &'a dyn Shards,
    pub outlet: &'a dyn Outlet,
    pub progress: &'a dyn Progress,
    pub stop: &'a dyn Fn() -> bool,
    pub checkpoint_every: Duration,
}

/// Shards that are written only if the models of their node are still those of the key.
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

/// Shards or outputs of a stage that runs in memory.
#[derive(Default)]
struct InMemory(RefCell<BTreeMap<String, Vec<u8>>>);

impl Shards for InMemory {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.borrow_mut().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.borrow().get(name).cloned())
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.borrow_mut().remove(name);
        Ok(())
    }
}

impl Outlet for InMemory {
    fn write(&self, name: &str, fill: &mut Fill<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        self.put(name, &bytes)
    }
}

struct NoProgress;

impl Progress for NoProgress {
    fn at(&self, _: u64, _: u64, _: &str) {}

    fn note(&self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::engine::Planner;
    use crate::engine::testing::job;
    use crate::files;
    use crate::model::Loaded;
    use crate::model::device::Device;
    use crate::store::Acquired;

    #[test]
    fn no_shard_is_kept_of_a_model_that_changed() {
        let (dir, mut pipeline) = job("[select]\nrule = \"a\"\nq = [1e-3]\n");
        let rows: String = (0..12).map(|row| format!("How are you?,{row} {}\n", "is well. ".repeat(8))).collect();
        files::write_atomic(&dir.path().join("rows.csv"), format!("prompt,response\n{rows}").as_bytes()).unwrap();
        pipeline.data.get_mut("a").unwrap().samples = 12;
        let (store, models) = (Store::open(&pipeline.run.store).unwrap(), Loaded::new(Device::Cpu));
        let planner = Planner::new(&pipeline, &store, &models);
        let plan = planner.plan(true).unwrap();
        let tokenize = plan.find("tokenize[a]").unwrap();
        let tokens = planner.anew(&plan, "tokenize[a]").unwrap();
        match store.acquire("tokenize", &tokenize.key.unwrap(), &|| false, &mut |_| ()).unwrap() {
            Acquired::Claim(claim) => {
                planner.learn(claim.publish(tokenize.manifest.as_ref().unwrap(), tokens, 0.0, "cpu").unwrap());
            }
            Acquired::Hit(_) => panic!("the store was empty"),
        }
        let plan = planner.again().unwrap();
        let score = plan.find("score[a]").unwrap();
        let (shards, outlet, asked) = (InMemory::default(), InMemory::default(), Cell::new(0));
        // Asked twice a batch: before its shard and after it.
        let stop = || {
            asked.set(asked.get() + 1);
            if asked.get() == 2 {
                let weights = dir.path().join("model/model.safetensors");
                files::overwrite(&weights, std::iter::once((2000, &[0; 4][..]))).unwrap();
            }
            false
        };
        let place = Place {
            shards: &shards,
            outlet: &outlet,
            progress: &NoProgress,
            stop: &stop,
            checkpoint_every: Duration::ZERO,
        };
        let manifest = score.manifest.as_ref().unwrap();
        let error = execute(&planner.inputs, &plan, &score.node, score.stage, manifest, &place).unwrap_err();
        assert!(error.message().ends_with("model.safetensors changed while it was used"), "{error}");
        let names = shards.names().unwrap();
        assert!(matches!(names.as_slice(), [name] if name.starts_with("sums-")), "{names:?}");
    }
}
