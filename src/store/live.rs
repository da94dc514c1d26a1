//! What a collection must not take from a run that is under way.
//!
//! A run shows that it lives by a [`Heartbeat`] of its own. While one lives, `gc` keeps what its file names, and whatever was
//! written since the run began. What it finds in the store and names only then is kept by a lock: a look-up and the note of
//! what it found hold it together with others, and a collection holds it alone. Where a system has no such locks, the grace
//! period does this, as it does for everything that is no run. Must not know: what is collected, what a run is made of.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::heartbeat::{Heartbeat, Seen};
use super::{Store, check_name, place};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// How long to wait for the lock. Whoever holds it longer has stopped.
const LONGEST: Duration = Duration::from_secs(60);
/// How often a run tries to say that it lives.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(5);

/// A run that is under way, until the value is dropped.
#[derive(Debug)]
pub struct Live {
    heartbeat: Heartbeat,
}

/// While this lives, nothing is collected.
#[derive(Debug)]
pub struct Together {
    _lock: Option<File>,
}

/// While this lives, nobody looks up anything that a collection could take.
#[derive(Debug)]
pub(super) struct Alone {
    _lock: Option<File>,
}

/// The runs that are under way.
#[derive(Debug, Default)]
pub(super) struct Living {
    pub ids: Vec<String>,
    /// When the first of them began, by the clock of the file system.
    pub since: Option<SystemTime>,
    /// The signs of dead ones: paths and texts.
    pub dead: Vec<(PathBuf, Vec<u8>)>,
}

impl Store {
    /// Says that a run is under way. `None` in a store that cannot be written, which nobody can collect from either.
    pub fn live(&self, run: &str) -> Result<Option<Live>> {
        check_name("run", run)?;
        // What killed runs left keeps nothing any more. Where it cannot be removed, `gc` will do it.
        for (path, text) in self.living().map(|living| living.dead).unwrap_or_default() {
            let _ = self.take_away(&path, &text);
        }
        // A collection that began before may take the file away before it has its name.
        for _ in 0..TRIES {
            match Heartbeat::begin(self, self.dir("live").join(run)) {
                Ok(heartbeat) => return Ok(heartbeat.map(|heartbeat| Live { heartbeat })),
                Err(error) => tracing::debug!("no sign of this run: {error}"),
            }
        }
        Ok(None)
    }

    /// Whether a key was recorded since a run began, so that no collection takes it while the run lives.
    ///
    /// # Errors
    /// User: the store cannot be read.
    pub fn is_recorded_since(&self, live: &Live, stage: &str, key: &Digest) -> Result<bool> {
        let modified = place::metadata(&self.record_path(stage, key)?)?.and_then(|metadata| metadata.modified().ok());
        Ok(modified.zip(live.heartbeat.born()).is_some_and(|(modified, born)| modified >= born))
    }

    /// Keeps collections away while something is looked up and noted, or published. Waits for one that is under way.
    ///
    /// # Errors
    /// Stopped: `stop` said so while waiting.
    pub fn together(&self, stop: &dyn Fn() -> bool) -> Result<Together> {
        let Some(file) = self.lock_file() else { return Ok(Together { _lock: None }) };
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Together { _lock: Some(file) }),
                // However long it takes: the lock of a collection that died is gone with it.
                Err(TryLockError::WouldBlock) => {}
                // No locks here: the grace period protects.
                Err(TryLockError::Error(_)) => return Ok(Together { _lock: None }),
            }
            if stop() {
                return Err(Error::stopped("stopped while a garbage collection was under way"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Keeps look-ups away while something is collected.
    ///
    /// # Errors
    /// User: others hold the lock all the time.
    pub(super) fn alone(&self) -> Result<Alone> {
        let Some(file) = self.lock_file() else { return Ok(Alone { _lock: None }) };
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Alone { _lock: Some(file) }),
                Err(TryLockError::WouldBlock) if begun.elapsed() < LONGEST => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::user(format!("the store {} is in use all the time", self.root().display()))
                        .hint("collect when fewer runs are under way; nothing was removed"));
                }
                Err(TryLockError::Error(_)) => return Ok(Alone { _lock: None }),
            }
        }
    }

    /// The file that is locked, made if need be; `None` where there can be none.
    fn lock_file(&self) -> Option<File> {
        let path = self.dir("lock");
        let open = || match place::open_if_there(&path) {
            // Some shared file systems lock a file alone only for whoever may write it.
            Ok(Some(place::Opened::File(file))) => {
                File::options().read(true).write(true).open(&path).ok().or(Some(file))
            }
            _ => None,
        };
        open().or_else(|| {
            if !self.root().is_dir() {
                return None;
            }
            self.place_scratch(self.temporary("lock").ok()?, &path).ok()?;
            open()
        })
    }

    /// Which runs are under way.
    pub(super) fn living(&self) -> Result<Living> {
        let mut living = Living::default();
        for (id, path, _) in place::entries(&self.dir("live"))? {
            let Some(seen) = Seen::at(&path)? else { continue };
            if seen.is_dead() || seen.idle(self) >= self.timing.stale * 2 {
                living.dead.push((path, seen.text));
                continue;
            }
            // One whose beginning cannot be read may have begun at any time.
            let born = seen.born().unwrap_or(SystemTime::UNIX_EPOCH);
            living.since = Some(living.since.map_or(born, |since| since.min(born)));
            living.ids.push(id);
        }
        Ok(living)
    }
}
