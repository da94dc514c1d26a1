//! Runs: what was asked for, when, and which keys came of it. Written at a run's start and again as
//! keys become known; the garbage collection keeps what the newest and the pinned ones need.
//!
//! A pin is a file of its own (`runs/<id>.pin`), so that pinning a run never races with the run
//! rewriting its own file. Must not know: what a pipeline or a node is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, check_name, compact, place, unique};
use crate::digest::{Digest, Manifest};
use crate::error::{Error, Result};

/// One run of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// From [`new_run_id`]: sorts by time.
    pub id: String,
    /// RFC 3339.
    pub started: String,
    /// The pipeline as read.
    pub pipeline: Value,
    pub command: Vec<String>,
    /// Node to what is known of it so far.
    pub nodes: BTreeMap<String, RunNode>,
    /// Kept by every garbage collection. Read from the pin, whatever the file says.
    #[serde(default)]
    pub pinned: bool,
    #[serde(default)]
    pub finished: bool,
}

/// One node of a run; key and manifest are unknown while an input is not computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNode {
    pub stage: String,
    pub key: Option<Digest>,
    pub manifest: Option<Manifest>,
}

/// A new name for a run: UTC time to microseconds, so that the runs of one second sort by time too, and a few
/// digits against chance, `20260102T030405Z-6543211a2b`.
pub fn new_run_id() -> String {
    let mut digits = unique();
    digits.truncate(4);
    let now = SystemTime::now();
    let micros = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_micros());
    format!("{}-{micros:06}{digits}", compact(now))
}

impl Store {
    /// Writes the run, replacing what was written of it before. A pin set meanwhile stays.
    pub fn write_run(&self, run: &Run) -> Result<()> {
        check_name("run", &run.id)?;
        if run.pinned {
            self.set_pin(&run.id)?;
        }
        let mut text = serde_json::to_vec_pretty(run)
            .map_err(|cause| Error::fault(format!("the run {} is no JSON: {cause}", run.id)))?;
        text.push(b'\n');
        self.replace(self.temporary_with("run", &text)?, &self.run_path(&run.id))
    }

    /// Every run, newest first. One that cannot be read is left out with a warning.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for (path, _, run) in self.found_runs()? {
            match run {
                Ok(run) => runs.push(run),
                Err(reason) => tracing::warn!("the run {} is left out: {reason}", path.display()),
            }
        }
        Ok(runs)
    }

    /// Keeps a run, and all that it needs, from every garbage collection. `id` may be the beginning of
    /// one. Returns the run.
    ///
    /// # Errors
    /// User: no run, or more than one, begins like this.
    pub fn pin(&self, id: &str) -> Result<Run> {
        let run = self.run_named(id)?;
        self.set_pin(&run.id)?;
        Ok(Run { pinned: true, ..run })
    }

    /// Removes the pin, if there is one.
    pub fn unpin(&self, id: &str) -> Result<Run> {
        let run = self.run_named(id)?;
        place::remove_file(&self.pin_path(&run.id))?;
        Ok(Run { pinned: false, ..run })
    }

    /// Every run file, newest first: path, metadata, and the run or why it cannot be read.
    #[allow(clippy::type_complexity, reason = "read twice, named fields would not help")]
    pub(super) fn found_runs(&self) -> Result<Vec<(PathBuf, std::fs::Metadata, std::result::Result<Run, String>)>> {
        let mut found = Vec::new();
        for (name, path, metadata) in place::entries(&self.dir("runs"))?.into_iter().rev() {
            let Some(id) = name.strip_suffix(".json") else { continue };
            let Some(text) = place::read_if_there(&path)? else { continue };
            let run = match serde_json::from_slice::<Run>(&text) {
                Ok(run) if run.id != id => Err(format!("it holds the run {}", run.id)),
                Ok(run) => Ok(Run { pinned: place::metadata(&self.pin_path(id))?.is_some(), ..run }),
                Err(cause) => Err(cause.to_string()),
            };
            found.push((path, metadata, run));
        }
        Ok(found)
    }

    pub(super) fn pin_path(&self, id: &str) -> PathBuf {
        self.dir("runs").join(format!("{id}.pin"))
    }

    fn run_path(&self, id: &str) -> PathBuf {
        self.dir("runs").join(format!("{id}.json"))
    }

    fn set_pin(&self, id: &str) -> Result<()> {
        self.replace(self.temporary("pin")?, &self.pin_path(id))
    }

    fn run_named(&self, id: &str) -> Result<Run> {
        let mut runs = self.runs()?;
        runs.retain(|run| run.id.starts_with(id));
        match <[Run; 1]>::try_from(runs) {
            Ok([run]) => Ok(run),
            Err(none) if none.is_empty() => {
                let newest: Vec<String> = self.runs()?.into_iter().take(3).map(|run| run.id).collect();
                let hint = match newest.as_slice() {
                    [] => "the store has no runs yet: `dean run` makes one".into(),
                    _ => format!("the newest are {}", newest.join(", ")),
                };
                Err(Error::user(format!("no run begins with `{id}` in {}", self.root().display())).hint(hint))
            }
            Err(many) => {
                let ids: Vec<String> = many.into_iter().take(5).map(|run| run.id).collect();
                Err(Error::user(format!("more than one run begins with `{id}`"))
                    .hint(format!("type more of one of {}", ids.join(", "))))
            }
        }
    }
}
