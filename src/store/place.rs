//! Files of the store: how they get their names, and how to read files that another process may remove at any moment.
//!
//! Must not know: what the files mean.

use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Store;
use crate::error::{IoContext, Result};
use crate::files::{Placed, Temporary};

impl Store {
    /// A new, empty file in `tmp/`.
    pub(super) fn temporary(&self, prefix: &str) -> Result<Temporary> {
        self.temporary_in(&self.dir("tmp"), prefix)
    }

    /// A new, empty file in a directory of the store, which is made if need be.
    pub(super) fn temporary_in(&self, dir: &Path, prefix: &str) -> Result<Temporary> {
        let made = fs::create_dir_all(dir).and_then(|()| Temporary::new_in(dir, &format!("{prefix}-")));
        made.map_err(|cause| self.write_error(&cause))
    }

    /// A new file in `tmp/` with this content.
    pub(super) fn temporary_with(&self, prefix: &str, bytes: &[u8]) -> Result<Temporary> {
        let mut file = self.temporary(prefix)?;
        file.write_all(bytes).map_err(|cause| self.write_error(&cause))?;
        Ok(file)
    }

    /// Flushes a file and gives it its final name unless that is taken.
    pub(super) fn place(&self, file: Temporary, to: &Path) -> Result<Placed> {
        create_parent(to).and_then(|()| file.place(to)).map_err(|cause| self.write_error(&cause))
    }

    /// Flushes a file and gives it its final name, replacing what is there.
    pub(super) fn replace(&self, file: Temporary, to: &Path) -> Result<()> {
        create_parent(to).and_then(|()| file.replace(to)).map_err(|cause| self.write_error(&cause))
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
