//! Putting files into place: written under a temporary name, flushed, then linked or renamed, so that
//! no reader and no crash ever meets half a file.
//!
//! Must not know: what the files mean.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Store, process};
use crate::error::{IoContext, Result};

/// A complete, flushed file under a temporary name; the name goes away with the value.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    pub file: File,
}

/// What [`Temporary::link`] met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    New,
    /// Somebody was there first; nothing was changed.
    Exists,
}

impl Temporary {
    /// Writes the pieces one after the other into a new file of `dir`, which is created if need be.
    pub(super) fn write(dir: &Path, prefix: &str, pieces: &[&[u8]]) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{prefix}-{}", process::unique()));
        let file = File::create_new(&path)?;
        let mut temporary = Self { path, file };
        for piece in pieces {
            temporary.file.write_all(piece)?;
        }
        // Some file systems notice a full disk only now.
        temporary.file.sync_all()?;
        Ok(temporary)
    }

    /// Takes away everyone's right to write.
    pub(super) fn make_read_only(&self) -> io::Result<()> {
        let mut permissions = self.file.metadata()?.permissions();
        permissions.set_readonly(true);
        self.file.set_permissions(permissions)
    }

    /// Gives the file its final name unless that is taken.
    pub(super) fn link(&self, to: &Path) -> io::Result<Placed> {
        self.link_by(to, |from, to| fs::hard_link(from, to))
    }

    /// `link`, with the way of linking given (a test brings one that is not supported).
    fn link_by(&self, to: &Path, link: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<Placed> {
        create_parent(to)?;
        match link(&self.path, to) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Ok(Placed::Exists),
            // No hard links here. Then a loser may replace the winner's file, which holds the same
            // (a blob) or is as good (a record).
            Err(_) if fs::symlink_metadata(to).is_ok() => return Ok(Placed::Exists),
            Err(_) => fs::rename(&self.path, to)?,
        }
        sync_parent(to);
        Ok(Placed::New)
    }

    /// Gives the file its final name, replacing what is there.
    pub(super) fn replace(&self, to: &Path) -> io::Result<()> {
        create_parent(to)?;
        fs::rename(&self.path, to)?;
        sync_parent(to);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name, which is unique; after a link one name too many.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// A new file in `tmp/`.
    pub(super) fn temporary(&self, prefix: &str, bytes: &[u8]) -> Result<Temporary> {
        Temporary::write(&self.dir("tmp"), prefix, &[bytes]).map_err(|cause| self.write_error(&cause))
    }
}

/// The final name must survive a power cut too; where directories cannot be flushed, the digests notice.
fn sync_parent(path: &Path) {
    if let Some(Ok(dir)) = path.parent().map(File::open) {
        let _ = dir.sync_all();
    }
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// The metadata of a path (of a link, not of its target), or `None` where there is nothing.
pub(super) fn metadata(path: &Path) -> Result<Option<Metadata>> {
    absent_as_none(fs::symlink_metadata(path)).at("look at", path)
}

/// The bytes of a file, or `None` where there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    absent_as_none(fs::read(path)).at("read", path)
}

/// Removes a file; `false` when it was gone already.
pub(super) fn remove_file(path: &Path) -> Result<bool> {
    Ok(absent_as_none(fs::remove_file(path)).at("remove", path)?.is_some())
}

/// The entries of a directory sorted by name; a directory that is missing is empty, an entry that
/// vanishes meanwhile is left out.
pub(super) fn entries(dir: &Path) -> Result<Vec<(String, PathBuf, Metadata)>> {
    let Some(listing) = absent_as_none(fs::read_dir(dir)).at("list", dir)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in listing {
        let path = entry.at("list", dir)?.path();
        if let (Some(metadata), Some(name)) = (metadata(&path)?, path.file_name()) {
            found.push((name.to_string_lossy().into_owned(), path.clone(), metadata));
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(found)
}

/// Bytes of a file or of everything below a directory.
pub(super) fn tree_bytes(path: &Path) -> Result<u64> {
    match metadata(path)? {
        Some(found) if found.is_dir() => {
            entries(path)?.iter().try_fold(0_u64, |sum, (_, path, _)| Ok(sum.saturating_add(tree_bytes(path)?)))
        }
        found => Ok(found.map_or(0, |found| found.len())),
    }
}

/// How long ago a file was written; a time in the future counts as now.
pub(super) fn age(metadata: &Metadata) -> Duration {
    let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
    SystemTime::now().duration_since(modified).unwrap_or_default()
}

pub(super) fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        entries(dir).unwrap().into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn a_link_never_replaces_and_leaves_no_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("final");
        let first = Temporary::write(dir.path(), "t", &[b"fir", b"st"]).unwrap();
        let second = Temporary::write(dir.path(), "t", &[b"second"]).unwrap();
        assert_eq!(first.link(&to).unwrap(), Placed::New);
        assert_eq!(second.link(&to).unwrap(), Placed::Exists);
        assert_eq!(fs::read(&to).unwrap(), b"first");
        second.replace(&to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"second");
        drop((first, second));
        assert_eq!(names(dir.path()), ["final"]);
    }

    #[test]
    fn without_hard_links_a_rename_does() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("final");
        let unsupported = |_: &Path, _: &Path| Err(io::Error::from(io::ErrorKind::Unsupported));
        let first = Temporary::write(dir.path(), "t", &[b"first"]).unwrap();
        assert_eq!(first.link_by(&to, unsupported).unwrap(), Placed::New);
        let second = Temporary::write(dir.path(), "t", &[b"second"]).unwrap();
        assert_eq!(second.link_by(&to, unsupported).unwrap(), Placed::Exists);
        drop((first, second));
        assert_eq!(fs::read(&to).unwrap(), b"first");
        assert_eq!(names(dir.path()), ["final"]);
    }
}
