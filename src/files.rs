//! Access to the file system for all rooms but the store: reads, listings and whole-file writes, with failures that are
//! sentences. `clippy.toml` forbids `std::fs` elsewhere.
//!
//! Must not know: what is in the files.
#![allow(clippy::disallowed_methods, reason = "this is the room that wraps them")]

mod temporary;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

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
        return Err(Error::user(format!("{} is larger than {most}, the most for such a file", path.display())));
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
    fn two_threads_may_write_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let contents = [vec![b'a'; 100_000], vec![b'b'; 200_000]];
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| (0..50).for_each(|_| write_atomic(&path, content).unwrap()));
            }
            for _ in 0..200 {
                let found = fs::read(&path);
                assert!(found.is_err() || contents.contains(&found.unwrap()), "half a file");
            }
        });
        assert!(contents.contains(&read(&path).unwrap()));
        assert_eq!(list(dir.path()).unwrap(), [path]);
    }

    #[test]
    fn files_are_mapped_even_when_they_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"bytes"] {
            let path = dir.path().join("mapped");
            write_atomic(&path, content).unwrap();
            assert_eq!(map(&path).unwrap()[..], *content);
        }
        assert!(map(&dir.path().join("none")).is_err());
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

        // An edit in place that keeps the size and puts the time back.
        let before = Stamp::of(&path).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(before.is_older_than(Duration::from_millis(5)) && !before.is_older_than(Duration::from_secs(60)));
        overwrite(&path, std::iter::once((0, &b"45"[..]))).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_nanos(before.modified)).unwrap();
        let after = Stamp::of(&path).unwrap();
        assert_eq!((after.bytes, after.modified, after.inode), (before.bytes, before.modified, before.inode));
        assert!(after != before || cfg!(not(unix)));
    }

    #[test]
    fn copies_can_be_written_and_links_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write_atomic(&path("a"), b"0123456789").unwrap();
        let mut permissions = fs::metadata(path("a")).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(path("a"), permissions).unwrap();
        copy(&path("a"), &path("b")).unwrap();
        overwrite(&path("b"), [(1, &b"xy"[..]), (9, b"z")].into_iter()).unwrap();
        assert_eq!(read(&path("b")).unwrap(), b"0xy345678z");
        assert_eq!(read(&path("a")).unwrap(), b"0123456789");
        assert!(overwrite(&path("b"), [(9, &b"zz"[..])].into_iter()).is_err());
        assert_eq!(read(&path("b")).unwrap().len(), 10);
        assert!(!has_other_names(&path("b")).unwrap());
        hard_link(&path("b"), &path("c")).unwrap();
        assert!(has_other_names(&path("b")).unwrap() || cfg!(not(unix)));
        assert!(create_new(&path("c")).is_err());
        flush(&path("c")).unwrap();
    }

    #[test]
    fn a_file_is_read_by_many_or_written_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        write_atomic(&path, b"1").unwrap();
        let readers = [keep_unwritten(&path).unwrap(), keep_unwritten(&path).unwrap()];
        assert_eq!(keep_unread(&path).unwrap_err().message(), format!("{} is in use by a run of dean", path.display()));
        drop(readers);
        let writer = keep_unread(&path).unwrap();
        assert!(keep_unwritten(&path).unwrap_err().message().contains("is being written"));
        drop(writer);
        assert!(keep_unwritten(&path).unwrap().is_some());
        assert!(keep_unwritten(&dir.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn paths_lead_where_links_do() {
        let dir = tempfile::tempdir().unwrap();
        let place = resolve(dir.path());
        create_dir_all(&place.join("a")).unwrap();
        assert_eq!(resolve(&place.join("a/../a/new/er")), place.join("a/new/er"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("a", place.join("link")).unwrap();
            assert_eq!(resolve(&place.join("link/new")), place.join("a/new"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_may_never_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, what) in [(pipe.as_path(), "a named pipe"), (Path::new("/dev/zero"), "a device")] {
            let sentence = format!("{} is not a file but {what}", path.display());
            assert_eq!(read(path).unwrap_err().message(), sentence);
            assert_eq!(digest(path).unwrap_err().message(), sentence);
            assert_eq!(map(path).unwrap_err().message(), sentence);
            assert_eq!(copy(path, &dir.path().join("copy")).unwrap_err().message(), sentence);
        }
    }

    #[test]
    fn documents_have_a_largest_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"1234").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "1234");
        assert!(read_text(&path, 3).unwrap_err().message().ends_with("is larger than 3 B, the most for such a file"));
        #[cfg(unix)]
        assert!(read_text(Path::new("/dev/zero"), 1 << 20).unwrap_err().message().contains("1.0 MiB"));
    }

    #[test]
    fn a_missing_file_is_a_sentence() {
        let error = read(Path::new("no/such/file")).unwrap_err();
        assert_eq!(error.message(), "cannot read no/such/file: no such file or directory");
    }
}
