//! Records: small JSON files that say which artifacts a stage key produced. Writing a record is the commit point of a stage.
//! Reading one is a look-up.
//!
//! A record is valid if its seal is right, its key is the key of its manifest, and every blob is there. An invalid record is a
//! miss, never an error, and a damaged one goes to quarantine. Must not know: what the outputs are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blobs::Output;
use super::claims::Claim;
use super::quarantine::Damage;
use super::{Store, check_name, place, sealed};
use crate::digest::{Digest, Manifest};
use crate::error::{Error, Result};
use crate::files::{Keep, Placed};
use crate::machine;

/// What one stage key produced, and where it was computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub manifest: Manifest,
    pub key: Digest,
    pub outputs: BTreeMap<String, OutputRef>,
    /// Wall time of the computation.
    pub seconds: f64,
    /// The kind of device that computed it; not part of the key.
    pub backend: String,
    pub host: String,
    /// Program and version that wrote it.
    pub tool: String,
    /// How much was done, in its stage's own unit; only what takes long says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<f64>,
    /// How many seconds were expected when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<f64>,
}

/// What a computation took, beside what it was thought to take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub seconds: f64,
    pub work: Option<f64>,
    pub predicted: Option<f64>,
}

impl From<f64> for Cost {
    fn from(seconds: f64) -> Self {
        Self { seconds, ..Self::default() }
    }
}

/// One output: an artifact and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputRef {
    pub digest: Digest,
    pub bytes: u64,
}

/// A record file, by its name alone.
#[derive(Debug)]
pub(super) struct RecordFile {
    pub stage: String,
    pub key: Digest,
    pub path: PathBuf,
    pub modified: SystemTime,
}

/// The bytes that are no record, and why.
type NoRecord = (Vec<u8>, String);

impl RecordFile {
    /// The record, or the bytes that are none and the reason; `None` if the file is gone.
    pub fn read(&self) -> Result<Option<std::result::Result<Record, NoRecord>>> {
        let Some(text) = place::read_if_there(&self.path)? else { return Ok(None) };
        Ok(Some(parse(&text, &self.stage, &self.key).map_err(|reason| (text, reason))))
    }
}

impl Store {
    /// Looks a key up without hashing: the record is whole and each blob is there with its size.
    /// Anything less is a miss; a blob of the wrong size is checked, and quarantined if damaged.
    ///
    /// # Errors
    /// User: something in the store may not be read.
    pub fn peek(&self, stage: &str, key: &Digest) -> Result<Option<Record>> {
        let path = self.record_path(stage, key)?;
        let Some(text) = place::read_if_there(&path)? else { return Ok(None) };
        if self.disowned.lock().unwrap_or_else(PoisonError::into_inner).contains(key) {
            return Ok(None);
        }
        let record = match parse(&text, stage, key) {
            Ok(record) => record,
            Err(reason) => {
                self.set_record_aside(stage, key, &path, &text, &reason);
                return Ok(None);
            }
        };
        for output in record.outputs.values() {
            let bytes = self.blob_bytes(&output.digest)?;
            if bytes != Some(output.bytes) {
                // Either of the two may be wrong. If it is the blob, this moves it away.
                self.verify(&output.digest)?;
                return Ok(None);
            }
        }
        Ok(Some(record))
    }

    /// As [`Store::peek`], and the digest of every blob is right: it is hashed now, or was hashed before. So a damaged blob is
    /// a miss instead of an error in the middle of a run.
    pub fn peek_verified(&self, stage: &str, key: &Digest) -> Result<Option<Record>> {
        let Some(record) = self.peek(stage, key)? else { return Ok(None) };
        let mut sound = true;
        for output in record.outputs.values() {
            sound &= self.verify(&output.digest)?;
        }
        Ok(sound.then_some(record))
    }

    /// Makes a miss of a record that cannot be right although it is whole, such as one without an output that its stage has.
    /// Only records of older versions can be like that, which have no digest of their own.
    pub fn disown(&self, stage: &str, key: &Digest, reason: &str) -> Result<()> {
        let path = self.record_path(stage, key)?;
        if let Some(text) = place::read_if_there(&path)? {
            self.set_record_aside(stage, key, &path, &text, reason);
            self.disowned.lock().unwrap_or_else(PoisonError::into_inner).insert(*key);
        }
        Ok(())
    }

    /// Moves a damaged record away, and notes it.
    pub(super) fn set_record_aside(
        &self,
        stage: &str,
        key: &Digest,
        path: &Path,
        seen: &[u8],
        reason: &str,
    ) -> Option<PathBuf> {
        let moved_to = self.set_small_aside(path, &format!("{stage}-{key}.json"), seen);
        // Where it could not be moved but is another one now, somebody has repaired it.
        if moved_to.is_some() || place::read_if_there(path).is_ok_and(|text| text.as_deref() == Some(seen)) {
            self.note_damage(Damage {
                what: format!("record of {stage}"),
                digest: *key,
                path: path.to_owned(),
                moved_to: moved_to.clone(),
                reason: reason.to_owned(),
            });
        }
        moved_to
    }

    /// Every usable record of a stage, whether or not its blobs are there: what `explain` compares with.
    pub fn records(&self, stage: &str) -> Result<Vec<Record>> {
        check_name("stage", stage)?;
        let mut records = Vec::new();
        for file in self.record_files_of(stage)? {
            records.extend(file.read()?.and_then(std::result::Result::ok));
        }
        Ok(records)
    }

    pub(super) fn record_path(&self, stage: &str, key: &Digest) -> Result<PathBuf> {
        check_name("stage", stage)?;
        Ok(self.dir("records").join(stage).join(format!("{key}.json")))
    }

    /// Every record file of every stage.
    pub(super) fn record_files(&self) -> Result<Vec<RecordFile>> {
        let mut all = Vec::new();
        for (stage, _, metadata) in place::entries(&self.dir("records"))? {
            if metadata.is_dir() {
                all.extend(self.record_files_of(&stage)?);
            }
        }
        Ok(all)
    }

    fn record_files_of(&self, stage: &str) -> Result<Vec<RecordFile>> {
        let mut all = Vec::new();
        for (name, path, metadata) in place::entries(&self.dir("records").join(stage))? {
            let Some(key) = name.strip_suffix(".json").and_then(|key| key.parse::<Digest>().ok()) else { continue };
            let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
            all.push(RecordFile { stage: stage.to_owned(), key, path, modified });
        }
        Ok(all)
    }

    /// Writes the record unless a sound one is there: then that one is returned.
    fn commit(&self, path: &Path, record: Record) -> Result<Record> {
        let text = sealed::seal(&record)?;
        parse(&text, &record.manifest.stage, &record.key)
            .map_err(|reason| Error::fault(format!("a record that could not be read again: {reason}")))?;
        if let Placed::Exists(file) = self.place(self.temporary_with("record", &text)?, path)? {
            if let Some(winner) = self.peek_verified(&record.manifest.stage, &record.key)? {
                return Ok(winner);
            }
            self.replace(file, path, Keep::Name)?;
        }
        self.disowned.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.key);
        Ok(record)
    }
}

impl Claim<'_> {
    /// Publishes what the key produced: the blobs first, the record last, then the shards are dropped.
    /// Where another process published first and soundly, its record is returned.
    ///
    /// # Errors
    /// User: the store cannot be written (permissions, full disk); nothing half-written is left.
    /// Fault: the manifest is not the one that was claimed, or an output name occurs twice.
    pub fn publish<O: Into<Output>>(
        self,
        manifest: &Manifest,
        outputs: Vec<(String, O)>,
        cost: impl Into<Cost>,
        backend: &str,
    ) -> Result<Record> {
        let cost = cost.into();
        // JSON has no infinities. A wrong clock must not lose the result.
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        if manifest.stage != self.stage() || manifest.key() != *self.key() {
            return Err(Error::fault(format!("a claim for {}/{} published another key", self.stage(), self.key())));
        }
        // No collection may come between the blobs and the record.
        let _together = self.store().together(&|| false)?;
        let mut record = Record {
            manifest: manifest.clone(),
            key: *self.key(),
            outputs: BTreeMap::new(),
            seconds: finite(Some(cost.seconds)).unwrap_or_default(),
            backend: backend.to_owned(),
            host: machine::host(),
            tool: concat!("dean ", env!("CARGO_PKG_VERSION")).to_owned(),
            work: finite(cost.work),
            predicted: finite(cost.predicted),
        };
        for (name, output) in outputs {
            let output = self.store().put(output.into())?;
            if record.outputs.insert(name.clone(), output).is_some() {
                return Err(Error::fault(format!("{} has two outputs named `{name}`", self.stage())));
            }
        }
        let path = self.store().record_path(self.stage(), self.key())?;
        let record = self.store().commit(&path, record)?;
        self.drop_shards();
        Ok(record)
    }
}

/// The record in a text, if it is about this stage and key; otherwise the reason why it is not.
fn parse(text: &[u8], stage: &str, key: &Digest) -> std::result::Result<Record, String> {
    let record: Record = sealed::open(text)?;
    if record.manifest.stage != stage || record.key != *key {
        return Err(format!("it is the record of {}/{}", record.manifest.stage, record.key));
    }
    if record.manifest.key() != *key {
        return Err("its manifest has another key".into());
    }
    Ok(record)
}
