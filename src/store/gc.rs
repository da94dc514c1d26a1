//! Garbage collection: removes what is older than a grace period and is needed neither by the newest jobs nor by a run that
//! somebody pinned or named.
//!
//! The roots are runs. Of each job the newest run is one; runs are of one job if one knows every key that the other knows. So a
//! hundred idle repetitions of a job move no other job out, and neither does a run that computed nothing, of whatever job. A run names keys, and a key's record names blobs. Records are removed before blobs. So a crash in
//! between leaves blobs without a record, which the next collection removes, and never a record without its blobs.
//!
//! Runs that are under way keep what they name, and whatever was written since they began (`live.rs`). The grace period protects
//! what other commands are writing now, and everything where a file system has no locks.
//!
//! Runs are read one after the other, newest first, until as many jobs are found as stay. Of each only its keys are remembered.
//! Older ones are not read at all. If one is damaged, nobody knows what it named. Then whatever is not younger than the run stays, because
//! a run names only what was there when its file was last written. Must not know: stages, downloaded models.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Serialize;

use super::live::Living;
use super::memo::Memo;
use super::quarantine::Unusable;
use super::{Store, place, sealed};
use crate::digest::Digest;
use crate::error::{IoContext, Result};

/// What to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcOptions {
    /// The newest runs of so many jobs are kept. Pinned and named runs are kept too.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GcReport {
    pub runs: Removed,
    pub records: Removed,
    pub blobs: Removed,
    /// Shards of keys that no kept run needs, or that were published since.
    pub partials: Removed,
    /// What crashes left, and what was in quarantine for long: temporary files, dead claims, memos of removed blobs.
    pub other: Removed,
    /// Files of runs that stay and that cannot be read: whatever they may need was kept.
    pub damaged: Vec<Unusable>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Removed {
    pub names: Vec<String>,
    pub bytes: u64,
}

impl Store {
    /// Collects garbage.
    ///
    /// # Errors
    /// User: the store cannot be listed, or others look something up all the time. That a single file cannot be removed is no
    /// error but in [`GcReport::failed`], and that a run is damaged is in [`GcReport::damaged`].
    pub fn gc(&self, options: &GcOptions) -> Result<GcReport> {
        // Who only asks holds nobody up.
        let _alone = if options.dry_run { None } else { Some(self.alone()?) };
        let living = self.living()?;
        let mut sweep = Sweep { root: self.root(), options, since: living.since, failed: Vec::new() };
        let mut report = GcReport::default();

        let candidates = self.record_files()?;
        // Runs are read after the records, so that a run that started in between and found one of the records counts.
        let needed = self.needed(options, &living)?;
        for path in needed.gone.iter().chain(&needed.orphans) {
            sweep.remove(path, &mut report.runs);
        }
        let mut doomed = HashSet::new();
        for file in candidates {
            if !needed.has(&file.key, file.modified) && sweep.remove(&file.path, &mut report.records) {
                doomed.insert(file.path);
            }
        }

        let blobs: HashSet<Digest> = self.all_blobs()?.into_iter().map(|(digest, _)| digest).collect();
        let (mut used, mut published) = (HashSet::new(), HashSet::new());
        for file in self.record_files()? {
            if !doomed.contains(&file.path)
                && let Some(Ok(record)) = file.read()?
            {
                let digests = || record.outputs.values().map(|output| output.digest);
                used.extend(digests());
                published.extend(digests().all(|digest| blobs.contains(&digest)).then_some(file.key));
            }
        }
        for digest in blobs.difference(&used) {
            sweep.remove(&self.blob_path(digest), &mut report.blobs);
        }

        for (path, text) in living.dead.iter().chain(&self.dead_claims(options.grace)?) {
            sweep.count(path, text.len() as u64, &mut report.other, || self.take_away(path, text));
        }
        for (name, path, metadata) in place::entries(&self.dir("partial"))? {
            let Ok(key) = name.parse::<Digest>() else { continue };
            let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
            let wanted = needed.has(&key, modified) && !published.contains(&key);
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
        report.damaged = needed.damaged;
        report.failed = sweep.failed;
        Ok(report)
    }

    /// Which runs stay, and what they need.
    fn needed(&self, options: &GcOptions, living: &Living) -> Result<Needed> {
        let files = self.run_files()?;
        let mut needed = Needed { orphans: files.orphans, ..Needed::default() };
        let mut jobs = Jobs::default();
        for run in files.runs {
            let is_young = age_of(run.modified) < options.grace;
            let stays = run.pinned || run.described || is_young || living.ids.contains(&run.id);
            if !stays && jobs.counted >= options.keep_runs {
                needed.gone.push(run.path);
                continue;
            }
            match run.keys()? {
                Some(Ok(keys)) => {
                    let known: HashSet<Digest> = keys.keys().collect();
                    if stays {
                        needed.keys.extend(&known);
                    }
                    if let Some(path) = jobs.add(known, keys.was_idle(), (!stays).then_some(run.path)) {
                        needed.gone.push(path);
                    }
                }
                Some(Err((reason, seen))) => {
                    needed.keys.extend(seen);
                    needed.keep_until(run.modified);
                    needed.damaged.push(Unusable { path: run.path, reason, moved_to: None });
                }
                None => {}
            }
        }
        jobs.settle(options.keep_runs, &mut needed);
        for pin in files.lost {
            needed.keep_until(SystemTime::now());
            let reason = "the run that it pins is not there".to_owned();
            needed.damaged.push(Unusable { path: pin, reason, moved_to: None });
        }
        Ok(needed)
    }

    /// Removes the memos of blobs that are gone. Those of other files may be another machine's, and stay.
    fn forget_blobs(&self, sweep: &mut Sweep<'_>, removed: &mut Removed) -> Result<()> {
        let blobs = place::absent_as_none(fs::canonicalize(self.dir("blobs"))).at("look at", self.root())?;
        let Some(blobs) = blobs else { return Ok(()) };
        for (_, path, _) in place::entries(&self.dir("memo"))? {
            let memo = place::read_if_there(&path)?.and_then(|text| sealed::open::<Memo>(&text).ok());
            if memo.is_some_and(|memo| memo.stamp.path.starts_with(&blobs) && !memo.stamp.path.exists()) {
                sweep.remove(&path, removed);
            }
        }
        Ok(())
    }
}

/// The jobs that were found, newest first.
#[derive(Default)]
struct Jobs {
    jobs: Vec<Job>,
    /// Jobs of which a run computed something.
    counted: usize,
}

/// Runs of which each knows all keys that another one knows.
struct Job {
    keys: HashSet<Digest>,
    computed: bool,
    /// Runs that nothing but their job keeps.
    runs: Vec<PathBuf>,
}

impl Jobs {
    /// Adds a run by the keys that it knows. `path` is its file, unless it stays anyway. Returns the path if a newer run of the
    /// job knows all of it.
    fn add(&mut self, known: HashSet<Digest>, was_idle: bool, path: Option<PathBuf>) -> Option<PathBuf> {
        let of_one_job = |job: &&mut Job| known.is_subset(&job.keys) || job.keys.is_subset(&known);
        let Some(job) = self.jobs.iter_mut().find(of_one_job) else {
            self.counted += usize::from(!was_idle);
            self.jobs.push(Job { keys: known, computed: !was_idle, runs: path.into_iter().collect() });
            return None;
        };
        self.counted += usize::from(!was_idle && !job.computed);
        job.computed |= !was_idle;
        if known.is_subset(&job.keys) {
            return path;
        }
        job.keys.extend(known);
        job.runs.extend(path);
        None
    }

    /// Keeps the jobs that were computed last. A job of which only idle runs are known counts as the oldest: it is older than
    /// all that were read, or somebody else computed it.
    fn settle(self, keep: usize, needed: &mut Needed) {
        let (computed, idle): (Vec<Job>, Vec<Job>) = self.jobs.into_iter().partition(|job| job.computed);
        for (number, job) in computed.into_iter().chain(idle).enumerate() {
            if number < keep { needed.keys.extend(job.keys) } else { needed.gone.extend(job.runs) }
        }
    }
}

/// What must stay, and which files of runs need not.
#[derive(Default)]
struct Needed {
    keys: HashSet<Digest>,
    /// Runs that go.
    gone: Vec<PathBuf>,
    /// What was said of runs that are not there.
    orphans: Vec<PathBuf>,
    /// Everything stays that was written until then, because a damaged run may have named it.
    until: Option<SystemTime>,
    damaged: Vec<Unusable>,
}

impl Needed {
    fn keep_until(&mut self, time: SystemTime) {
        self.until = Some(self.until.map_or(time, |until| until.max(time)));
    }

    fn has(&self, key: &Digest, modified: SystemTime) -> bool {
        self.keys.contains(key) || self.until.is_some_and(|until| modified <= until)
    }
}

fn age_of(modified: SystemTime) -> Duration {
    SystemTime::now().duration_since(modified).unwrap_or_default()
}

/// Removes one thing after the other, or only counts them.
struct Sweep<'a> {
    root: &'a Path,
    options: &'a GcOptions,
    /// Nothing goes that was written since then, because a run that is under way may have written it.
    since: Option<SystemTime>,
    failed: Vec<String>,
}

impl Sweep<'_> {
    /// Removes a file or directory if it is still there and, checked again, old enough. Returns whether it is gone (in a dry
    /// run: would be gone).
    fn remove(&mut self, path: &Path, removed: &mut Removed) -> bool {
        match look(path) {
            Ok(Some((modified, bytes))) if self.is_old(modified) => self.count(path, bytes, removed, || {
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

    fn is_old(&self, modified: SystemTime) -> bool {
        age_of(modified) >= self.options.grace && self.since.is_none_or(|since| modified < since)
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

/// When the youngest part was written, and the bytes, of a file or a flat directory.
fn look(path: &Path) -> Result<Option<(SystemTime, u64)>> {
    let Some(metadata) = place::metadata(path)? else { return Ok(None) };
    let time = |metadata: &fs::Metadata| metadata.modified().unwrap_or_else(|_| SystemTime::now());
    let mut modified = time(&metadata);
    if metadata.is_dir() {
        for (_, _, part) in place::entries(path)? {
            modified = modified.max(time(&part));
        }
    }
    Ok(Some((modified, place::tree_bytes(path)?)))
}
