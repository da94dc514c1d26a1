//! Runs that end early, by `kill -9` or by a signal that asks: the next one goes on where they were,
//! and what it publishes is, byte for byte, what an uninterrupted run publishes.
//!
//! Must not know: what is in a shard.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Project, assert_sound, assert_tidy, files_below, pairs, questions};

/// How often a run may be through before it could be caught.
const TRIES: usize = 5;

/// Enough samples and tokens to be in the middle of.
fn long_project() -> Project {
    let project = Project::new();
    project.write("data/fairness.csv", pairs("fairness", 0, 400));
    project.edit("path = \"data/fairness.csv\"\nsamples = 8", "path = \"data/fairness.csv\"\nsamples = 400");
    project.write("data/questions.csv", questions(300));
    project.edit("max_new_tokens = 6", "max_new_tokens = 96");
    project.edit("device = \"cpu\"", "device = \"cpu\"\ncheckpoint_seconds = 0");
    project
}

/// A shard whose name begins like this, if there is one.
fn shard(store: &Path, prefix: &str) -> Option<PathBuf> {
    let keys = fs::read_dir(store.join("partial")).ok()?;
    let files = keys.flatten().filter_map(|key| fs::read_dir(key.path()).ok()).flat_map(|files| files.flatten());
    files.map(|file| file.path()).find(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
}

/// Starts runs until one is caught while it has a shard; `end` ends it.
fn catch(project: &Project, arguments: &[&str], prefix: &str, end: &dyn Fn(&mut Child)) {
    for _ in 0..TRIES {
        let mut run = project.start(arguments);
        loop {
            if shard(&project.store, prefix).is_some() {
                end(&mut run);
                if shard(&project.store, prefix).is_some() {
                    return;
                }
                break;
            }
            if run.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Through before it was caught: once more from nothing.
        let _ = run.wait();
        let _ = fs::remove_dir_all(&project.store);
    }
    panic!("{arguments:?} was never caught in the middle");
}

fn kill(run: &mut Child) {
    run.kill().unwrap();
    run.wait().unwrap();
}

fn partial_nodes(status: &BTreeMap<String, Value>) -> Vec<&str> {
    status.iter().filter(|(_, row)| row["state"] == "partial").map(|(node, _)| node.as_str()).collect()
}

fn keys(project: &Project) -> Vec<(String, Value)> {
    project.status(&[]).into_iter().map(|(node, row)| (node, row["key"].clone())).collect()
}

/// The interrupted project against one that never was, with other checkpoints and a store of its own.
fn assert_same_bytes(project: &Project) {
    let untouched = long_project();
    untouched.ok(&["run", "--set", "run.checkpoint_seconds=30"]);
    assert_eq!(keys(project), keys(&untouched));
    let blobs = files_below(&untouched.store.join("blobs"));
    let ours = files_below(&project.store.join("blobs"));
    assert_eq!(ours.keys().collect::<Vec<_>>(), blobs.keys().collect::<Vec<_>>());
    assert!(ours == blobs, "a blob differs under the same name");
    assert_sound(&project.store);
    assert!(files_below(&project.store.join("partial")).is_empty(), "shards have served");
}

#[test]
fn killed_while_scoring() {
    let project = long_project();
    catch(&project, &["run"], "sums-", &kill);
    assert_eq!(partial_nodes(&project.status(&[])), ["score[fairness]"]);
    // A second kill, further on.
    let (_, said) = {
        let mut run = project.start(&["run"]);
        std::thread::sleep(Duration::from_millis(40));
        kill(&mut run);
        project.ok(&["run"])
    };
    let resumed = said.lines().find(|line| line.contains("score[fairness]: going on after sample"));
    assert!(resumed.is_some_and(|line| line.ends_with("of 400")), "{said}");
    assert_same_bytes(&project);
}

#[test]
fn killed_while_generating() {
    let project = long_project();
    catch(&project, &["run"], "batch-", &kill);
    let status = project.status(&[]);
    let partial = partial_nodes(&status);
    assert!(partial.len() == 1 && partial[0].starts_with("generate["), "{partial:?}");
    // Only a batch that is missing is generated: the finished one is not touched.
    let first = shard(&project.store, "batch-000000").unwrap();
    let before = fs::metadata(&first).unwrap().modified().unwrap();
    let node = partial[0].to_owned();
    catch_second_batch(&project);
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), before, "the first batch was generated again");
    assert_eq!(project.status(&[])[&node]["state"], "partial");
    project.ok(&["run"]);
    assert_same_bytes(&project);
}

/// Goes on until there is one more batch, and kills again.
fn catch_second_batch(project: &Project) {
    let count = || {
        let names = files_below(&project.store.join("partial")).into_keys();
        names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("batch-")).count()
    };
    let before = count();
    let mut run = project.start(&["run"]);
    while count() <= before {
        assert!(run.try_wait().unwrap().is_none(), "it ended before another batch was seen");
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(&mut run);
}

#[test]
fn a_signal_that_asks_ends_with_75_and_keeps_what_was_done() {
    let project = long_project();
    let terminate = |run: &mut Child| {
        let sent = Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let mut said = String::new();
        std::io::Read::read_to_string(run.stderr.as_mut().unwrap(), &mut said).unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(75), "{said}");
        assert!(said.contains("stopped in score[fairness]"), "{said}");
        assert!(said.contains("run the same command again to continue") && !said.contains("error:"), "{said}");
    };
    catch(&project, &["run"], "sums-", &terminate);
    assert_sound(&project.store);
    assert_tidy(&project.store);
    assert_eq!(partial_nodes(&project.status(&[])), ["score[fairness]"]);
    let (_, said) = project.ok(&["run"]);
    assert!(said.contains("going on after sample"), "{said}");
    assert_same_bytes(&project);
}
