//! Every kind of file in the store, every bit of it turned over, every length that it can be cut off at: what comes next is
//! right, the damage is healed, and nobody waits for ever.

use super::*;

/// A store in memory where the system has such a place: these tests publish ten thousands of times.
fn in_memory() -> (tempfile::TempDir, Store) {
    let place = Path::new("/dev/shm");
    let dir = if place.is_dir() { tempfile::tempdir_in(place) } else { tempfile::tempdir() }.unwrap();
    let store = quick(&dir.path().join("artifacts"));
    (dir, store)
}

/// Everything that one damaged bit or a lost end can make of some bytes, and some worse things.
pub(super) fn damaged(sound: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let flipped = (0..sound.len() * 8).map(|bit| {
        let mut bytes = sound.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        (format!("bit {bit}"), bytes)
    });
    let cut = (0..sound.len()).map(|length| (format!("cut off after {length}"), sound[..length].to_vec()));
    let zeros = [("zeros".to_owned(), vec![0; sound.len()])];
    flipped.chain(cut).chain(zeros)
}

/// What a run does with a key: never more than one computation, and never a wrong byte.
fn run_again(root: &Path, manifest: &Manifest, content: &[u8]) -> bool {
    let store = quick(root);
    let looks = std::cell::Cell::new(0);
    let stop = || looks.replace(looks.get() + 1) > 500;
    let computed = match store.acquire(STAGE, &manifest.key(), &stop, &mut |_| {}).unwrap() {
        Acquired::Hit(_) => false,
        Acquired::Claim(claim) => {
            claim.publish(manifest, vec![("answers".into(), content.to_vec())], 0.0, "cpu").unwrap();
            true
        }
    };
    let record = peek(&quick(root), manifest).expect("what was published is a hit");
    assert_eq!(record.outputs["answers"].digest, Digest::of(content));
    assert_eq!(store.read(&Digest::of(content)).unwrap(), content);
    computed
}

#[test]
fn a_record_that_is_damaged_anywhere_is_a_miss_and_is_made_again() {
    let (_dir, store) = in_memory();
    let (manifest, content) = (manifest(1), b"right");
    publish(&store, &manifest, content);
    let path = store.record_path(STAGE, &manifest.key()).unwrap();
    for (how, bytes) in damaged(&fs::read(&path).unwrap()) {
        overwrite(&path, &bytes);
        let other = quick(store.root());
        assert_eq!(peek(&other, &manifest), None, "{how}");
        assert_eq!(fs::read(other.damage()[0].moved_to.as_ref().unwrap()).unwrap(), bytes, "{how}");
        assert!(run_again(store.root(), &manifest, content), "{how}");
    }
    assert!(store.fsck().unwrap().is_clean());
}

#[test]
fn fsck_sees_damage_in_every_small_file_and_heals_it() {
    let (_dir, store) = in_memory();
    let file = store.root().with_file_name("weights");
    fs::write(&file, "1").unwrap();
    let stamp = Stamp::of(&file).unwrap();
    let make = || {
        run_again(store.root(), &manifest(1), b"right");
        store.remember("weights", &stamp, &json!({ "digest": Digest::of(b"1") }));
        claim(&store, &manifest(2)).put_shard("rows-0", b"zero").unwrap();
    };
    make();
    let memos = place::entries(&store.dir("memo")).unwrap();
    let purpose = |path: &Path| fs::read_to_string(path).unwrap().contains("\"weights\"");
    let memo = memos.into_iter().map(|(_, path, _)| path).find(|path| purpose(path)).unwrap();
    let record = store.record_path(STAGE, &manifest(1).key()).unwrap();
    let shard = store.partial_dir(&manifest(2).key()).join("rows-0");
    for path in [record, memo, shard] {
        let sound = fs::read(&path).unwrap();
        for (how, bytes) in damaged(&sound).step_by(23) {
            overwrite(&path, &bytes);
            let report = quick(store.root()).fsck().unwrap();
            assert!(report.unusable.len() == 1 && report.unusable[0].path == path, "{how}: {report:?}");
            assert_eq!(fs::read(report.unusable[0].moved_to.as_ref().unwrap()).unwrap(), bytes);
            assert!(quick(store.root()).fsck().unwrap().is_clean(), "{how}");
            make();
        }
    }
}

#[test]
fn a_memo_that_is_damaged_anywhere_remembers_nothing() {
    let (_dir, store) = in_memory();
    let file = store.root().with_file_name("weights");
    fs::write(&file, "1").unwrap();
    let (stamp, value) = (Stamp::of(&file).unwrap(), json!({ "digest": Digest::of(b"1") }));
    store.remember("weights", &stamp, &value);
    let path = place::entries(&store.dir("memo")).unwrap().remove(0).1;
    for (how, bytes) in damaged(&fs::read(&path).unwrap()) {
        fs::write(&path, bytes).unwrap();
        assert_eq!(store.recall("weights", &stamp), None, "{how}");
    }
    store.remember("weights", &stamp, &value);
    assert_eq!(store.recall("weights", &stamp), Some(value));
}

#[test]
fn a_shard_that_is_damaged_anywhere_is_absent() {
    let (_dir, store) = in_memory();
    let claim = claim(&store, &manifest(1));
    claim.put_shard("rows-0", b"zero").unwrap();
    let path = store.partial_dir(claim.key()).join("rows-0");
    for (how, bytes) in damaged(&fs::read(&path).unwrap()) {
        fs::write(&path, bytes).unwrap();
        assert_eq!(claim.shard("rows-0").unwrap(), None, "{how}");
        assert_eq!(claim.shards().unwrap(), [""; 0], "{how}: it is out of the way");
        claim.put_shard("rows-0", b"zero").unwrap();
    }
    assert_eq!(claim.shard("rows-0").unwrap().as_deref(), Some(b"zero".as_slice()));
}

#[test]
fn a_blob_that_is_damaged_anywhere_is_made_again() {
    let (_dir, store) = in_memory();
    let (manifest, content) = (manifest(1), b"the right answers");
    publish(&store, &manifest, content);
    let path = store.blob_path(&Digest::of(content));
    for (how, bytes) in damaged(content) {
        overwrite(&path, &bytes);
        assert!(run_again(store.root(), &manifest, content), "{how}");
        // A disk that turns bits over changes no time, so what is remembered does not tell.
        overwrite(&path, &bytes);
        store.remember(blobs::VERIFIED, &Stamp::of(&path).unwrap(), &true.into());
        assert!(quick(store.root()).read(&Digest::of(content)).is_err(), "{how}");
        assert!(run_again(store.root(), &manifest, content), "{how}");
    }
}

#[test]
fn a_run_that_is_damaged_anywhere_keeps_what_its_pin_protects() {
    let (_dir, store) = in_memory();
    publish(&store, &manifest(1), b"right");
    let node = RunNode { stage: STAGE.into(), key: Some(manifest(1).key()), manifest: None };
    let run = Run {
        id: "20260101T000000Z-0000aaaa".into(),
        started: now_rfc3339(),
        pipeline: json!({}),
        command: Vec::new(),
        nodes: BTreeMap::from([("node".into(), node)]),
        pinned: true,
        finished: true,
        computed: None,
    };
    store.write_run(&run).unwrap();
    let path = store.dir("runs").join(format!("{}.json", run.id));
    let everything = GcOptions { keep_runs: 0, grace: Duration::ZERO, dry_run: false };
    for (how, bytes) in damaged(&fs::read(&path).unwrap()) {
        fs::write(&path, bytes).unwrap();
        let store = quick(store.root());
        let report = store.gc(&everything).unwrap();
        assert_eq!((report.damaged.len(), report.records.names.len(), report.runs.names.len()), (1, 0, 0), "{how}");
        assert!(peek(&store, &manifest(1)).is_some(), "{how}");
        assert!(runs(&store).is_empty(), "{how}");
    }
    assert_eq!(store.fsck().unwrap().unusable.len(), 1);
    store.write_run(&run).unwrap();
    assert!(store.fsck().unwrap().is_clean());
    // Nothing that a pin holds can be wrong.
    fs::write(store.dir("runs").join(format!("{}.pin", run.id)), "garbage").unwrap();
    assert_eq!(store.gc(&everything).unwrap(), GcReport::default());
}

#[test]
fn a_claim_that_is_damaged_anywhere_holds_nobody_up() {
    let (_dir, store) = in_memory();
    let manifest = manifest(1);
    std::mem::forget(claim(&store, &manifest));
    forge(&store, &manifest.key(), |_| {});
    let path = store.claim_path(&manifest.key());
    let sign = store.dir("live").join("20260101T000000Z-0000aaaa");
    for (how, bytes) in damaged(&fs::read(&path).unwrap()) {
        for path in [&path, &sign] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &bytes).unwrap();
            // Its owner died three seconds ago, which is longer than the patience of this store.
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(3)).unwrap();
        }
        let begun = std::time::Instant::now();
        run_again(store.root(), &manifest, b"right");
        store.gc(&GcOptions { keep_runs: 0, grace: Duration::ZERO, dry_run: false }).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{how}");
        assert_eq!((count(&store.dir("claims")), count(&store.dir("live"))), (0, 0), "{how}");
    }
}

#[test]
fn records_and_runs_of_older_versions_are_hits_still() {
    let (_dir, store) = store();
    let record = publish(&store, &manifest(1), b"right");
    let path = store.record_path(STAGE, &record.key).unwrap();
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(old.as_object_mut().unwrap().remove("check").is_some());
    overwrite(&path, serde_json::to_string_pretty(&old).unwrap().as_bytes());
    assert_eq!(peek(&store, &manifest(1)), Some(record.clone()));
    assert!(store.fsck().unwrap().is_clean());
    // One of these that lost an output cannot be told from a sound one here; the planner can, and disowns it.
    store.disown(STAGE, &record.key, "it has no output `ranks`").unwrap();
    assert_eq!((peek(&store, &manifest(1)), store.damage().len()), (None, 1));
    assert_eq!(publish(&store, &manifest(1), b"right").outputs, record.outputs);
    assert!(peek(&store, &manifest(1)).is_some());
}
