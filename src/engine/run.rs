//! Running: computes the nodes that the plan says are missing, one after another, until none is.
//!
//! After each node the plan is made again with the function that `dean plan` uses. So `dean plan` and a run cannot disagree. A
//! node is computed only while its claim is held. A panic in a stage ends the run as a fault of ours, and publishes nothing.
//! Must not know: any particular stage.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

mod noted;

use self::noted::Noted;
pub use self::noted::Session;
use super::events::Observer;
use super::execute::{Place, execute};
use super::inputs::roles;
use super::plan::{Part, Plan, Planned, State};
use super::planner::Planner;
use super::price::Pricer;
use crate::error::{Error, Kind, Result};
use crate::stages::{Fill, Outlet, Progress, Role, Shards};
use crate::store::{Acquired, Claim, Cost, Damage, Output, Owner, Store, Written};

/// How often a run may plan again because a stage found an input damaged.
const REPAIRS: usize = 8;
/// How many variants go through a stage together, at most, if their nodes read different models.
const TOGETHER: u32 = 16;

/// Runs one pipeline.
pub struct Runner<'a> {
    pub planner: Planner<'a>,
    pub observer: &'a dyn Observer,
    /// True once a signal asked to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// What was typed, for the run's file.
    pub command: Vec<String>,
    /// How the run is called, if somebody says so.
    pub name: Option<String>,
    /// A part of the run, where several jobs take turns.
    pub part: Part,
}

/// What a run did.
pub struct Summary {
    pub run: String,
    pub plan: Plan,
    /// Nodes that were computed here, and their seconds.
    pub computed: Vec<(String, f64)>,
    /// Blobs that turned out damaged and were computed again.
    pub damage: Vec<Damage>,
}

impl Runner<'_> {
    /// Brings the models, then computes every missing node, up to and including the stage `until` if one is named.
    ///
    /// # Errors
    /// The first failure; everything that was finished before it is kept. Kind `Stopped` after a signal.
    pub fn run(&self, until: Option<&str>) -> Result<Summary> {
        let until = match until {
            Some(name) => Some(stage_position(name)?),
            None => None,
        };
        let asked_for = |planned: &Planned| {
            until.is_none_or(|last| stage_position(planned.stage.name()).is_ok_and(|place| place <= last))
        };
        self.compute_all(&asked_for, until.is_none(), None)
    }

    /// Computes the missing ones of some nodes, as a part of a longer session, which is one run. None of these nodes may wait for
    /// another one that is missing.
    ///
    /// # Errors
    /// As of [`Runner::run`].
    pub fn run_part(&self, asked_for: &dyn Fn(&Planned) -> bool, session: &Session) -> Result<Summary> {
        self.compute_all(asked_for, false, Some(session))
    }

    fn compute_all(
        &self,
        asked_for: &dyn Fn(&Planned) -> bool,
        is_whole: bool,
        session: Option<&Session>,
    ) -> Result<Summary> {
        self.planner.inputs.models.device()?;
        let mut noted = Noted::new(self, session)?;
        self.bring_models()?;
        let mut computed = Vec::new();
        let mut repairs = 0;
        let mut checked = false;
        let mut foreseen = HashSet::new();
        let mut pricer = None;
        let (mut plan, mut is_fresh) = (noted.look(|planner| planner.plan(true))?, true);
        loop {
            let wanted =
                |planned: &Planned| asked_for(planned) && self.part.turns.is_none_or(|last| planned.node.turn <= last);
            if !checked {
                self.planner.check(&plan, asked_for)?.iter().for_each(|warning| self.observer.note("plan", warning));
                checked = true;
            }
            // What a node takes may be known only now. If it is too much, fail before the nodes that come first are computed.
            for planned in plan.nodes.iter().filter(|planned| wanted(planned) && planned.key.is_some()) {
                if planned.state != State::Hit && foreseen.insert(planned.node.name.clone()) {
                    self.planner.forecast(&plan, planned)?;
                }
            }
            let missing = || plan.nodes.iter().filter(|planned| wanted(planned) && planned.state != State::Hit);
            let ready = in_turn(missing().map(std::convert::AsRef::as_ref));
            if ready.is_empty() && !is_fresh {
                // Before the run ends, everything is looked up anew.
                (plan, is_fresh) = (noted.look(|planner| planner.plan(true))?, true);
                continue;
            }
            if noted.is_due() || ready.is_empty() {
                let finished = ready.is_empty() && (self.part.turns.is_none() || plan.is_complete());
                match noted.write(&plan, finished) {
                    // A store that may only be read serves as long as nothing is missing.
                    Err(error) if ready.is_empty() && computed.is_empty() => {
                        self.observer.note("run", &format!("this run is not noted: {}", error.message()));
                    }
                    other => other?,
                }
            }
            let Some(first) = ready.first() else {
                if let Some(stuck) = missing().next().filter(|_| self.part.turns.is_none()) {
                    return Err(Error::fault(format!(
                        "{} waits for {:?}, which never comes",
                        stuck.node.called(),
                        stuck.waits_for
                    )));
                }
                // The last node's outputs are read next. A disk that turned a bit over in them did not change their time, so
                // only their bytes tell.
                if is_whole && repairs < REPAIRS && !self.last_is_sound(&plan)? {
                    repairs += 1;
                    (plan, is_fresh) = (noted.look(|planner| planner.plan(true))?, true);
                    continue;
                }
                let damage = self.planner.inputs.store.damage();
                return Ok(Summary { run: noted.run.id.clone(), plan, computed, damage });
            };
            if (self.stop)() {
                return Err(Error::stopped(format!("stopped before {}", first.node.called())));
            }
            let Some((planned, claim)) = self.claim(&ready)? else {
                (plan, is_fresh) = (noted.look(Planner::again)?, false);
                continue;
            };
            let pricer = match &mut pricer {
                Some(pricer) => pricer,
                none => none.insert(Pricer::new(&self.planner)?),
            };
            self.observer.left(&pricer.total(&plan, asked_for).plus(self.part.others.clone()));
            match self.compute(&plan, planned, claim, pricer) {
                Ok(seconds) => {
                    computed.push((planned.node.name.clone(), seconds));
                    noted.run.computed = Some(noted.run.computed.unwrap_or(0) + 1);
                    (plan, is_fresh) = (noted.look(Planner::again)?, false);
                }
                Err(error) if error.kind() == Kind::User && repairs < REPAIRS => {
                    let now = noted.look(|planner| planner.plan(true))?;
                    // A damaged input is in quarantine now, and a missing one is a miss. Both are computed again.
                    if !lost(&plan, &now) {
                        return Err(error);
                    }
                    repairs += 1;
                    self.observer.note(&planned.node.called(), error.message());
                    (plan, is_fresh) = (now, true);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the bytes of the last node's outputs are right. Those that are not go to quarantine.
    fn last_is_sound(&self, plan: &Plan) -> Result<bool> {
        let outputs = plan.nodes.last().and_then(|planned| planned.record.as_ref()).into_iter();
        for output in outputs.flat_map(|record| record.outputs.values()) {
            if self.planner.inputs.store.map(&output.digest).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches the models that nodes read, if there is anything to compute. If the store remembers a model's digests under its
    /// pin, everything may be a hit without the model.
    fn bring_models(&self) -> Result<()> {
        let plan = self.planner.plan(false)?;
        if plan.is_complete() {
            return Ok(());
        }
        let read: BTreeSet<Role> = plan.nodes.iter().flat_map(|planned| roles(&planned.node)).collect();
        for role in read {
            self.planner.inputs.sources.fetched(role, &|text| self.observer.note("model", text))?;
            let progress = |done: u64, total: u64| self.observer.progress("model", done, total, "bytes hashed");
            self.planner.inputs.sources.model(role, &progress)?;
        }
        Ok(())
    }

    /// Claims the first of these nodes that nobody else computes now. Waits while others compute all of them. Returns `None` if
    /// another process published one of them; the caller then plans again.
    fn claim<'a>(&self, ready: &[&'a Planned]) -> Result<Option<(&'a Planned, Claim<'_>)>> {
        let wanted: Vec<_> = ready.iter().filter_map(|planned| Some((planned.stage.name(), planned.key?))).collect();
        let name = |place: usize| ready.get(place).map(|planned| planned.node.called()).unwrap_or_default();
        let waiting = &mut |place: usize, owner: &Owner| self.observer.waiting(&name(place), owner);
        let (place, acquired) = self.planner.inputs.store.acquire_any(&wanted, &|| (self.stop)(), waiting)?;
        match acquired {
            Acquired::Hit(record) => {
                self.planner.learn(record);
                self.observer.shared(&name(place));
                Ok(None)
            }
            Acquired::Claim(claim) => Ok(ready.get(place).map(|planned| (*planned, claim))),
        }
    }

    /// Computes a node and publishes it. Returns how many seconds it took.
    fn compute(&self, plan: &Plan, planned: &Planned, claim: Claim<'_>, pricer: &mut Pricer<'_>) -> Result<f64> {
        let Some(manifest) = planned.manifest.as_ref() else {
            return Err(Error::fault(format!("{} was to run without a key", planned.node.called())));
        };
        let name = &*planned.node.called();
        let position = plan.nodes.iter().filter(|planned| planned.state == State::Hit).count() + 1;
        self.observer.started(name, position, plan.nodes.len());
        let (work, price) = (pricer.work(plan, planned), pricer.price(plan, planned));
        let started = Instant::now();
        let outlet = ClaimOutlet { claim: &claim, store: self.planner.inputs.store, written: RefCell::default() };
        let outputs = {
            let place = Place {
                shards: &ClaimShards(&claim),
                outlet: &outlet,
                progress: &NodeProgress { node: name, observer: self.observer },
                stop: &|| (self.stop)(),
                checkpoint_every: Duration::from_secs(self.planner.pipeline.run.checkpoint_seconds),
            };
            let work = || execute(&self.planner.inputs, plan, &planned.node, planned.stage, manifest, &place);
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(name, panic.as_ref())))?
        };
        let seconds = started.elapsed().as_secs_f64();
        let backend = self.planner.inputs.models.device()?.is.to_string();
        let written = outlet.written.into_inner().into_iter().map(|(name, written)| (name, Output::from(written)));
        let outputs = outputs.into_iter().map(|(name, bytes)| (name, Output::from(bytes))).chain(written).collect();
        let cost = Cost { seconds, work, predicted: price.map(|price| price.seconds.expected) };
        let record = claim.publish(manifest, outputs, cost, &backend)?;
        pricer.learn(&record);
        self.planner.learn(record);
        self.observer.finished(name, seconds);
        Ok(seconds)
    }
}

fn stage_position(name: &str) -> Result<usize> {
    let stages = crate::stages::REGISTRY;
    stages.iter().position(|stage| stage.name() == name).ok_or_else(|| {
        let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
        Error::user(format!("there is no stage `{name}`")).hint(format!("stages are: {}", names.join(", ")))
    })
}

/// The nodes that can run, in the order in which a run comes to them.
///
/// One variant after another, so that rows of the report come early. Only one model is on the device, though. Where nodes of one
/// variant read different ones, as with a model that judges, 1, 2, 4 and up to [`TOGETHER`] variants go through each stage
/// together, so that models are loaded seldom and the first rows are early all the same.
fn in_turn<'a>(missing: impl Iterator<Item = &'a Planned>) -> Vec<&'a Planned> {
    let missing: Vec<&Planned> = missing.collect();
    let read: BTreeSet<Role> = missing.iter().flat_map(|planned| roles(&planned.node)).collect();
    let group = |turn: u32| match read.len() {
        0 | 1 => turn,
        // 1; 2 and 3; 4 to 7; and so on.
        _ if turn < TOGETHER => turn.checked_ilog2().map_or(0, |power| power + 1),
        _ => TOGETHER + turn / TOGETHER,
    };
    let mut ready: Vec<&Planned> = missing.into_iter().filter(|planned| planned.key.is_some()).collect();
    // The sort is stable: within a group the plan's order holds, stage by stage.
    ready.sort_by_key(|planned| group(planned.node.turn));
    ready
}

/// Whether something that was in the store is not there any more.
fn lost(before: &Plan, now: &Plan) -> bool {
    let gone = |hit: &Planned| {
        now.find(&hit.node.name).is_some_and(|planned| planned.key == hit.key && planned.state != State::Hit)
    };
    before.nodes.iter().any(|planned| planned.state == State::Hit && gone(planned))
}

/// A panic's message, as a fault.
fn panicked(node: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::fault(format!("{node} failed inside: {}", said.unwrap_or("no message")))
}

struct ClaimShards<'a>(&'a Claim<'a>);

impl Shards for ClaimShards<'_> {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.put_shard(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.0.shard(name)
    }

    fn names(&self) -> Result<Vec<String>> {
        self.0.shards()
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.drop_shard(name)
    }
}

/// Outputs that are written while they are made, and published with the others.
struct ClaimOutlet<'a> {
    claim: &'a Claim<'a>,
    store: &'a Store,
    written: RefCell<Vec<(String, Written)>>,
}

impl Outlet for ClaimOutlet<'_> {
    fn write(&self, name: &str, fill: &mut Fill<'_>) -> Result<()> {
        let mut out = Watched { out: self.claim.writer()?, failed: None };
        let filled = fill(&mut out);
        if let Some(cause) = out.failed {
            return Err(Error::io("write into the store", self.store.root(), &cause));
        }
        filled?;
        self.written.borrow_mut().push((name.to_owned(), out.out.finish()?));
        Ok(())
    }
}

/// Keeps the reason of a failed write, because the library that writes may report it in other words.
struct Watched<W> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).inspect_err(|cause| self.failed = Some(again(cause)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().inspect_err(|cause| self.failed = Some(again(cause)))
    }
}

/// An error of the same kind and words.
fn again(cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), cause.to_string())
}

struct NodeProgress<'a> {
    node: &'a str,
    observer: &'a dyn Observer,
}

impl Progress for NodeProgress<'_> {
    fn at(&self, done: u64, total: u64, unit: &str) {
        self.observer.progress(self.node, done, total, unit);
    }

    fn note(&self, text: &str) {
        self.observer.note(self.node, text);
    }
}

#[cfg(test)]
mod tests;
