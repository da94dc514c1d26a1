//! Sweeps over settings, and rules that ask several draws of the same rows.
//!
//! Must not know: what a setting means.

use std::path::Path;
use std::sync::Mutex;

use dean::config;
use dean::engine::{Observer, Part, Planner, Runner};
use dean::model::Loaded;
use dean::store::Store;
use serde_json::{Value, json};

use crate::support::{Project, questions};

const STABLE: &str = "select.rule=\"stable(fairness, 2 of 3) & privacy - general\"";

#[test]
fn a_rule_of_several_draws_shares_its_scores_with_jobs_of_these_seeds() {
    let project = Project::new();
    let with = |words: &[&'static str]| -> Vec<&str> { [words, &["--set", STABLE]].concat() };
    let before = project.json(&["plan"]).as_array().unwrap().len();
    let plan = project.json(&with(&["plan"]));
    let nodes: Vec<&str> = plan.as_array().unwrap().iter().map(|row| row["node"].as_str().unwrap()).collect();
    for node in ["tokenize[fairness~1]", "score[fairness~1]", "score[fairness~2]"] {
        assert!(nodes.contains(&node), "{nodes:?}");
    }
    assert_eq!(nodes.len(), before + 4);
    let run = project.json(&with(&["run"]));
    // A job with the next seed has nothing to score of this set.
    let computed = project.computes(&["--set", "data.fairness.seed=1"]);
    assert!(!computed.iter().any(|node| node.starts_with("score[") || node.starts_with("tokenize[")), "{computed:?}");
    // Of one draw, of what two of three agree on, and of all three: fewer and fewer.
    let weights = |rule: &str| -> Vec<u64> {
        let grid = project.json(&["grid", "--set", &format!("select.rule=\"{rule}\"")]);
        grid.as_array().unwrap().iter().map(|point| point["weights"].as_u64().unwrap()).collect()
    };
    let counts: Vec<u64> = ["1 of 3", "2 of 3", "3 of 3"]
        .map(|agree| weights(&format!("stable(fairness, {agree}) & privacy - general"))[1])
        .into();
    assert!(counts.is_sorted_by(|more, fewer| more > fewer), "{counts:?}");
    assert_eq!(weights("stable(fairness, 1 of 1) & privacy - general"), weights("fairness & privacy - general"));
    assert_eq!(run["report"]["variants"][1]["rule"], "stable(fairness, 2 of 3) & privacy - general");

    let (told, _) = project.ok(&with(&["report"]));
    assert!(!told.contains("are rows of fairness"), "draws of one set share rows: {told}");
    let (told, _) = project.ok(&with(&["explain", "score[fairness~2]"]));
    assert!(told.contains("score[fairness~2]") && told.contains("in the store"), "{told}");
    let point = run["report"]["variants"][1]["name"].as_str().unwrap();
    project.ok(&["export", point, "patch.safetensors", "--patch", "--set", STABLE]);
    let stability = project.json(&["stability", "--set", STABLE]);
    let compared = stability["masks"][1]["compared"].as_str().unwrap();
    assert_eq!(compared, "seed +3", "behind all draws of the rule: {stability}");
}

#[test]
fn a_rule_of_draws_names_data_sets() {
    let project = Project::new();
    insta::assert_snapshot!(project.refused(&["plan", "--set", "select.rule=stable(fairnes, 2 of 3)"]), @"
    error: --set select.rule: rule `stable(fairnes, 2 of 3)` names the data set `fairnes`, which is not there; did you mean `fairness`?
    hint: data sets of this pipeline: fairness, general, privacy; add [data.fairnes] or change select.rule
    ");
    insta::assert_snapshot!(project.refused(&["plan", "--set", "select.rule=stable(fairness, 4 of 3)"]), @r#"
    error: --set select.rule: the rule `stable(fairness, 4 of 3)` cannot be read at character 24: `4 of 3` comes before it: at least 1 and at most all of up to 100 draws can agree
    hint: a rule is like select.rule = "fairness & privacy - general" (names are those of [data.NAME]) or "released-code"
    "#);
    insta::assert_snapshot!(project.refused(&["plan", "--set", "data.fairness~1.seed=2"]), @"
    error: --set data.fairness~1.seed: `fairness~1` cannot be the name of a section
    hint: a name is letters, digits and _, and begins with a letter, so that rules can speak of it
    ");
}

/// Two draws and two methods, and three points of which two coincide.
pub fn swept() -> Project {
    let project = Project::new();
    project.write("data/questions.csv", questions(16));
    project.edit(
        "points = \"none\"",
        "points = \"none\"\n\n[sweep]\n\"data.*.seed\" = [0, 1]\nscore.method = [\"snip\", \"wanda\"]",
    );
    project
}

fn sum(jobs: &Value, of: &str) -> u64 {
    jobs.as_array().unwrap().iter().map(|job| job[of].as_u64().unwrap()).sum()
}

#[test]
fn a_sweep_of_the_file_is_planned_run_and_reported_and_computes_nothing_twice() {
    let project = swept();
    let refused = project.refused(&["report"]);
    assert!(refused.contains("no job of the sweep has a result in the store"), "{refused}");
    let plan = project.json(&["plan"]);
    assert_eq!((plan["jobs"].as_array().unwrap().len(), &plan["hits"]), (4, &0.into()));
    // Rows do not hang on the method, and the base hangs on neither.
    let shared: Vec<u64> = plan["jobs"].as_array().unwrap().iter().map(|job| job["shared"].as_u64().unwrap()).collect();
    assert!(shared[0] == 0 && shared[1] == shared[2] + 3 && shared[3] == shared[1], "{shared:?}");
    let (told, _) = project.ok(&["plan"]);
    assert!(told.contains("data.*.seed=1 score.method=\"wanda\"") && told.contains("of 4 jobs; 0 of"), "{told}");

    let run = project.json(&["run", "--name", "night"]);
    let after = project.json(&["plan"]);
    assert_eq!((&after["runs"], &after["hits"]), (&0.into(), &after["nodes"]), "{after}");
    assert_eq!(sum(&run["runs"], "computed"), after["nodes"].as_u64().unwrap(), "each node once");
    assert_eq!(sum(&after["jobs"], "nodes") - sum(&after["jobs"], "shared"), after["nodes"].as_u64().unwrap());

    // A group of rows for each method; the draws are joined.
    let rows = run["rows"].as_array().unwrap();
    let told: Vec<(&Value, &Value)> = rows.iter().map(|row| (&row["settings"], &row["draws"])).collect();
    let group = |method: &str| json!([["score.method", format!("\"{method}\"")]]);
    let two = json!(2);
    let expected = [group("snip"), group("wanda")];
    assert_eq!(told, [vec![(&expected[0], &two); 4], vec![(&expected[1], &two); 4]].concat());
    for row in rows {
        let overlap = row["overlap"].as_f64();
        assert_eq!(overlap.is_some(), !row["point"].is_null(), "a figure of stability beside every point: {row}");
        assert!(overlap.is_none_or(|overlap| (0.0..1.0).contains(&overlap)), "{row}");
    }
    let report = project.json(&["report"]);
    assert_eq!((&report["rows"], sum(&report["jobs"], "missing")), (&run["rows"], 0));

    // What is typed wins over the file.
    assert_eq!(project.json(&["plan", "--set", "score.method=\"snip\""])["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(project.json(&["plan", "--sweep", "data.*.seed=0..3"])["jobs"].as_array().unwrap().len(), 6);
    assert_eq!(project.json(&["plan", "--zip"])["jobs"].as_array().unwrap().len(), 2);
    assert!(project.json(&["report", "--no-sweep"])["report"]["variants"].is_array());
    // Each job has one run, whatever the number of rounds, and says which it is.
    let runs = project.json(&["runs"]);
    let named: Vec<(&str, &str)> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["name"].as_str().unwrap(), run["note"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(named.len(), 4, "{named:?}");
    assert!(named.contains(&("night-3", "data.*.seed=1 score.method=\"snip\"")), "{named:?}");
    assert!(runs.as_array().unwrap().iter().all(|run| run["finished"] == true), "{runs}");
}

#[test]
fn all_jobs_of_a_sweep_come_to_their_first_point_before_any_comes_to_its_second() {
    let project = swept();
    let (told, said) = project.ok(&["run"]);
    let rounds: Vec<&str> = told.lines().filter(|line| line.starts_with('[')).map(|line| &line[..14]).collect();
    assert_eq!(rounds[0], "[1/4, round 1]");
    assert_eq!((rounds.len(), rounds[4]), (8, "[1/4, round 2]"), "{told}");
    assert!(told.contains("4 jobs, joined over draws"), "{told}");
    // A job alone has three patches at most, and then its report.
    let is_done = |line: &str, node: &str| line.contains(node) && line.contains(" done in ");
    let until_report = said.lines().take_while(|line| !is_done(line, "] report"));
    let before = until_report.filter(|line| is_done(line, "] patch[")).count();
    assert!(before > 4, "the first patches of four jobs, and then the others of the first: {said}");
    let stopped = project.dean(&["run", "--budget", "0s", "--set", "generate.max_new_tokens=5"]).output().unwrap();
    assert_eq!(stopped.status.code(), Some(75));
    let (told, _) = project.ok(&["run", "--until", "score", "--set", "score.cap=0.06"]);
    assert!(told.contains("all 4 jobs are done up to score"), "{told}");
}

#[test]
fn a_sweep_that_cannot_be_meant_is_refused_before_anything_runs() {
    let project = swept();
    insta::assert_snapshot!(project.refused(&["run", "--sweep", "score.method=snip,wandaa"]), @r#"
    error: --set score.method: `method` must be "magnitude", "random", "snip" or "wanda", found "wandaa"; did you mean `wanda`?
    hint: method: the measure
    "#);
    insta::assert_snapshot!(project.refused(&["plan", "--sweep", "judge.*.kind=refusal"]), @"
    error: `judge.*.kind` stands for no setting: `*` has no name to stand for
    hint: `*` stands for the names of data.*, questions.* or judge.*
    ");
    insta::assert_snapshot!(project.refused(&["run", "--lengths", "2,4"]), @"
    error: --rehash and --lengths do not go with a sweep
    hint: --no-sweep takes the job without [sweep]; limits of tokens are an axis too: generate.max_new_tokens
    ");
    project.edit("\"wanda\"]", "\"wandaa\"]");
    insta::assert_snapshot!(project.refused(&["run"]), @r#"
    error: [sweep] score.method: `method` must be "magnitude", "random", "snip" or "wanda", found "wandaa"; did you mean `wanda`?
    hint: method: the measure
    "#);
    insta::assert_snapshot!(Project::new().refused(&["plan", "--zip"]), @"
    error: --zip has nothing to zip
    hint: name axes with --sweep KEY=VALUES, or in [sweep]
    ");
}

/// Looks at the report of the sweep whenever a node was computed.
struct Looks<'a> {
    project: &'a Project,
    /// Rows times draws of each look; none while nothing is told.
    seen: Mutex<Vec<u64>>,
}

impl Observer for Looks<'_> {
    fn finished(&self, node: &str, _: f64) {
        let output = self.project.dean(&["report", "--json"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let rows = match output.status.code() {
            Some(0) => {
                let told: Value = serde_json::from_slice(&output.stdout).unwrap();
                sum(&told["rows"], "draws")
            }
            Some(1) => {
                assert!(said.contains("no job of the sweep has a result in the store"), "after {node}: {said}");
                0
            }
            other => panic!("after {node}: {other:?}: {said}"),
        };
        self.seen.lock().unwrap().push(rows);
    }
}

#[test]
fn a_sweep_is_reported_after_every_node() {
    let project = swept();
    project.edit("score.method = [\"snip\", \"wanda\"]", "");
    let looks = Looks { project: &project, seen: Mutex::default() };
    let mut nodes = 0;
    for seed in [0, 1] {
        let sets: Vec<String> =
            ["fairness", "privacy", "general"].iter().map(|name| format!("data.{name}.seed={seed}")).collect();
        let pipeline = config::load(Path::new("pipeline.toml"), &sets, &project.dir).unwrap();
        let store = Store::open(&pipeline.run.store).unwrap();
        let models = Loaded::new(pipeline.run.device);
        let planner = Planner::new(&pipeline, &store, &models);
        let (stop, command, part) = (&|| false, Vec::new(), Part::default());
        nodes +=
            Runner { planner, observer: &looks, stop, command, name: None, part }.run(None).unwrap().computed.len();
    }
    let seen = looks.seen.into_inner().unwrap();
    assert_eq!(seen.len(), nodes);
    assert!(seen.is_sorted() && seen[0] == 0, "there are more and more rows: {seen:?}");
    let distinct = seen.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(distinct >= 6, "base and points of two draws, one after another: {seen:?}");
    let all = project.json(&["report"]);
    assert_eq!((sum(&all["jobs"], "missing"), sum(&all["rows"], "draws")), (0, *seen.last().unwrap()));
}
