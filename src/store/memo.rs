//! Values remembered under a file's [`Stamp`]: the digest of a model of many gigabytes, or that a
//! blob's content is what its name says. One small JSON file per purpose and path.
//!
//! A memo only saves work. A memo that is missing, damaged or about an older file is ignored, and a store that cannot be
//! written remembers nothing. Must not know: what the values mean.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, place, sealed};
use crate::digest::Digest;
use crate::files::{Keep, Stamp};

/// The content of `memo/<blake3 of purpose and path>.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memo {
    pub purpose: String,
    pub stamp: Stamp,
    pub value: Value,
}

impl Store {
    /// Remembers a value about the file with this stamp, in place of an older one of the same purpose.
    /// Take the stamp *before* reading the file: then a change in between is noticed.
    pub fn remember(&self, purpose: &str, stamp: &Stamp, value: &Value) {
        let memo = Memo { purpose: purpose.to_owned(), stamp: stamp.clone(), value: value.clone() };
        let path = self.memo_path(purpose, stamp);
        let written = sealed::seal(&memo)
            .and_then(|text| self.temporary_with("memo", &text))
            .and_then(|file| self.replace(file, &path, Keep::Nothing));
        match (written, &self.own_memos) {
            (Ok(()), Some(own)) => {
                own.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
            }
            (Ok(()), None) => {}
            (Err(error), _) => tracing::debug!("not remembered: {error}"),
        }
    }

    /// What was remembered for this purpose, if the file still has the stamp it had then.
    pub fn recall(&self, purpose: &str, stamp: &Stamp) -> Option<Value> {
        let path = self.memo_path(purpose, stamp);
        let foreign =
            |own: &Mutex<HashSet<PathBuf>>| !own.lock().unwrap_or_else(PoisonError::into_inner).contains(&path);
        if self.own_memos.as_ref().is_some_and(foreign) {
            return None;
        }
        let text = place::read_if_there(&path).ok()??;
        let memo: Memo = sealed::open(&text).ok()?;
        (memo.purpose == purpose && memo.stamp == *stamp).then_some(memo.value)
    }

    fn memo_path(&self, purpose: &str, stamp: &Stamp) -> PathBuf {
        let mut name = purpose.as_bytes().to_vec();
        name.push(0);
        name.extend_from_slice(stamp.path.as_os_str().as_encoded_bytes());
        self.dir("memo").join(format!("{}.json", Digest::of(&name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn a_memo_holds_for_its_purpose_and_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let file = dir.path().join("weights");
        fs::write(&file, "1").unwrap();
        let stamp = Stamp::of(&file).unwrap();
        assert_eq!(store.recall("weights", &stamp), None);
        store.remember("weights", &stamp, &json!({"digest": "d"}));
        let later = Store::open(store.root()).unwrap();
        assert_eq!(later.recall("weights", &stamp), Some(json!({"digest": "d"})));
        assert_eq!(later.recall("text", &stamp), None);
        let sceptic = Store::open(store.root()).unwrap().rehashing();
        assert_eq!(sceptic.recall("weights", &stamp), None);
        sceptic.remember("weights", &stamp, &json!(1));
        assert_eq!(sceptic.recall("weights", &stamp), Some(json!(1)), "but what it found itself");
        store.remember("weights", &stamp, &json!({"digest": "d"}));

        fs::write(&file, "23").unwrap();
        let changed = Stamp::of(&file).unwrap();
        assert_eq!(later.recall("weights", &changed), None);
        later.remember("weights", &changed, &json!(2));
        assert_eq!(later.recall("weights", &changed), Some(json!(2)));
    }

    #[test]
    fn a_damaged_memo_is_none_and_a_store_that_cannot_be_written_does_not_mind() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let file = dir.path().join("weights");
        fs::write(&file, "1").unwrap();
        let stamp = Stamp::of(&file).unwrap();
        store.remember("weights", &stamp, &json!(1));
        fs::write(store.memo_path("weights", &stamp), "{\"purp").unwrap();
        assert_eq!(store.recall("weights", &stamp), None);

        fs::remove_dir_all(store.root()).unwrap();
        fs::write(store.root(), "a file in the way").unwrap();
        store.remember("weights", &stamp, &json!(1));
        assert_eq!(store.recall("weights", &stamp), None);
    }
}
