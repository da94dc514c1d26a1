//! Shards: what a stage has finished so far, in `partial/<key>/`, so that a killed stage goes on where
//! it was. A shard is the 32 bytes of its payload's BLAKE3 digest and then the payload.
//!
//! Must not know: what a shard holds; when it makes another one superfluous.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::claims::Claim;
use super::place::Opened;
use super::{Store, check_name, place};
use crate::digest::Digest;
use crate::error::{IoContext, Result};
use crate::files::Keep;

/// The beginning of a shard's name while it is written. No finished shard has such a name.
const UNFINISHED: &str = ".tmp";
const HEADER: usize = 32;

impl Store {
    /// Whether a killed (or running) computation of the key left shards.
    pub fn partial_exists(&self, key: &Digest) -> bool {
        shard_names(&self.partial_dir(key)).is_ok_and(|names| !names.is_empty())
    }

    /// Whether a file of a shard's name is a damaged shard. Shards that are being written have other names.
    pub(super) fn is_damaged_shard(path: &Path) -> Result<bool> {
        Ok(matches!(read_shard(path)?, Shard::Damaged))
    }

    /// Moves a damaged shard away, or removes it where that fails, so that nobody meets it again.
    pub(super) fn set_shard_aside(&self, key: &Digest, name: &str, path: &Path) -> Option<PathBuf> {
        let is_it = |path: &Path| Self::is_damaged_shard(path).unwrap_or(false);
        let moved = self.set_aside(path, &format!("{key}-{name}"), is_it);
        if moved.is_none() && is_it(path) {
            let _ = fs::remove_file(path);
        }
        moved
    }

    /// The shards of all keys: key, name, path.
    pub(super) fn all_shards(&self) -> Result<Vec<(Digest, String, PathBuf)>> {
        let mut all = Vec::new();
        for (key, dir, metadata) in place::entries(&self.dir("partial"))? {
            let (Ok(key), true) = (key.parse::<Digest>(), metadata.is_dir()) else { continue };
            all.extend(shard_names(&dir)?.into_iter().map(|name| (key, name.clone(), dir.join(name))));
        }
        Ok(all)
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
        // A later shard may replace this one's work, and then that one's content must be on the disk.
        self.store().replace(file, &path, Keep::Content)
    }

    /// The payload of a shard; `None` when there is none or it is damaged, and then it is moved to quarantine.
    pub fn shard(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.shard_path(name)?;
        match read_shard(&path)? {
            Shard::Absent => return Ok(None),
            Shard::Sound(payload) => return Ok(Some(payload)),
            Shard::Damaged => {}
        }
        tracing::warn!("the shard {name} of {}/{} is damaged and is computed again", self.stage(), self.key());
        self.store().set_shard_aside(self.key(), name, &path);
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

/// What is under a shard's name.
enum Shard {
    Absent,
    Sound(Vec<u8>),
    Damaged,
}

fn read_shard(path: &Path) -> Result<Shard> {
    let mut file = match place::open_if_there(path)? {
        None => return Ok(Shard::Absent),
        Some(Opened::Other) => return Ok(Shard::Damaged),
        Some(Opened::File(file)) => file,
    };
    let bytes = file.metadata().at("read", path)?.len();
    let mut header = [0; HEADER];
    match file.read_exact(&mut header) {
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(Shard::Damaged),
        other => other.at("read", path)?,
    }
    let mut payload = Vec::new();
    let expected = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(HEADER);
    payload.try_reserve_exact(expected).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory)).at("read", path)?;
    file.read_to_end(&mut payload).at("read", path)?;
    Ok(if *Digest::of(&payload).as_bytes() == header { Shard::Sound(payload) } else { Shard::Damaged })
}
