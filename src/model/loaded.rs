//! The models of one process. They are opened and loaded once, and shared by the stages.
//!
//! Only one decoder is on the device at a time, because the scored model and a judging model may not fit together. Stages that
//! use the same model run one after another, so it is rarely loaded twice. Must not know: stages, keys.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::allocator;
use crate::error::Result;
use crate::model::checkpoint::Checkpoint;
use crate::model::decoder::Decoder;
use crate::model::device::{self, Chosen, Device, Precision};

/// Opened checkpoints and the decoder that is on the device now.
pub struct Loaded {
    device: Device,
    chosen: Mutex<Option<Chosen>>,
    checkpoints: Mutex<Vec<(PathBuf, Arc<Checkpoint>)>>,
    decoder: Mutex<Option<(PathBuf, Precision, Arc<Decoder>)>>,
}

impl Loaded {
    /// `device` as in `run.device`; it is opened when a decoder is first needed.
    pub fn new(device: Device) -> Self {
        Self { device, chosen: Mutex::default(), checkpoints: Mutex::default(), decoder: Mutex::default() }
    }

    /// The device, checked to be there.
    pub fn device(&self) -> Result<Chosen> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if chosen.is_none() {
            *chosen = Some(device::choose(self.device)?);
        }
        chosen.clone().ok_or_else(|| crate::error::Error::fault("a device was chosen and lost"))
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

    /// The decoder of a checkpoint on the device, loaded once as long as no other is asked for.
    pub fn decoder(
        &self,
        path: &Path,
        precision: Precision,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Arc<Decoder>> {
        let checkpoint = self.checkpoint(path)?;
        let mut loaded = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, kind, decoder)) = loaded.as_ref()
            && known == path
            && *kind == precision
        {
            return Ok(decoder.clone());
        }
        *loaded = None;
        let chosen = self.device()?;
        // Tensors as they are in the file have other sizes than any later tensor, so their memory would not be reused.
        let load = || Decoder::load(&checkpoint, &chosen.device, precision.dtype(), progress);
        let decoder = Arc::new(allocator::giving_back(load)?);
        *loaded = Some((path.to_owned(), precision, decoder.clone()));
        Ok(decoder)
    }
}
