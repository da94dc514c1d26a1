//! Runs, pins, garbage collection, fsck, du, ls.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn run(id: &str, manifests: &[Manifest]) -> Run {
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
        computed: None,
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
    assert_eq!(runs(&store), [new, old]);
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
    assert_eq!(store.pin("20260101").unwrap(), running.id);
    store.write_run(&running).unwrap();
    let pins = || runs(&store).into_iter().map(|run| run.pinned).collect::<Vec<_>>();
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
        fs::write(lost.join("rows-0"), [Digest::of(b"shard").as_bytes(), b"shard".as_slice()].concat()).unwrap();
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

/// Turns one digit of a key in a run's file into another.
fn damage_run(store: &Store, id: &str, key: &Digest) {
    let path = store.dir("runs").join(format!("{id}.json"));
    let (text, key) = (fs::read_to_string(&path).unwrap(), key.to_string());
    let other = format!("{}{}", if key.starts_with('0') { '1' } else { '0' }, &key[1..]);
    assert!(text.contains(&key));
    fs::write(path, text.replace(&format!("\"key\": \"{key}"), &format!("\"key\": \"{other}"))).unwrap();
}

#[test]
fn what_a_damaged_run_may_have_named_is_kept_and_the_rest_is_collected() {
    let (_dir, store) = furnished();
    let pinned = "20260102T000000Z-0000aaaa";
    damage_run(&store, pinned, &manifest(2).key());
    age_all(store.root(), 2);
    // Published after the run had ended: it cannot have named that.
    publish(&store, &manifest(6), b"later");
    let later = store.record_path(STAGE, &manifest(6).key()).unwrap();
    fs::File::open(&later).unwrap().set_modified(SystemTime::now() - DAY * 2 + Duration::from_secs(5)).unwrap();
    let report = store.gc(&options(false)).unwrap();
    let path = store.dir("runs").join(format!("{pinned}.json"));
    assert_eq!(report.damaged.iter().map(|damaged| &damaged.path).collect::<Vec<_>>(), [&path]);
    assert_eq!(report.runs.names, ["runs/20260101T000000Z-0000aaaa.json"]);
    assert_eq!(report.records.names, [format!("records/{STAGE}/{}.json", manifest(6).key())]);
    assert!([1, 2, 3, 4].iter().all(|number| peek(&store, &manifest(*number)).is_some()));
    let unusable = store.fsck().unwrap().unusable;
    assert!(unusable.len() == 1 && unusable[0].path == path && unusable[0].moved_to.is_none(), "{unusable:?}");
    assert!(store.pin(pinned).unwrap_err().message().contains("damaged"));

    // Without its pin it is an old run like any other.
    assert_eq!(store.unpin("20260102").unwrap(), pinned);
    let report = store.gc(&options(false)).unwrap();
    assert_eq!((report.damaged.len(), report.runs.names.len(), report.records.names.len()), (0, 1, 3));
    assert!(peek(&store, &manifest(3)).is_some() && store.fsck().unwrap().is_clean());
}

#[test]
fn a_pin_without_its_run_keeps_everything_until_it_is_taken_away() {
    let (_dir, store) = furnished();
    fs::remove_file(store.dir("runs").join("20260102T000000Z-0000aaaa.json")).unwrap();
    age_all(store.root(), 2);
    let report = store.gc(&options(false)).unwrap();
    assert_eq!((report.damaged.len(), report.records.names.len()), (1, 0));
    assert!(!store.fsck().unwrap().is_clean());
    store.unpin("20260102").unwrap();
    assert_eq!(store.gc(&options(false)).unwrap().records.names.len(), 3);
    assert!(store.fsck().unwrap().is_clean());
}

#[test]
fn a_run_that_is_under_way_keeps_what_it_names_and_what_was_written_since_it_began() {
    let (_dir, store) = store();
    publish(&store, &manifest(1), b"of nobody");
    publish(&store, &manifest(2), b"found by the run");
    age_all(store.root(), 2);
    let ours = "20260101T000000Z-0000aaaa";
    let live = store.live(ours).unwrap().unwrap();
    assert!(!store.is_recorded_since(&live, STAGE, &manifest(2).key()).unwrap());
    store.write_run(&run(ours, &[manifest(2)])).unwrap();
    publish(&store, &manifest(3), b"made by the run");
    assert!(store.is_recorded_since(&live, STAGE, &manifest(3).key()).unwrap());
    let claim = claim(&store, &manifest(4));
    claim.put_shard("rows-0", b"zero").unwrap();
    let half = store.temporary_with("blob", b"half of").unwrap();

    let everything = GcOptions { keep_runs: 0, grace: Duration::ZERO, dry_run: false };
    let report = store.gc(&everything).unwrap();
    assert_eq!(report.records.names, [format!("records/{STAGE}/{}.json", manifest(1).key())]);
    assert!(report.runs.names.is_empty() && report.partials.names.is_empty(), "{report:?}");
    assert!([2, 3].iter().all(|number| peek(&store, &manifest(*number)).is_some()));
    assert!(claim.shard("rows-0").unwrap().is_some() && half.into_path().exists());

    drop((live, claim));
    let report = store.gc(&everything).unwrap();
    assert_eq!((report.runs.names.len(), report.records.names.len(), report.partials.names.len()), (1, 2, 1));
    assert_eq!(store.du().unwrap().blobs, 0);
}

#[test]
fn the_sign_of_a_dead_run_is_collected_and_keeps_nothing() {
    let (_dir, store) = store();
    publish(&store, &manifest(1), b"of nobody");
    std::mem::forget(store.live("20260101T000000Z-0000aaaa").unwrap());
    let sign = store.dir("live").join("20260101T000000Z-0000aaaa");
    // Nobody has locked it, as if its owner had ended.
    let text = fs::read(&sign).unwrap();
    fs::remove_file(&sign).unwrap();
    fs::write(&sign, text).unwrap();
    let everything = GcOptions { keep_runs: 0, grace: Duration::ZERO, dry_run: false };
    let text = fs::read(&sign).unwrap();
    assert_eq!(store.gc(&everything).unwrap().records.names.len(), 1);
    assert!(!sign.exists());
    // The next run sweeps it away too.
    fs::write(&sign, text).unwrap();
    drop(store.live("20260102T000000Z-0000bbbb").unwrap().unwrap());
    assert!(!sign.exists());
}

#[test]
fn a_collection_waits_for_a_look_up_and_a_look_up_for_a_collection() {
    let (_dir, store) = store();
    publish(&store, &manifest(1), b"yes");
    let together = store.together(&|| false).unwrap();
    let _second = store.together(&|| false).unwrap();
    std::thread::scope(|scope| {
        let gc = scope.spawn(|| store.gc(&GcOptions::default()).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!gc.is_finished() || cfg!(not(unix)));
        drop((together, _second));
        gc.join().unwrap();
    });
    let alone = store.alone().unwrap();
    assert_eq!(store.together(&|| true).unwrap_err().kind(), Kind::Stopped);
    drop(alone);
    store.together(&|| true).unwrap();
}

#[test]
fn fsck_beside_runs_and_collections_finds_no_damage() {
    let (_dir, store) = store();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        for runner in 0..2_u32 {
            let (store, stopped) = (&store, &stopped);
            scope.spawn(move || {
                for number in (0..).take_while(|_| !stopped()) {
                    let manifest = manifest(number % 7 + runner * 3);
                    if let Acquired::Claim(claim) = acquire(store, &manifest) {
                        let outputs = vec![("answers".into(), format!("{}", number % 5).into_bytes())];
                        claim.publish(&manifest, outputs, 0.0, "cpu").unwrap();
                    }
                }
            });
        }
        let gc = scope.spawn(|| {
            while !stopped() {
                // Long enough for a temporary file to get its name. (Runs protect theirs; these threads are none.)
                let grace = Duration::from_millis(200);
                let report = store.gc(&GcOptions { keep_runs: 0, grace, dry_run: false }).unwrap();
                assert_eq!(report.failed, [""; 0]);
            }
        });
        let begun = std::time::Instant::now();
        let mut last = Ok(());
        while begun.elapsed() < Duration::from_millis(2500) && last.is_ok() && !gc.is_finished() {
            let report = Store::open(store.root()).unwrap().fsck().unwrap();
            last = if report.is_clean() { Ok(()) } else { Err(format!("{report:?}")) };
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        last.unwrap();
    });
}

#[test]
fn of_many_runs_only_those_that_stay_are_read_and_none_is_kept_in_memory() {
    let (_dir, store) = store();
    let mut large = run("", &[manifest(1)]);
    large.pipeline = json!({ "text": "x".repeat(40_000) });
    for number in 0..60 {
        large.id = format!("202601{:02}T0000{:02}Z-0000aaaa", number / 50 + 1, number % 50);
        store.write_run(&large).unwrap();
    }
    let (_, most) = crate::allocator::counting::peak(|| store.gc(&GcOptions::default()).unwrap());
    assert!(most < 500_000, "{most} bytes at once, where all runs together are 2.4 MB");
    let mut seen = 0;
    let (_, most) = crate::allocator::counting::peak(|| {
        store.each_run(&mut |_| {
            seen += 1;
            std::ops::ControlFlow::Continue(())
        })
    });
    assert!(seen == 60 && most < 500_000, "{most} bytes at once");
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
