//! Inputs that change while a run uses them: whatever it publishes under a key is what a quiet run publishes there.
//!
//! Must not know: when a file is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Project, assert_sound, files_below, finished, pairs};

/// The outputs in every record of a store.
fn outputs(store: &Path) -> BTreeMap<PathBuf, Value> {
    let outputs = |(path, bytes): (PathBuf, Vec<u8>)| {
        let record: Value = serde_json::from_slice(&bytes).unwrap();
        (path, record["outputs"].clone())
    };
    files_below(&store.join("records")).into_iter().map(outputs).collect()
}

/// The states that the weights can be in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weights {
    Base,
    /// Another weight at the end.
    Other,
    /// The base with a patch in it.
    Patched,
}

const WEIGHTS: [Weights; 3] = [Weights::Base, Weights::Other, Weights::Patched];

/// A project with what is needed to change its inputs as programs and people do.
struct Changing {
    project: Project,
    /// The weights' bytes in each state.
    bytes: [Vec<u8>; 3],
    state: Weights,
}

impl Changing {
    fn new() -> Self {
        let project = Project::new();
        project.edit("device = \"cpu\"", "device = \"cpu\"\ncheckpoint_seconds = 0");
        let weights = project.dir.join("model/model.safetensors");
        let base = fs::read(&weights).unwrap();
        project.ok(&["run"]);
        project.ok(&["export", "0.006,0.03", "p.safetensors", "--patch"]);
        project.ok(&["apply", "p.safetensors", "model"]);
        let patched = fs::read(&weights).unwrap();
        project.ok(&["undo", "p.safetensors", "model"]);
        assert!(base == fs::read(&weights).unwrap() && base != patched);
        fs::remove_dir_all(&project.store).unwrap();
        let mut other = base.clone();
        let end = other.len() - 4;
        other[end..].copy_from_slice(&2.0_f32.to_le_bytes());
        Self { project, bytes: [base, other, patched], state: Weights::Base }
    }

    fn weights(&self) -> PathBuf {
        self.project.dir.join("model/model.safetensors")
    }

    /// Brings the weights into another state in one of four ways. Returns whether it could.
    fn put(&mut self, to: Weights, way: u64) -> bool {
        let path = self.weights();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let bytes = &self.bytes[WEIGHTS.iter().position(|state| *state == to).unwrap()];
        match (way % 4, self.state, to) {
            (0, Weights::Base, Weights::Patched) => return self.edit("apply", to),
            (0, Weights::Patched, Weights::Base) => return self.edit("undo", to),
            // In place, with the time put back.
            (1, ..) => {
                let mut file = File::options().write(true).open(&path).unwrap();
                let from = fs::read(&path).unwrap();
                for at in (0..from.len()).step_by(4).filter(|at| from[*at..*at + 4] != bytes[*at..*at + 4]) {
                    file.seek(SeekFrom::Start(at as u64)).unwrap();
                    file.write_all(&bytes[at..at + 4]).unwrap();
                }
                file.set_modified(modified).unwrap();
            }
            // Another file of the same size and time, as `cp -p`, archives and Nix make it.
            (2, ..) => {
                let new = path.with_file_name("new");
                fs::write(&new, bytes).unwrap();
                File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
                fs::rename(&new, &path).unwrap();
            }
            // The same inode, all of it written anew.
            _ => {
                let mut file = File::options().write(true).open(&path).unwrap();
                file.write_all(bytes).unwrap();
                file.set_modified(modified).unwrap();
            }
        }
        self.state = to;
        true
    }

    /// `dean apply` or `dean undo`, which may find the model in use.
    fn edit(&mut self, command: &str, to: Weights) -> bool {
        let ended = self.project.dean(&[command, "p.safetensors", "model"]).output().unwrap();
        if ended.status.success() {
            finished(&ended, &[command]);
            self.state = to;
            return true;
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains("is in use by a run of dean"), "{said}");
        assert!(
            fs::read(self.weights()).unwrap()
                == self.bytes[WEIGHTS.iter().position(|state| *state == self.state).unwrap()]
        );
        false
    }

    /// A data file of another version in the place of the first.
    fn put_data(&self, version: usize) {
        self.project.write("data/new", pairs("fairness", version, 12));
        fs::rename(self.project.dir.join("data/new"), self.project.dir.join("data/fairness.csv")).unwrap();
    }
}

#[test]
fn what_a_run_publishes_was_made_of_the_inputs_in_its_key() {
    let mut changing = Changing::new();
    for weights in WEIGHTS {
        changing.put(weights, 2);
        for data in [0, 1] {
            changing.put_data(data);
            changing.project.ok(&["run", "--set", "run.store=\"../quiet\""]);
        }
    }
    let expected = outputs(&changing.project.beside("quiet"));
    changing.put(Weights::Base, 2);

    let (mut noticed, mut refused) = (0, 0);
    let mut seed = 3_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for attempt in 0..16_u64 {
        let mut run = changing.project.start(&["run"]);
        // A run takes some hundreds of milliseconds, so every attempt meets it somewhere else.
        loop {
            std::thread::sleep(Duration::from_millis(10 + draw(140)));
            if run.try_wait().unwrap().is_some() {
                break;
            }
            if draw(3) == 0 {
                changing.put_data(usize::try_from(draw(2)).unwrap());
            } else {
                let to = WEIGHTS[usize::try_from(draw(3)).unwrap()];
                let way = if attempt % 2 == 0 { 0 } else { 1 + draw(3) };
                refused += usize::from(!changing.put(to, way));
            }
        }
        let ended = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let changed = said.contains("changed while it was used") || said.contains("is being written by");
        assert!(ended.status.success() || changed && ended.status.code() == Some(1), "{said}");
        noticed += usize::from(changed);
    }
    assert!(noticed > 0, "no change met a run");
    assert!(refused > 0, "no run had its model open when a patch was to be applied");
    changing.project.ok(&["run"]);
    assert_sound(&changing.project.store);
    for (record, found) in outputs(&changing.project.store) {
        // Weights that were hashed half written are of no version, and have keys of their own.
        if let Some(expected) = expected.get(&record) {
            assert_eq!(&found, expected, "{} holds results of other inputs", record.display());
        }
    }
    changing.put(Weights::Base, 2);
    changing.project.ok(&["run"]);
    let key = |changing: &Changing| changing.project.status(&[])["score[fairness]"]["key"].clone();
    for (way, to) in [(1, Weights::Other), (2, Weights::Base), (3, Weights::Patched)] {
        // Size and time of the weights are the same each time, and the run is another's.
        let before = key(&changing);
        changing.put(to, way);
        changing.project.ok(&["run"]);
        assert_ne!(key(&changing), before, "the weights of way {way} were not noticed");
    }
    let found = outputs(&changing.project.store);
    assert!(expected.iter().all(|(record, outputs)| found.get(record).is_none_or(|found| found == outputs)));
}

#[test]
fn a_pin_is_held_against_the_bytes_when_a_file_was_replaced() {
    let mut changing = Changing::new();
    let digest = {
        let said =
            changing.project.refused(&["run", "--set", &format!("model.source=\"model#blake3={}\"", "0".repeat(64))]);
        let at = said.find("its digest is ").unwrap() + "its digest is ".len();
        said[at..at + 64].to_owned()
    };
    let pinned = format!("model.source=\"model#blake3={digest}\"");
    changing.project.ok(&["run", "--set", &pinned]);
    for way in [1, 2, 3] {
        changing.put(Weights::Other, way);
        let said = changing.project.refused(&["run", "--set", &pinned]);
        assert!(said.contains("is not the model that the pin"), "{said}");
        changing.put(Weights::Base, way);
        assert_eq!(changing.project.computes(&["--set", &pinned]), [""; 0]);
    }
}
