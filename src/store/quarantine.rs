//! What is damaged is moved to `quarantine/`, noted, and made again by whoever needs it.
//!
//! Must not know: what a file means, how damage is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Store, compact, place, unique};
use crate::digest::Digest;

/// A file that was not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Damage {
    /// What it is: `artifact`, `record of select`.
    pub what: String,
    /// The name of an artifact, the key of a record.
    pub digest: Digest,
    /// Where it lay.
    pub path: PathBuf,
    /// Where it lies now; `None` when it could not be moved (a store that is not writable).
    pub moved_to: Option<PathBuf>,
    pub reason: String,
}

/// A small file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unusable {
    pub path: PathBuf,
    pub reason: String,
    /// Where it lies now, if it was moved.
    pub moved_to: Option<PathBuf>,
}

impl Store {
    /// Moves a damaged file away, and returns where it lies then. `is_it` says whether what is there is still what was found
    /// damaged: another process may have put a sound one there. One that was moved by mistake is put back.
    pub(super) fn set_aside(&self, path: &Path, name: &str, is_it: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        if !is_it(path) {
            return None;
        }
        let dir = self.dir("quarantine");
        let mut to = dir.join(format!("{name}-{}", compact(SystemTime::now())));
        if to.exists() {
            to = dir.join(format!("{name}-{}-{}", compact(SystemTime::now()), unique()));
        }
        if let Err(cause) = self.make_dir(&dir, crate::files::Keep::Nothing).and_then(|()| fs::rename(path, &to)) {
            tracing::debug!("cannot move {} to quarantine: {cause}", path.display());
            return None;
        }
        if !is_it(&to) {
            // Where a third file is there by now, it is as good.
            let _ = fs::hard_link(&to, path);
            let _ = fs::remove_file(&to);
            return None;
        }
        // `gc` counts the days it lay here.
        place::touch(&to);
        Some(to)
    }

    /// Moves a small file away whose bytes were found damaged.
    pub(super) fn set_small_aside(&self, path: &Path, name: &str, seen: &[u8]) -> Option<PathBuf> {
        self.set_aside(path, name, |path| place::read_if_there(path).is_ok_and(|text| text.as_deref() == Some(seen)))
    }

    /// Notes damage for [`Store::damage`], once.
    pub(super) fn note_damage(&self, damage: Damage) {
        let mut noted = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &Damage| (&other.path, &other.moved_to) == (&damage.path, &damage.moved_to);
        if !noted.iter().any(same) {
            tracing::warn!("the {} {} is damaged: {}", damage.what, damage.digest, damage.reason);
            noted.push(damage);
        }
    }
}
