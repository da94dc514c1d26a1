//! Claims between threads: who computes a key, who waits, and what becomes of the claims of the dead.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::machine;

#[test]
fn of_many_threads_one_computes_and_the_others_get_its_result() {
    let (_dir, mut store) = store();
    // Some patience, because a heartbeat may be slow on a busy machine.
    store.timing.stale = Duration::from_millis(1500);
    let (manifest, computed, waited) = (manifest(1), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut waiting = |owner: &Owner| {
                    assert_eq!(owner.pid, std::process::id());
                    waited.fetch_add(1, Ordering::Relaxed);
                };
                let record = match store.acquire(STAGE, &manifest.key(), &|| false, &mut waiting).unwrap() {
                    Acquired::Hit(record) => record,
                    Acquired::Claim(claim) => {
                        computed.fetch_add(1, Ordering::Relaxed);
                        // Longer than the patience of the others: the heart must beat meanwhile.
                        std::thread::sleep(Duration::from_millis(2000));
                        claim.publish(&manifest, vec![("answers".into(), b"yes".to_vec())], 0.0, "cpu").unwrap()
                    }
                };
                assert_eq!(record.outputs["answers"].digest, Digest::of(b"yes"));
            });
        }
    });
    assert_eq!(computed.load(Ordering::Relaxed), 1);
    assert!(waited.load(Ordering::Relaxed) >= 3);
}

#[test]
fn a_claim_that_is_given_up_frees_the_key_and_waiting_can_be_stopped() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let held = claim(&store, &manifest);
    let error = store.acquire(STAGE, &manifest.key(), &|| true, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Stopped);
    assert!(error.message().contains(&std::process::id().to_string()), "{error}");
    drop(held);
    drop(claim(&store, &manifest));
    assert_eq!(count(&store.dir("claims")), 0);
}

#[test]
fn of_several_keys_the_first_free_one_is_had() {
    let (_dir, store) = store();
    let manifests = [manifest(1), manifest(2), manifest(3)];
    let wanted: Vec<(&str, Digest)> = manifests.iter().map(|manifest| (STAGE, manifest.key())).collect();
    let next = |stop: bool| store.acquire_any(&wanted, &|| stop, &mut |_, _| {});
    let held: Vec<(usize, Claim<'_>)> = (0..3)
        .map(|_| match next(false).unwrap() {
            (place, Acquired::Claim(claim)) => (place, claim),
            (place, Acquired::Hit(_)) => panic!("{place} is a hit"),
        })
        .collect();
    assert!(held.iter().enumerate().all(|(at, (place, claim))| at == *place && *claim.key() == wanted[at].1));
    // All are being computed. Then it waits, until one of them is published or given up.
    assert_eq!(next(true).unwrap_err().kind(), Kind::Stopped);
    let [first, second, third] = <[_; 3]>::try_from(held).unwrap();
    let mut waited_for = Vec::new();
    let mut second = Some(second.1);
    let (place, got) = store
        .acquire_any(&wanted, &|| false, &mut |place, owner| {
            waited_for.push((place, owner.pid));
            let outputs = vec![("answers".into(), b"two".to_vec())];
            second.take().map(|claim| claim.publish(&manifests[1], outputs, 0.0, "cpu").unwrap());
        })
        .unwrap();
    assert_eq!((place, waited_for), (1, vec![(0, std::process::id())]));
    assert!(matches!(got, Acquired::Hit(record) if record.key == wanted[1].1));
    drop(third);
    let rest = [wanted[0], wanted[2]];
    let (place, got) = store.acquire_any(&rest, &|| false, &mut |_, _| {}).unwrap();
    assert!(place == 1 && matches!(got, Acquired::Claim(_)));
    drop(first);
    assert_eq!(store.acquire_any(&[], &|| false, &mut |_, _| {}).unwrap_err().kind(), Kind::Fault);
}

#[test]
fn many_threads_share_out_the_keys_and_none_is_computed_twice() {
    let (_dir, mut store) = store();
    store.timing.stale = Duration::from_secs(60);
    let manifests: Vec<Manifest> = (0..12).map(manifest).collect();
    let computed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut left: Vec<&Manifest> = manifests.iter().collect();
                while !left.is_empty() {
                    let wanted: Vec<(&str, Digest)> = left.iter().map(|manifest| (STAGE, manifest.key())).collect();
                    let (place, got) = store.acquire_any(&wanted, &|| false, &mut |_, _| {}).unwrap();
                    let manifest = left.remove(place);
                    if let Acquired::Claim(claim) = got {
                        computed.fetch_add(1, Ordering::Relaxed);
                        let bytes = manifest.key().to_string().into_bytes();
                        claim.publish(manifest, vec![("answers".into(), bytes)], 0.0, "cpu").unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(computed.load(Ordering::Relaxed), manifests.len());
    assert_eq!((count(&store.dir("claims")), count(&store.dir("tmp"))), (0, 0));
}

#[cfg(unix)]
#[test]
fn the_claim_of_a_dead_process_is_taken_over_at_once_and_the_old_owner_leaves_the_new_claim_alone() {
    // With the patience of a real store, so that only the process's death can explain the take-over.
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let manifest = manifest(1);
    let old = claim(&store, &manifest);
    forge(&store, &manifest.key(), |_| {});
    let begun = Instant::now();
    let new = claim(&store, &manifest);
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(old);
    assert_eq!(count(&store.dir("claims")), 1);
    drop(new);
    assert_eq!((count(&store.dir("claims")), count(&store.dir("tmp"))), (0, 0));
}

/// A claim that nobody has locked, as another machine's would look; its last heartbeat was `age` ago.
fn foreign(store: &Store, manifest: &Manifest, host: &str, age: Duration) {
    std::mem::forget(claim(store, manifest));
    forge(store, &manifest.key(), |content| {
        content["host"] = host.into();
        content["locked_by"] = "another kernel".into();
    });
    set_back(&store.claim_path(&manifest.key()), age);
}

fn set_back(path: &Path, age: Duration) {
    fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn a_claim_of_another_machine_or_of_garbage_is_taken_over_when_it_stands_still() {
    let (_dir, store) = store();
    for (number, garbage) in [(1, false), (2, true)] {
        let manifest = manifest(number);
        foreign(&store, &manifest, "elsewhere", Duration::ZERO);
        if garbage {
            fs::write(store.claim_path(&manifest.key()), "{\"host\": \"half").unwrap();
        }
        let (begun, mut owners) = (Instant::now(), Vec::new());
        let got = store.acquire(STAGE, &manifest.key(), &|| false, &mut |owner| owners.push(owner.clone())).unwrap();
        assert!(matches!(got, Acquired::Claim(_)));
        assert!(begun.elapsed() > store.timing.stale / 2);
        assert_eq!(
            (owners[0].host.as_str(), owners[0].patience),
            (if garbage { "an unknown host" } else { "elsewhere" }, Some(1))
        );
    }
}

#[test]
fn nobody_waits_for_a_heartbeat_that_stopped_long_ago() {
    // With the patience of a real store, so that only the age of the heartbeat can explain the take-over.
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let here = machine::host();
    let long_ago = Duration::from_secs(3600);
    for (number, host, age) in [(1, "elsewhere", long_ago), (2, &here, long_ago), (3, &here, store.timing.rebooted)] {
        let manifest = manifest(number);
        foreign(&store, &manifest, host, age);
        let begun = Instant::now();
        drop(claim(&store, &manifest));
        assert!(begun.elapsed() < Duration::from_secs(5), "{host}");
    }
    // The others may live: another machine's was heard of lately, and a machine may share our name.
    for (number, host, age) in [(4, "elsewhere", store.timing.rebooted), (5, &here, Duration::ZERO)] {
        let manifest = manifest(number);
        foreign(&store, &manifest, host, age);
        let stopped = store.acquire(STAGE, &manifest.key(), &|| true, &mut |_| {}).unwrap_err();
        assert_eq!(stopped.kind(), Kind::Stopped, "{host}");
    }
}

#[test]
fn whoever_takes_away_a_living_claim_by_mistake_puts_it_back() {
    let (_dir, store) = store();
    let manifest = manifest(1);
    let living = claim(&store, &manifest);
    store.take_away(&store.claim_path(&manifest.key()), b"the text of its dead predecessor").unwrap();
    assert_eq!(count(&store.dir("claims")), 1);
    drop(living);
    assert_eq!((count(&store.dir("claims")), count(&store.dir("tmp"))), (0, 0));
}
