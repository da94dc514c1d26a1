//! Whatever happens, in whatever order: a hit has the right bytes, and publishing makes a hit.

use proptest::prelude::*;

use super::*;

/// The keys of the model; 0 and 1 have equal outputs, so that they share a blob.
const KEYS: u32 = 3;

fn content(number: u32) -> Vec<u8> {
    format!("the answers of {}", number.max(1)).into_bytes()
}

#[derive(Clone, Debug)]
enum Event {
    Publish(u32),
    /// Another process publishes under our nose.
    Race(u32),
    /// A bit of the blob turns over; the size stays.
    Flip(u32),
    Truncate(u32),
    RemoveBlob(u32),
    /// The record is cut off there.
    CutRecord(u32, usize),
    /// A record is copied to another's name.
    SwapRecord(u32, u32),
    /// A run that needs the key is written.
    Run(u32),
    Collect(usize),
    Check,
    LoseMemos,
}

fn event() -> impl Strategy<Value = Event> {
    let key = || 0..KEYS;
    prop_oneof![
        4 => key().prop_map(Event::Publish),
        1 => key().prop_map(Event::Race),
        2 => key().prop_map(Event::Flip),
        1 => key().prop_map(Event::Truncate),
        1 => key().prop_map(Event::RemoveBlob),
        1 => (key(), 0..400_usize).prop_map(|(key, length)| Event::CutRecord(key, length)),
        1 => (key(), key()).prop_map(|(from, to)| Event::SwapRecord(from, to)),
        1 => key().prop_map(Event::Run),
        2 => (0..3_usize).prop_map(Event::Collect),
        1 => Just(Event::Check),
        1 => Just(Event::LoseMemos),
    ]
}

fn outputs(number: u32) -> Vec<(String, Vec<u8>)> {
    vec![("answers".into(), content(number))]
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    if let Ok(mut bytes) = fs::read(path) {
        change(&mut bytes);
        overwrite(path, &bytes);
    }
}

fn happen(root: &Path, event: &Event, serial: usize) {
    // Every event is another process's.
    let store = quick(root);
    let blob = |number: &u32| store.blob_path(&Digest::of(&content(*number)));
    let record = |number: &u32| store.record_path(STAGE, &manifest(*number).key()).unwrap();
    match event {
        Event::Publish(number) => {
            if let Acquired::Claim(claim) = acquire(&store, &manifest(*number)) {
                claim.publish(&manifest(*number), outputs(*number), 0.0, "cpu").unwrap();
            }
        }
        Event::Race(number) => {
            if let Acquired::Claim(claim) = acquire(&store, &manifest(*number)) {
                fs::remove_file(store.claim_path(claim.key())).unwrap();
                happen(root, &Event::Publish(*number), serial);
                claim.publish(&manifest(*number), outputs(*number), 0.0, "cpu").unwrap();
            }
        }
        Event::Flip(number) => change(&blob(number), |bytes| bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1)),
        Event::Truncate(number) => change(&blob(number), |bytes| bytes.truncate(3)),
        Event::RemoveBlob(number) => drop(fs::remove_file(blob(number))),
        Event::CutRecord(number, length) => change(&record(number), |bytes| bytes.truncate(*length)),
        Event::SwapRecord(from, to) => {
            if let Ok(bytes) = fs::read(record(from)) {
                fs::write(record(to), bytes).unwrap();
            }
        }
        Event::Run(number) => {
            let node = RunNode { stage: STAGE.into(), key: Some(manifest(*number).key()), manifest: None };
            let run = Run {
                id: format!("20260101T000000Z-{serial:08}"),
                started: now_rfc3339(),
                pipeline: json!(null),
                command: Vec::new(),
                nodes: BTreeMap::from([("node".into(), node)]),
                pinned: false,
                finished: false,
                computed: None,
            };
            store.write_run(&run).unwrap();
        }
        Event::Collect(keep_runs) => {
            let hits = |number: &u32| peek(&store, &manifest(*number)).is_some();
            let needed: Vec<u32> = (0..KEYS)
                .filter(|number| {
                    let key = Some(manifest(*number).key());
                    let runs = runs(&store);
                    runs.iter().take(*keep_runs).any(|run| run.nodes["node"].key == key) && hits(number)
                })
                .collect();
            let options = GcOptions { keep_runs: *keep_runs, grace: Duration::ZERO, dry_run: false };
            let report = store.gc(&options).unwrap();
            assert_eq!(report.failed, [""; 0]);
            assert!(needed.iter().all(hits), "gc took what a kept run needs");
        }
        Event::Check => drop(store.fsck().unwrap()),
        Event::LoseMemos => drop(fs::remove_dir_all(store.dir("memo"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_hit_never_has_wrong_bytes(events in proptest::collection::vec(event(), 1..14)) {
        let dir = tempfile::tempdir().unwrap();
        for (serial, event) in events.iter().enumerate() {
            happen(dir.path(), event, serial);
            let store = quick(dir.path());
            for number in 0..KEYS {
                if let Some(record) = peek(&store, &manifest(number)) {
                    prop_assert_eq!(store.read(&record.outputs["answers"].digest).unwrap(), content(number));
                }
            }
        }
        for number in 0..KEYS {
            happen(dir.path(), &Event::Publish(number), 0);
            prop_assert!(peek(&quick(dir.path()), &manifest(number)).is_some());
        }
        let store = quick(dir.path());
        prop_assert!(store.fsck().unwrap().is_clean());
        prop_assert_eq!((count(&store.dir("claims")), count(&store.dir("tmp"))), (0, 0));
    }
}
