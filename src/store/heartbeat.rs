//! A file that says that its process lives: claims and the signs of running runs are such files.
//!
//! The file is linked to its name, so it appears whole and only once. Its owner rewrites the heartbeat in it *in place*. If
//! another process takes the file away, the old owner therefore writes into a file that has no name any more, and never into
//! its successor's.
//!
//! The owner also keeps the file locked. The kernel releases the lock when the process ends. So on one machine, containers
//! included, a dead owner is known at once. Locks of other machines are not trusted, because some shared file systems do not
//! forward them. There, an owner is dead when its heartbeat stops. How long it stood still is asked of the file system, which
//! stamps the heartbeat and a new file with one clock. Clocks of different machines are never compared.
//! Must not know: what the process does.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Store, Timing, now_rfc3339, place, unique};
use crate::error::{Error, IoContext, Result};
use crate::files::Placed;
use crate::machine;

/// The process that keeps a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub host: String,
    pub pid: u32,
    /// RFC 3339, by the owner's clock.
    pub since: String,
    /// How many more seconds without a heartbeat end its right; `None` where its end is noticed at once.
    pub patience: Option<u64>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (since {})", self.pid, self.host, self.since)
    }
}

/// A heartbeat of this process. It stops, and its file goes, when the value is dropped. A thread of its own writes it.
#[derive(Debug)]
pub(super) struct Heartbeat {
    path: PathBuf,
    content: Content,
    heart: Option<Heart>,
}

/// Dropping the sender stops the thread, which then returns the locked file.
type Heart = (Sender<()>, JoinHandle<File>);

/// The content of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    host: String,
    pid: u32,
    started: String,
    /// The kernel that keeps this file locked while the owner lives; `None` if the file could not be locked.
    #[serde(default)]
    locked_by: Option<String>,
    /// When the file was made, by the clock of the file system, in nanoseconds since 1970.
    #[serde(default)]
    born: u64,
    /// Tells this file from every other, also of the same process.
    nonce: String,
    /// A counter with a fixed number of digits, so that a heartbeat replaces the text without changing its length.
    beat: String,
}

impl Content {
    fn born(&self) -> Option<SystemTime> {
        Some(self.born).filter(|born| *born > 0).and_then(|born| UNIX_EPOCH.checked_add(Duration::from_nanos(born)))
    }

    fn text(&self, beat: u64) -> Vec<u8> {
        serde_json::to_vec(&Self { beat: format!("{beat:020}"), ..self.clone() }).unwrap_or_default()
    }
}

impl Heartbeat {
    /// Begins to beat in a new file at `path`; `None` if there is something already.
    ///
    /// # Errors
    /// User: the store cannot be written, or the system starts no thread.
    pub fn begin(store: &Store, path: PathBuf) -> Result<Option<Self>> {
        if place::metadata(&path)?.is_some() {
            return Ok(None);
        }
        let mut file = store.temporary("heartbeat")?;
        let content = Content {
            host: machine::host(),
            pid: std::process::id(),
            started: now_rfc3339(),
            // Locked before it has its name, so that nobody ever sees the file of a living owner unlocked.
            locked_by: lock(file.as_file()).then(machine::kernel),
            born: file.as_file().metadata().and_then(|made| made.modified()).map_or(0, nanoseconds),
            nonce: unique(),
            beat: String::new(),
        };
        file.write_all(&content.text(0)).map_err(|cause| store.write_error(&cause))?;
        let Placed::New(file) = store.place_scratch(file, &path)? else { return Ok(None) };
        let mut heartbeat = Self { path, content, heart: None };
        // From here on dropping `heartbeat` removes the file.
        let heart = beat(file, heartbeat.content.clone(), store.timing.beat);
        heartbeat.heart = Some(heart.map_err(|cause| {
            Error::user(format!("cannot start a thread: {cause}"))
                .hint("the system allows no more threads or open files: see `ulimit -a`")
        })?);
        Ok(Some(heartbeat))
    }

    /// When the file was made, by the clock of the file system.
    pub fn born(&self) -> Option<SystemTime> {
        self.content.born()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // The file stays locked until it is gone. Otherwise a waiting process could take it for a dead owner's, and replace
        // it with its own, which would then be removed here.
        let _locked = self.heart.take().and_then(|(sender, thread)| {
            drop(sender);
            thread.join().ok()
        });
        if is_ours(&self.path, &self.content.nonce) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_ours(path: &Path, nonce: &str) -> bool {
    let text = place::read_if_there(path).ok().flatten();
    text.and_then(|text| serde_json::from_slice::<Content>(&text).ok()).is_some_and(|content| content.nonce == nonce)
}

/// A heartbeat's file as found.
pub(super) struct Seen {
    /// `None` for what is no file and cannot be locked.
    file: Option<File>,
    pub text: Vec<u8>,
    modified: Option<SystemTime>,
    /// `None` if the text is not that of a heartbeat.
    content: Option<Content>,
}

/// A heartbeat's text, and since when it has not changed, by our own clock.
pub(super) type Watch = Option<(Vec<u8>, Instant)>;

impl Seen {
    pub fn at(path: &Path) -> Result<Option<Self>> {
        let Some(file) = place::open_if_there(path)? else { return Ok(None) };
        let place::Opened::File(mut file) = file else {
            let modified = place::metadata(path)?.and_then(|metadata| metadata.modified().ok());
            return Ok(Some(Self { file: None, text: Vec::new(), modified, content: None }));
        };
        let mut text = Vec::new();
        file.read_to_end(&mut text).at("read", path)?;
        let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
        let content = serde_json::from_slice(&text).ok();
        Ok(Some(Self { file: Some(file), text, modified, content }))
    }

    /// Whether the owner has certainly ended. False for an owner of which this machine cannot know it.
    pub fn is_dead(&self) -> bool {
        // A shared lock is enough to find out. It needs no right to write, and does not disturb other processes that ask.
        self.is_local() && self.file.as_ref().is_some_and(|file| file.try_lock_shared().is_ok())
    }

    /// Whether the owner's lock is one of this kernel's, which tells at once when the owner ends.
    fn is_local(&self) -> bool {
        let locked_by = self.content.as_ref().and_then(|content| content.locked_by.as_ref());
        locked_by.is_some_and(|kernel| *kernel == machine::kernel())
    }

    /// How long a heartbeat may stand still. This machine under another kernel was started again since, unless it shares its
    /// name with another one: a few beats tell.
    fn patience(&self, timing: &Timing) -> Duration {
        let namesake = self.content.as_ref().is_some_and(|content| content.host == machine::host());
        if namesake && !self.is_local() { timing.rebooted } else { timing.stale }
    }

    /// Whether the owner is certainly, or to all appearance, dead. `watch` remembers what the last look saw.
    pub fn is_abandoned(&self, store: &Store, watch: &mut Watch) -> bool {
        if self.is_dead() {
            return true;
        }
        if watch.as_ref().is_none_or(|(text, _)| *text != self.text) {
            // A living owner of this machine may have slept together with the machine, and its lock says that it lives.
            let stood = if self.is_local() { Duration::ZERO } else { self.idle(store) };
            *watch = Instant::now()
                .checked_sub(stood)
                .or_else(|| Some(Instant::now()))
                .map(|since| (self.text.clone(), since));
        }
        watch.as_ref().is_some_and(|(_, since)| since.elapsed() >= self.patience(&store.timing))
    }

    /// How long ago the last heartbeat was, by the clock of the file system; zero where it does not tell.
    pub fn idle(&self, store: &Store) -> Duration {
        let now = store.clock();
        now.zip(self.modified).and_then(|(now, beat)| now.duration_since(beat).ok()).unwrap_or_default()
    }

    /// When the file was made, by the clock of the file system.
    pub fn born(&self) -> Option<SystemTime> {
        self.content.as_ref()?.born()
    }

    pub fn owner(&self, store: &Store, watch: &Watch) -> Owner {
        let stood = watch.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let patience = (!self.is_local()).then(|| self.patience(&store.timing).saturating_sub(stood).as_secs().max(1));
        match &self.content {
            Some(Content { host, pid, started, .. }) => {
                Owner { host: host.clone(), pid: *pid, since: started.clone(), patience }
            }
            None => Owner { host: "an unknown host".into(), pid: 0, since: "an unknown time".into(), patience },
        }
    }
}

impl Store {
    /// Now, by the clock of the store's file system; `None` in a store that cannot be written.
    fn clock(&self) -> Option<SystemTime> {
        self.temporary("clock").ok()?.as_file().metadata().and_then(|made| made.modified()).ok()
    }

    /// Removes the heartbeat file with this text. If several processes try, the rename lets one of them win. A process that
    /// moved the winner's new file by mistake puts it back.
    pub(super) fn take_away(&self, path: &Path, seen: &[u8]) -> Result<()> {
        let aside = self.temporary("stale")?.into_path();
        let moved = fs::rename(path, &aside);
        if place::absent_as_none(moved).map_err(|cause| self.write_error(&cause))?.is_none() {
            return Ok(());
        }
        if place::read_if_there(&aside)?.is_none_or(|text| text != seen) {
            // If this fails there is a third file by now, and the second one's work may be done twice.
            let _ = fs::hard_link(&aside, path);
        }
        Ok(())
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// Whether the file could be locked. Only where a lock leaves the file readable for others.
fn lock(file: &File) -> bool {
    cfg!(unix) && file.try_lock().is_ok()
}

/// Starts the thread that rewrites the text in place until the sender is dropped.
fn beat(mut file: File, content: Content, every: Duration) -> io::Result<Heart> {
    let (sender, stop) = mpsc::channel::<()>();
    let body = move || {
        let mut count = 0_u64;
        while stop.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            count = count.wrapping_add(1);
            // Flushed, so that other machines see it. A failure only makes us look dead to them.
            let beaten = file
                .seek(SeekFrom::Start(0))
                .and_then(|_| file.write_all(&content.text(count)))
                .and_then(|()| file.sync_data());
            if let Err(cause) = beaten {
                tracing::debug!("a heartbeat failed: {cause}");
            }
        }
        file
    };
    Ok((sender, thread::Builder::new().name("store-heartbeat".into()).spawn(body)?))
}
