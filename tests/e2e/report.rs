//! What a report says from outside: the comparison with the base, what it was made of, and how it ends in a terminal.
//!
//! Must not know: how a number is computed.

use std::fs;

use serde_json::Value;

use crate::support::{Project, QUESTIONS, succeed};

/// The findings of one variant with this measure.
fn findings<'a>(variant: &'a Value, measure: &str) -> Vec<&'a Value> {
    let all = variant["outcomes"].as_array().unwrap().iter();
    all.filter(|found| found["measure"] == measure).collect()
}

#[test]
fn each_variant_is_compared_with_the_base_row_by_row() {
    let project = Project::new();
    let report = &project.json(&["run"])["report"];
    assert_eq!(
        (&report["schema"], &report["base"], &report["bootstrap"]["draws"]),
        (&2.into(), &"base".into(), &10_000.into())
    );
    let variants = report["variants"].as_array().unwrap();
    assert!(findings(&variants[0], "changed").is_empty() && variants[0]["outcomes"][0].get("paired").is_none());
    for variant in &variants[1..] {
        for measure in ["refusal/safe", "empty", "cut", "nll"] {
            let found = findings(variant, measure);
            assert_eq!(found.len(), 1, "{measure}");
            let paired = &found[0]["paired"];
            let rows = if measure == "nll" { 2 } else { QUESTIONS };
            assert_eq!(paired["rows"], rows, "{measure}: {paired}");
            assert!(
                paired["p"].as_f64() <= paired["holm"].as_f64() && paired["change"].is_f64(),
                "{measure}: {paired}"
            );
        }
        // The answers are compared as they are in their tables.
        let changed = findings(variant, "changed");
        assert_eq!((changed.len(), &changed[0]["by"], &changed[0]["rows"]), (1, &"report".into(), &QUESTIONS.into()));
    }
    let safe = &findings(&variants[1], "refusal/safe")[0];
    let [before, after] = [0, 1].map(|row| findings(&variants[row], "refusal/safe")[0]["count"].as_i64().unwrap());
    let flips = safe["paired"]["won"].as_i64().unwrap() - safe["paired"]["lost"].as_i64().unwrap();
    assert_eq!(after - before, flips, "{safe}");
}

#[test]
fn a_report_says_what_it_was_made_of() {
    let project = Project::new();
    let run = project.json(&["run"]);
    let report = project.json(&["report", "--out", "results"]);
    let job = &report["report"]["job"];
    assert_eq!(job["run"], run["run"]);
    assert_eq!(job["models"]["model"]["source"], "model", "the path of this machine is not told");
    let digests = job["models"]["model"]["digests"].as_object().unwrap();
    assert_eq!(digests.keys().collect::<Vec<_>>(), ["architecture", "text", "weights"]);
    let tokenize = &job["nodes"]["tokenize[privacy]"];
    assert_eq!((&tokenize["params"]["seed"], &tokenize["stage"]), (&0.into(), &"tokenize".into()));
    assert!(tokenize["inputs"]["rows"].is_string() && tokenize["version"].is_u64(), "{tokenize}");

    // What lies in the directory says so too; the store's own bytes do not.
    let file: Value = serde_json::from_slice(&fs::read(project.dir.join("results/report.json")).unwrap()).unwrap();
    assert_eq!(file, report["report"]);
    let stored = project.status(&[])["report"]["outputs"]["report"].clone();
    assert_eq!(job["report"], stored["digest"]);
    let stored: Value = serde_json::from_slice(&fs::read(stored["path"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!((stored.get("job"), &stored["variants"]), (None, &file["variants"]));
}

#[test]
fn a_report_ends_with_what_to_type_next() {
    let project = Project::new();
    let run = project.json(&["run"])["run"].as_str().unwrap().to_owned();
    let (told, _) = project.ok(&["report", "--set", "score.cap=0.05"]);
    assert!(told.lines().all(|line| line.chars().count() <= 120), "{told}");
    let footer: Vec<&str> = told.lines().rev().take(5).collect();
    let [json, status, out, show, head] = footer[..] else { panic!("{told}") };
    assert!(head.starts_with(&format!("run {run}, in the store ")), "{head}");
    assert!(show.starts_with("  dean show 'p=") && show.contains(" --flipped --set score.cap=0.05"), "{show}");
    for (line, command) in
        [(out, "dean report --out results"), (status, "dean status --json"), (json, "dean report --json")]
    {
        assert!(line.trim_start().starts_with(&format!("{command} --set score.cap=0.05")), "{line}");
    }
}

#[test]
fn a_report_is_as_wide_as_it_is_told() {
    let project = Project::new();
    project.ok(&["run", "--quiet"]);
    let mut tables = Vec::new();
    for width in [60, 80, 120] {
        let mut command = project.dean(&["report"]);
        command.env("COLUMNS", width.to_string());
        let (told, _) = succeed(command, &["report"]);
        assert!(!told.contains('\u{1b}'), "no colours outside of a terminal: {told}");
        // The lines at the end hold paths and commands, which are not cut.
        let report = told.split("\nrun ").next().unwrap();
        assert!(report.lines().all(|line| line.chars().count() <= width), "{width}: {report}");
        tables.push(report.lines().take_while(|line| !line.starts_with("rule: ")).count());
    }
    assert!(tables[0] > tables[2], "what does not fit beside goes below: {tables:?}");
}
