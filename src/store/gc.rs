//! Garbage collection: removes what is older than a grace period and is needed neither by the newest runs nor by a pinned one.
//!
//! The roots are runs. A run names keys, and a key's record names blobs. Records are removed before blobs. So a crash in
//! between leaves blobs without a record, which the next collection removes, and never a record without its blobs. The grace
//! period protects what is being written now. If it is shorter than the longest publishing takes, collect only while nothing
//! runs. Must not know: stages, downloaded models.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::memo::Memo;
use super::runs::Run;
use super::{Store, place};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};

/// What to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// How many of the newest runs are kept. Pinned runs are kept too.
    pub keep_runs: usize,
    /// Nothing younger than this is removed.
    pub grace: Duration,
    /// Report what would be removed, and remove nothing.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { keep_runs: 10, grace: Duration::from_secs(24 * 60 * 60), dry_run: false }
    }
}

/// What was removed (or, in a dry run, would be), by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    pub runs: Removed,
    pub records: Removed,
    pub blobs: Removed,
    /// Shards of keys that no kept run needs, or that were published since.
    pub partials: Removed,
    /// What crashes left, and what was in quarantine for long: temporary files, dead claims, memos of removed blobs.
    pub other: Removed,
    /// What could not be removed, each with its reason.
    pub failed: Vec<String>,
}

impl GcReport {
    /// The bytes of everything that was removed.
    pub fn bytes(&self) -> u64 {
        let kinds = [&self.runs, &self.records, &self.blobs, &self.partials, &self.other];
        kinds.iter().fold(0, |sum, removed| sum.saturating_add(removed.bytes))
    }
}

/// What was removed: the paths relative to the store, and their total size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub names: Vec<String>,
    pub bytes: u64,
}

impl Store {
    /// Collects garbage.
    ///
    /// # Errors
    /// User: a run cannot be read, so what it needs is unknown; or the store cannot be listed. That a
    /// single file cannot be removed is no error but in [`GcReport::failed`].
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport> {
        let mut sweep = Sweep { root: self.root(), options, failed: Vec::new() };
        let mut report = GcReport::default();

        let (_, gone) = self.runs_by_fate(options)?;
        for run in gone {
            sweep.remove(&self.dir("runs").join(format!("{}.json", run.id)), &mut report.runs);
        }

        let candidates = self.found()?;
        // Runs are read after the records, so that a run that started in between and found one of the records counts.
        let reached = self.reached(options)?;
        let mut doomed = BTreeSet::new();
        for found in candidates {
            if !reached.contains(&found.key) && sweep.remove(&found.path, &mut report.records) {
                doomed.insert(found.path);
            }
        }

        let kept = self.found()?.into_iter().filter(|found| !doomed.contains(&found.path));
        let used: BTreeSet<Digest> = kept
            .filter_map(|found| found.record.ok())
            .flat_map(|record| record.outputs.into_values())
            .map(|output| output.digest)
            .collect();
        for (digest, _) in self.all_blobs()? {
            if !used.contains(&digest) {
                sweep.remove(&self.blob_path(&digest), &mut report.blobs);
            }
        }

        for (key, text) in self.dead_claims(options.grace)? {
            sweep.count(&self.claim_path(&key), text.len() as u64, &mut report.other, || self.take_away(&key, &text));
        }
        for (name, path, _) in place::entries(&self.dir("partial"))? {
            let Ok(key) = name.parse::<Digest>() else { continue };
            let wanted = reached.contains(&key) && !self.is_published(&key)?;
            if !wanted && place::metadata(&self.claim_path(&key))?.is_none() {
                sweep.remove(&path, &mut report.partials);
            }
        }
        for (_, path, _) in
            place::entries(&self.dir("tmp"))?.into_iter().chain(place::entries(&self.dir("quarantine"))?)
        {
            sweep.remove(&path, &mut report.other);
        }
        self.forget_blobs(&mut sweep, &mut report.other)?;
        report.failed = sweep.failed;
        Ok(report)
    }

    /// The runs that stay and those that may go.
    fn runs_by_fate(&self, options: &GcOptions) -> Result<(Vec<Run>, Vec<Run>)> {
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (path, metadata, run) in self.found_runs()? {
            let run = run.map_err(|reason| {
                Error::user(format!("cannot tell what the run {} needs: {reason}", path.display()))
                    .hint("nothing was removed; if the run is of no use, delete that file and collect again")
            })?;
            let stays = run.pinned || kept.len() < options.keep_runs || place::age(&metadata) < options.grace;
            if stays { kept.push(run) } else { gone.push(run) }
        }
        Ok((kept, gone))
    }

    /// The keys that the kept runs need.
    fn reached(&self, options: &GcOptions) -> Result<BTreeSet<Digest>> {
        let (kept, _) = self.runs_by_fate(options)?;
        Ok(kept.iter().flat_map(|run| run.nodes.values()).filter_map(|node| node.key).collect())
    }

    fn is_published(&self, key: &Digest) -> Result<bool> {
        for (stage, ..) in place::entries(&self.dir("records"))? {
            if self.peek(&stage, key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the memos of blobs that are gone. Those of other files may be another machine's, and stay.
    fn forget_blobs(&self, sweep: &mut Sweep<'_>, removed: &mut Removed) -> Result<()> {
        let blobs = place::absent_as_none(fs::canonicalize(self.dir("blobs"))).at("look at", self.root())?;
        let Some(blobs) = blobs else { return Ok(()) };
        for (_, path, _) in place::entries(&self.dir("memo"))? {
            let memo = place::read_if_there(&path)?.and_then(|text| serde_json::from_slice::<Memo>(&text).ok());
            if memo.is_some_and(|memo| memo.stamp.path.starts_with(&blobs) && !memo.stamp.path.exists()) {
                sweep.remove(&path, removed);
            }
        }
        Ok(())
    }
}

/// Removes one thing after the other, or only counts them.
struct Sweep<'a> {
    root: &'a Path,
    options: &'a GcOptions,
    failed: Vec<String>,
}

impl Sweep<'_> {
    /// Removes a file or directory if it is still there and, checked again, old enough. Returns whether it is gone (in a dry
    /// run: would be gone).
    fn remove(&mut self, path: &Path, removed: &mut Removed) -> bool {
        match look(path) {
            Ok(Some((age, bytes))) if age >= self.options.grace => self.count(path, bytes, removed, || {
                let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                place::absent_as_none(result).at("remove", path).map(|_| ())
            }),
            Ok(_) => false,
            Err(error) => {
                self.failed.push(error.to_string());
                false
            }
        }
    }

    /// Does it (unless `dry_run`) and counts it.
    fn count(&mut self, path: &Path, bytes: u64, removed: &mut Removed, act: impl FnOnce() -> Result<()>) -> bool {
        let done = if self.options.dry_run { Ok(()) } else { act() };
        match done {
            Ok(()) => {
                removed.names.push(path.strip_prefix(self.root).unwrap_or(path).display().to_string());
                removed.bytes = removed.bytes.saturating_add(bytes);
                true
            }
            Err(error) => {
                self.failed.push(error.to_string());
                false
            }
        }
    }
}

/// Age of the youngest part, and bytes, of a file or a flat directory.
fn look(path: &Path) -> Result<Option<(Duration, u64)>> {
    let Some(metadata) = place::metadata(path)? else { return Ok(None) };
    let mut age = place::age(&metadata);
    if metadata.is_dir() {
        for (_, _, part) in place::entries(path)? {
            age = age.min(place::age(&part));
        }
    }
    Ok(Some((age, place::tree_bytes(path)?)))
}
