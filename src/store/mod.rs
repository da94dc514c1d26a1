//! The store (`artifacts/`): immutable bytes named by their digest, and records that say which of
//! them a stage key produced. There is no database and no lock that outlives a crash: everything is
//! a file that appears whole or not at all.
//!
//! | path | what it is | file here |
//! | --- | --- | --- |
//! | `blobs/ab/abcdef…` | read-only bytes, named by their BLAKE3 digest | `blobs.rs`, `stream.rs` |
//! | `records/<stage>/<key>.json` | what a key produced; the commit point | `records.rs` |
//! | `claims/<key>` | who computes the key now; saves work, never needed for correctness | `claims.rs` |
//! | `partial/<key>/…` | shards already done, so that a killed stage goes on where it was | `partial.rs` |
//! | `runs/<id>.json`, `runs/<id>.pin` | a run and its keys, roots of the garbage collection | `runs.rs` |
//! | `runs/<id>.about` | the name, tags and note that a person gave a run | `about.rs` |
//! | `live/<id>` | a run that is under way; what it uses is not collected | `live.rs` |
//! | `memo/` | values remembered under a file's [`Stamp`](crate::files::Stamp), such as "its digest is right" | `memo.rs` |
//! | `quarantine/` | damaged files, kept for whoever wants to know why | `quarantine.rs` |
//! | `tmp/` | files being written; anything old here was left by a crash | `place.rs` |
//! | `lock` | keeps a collection and a look-up apart | `live.rs` |
//! | `sources/` | downloaded models; their room fills it, this one only counts it | `fsck.rs` |
//!
//! Nothing is believed unchecked: a blob has the digest that is its name, a shard begins with its digest, and records, runs
//! and memos end in it (`sealed.rs`).
//!
//! Reading never needs a writable (or even existing) directory. Must not know: any stage, what is
//! inside an artifact, the terminal.
#![allow(clippy::disallowed_methods, reason = "this room is the other door to the file system")]

mod about;
mod blobs;
mod claims;
mod fsck;
mod gc;
mod heartbeat;
mod live;
mod memo;
mod partial;
mod place;
mod quarantine;
mod records;
mod runs;
mod sealed;
mod stream;

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};

pub use about::{About, words};
pub use blobs::Output;
pub use claims::{Acquired, Claim};
pub use fsck::{DiskUse, FsckReport, Listed, MissingOutput};
pub use gc::{GcOptions, GcReport, Removed};
pub use heartbeat::Owner;
pub use live::{Live, Together};
pub use quarantine::{Damage, Unusable};
pub use records::{Cost, OutputRef, Record};
pub use runs::{Run, RunNode, new_run_id};
pub use stream::{BlobWriter, Written};

/// A store in one directory. Cheap to open; shared freely between threads.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    timing: Timing,
    damage: Mutex<Vec<Damage>>,
    /// Keys whose records cannot be right, although each is whole.
    disowned: Mutex<HashSet<Digest>>,
    /// If memos of other processes are not believed: the memos that this one wrote.
    own_memos: Option<Mutex<HashSet<PathBuf>>>,
}

/// How claims wait and give up; fixed but for the tests, which have no minutes to spend.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// Between two heartbeats of a claim.
    beat: Duration,
    /// A heartbeat that stood still this long, by one clock, belongs to a dead owner.
    stale: Duration,
    /// The same of an owner that had this machine's name, but another kernel: the machine was started again.
    rebooted: Duration,
    /// The first and the longest pause between two looks at a busy key.
    poll: (Duration, Duration),
}

const TIMING: Timing = Timing {
    beat: Duration::from_secs(5),
    stale: Duration::from_secs(30),
    rebooted: Duration::from_secs(12),
    poll: (Duration::from_millis(100), Duration::from_secs(1)),
};

impl Store {
    /// Opens the store at `root`. The directory and its parts are created when something is first
    /// written, so a store that is missing or not writable can still be looked into.
    ///
    /// # Errors
    /// User: `root` (or a parent of it) is a file, or may not be entered.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).at("find the store", root)?;
        match fs::metadata(&root) {
            Ok(metadata) if !metadata.is_dir() => Err(not_a_directory(&root)),
            Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => Err(not_a_directory(&root)),
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::io("open the store", &root, &cause)),
            _ => {
                Ok(Self { root, timing: TIMING, damage: Mutex::default(), disowned: Mutex::default(), own_memos: None })
            }
        }
    }

    /// The same store, which believes nothing that was remembered before: every digest is taken again, once.
    #[must_use]
    pub fn rehashing(self) -> Self {
        Self { own_memos: Some(Mutex::default()), ..self }
    }

    /// The store's directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What this process found damaged so far, oldest first, each file once.
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn partial_dir(&self, key: &Digest) -> PathBuf {
        self.dir("partial").join(key.to_string())
    }

    fn claim_path(&self, key: &Digest) -> PathBuf {
        self.dir("claims").join(key.to_string())
    }

    /// A failure to write anything into the store: names the store and not some temporary file.
    fn write_error(&self, cause: &io::Error) -> Error {
        match cause.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => not_a_directory(&self.root),
            _ => Error::io("write into the store", &self.root, cause),
        }
    }

    /// As [`Store::write_error`], and where only a folder of the store may not be written, it is named.
    fn write_error_in(&self, dir: &Path, cause: &io::Error) -> Error {
        let error = self.write_error(cause);
        let folder = dir.ancestors().find(|place| place.is_dir()).and_then(|place| place.strip_prefix(&self.root).ok());
        match folder.filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) if cause.kind() == io::ErrorKind::PermissionDenied => {
                let root = self.root.display();
                Error::user(format!("{} in its folder {}", error.message(), folder.display())).hint(format!(
                    "if a group shares the store, its owner types `chgrp -R GROUP {root}; chmod -R g+rwX {root}; find \
                         {root} -type d -exec chmod g+s {{}} +`; or choose another place: --set 'run.store=\"DIR\"'"
                ))
            }
            _ => error,
        }
    }
}

fn not_a_directory(root: &Path) -> Error {
    Error::user(format!("the store {} is not a directory, or a part of it is a file", root.display()))
        .hint("`run.store` must name a directory, or one that can be created: --set 'run.store=\"DIR\"'")
}

/// Stage, shard and run names become file names, so they must be harmless ones.
fn check_name(what: &str, name: &str) -> Result<()> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.bytes().all(harmless) {
        return Err(Error::fault(format!("`{name}` cannot be the name of a {what} in the store")));
    }
    Ok(())
}

/// Now, in UTC, as RFC 3339: `2026-01-02T03:04:05Z`. Only ever shown or sorted by.
pub fn now_rfc3339() -> String {
    rfc3339(SystemTime::now())
}

/// The same without separators, so that it can begin a file name: `20260102T030405Z`.
fn compact(time: SystemTime) -> String {
    rfc3339(time).replace(['-', ':'], "")
}

/// A time before 1970 counts as 1970.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(UNIX_EPOCH)).to_string()
}

/// Sixteen hexadecimal digits that no other call, process or machine draws.
fn unique() -> String {
    // The standard library's only door to the system's randomness.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests;
