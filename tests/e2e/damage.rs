//! A store whose files are damaged, and a store in which somebody makes room, beside runs: the next run ends with the right
//! result, heals what it met, and waits for nothing. The unit tests of the store turn over every bit; here is a sample, through
//! the program.
//!
//! Must not know: what is in a file of the store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Project, assert_sound, assert_tidy, files_below};

fn overwrite(path: &Path, bytes: &[u8]) {
    // Published blobs are read-only; and a file of a new inode has a new time, as if a disk were copied.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn keys_and_outputs(project: &Project) -> BTreeMap<String, (Value, Value)> {
    project.status(&[]).into_iter().map(|(node, row)| (node, (row["key"].clone(), row["outputs"].clone()))).collect()
}

#[test]
fn whatever_is_damaged_the_next_run_heals_it() {
    let project = Project::new();
    project.ok(&["run"]);
    let (right, report) = (keys_and_outputs(&project), project.json(&["report"])["report"]["variants"].clone());
    let mut state = 11_u64;
    let mut below = |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % most.max(1)
    };
    for kind in ["records", "blobs", "memo", "runs"] {
        for attempt in 0..8 {
            let files: Vec<(PathBuf, Vec<u8>)> = files_below(&project.store.join(kind)).into_iter().collect();
            let (path, mut bytes) = files[below(files.len())].clone();
            let at = below(bytes.len());
            if attempt % 4 == 3 {
                bytes.truncate(at);
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << below(8);
            }
            let path = project.store.join(kind).join(path);
            overwrite(&path, &bytes);
            let what = format!("{} byte {at}", path.display());
            if attempt % 2 == 1 {
                let fsck = project.dean(&["cache", "fsck"]).output().unwrap();
                assert_eq!(fsck.status.code(), Some(1), "{what}: fsck sees it");
            }
            project.ok(&["run"]);
            assert_eq!(keys_and_outputs(&project), right, "{what}");
            assert_eq!(project.json(&["report"])["report"]["variants"], report, "{what}");
            assert_eq!(project.computes(&[]), [""; 0], "{what}: it is healed");
            if kind == "runs" {
                // A run's file is a note of the past, which no run can write again.
                fs::remove_file(path).unwrap();
            }
            project.ok(&["cache", "fsck"]);
        }
    }
    assert_sound(&project.store);
    assert_tidy(&project.store);
}

#[test]
fn a_record_of_an_older_version_that_lost_an_output_is_made_again() {
    let project = Project::new();
    project.ok(&["run"]);
    for (node, output, other) in [("select", "masks", "marks"), ("tokenize[privacy]", "tokens", "tokeos")] {
        let status = &project.status(&[])[node];
        let (stage, key) = (status["stage"].as_str().unwrap(), status["key"].as_str().unwrap());
        let path = project.store.join(format!("records/{stage}/{key}.json"));
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record.as_object_mut().unwrap().remove("check");
        let text = record.to_string().replace(&format!("\"{output}\""), &format!("\"{other}\""));
        overwrite(&path, text.as_bytes());
        let (answer, _) = project.ok(&["run"]);
        assert!(answer.contains(&format!("repaired: the record of {stage} {} was damaged", &key[..8])), "{answer}");
        assert_eq!(project.computes(&[]), [""; 0]);
    }
}

#[test]
fn a_pinned_run_keeps_what_it_needs_although_its_file_is_damaged() {
    let project = Project::new();
    let run = project.json(&["run"])["run"].as_str().unwrap().to_owned();
    project.ok(&["cache", "pin", &run]);
    let key = project.status(&[])["score[privacy]"]["key"].as_str().unwrap().to_owned();
    let path = project.store.join(format!("runs/{run}.json"));
    let other = format!("{}{}", if key.starts_with('0') { '1' } else { '0' }, &key[1..]);
    let text = fs::read_to_string(&path).unwrap().replace(&key, &other);
    overwrite(&path, text.as_bytes());
    let (answer, said) = project.ok(&["cache", "gc", "--keep-runs", "0", "--grace", "0s"]);
    assert!(said.contains(&format!("{run}.json cannot be read")), "{said}\n{answer}");
    assert_eq!(project.computes(&[]), [""; 0], "nothing that it needs was collected");
    assert!(project.dean(&["cache", "fsck"]).output().unwrap().status.code() == Some(1));
    project.ok(&["cache", "pin", "--remove", &run]);
    // Once another job has been computed, the damaged run is old enough to go.
    assert_ne!(project.computes(&["--set", "select.points=[[0.003, 0.05]]"]), [""; 0]);
    project.ok(&["cache", "gc", "--keep-runs", "1", "--grace", "0s"]);
    project.ok(&["cache", "fsck"]);
}

#[test]
fn runs_beside_collections_of_everything_fail_never() {
    let project = Project::new();
    project.ok(&["run"]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let gc = scope.spawn(|| {
            let mut collected = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                project.ok(&["cache", "gc", "--keep-runs", "0", "--grace", "0s"]);
                let fsck = project.dean(&["cache", "fsck"]).output().unwrap();
                assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
                collected += 1;
            }
            collected
        });
        for round in 0..6 {
            // Every second job is the same, so runs find what others made, and collections take it away between them.
            let seed = format!("data.privacy.seed={}", round / 2);
            let runs: Vec<_> = ["fairness", "general"]
                .map(|set| {
                    project.start(&["run", "--json", "--set", &seed, "--set", &format!("data.{set}.seed={round}")])
                })
                .into_iter()
                .collect();
            for run in runs {
                let ended = run.wait_with_output().unwrap();
                assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
                let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
                let computed: Vec<&str> =
                    summary["computed"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap()).collect();
                let mut distinct = computed.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), computed.len(), "no node twice: {computed:?}");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(gc.join().unwrap() > 3);
    });
    assert_sound(&project.store);
    assert_tidy(&project.store);
}

#[test]
#[cfg(unix)]
fn a_named_pipe_or_a_device_is_refused_and_never_read() {
    let project = Project::new();
    let pipe = project.dir.join("data/pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (setting, what) in [
        ("data.privacy.path=data/pipe.csv", "is not a file but a named pipe"),
        ("questions.fairness.path=data/pipe.csv", "is not a file but a named pipe"),
        ("perplexity.path=/dev/zero", "is not a file but a device"),
        ("model.source=/dev/zero", "is neither a model directory nor a .gguf file"),
        ("tokenize.chat_template=/dev/zero", "is not a file but a device"),
    ] {
        for command in ["run", "plan"] {
            let said = project.refused(&[command, "--set", setting]);
            assert!(said.contains(what), "{setting}: {said}");
        }
    }
}
