//! Claims: who computes a key now. They keep two processes from doing the same work. If they fail, work is done twice and
//! nothing else happens, because publishing is safe without them.
//!
//! A claim is a file that is linked to its name, so it appears whole and only once. The owner rewrites the heartbeat in it *in
//! place*. If another process takes a claim over, the old owner therefore writes into a file that has no name any more, and
//! never into its successor's claim. Clocks of different machines are never compared.
//!
//! The owner also keeps the file locked. The kernel releases the lock when the process ends. So on one machine, containers
//! included, a dead owner is known at once. Locks of other machines are not trusted, because some shared file systems do not
//! forward them. For other machines, an owner is dead when its heartbeat stops. Must not know: stages, what is computed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::records::Record;
use super::{Store, now_rfc3339, place, unique};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::files::Placed;
use crate::machine;

/// What [`Store::acquire`] got.
#[derive(Debug)]
pub enum Acquired<'a> {
    /// The key is already computed.
    Hit(Record),
    /// This process may compute the key.
    Claim(Claim<'a>),
}

/// The process that computes a key now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub host: String,
    pub pid: u32,
    /// RFC 3339, by the owner's clock.
    pub since: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} (since {})", self.pid, self.host, self.since)
    }
}

/// The right to compute a key. It ends when the value is dropped. A thread of its own writes the heartbeat.
#[derive(Debug)]
pub struct Claim<'a> {
    store: &'a Store,
    stage: String,
    key: Digest,
    path: PathBuf,
    content: Content,
    heart: Option<Heart>,
}

/// Dropping the sender stops the thread, which then returns the locked file.
type Heart = (Sender<()>, JoinHandle<File>);

/// The content of `claims/<key>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    host: String,
    pid: u32,
    started: String,
    /// The kernel that keeps this file locked while the owner lives; `None` if the file could not be locked.
    #[serde(default)]
    locked_by: Option<String>,
    /// Tells this claim from every other, also of the same process.
    nonce: String,
    /// A counter with a fixed number of digits, so that a heartbeat replaces the text without changing its length.
    beat: String,
}

impl Content {
    fn text(&self, beat: u64) -> Vec<u8> {
        serde_json::to_vec(&Self { beat: format!("{beat:020}"), ..self.clone() }).unwrap_or_default()
    }
}

/// What one look at a key found.
enum Look<'a> {
    Got(Acquired<'a>),
    /// Another process computes it; `None` if the claim disappeared in the meantime.
    Busy(Option<Owner>),
}

/// A claim's text, and since when it has not changed, by our own clock.
type Watch = Option<(Vec<u8>, Instant)>;

impl Store {
    /// Returns the first of several wanted (stage, key) that is computed already or that nobody computes now: its index in
    /// `wanted`, and its record or the right to compute it. So processes that want the same keys divide them among
    /// themselves. While others compute all of the keys, this waits. Each time it looks, it calls `waiting` with the index and
    /// owner of the first. It takes over the claim of a dead owner.
    ///
    /// # Errors
    /// Stopped: `stop` said so while waiting. User: the store cannot be read, or (on a miss) not written.
    /// Fault: nothing is wanted.
    pub fn acquire_any(
        &self,
        wanted: &[(&str, Digest)],
        stop: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(usize, &Owner),
    ) -> Result<(usize, Acquired<'_>)> {
        let (mut pause, longest) = self.timing.poll;
        let mut watches: Vec<Watch> = vec![None; wanted.len()];
        loop {
            let mut busy = None;
            for (place, ((stage, key), watch)) in wanted.iter().zip(&mut watches).enumerate() {
                match self.look(stage, key, watch)? {
                    Look::Got(acquired) => return Ok((place, acquired)),
                    Look::Busy(owner) => busy = busy.or(Some((place, *stage, key, owner))),
                }
            }
            let Some((place, stage, key, owner)) = busy else {
                return Err(Error::fault("a claim was asked for, but of no key"));
            };
            if let Some(owner) = &owner {
                waiting(place, owner);
            }
            if stop() {
                let by = owner.map_or_else(|| "another process".into(), |owner| owner.to_string());
                return Err(Error::stopped(format!(
                    "stopped while waiting for {stage}/{}, computed by {by}",
                    key.short()
                )));
            }
            thread::sleep(pause);
            pause = (pause * 3 / 2).min(longest);
        }
    }

    /// [`Store::acquire_any`] of one key.
    pub fn acquire(
        &self,
        stage: &str,
        key: &Digest,
        stop: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(&Owner),
    ) -> Result<Acquired<'_>> {
        Ok(self.acquire_any(&[(stage, *key)], stop, &mut |_, owner| waiting(owner))?.1)
    }

    /// Returns the record or the claim of a key, if either is available now.
    fn look(&self, stage: &str, key: &Digest, watch: &mut Watch) -> Result<Look<'_>> {
        loop {
            if let Some(record) = self.peek_verified(stage, key)? {
                return Ok(Look::Got(Acquired::Hit(record)));
            }
            if let Some(claim) = self.try_claim(stage, key)? {
                // Somebody may have published between the look and the claim.
                let published = self.peek_verified(stage, key)?;
                return Ok(Look::Got(published.map_or_else(|| Acquired::Claim(claim), Acquired::Hit)));
            }
            let Some(seen) = Seen::at(&self.claim_path(key))? else { return Ok(Look::Busy(None)) };
            if !self.is_abandoned(&seen, watch) {
                return Ok(Look::Busy(Some(seen.owner())));
            }
            tracing::info!("taking over the claim of a dead process on {stage}/{key}");
            self.take_away(key, &seen.text)?;
        }
    }

    /// Claims the key unless it is claimed.
    fn try_claim(&self, stage: &str, key: &Digest) -> Result<Option<Claim<'_>>> {
        let path = self.claim_path(key);
        if place::metadata(&path)?.is_some() {
            return Ok(None);
        }
        let mut file = self.temporary("claim")?;
        let content = Content {
            host: machine::host(),
            pid: std::process::id(),
            started: now_rfc3339(),
            // Locked before it has its name, so that nobody ever sees the claim of a living owner unlocked.
            locked_by: lock(file.as_file()).then(machine::kernel),
            nonce: unique(),
            beat: String::new(),
        };
        file.write_all(&content.text(0)).map_err(|cause| self.write_error(&cause))?;
        let Placed::New(file) = self.place(file, &path)? else { return Ok(None) };
        let mut claim = Claim { store: self, stage: stage.to_owned(), key: *key, path, content, heart: None };
        // From here on dropping `claim` removes the file.
        let heart = beat(file, claim.content.clone(), self.timing.beat);
        claim.heart = Some(heart.map_err(|cause| {
            Error::user(format!("cannot start a thread for {stage}/{}: {cause}", key.short()))
                .hint("the system allows no more threads or open files: see `ulimit -a`")
        })?);
        claim.sweep();
        Ok(Some(claim))
    }

    /// Whether the owner of a claim is certainly, or to all appearance, dead.
    fn is_abandoned(&self, seen: &Seen, watch: &mut Watch) -> bool {
        if seen.is_dead() {
            return true;
        }
        match watch {
            Some((text, since)) if *text == seen.text => since.elapsed() >= self.timing.stale,
            _ => {
                *watch = Some((seen.text.clone(), Instant::now()));
                false
            }
        }
    }

    /// Removes the claim with this text. If several processes try, the rename lets one of them win. A process that moved the
    /// winner's new claim by mistake puts it back.
    pub(super) fn take_away(&self, key: &Digest, seen: &[u8]) -> Result<()> {
        let path = self.claim_path(key);
        let aside = self.temporary("stale")?.into_path();
        let moved = fs::rename(&path, &aside);
        if place::absent_as_none(moved).map_err(|cause| self.write_error(&cause))?.is_none() {
            return Ok(());
        }
        if place::read_if_there(&aside)?.is_none_or(|text| text != seen) {
            // If this fails there is a third claim by now, and the second one's work may be done twice.
            let _ = fs::hard_link(&aside, &path);
        }
        Ok(())
    }

    /// For `gc`: the claims whose owners are dead, or that nobody has touched for `grace`.
    pub(super) fn dead_claims(&self, grace: Duration) -> Result<Vec<(Digest, Vec<u8>)>> {
        let mut dead = Vec::new();
        for (name, path, metadata) in place::entries(&self.dir("claims"))? {
            let (Ok(key), Some(seen)) = (name.parse(), Seen::at(&path)?) else { continue };
            // A living owner beats, so its claim is young, whatever `grace` is.
            let idle = place::age(&metadata) >= grace.max(self.timing.stale * 2);
            if idle || seen.is_dead() {
                dead.push((key, seen.text));
            }
        }
        Ok(dead)
    }
}

impl<'a> Claim<'a> {
    /// The stage that was claimed.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// The key that was claimed.
    pub fn key(&self) -> &Digest {
        &self.key
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // The file stays locked until the claim is gone. Otherwise a waiting process could take the claim for a dead owner's,
        // and replace it with its own, which would then be removed here.
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
    fs::read(path)
        .ok()
        .and_then(|text| serde_json::from_slice::<Content>(&text).ok())
        .is_some_and(|content| content.nonce == nonce)
}

/// A claim as found.
struct Seen {
    file: File,
    text: Vec<u8>,
    /// `None` if the text is not that of a claim.
    content: Option<Content>,
}

impl Seen {
    fn at(path: &Path) -> Result<Option<Self>> {
        let Some(mut file) = place::absent_as_none(File::open(path)).at("read", path)? else { return Ok(None) };
        let mut text = Vec::new();
        file.read_to_end(&mut text).at("read", path)?;
        let content = serde_json::from_slice(&text).ok();
        Ok(Some(Self { file, text, content }))
    }

    /// Whether the owner has certainly ended. False for an owner of which this machine cannot know it.
    fn is_dead(&self) -> bool {
        let locked_by = self.content.as_ref().and_then(|content| content.locked_by.as_ref());
        // A shared lock is enough to find out. It needs no right to write, and does not disturb other processes that ask.
        locked_by.is_some_and(|kernel| *kernel == machine::kernel()) && self.file.try_lock_shared().is_ok()
    }

    fn owner(&self) -> Owner {
        match &self.content {
            Some(content) => Owner { host: content.host.clone(), pid: content.pid, since: content.started.clone() },
            None => Owner { host: "an unknown host".into(), pid: 0, since: "an unknown time".into() },
        }
    }
}

/// Whether the file could be locked. Only where a lock leaves the file readable for others.
fn lock(file: &File) -> bool {
    cfg!(unix) && file.try_lock().is_ok()
}

/// Starts the thread that rewrites the claim's text in place until the sender is dropped.
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
