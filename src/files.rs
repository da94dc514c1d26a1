//! Access to the file system for all rooms but the store: reads, listings and whole-file writes, with failures that are
//! sentences. `clippy.toml` forbids `std::fs` elsewhere.
//!
//! Must not know: what is in the files.
#![allow(clippy::disallowed_methods, reason = "this is the room that wraps them")]

mod group;
mod temporary;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

pub use self::group::create_dir;
#[cfg(test)]
pub use self::temporary::counting;
pub use self::temporary::{Keep, Placed, Temporary, sync_dir, temporary_dir};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};

/// The whole content of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    must_end(path, "read")?;
    fs::read(path).at("read", path)
}

/// Refuses what is neither a file nor a directory. A named pipe waits for somebody who writes into it, and a device such as
/// `/dev/zero` never ends.
fn must_end(path: &Path, doing: &str) -> Result<()> {
    let kind = fs::metadata(path).at(doing, path)?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(());
    }
    Err(Error::user(format!("{} is not a file but {}", path.display(), odd(kind)))
        .hint("write what comes out of it into a file, and name that file"))
}

#[cfg(unix)]
fn odd(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn odd(_: fs::FileType) -> &'static str {
    "something else"
}

/// The whole content of a UTF-8 file.
pub fn read_to_string(path: &Path) -> Result<String> {
    text(path, read(path)?)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| Error::user(format!("{} is not UTF-8 text", path.display())).hint("save the file as UTF-8"))
}

/// The whole content of a UTF-8 file that has at most so many bytes: a document that belongs to a model or a job. A device
/// that never ends is none.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).at("read", path)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() as u64 > most {
        let most = crate::size::size(most);
        return Err(Error::user(format!("{} is larger than {most}, the most for such a file", path.display()))
            .hint("check that it is the file that is meant, or fetch it again"));
    }
    text(path, bytes)
}

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<fs::File> {
    must_end(path, "open")?;
    fs::File::open(path).at("open", path)
}

/// Creates a directory and its parents.
pub fn create_dir_all(path: &Path) -> Result<()> {
    fn make(path: &Path) -> std::io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = parent(path);
        if parent != path {
            make(parent)?;
        }
        match group::create_dir(path) {
            // Another process was faster.
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    }
    make(path).at("create the directory", path)
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

/// Writes a file so that a reader sees either nothing, the old content or all of the new one, also when several threads
/// or processes write it at once.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    Temporary::new_in(parent(path), ".dean-")
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.replace(path, Keep::Name)))
        .at("write", path)
}

/// The directory that a path lies in, under a name that can be opened.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Maps a file into memory for reading.
#[expect(unsafe_code, reason = "memory maps are a promise that nobody changes the file")]
pub fn map(path: &Path) -> Result<Mmap> {
    let file = open(path)?;
    // SAFETY: the mapping is read-only, and nobody writes a model or an artifact while a run reads it. If one is
    // truncated under us the process gets SIGBUS, as every program that maps files does.
    unsafe { Mmap::map(&file) }.at("map", path)
}

/// Moves a file or directory; both must be on one file system.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).at("move", from)
}

/// Removes a file or a directory tree, if it exists.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}

/// Whether anything has this name, even a link to nothing.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether this name is a symbolic link.
pub fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Copies a file's bytes; its owner may write the copy, whatever the original allows. Where the file system lets two
/// files share their blocks (Btrfs, XFS, APFS), the operating system does that and copies nothing.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    must_end(from, "copy")?;
    fs::copy(from, to).at("copy", from)?;
    let mut permissions = fs::metadata(to).at("read", to)?.permissions();
    if permissions.readonly() {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            permissions.set_mode(permissions.mode() | 0o200);
        }
        #[cfg(not(unix))]
        permissions.set_readonly(false);
        fs::set_permissions(to, permissions).at("write", to)?;
    }
    Ok(())
}

/// Gives a file a second name. Where the first one is a symbolic link, the file that it leads to gets it.
pub fn hard_link(from: &Path, to: &Path) -> Result<()> {
    let file = fs::canonicalize(from).at("read", from)?;
    fs::hard_link(&file, to).at("make a hard link to", &file)
}

/// Whether writing this file would change another name's content too: a symbolic link, or one of several hard links.
pub fn has_other_names(path: &Path) -> Result<bool> {
    let metadata = fs::symlink_metadata(path).at("read", path)?;
    #[cfg(unix)]
    let links = std::os::unix::fs::MetadataExt::nlink(&metadata);
    #[cfg(not(unix))]
    let links = 1;
    Ok(metadata.is_symlink() || links > 1)
}

/// A new, empty file for writing.
///
/// # Errors
/// Anything of that name.
pub fn create_new(path: &Path) -> Result<fs::File> {
    fs::File::create_new(path).at("write", path)
}

/// Opens a file for adding to its end, and makes it where there is none.
pub fn append(path: &Path) -> Result<fs::File> {
    fs::File::options().create(true).append(true).open(path).at("write", path)
}

/// Makes a symbolic link with this target. Where there are no such links, `file` itself is moved to the link's name.
pub fn link(target: &Path, file: &Path, link: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let _ = file;
        std::os::unix::fs::symlink(target, link).at("make the link", link)
    }
    #[cfg(not(unix))]
    {
        let _ = target;
        rename(file, link)
    }
}

/// Writes pieces over a file's bytes, each from its offset on; the rest stays, and so does the length.
///
/// # Errors
/// A piece that would make the file longer; then some pieces before it may have been written.
pub fn overwrite<'a>(path: &Path, pieces: impl Iterator<Item = (u64, &'a [u8])>) -> Result<()> {
    let mut file = fs::File::options().write(true).open(path).at("write", path)?;
    let length = file.metadata().at("read", path)?.len();
    for (at, bytes) in pieces {
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > length) {
            return Err(Error::fault(format!("byte {at} is not within {}", path.display())));
        }
        file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).at("write", path)?;
    }
    Ok(())
}

/// Keeps `dean apply` and `dean undo` from writing a file as long as the value lives. `None` where files cannot be locked.
///
/// # Errors
/// User: one of these is writing it now.
pub fn keep_unwritten(path: &Path) -> Result<Option<fs::File>> {
    let Ok(file) = open(path) else { return Ok(None) };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::Error(_)) => Ok(None),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::user(format!("{} is being written by `dean apply` or `dean undo`", path.display()))
                .hint("wait until that has ended, and type the same again"))
        }
    }
}

/// Keeps others of us from reading a file as long as the value lives, so that it may be written. `None` where files cannot
/// be locked. Waits a moment for a command that only looks.
///
/// # Errors
/// User: a run has it open.
pub fn keep_unread(path: &Path) -> Result<Option<fs::File>> {
    // Some shared file systems lock a file alone only for whoever may write it.
    let file =
        fs::File::options().read(true).write(true).open(path).or_else(|_| fs::File::open(path)).at("open", path)?;
    let begun = std::time::Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::Error(_)) => return Ok(None),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() < Duration::from_secs(1) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::user(format!("{} is in use by a run of dean", path.display()))
                    .hint("nothing was written; type the same again once the run has ended, or work on a copy"));
            }
        }
    }
}

/// Waits until a file's content is on the disk.
pub fn flush(path: &Path) -> Result<()> {
    fs::File::options().write(true).open(path).and_then(|file| file.sync_all()).at("write", path)
}

/// Where a path leads once links are followed; what is not there yet is taken as it is written.
pub fn resolve(path: &Path) -> PathBuf {
    let there = |place: &Path| Some(fs::canonicalize(place).ok()?.join(path.strip_prefix(place).ok()?));
    path.ancestors().find_map(there).unwrap_or_else(|| path.to_owned())
}

/// Identifies a file's content without reading it. A digest may be remembered under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub path: PathBuf,
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
    /// When content, name or rights last changed, which no program can set back; 0 where the system does not tell.
    pub changed: u64,
    pub inode: u64,
}

impl Stamp {
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).at("read", path)?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let nanoseconds = |since: Duration| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        #[cfg(unix)]
        let (changed, inode) = {
            use std::os::unix::fs::MetadataExt;
            let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
            let since = Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or_default());
            (nanoseconds(since), metadata.ino())
        };
        #[cfg(not(unix))]
        let (changed, inode) = (0, 0);
        Ok(Self {
            path: fs::canonicalize(path).at("read", path)?,
            bytes: metadata.len(),
            modified: modified.map_or(0, nanoseconds),
            changed,
            inode,
        })
    }

    /// Whether the last write is so long ago that another write would change the stamp. File systems store times with a
    /// resolution of up to two seconds, and two writes within it have the same time.
    pub fn is_older_than(&self, age: Duration) -> bool {
        let last = Duration::from_nanos(self.changed.max(self.modified));
        UNIX_EPOCH.elapsed().is_ok_and(|now| last.saturating_add(age) < now)
    }
}

/// The digest of a file's content, read in pieces.
pub fn digest(path: &Path) -> Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open(path)?).at("read", path)?;
    Ok(Digest::finish(&hasher))
}

#[cfg(test)]
mod tests;
