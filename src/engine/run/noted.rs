//! A run's file: what it says of a run while nodes are computed, and of several plans that are one run.
//!
//! The file names what a run uses, and so keeps it from collections. Must not know: how nodes are computed.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::Runner;
use crate::digest::Digest;
use crate::engine::plan::{Plan, Planned, State};
use crate::engine::planner::Planner;
use crate::error::{Error, Result};
use crate::store::{About, Live, Run, RunNode, Store, new_run_id, now_rfc3339};

/// How often the run's file is written while nodes are computed.
const WRITE_EVERY: Duration = Duration::from_secs(2);

/// Several plans that are one run: its file names what any of them used.
#[derive(Default)]
pub struct Session(RefCell<Option<Run>>);

impl Session {
    /// Says that the session came to its end, if anything was noted.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finish(&self, store: &Store) -> Result<()> {
        match self.0.borrow_mut().as_mut() {
            Some(run) => {
                run.finished = true;
                store.write_run(run)
            }
            None => Ok(()),
        }
    }

    /// The run's id, once something was noted.
    pub fn run(&self) -> Option<String> {
        self.0.borrow().as_ref().map(|run| run.id.clone())
    }
}

/// A run's file, which names what the run uses, and so keeps it from collections.
pub(super) struct Noted<'a> {
    runner: &'a Runner<'a>,
    pub(super) run: Run,
    /// The keys of what the file names.
    keys: HashSet<Digest>,
    written: Instant,
    live: Option<Live>,
    /// The name that it still has to get.
    name: Option<String>,
    /// What the run is a part of.
    session: Option<&'a Session>,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            session.0.replace(Some(self.run.clone()));
        }
    }
}

impl<'a> Noted<'a> {
    pub(super) fn new(runner: &'a Runner<'a>, session: Option<&'a Session>) -> Result<Self> {
        let name = runner.name.clone();
        About { name: name.clone(), ..About::default() }.check()?;
        let before = session.and_then(|session| session.0.take());
        if let Some(run) = before {
            let live = runner.planner.inputs.store.live(&run.id)?;
            let keys = run.nodes.values().filter_map(|node| node.key).collect();
            return Ok(Self { runner, run, keys, written: Instant::now(), live, name, session });
        }
        // A collection may have taken it in between. Then this is a run of its own.
        let before = runner.part.of.as_ref().and_then(|id| runner.planner.inputs.store.run(id).ok());
        let computed_before = before.as_ref().and_then(|run| run.computed).unwrap_or_default();
        let (id, started) = before.map_or_else(|| (new_run_id(), now_rfc3339()), |run| (run.id, run.started));
        let live = runner.planner.inputs.store.live(&id)?;
        let run = Run {
            id,
            started,
            pipeline: serde_json::to_value(runner.planner.pipeline)
                .map_err(|error| Error::fault(format!("the pipeline is not JSON: {error}")))?,
            command: runner.command.clone(),
            nodes: BTreeMap::new(),
            pinned: false,
            finished: false,
            computed: Some(computed_before),
        };
        Ok(Self { runner, run, keys: HashSet::new(), written: Instant::now(), live, name, session })
    }

    /// Makes a plan, and names in the file what it found, before a collection can take it.
    pub(super) fn look(&mut self, plan: impl FnOnce(&Planner<'a>) -> Result<Plan>) -> Result<Plan> {
        let planner = &self.runner.planner;
        let _together = planner.inputs.store.together(self.runner.stop)?;
        let plan = plan(planner)?;
        for planned in plan.nodes.iter().filter(|planned| planned.state == State::Hit) {
            // What was written since the run began is kept without being named.
            let Some(key) = planned.key.filter(|key| !self.keys.contains(key)) else { continue };
            let is_kept = |live: &Live| planner.inputs.store.is_recorded_since(live, planned.stage.name(), &key);
            if !self.live.as_ref().map_or(Ok(false), is_kept)? {
                // If the store cannot be written, `write` says so where it matters.
                let _ = self.write(&plan, false);
                break;
            }
        }
        Ok(plan)
    }

    /// With hundreds of nodes the file is large and each node is short, so it is not written after every node.
    pub(super) fn is_due(&self) -> bool {
        self.run.nodes.is_empty() || self.written.elapsed() >= WRITE_EVERY
    }

    pub(super) fn write(&mut self, plan: &Plan, finished: bool) -> Result<()> {
        let mut nodes: BTreeMap<_, _> =
            plan.nodes.iter().map(|planned| (planned.node.name.clone(), run_node(planned))).collect();
        if self.session.is_some() {
            // What earlier parts used and this one does not know is kept too.
            let others = self.run.nodes.iter().filter(|(name, _)| !nodes.contains_key(*name));
            let others: Vec<_> = others.map(|(name, node)| (name.clone(), node.clone())).collect();
            nodes.extend(others);
        }
        let before = std::mem::replace(&mut self.run.nodes, nodes);
        self.run.finished = finished && self.session.is_none();
        let store = self.runner.planner.inputs.store;
        if let Err(error) = store.write_run(&self.run) {
            self.run.nodes = before;
            return Err(error);
        }
        // Only a run that is there takes a name away from another.
        if let Some(name) = self.name.take() {
            store.name_run(&self.run.id, Some(&name))?;
        }
        self.keys.extend(plan.nodes.iter().filter_map(|planned| planned.key));
        self.written = Instant::now();
        Ok(())
    }
}

fn run_node(planned: &Planned) -> RunNode {
    let manifest = planned.manifest.as_deref().cloned();
    RunNode { stage: planned.stage.name().into(), key: planned.key, manifest }
}
