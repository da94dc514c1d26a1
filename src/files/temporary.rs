//! A file on its way to its place: written under a name of its own, flushed, then given its final name, so that no reader
//! and no crash ever meets half a file.
//!
//! Must not know: what is in the file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile, PersistError, TempDir, TempPath};

use super::group;
use crate::error::{IoContext, Result};

/// A file under a temporary name, which goes away with the value. Other threads and processes draw other names.
#[derive(Debug)]
pub struct Temporary {
    file: NamedTempFile,
}

/// What [`Temporary::place`] met.
#[derive(Debug)]
pub enum Placed {
    /// The file has its final name. It is still open for writing.
    New(File),
    /// Somebody was there first; nothing was changed, and the file still has its temporary name.
    Exists(Temporary),
}

/// What of a file survives a power cut once it has its final name. Each step waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing for certain: a file that only saves work, and that carries a digest of itself.
    Nothing,
    /// If the name is there, so is the content.
    Content,
    /// Content and name.
    Name,
}

impl Temporary {
    /// A new, empty file of a directory that is there. Who may read it is what the user's umask says, as for any file;
    /// temporary files are otherwise made for their owner alone.
    pub fn new_in(dir: &Path, prefix: &str) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder.prefix(prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(dir)?;
        group::share(file.as_file(), dir)?;
        Ok(Self { file })
    }

    /// Takes away everyone's right to write. What is open stays so.
    pub fn make_read_only(&self) -> io::Result<()> {
        let mut permissions = self.file.as_file().metadata()?.permissions();
        permissions.set_readonly(true);
        self.file.as_file().set_permissions(permissions)
    }

    /// Gives the file its final name unless that is taken.
    pub fn place(self, to: &Path, keep: Keep) -> io::Result<Placed> {
        self.place_by(to, keep, |file, to| file.persist_noclobber(to))
    }

    /// `place`, with the function that gives the name (a test uses one that is not supported).
    fn place_by(
        self,
        to: &Path,
        keep: Keep,
        name: impl FnOnce(NamedTempFile, &Path) -> std::result::Result<File, PersistError>,
    ) -> io::Result<Placed> {
        self.sync(keep)?;
        let file = match name(self.file, to) {
            Ok(file) => file,
            Err(PersistError { error, file }) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Placed::Exists(Self { file }));
            }
            // This file system can give a name without replacing a file neither by a rename nor by a hard link. So a process
            // may replace another one's file, if that appears between this check and the rename.
            Err(PersistError { file, .. }) if fs::symlink_metadata(to).is_ok() => {
                return Ok(Placed::Exists(Self { file }));
            }
            Err(PersistError { file, .. }) => file.persist(to)?,
        };
        sync_name(to, keep);
        Ok(Placed::New(file))
    }

    /// Gives the file its final name, replacing what is there.
    pub fn replace(self, to: &Path, keep: Keep) -> io::Result<()> {
        self.sync(keep)?;
        self.file.persist(to)?;
        sync_name(to, keep);
        Ok(())
    }

    fn sync(&self, keep: Keep) -> io::Result<()> {
        if keep == Keep::Nothing {
            return Ok(());
        }
        #[cfg(test)]
        counting::count();
        // Some file systems notice a full disk only now.
        self.file.as_file().sync_all()
    }

    /// Only the name, which another file may be moved to.
    pub fn into_path(self) -> TempPath {
        self.file.into_temp_path()
    }

    /// The file itself, for its locks.
    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }
}

/// A new, empty directory of a name of its own in a directory that is there. Unless it is kept, it goes away with the value
/// and with all that is in it.
pub fn temporary_dir(parent: &Path, prefix: &str) -> Result<TempDir> {
    let mut builder = Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent).at("make a directory in", parent)
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

fn sync_name(path: &Path, keep: Keep) {
    if keep == Keep::Name {
        sync_dir(super::parent(path));
    }
}

/// Waits until the names in a directory are on the disk. Where directories cannot be flushed, digests notice.
pub fn sync_dir(dir: &Path) {
    #[cfg(test)]
    counting::count();
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

/// How often this thread waited for the disk.
#[cfg(test)]
pub mod counting {
    use std::cell::Cell;

    thread_local! {
        static WAITED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        WAITED.set(WAITED.get() + 1);
    }

    /// How often `act` waited for the disk.
    pub fn waits(act: impl FnOnce()) -> usize {
        let before = WAITED.get();
        act();
        WAITED.get() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(dir: &Path, content: &[u8]) -> Temporary {
        let mut file = Temporary::new_in(dir, "t-").unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_placed_file_never_replaces_and_leaves_no_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("final");
        let (first, second) = (temporary(dir.path(), b"first"), temporary(dir.path(), b"second"));
        assert!(matches!(first.place(&to, Keep::Name).unwrap(), Placed::New(_)));
        let Placed::Exists(second) = second.place(&to, Keep::Name).unwrap() else { panic!("it replaced the first") };
        assert_eq!((fs::read(&to).unwrap(), names(dir.path()).len()), (b"first".to_vec(), 2));
        second.replace(&to, Keep::Nothing).unwrap();
        assert_eq!((fs::read(&to).unwrap(), names(dir.path())), (b"second".to_vec(), vec!["final".into()]));
        drop(temporary(dir.path(), b"third"));
        assert_eq!(names(dir.path()), ["final"]);
    }

    #[test]
    fn without_any_way_that_never_replaces_a_rename_does() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("final");
        let unsupported =
            |file: NamedTempFile, _: &Path| Err(PersistError { error: io::ErrorKind::Unsupported.into(), file });
        assert!(matches!(
            temporary(dir.path(), b"first").place_by(&to, Keep::Content, unsupported).unwrap(),
            Placed::New(_)
        ));
        assert!(matches!(
            temporary(dir.path(), b"second").place_by(&to, Keep::Content, unsupported).unwrap(),
            Placed::Exists(_)
        ));
        assert_eq!((fs::read(&to).unwrap(), names(dir.path())), (b"first".to_vec(), vec!["final".into()]));
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        fs::write(dir.path().join("plain"), "").unwrap();
        temporary(dir.path(), b"").replace(&dir.path().join("replaced"), Keep::Name).unwrap();
        let sealed = temporary(dir.path(), b"");
        sealed.make_read_only().unwrap();
        sealed.place(&dir.path().join("sealed"), Keep::Name).unwrap();
        assert_eq!((mode("replaced"), mode("sealed")), (mode("plain"), mode("plain") & 0o444));
        fs::create_dir(dir.path().join("plain-dir")).unwrap();
        let made = temporary_dir(dir.path(), "t-").unwrap();
        assert_eq!(mode(made.path().file_name().unwrap().to_str().unwrap()), mode("plain-dir"));
    }
}
