//! Several runs on one store: they share the work out.
//!
//! Must not know: how a claim is kept.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::kill::{TRIES, long_project, shard};
use crate::support::{Project, assert_sound, assert_tidy, files_below, finished};

fn signal(name: &str, run: &Child) {
    let sent = Command::new("kill").args([name, &run.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A run that stands still in the middle of its first score.
fn stopped_while_scoring(project: &Project) -> Child {
    for _ in 0..TRIES {
        let mut run = project.start(&["run", "--until", "score", "--json"]);
        while run.try_wait().unwrap().is_none() {
            if shard(&project.store, "sums-").is_some() {
                signal("-STOP", &run);
                if shard(&project.store, "sums-").is_some() {
                    return run;
                }
                signal("-CONT", &run);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        fs::remove_dir_all(&project.store).unwrap();
    }
    panic!("no run was caught while it scored");
}

/// What a run said that it computed.
fn computed(run: Child) -> Vec<String> {
    let (answer, _) = finished(&run.wait_with_output().unwrap(), &["run"]);
    let summary: Value = serde_json::from_str(&answer).unwrap();
    summary["computed"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn two_runs_on_one_store_compute_different_nodes() {
    let project = long_project();
    let first = stopped_while_scoring(&project);
    let key = project.status(&[])["score[fairness]"]["key"].as_str().unwrap().to_owned();

    let mut second = project.start(&["run", "--until", "score", "--json"]);
    while files_below(&project.store.join("records/score")).len() < 2 {
        assert!(second.try_wait().unwrap().is_none(), "it ended without the other two scores");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The second run made two scores while the first one still held the third.
    let claim: Value = serde_json::from_slice(&fs::read(project.store.join("claims").join(key)).unwrap()).unwrap();
    assert_eq!(claim["pid"], first.id());

    signal("-CONT", &first);
    let (first, second) = (computed(first), computed(second));
    assert_eq!(second, ["score[general]", "score[privacy]"]);
    assert_eq!(first.last().map(String::as_str), Some("score[fairness]"));
    assert_sound(&project.store);
    assert_tidy(&project.store);
}
