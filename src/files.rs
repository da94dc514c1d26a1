//! The only door to the file system for every room but the store: reads, listings and whole-file
//! writes whose failures are sentences. `clippy.toml` forbids `std::fs` elsewhere.
//!
//! Must not know: what is in the files.
#![allow(clippy::disallowed_methods, reason = "this is the room that wraps them")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};

/// The whole content of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).at("read", path)
}

/// The whole content of a UTF-8 file.
pub fn read_to_string(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| Error::user(format!("{} is not UTF-8 text", path.display())).hint("save the file as UTF-8"))
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<fs::File> {
    fs::File::open(path).at("open", path)
}

/// Creates a directory and its parents.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fs::create_dir_all(path).at("create the directory", path)
}

/// The entries of a directory, sorted by name.
pub fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(path)
        .at("list", path)?
        .map(|entry| entry.map(|entry| entry.path()).at("list", path))
        .collect::<Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

/// Writes a file so that a reader sees either nothing, the old content or all of the new one.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let written = fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.at("write", path)
}

/// Moves a file or directory; both must be on one file system.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).at("move", from)
}

/// Removes a file or a directory tree; that it is gone already is fine.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}

/// What identifies a file's content without reading it. A digest may be remembered under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub path: PathBuf,
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
    pub inode: u64,
}

impl Stamp {
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).at("read", path)?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Self {
            path: fs::canonicalize(path).at("read", path)?,
            bytes: metadata.len(),
            modified: modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
            inode,
        })
    }
}

/// The digest of a file's content, read in pieces.
pub fn digest(path: &Path) -> Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open(path)?).at("read", path)?;
    Ok(Digest::finish(&hasher))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"1").unwrap();
        write_atomic(&path, b"2").unwrap();
        assert_eq!(read(&path).unwrap(), b"2");
        assert_eq!(list(dir.path()).unwrap(), std::slice::from_ref(&path));
        assert_eq!(digest(&path).unwrap(), Digest::of(b"2"));
    }

    #[test]
    fn a_stamp_changes_with_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"1").unwrap();
        let before = Stamp::of(&path).unwrap();
        assert_eq!(before, Stamp::of(&path).unwrap());
        write_atomic(&path, b"23").unwrap();
        assert_ne!(before, Stamp::of(&path).unwrap());
    }

    #[test]
    fn a_missing_file_is_a_sentence() {
        let error = read(Path::new("no/such/file")).unwrap_err();
        assert_eq!(error.message(), "cannot read no/such/file: no such file or directory");
    }
}
