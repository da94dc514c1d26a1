//! The store from outside: publishing and looking up, shards, damage. What several tests need is here; `claims` is about
//! several that want the same keys, `stream` about artifacts that never lie in memory, `collect` about gc and fsck, `property`
//! about any order of events, `faults` about every bit of every file, `surroundings` about rights, named pipes and the disk.

mod claims;
mod collect;
mod faults;
mod jobs;
mod property;
mod stream;
mod surroundings;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;
use crate::digest::Manifest;
use crate::error::Kind;
use crate::files::Stamp;

const STAGE: &str = "generate";

fn manifest(number: u32) -> Manifest {
    Manifest { stage: STAGE.into(), version: 1, params: json!({"number": number, "q": 5e-7}), inputs: BTreeMap::new() }
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = quick(&dir.path().join("artifacts"));
    (dir, store)
}

/// A store that loses its patience in a fraction of a second.
fn quick(root: &Path) -> Store {
    let timing = Timing {
        beat: Duration::from_millis(20),
        stale: Duration::from_millis(400),
        rebooted: Duration::from_millis(100),
        poll: (Duration::from_millis(5), Duration::from_millis(20)),
    };
    Store { timing, ..Store::open(root).unwrap() }
}

fn acquire<'a>(store: &'a Store, manifest: &Manifest) -> Acquired<'a> {
    store.acquire(&manifest.stage, &manifest.key(), &|| false, &mut |_| {}).unwrap()
}

fn claim<'a>(store: &'a Store, manifest: &Manifest) -> Claim<'a> {
    match acquire(store, manifest) {
        Acquired::Claim(claim) => claim,
        Acquired::Hit(record) => panic!("a hit: {record:?}"),
    }
}

fn publish(store: &Store, manifest: &Manifest, bytes: &[u8]) -> Record {
    claim(store, manifest).publish(manifest, vec![("answers".into(), bytes.to_vec())], 1.5, "cpu").unwrap()
}

fn peek(store: &Store, manifest: &Manifest) -> Option<Record> {
    store.peek_verified(&manifest.stage, &manifest.key()).unwrap()
}

/// Puts other bytes under a name the way a failing disk would: without a new inode, with another time.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3)).unwrap();
}

fn count(dir: &Path) -> usize {
    place::entries(dir).unwrap().len()
}

/// Every run, newest first.
fn runs(store: &Store) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut take = |run| {
        runs.push(run);
        std::ops::ControlFlow::Continue(())
    };
    store.each_run(&mut take).unwrap();
    runs
}

#[test]
fn what_is_published_is_found_again_by_another_process() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    assert_eq!(store.peek(STAGE, &manifest.key()).unwrap(), None);
    let record = publish(&store, &manifest, b"yes");
    assert_eq!(record.outputs["answers"], OutputRef { digest: Digest::of(b"yes"), bytes: 3 });
    assert_eq!((record.seconds, record.backend.as_str()), (1.5, "cpu"));

    let other = Store::open(store.root()).unwrap();
    assert_eq!(peek(&other, &manifest), Some(record.clone()));
    assert_eq!(other.read(&record.outputs["answers"].digest).unwrap(), b"yes");
    assert!(matches!(acquire(&other, &manifest), Acquired::Hit(hit) if hit == record));
    assert_eq!(other.records(STAGE).unwrap(), [record]);
    for left in ["tmp", "claims", "partial"] {
        assert_eq!(count(&store.dir(left)), 0, "{left}");
    }
}

#[cfg(unix)]
#[test]
fn blobs_are_read_only_and_whoever_may_read_a_plain_file_may_read_what_is_published() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store) = store();
    let record = publish(&store, &manifest(1), b"yes");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::write(store.root().join("plain"), "").unwrap();
    let plain = mode(&store.root().join("plain"));
    assert_eq!(mode(&store.blob_path(&Digest::of(b"yes"))), plain & 0o555);
    assert_eq!(mode(&store.record_path(STAGE, &record.key).unwrap()), plain);
}

#[test]
fn a_lost_race_is_a_hit() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let slow = claim(&store, &manifest);
    // The slow one looks dead to somebody, who takes the key over, computes it elsewhere and publishes.
    fs::remove_file(store.claim_path(&manifest.key())).unwrap();
    let first = publish(&store, &manifest, b"first");
    let second = slow.publish(&manifest, vec![("answers".into(), b"second".to_vec())], 9.0, "cuda").unwrap();
    assert_eq!(second, first);
    assert_eq!(peek(&store, &manifest), Some(first));
}

#[test]
fn publishing_another_key_or_a_name_twice_is_a_fault() {
    let (_dir, store) = store();
    let error =
        claim(&store, &manifest(1)).publish(&manifest(2), Vec::<(String, Output)>::new(), 0.0, "cpu").unwrap_err();
    assert_eq!(error.kind(), Kind::Fault);
    let twice = vec![("a".into(), b"1".to_vec()), ("a".into(), b"2".to_vec())];
    let error = claim(&store, &manifest(1)).publish(&manifest(1), twice, 0.0, "cpu").unwrap_err();
    assert_eq!(error.kind(), Kind::Fault);
    assert_eq!(peek(&store, &manifest(1)), None);
    let odd = Store::open(store.root()).unwrap().peek("../x", &manifest(1).key()).unwrap_err();
    assert_eq!(odd.kind(), Kind::Fault);
}

/// Replaces the claim of a key by one that `change` made of it and that nobody has locked, as if its owner had ended.
fn forge(store: &Store, key: &Digest, change: impl FnOnce(&mut serde_json::Value)) {
    let path = store.claim_path(key);
    let mut content: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut content);
    fs::remove_file(&path).unwrap();
    fs::write(&path, serde_json::to_vec(&content).unwrap()).unwrap();
}

#[test]
fn shards_outlive_their_owner_and_damaged_ones_are_absent() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let first = claim(&store, &manifest);
    assert!(!store.partial_exists(&manifest.key()));
    assert_eq!(first.shard("rows-0").unwrap(), None);
    for (name, bytes) in [("rows-0", b"zero".as_slice()), ("rows-1", b"one"), ("rows-2", b""), ("rows-3", b"three")] {
        first.put_shard(name, bytes).unwrap();
    }
    first.put_shard("rows-1", b"one again").unwrap();
    first.drop_shard("rows-3").unwrap();
    first.drop_shard("rows-3").unwrap();
    drop(first);

    assert!(store.partial_exists(&manifest.key()));
    let second = claim(&store, &manifest);
    assert_eq!(second.shards().unwrap(), ["rows-0", "rows-1", "rows-2"]);
    assert_eq!(second.shard("rows-1").unwrap().as_deref(), Some(b"one again".as_slice()));
    assert_eq!(second.shard("rows-2").unwrap().as_deref(), Some(b"".as_slice()));
    let path = store.partial_dir(&manifest.key());
    let mut bytes = fs::read(path.join("rows-0")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path.join("rows-0"), bytes).unwrap();
    fs::write(path.join("rows-2"), "short").unwrap();
    assert_eq!(second.shard("rows-0").unwrap(), None);
    assert_eq!(second.shard("rows-2").unwrap(), None);
    assert_eq!(second.shards().unwrap(), ["rows-1"]);
    for bad in ["", "../x", ".hidden", "a/b"] {
        assert_eq!(second.put_shard(bad, b"").unwrap_err().kind(), Kind::Fault);
    }

    second.publish(&manifest, Vec::<(String, Output)>::new(), 0.0, "cpu").unwrap();
    assert!(!store.partial_exists(&manifest.key()));
}

#[test]
fn a_shard_that_was_being_written_when_its_owner_was_killed_is_swept_away() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let dir = store.partial_dir(&manifest.key());
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(".tmp-old"), "").unwrap();
    overwrite(&dir.join(".tmp-old"), b"half");
    fs::write(dir.join(".tmp-young"), "half").unwrap();
    let claim = claim(&store, &manifest);
    assert!(!dir.join(".tmp-old").exists() && dir.join(".tmp-young").exists());
    assert_eq!(claim.shards().unwrap(), [""; 0]);
    assert!(!store.partial_exists(&manifest.key()));
}

#[test]
fn damage_is_quarantined_becomes_a_miss_and_is_repaired_by_computing_again() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let digest = publish(&store, &manifest, b"right").outputs["answers"].digest;
    for (damage, quarantined) in [(b"wrong".as_slice(), 1), (b"short", 2), (b"", 3)] {
        overwrite(&store.blob_path(&digest), damage);
        let store = quick(store.root());
        assert_eq!(peek(&store, &manifest), None);
        assert_eq!(count(&store.dir("quarantine")), quarantined);
        let damages = store.damage();
        assert_eq!(damages.len(), 1);
        assert_eq!(fs::read(damages[0].moved_to.as_ref().unwrap()).unwrap(), damage);
        publish(&store, &manifest, b"right");
        assert_eq!(store.read(&digest).unwrap(), b"right");
    }
}

#[test]
fn damage_met_by_a_read_is_an_error_that_says_what_to_do() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let digest = publish(&store, &manifest, b"right").outputs["answers"].digest;
    overwrite(&store.blob_path(&digest), b"wrong");
    // Not hashed by a plain look-up: the size is right.
    assert!(store.peek(STAGE, &manifest.key()).unwrap().is_some());
    let error = store.read(&digest).unwrap_err();
    assert!(error.message().contains("was damaged and was moved to"), "{error}");
    assert!(error.hint_text().unwrap().contains("run again"));
    assert_eq!(store.peek(STAGE, &manifest.key()).unwrap(), None);
    assert!(store.read(&digest).unwrap_err().message().contains("no longer in the store"));
}

#[test]
fn a_blob_that_is_there_but_damaged_is_not_trusted_by_a_new_record() {
    let (_dir, store) = store();
    let digest = publish(&store, &manifest(1), b"right").outputs["answers"].digest;
    overwrite(&store.blob_path(&digest), b"wrong");
    publish(&store, &manifest(2), b"right");
    assert_eq!(store.read(&digest).unwrap(), b"right");
    assert!(peek(&store, &manifest(1)).is_some());
}

#[test]
fn a_record_that_lies_about_a_size_does_not_cost_a_sound_blob() {
    let (_dir, store) = store();
    let record = publish(&store, &manifest(1), b"right");
    let path = store.record_path(STAGE, &record.key).unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("\"bytes\": 5", "\"bytes\": 6");
    // As one of an older version, which has no digest of its own.
    let (record, _) = text.rsplit_once(",\n").unwrap();
    overwrite(&path, format!("{record}\n}}").as_bytes());
    assert_eq!(peek(&store, &manifest(1)), None);
    assert_eq!((store.damage().len(), store.read(&Digest::of(b"right")).unwrap()), (0, b"right".to_vec()));
}

#[test]
fn a_record_of_another_key_or_of_garbage_is_a_miss_and_is_replaced() {
    let (_dir, store) = store();
    let (one, two) = (publish(&store, &manifest(1), b"one"), publish(&store, &manifest(2), b"two"));
    let path = |record: &Record| store.record_path(STAGE, &record.key).unwrap();
    let two_text = fs::read_to_string(path(&two)).unwrap();
    let forged = two_text.replace(&two.key.to_string(), &one.key.to_string());
    for text in [two_text.as_str(), &forged, "", "{}", &two_text[..40]] {
        overwrite(&path(&one), text.as_bytes());
        assert_eq!(peek(&store, &manifest(1)), None);
        publish(&store, &manifest(1), b"one");
        assert_eq!(peek(&store, &manifest(1)).unwrap().outputs, one.outputs);
    }
}

#[test]
fn verified_digests_are_remembered_across_processes() {
    let (_dir, store) = store();
    let digest = publish(&store, &manifest(1), b"right").outputs["answers"].digest;
    let path = store.blob_path(&digest);
    fs::remove_dir_all(store.dir("memo")).unwrap();
    assert!(quick(store.root()).verify(&digest).unwrap());
    let stamp = Stamp::of(&path).unwrap();
    assert_eq!(quick(store.root()).recall(blobs::VERIFIED, &stamp), Some(true.into()));
    // A memo that lies shows that what is remembered is not hashed again.
    overwrite(&path, b"wrong");
    store.remember(blobs::VERIFIED, &Stamp::of(&path).unwrap(), &true.into());
    assert!(quick(store.root()).verify(&digest).unwrap());
    assert!(store.read(&digest).is_err(), "but what is handed over is always hashed");
}

#[test]
fn times_are_utc_without_fractions() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(rfc3339(at(951_782_400)), "2000-02-29T00:00:00Z");
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    assert_eq!(compact(at(1_767_323_045)), "20260102T030405Z");
    let id = new_run_id();
    let (time, rest) = id.split_once('-').unwrap();
    assert!(time.len() == 16 && time.starts_with("20") && time.ends_with('Z'), "{id}");
    assert!(rest.len() == 10 && rest[..6].bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    assert!(rest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[test]
fn a_missing_store_is_empty_and_looking_does_not_create_it() {
    let (_dir, store) = store();
    assert_eq!(peek(&store, &manifest(1)), None);
    assert!(!store.partial_exists(&manifest(1).key()));
    assert!(runs(&store).is_empty() && store.ls().unwrap().is_empty() && store.fsck().unwrap().is_clean());
    assert_eq!(store.du().unwrap().total, 0);
    assert_eq!(store.gc(&GcOptions::default()).unwrap(), GcReport::default());
    assert!(!store.root().exists());
}

#[test]
fn a_file_in_the_place_of_the_store_is_a_sentence_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for root in [file.clone(), file.join("below")] {
        let error = Store::open(&root).unwrap_err();
        assert!(error.message().contains(root.to_str().unwrap()) && error.message().contains("not a directory"));
        assert!(error.hint_text().unwrap().contains("run.store"));
    }
}
