//! Claims: who computes a key now. They keep two processes from doing the same work; nothing is wrong
//! when they fail, because publishing is safe without them.
//!
//! A claim is a file linked to its name (so it appears whole and only once) whose heartbeat is
//! rewritten *in place*: an owner that was taken over rewrites a file without a name, never its
//! successor's claim. No clock of another machine is ever compared with ours. Must not know: stages,
//! what is computed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::place::{self, Placed};
use super::process::{self, Identity};
use super::records::Record;
use super::{Store, clock};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// What [`Store::acquire`] got.
#[derive(Debug)]
pub enum Acquired<'a> {
    /// It is computed already.
    Hit(Record),
    /// It is ours to compute.
    Claim(Claim<'a>),
}

/// Whoever computes a key now.
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

/// The right to compute a key; given up when dropped. Its heart beats in a thread of its own.
#[derive(Debug)]
pub struct Claim<'a> {
    store: &'a Store,
    stage: String,
    key: Digest,
    path: PathBuf,
    content: Content,
    /// Dropping the sender stops the thread.
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

/// The content of `claims/<key>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    #[serde(flatten)]
    process: Identity,
    started: String,
    /// Tells this claim from every other, also of the same process.
    nonce: String,
    /// Counts up with a fixed number of digits, so that a beat replaces the text without a change of length.
    beat: String,
}

impl Content {
    fn text(&self, beat: u64) -> Vec<u8> {
        serde_json::to_vec(&Self { beat: format!("{beat:020}"), ..self.clone() }).unwrap_or_default()
    }
}

/// A claim's text and since when, by our own clock, it has stood still.
type Watch = Option<(Vec<u8>, Instant)>;

impl Store {
    /// The record of a key, or the right to compute it. While another process computes it this waits,
    /// calling `waiting` once per look; a dead owner's claim is taken over.
    ///
    /// # Errors
    /// Stopped: `stop` said so while waiting. User: the store cannot be read, or (on a miss) not written.
    pub fn acquire(
        &self,
        stage: &str,
        key: &Digest,
        stop: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(&Owner),
    ) -> Result<Acquired<'_>> {
        let (mut pause, longest) = self.timing.poll;
        let mut watch: Watch = None;
        loop {
            if let Some(record) = self.peek_verified(stage, key)? {
                return Ok(Acquired::Hit(record));
            }
            if let Some(claim) = self.try_claim(stage, key)? {
                // Somebody may have published between the look and the claim.
                let published = self.peek_verified(stage, key)?;
                return Ok(published.map_or_else(|| Acquired::Claim(claim), Acquired::Hit));
            }
            let mut owner = None;
            if let Some(text) = place::read_if_there(&self.claim_path(key))? {
                if self.is_abandoned(&text, &mut watch) {
                    tracing::info!("taking over the claim of a dead process on {stage}/{key}");
                    self.take_away(key, &text)?;
                    continue;
                }
                let seen = owner_of(&text);
                waiting(&seen);
                owner = Some(seen);
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

    /// Claims the key unless it is claimed.
    fn try_claim(&self, stage: &str, key: &Digest) -> Result<Option<Claim<'_>>> {
        let path = self.claim_path(key);
        if place::metadata(&path)?.is_some() {
            return Ok(None);
        }
        let content = Content {
            process: Identity::of_this_process(),
            started: clock::now_rfc3339(),
            nonce: process::unique(),
            beat: String::new(),
        };
        let file = self.temporary("claim", &content.text(0))?;
        let placed = file.link(&path).map_err(|cause| self.write_error(&cause))?;
        if placed == Placed::Exists {
            return Ok(None);
        }
        let mut claim = Claim { store: self, stage: stage.to_owned(), key: *key, path, content, heart: None };
        // From here on dropping `claim` removes the file.
        let heart = file.file.try_clone().and_then(|file| beat(file, claim.content.clone(), self.timing.beat));
        claim.heart = Some(heart.map_err(|cause| {
            Error::user(format!("cannot start a thread for {stage}/{}: {cause}", key.short()))
                .hint("the system allows no more threads or open files: see `ulimit -a`")
        })?);
        claim.sweep();
        Ok(Some(claim))
    }

    /// Whether the owner of a claim is certainly, or to all appearance, dead.
    fn is_abandoned(&self, text: &[u8], watch: &mut Watch) -> bool {
        if serde_json::from_slice::<Content>(text).is_ok_and(|content| content.process.is_dead()) {
            return true;
        }
        match watch {
            Some((seen, since)) if seen == text => since.elapsed() >= self.timing.stale,
            _ => {
                *watch = Some((text.to_vec(), Instant::now()));
                false
            }
        }
    }

    /// Removes the claim with this text. Several may try: the rename lets one win, and whoever grabbed
    /// the winner's new claim by mistake puts it back.
    pub(super) fn take_away(&self, key: &Digest, seen: &[u8]) -> Result<()> {
        let path = self.claim_path(key);
        let aside = self.dir("tmp").join(format!("stale-{}", process::unique()));
        let moved = fs::create_dir_all(self.dir("tmp")).and_then(|()| fs::rename(&path, &aside));
        if place::absent_as_none(moved).map_err(|cause| self.write_error(&cause))?.is_none() {
            return Ok(());
        }
        if place::read_if_there(&aside)?.is_none_or(|text| text != seen) {
            // If this fails there is a third claim by now, and the second one's work may be done twice.
            let _ = fs::hard_link(&aside, &path);
        }
        place::remove_file(&aside).map(|_| ())
    }

    /// For `gc`: the claims whose owners are dead, or that nobody has touched for `grace`.
    pub(super) fn dead_claims(&self, grace: Duration) -> Result<Vec<(Digest, Vec<u8>)>> {
        let mut dead = Vec::new();
        for (name, path, metadata) in place::entries(&self.dir("claims"))? {
            let (Ok(key), Some(text)) = (name.parse(), place::read_if_there(&path)?) else { continue };
            let content = serde_json::from_slice::<Content>(&text);
            // A living owner beats, so its claim is young, whatever `grace` is.
            let idle = place::age(&metadata) >= grace.max(self.timing.stale * 2);
            if idle || content.is_ok_and(|content| content.process.is_dead()) {
                dead.push((key, text));
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
        if let Some((sender, thread)) = self.heart.take() {
            drop(sender);
            let _ = thread.join();
        }
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

fn owner_of(text: &[u8]) -> Owner {
    serde_json::from_slice::<Content>(text).map_or_else(
        |_| Owner { host: "an unknown host".into(), pid: 0, since: "an unknown time".into() },
        |content| Owner { host: content.process.host, pid: content.process.pid, since: content.started },
    )
}

/// Starts the thread that rewrites the claim's text in place until the sender is dropped.
fn beat(mut file: File, content: Content, every: Duration) -> io::Result<(Sender<()>, JoinHandle<()>)> {
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
    };
    Ok((sender, thread::Builder::new().name("store-heartbeat".into()).spawn(body)?))
}
