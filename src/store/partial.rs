//! Shards: what a stage has finished so far, in `partial/<key>/`, so that a killed stage goes on where
//! it was. A shard is the 32 bytes of its payload's BLAKE3 digest and then the payload.
//!
//! Must not know: what a shard holds; when it makes another one superfluous.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::claims::Claim;
use super::{Store, check_name, place};
use crate::digest::Digest;
use crate::error::{IoContext, Result};

/// The beginning of a shard's name while it is written. No finished shard has such a name.
const UNFINISHED: &str = ".tmp";
const HEADER: usize = 32;

impl Store {
    /// Whether a killed (or running) computation of the key left shards.
    pub fn partial_exists(&self, key: &Digest) -> bool {
        shard_names(&self.partial_dir(key)).is_ok_and(|names| !names.is_empty())
    }
}

impl Claim<'_> {
    /// Writes a shard, replacing one of the same name: whole or not at all.
    pub fn put_shard(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.shard_path(name)?;
        let digest = Digest::of(bytes);
        let mut file = self.store().temporary_in(&self.partial(), UNFINISHED)?;
        file.write_all(digest.as_bytes())
            .and_then(|()| file.write_all(bytes))
            .map_err(|cause| self.store().write_error(&cause))?;
        self.store().replace(file, &path)
    }

    /// The payload of a shard; `None` when there is none or it is damaged, and then it is deleted.
    pub fn shard(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.shard_path(name)?;
        let Some((header, payload)) = place::absent_as_none(read_shard(&path)).at("read", &path)? else {
            return Ok(None);
        };
        if Digest::of(&payload).as_bytes().as_slice() == header {
            return Ok(Some(payload));
        }
        tracing::warn!("the shard {name} of {}/{} is damaged and is computed again", self.stage(), self.key());
        place::remove_file(&path)?;
        Ok(None)
    }

    /// The names of the shards, sorted. They are not checked: [`Claim::shard`] does that.
    pub fn shards(&self) -> Result<Vec<String>> {
        shard_names(&self.partial())
    }

    /// Removes a shard, if there is one.
    pub fn drop_shard(&self, name: &str) -> Result<()> {
        place::remove_file(&self.shard_path(name)?).map(|_| ())
    }

    /// Removes the shards, once the record is written. Those that cannot be removed are left to `gc`.
    pub(super) fn drop_shards(&self) {
        if let Err(cause) = place::absent_as_none(fs::remove_dir_all(self.partial())) {
            tracing::debug!("cannot remove the shards of {}/{}: {cause}", self.stage(), self.key());
        }
    }

    /// Removes files that a killed process was writing. Young files stay, because an owner that was wrongly taken for dead
    /// may still be writing them.
    pub(super) fn sweep(&self) {
        for (name, path, metadata) in place::entries(&self.partial()).unwrap_or_default() {
            if name.starts_with(UNFINISHED) && place::age(&metadata) > self.store().timing.stale {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn partial(&self) -> PathBuf {
        self.store().partial_dir(self.key())
    }

    fn shard_path(&self, name: &str) -> Result<PathBuf> {
        check_name("shard", name)?;
        Ok(self.partial().join(name))
    }
}

fn shard_names(dir: &Path) -> Result<Vec<String>> {
    let names = place::entries(dir)?.into_iter().map(|(name, ..)| name);
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

/// Header and payload; a file too short for a header has an empty one, which no digest equals.
fn read_shard(path: &Path) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut header = vec![0; HEADER];
    match file.read_exact(&mut header) {
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok((Vec::new(), Vec::new())),
        other => other?,
    }
    let mut payload = Vec::new();
    let expected = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(HEADER);
    payload.try_reserve_exact(expected).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.read_to_end(&mut payload)?;
    Ok((header, payload))
}
