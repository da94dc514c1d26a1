//! Blobs: immutable bytes, one read-only file per digest. Publishing a blob checks a file that is already there. Reading a
//! blob checks the bytes that are returned. A file that does not match its name is moved to `quarantine/`.
//!
//! Must not know: records, or what the bytes mean.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::quarantine::Damage;
use super::records::OutputRef;
use super::stream::Written;
use super::{Store, place};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::{self, Keep, Placed, Stamp, Temporary};

/// The purpose of the memos that say that a blob's digest is right.
pub(super) const VERIFIED: &str = "verified blob";

/// What a stage hands over to be published under a name.
#[derive(Debug)]
pub enum Output {
    Bytes(Vec<u8>),
    /// From [`Claim::writer`](super::Claim::writer).
    Written(Written),
}

impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Written> for Output {
    fn from(written: Written) -> Self {
        Self::Written(written)
    }
}

impl Store {
    /// The path of a digest's bytes, whether or not they are there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let first = name.get(..2).unwrap_or_default();
        self.dir("blobs").join(first).join(&name)
    }

    /// The bytes of a digest. They are always hashed before they are returned, because that costs less than reading them.
    ///
    /// # Errors
    /// User: the blob is missing, cannot be read, or was damaged (it is then in quarantine).
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.checked(digest, files::read)
    }

    /// The bytes of a digest as a memory map, for bytes that need not be in memory at once. They are hashed before they are
    /// returned, as in [`Store::read`]. Whoever reads them then finds them in the system's cache.
    ///
    /// # Errors
    /// As those of [`Store::read`].
    pub fn map(&self, digest: &Digest) -> Result<Bytes> {
        self.checked(digest, |path| files::map(path).map(Bytes::from_owner))
    }

    /// What `load` returns for a blob, if its bytes have the digest.
    fn checked<T: AsRef<[u8]>>(&self, digest: &Digest, load: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let path = self.blob_path(digest);
        let missing = || {
            Error::user(format!("the artifact {digest} is no longer in the store {}", self.root.display()))
                .hint("run again: it will be computed again")
        };
        if self.blob_bytes(digest)?.is_none() {
            return Err(missing());
        }
        let stamp = Stamp::of(&path)?;
        let bytes = match load(&path) {
            // Moved or collected by another process meanwhile.
            Err(_) if self.blob_bytes(digest)?.is_none() => return Err(missing()),
            loaded => loaded?,
        };
        if Digest::of(bytes.as_ref()) == *digest {
            if self.recall(VERIFIED, &stamp).is_none() {
                self.remember(VERIFIED, &stamp, &Value::Bool(true));
            }
            return Ok(bytes);
        }
        let moved = self.quarantine(digest, &stamp, "its content is not what its name says");
        let place = moved.map_or_else(
            || format!("and could not be moved away from {}", path.display()),
            |to| format!("and was moved to {}", to.display()),
        );
        Err(Error::user(format!("the artifact {digest} was damaged {place}"))
            .hint("run again: it will be computed again"))
    }

    /// Whether the blob is present and its bytes match its name: hashed once, then remembered until the
    /// file changes. A blob that does not match goes to quarantine.
    pub fn verify(&self, digest: &Digest) -> Result<bool> {
        self.check(digest, false)
    }

    /// `verify`, which with `anew` does not trust what is remembered.
    pub(super) fn check(&self, digest: &Digest, anew: bool) -> Result<bool> {
        if self.blob_bytes(digest)?.is_none() {
            return Ok(false);
        }
        match self.check_present(digest, anew) {
            // Moved or collected by another process meanwhile: then it is simply not there.
            Err(_) if self.blob_bytes(digest)?.is_none() => Ok(false),
            other => other,
        }
    }

    fn check_present(&self, digest: &Digest, anew: bool) -> Result<bool> {
        let path = self.blob_path(digest);
        let stamp = Stamp::of(&path)?;
        let known = self.recall(VERIFIED, &stamp) == Some(Value::Bool(true));
        if known && !anew {
            return Ok(true);
        }
        if files::digest(&path)? != *digest {
            self.quarantine(digest, &stamp, "its content is not what its name says");
            return Ok(false);
        }
        if !known {
            self.remember(VERIFIED, &stamp, &Value::Bool(true));
        }
        Ok(true)
    }

    /// The size of a blob, or `None` when it is missing.
    pub(super) fn blob_bytes(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(place::metadata(&self.blob_path(digest))?.filter(fs::Metadata::is_file).map(|metadata| metadata.len()))
    }

    /// Publishes an output under its digest. A blob that is there already is kept if it is sound.
    pub(super) fn put(&self, output: Output) -> Result<OutputRef> {
        match output {
            Output::Bytes(bytes) => {
                let output = OutputRef { digest: Digest::of(&bytes), bytes: bytes.len() as u64 };
                self.put_blob(&output.digest, || self.temporary_with("blob", &bytes))?;
                Ok(output)
            }
            Output::Written(Written { file, output }) => {
                self.put_blob(&output.digest, || Ok(file))?;
                Ok(output)
            }
        }
    }

    fn put_blob(&self, digest: &Digest, file: impl FnOnce() -> Result<Temporary>) -> Result<()> {
        if self.keep(digest)? {
            return Ok(());
        }
        let (path, file) = (self.blob_path(digest), file()?);
        file.make_read_only().map_err(|cause| self.write_error(&cause))?;
        match self.place(file, &path)? {
            Placed::Exists(file) if !self.keep(digest)? => self.replace(file, &path, Keep::Name)?,
            _ => {}
        }
        if let Ok(stamp) = Stamp::of(&path) {
            self.remember(VERIFIED, &stamp, &Value::Bool(true));
        }
        Ok(())
    }

    /// Whether a sound blob is there. If so, its time is set to now, so that a garbage collection that is running leaves it
    /// alone until its new record is written.
    fn keep(&self, digest: &Digest) -> Result<bool> {
        if !self.verify(digest)? {
            return Ok(false);
        }
        let path = self.blob_path(digest);
        // On a shared store the file may belong to somebody else. Then its time cannot be set.
        if let (true, Ok(stamp)) = (place::touch(&path), Stamp::of(&path)) {
            self.remember(VERIFIED, &stamp, &Value::Bool(true));
        }
        Ok(true)
    }

    /// Moves a damaged blob away and notes it, unless the file is no longer the one that was looked at
    /// (another process may have put a sound one there).
    pub(super) fn quarantine(&self, digest: &Digest, seen: &Stamp, reason: &str) -> Option<PathBuf> {
        let path = self.blob_path(digest);
        // A rename changes the path and, on some systems, the time of the last change of the file's entry.
        let is_it = |place: &Path| {
            let now = Stamp::of(place).ok();
            now.is_some_and(|now| (now.bytes, now.modified, now.inode) == (seen.bytes, seen.modified, seen.inode))
        };
        let moved_to = self.set_aside(&path, &digest.to_string(), is_it);
        if moved_to.is_none() && !is_it(&path) {
            return None;
        }
        self.note_damage(Damage {
            what: "artifact".into(),
            digest: *digest,
            path,
            moved_to: moved_to.clone(),
            reason: reason.to_owned(),
        });
        moved_to
    }
}
