//! What people say of runs, and that collections keep jobs and not repetitions.

use std::time::Duration;

use super::collect::run;
use super::faults::damaged;
use super::*;
use crate::store::GcOptions;

/// A store with a run of each of these: the run's number, the numbers of what it knows, and how many of them it computed.
fn runs_of(jobs: &[(u32, &[u32], usize)]) -> (tempfile::TempDir, Store) {
    let (dir, store) = store();
    for (number, keys, computed) in jobs {
        let manifests: Vec<_> = keys.iter().map(|key| manifest(*key)).collect();
        for manifest in &manifests {
            if peek(&store, manifest).is_none() {
                publish(&store, manifest, b"bytes");
            }
        }
        store.write_run(&Run { computed: Some(*computed), ..run(&id(*number), &manifests) }).unwrap();
    }
    (dir, store)
}

fn id(number: u32) -> String {
    format!("20260101T{number:06}Z-0000aaaa")
}

/// The numbers of the keys that are left when the newest runs of so many jobs are kept.
fn left(store: &Store, keep_runs: usize) -> Vec<u32> {
    store.gc(&GcOptions { keep_runs, grace: Duration::ZERO, dry_run: false }).unwrap();
    (1..10).filter(|number| peek(store, &manifest(*number)).is_some()).collect()
}

#[test]
fn repetitions_of_one_job_move_no_other_job_out() {
    let repetitions: Vec<(u32, &[u32], usize)> = (2..30).map(|number| (number, [5, 6].as_slice(), 1)).collect();
    let (_dir, store) = runs_of(&[vec![(1, [1, 2, 3].as_slice(), 3)], repetitions].concat());
    assert_eq!(left(&store, 2), [1, 2, 3, 5, 6]);
    assert_eq!(store.run_files().unwrap().runs.len(), 2, "of the repetitions the newest says all");
    assert_eq!(left(&store, 1), [5, 6]);
}

#[test]
fn a_run_that_computed_nothing_moves_nothing_out() {
    // The third found what the first had computed; the fourth and fifth are other jobs that were looked at only.
    let jobs: &[(u32, &[u32], usize)] = &[(1, &[1], 1), (2, &[2], 1), (3, &[1], 0), (4, &[4], 0), (5, &[5], 0)];
    for (keep, expected) in [(1, &[2][..]), (2, &[1, 2]), (3, &[1, 2, 5]), (9, &[1, 2, 4, 5])] {
        let (_dir, store) = runs_of(jobs);
        assert_eq!(left(&store, keep), expected, "{keep} jobs are kept");
    }
}

#[test]
fn a_job_that_has_grown_is_the_same_job() {
    let (_dir, store) = runs_of(&[(1, &[9], 1), (2, &[1, 2], 2), (3, &[1, 2, 3], 1), (4, &[1], 0)]);
    assert_eq!(left(&store, 1), [1, 2, 3]);
}

#[test]
fn a_run_of_which_somebody_said_something_stays() {
    let (_dir, store) = runs_of(&[(1, &[1], 1), (2, &[2], 1), (3, &[3], 1)]);
    let about = store.describe(&id(1), |about| about.name = Some("for-the-paper".into())).unwrap();
    assert_eq!(store.about(&id(1)).unwrap(), about);
    assert_eq!(store.run("for-the-paper").unwrap().id, id(1));
    assert_eq!(left(&store, 1), [1, 3]);
    // What cannot be read any more is still said of it, and nothing else is read out of it.
    let path = store.about_path(&id(1));
    let sound = fs::read(&path).unwrap();
    for (how, bytes) in damaged(&sound) {
        fs::write(&path, bytes).unwrap();
        assert_eq!(store.about(&id(1)).unwrap(), About::default(), "{how}");
        let unusable = store.fsck().unwrap().unusable;
        assert!(unusable.len() == 1 && unusable[0].path == path, "{how}: {unusable:?}");
    }
    assert_eq!(left(&store, 1), [1, 3]);
    store.describe(&id(1), |about| *about = About::default()).unwrap();
    assert_eq!(left(&store, 1), [3]);
}

#[test]
fn what_was_said_of_a_run_that_is_gone_goes_too() {
    let (_dir, store) = runs_of(&[(1, &[1], 1)]);
    store.describe(&id(7), |about| about.note = Some("of nothing".into())).unwrap();
    left(&store, 1);
    assert!(!store.about_path(&id(7)).exists());
}

#[test]
fn a_run_is_found_by_the_two_words_of_its_job_and_the_newest_is_meant() {
    let (_dir, store) = runs_of(&[(1, &[1], 1), (2, &[1], 0)]);
    let words = store.run(&id(1)).unwrap().words();
    assert!(words.split('-').count() == 2 && words.chars().all(|char| char.is_ascii_lowercase() || char == '-'));
    assert_eq!(store.run(&words).unwrap().id, id(2));
    let error = store.run("no-such").unwrap_err();
    assert!(error.message().starts_with("no run is called `no-such`"), "{error:?}");
    // Where it ran, and with how many threads, is no part of what was asked for.
    let with = |run: serde_json::Value| crate::store::about::job_digest(&serde_json::json!({ "score": 1, "run": run }));
    assert_eq!(with(serde_json::json!({ "threads": 1 })), with(serde_json::json!({ "threads": 2 })));
}

#[test]
fn names_are_words_that_a_shell_takes_as_they_are() {
    let (_dir, store) = runs_of(&[(1, &[1], 1)]);
    for wrong in ["", "two words", "a/b", "-n", "\u{1b}[2J"] {
        let error = store.describe(&id(1), |about| about.name = Some(wrong.into())).unwrap_err();
        assert!(error.message().contains("cannot be the name"), "{error:?}");
    }
    assert_eq!(store.about(&id(1)).unwrap(), About::default());
}
