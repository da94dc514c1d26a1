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

use serde_json::{Value, json};

use crate::support::{Project, assert_sound, assert_tidy, by_node, files_below, pairs, questions};
use crate::sweep::swept;

/// How often a run may be through before it could be caught.
pub const TRIES: usize = 5;

/// Enough samples and tokens to be in the middle of.
pub fn long_project() -> Project {
    let project = Project::new();
    project.write("data/fairness.csv", pairs("fairness", 0, 400));
    project.edit("path = \"data/fairness.csv\"\nsamples = 8", "path = \"data/fairness.csv\"\nsamples = 400");
    project.write("data/questions.csv", questions(300));
    project.edit("max_new_tokens = 6", "max_new_tokens = 96");
    project.edit("device = \"cpu\"", "device = \"cpu\"\ncheckpoint_seconds = 0");
    project
}

/// A shard whose name begins like this, if there is one.
pub fn shard(store: &Path, prefix: &str) -> Option<PathBuf> {
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
fn killed_a_hundred_times_at_any_moment() {
    let project = Project::new();
    project.edit("device = \"cpu\"", "device = \"cpu\"\ncheckpoint_seconds = 0");
    let untouched = Project::new();
    untouched.ok(&["run"]);
    let collect = || {
        project.ok(&["cache", "gc", "--keep-runs", "1", "--grace", "0s"]);
        for place in ["tmp", "claims", "live"] {
            assert!(files_below(&project.store.join(place)).is_empty(), "left in {place}");
        }
    };
    let mut state = 5_u64;
    let mut whole = 0;
    for number in 0..100 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut run = project.start(&["run"]);
        std::thread::sleep(Duration::from_micros((state >> 33) % 150_000));
        if run.try_wait().unwrap().is_some() {
            // This one was through: from nothing again, and now and then with what the kills left swept away.
            run.wait().unwrap();
            assert_sound(&project.store);
            whole += 1;
            fs::remove_dir_all(&project.store).unwrap();
        } else {
            kill(&mut run);
            assert_sound(&project.store);
            if number % 10 == 0 {
                collect();
            }
        }
    }
    assert!(whole < 90, "most runs were through before they could be killed");
    project.ok(&["run"]);
    assert_eq!(keys(&project), keys(&untouched));
    assert!(files_below(&project.store.join("blobs")) == files_below(&untouched.store.join("blobs")));
    collect();
    assert!(files_below(&project.store.join("partial")).is_empty(), "shards have served");
    project.ok(&["cache", "fsck"]);
}

#[test]
fn a_sweep_killed_a_hundred_times_at_any_moment() {
    let project = swept();
    project.edit("device = \"cpu\"", "device = \"cpu\"\ncheckpoint_seconds = 0");
    let untouched = swept();
    let expected = untouched.json(&["run"])["rows"].clone();
    let mut state = 12_u64;
    let (mut kills, mut whole) = (0, 0);
    while kills < 100 && whole < 100 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut run = project.start(&["run", "--quiet"]);
        std::thread::sleep(Duration::from_micros((state >> 33) % 120_000));
        if run.try_wait().unwrap().is_some() {
            // This one was through: from nothing again.
            run.wait().unwrap();
            assert_sound(&project.store);
            whole += 1;
            fs::remove_dir_all(&project.store).unwrap();
            continue;
        }
        kill(&mut run);
        kills += 1;
        assert_sound(&project.store);
        if kills % 20 == 0 {
            project.ok(&["cache", "gc", "--keep-runs", "9", "--grace", "0s"]);
            assert!(files_below(&project.store.join("claims")).is_empty(), "left in claims");
        }
    }
    assert_eq!(kills, 100, "most runs were through before they could be killed");
    assert_eq!(project.json(&["run"])["rows"], expected);
    assert!(files_below(&project.store.join("blobs")) == files_below(&untouched.store.join("blobs")));
    assert!(files_below(&project.store.join("partial")).is_empty(), "shards have served");
    project.ok(&["cache", "fsck"]);
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

/// Samples enough to be in the middle of, and a model whose layers are worth being done in groups.
fn deep_project() -> Project {
    let project = Project::new();
    project.model(6, 768);
    project.write("data/fairness.csv", pairs("fairness", 0, 60));
    project.edit("path = \"data/fairness.csv\"\nsamples = 8", "path = \"data/fairness.csv\"\nsamples = 60");
    project.edit("device = \"cpu\"", "device = \"cpu\"\ncheckpoint_seconds = 0");
    project
}

const ROOM: &str = "score.memory=\"1 TiB\"";

#[test]
fn killed_while_scoring_in_groups_of_layers() {
    killed_in_groups(&[]);
}

#[test]
fn killed_while_keeping_every_score_and_nothing_of_the_topmost_group() {
    killed_in_groups(&["--set", "score.keep=\"full\"", "--set", "score.layers=[1]"]);
}

fn killed_in_groups(options: &[&str]) {
    let with = |arguments: &[&str], memory: &str| -> Vec<String> {
        [arguments, options, &["--set", memory]].concat().into_iter().map(str::to_owned).collect()
    };
    let call = |project: &Project, arguments: &[String]| -> (String, String) {
        project.ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let project = deep_project();
    project.ok(&["run", "--until", "tokenize"]);
    let cost = |memory: &str| {
        let (answer, _) = call(&project, &with(&["plan", "--json"], memory));
        by_node(&serde_json::from_str(&answer).unwrap())["score[fairness]"]["cost"].clone()
    };
    let free = cost(ROOM);
    assert_eq!((free["groups"].as_array().unwrap().len(), &free["recomputed"]), (1, &json!(0.0)), "{free}");
    let peak = free["peak_bytes"].as_u64().unwrap();
    // Less memory makes batches smaller first, and then groups of layers.
    let groups_of = |cost: &Value| cost["groups"].as_array().unwrap().len();
    let budgets = (1..20).map(|twentieth| peak - peak * twentieth / 20);
    let (budget, tight, grouped) = budgets
        .map(|budget| (budget, format!("score.memory={budget}")))
        .map(|(budget, tight)| (budget, tight.clone(), cost(&tight)))
        .find(|(.., cost)| groups_of(cost) > 1)
        .unwrap();
    let groups = groups_of(&grouped);
    assert!(grouped["peak_bytes"].as_u64().unwrap() <= budget, "{grouped}");
    assert_eq!(grouped["operations"], free["operations"]);
    assert!(grouped["recomputed"].as_f64().unwrap() > 0.0, "{grouped}");
    let (answer, _) = call(&project, &with(&["plan"], &tight));
    assert!(answer.contains(&format!("more for {groups} groups of layers, and at most")), "{answer}");

    let scoring = ["run", "--until", "score"];
    let untouched = deep_project();
    call(&untouched, &with(&scoring, ROOM));
    let same = |project: &Project| {
        let keys = |project: &Project, memory: &str| {
            let (answer, _) = call(project, &with(&["status", "--json"], memory));
            let status = by_node(&serde_json::from_str(&answer).unwrap());
            status.into_iter().map(|(node, row)| (node, row["key"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(keys(project, &tight), keys(&untouched, ROOM));
        let blobs = |project: &Project| files_below(&project.store.join("blobs"));
        assert!(blobs(project) == blobs(&untouched), "grouped and ungrouped, killed or not: the same bytes");
        assert_sound(&project.store);
        assert!(files_below(&project.store.join("partial")).is_empty(), "shards have served");
    };
    // What the topmost group came to is there, and the next one is begun.
    let run = with(&scoring, &tight);
    let words: Vec<&str> = run.iter().map(String::as_str).collect();
    catch(&project, &words, "ranks-", &kill);
    let (_, said) = call(&project, &run);
    let resumed = said.lines().find(|line| line.contains("score[fairness]: going on after sample"));
    assert!(resumed.is_some_and(|line| line.ends_with(&format!("of {groups}"))), "{said}");
    same(&project);

    // With another budget the shards are another grouping's, and are not taken.
    let project = deep_project();
    catch(&project, &words, "ranks-", &kill);
    let (_, said) = call(&project, &with(&scoring, ROOM));
    assert!(!said.contains("going on after sample"), "{said}");
    same(&project);
}

#[test]
fn killed_while_generating() {
    let project = long_project();
    catch(&project, &["run"], "rows-", &kill);
    let status = project.status(&[]);
    let partial = partial_nodes(&status);
    assert!(partial.len() == 1 && partial[0].starts_with("generate["), "{partial:?}");
    // Only answers that are missing are generated: those that a shard holds are not touched.
    let first = shard(&project.store, "rows-").unwrap();
    let before = fs::metadata(&first).unwrap().modified().unwrap();
    let node = partial[0].to_owned();
    catch_second_shard(&project);
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), before, "the first answers were generated again");
    assert_eq!(project.status(&[])[&node]["state"], "partial");
    project.ok(&["run"]);
    assert_same_bytes(&project);
}

/// Goes on until there is one more shard of answers, and kills again.
fn catch_second_shard(project: &Project) {
    let count = || {
        let names = files_below(&project.store.join("partial")).into_keys();
        names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("rows-")).count()
    };
    let before = count();
    let mut run = project.start(&["run"]);
    while count() <= before {
        assert!(run.try_wait().unwrap().is_none(), "it ended before another shard was seen");
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
