//! `dean search` and `dean front`: few points of a lattice, as ordinary nodes.
//!
//! Must not know: how a point is chosen.

use serde_json::Value;

use crate::support::Project;

/// A lattice on matrices of 384 weights, where most points differ.
const SEARCH: &str = "[search]\npoints = 5\np = [0.003, 0.006, 0.012, 0.025]\nq = [0.02, 0.03, 0.04, 0.05]\n\
    within = { perplexity = 100 }\n\n[run]";

fn project() -> Project {
    let project = Project::new();
    project.edit("[run]", SEARCH);
    project.edit("[controls]\npoints = \"none\"\n", "[controls]\nrandom = 1\n");
    project
}

fn names(found: &Value) -> Vec<String> {
    found["points"].as_array().unwrap().iter().map(|point| point["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_search_is_ordinary_nodes_and_goes_on_from_what_is_there() {
    let project = project();
    let before = project.refused(&["front"]);
    assert!(before.contains("there is no front yet") && before.contains("type `dean search` first"), "{before}");
    let short = project.json(&["search", "--quiet", "--points", "2"]);
    let long = project.json(&["search", "--quiet"]);
    assert_eq!(names(&long)[..2], names(&short)[..]);
    assert_eq!(names(&long).len() as u64, long["sites"].as_u64().unwrap().min(5));
    assert!(names(&long).len() > 2, "a longer search looks at more: {long}");
    // Nothing is left to do, and the front reads the same without computing.
    let again = project.json(&["search", "--quiet"]);
    assert_eq!((&again["run"], &again["points"], &again["front"]), (&Value::Null, &long["points"], &long["front"]));
    let front = project.json(&["front"]);
    assert_eq!((&front["front"], &front["versus"]), (&long["front"], &long["versus"]));
    // A point of the search is a point of any job.
    let best = &long["front"][0];
    let point = format!("select.points=[[{}, {}]]", best["p"], best["q"]);
    let left = project.computes(&["--set", &point, "--set", "controls.points=\"none\""]);
    assert_eq!(left, ["report"], "all else is there");
    // The whole search is one run.
    let runs = project.json(&["runs"]);
    assert_eq!(runs.as_array().unwrap().len(), 3, "two searches and the run: {runs}");
}

#[test]
fn what_is_over_its_limit_is_never_generated() {
    let project = project();
    let tight = ["--set", "search.within={perplexity=0.5}"];
    let found = project.json(&[&["search", "--quiet"][..], &tight].concat());
    assert!(found["front"].as_array().unwrap().is_empty() && !names(&found).is_empty(), "{found}");
    for point in found["points"].as_array().unwrap() {
        assert_eq!((&point["verdict"]["over_limit"], &point["tuning"]), (&"perplexity".into(), &Value::Array(vec![])));
    }
    let records = std::fs::read_dir(project.store.join("records/generate")).unwrap().count();
    assert_eq!(records, 1, "only the base answered");
}

#[test]
fn held_out_questions_confirm_the_front() {
    let project = project();
    project.edit("[questions.fairness]\n", "[questions.fairness]\ntune = 0.5\n");
    let (told, _) = project.ok(&["search", "--quiet", "--points", "3"]);
    assert!(told.contains("held out") && told.contains("Holm") && told.contains("random"), "{told}");
    let found = project.json(&["front", "--points", "3"]);
    assert_eq!(found["is_confirmed"], true);
    let best = &found["front"][0];
    assert!(best["confirmed"][0]["holm"].is_number(), "{best}");
    assert_eq!(best["controls"].as_array().unwrap().len(), 1);
}
