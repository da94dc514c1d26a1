//! Claims: who computes a key now. They keep two processes from doing the same work. If they fail, work is done twice and
//! nothing else happens, because publishing is safe without them.
//!
//! A claim is the [`Heartbeat`] of the process that computes the key, so a claim whose owner died is taken over.
//! Must not know: stages, what is computed; how a process shows that it lives.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::heartbeat::{Heartbeat, Owner, Seen, Watch};
use super::records::Record;
use super::{Store, place};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// What [`Store::acquire`] got.
#[derive(Debug)]
pub enum Acquired<'a> {
    /// The key is already computed.
    Hit(Record),
    /// This process may compute the key.
    Claim(Claim<'a>),
}

/// The right to compute a key. It ends when the value is dropped.
#[derive(Debug)]
pub struct Claim<'a> {
    store: &'a Store,
    stage: String,
    key: Digest,
    /// Dropping it removes the claim.
    _heartbeat: Heartbeat,
}

/// What one look at a key found.
enum Look<'a> {
    Got(Acquired<'a>),
    /// Another process computes it; `None` if the claim disappeared in the meantime.
    Busy(Option<Owner>),
}

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
            if !seen.is_abandoned(self, watch) {
                return Ok(Look::Busy(Some(seen.owner(self, watch))));
            }
            tracing::info!("taking over the claim of a dead process on {stage}/{key}");
            self.take_away(&self.claim_path(key), &seen.text)?;
        }
    }

    /// Claims the key unless it is claimed.
    fn try_claim(&self, stage: &str, key: &Digest) -> Result<Option<Claim<'_>>> {
        let heartbeat = Heartbeat::begin(self, self.claim_path(key))
            .map_err(|error| error.within(format!("{stage}/{}", key.short())))?;
        let Some(heartbeat) = heartbeat else { return Ok(None) };
        let claim = Claim { store: self, stage: stage.to_owned(), key: *key, _heartbeat: heartbeat };
        claim.sweep();
        Ok(Some(claim))
    }

    /// For `gc`: the claims whose owners are dead, or that nobody has touched for `grace`, with their paths and texts.
    pub(super) fn dead_claims(&self, grace: Duration) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut dead = Vec::new();
        for (name, path, _) in place::entries(&self.dir("claims"))? {
            let (Ok(_), Some(seen)) = (name.parse::<Digest>(), Seen::at(&path)?) else { continue };
            // A living owner beats, so its claim is young, whatever `grace` is.
            if seen.is_dead() || seen.idle(self) >= grace.max(self.timing.stale * 2) {
                dead.push((path, seen.text));
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
