//! Inspecting the store: `fsck` (is every file what its name says?), `du` (what takes the space?) and `ls` (what is there?).
//! They return data, and the caller prints it.
//!
//! Must not know: what to keep (that is `gc`), the terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::blobs::Damage;
use super::records::{OutputRef, Record};
use super::{Store, place};
use crate::digest::Digest;
use crate::error::Result;

/// What [`Store::fsck`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FsckReport {
    /// How many blobs were hashed, and their bytes.
    pub blobs: u64,
    pub bytes: u64,
    pub records: u64,
    /// Blobs that were not what their names say; they are in quarantine now.
    pub damaged: Vec<Damage>,
    /// Outputs whose blobs are missing (or damaged): their records are misses now.
    pub missing: Vec<MissingOutput>,
    /// Record files that cannot be used and are misses.
    pub unusable: Vec<UnusableRecord>,
    /// Blobs that no record names; `gc` removes them.
    pub orphans: Vec<OutputRef>,
    /// What could not be read, each with its reason.
    pub failed: Vec<String>,
}

impl FsckReport {
    /// Whether nothing is wrong. Orphans are not wrong: a killed process leaves them.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty() && self.unusable.is_empty() && self.failed.is_empty()
    }
}

/// An output of a record without its blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingOutput {
    pub stage: String,
    pub key: Digest,
    pub output: String,
    pub digest: Digest,
}

/// A record file that is not a whole record of its own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnusableRecord {
    pub path: PathBuf,
    pub reason: String,
}

/// Where the bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Hashes every blob, whatever is remembered, and checks every record. Damaged blobs go to quarantine.
    ///
    /// # Errors
    /// User: the store cannot be listed. That a single blob cannot be read is in [`FsckReport::failed`].
    pub fn fsck(&self) -> Result<FsckReport> {
        let mut report = FsckReport::default();
        let mut present = BTreeMap::new();
        for (digest, bytes) in self.all_blobs()? {
            report.blobs += 1;
            report.bytes = report.bytes.saturating_add(bytes);
            match self.check(&digest, true) {
                Ok(true) => {
                    present.insert(digest, bytes);
                }
                Ok(false) => report.damaged.extend(self.damage().into_iter().rfind(|damage| damage.digest == digest)),
                Err(error) => report.failed.push(error.to_string()),
            }
        }
        let mut named = BTreeSet::new();
        for found in self.found()? {
            report.records += 1;
            match found.record {
                Ok(record) => {
                    named.extend(record.outputs.values().map(|output| output.digest));
                    report.missing.extend(missing_outputs(&record, &present));
                }
                Err(reason) => report.unusable.push(UnusableRecord { path: found.path, reason }),
            }
        }
        let orphans = present.into_iter().filter(|(digest, _)| !named.contains(digest));
        report.orphans = orphans.map(|(digest, bytes)| OutputRef { digest, bytes }).collect();
        Ok(report)
    }

    /// How many bytes lie where.
    pub fn du(&self) -> Result<DiskUse> {
        let blobs: BTreeMap<Digest, u64> = self.all_blobs()?.into_iter().collect();
        let mut named: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
        for found in self.found()? {
            let digests = named.entry(found.stage).or_default();
            digests.extend(found.record.iter().flat_map(|record| record.outputs.values()).map(|output| output.digest));
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
        for found in self.found()? {
            let Ok(record) = found.record else { continue };
            let complete = missing_outputs(&record, &blobs).next().is_none();
            list.push(Listed {
                complete,
                bytes: record.outputs.values().fold(0, |sum, output| sum.saturating_add(output.bytes)),
                stage: found.stage,
                key: found.key,
                outputs: record.outputs,
                seconds: record.seconds,
                age_seconds: found.age.as_secs(),
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
