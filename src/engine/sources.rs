//! What comes from outside the store: files beside the pipeline and models, by content digest.
//!
//! Everything that is used has the digest that is in the key. A file's bytes are compared with it while they are read. A model
//! is too large for that: the stamps of its files are taken before anything of it is read, and compared again before anything
//! that was made with it is kept. Meanwhile its files are locked, so that `dean apply` and `dean undo` leave them alone.
//!
//! A model has three digests (weights, architecture, text). They are remembered under the stamps of its files, so that a 7B
//! checkpoint is hashed once. They are also remembered under its pin, so that cached results can be used on a machine without
//! the model. Must not know: stages' parameters.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Pipeline;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::{self, Stamp};
use crate::model::Loaded;
use crate::model::source;
use crate::model::source::spec::{Source, SourceKind};
use crate::stages::{FileInput, ModelPart, Role};
use crate::store::Store;

/// More than the resolution of time stamps on local disks.
const MOMENT: Duration = Duration::from_millis(20);
/// The coarsest resolution of time stamps on any file system.
const COARSEST: Duration = Duration::from_secs(2);

/// What a model's digests are remembered under. They are those of the model as it is understood, so the number is raised
/// whenever equal files are understood in another way than before.
const UNDERSTOOD: &str = "model, second reading";

/// The three digests of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelDigests {
    pub weights: Digest,
    pub architecture: Digest,
    pub text: Digest,
}

impl ModelDigests {
    pub fn part(&self, part: ModelPart) -> Digest {
        match part {
            ModelPart::Weights => self.weights,
            ModelPart::Architecture => self.architecture,
            ModelPart::Text => self.text,
        }
    }
}

/// A model as its files were when this process first looked.
#[derive(Clone)]
struct Seen {
    path: PathBuf,
    stamps: Vec<Stamp>,
}

/// Files and models with their digests. Asking again is cheap.
pub struct Sources<'a> {
    pipeline: &'a Pipeline,
    store: &'a Store,
    models: &'a Loaded,
    files: Mutex<HashMap<PathBuf, (Stamp, Digest)>>,
    seen: Mutex<HashMap<Role, Seen>>,
    /// Files of models, which are unlocked when this is dropped.
    held: Mutex<Vec<File>>,
    digests: Mutex<HashMap<Role, ModelDigests>>,
}

impl<'a> Sources<'a> {
    pub fn new(pipeline: &'a Pipeline, store: &'a Store, models: &'a Loaded) -> Self {
        Self {
            pipeline,
            store,
            models,
            files: Mutex::default(),
            seen: Mutex::default(),
            held: Mutex::default(),
            digests: Mutex::default(),
        }
    }

    /// The digest of a file, hashed again only when its stamp has changed.
    pub fn file(&self, path: &Path) -> Result<Digest> {
        let stamp = Stamp::of(path)?;
        let mut known = locked(&self.files);
        if let Some((before, digest)) = known.get(path)
            && *before == stamp
        {
            return Ok(*digest);
        }
        let digest = files::digest(path)?;
        known.insert(path.to_owned(), (stamp, digest));
        Ok(digest)
    }

    /// The content of a file. If its digest is in a key already, the content must have it.
    ///
    /// # Errors
    /// A file that cannot be read, or one that changed since.
    pub fn read(&self, path: &Path, planned: Option<&Digest>) -> Result<FileInput> {
        let bytes = files::read(path)?;
        if planned.is_some_and(|planned| Digest::of(&bytes) != *planned) {
            return Err(changed(path));
        }
        Ok(FileInput { bytes: bytes.into(), origin: path.display().to_string() })
    }

    /// Where a model comes from.
    pub fn source(&self, role: Role) -> Result<&'a Source> {
        match role {
            Role::Subject => Ok(&self.pipeline.model.source),
            Role::Judge(number) => {
                let source = self.pipeline.judges().nth(number).and_then(|(_, judge)| judge.model());
                source.ok_or_else(|| Error::fault("a judge without a model was asked for its model"))
            }
        }
    }

    /// The path of a model, if it is on this machine. Its stamps are taken at the first call, which is before it is opened.
    pub fn located(&self, role: Role) -> Result<Option<PathBuf>> {
        Ok(self.seen(role)?.map(|seen| seen.path))
    }

    fn seen(&self, role: Role) -> Result<Option<Seen>> {
        if let Some(seen) = locked(&self.seen).get(&role) {
            return Ok(Some(seen.clone()));
        }
        let Some(path) = source::locate(self.source(role)?, &self.pipeline.run.sources()) else { return Ok(None) };
        for stamp in stamps(&path)? {
            locked(&self.held).extend(files::keep_unwritten(&stamp.path)?);
        }
        let seen = Seen { stamps: settled(&path)?, path };
        locked(&self.seen).insert(role, seen.clone());
        Ok(Some(seen))
    }

    /// The path of a model, which is fetched if it is not on this machine.
    pub fn fetched(&self, role: Role, progress: &dyn Fn(&str)) -> Result<PathBuf> {
        if let Some(path) = self.located(role)? {
            return Ok(path);
        }
        let path = source::fetch(self.source(role)?, &self.pipeline.run.sources(), progress)?;
        // The digests that were remembered under the pin were not yet checked for these files.
        locked(&self.digests).remove(&role);
        Ok(path)
    }

    /// Checks that a model is on this machine or can be fetched. Fetches nothing.
    ///
    /// # Errors
    /// User: it is named by its path, and there is nothing.
    pub fn can_be_had(&self, role: Role) -> Result<()> {
        let source = self.source(role)?;
        match source.kind {
            SourceKind::Path(_) if self.located(role)?.is_none() => {
                source::fetch(source, &self.pipeline.run.sources(), &|_| ()).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Checks that a model's files are still those that its digests were taken of. A model that is not on this machine passes,
    /// because nothing was made with it.
    ///
    /// # Errors
    /// A file that was written, replaced, added or removed since.
    pub fn unchanged(&self, role: Role) -> Result<()> {
        let Some(Seen { path, stamps: before }) = locked(&self.seen).get(&role).cloned() else { return Ok(()) };
        let now = stamps(&path)?;
        let differs = before.iter().find(|stamp| !now.contains(stamp));
        match differs.or_else(|| now.iter().find(|stamp| !before.contains(stamp))) {
            Some(stamp) => Err(changed(&stamp.path)),
            None => Ok(()),
        }
    }

    /// A model's digests: those of its files if it is here, otherwise those remembered under its pin, otherwise `None`.
    pub fn model(&self, role: Role, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Option<ModelDigests>> {
        if let Some(digests) = locked(&self.digests).get(&role) {
            return Ok(Some(*digests));
        }
        let source = self.source(role)?;
        let pinned = source.pin.map(|pin| Stamp {
            path: format!("pin:{pin}").into(),
            bytes: 0,
            modified: 0,
            changed: 0,
            inode: 0,
        });
        let digests = match self.seen(role)? {
            Some(seen) => self.of_files(role, &seen, pinned.as_ref(), progress)?,
            None => {
                let remembered = pinned.and_then(|stamp| self.store.recall(UNDERSTOOD, &stamp));
                match remembered.and_then(|value| serde_json::from_value(value).ok()) {
                    Some(digests) => digests,
                    None => return Ok(None),
                }
            }
        };
        locked(&self.digests).insert(role, digests);
        Ok(Some(digests))
    }

    fn of_files(
        &self,
        role: Role,
        seen: &Seen,
        pinned: Option<&Stamp>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<ModelDigests> {
        let source = self.source(role)?;
        let stamp = folded(&seen.stamps, source.pin)?;
        if let Some(digests) =
            self.store.recall(UNDERSTOOD, &stamp).and_then(|value| serde_json::from_value(value).ok())
        {
            return Ok(digests);
        }
        source::check_pin(source, &seen.path)?;
        let checkpoint = self.models.checkpoint(&seen.path)?;
        let digests = ModelDigests {
            weights: checkpoint.weights_digest(progress)?,
            architecture: checkpoint.architecture_digest()?,
            text: checkpoint.text_digest()?,
        };
        self.unchanged(role)?;
        let value =
            serde_json::to_value(digests).map_err(|error| Error::fault(format!("digests are not JSON: {error}")))?;
        // A file that was just written may be written again without a change of its stamp.
        if seen.stamps.iter().all(|stamp| stamp.is_older_than(COARSEST)) {
            self.store.remember(UNDERSTOOD, &stamp, &value);
        }
        if let Some(pinned) = pinned {
            self.store.remember(UNDERSTOOD, pinned, &value);
        }
        Ok(digests)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stamps of a model file, or of the files that a model is read from. Where these cannot be told, of all files of the
/// directory: opening it says why.
fn stamps(path: &Path) -> Result<Vec<Stamp>> {
    if let Ok(files) = source::files_of(path) {
        // of a part that is missing, opening says so
        return files.iter().filter(|file| file.exists()).map(|file| Stamp::of(file)).collect();
    }
    files::list(path)?.iter().filter(|file| file.is_file()).map(|file| Stamp::of(file)).collect()
}

/// [`stamps`], taken some time after the last write, so that any later write changes them.
fn settled(path: &Path) -> Result<Vec<Stamp>> {
    let now = stamps(path)?;
    if now.iter().all(|stamp| stamp.is_older_than(MOMENT)) {
        return Ok(now);
    }
    std::thread::sleep(MOMENT);
    stamps(path)
}

/// One stamp for all of them together. A pin is part of it: a model that was checked against one pin is checked again
/// against another.
fn folded(stamps: &[Stamp], pin: Option<Digest>) -> Result<Stamp> {
    let value =
        serde_json::to_value((stamps, pin)).map_err(|error| Error::fault(format!("stamps are not JSON: {error}")))?;
    Ok(Stamp { path: format!("model:{}", Digest::of_json(&value)).into(), bytes: 0, modified: 0, changed: 0, inode: 0 })
}

fn changed(path: &Path) -> Error {
    Error::user(format!("{} changed while it was used", path.display()))
        .hint("what was made with it was not kept; type the same again once nothing writes to it any more")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Planner;
    use crate::engine::testing::job;
    use crate::model::device::Device;

    const SELECT: &str = "[select]\nrule = \"a\"\nq = [1e-3]\n";

    #[test]
    fn what_is_used_is_what_was_planned_with() {
        let (dir, pipeline) = job(SELECT);
        let (store, models) = (Store::open(&pipeline.run.store).unwrap(), Loaded::new(Device::Cpu));
        let planner = Planner::new(&pipeline, &store, &models);
        let plan = planner.plan(false).unwrap();
        let tokenize = || planner.anew(&plan, "tokenize[a]").map_err(|error| error.message().to_owned());
        tokenize().unwrap();

        // Both files keep their sizes.
        let rows = dir.path().join("rows.csv");
        files::write_atomic(&rows, b"prompt,response\nHow are you?,Ill!!\n").unwrap();
        assert_eq!(tokenize(), Err(format!("tokenize[a]: {} changed while it was used", rows.display())));
        files::write_atomic(&rows, b"prompt,response\nHow are you?,Well.\n").unwrap();
        tokenize().unwrap();
        let weights = dir.path().join("model/model.safetensors");
        files::overwrite(&weights, std::iter::once((1000, &[0; 4][..]))).unwrap();
        assert_eq!(tokenize(), Err(format!("tokenize[a]: {} changed while it was used", weights.display())));
    }

    #[test]
    fn a_new_file_is_a_change_if_the_model_is_read_from_it() {
        let (dir, pipeline) = job(SELECT);
        let (store, models) = (Store::open(&pipeline.run.store).unwrap(), Loaded::new(Device::Cpu));
        let sources = Sources::new(&pipeline, &store, &models);
        sources.model(Role::Subject, &|_, _| ()).unwrap().unwrap();
        files::write_atomic(&dir.path().join("model/notes.txt"), b"").unwrap();
        sources.unchanged(Role::Subject).unwrap();
        files::write_atomic(&dir.path().join("model/chat_template.jinja"), b"").unwrap();
        assert!(sources.unchanged(Role::Subject).is_err());
    }
}
