//! Patched models out of the store: a Hugging Face directory, or the patch alone.
//!
//! [`point`] finds the point that is meant. [`edits`] turns a patch into bytes at places of safetensors files.
//! [`contents`] lists what an exported directory holds, file by file; [`directory`] writes that list and [`compare`]
//! reads it against a directory that is there, so that both are always about the same bytes. [`in_place`] applies a patch
//! to a directory and takes it back. [`card`] is the README.md of an export, [`Manifest`] the same for programs,
//! `tensors` the writing of safetensors files where the weights came in another format.
//!
//! Must not know: stages, plans, pipeline files, the terminal.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files;

pub mod card;
pub mod compare;
pub mod contents;
pub mod directory;
pub mod edits;
pub mod in_place;
pub mod point;
mod tensors;

#[cfg(test)]
mod tests;

pub use card::Card;
pub use contents::Contents;
pub use tensors::Written;

/// The file in an export that holds its [`Manifest`].
pub const MANIFEST: &str = "dean.json";

/// What an export was made of: enough to make it again and compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub mask: Digest,
    /// Of the patch file.
    pub patch: Digest,
    pub base: Base,
    /// The type that was chosen for weights from another format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Written>,
    /// Program and version that wrote it.
    pub tool: String,
}

/// The base model's digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    pub weights: Digest,
    pub architecture: Digest,
    pub text: Digest,
}

impl Manifest {
    /// The manifest of a directory, if it has one.
    ///
    /// # Errors
    /// User: a file of its name that is none.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let file = dir.join(MANIFEST);
        if !file.is_file() {
            return Ok(None);
        }
        serde_json::from_slice(&files::read(&file)?).map(Some).map_err(|cause| {
            Error::user(format!("{} is not what `dean export` writes: {cause}", file.display()))
                .hint("export the directory again, or remove this file")
        })
    }

    /// The file.
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|cause| Error::fault(format!("a manifest is not JSON: {cause}")))?;
        text.push(b'\n');
        Ok(text)
    }
}
