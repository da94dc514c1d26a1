//! Files of the store: how they get their names, and how to read files that another process may remove at any moment.
//!
//! Must not know: what the files mean.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Store;
use crate::error::{IoContext, Result};
use crate::files::{self, Keep, Placed, Temporary};

impl Store {
    /// A new, empty file in `tmp/`.
    pub(super) fn temporary(&self, prefix: &str) -> Result<Temporary> {
        self.temporary_in(&self.dir("tmp"), prefix)
    }

    /// A new, empty file in a directory of the store, which is made if need be.
    pub(super) fn temporary_in(&self, dir: &Path, prefix: &str) -> Result<Temporary> {
        let made = self.make_dir(dir, Keep::Nothing).and_then(|()| Temporary::new_in(dir, &format!("{prefix}-")));
        made.map_err(|cause| self.write_error_in(dir, &cause))
    }

    /// A new file in `tmp/` with this content.
    pub(super) fn temporary_with(&self, prefix: &str, bytes: &[u8]) -> Result<Temporary> {
        let mut file = self.temporary(prefix)?;
        file.write_all(bytes).map_err(|cause| self.write_error(&cause))?;
        Ok(file)
    }

    /// Gives a file its final name unless that is taken. Content and name survive a power cut.
    pub(super) fn place(&self, file: Temporary, to: &Path) -> Result<Placed> {
        let placed = self.make_parent(to, Keep::Name).and_then(|()| file.place(to, Keep::Name));
        placed.map_err(|cause| self.write_error_in(files::parent(to), &cause))
    }

    /// As [`Store::place`], of a file that only saves work and whose loss nobody would notice.
    pub(super) fn place_scratch(&self, file: Temporary, to: &Path) -> Result<Placed> {
        let placed = self.make_parent(to, Keep::Nothing).and_then(|()| file.place(to, Keep::Nothing));
        placed.map_err(|cause| self.write_error_in(files::parent(to), &cause))
    }

    /// Gives a file its final name, replacing what is there; what of it survives a power cut is `keep`.
    pub(super) fn replace(&self, file: Temporary, to: &Path, keep: Keep) -> Result<()> {
        if to.is_dir() {
            // No file can replace a folder, and no folder belongs here.
            let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            self.set_aside(to, &name, Path::is_dir);
        }
        let replaced = self.make_parent(to, keep).and_then(|()| file.replace(to, keep));
        replaced.map_err(|cause| self.write_error_in(files::parent(to), &cause))
    }

    fn make_parent(&self, path: &Path, keep: Keep) -> io::Result<()> {
        self.make_dir(files::parent(path), keep)
    }

    /// Makes a directory of the store and its parents, with the rights of the store's own. With `Keep::Name`, what is new
    /// survives a power cut.
    pub(super) fn make_dir(&self, dir: &Path, keep: Keep) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = files::parent(dir);
        if parent != dir {
            self.make_dir(parent, keep)?;
        }
        match files::create_dir(dir) {
            // Another process was faster.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => return Ok(()),
            made => made?,
        }
        if keep == Keep::Name {
            files::sync_dir(parent);
        }
        Ok(())
    }
}

/// The metadata of a path (of a link, not of its target), or `None` where there is nothing.
pub(super) fn metadata(path: &Path) -> Result<Option<Metadata>> {
    absent_as_none(fs::symlink_metadata(path)).at("look at", path)
}

/// What has a name in the store.
pub(super) enum Opened {
    File(File),
    /// A directory, a named pipe, a device. Reading it may never end, and nothing of a store is one.
    Other,
}

/// What is at a path, without waiting for anybody who writes into it; `None` where there is nothing.
pub(super) fn open_if_there(path: &Path) -> Result<Option<Opened>> {
    let Some(metadata) = absent_as_none(fs::metadata(path)).at("look at", path)? else { return Ok(None) };
    if !metadata.is_file() {
        return Ok(Some(Opened::Other));
    }
    Ok(absent_as_none(File::open(path)).at("read", path)?.map(Opened::File))
}

/// The bytes of a file, or `None` where there is none. What is no file reads as empty, and is damage like an empty file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match open_if_there(path)? {
        None => return Ok(None),
        Some(Opened::Other) => {}
        Some(Opened::File(mut file)) => {
            file.read_to_end(&mut bytes).at("read", path)?;
        }
    }
    Ok(Some(bytes))
}

/// Sets a file's time to now; `false` if it may not be set, or if it is no file.
pub(super) fn touch(path: &Path) -> bool {
    match open_if_there(path) {
        Ok(Some(Opened::File(file))) => file.set_modified(SystemTime::now()).is_ok(),
        _ => false,
    }
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
