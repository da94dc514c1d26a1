//! Runs as things: their names, what people say of them, and when they end by the clock.
//!
//! Must not know: how a run is kept.

use crate::support::Project;

#[test]
fn a_run_has_a_name_and_whoever_runs_it_again_takes_the_name_along() {
    let project = Project::new();
    let first = project.json(&["run", "--until", "tokenize", "--name", "for-the-paper"]);
    let second = project.json(&["run", "--until", "tokenize"]);
    let runs = project.json(&["runs"]);
    let names: Vec<(&str, bool)> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["name"].as_str().unwrap(), run["named"].as_bool().unwrap()))
        .collect();
    let words = names[0].0.to_owned();
    assert_eq!(names, [(words.as_str(), false), ("for-the-paper", true)]);
    assert_eq!((&runs[0]["id"], &runs[1]["id"]), (&second["run"], &first["run"]));
    assert_eq!((&runs[0]["computed"], &runs[1]["computed"]), (&0.into(), &3.into()));

    // The words mean the newest run of the job, and the beginning of an id means that one.
    let id = first["run"].as_str().unwrap();
    let (told, _) = project.ok(&["runs", "describe", &words, "--tag", "seed-0", "--note", "before the new judge"]);
    assert!(told.contains(second["run"].as_str().unwrap()) && told.contains("kept from every collection"), "{told}");
    project.ok(&["runs", "describe", id, "--name", ""]);
    project.json(&["run", "--until", "tokenize", "--name", "for-the-paper"]);
    let (table, _) = project.ok(&["runs"]);
    assert_eq!(table.matches("for-the-paper").count(), 1, "{table}");
    assert!(table.contains("#seed-0 before the new judge") && table.contains("3 of "), "{table}");

    let refused = project.refused(&["runs", "describe", "nobody", "--name", "x"]);
    assert!(refused.contains("no run is called `nobody`") && refused.contains("`dean runs` lists all"), "{refused}");
    let refused = project.refused(&["runs", "describe", id, "--name", "two words"]);
    assert!(refused.contains("cannot be the name or a tag"), "{refused}");
}

#[test]
fn a_run_whose_time_is_up_stops_and_goes_on_another_time() {
    let project = Project::new();
    let output = project.dean(&["run", "--budget", "0s"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert!(told.contains("the time is up") && told.contains("stopped before tokenize["), "{told}");
    for wrong in [["run", "--until", "soon"], ["run", "--until", "24:30"]] {
        let refused = project.refused(&wrong);
        assert!(refused.contains("neither a stage (tokenize, ") && refused.contains("such as 07:00"), "{refused}");
    }
    // A time of day that has just passed is tomorrow's.
    project.ok(&["run", "--until", "00:00", "--budget", "1h"]);
    let (_, told) = project.ok(&["run", "--until", "tokenize"]);
    assert!(!told.contains("the time is up"), "{told}");
}

#[test]
fn a_report_shows_what_is_there_at_any_moment() {
    let project = Project::new();
    let refused = project.refused(&["report"]);
    assert!(refused.contains("is not in the store") && refused.contains("`dean run` computes it"), "{refused}");
    // Looked at all the time while it runs: there are more and more rows, and never an error that is not this one.
    let mut running = project.start(&["run", "--quiet"]);
    let mut rows = 0;
    loop {
        let ended = running.try_wait().unwrap();
        let output = project.dean(&["report", "--json"]).output().unwrap();
        match output.status.code() {
            Some(0) => {
                let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                let now = report["report"]["variants"].as_array().unwrap().len();
                assert!(now >= rows, "{now} rows after {rows}");
                rows = now;
            }
            Some(1) => {
                let told = String::from_utf8_lossy(&output.stderr);
                assert!(rows == 0 && told.contains("is not in the store"), "{told}");
            }
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
    }
    let all = project.json(&["report"]);
    assert_eq!(
        (all["missing"].as_array().unwrap().len(), rows),
        (0, all["report"]["variants"].as_array().unwrap().len())
    );

    // Without one result of the last variant, and without the report.
    let status = project.status(&[]);
    let (node, state) = status.iter().rfind(|(node, _)| node.starts_with("perplexity[")).unwrap();
    for (stage, key) in [("perplexity", &state["key"]), ("report", &status["report"]["key"])] {
        std::fs::remove_file(project.store.join(format!("records/{stage}/{}.json", key.as_str().unwrap()))).unwrap();
    }
    let part = project.json(&["report"]);
    assert_eq!(part["missing"], serde_json::json!([node]));
    let (told, _) = project.ok(&["report"]);
    assert!(told.contains("so far: 2 of 3 variants are finished; 1 result is missing, such as perplexity["), "{told}");
}

#[test]
fn two_runs_are_compared_by_what_was_asked_and_what_came_out() {
    let project = Project::new();
    project.json(&["run", "--name", "before"]);
    project.json(&["run", "--name", "after", "--set", "select.points=[[0.003, 0.05], [0.02, 0.04]]"]);
    let found = project.json(&["diff", "before", "after"]);
    let difference = &found["difference"];
    assert_eq!(difference["settings"].as_array().unwrap().len(), 1, "{difference}");
    assert_eq!(difference["settings"][0]["key"], "select.points");
    let points = difference["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["point"]), (2, &serde_json::Value::Null));
    assert_eq!(points[1]["point"], serde_json::json!([0.003, 0.05]));
    assert_eq!((&points[1]["shared"], &points[1]["weights"][1]), (&points[1]["weights"][0], &points[1]["weights"][0]));
    assert_eq!((&points[1]["answers"], &points[1]["values"]), (&serde_json::json!([130, 0]), &serde_json::json!([])));
    assert_eq!(difference["only"], serde_json::json!([[[0.006, 0.03], [0.004, 0.05]], [[0.02, 0.04]]]));
    let (told, _) = project.ok(&["diff", "before", "after"]);
    assert!(told.contains("A  before (") && told.contains("0 of 130") && told.contains("only in B: "), "{told}");
    // The report of the earlier run is there still, whatever the pipeline says now.
    let (before, _) = project.ok(&["report", "before", "--set", "generate.max_new_tokens=3"]);
    let (now, _) = project.ok(&["report"]);
    assert!(now.starts_with(before.trim_end()), "only what to type next comes behind it: {now}");
    let refused = project.refused(&["diff", "before", "nobody"]);
    assert!(refused.contains("no run is called `nobody`"), "{refused}");
}

#[test]
fn a_sweep_over_seeds_is_joined_and_shares_what_it_can() {
    let project = Project::new();
    let sweep = ["run", "--sweep", "data.*.seed=0..2", "--sweep", "select.q=0.03,0.05", "--sweep", "select.p=0.003"];
    let found = project.json(&sweep);
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    // The base's answers and text are those of the first run.
    assert!(runs[1]["computed"].as_u64() < runs[0]["computed"].as_u64(), "{found}");
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "the base and two points: {rows:?}");
    assert!(rows.iter().all(|row| row["draws"] == 2), "{rows:?}");
    assert!(rows[2]["overlap"].as_f64().unwrap() < 1.0, "{rows:?}");
    assert_eq!(project.json(&sweep)["runs"][1]["computed"], 0);
    let (told, _) = project.ok(&sweep);
    assert!(
        told.contains("[2/2, round 1] ") && told.contains("data.*.seed=1") && told.contains("over 2 draws"),
        "{told}"
    );
    let refused = project.refused(&["run", "--sweep", "data.*.seed"]);
    assert!(refused.contains("write KEY=VALUES"), "{refused}");
}
