//! Writing an exported directory, whole or not at all.
//!
//! Everything is written into a directory with a temporary name, beside the final one. It gets its final name at the end. If an
//! export was killed, the next export to the same place removes what it left. Shards are copied by the operating system, which
//! shares their blocks if the file system can. In shards that the patch touches, the bytes of the edited weights are then
//! written.
//!
//! The operating system decides when copied shards reach the disk, as with `cp`. Waiting for gigabytes would at least double
//! the time. So a killed process leaves no half export, but a power failure soon after an export may leave one. `dean verify`
//! finds it, and it can be made again. Must not know: points, the store.

use std::fs::File;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use tempfile::TempDir;

use super::contents::{Content, Contents, Item};
use super::edits::{Edit, check_present};
use crate::error::{Error, IoContext, Result};
use crate::files;

/// The file whose lock says that an export is going on.
const LOCK: &str = ".dean-export";

/// How an export is to be written.
pub struct Ways<'a> {
    /// Untouched shards are hard links to the base's.
    pub link: bool,
    /// Whether to stop; asked before every file.
    pub stop: &'a dyn Fn() -> bool,
}

/// How the files came into the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tally {
    /// Shards that were copied and edited.
    pub edited: usize,
    /// Shards that were copied.
    pub copied: usize,
    /// Shards that are the base's own files under a second name.
    pub linked: usize,
    /// Files of weights that were converted from another format.
    pub converted: usize,
    pub others: usize,
}

/// Writes the directory. `own` are files about the export: names and contents.
///
/// # Errors
/// User: the directory exists and is not empty, lies in the base model's, or cannot be written; weights that are not what
/// the patch expects. Stopped: when `ways.stop` says so.
pub fn write(dir: &Path, contents: &Contents<'_>, own: &[(&str, Vec<u8>)], ways: &Ways<'_>) -> Result<Tally> {
    check_free(dir)?;
    check_outside(dir, contents.base())?;
    let unfinished = Unfinished::begin(dir)?;
    let mut tally = Tally::default();
    for (name, bytes) in own {
        files::write_atomic(&unfinished.dir.path().join(name), bytes)?;
    }
    tally.others += own.len();
    // Small files are flushed one by one, and come first: after the large ones, some file systems would flush those too.
    let weights = |item: &&Item| matches!(item.content, Content::Shard { .. } | Content::Tensors(_));
    let (large, small): (Vec<&Item>, Vec<&Item>) = contents.items.iter().partition(weights);
    for item in small.into_iter().chain(large) {
        if (ways.stop)() {
            return Err(Error::stopped(format!("stopped before {} was whole; nothing of it was kept", dir.display()))
                .hint("type the same command again to export it"));
        }
        write_item(unfinished.dir.path(), contents, item, ways.link, &mut tally)?;
    }
    unfinished.finish(dir)?;
    Ok(tally)
}

/// Whether an export could get this name.
///
/// # Errors
/// User: there is something.
pub fn check_free(dir: &Path) -> Result<()> {
    let taken = |why: &str| {
        Err(Error::user(format!("{} {why}", dir.display())).hint("name a directory that does not exist yet"))
    };
    if !files::is_there(dir) {
        Ok(())
    } else if files::is_link(dir) || !dir.is_dir() {
        taken("is there already and is not a directory")
    } else if files::list(dir)?.is_empty() {
        Ok(())
    } else {
        taken("is not empty; an export does not mix with other files")
    }
}

/// Whether a path lies outside of the base model's directory. Tools take files in there for parts of the model.
///
/// # Errors
/// User: it does not.
pub fn check_outside(path: &Path, base: &Path) -> Result<()> {
    if !base.is_dir() || !files::resolve(path).starts_with(files::resolve(base)) {
        return Ok(());
    }
    Err(Error::user(format!("{} lies in the directory of the base model", path.display()))
        .hint("name a place outside of it: tools would take what lies there for a part of the model"))
}

fn write_item(dir: &Path, contents: &Contents<'_>, item: &Item, link: bool, tally: &mut Tally) -> Result<()> {
    let path = dir.join(&item.name);
    if let Some(parent) = path.parent() {
        files::create_dir_all(parent)?;
    }
    match &item.content {
        Content::Copied(base) => {
            files::copy(base, &path)?;
            tally.others += 1;
        }
        Content::Shard { base, edits } if edits.is_empty() && link => {
            files::hard_link(base, &path)
                .map_err(|error| error.hint("hard links need one file system that has them; leave --link out"))?;
            tally.linked += 1;
        }
        Content::Shard { base, edits } => {
            files::copy(base, &path)?;
            if edits.is_empty() {
                tally.copied += 1;
            } else {
                check_present(&path, edits, Edit::before)?;
                files::overwrite(&path, edits.iter().map(|edit| (edit.at, edit.after())))?;
                tally.edited += 1;
            }
        }
        Content::Made(bytes) => {
            files::write_atomic(&path, bytes)?;
            tally.others += 1;
        }
        Content::Tensors(_) => {
            let mut file = std::io::BufWriter::new(files::create_new(&path)?);
            contents.produce(item, &mut file, &|cause| Error::io("write", &path, cause))?;
            let file = file.into_inner().map_err(|failed| Error::io("write", &path, failed.error()))?;
            file.sync_all().at("write", &path)?;
            tally.converted += 1;
        }
    }
    Ok(())
}

/// A directory that does not have its final name yet. Dropping the value removes it.
struct Unfinished {
    dir: TempDir,
    /// Held while the export goes on.
    lock: Option<File>,
}

impl Unfinished {
    fn begin(dir: &Path) -> Result<Self> {
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(Error::user(format!("{} cannot be the name of an export", dir.display())));
        };
        files::create_dir_all(parent)?;
        let prefix = format!(".{}.dean-export-", name.to_string_lossy());
        for left in files::list(parent)? {
            if left.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) && is_left(&left) {
                files::remove(&left)?;
            }
        }
        let dir = files::temporary_dir(parent, &prefix)?;
        let file = files::create_new(&dir.path().join(LOCK))?;
        // On a file system without locks, what a killed export left is not removed.
        let lock = file.try_lock().is_ok().then_some(file);
        Ok(Self { dir, lock })
    }

    fn finish(self, dir: &Path) -> Result<()> {
        // Another export may have finished first.
        check_free(dir)?;
        // An empty directory gives way to a whole one. Until then the lock keeps others from removing it.
        files::rename(self.dir.path(), dir)?;
        // The temporary name is gone, so nothing is to be removed.
        let _ = self.dir.keep();
        drop(self.lock);
        files::remove(&dir.join(LOCK))
    }
}

/// Whether nobody writes into an unfinished directory any more.
fn is_left(dir: &Path) -> bool {
    files::open(&dir.join(LOCK)).is_ok_and(|file| file.try_lock().is_ok())
}
