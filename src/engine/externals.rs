//! What comes from outside the store: files beside the pipeline and models, by content digest.
//!
//! A model has three digests (weights, architecture, text). They are remembered by the stamps of its
//! files, so that a 7B checkpoint is hashed once; under its pin they are remembered without the file,
//! so that cached results can be used where the model is not. Must not know: stages' parameters.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::{Judge, Pipeline, Source};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::{self, Stamp};
use crate::model::Models;
use crate::model::source;
use crate::stages::{ModelName, ModelPart};
use crate::store::Store;

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

/// Digests of files and models, asked for as often as one likes.
pub struct Externals<'a> {
    pipeline: &'a Pipeline,
    store: &'a Store,
    models: &'a Models,
    files: Mutex<HashMap<PathBuf, (Stamp, Digest)>>,
    digests: Mutex<HashMap<ModelName, ModelDigests>>,
}

impl<'a> Externals<'a> {
    pub fn new(pipeline: &'a Pipeline, store: &'a Store, models: &'a Models) -> Self {
        Self { pipeline, store, models, files: Mutex::default(), digests: Mutex::default() }
    }

    /// The digest of a file, hashed again only when its stamp has changed.
    pub fn file(&self, path: &Path) -> Result<Digest> {
        let stamp = Stamp::of(path)?;
        let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, digest)) = known.get(path)
            && *before == stamp
        {
            return Ok(*digest);
        }
        let digest = files::digest(path)?;
        known.insert(path.to_owned(), (stamp, digest));
        Ok(digest)
    }

    /// Where a model comes from.
    pub fn source(&self, model: ModelName) -> Result<&'a Source> {
        match (model, &self.pipeline.judge) {
            (ModelName::Model, _) => Ok(&self.pipeline.model.source),
            (ModelName::Judge, Judge::MdJudge { source, .. }) => Ok(source),
            (ModelName::Judge, Judge::Refusal) => Err(Error::fault("a judge without a model was asked for its model")),
        }
    }

    /// Where a model lies on this machine, if it does.
    pub fn located(&self, model: ModelName) -> Result<Option<PathBuf>> {
        Ok(source::locate(self.source(model)?, &self.pipeline.run.sources))
    }

    /// The path of a model, which is brought to this machine if it is not there.
    pub fn fetched(&self, model: ModelName, progress: &dyn Fn(&str)) -> Result<PathBuf> {
        match self.located(model)? {
            Some(path) => Ok(path),
            None => source::fetch(self.source(model)?, &self.pipeline.run.sources, progress),
        }
    }

    /// A model's digests: of its files where they are, else those remembered under its pin, else none.
    pub fn model(&self, model: ModelName, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Option<ModelDigests>> {
        if let Some(digests) = self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(&model) {
            return Ok(Some(*digests));
        }
        let source = self.source(model)?;
        let pinned = source.pin.map(|pin| Stamp { path: format!("pin:{pin}").into(), bytes: 0, modified: 0, inode: 0 });
        let digests = match self.located(model)? {
            Some(path) => self.of_files(source, &path, pinned.as_ref(), progress)?,
            None => {
                let remembered = pinned.and_then(|stamp| self.store.recall("model", &stamp));
                match remembered.and_then(|value| serde_json::from_value(value).ok()) {
                    Some(digests) => digests,
                    None => return Ok(None),
                }
            }
        };
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(model, digests);
        Ok(Some(digests))
    }

    fn of_files(
        &self,
        source: &Source,
        path: &Path,
        pinned: Option<&Stamp>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<ModelDigests> {
        let stamp = folded_stamp(path, source.pin)?;
        if let Some(digests) = self.store.recall("model", &stamp).and_then(|value| serde_json::from_value(value).ok()) {
            return Ok(digests);
        }
        source::check_pin(source, path)?;
        let checkpoint = self.models.checkpoint(path)?;
        let digests = ModelDigests {
            weights: checkpoint.weights_digest(progress)?,
            architecture: checkpoint.architecture_digest()?,
            text: checkpoint.text_digest()?,
        };
        let value =
            serde_json::to_value(digests).map_err(|error| Error::fault(format!("digests are not JSON: {error}")))?;
        self.store.remember("model", &stamp, &value);
        if let Some(pinned) = pinned {
            self.store.remember("model", pinned, &value);
        }
        Ok(digests)
    }
}

/// One stamp for a model file, or for all files of a model directory together. A pin is part of it: a model that
/// was checked against one pin is checked again against another.
fn folded_stamp(path: &Path, pin: Option<Digest>) -> Result<Stamp> {
    let mut stamps = vec![Stamp::of(path)?];
    if path.is_dir() {
        // The directory's own times change with things that are not the model's.
        stamps = files::list(path)?
            .iter()
            .filter(|file| file.is_file())
            .map(|file| Stamp::of(file))
            .collect::<Result<_>>()?;
    }
    let value =
        serde_json::to_value((stamps, pin)).map_err(|error| Error::fault(format!("stamps are not JSON: {error}")))?;
    Ok(Stamp { path: format!("model:{}", Digest::of_json(&value)).into(), bytes: 0, modified: 0, inode: 0 })
}
