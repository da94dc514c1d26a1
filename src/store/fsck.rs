//! Inspecting the store: `fsck` (is every file what its name says?), `du` (what takes the space?) and `ls` (what is there?).
//! They return data, and the caller prints it.
//!
//! Must not know: what to keep (that is `gc`), the terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use super::about::About;
use super::memo::Memo;
use super::quarantine::{Damage, Unusable};
use super::records::{OutputRef, Record, RecordFile};
use super::{Store, place, sealed};
use crate::digest::Digest;
use crate::error::Result;

/// What [`Store::fsck`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FsckReport {
    /// How many blobs were hashed, and their bytes.
    pub blobs: u64,
    pub bytes: u64,
    pub records: u64,
    /// Blobs that were not what their names say; they are in quarantine now.
    pub damaged: Vec<Damage>,
    /// Outputs whose blobs are missing (or damaged): their records are misses now.
    pub missing: Vec<MissingOutput>,
    /// Records, memos and shards that are damaged, which are in quarantine now and are misses; and runs, which stay.
    pub unusable: Vec<Unusable>,
    /// Blobs that no record names; `gc` removes them.
    pub orphans: Vec<OutputRef>,
    /// What could not be read, each with its reason.
    pub failed: Vec<String>,
}

impl FsckReport {
    fn count(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether nothing is wrong. Orphans are not wrong: a killed process leaves them.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty() && self.unusable.is_empty() && self.failed.is_empty()
    }
}

/// An output of a record without its blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MissingOutput {
    pub stage: String,
    pub key: Digest,
    pub output: String,
    pub digest: Digest,
}

/// Where the bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiskUse {
    /// Bytes of the blobs each stage's records name, each blob once per stage. Equal outputs of two
    /// stages are one blob, so the sum may exceed `blobs`.
    pub stages: BTreeMap<String, u64>,
    pub blobs: u64,
    pub records: u64,
    pub partial: u64,
    pub quarantine: u64,
    /// Downloaded models, if they are kept here.
    pub sources: u64,
    /// Runs, claims, memos, temporary files.
    pub other: u64,
    pub total: u64,
}

/// One usable record, for a list.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Listed {
    pub stage: String,
    pub key: Digest,
    pub outputs: BTreeMap<String, OutputRef>,
    /// Of the outputs together.
    pub bytes: u64,
    /// What it took to compute.
    pub seconds: f64,
    pub age_seconds: u64,
    /// Whether every blob is there, so that it is a hit.
    pub complete: bool,
}

impl Store {
    /// Hashes every blob, whatever is remembered, and checks every small file. What is damaged goes to quarantine, but for
    /// runs. Runs and collections that are under way are no damage: what seems to be missing is looked at again, and is only
    /// reported if a record still names it.
    ///
    /// # Errors
    /// User: the store cannot be listed. That a single blob cannot be read is in [`FsckReport::failed`].
    pub fn fsck(&self) -> Result<FsckReport> {
        let mut report = FsckReport::default();
        // Before blobs are hashed, which writes memos.
        self.check_small(&mut report)?;
        let mut present = BTreeMap::new();
        for (digest, _) in self.all_blobs()? {
            let bytes = self.blob_bytes(&digest)?.unwrap_or_default();
            match self.check(&digest, true) {
                Ok(true) => {
                    report.count(bytes);
                    present.insert(digest, bytes);
                }
                Ok(false) => {
                    // One that is nowhere else was collected meanwhile.
                    let damage = self.damage().into_iter().rfind(|damage| damage.digest == digest);
                    if let Some(damage) = damage {
                        report.count(bytes);
                        report.damaged.push(damage);
                    }
                }
                Err(error) => report.failed.push(error.to_string()),
            }
        }
        let mut named = BTreeSet::new();
        for file in self.record_files()? {
            match file.read()? {
                Some(Ok(record)) => {
                    report.records += 1;
                    named.extend(record.outputs.values().map(|output| output.digest));
                    for missing in missing_outputs(&record, &present) {
                        if self.is_missing(&file, &missing, &mut report)? {
                            report.missing.push(missing);
                        }
                    }
                }
                Some(Err((text, reason))) => {
                    report.records += 1;
                    let moved_to = self.set_record_aside(&file.stage, &file.key, &file.path, &text, &reason);
                    // Otherwise it was repaired meanwhile.
                    if moved_to.is_some() || matches!(file.read()?, Some(Err(_))) {
                        report.unusable.push(Unusable { path: file.path, reason, moved_to });
                    }
                }
                None => {}
            }
        }
        let orphans = present.into_iter().filter(|(digest, _)| !named.contains(digest));
        for (digest, bytes) in orphans {
            // Not one that was collected meanwhile.
            if self.blob_bytes(&digest)?.is_some() {
                report.orphans.push(OutputRef { digest, bytes });
            }
        }
        Ok(report)
    }

    /// Whether an output that was not among the blobs when they were listed is missing indeed. It may have been published
    /// since, and a record may have been collected.
    fn is_missing(&self, file: &RecordFile, output: &MissingOutput, report: &mut FsckReport) -> Result<bool> {
        if self.check(&output.digest, false)? {
            let bytes = self.blob_bytes(&output.digest)?;
            let named = |record: &Record| record.outputs.get(&output.output).map(|output| output.bytes);
            if matches!(file.read()?, Some(Ok(record)) if named(&record) == bytes) {
                report.count(bytes.unwrap_or_default());
                return Ok(false);
            }
        }
        // Blobs go after their records. So if the record is still there, and the same, its blob was not collected.
        let named = |record: &Record| record.outputs.get(&output.output).map(|output| output.digest);
        Ok(matches!(file.read()?, Some(Ok(record)) if named(&record) == Some(output.digest)))
    }

    /// Runs, memos and shards.
    fn check_small(&self, report: &mut FsckReport) -> Result<()> {
        let runs = self.run_files()?;
        for run in runs.runs {
            if let Some(Err(reason)) = run.read()? {
                report.unusable.push(Unusable { path: run.path, reason, moved_to: None });
            }
            // Like the run, it stays: only a person knows what was said.
            let path = self.about_path(&run.id);
            if let Some(text) = place::read_if_there(&path)?
                && let Err(reason) = sealed::open::<About>(&text)
            {
                report.unusable.push(Unusable { path, reason, moved_to: None });
            }
        }
        for path in runs.lost {
            let reason = "the run that it pins is not there".to_owned();
            report.unusable.push(Unusable { path, reason, moved_to: None });
        }
        for (name, path, _) in place::entries(&self.dir("memo"))? {
            let Some(text) = place::read_if_there(&path)? else { continue };
            if let Err(reason) = sealed::open::<Memo>(&text) {
                let moved_to = self.set_small_aside(&path, &format!("memo-{name}"), &text);
                report.unusable.push(Unusable { path, reason, moved_to });
            }
        }
        for (key, name, path) in self.all_shards()? {
            if Self::is_damaged_shard(&path)? {
                let moved_to = self.set_shard_aside(&key, &name, &path);
                let reason = "its content is not what its digest says".to_owned();
                report.unusable.push(Unusable { path, reason, moved_to });
            }
        }
        Ok(())
    }

    /// How many bytes lie where.
    pub fn du(&self) -> Result<DiskUse> {
        let blobs: BTreeMap<Digest, u64> = self.all_blobs()?.into_iter().collect();
        let mut named: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
        for file in self.record_files()? {
            let record = file.read()?.and_then(std::result::Result::ok);
            let digests = named.entry(file.stage).or_default();
            digests.extend(record.iter().flat_map(|record| record.outputs.values()).map(|output| output.digest));
        }
        let size = |digests: BTreeSet<Digest>| {
            digests.iter().filter_map(|digest| blobs.get(digest)).fold(0_u64, |sum, bytes| sum.saturating_add(*bytes))
        };
        let part = |name: &str| place::tree_bytes(&self.dir(name));
        let mut usage = DiskUse {
            stages: named.into_iter().map(|(stage, digests)| (stage, size(digests))).collect(),
            blobs: part("blobs")?,
            records: part("records")?,
            partial: part("partial")?,
            quarantine: part("quarantine")?,
            sources: part("sources")?,
            other: 0,
            total: place::tree_bytes(self.root())?,
        };
        let shown = [usage.blobs, usage.records, usage.partial, usage.quarantine, usage.sources];
        usage.other = shown.iter().fold(usage.total, |rest, bytes| rest.saturating_sub(*bytes));
        Ok(usage)
    }

    /// Every usable record, by stage and then newest first.
    pub fn ls(&self) -> Result<Vec<Listed>> {
        let blobs: BTreeMap<Digest, u64> = self.all_blobs()?.into_iter().collect();
        let mut list: Vec<Listed> = Vec::new();
        for file in self.record_files()? {
            let Some(Ok(record)) = file.read()? else { continue };
            let complete = missing_outputs(&record, &blobs).next().is_none();
            list.push(Listed {
                complete,
                bytes: record.outputs.values().fold(0, |sum, output| sum.saturating_add(output.bytes)),
                stage: file.stage,
                key: file.key,
                outputs: record.outputs,
                seconds: record.seconds,
                age_seconds: SystemTime::now().duration_since(file.modified).unwrap_or_default().as_secs(),
            });
        }
        list.sort_by(|left, right| {
            (&left.stage, left.age_seconds, left.key).cmp(&(&right.stage, right.age_seconds, right.key))
        });
        Ok(list)
    }

    /// Digest and size of every blob.
    pub(super) fn all_blobs(&self) -> Result<Vec<(Digest, u64)>> {
        let mut all = Vec::new();
        for (_, dir, metadata) in place::entries(&self.dir("blobs"))? {
            for (name, _, metadata) in if metadata.is_dir() { place::entries(&dir)? } else { Vec::new() } {
                if let (Ok(digest), true) = (name.parse(), metadata.is_file()) {
                    all.push((digest, metadata.len()));
                }
            }
        }
        Ok(all)
    }
}

fn missing_outputs<'a>(
    record: &'a Record,
    present: &'a BTreeMap<Digest, u64>,
) -> impl Iterator<Item = MissingOutput> + 'a {
    record.outputs.iter().filter(|(_, output)| present.get(&output.digest) != Some(&output.bytes)).map(
        |(name, output)| MissingOutput {
            stage: record.manifest.stage.clone(),
            key: record.key,
            output: name.clone(),
            digest: output.digest,
        },
    )
}
