//! The hub's cache on this machine, in the form that Hugging Face's own tools share: the content of files under its checksum
//! in `blobs/`, and for each commit a folder in `snapshots/` whose files are links to it.
//!
//! What is on its way is `blobs/NAME.part`, which one process at a time may write. Must not know: where files come from, and
//! what they say.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, IoContext, Result};
use crate::files::{self, Stamp};

/// How often a lock of another process is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The cache of one repository.
pub(super) struct RepoCache {
    root: PathBuf,
}

/// The right to write one blob, until this is dropped.
pub(super) struct Claim {
    _lock: File,
    pub blob: PathBuf,
    pub part: PathBuf,
}

impl RepoCache {
    /// `cache` is the folder that other tools call `HF_HUB_CACHE`.
    pub fn new(cache: &Path, repo: &str) -> Self {
        Self { root: cache.join(format!("models--{}", repo.replace('/', "--"))) }
    }

    /// Where the files of a commit are.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Waits for the right to write a blob. Whoever has it must go on writing meanwhile: what does not grow for `patience`
    /// is not waited for.
    pub fn claim(&self, name: &str, patience: Duration, waiting: &dyn Fn()) -> Result<Claim> {
        let blobs = self.root.join("blobs");
        files::create_dir_all(&blobs)?;
        let at = blobs.join(format!("{name}.lock"));
        let (blob, part) = (blobs.join(name), blobs.join(format!("{name}.part")));
        let lock = files::append(&at)?;
        let length = || Stamp::of(&part).map(|stamp| stamp.bytes).ok();
        let (mut grew, mut last) = (Instant::now(), length());
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Claim { _lock: lock, blob, part }),
                Err(std::fs::TryLockError::WouldBlock) => {}
                // Some network file systems have no locks; then two downloads at once are told apart by the checksum.
                Err(std::fs::TryLockError::Error(cause)) if cause.kind() == std::io::ErrorKind::Unsupported => {
                    return Ok(Claim { _lock: lock, blob, part });
                }
                Err(std::fs::TryLockError::Error(cause)) => return Err(cause).at("lock", &at),
            }
            if !std::mem::replace(&mut told, true) {
                waiting();
            }
            std::thread::sleep(TICK);
            let now = length();
            if now != last {
                (grew, last) = (Instant::now(), now);
            } else if grew.elapsed() > patience {
                let message = format!("another process is downloading this file (it holds {})", at.display());
                return Err(Error::user(message).hint("wait for it and run again"));
            }
        }
    }

    /// Makes a file of a snapshot lead to a blob. What had its name is replaced.
    pub fn link(&self, blob: &Path, file: &Path) -> Result<()> {
        let folder = file.parent().unwrap_or(&self.root);
        files::create_dir_all(folder)?;
        files::remove(file)?;
        // Relative, so that the cache can be moved.
        let name = blob.file_name().unwrap_or_default();
        files::link(&Path::new("..").join("..").join("blobs").join(name), blob, file)
    }

    /// Tells other tools which commit a branch or tag was, unless they know one already.
    pub fn note(&self, revision: &str, commit: &str) -> Result<()> {
        let file = self.root.join("refs").join(revision);
        if revision == commit || files::is_there(&file) {
            return Ok(());
        }
        files::create_dir_all(file.parent().unwrap_or(&self.root))?;
        files::write_atomic(&file, commit.as_bytes())
    }

    /// Removes a file of a snapshot and, inside of the cache only, what it leads to.
    pub fn discard(&self, file: &Path) -> Result<()> {
        let blob = Stamp::of(file)?.path;
        if blob.starts_with(Stamp::of(&self.root)?.path) {
            files::remove(&blob)?;
        }
        files::remove(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_writes_a_blob_and_others_wait_while_it_grows() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), "owner/tiny");
        let patience = Duration::from_millis(700);
        let first = cache.claim("b", patience, &|| panic!("nobody else is here")).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let told = std::cell::Cell::new(0);
                let second = cache.claim("b", patience, &|| told.set(told.get() + 1)).map(drop);
                (second, told.get())
            });
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(150));
                std::io::Write::write_all(&mut files::append(&first.part).unwrap(), b"more").unwrap();
            }
            drop(first);
            let (second, told) = waits.join().unwrap();
            assert!(second.is_ok() && told == 1, "it waited longer than its patience, for there was progress");
        });

        let first = cache.claim("b", patience, &|| ()).unwrap();
        let error = cache.claim("b", patience, &|| ()).map(drop).unwrap_err();
        assert!(error.message().starts_with("another process is downloading this file (it holds "), "{error}");
        assert!(cache.claim("other", patience, &|| panic!("this is another blob")).is_ok());
        drop(first);
    }

    #[test]
    fn links_can_be_moved_with_the_cache_and_refs_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(&dir.path().join("hub"), "owner/tiny");
        let claim = cache.claim("b", Duration::ZERO, &|| ()).unwrap();
        files::write_atomic(&claim.blob, b"content").unwrap();
        let file = cache.snapshot("commit").join("config.json");
        for _ in 0..2 {
            cache.link(&claim.blob, &file).unwrap();
        }
        files::rename(&dir.path().join("hub"), &dir.path().join("moved")).unwrap();
        let moved = dir.path().join("moved/models--owner--tiny");
        assert_eq!(files::read(&moved.join("snapshots/commit/config.json")).unwrap(), b"content");

        let cache = RepoCache::new(&dir.path().join("moved"), "owner/tiny");
        for commit in ["first", "second"] {
            cache.note("refs/pr/1", commit).unwrap();
            cache.note(commit, commit).unwrap();
        }
        assert_eq!(files::read(&moved.join("refs/refs/pr/1")).unwrap(), b"first");
        assert!(!moved.join("refs/second").exists());
    }
}
