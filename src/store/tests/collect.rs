//! Runs, pins, garbage collection, fsck, du, ls.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn run(id: &str, manifests: &[Manifest]) -> Run {
    let node = |manifest: &Manifest| RunNode {
        stage: manifest.stage.clone(),
        key: Some(manifest.key()),
        manifest: Some(manifest.clone()),
    };
    Run {
        id: id.into(),
        started: now_rfc3339(),
        pipeline: json!({"score": {"cap": 1e-3}}),
        command: vec!["dean".into(), "run".into()],
        nodes: manifests
            .iter()
            .map(|manifest| (format!("{STAGE}[{}]", manifest.key().short()), node(manifest)))
            .collect(),
        pinned: false,
        finished: false,
    }
}

/// Makes everything below a directory that many days old.
fn age_all(dir: &Path, days: u32) {
    for (_, path, metadata) in place::entries(dir).unwrap() {
        if metadata.is_dir() {
            age_all(&path, days);
        }
        fs::File::open(&path).unwrap().set_modified(SystemTime::now() - DAY * days).unwrap();
    }
}

#[test]
fn runs_come_back_newest_first_and_ids_sort_by_time() {
    let (_dir, store) = store();
    let (old, mut new) = (run("20260101T000000Z-0000aaaa", &[manifest(1)]), run("20260102T000000Z-0000bbbb", &[]));
    store.write_run(&new).unwrap();
    store.write_run(&old).unwrap();
    fs::write(store.dir("runs").join("20260103T000000Z-0000cccc.json"), "{").unwrap();
    new.finished = true;
    store.write_run(&new).unwrap();
    assert_eq!(store.runs().unwrap(), [new, old]);
    let id = new_run_id();
    assert!(id.len() == 27 && id.as_bytes()[8] == b'T' && id.as_bytes()[15] == b'Z', "{id}");
    std::thread::sleep(std::time::Duration::from_micros(2));
    assert!(id < new_run_id(), "the runs of one second sort by time too");
    assert_eq!(store.write_run(&run("../x", &[])).unwrap_err().kind(), Kind::Fault);
}

#[test]
fn a_pin_survives_the_run_rewriting_itself_and_is_found_by_its_beginning() {
    let (_dir, store) = store();
    let running = run("20260101T000000Z-0000aaaa", &[]);
    store.write_run(&running).unwrap();
    store.write_run(&run("20260102T000000Z-0000bbbb", &[])).unwrap();
    assert!(store.pin("20260101").unwrap().pinned);
    store.write_run(&running).unwrap();
    let pins = || store.runs().unwrap().into_iter().map(|run| run.pinned).collect::<Vec<_>>();
    assert_eq!(pins(), [false, true]);
    assert!(store.pin("2026").unwrap_err().message().contains("more than one"));
    assert!(store.pin("1999").unwrap_err().hint_text().unwrap().contains("0000bbbb"));
    store.unpin("20260101").unwrap();
    assert_eq!(pins(), [false, false]);
}

/// Four keys: of an old run, of a pinned old run, of the newest run, of no run; one blob is shared by
/// the first and the third.
fn furnished() -> (tempfile::TempDir, Store) {
    let (dir, store) = store();
    for (number, bytes) in [(1, "shared"), (2, "pinned"), (3, "shared"), (4, "nobody's")] {
        publish(&store, &manifest(number), bytes.as_bytes());
        if number < 4 {
            store.write_run(&run(&format!("2026010{number}T000000Z-0000aaaa"), &[manifest(number)])).unwrap();
        }
    }
    store.pin("20260102").unwrap();
    for number in [5, 3] {
        let lost = store.partial_dir(&manifest(number).key());
        fs::create_dir_all(&lost).unwrap();
        fs::write(lost.join("rows-0"), "shard").unwrap();
    }
    fs::write(store.dir("tmp").join("blob-left"), "left").unwrap();
    fs::create_dir_all(store.dir("sources")).unwrap();
    fs::write(store.dir("sources").join("model"), "weights").unwrap();
    (dir, store)
}

fn options(dry_run: bool) -> GcOptions {
    GcOptions { keep_runs: 1, dry_run, ..GcOptions::default() }
}

#[test]
fn nothing_young_is_collected() {
    let (_dir, store) = furnished();
    let before = store.du().unwrap();
    assert_eq!(store.gc(&options(false)).unwrap(), GcReport::default());
    assert_eq!(store.du().unwrap(), before);
}

#[test]
fn what_no_kept_run_needs_goes_and_a_dry_run_says_the_same() {
    let (_dir, store) = furnished();
    age_all(store.root(), 2);
    let before = store.du().unwrap();
    let foreseen = store.gc(&options(true)).unwrap();
    assert_eq!(store.du().unwrap(), before);
    let report = store.gc(&options(false)).unwrap();

    let record = |number: u32| format!("records/{STAGE}/{}.json", manifest(number).key());
    assert_eq!(report.runs.names, ["runs/20260101T000000Z-0000aaaa.json"]);
    let mut records = [record(1), record(4)];
    records.sort();
    assert_eq!(report.records.names, records);
    let digest = Digest::of(b"nobody's").to_string();
    assert_eq!(report.blobs.names, [format!("blobs/{}/{digest}", &digest[..2])]);
    assert_eq!(report.blobs.bytes, 8);
    let mut partials = [3, 5].map(|number| format!("partial/{}", manifest(number).key()));
    partials.sort();
    assert_eq!(report.partials.names, partials, "of a published key, and of one no run needs");
    assert_eq!(report.other.names[0], "tmp/blob-left");
    assert!(report.failed.is_empty() && report.bytes() > 8);
    // The memos of the blobs that went are known only afterwards.
    assert_eq!(report.other.names.len(), 2);
    for (seen, done) in [
        (&foreseen.runs, &report.runs),
        (&foreseen.records, &report.records),
        (&foreseen.blobs, &report.blobs),
        (&foreseen.partials, &report.partials),
    ] {
        assert_eq!(seen, done);
    }

    assert_eq!([1, 2, 3, 4].map(|number| peek(&store, &manifest(number)).is_some()), [false, true, true, false]);
    assert_eq!(fs::read(store.dir("sources").join("model")).unwrap(), b"weights");
    assert_eq!(store.gc(&options(false)).unwrap(), GcReport::default());
    assert!(store.fsck().unwrap().is_clean());
}

#[test]
fn a_living_claim_protects_its_shards_and_a_dead_one_goes() {
    let (_dir, store) = store();
    let living = claim(&store, &manifest(1));
    living.put_shard("rows-0", b"zero").unwrap();
    std::mem::forget(claim(&store, &manifest(2)));
    forge(&store, &manifest(2).key(), |_| {});
    age_all(&store.dir("partial"), 2);
    let report = store.gc(&options(false)).unwrap();
    assert_eq!(report.other.names, [format!("claims/{}", manifest(2).key())]);
    assert!(store.partial_exists(living.key()));
    drop(living);
    age_all(&store.dir("partial"), 2);
    assert_eq!(store.gc(&options(false)).unwrap().partials.names.len(), 1);
}

#[test]
fn a_blob_that_is_published_again_is_young_again() {
    let (_dir, store) = store();
    publish(&store, &manifest(1), b"same");
    age_all(store.root(), 2);
    publish(&store, &manifest(2), b"same");
    let report = store.gc(&options(false)).unwrap();
    assert_eq!((report.records.names.len(), report.blobs.names.len()), (1, 0));
    assert!(peek(&store, &manifest(2)).is_some());
}

#[test]
fn a_run_that_cannot_be_read_stops_the_collection() {
    let (_dir, store) = furnished();
    fs::write(store.dir("runs").join("20260105T000000Z-0000aaaa.json"), "{").unwrap();
    age_all(store.root(), 2);
    let error = store.gc(&options(false)).unwrap_err();
    assert!(error.message().contains("20260105") && error.hint_text().unwrap().contains("nothing was removed"));
    assert!(peek(&store, &manifest(4)).is_some());
}

#[test]
fn fsck_names_what_is_wrong_and_ls_and_du_what_is_there() {
    let (_dir, store) = furnished();
    assert!(store.fsck().unwrap().is_clean());
    let list = store.ls().unwrap();
    assert_eq!(list.len(), 4);
    assert!(list.iter().all(|row| row.complete && row.stage == STAGE));
    let usage = store.du().unwrap();
    assert_eq!((usage.stages[STAGE], usage.blobs, usage.sources), (20, 20, 7));

    overwrite(&store.blob_path(&Digest::of(b"shared")), b"shareD");
    fs::remove_file(store.blob_path(&Digest::of(b"pinned"))).unwrap();
    fs::write(store.record_path(STAGE, &manifest(4).key()).unwrap(), "{").unwrap();
    let report = store.fsck().unwrap();
    assert_eq!((report.blobs, report.bytes, report.records), (2, 14, 4));
    assert_eq!(report.damaged.iter().map(|damage| damage.digest).collect::<Vec<_>>(), [Digest::of(b"shared")]);
    assert_eq!(report.missing.len(), 3);
    assert_eq!(report.unusable.len(), 1);
    assert_eq!(report.orphans.iter().map(|orphan| orphan.digest).collect::<Vec<_>>(), [Digest::of(b"nobody's")]);
    assert!(!report.is_clean());
    let list = store.ls().unwrap();
    assert!(list.len() == 3 && list.iter().all(|row| !row.complete));
}
