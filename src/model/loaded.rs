//! The models of one process. They are opened and loaded once, and shared by the stages.
//!
//! Only one decoder is on the device at a time, because the scored model and a judging model may not fit together. Stages that
//! use the same model run one after another, so it is rarely loaded twice. A variant is that decoder with a patch in it, which
//! is taken out again before the next. Must not know: stages, keys.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::allocator;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::decoder::{Decoder, Edit};
use crate::model::device::{self, Chosen, Device, Precision};

/// A patch by its digest, and how to read its edits; that takes time, and is only done if it is not in the model already.
pub type KnownPatch<'a> = (Digest, &'a dyn Fn() -> Result<Vec<Edit>>);

/// Opened checkpoints and the decoder that is on the device now.
pub struct Loaded {
    device: Device,
    chosen: Mutex<Option<Chosen>>,
    checkpoints: Mutex<Vec<(PathBuf, Arc<Checkpoint>)>>,
    resident: Mutex<Option<Resident>>,
}

/// The decoder that is on the device.
struct Resident {
    path: PathBuf,
    precision: Precision,
    decoder: Arc<Decoder>,
    /// The digest of the patch that is in it, and what takes it out.
    patch: Option<(Digest, Vec<Edit>)>,
}

impl Resident {
    /// Takes out what is in it, and puts `edits` in. Whoever still holds the decoder keeps what they hold: then the matrices
    /// in question are copied.
    fn become_variant(&mut self, wanted: Option<(Digest, Vec<Edit>)>) -> Result<()> {
        let decoder = Arc::make_mut(&mut self.decoder);
        if let Some((_, undo)) = self.patch.take() {
            decoder.edit(&undo)?;
        }
        if let Some((digest, edits)) = wanted {
            self.patch = Some((digest, decoder.edit(&edits)?));
        }
        Ok(())
    }
}

impl Loaded {
    /// `device` as in `run.device`; it is opened when a decoder is first needed.
    pub fn new(device: Device) -> Self {
        Self { device, chosen: Mutex::default(), checkpoints: Mutex::default(), resident: Mutex::default() }
    }

    /// The device, checked to be there.
    pub fn device(&self) -> Result<Chosen> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if chosen.is_none() {
            *chosen = Some(device::choose(self.device)?);
        }
        chosen.clone().ok_or_else(|| Error::fault("a device was chosen and lost"))
    }

    /// The checkpoint at a path, opened once.
    pub fn checkpoint(&self, path: &Path) -> Result<Arc<Checkpoint>> {
        let mut open = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, checkpoint)) = open.iter().find(|(known, _)| known == path) {
            return Ok(checkpoint.clone());
        }
        let checkpoint = Arc::new(Checkpoint::open(path)?);
        open.push((path.to_owned(), checkpoint.clone()));
        Ok(checkpoint)
    }

    /// The decoder of a checkpoint on the device, loaded once as long as no other is asked for. With `patch` it is the
    /// variant.
    ///
    /// # Errors
    /// The model cannot be loaded; the patch cannot be read or belongs to another model.
    pub fn decoder(
        &self,
        path: &Path,
        precision: Precision,
        patch: Option<KnownPatch<'_>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Arc<Decoder>> {
        let checkpoint = self.checkpoint(path)?;
        let mut slot = self.resident.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|there| there.path != path || there.precision != precision) {
            *slot = None;
            let chosen = self.device()?;
            // Tensors as they are in the file have other sizes than any later tensor, so their memory would not be reused.
            let load = || Decoder::load(&checkpoint, &chosen.device, precision.dtype(), progress);
            let decoder = Arc::new(allocator::giving_back(load)?);
            *slot = Some(Resident { path: path.to_owned(), precision, decoder, patch: None });
        }
        let Some(resident) = slot.as_mut() else { return Err(Error::fault("a decoder was loaded and lost")) };
        if resident.patch.as_ref().map(|(digest, _)| *digest) != patch.map(|(digest, _)| digest) {
            let wanted = patch.map(|(digest, edits)| Ok((digest, edits()?))).transpose()?;
            if let Err(error) = resident.become_variant(wanted) {
                // What is on the device now is neither the base nor a variant.
                *slot = None;
                return Err(error);
            }
        }
        Ok(resident.decoder.clone())
    }
}
