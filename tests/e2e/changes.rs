//! Inputs that change while a run uses them: whatever it publishes under a key is what a quiet run publishes there.
//!
//! Must not know: when a file is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Project, assert_sound, files_below, pairs};

/// The outputs in every record of a store.
fn outputs(store: &Path) -> BTreeMap<PathBuf, Value> {
    let outputs = |(path, bytes): (PathBuf, Vec<u8>)| {
        let record: Value = serde_json::from_slice(&bytes).unwrap();
        (path, record["outputs"].clone())
    };
    files_below(&store.join("records")).into_iter().map(outputs).collect()
}

/// Puts one of two versions of the weights or of a data file in its place, as programs do: weights are edited in place,
/// with their size kept and their time put back, a data file is replaced.
fn put(project: &Project, weights: bool, other: bool) {
    if weights {
        let mut file = File::options().write(true).open(project.dir.join("model/model.safetensors")).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.seek(SeekFrom::End(-4)).unwrap();
        file.write_all(&(if other { 2.0_f32 } else { 1.0_f32 }).to_le_bytes()).unwrap();
        file.set_modified(modified).unwrap();
    } else {
        project.write("data/new", pairs("fairness", usize::from(other), 12));
        fs::rename(project.dir.join("data/new"), project.dir.join("data/fairness.csv")).unwrap();
    }
}

#[test]
fn what_a_run_publishes_was_made_of_the_inputs_in_its_key() {
    let project = Project::new();
    project.edit("device = \"cpu\"", "device = \"cpu\"\ncheckpoint_seconds = 0");
    let quiet = project.beside("quiet");
    for (weights, data) in [(false, false), (false, true), (true, true), (true, false)] {
        put(&project, true, weights);
        put(&project, false, data);
        project.ok(&["run", "--set", "run.store=\"../quiet\""]);
    }
    let expected = outputs(&quiet);

    let mut noticed = 0;
    let mut versions = [true, false];
    for attempt in 0..8_u64 {
        let mut run = project.start(&["run"]);
        // A run takes some hundreds of milliseconds, so every attempt meets it somewhere else.
        for moment in 0.. {
            std::thread::sleep(Duration::from_millis(20 + (attempt * 97 + moment * 61) % 150));
            if run.try_wait().unwrap().is_some() {
                break;
            }
            let which = usize::try_from((attempt + moment) % 2).unwrap();
            versions[which] = !versions[which];
            put(&project, which == 0, versions[which]);
        }
        let ended = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let changed = said.contains("changed while it was used");
        assert!(ended.status.success() || changed && ended.status.code() == Some(1), "{said}");
        noticed += usize::from(changed);
    }
    assert!(noticed > 0, "no change met a run");
    project.ok(&["run"]);
    assert_sound(&project.store);
    for (record, found) in outputs(&project.store) {
        assert_eq!(Some(&found), expected.get(&record), "{} holds results of other inputs", record.display());
    }
}
