//! What is computed again, what is not, and what the program says of it.
//!
//! Must not know: how keys are made.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::{
    Project, assert_sound, assert_tidy, by_node, copy_tree, dean_in, files_below, finished, states, succeed,
};

/// Another grid with two distinct masks, none of them of the first grid.
const OTHER_GRID: &str = "select.points=[[0.003, 0.04], [0.01, 0.05]]";

/// Blobs and records with the times they were written at.
fn written(store: &Path) -> Vec<(PathBuf, SystemTime)> {
    let stamped = |place: &str| {
        let dir = store.join(place);
        let files = files_below(&dir).into_keys().map(move |path| dir.join(path));
        files.map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect::<Vec<_>>()
    };
    [stamped("blobs"), stamped("records")].concat()
}

fn stages(nodes: &[String]) -> BTreeSet<&str> {
    nodes.iter().map(|node| node.split('[').next().unwrap()).collect()
}

/// Digests of all outputs of a status, by node and output.
fn digests(status: &std::collections::BTreeMap<String, Value>) -> Vec<(String, String, String)> {
    let rows = status.iter().flat_map(|(node, row)| {
        let outputs = row["outputs"].as_object().unwrap().iter();
        outputs.map(move |(name, output)| (node.clone(), name.clone(), output["digest"].as_str().unwrap().to_owned()))
    });
    rows.collect()
}

#[test]
fn a_second_run_does_nothing() {
    let project = Project::new();
    let (answer, said) = project.ok(&["run"]);
    assert!(answer.contains("computed ") && answer.contains("0 were in the store"), "{answer}");
    assert!(said.contains("score[privacy]"), "progress is told: {said}");
    assert_sound(&project.store);
    assert_tidy(&project.store);
    let before = written(&project.store);

    let (answer, said) = project.ok(&["run"]);
    assert!(answer.starts_with("nothing to do"), "{answer}");
    assert!(!said.contains("score["), "no stage runs: {said}");
    assert_eq!(written(&project.store), before, "nothing was written anew");
    assert_eq!(project.computes(&[]), Vec::<String>::new());
    let (answer, _) = project.ok(&["plan"]);
    assert!(answer.contains("nothing would run"), "{answer}");
}

#[test]
fn another_grid_computes_selection_onward_only() {
    let project = Project::new();
    project.ok(&["run"]);
    let status = project.status(&["--set", OTHER_GRID]);
    assert_eq!(states(&status, &["tokenize", "score"]), ["hit".to_owned()].into());
    assert_eq!(states(&status, &["select", "patch", "report"]), ["miss".to_owned()].into());
    assert_eq!(status["generate[base]"]["state"], "hit", "the base does not depend on the grid");
    // The masks are known before anything runs, because selection is evaluated while planning.
    assert_eq!(status.keys().filter(|node| node.starts_with("patch[")).count(), 2);
    assert!(status["select"]["key"].is_string());

    let computed = project.computes(&["--set", OTHER_GRID]);
    let expected = ["select", "patch", "generate", "inspect", "judge", "perplexity", "report"];
    assert_eq!(stages(&computed), expected.into());
    assert!(!computed.iter().any(|node| node.ends_with("[base]")), "{computed:?}");
    // The first grid is still there.
    assert_eq!(project.computes(&[]), Vec::<String>::new());
}

#[test]
fn explain_names_what_changed_with_both_values() {
    let project = Project::new();
    let (answer, _) = project.ok(&["explain", "score[privacy]"]);
    assert!(answer.contains("score[privacy] waits for tokenize[privacy]"), "{answer}");
    project.ok(&["run", "--until", "score"]);
    let (answer, _) = project.ok(&["explain", "score[privacy]"]);
    assert!(answer.contains("score[privacy] is in the store"), "{answer}");

    let changed = ["--set", "score.cap=0.06"];
    let (answer, _) = project.ok(&[&["explain", "score[privacy]"], &changed[..]].concat());
    assert!(answer.contains("parameter `cap` was 0.05, is now 0.06"), "{answer}");
    let reasons = &project.json(&[&["explain", "score[privacy]"], &changed[..]].concat())[0]["reasons"];
    assert_eq!(*reasons, json!([{ "reason": "parameter", "name": "cap", "old": 0.05, "new": 0.06 }]));

    // Below a miss the key is not known, but the cause is followed up to where it is.
    let changed = ["--set", "data.privacy.seed=3"];
    let (answer, _) = project.ok(&[&["explain", "score[privacy]"], &changed[..]].concat());
    assert!(answer.contains("score[privacy] waits for tokenize[privacy]"), "{answer}");
    assert!(answer.contains("parameter `seed` was 0, is now 3"), "{answer}");

    let rows = fs::read_to_string(project.dir.join("data/privacy.csv")).unwrap();
    project.write("data/privacy.csv", rows.replace("What now?", "What then?"));
    let (answer, _) = project.ok(&["explain", "tokenize[privacy]"]);
    assert!(answer.contains("input `rows`") && answer.contains("data/privacy.csv changed"), "{answer}");
    let (answer, _) = project.ok(&["explain", "tokenize[fairness]"]);
    assert!(answer.contains("is in the store"), "{answer}");
}

#[test]
fn points_with_equal_masks_are_generated_once() {
    let project = Project::new();
    let summary = project.json(&["run"]);
    let status = project.status(&[]);
    let of = |stage: &str| status.values().filter(|row| row["stage"] == stage).count();
    assert_eq!((of("patch"), of("generate"), of("inspect"), of("judge"), of("perplexity")), (2, 3, 3, 4, 3));

    let report = summary["report"]["variants"].as_array().unwrap();
    let points: Vec<&Value> = report.iter().map(|row| &row["points"]).collect();
    let first = json!([{ "p": 0.006, "q": 0.03 }]);
    let shared = json!([{ "p": 0.003, "q": 0.05 }, { "p": 0.004, "q": 0.05 }]);
    assert_eq!(points, [&json!([]), &first, &shared]);
    assert_eq!(report[0]["variant"], "base");
    let found = |row: usize, set: &str, measure: &str| -> &Value {
        let is_it = |found: &&Value| found["set"] == set && found["measure"] == measure;
        report[row]["outcomes"].as_array().unwrap().iter().find(is_it).unwrap()
    };
    for row in 0..report.len() {
        assert_eq!(found(row, "fairness", "refusal/safe")["rows"], 130);
        assert_eq!(found(row, "fairness", "empty")["rows"], 130);
        assert_eq!(found(row, "text", "nll")["rows"], 2, "windows");
        assert_eq!(found(row, "text", "nll")["over"], 2.0 * 63.0, "tokens that are predicted");
    }
    assert!(report[1]["weights"].as_u64() > Some(0) && report[2]["weights"].as_u64() > Some(0));
    assert_ne!(report[1]["mask"], report[2]["mask"]);
    // A patch does something: ordinary ability is not what it was, to the last digit.
    let perplexity = |row: usize| found(row, "text", "nll")["value"].as_f64().unwrap();
    assert!(perplexity(0) != perplexity(1) && perplexity(1) != perplexity(2));

    let (answer, _) = project.ok(&["run"]);
    assert!(answer.contains("also"), "the table names both points: {answer}");
    let (answer, _) = project.ok(&["grid"]);
    assert!(answer.contains("same as"), "{answer}");
}

#[test]
fn status_computes_nothing_and_names_files_that_are_there() {
    let project = Project::new();
    let empty = project.json(&["status"]);
    for place in ["blobs", "records", "runs", "partial"] {
        assert!(!project.store.join(place).exists(), "looking computes nothing, but there is {place}");
    }
    let unknown: Vec<&Value> =
        empty.as_array().unwrap().iter().filter(|row| row["stage"] == "select" || row["stage"] == "report").collect();
    assert_eq!(unknown.len(), 2);
    assert!(unknown.iter().all(|row| row["state"] == "miss" && row["key"].is_null()), "{unknown:?}");
    assert!(by_node(&empty)["tokenize[general]"]["key"].is_string());

    project.ok(&["run"]);
    for row in project.json(&["status"]).as_array().unwrap() {
        assert!(row["node"].as_str().unwrap().starts_with(row["stage"].as_str().unwrap()));
        assert_eq!(row["state"], "hit");
        assert_eq!(row["key"].as_str().unwrap().len(), 64);
        let outputs = row["outputs"].as_object().unwrap();
        assert!(!outputs.is_empty());
        for output in outputs.values() {
            let path = Path::new(output["path"].as_str().unwrap());
            assert!(path.is_absolute() && path.ends_with(output["digest"].as_str().unwrap()));
            assert_eq!(fs::metadata(path).unwrap().len(), output["bytes"].as_u64().unwrap());
        }
    }
}

#[test]
fn what_belongs_to_the_machine_changes_neither_keys_nor_bytes() {
    let project = Project::new();
    project.ok(&["run"]);
    let there = project.status(&[]);
    for change in ["run.threads=1", "run.checkpoint_seconds=0", "run.device=auto", "run.sources=elsewhere"] {
        assert_eq!(project.status(&["--set", change]), there, "{change}");
    }
    let store = format!("run.store={}", project.beside("other").display());
    let elsewhere = ["--set", &store, "--set", "run.threads=1", "--set", "run.checkpoint_seconds=0"];
    project.ok(&[&["run"], &elsewhere[..]].concat());
    let other = project.status(&elsewhere);
    let keys = |status: &std::collections::BTreeMap<String, Value>| {
        status.values().map(|row| row["key"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&other), keys(&there));
    assert_eq!(digests(&other), digests(&there));
    assert_eq!(files_below(&project.beside("other").join("blobs")), files_below(&project.store.join("blobs")));
    // The same numbers in another spelling are the same grid.
    let spelled = "select.points=[[6e-3, 30e-3], [4e-3, 0.050], [0.003, 5e-2], [0.003, 0.05]]";
    assert_eq!(keys(&project.status(&["--set", spelled])), keys(&there));
}

#[test]
fn a_renamed_copy_of_the_project_has_everything() {
    let project = Project::new();
    project.ok(&["run"]);
    let copy = project.beside("renamed");
    copy_tree(&project.dir, &copy);
    fs::rename(copy.join("model"), copy.join("weights")).unwrap();
    let arguments = ["run", "--set", "model.source=weights"];
    let (answer, _) = succeed(dean_in(&copy, &arguments), &arguments);
    assert!(answer.starts_with("nothing to do"), "{answer}");
}

#[test]
fn two_runs_at_once_share_the_work() {
    let project = Project::new();
    let runs = [project.start(&["run", "--json"]), project.start(&["run", "--json"])];
    let mut computed: Vec<String> = Vec::new();
    for run in runs {
        let output = run.wait_with_output().unwrap();
        let (answer, _) = finished(&output, &["run", "at once"]);
        let summary: Value = serde_json::from_str(&answer).unwrap();
        let nodes = summary["computed"].as_array().unwrap().iter();
        computed.extend(nodes.map(|node| node["node"].as_str().unwrap().to_owned()));
        assert_eq!(summary["report"]["variants"].as_array().unwrap().len(), 3);
    }
    assert_sound(&project.store);
    assert_tidy(&project.store);
    computed.sort();
    let all: Vec<String> = project.status(&[]).into_keys().collect();
    assert_eq!(computed, all, "each node was computed by one of the two");
}

#[test]
fn a_damaged_blob_is_computed_again_and_reported() {
    let project = Project::new();
    project.ok(&["run"]);
    let before = project.status(&[]);
    let ranks = &before["score[privacy]"]["outputs"]["ranks"];
    let blob = PathBuf::from(ranks["path"].as_str().unwrap());
    let spoil = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&blob).unwrap();
        change(&mut bytes);
        // Published blobs are read-only.
        let mut permissions = fs::metadata(&blob).unwrap().permissions();
        assert!(permissions.readonly());
        #[allow(clippy::permissions_set_readonly_false, reason = "a file of a test")]
        permissions.set_readonly(false);
        fs::set_permissions(&blob, permissions).unwrap();
        fs::write(&blob, bytes).unwrap();
    };

    // The same length: only its content tells.
    spoil(&|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xFF;
    });
    let (answer, said) = project.ok(&["run"]);
    assert!(answer.contains("computed 1 of"), "{answer}");
    let short = &ranks["digest"].as_str().unwrap()[..8];
    assert!(answer.contains(&format!("repaired: the artifact {short} was damaged")), "{answer}");
    assert!(said.contains("score[privacy]") && !said.contains("score[fairness]"), "{said}");
    assert_eq!(project.status(&[]), before, "it is the same again");
    assert_sound(&project.store);
    assert_eq!(files_below(&project.store.join("quarantine")).len(), 1, "the damaged one is kept for a look");

    // Cut off: seen without reading it.
    spoil(&|bytes| bytes.truncate(100));
    assert_eq!(project.status(&[])["score[privacy]"]["state"], "miss");
    let summary = project.json(&["run"]);
    assert_eq!(summary["computed"].as_array().unwrap().len(), 1);
    assert_eq!(summary["computed"][0]["node"], "score[privacy]");
    assert_eq!(project.status(&[]), before);

    // Gone altogether.
    fs::remove_file(&blob).unwrap();
    assert_eq!(project.computes(&[]), ["score[privacy]"]);
    assert_eq!(project.status(&[]), before);

    spoil(&|bytes| bytes[10] ^= 1);
    let fsck = project.dean(&["cache", "fsck"]).output().unwrap();
    assert_eq!(fsck.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&fsck.stdout).contains("damaged: artifact"));
    assert_eq!(project.computes(&[]), ["score[privacy]"]);
    project.ok(&["cache", "fsck"]);
}

#[test]
fn a_run_can_end_after_a_stage() {
    let project = Project::new();
    let (answer, _) = project.ok(&["run", "--until", "score"]);
    assert!(answer.contains("computed 6 of"), "{answer}");
    assert!(answer.contains("there is no report yet"), "{answer}");
    let status = project.status(&[]);
    assert_eq!(states(&status, &["tokenize", "score"]), ["hit".to_owned()].into());
    let rest = ["select", "patch", "generate", "inspect", "judge", "perplexity", "report"];
    assert_eq!(states(&status, &rest), ["miss".to_owned()].into());
    let computed = project.computes(&[]);
    assert_eq!(stages(&computed), rest.into());
}

#[test]
fn kept_scores_serve_another_cap_without_scoring_again() {
    let project = Project::new();
    let full = ["--set", "score.keep=full", "--until", "score"];
    project.ok(&[&["run"], &full[..]].concat());
    let raised = [&full[..], &["--set", "score.cap=0.08"]].concat();
    let (_, said) = project.ok(&[&["run"], &raised[..]].concat());
    assert_eq!(said.matches("every score is in the store already").count(), 3, "{said}");

    let fresh = Project::new();
    let (_, said) = fresh.ok(&[&["run"], &raised[..]].concat());
    assert!(!said.contains("already"), "{said}");
    fresh.ok(&["run", "--set", "score.cap=0.08", "--until", "score"]);
    let settings = ["--set", "score.keep=full", "--set", "score.cap=0.08"];
    let (ours, theirs) = (project.status(&settings), fresh.status(&settings));
    let without = fresh.status(&settings[2..]);
    for node in ["score[fairness]", "score[privacy]", "score[general]"] {
        let file = |row: &Value, output: &str| fs::read(row["outputs"][output]["path"].as_str().unwrap()).unwrap();
        for output in ["ranks", "scores"] {
            assert_eq!(file(&ours[node], output), file(&theirs[node], output), "{node} {output}");
        }
        assert_eq!(file(&ours[node], "ranks"), file(&without[node], "ranks"), "{node}: keep changes no rank");
    }
}

#[test]
fn the_store_can_be_looked_over_and_cleaned() {
    let project = Project::new();
    let first = project.json(&["run"])["run"].as_str().unwrap().to_owned();
    project.ok(&["run", "--set", OTHER_GRID]);
    let (answer, _) = project.ok(&["cache", "ls"]);
    assert!(answer.contains("score") && answer.contains("tokenize") && answer.contains("results"), "{answer}");
    let (answer, _) = project.ok(&["cache", "du"]);
    assert!(answer.contains("artifacts") && answer.contains("of score"), "{answer}");
    let (answer, _) = project.ok(&["cache", "fsck"]);
    assert!(answer.contains("everything is sound"), "{answer}");

    // By default nothing young goes.
    let (answer, _) = project.ok(&["cache", "gc", "--dry-run"]);
    assert!(answer.contains("nothing would go"), "{answer}");
    // With only the newest run kept, the first grid's results would go; what both share would not.
    let newest_only = ["cache", "gc", "--keep-runs", "1", "--grace", "0s"];
    let before = files_below(&project.store);
    let (answer, _) = project.ok(&[&newest_only[..], &["--dry-run"]].concat());
    assert!(answer.contains("records") && answer.contains("would be freed"), "{answer}");
    assert_eq!(files_below(&project.store), before, "a dry run removes nothing");
    let (answer, _) = project.ok(&["cache", "pin", &first]);
    assert!(answer.contains("pinned"), "{answer}");
    project.ok(&newest_only);
    assert_eq!(project.computes(&[]), Vec::<String>::new(), "a pinned run keeps its results");

    project.ok(&["cache", "pin", "--remove", &first]);
    project.ok(&["run", "--set", OTHER_GRID]);
    project.ok(&newest_only);
    assert_sound(&project.store);
    assert_eq!(project.computes(&["--set", OTHER_GRID]), Vec::<String>::new());
    let again = project.computes(&[]);
    assert!(again.iter().any(|node| node.starts_with("generate[")), "{again:?}");
    assert!(!again.iter().any(|node| node.starts_with("score") || node.ends_with("[base]")), "{again:?}");
}
