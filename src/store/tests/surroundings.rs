//! What lies in the store that is no file, who may write what is made in it, and how often it waits for the disk.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::files::counting::waits;

fn make_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn make_directory(path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir(path).unwrap();
}

#[test]
fn a_named_pipe_or_a_folder_in_the_place_of_a_file_is_damage_and_nobody_waits_for_it() {
    for make in [make_pipe, make_directory] {
        let (_dir, store) = store();
        publish(&store, &manifest(1), b"right");
        claim(&store, &manifest(2)).put_shard("rows-0", b"zero").unwrap();
        store.write_run(&run_of(&manifest(1))).unwrap();
        let memo = place::entries(&store.dir("memo")).unwrap().remove(0).1;
        let places = [
            store.record_path(STAGE, &manifest(1).key()).unwrap(),
            store.blob_path(&Digest::of(b"right")),
            store.partial_dir(&manifest(2).key()).join("rows-0"),
            memo,
            store.dir("runs").join("20260101T000000Z-0000aaaa.json"),
        ];
        for place in &places {
            make(place);
            let store = quick(store.root());
            let report = store.fsck().unwrap();
            assert!(!report.is_clean(), "{}", place.display());
            store.gc(&GcOptions { keep_runs: 1, grace: Duration::ZERO, dry_run: true }).unwrap();
            assert_eq!(claim(&store, &manifest(2)).shard("rows-0").unwrap().is_some(), places[2].is_file());
            if place != &places[4] {
                if let Acquired::Claim(claim) = acquire(&store, &manifest(1)) {
                    claim.publish(&manifest(1), vec![("answers".into(), b"right".to_vec())], 0.0, "cpu").unwrap();
                }
                assert_eq!(store.read(&Digest::of(b"right")).unwrap(), b"right");
            }
        }
    }
}

fn run_of(manifest: &Manifest) -> Run {
    let node = RunNode { stage: STAGE.into(), key: Some(manifest.key()), manifest: None };
    Run {
        id: "20260101T000000Z-0000aaaa".into(),
        started: now_rfc3339(),
        pipeline: json!({}),
        command: Vec::new(),
        nodes: BTreeMap::from([("node".into(), node)]),
        pinned: false,
        finished: true,
        computed: None,
    }
}

#[test]
fn a_named_pipe_in_the_place_of_a_claim_is_taken_away_in_time() {
    let (_dir, store) = store();
    fs::create_dir_all(store.dir("claims")).unwrap();
    fs::create_dir_all(store.dir("live")).unwrap();
    make_pipe(&store.claim_path(&manifest(1).key()));
    make_pipe(&store.dir("live").join("20260101T000000Z-0000aaaa"));
    publish(&store, &manifest(1), b"right");
    std::thread::sleep(store.timing.stale * 2);
    store.gc(&GcOptions::default()).unwrap();
    assert_eq!((count(&store.dir("claims")), count(&store.dir("live"))), (0, 0));
}

#[test]
fn what_is_made_in_a_groups_store_the_group_may_write() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("artifacts");
    fs::create_dir(&root).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let publish_as = |store: &Store, number| {
        let record = publish(store, &manifest(number), format!("{number}").as_bytes());
        claim(store, &manifest(number + 100)).put_shard("rows-0", b"zero").unwrap();
        store.write_run(&run_of(&manifest(number))).unwrap();
        store.record_path(STAGE, &record.key).unwrap()
    };
    let alone = quick(&root);
    let record = publish_as(&alone, 1);
    let (file, folder) = (mode(&record), mode(&root.join("records")));

    // The same umask, but a store whose folder is a group's.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o2770)).unwrap();
    for place in ["blobs", "records", "partial", "runs", "tmp", "claims", "memo"] {
        fs::remove_dir_all(root.join(place)).unwrap();
    }
    let shared = quick(&root);
    let record = publish_as(&shared, 2);
    let blob = shared.blob_path(&Digest::of(b"2"));
    assert_eq!(mode(&record), file | 0o060);
    assert_eq!(mode(&blob), (file | 0o060) & !0o222, "the group may read a blob, and nobody may write it");
    for path in ["records", "blobs", "partial", "runs", "tmp", "claims", "memo"].map(|place| root.join(place)) {
        assert_eq!(mode(&path) & 0o777, folder & 0o777 | 0o070, "{}", path.display());
        assert_eq!(mode(&path) & 0o2000, 0o2000, "{}: what is made in it is the group's too", path.display());
    }
    let shard = shared.partial_dir(&manifest(102).key()).join("rows-0");
    assert_eq!((mode(&shard), mode(&root.join("runs/20260101T000000Z-0000aaaa.json"))), (file | 0o060, file | 0o060));
}

#[test]
fn the_disk_is_waited_for_where_a_loss_would_matter() {
    let (_dir, store) = store();
    publish(&store, &manifest(0), b"makes the folders");
    let same_folder = b"makes the folders";
    // A record: its content and its name. Its blob is there already.
    assert_eq!(waits(|| drop(publish(&store, &manifest(1), same_folder))), 2);
    // A blob that is new as well, and perhaps a folder for it, whose own name must be kept too.
    let new = waits(|| drop(publish(&store, &manifest(2), b"new")));
    assert!((4..=5).contains(&new), "{new}");
    let claimed = claim(&store, &manifest(3));
    let stamp = Stamp::of(&store.dir("blobs")).unwrap();
    assert_eq!(waits(|| store.remember("weights", &stamp, &json!(1))), 0, "a memo only saves work");
    assert_eq!(waits(|| drop(claim(&store, &manifest(4)))), 0, "so does a claim");
    assert_eq!(waits(|| claimed.put_shard("sums-1", b"1").unwrap()), 1, "a shard replaces an older one's work");
    assert_eq!(waits(|| drop(store.live("20260101T000000Z-0000aaaa").unwrap())), 0);
    assert_eq!(waits(|| store.write_run(&run_of(&manifest(1))).unwrap()), 3, "the first run makes the folder");
    assert_eq!(waits(|| store.write_run(&run_of(&manifest(1))).unwrap()), 2);
}
