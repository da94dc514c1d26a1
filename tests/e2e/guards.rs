//! What a result is held against: controls, divergence, broken answers; and answers from a file.
//!
//! Must not know: how any of them is computed.

use dean_testing::Script;
use serde_json::{Value, json};

use crate::answers::{count, put, report as run};
use crate::support::Project;

/// The tiny project with so many controls beside its last point.
fn controlled(random: u64) -> Project {
    let project = Project::new();
    project.edit("points = \"none\"", &format!("points = \"last\"\nrandom = {random}"));
    project
}

fn row(report: &Value, is_it: impl Fn(&Value) -> bool) -> &Value {
    report.as_array().unwrap().iter().find(|row| is_it(row)).unwrap_or_else(|| panic!("no such row: {report}"))
}

#[test]
fn controls_are_variants_with_as_many_weights_and_no_points() {
    let project = controlled(2);
    let report = &run(&project, &[]);
    let rows = report.as_array().unwrap();
    let controls: Vec<&Value> = rows.iter().filter(|row| row["controls"].is_array()).collect();
    let last = row(report, |row| row["points"] == json!([{"p": 0.003, "q": 0.05}, {"p": 0.004, "q": 0.05}]));
    let told: Vec<Value> = controls.iter().map(|row| row["controls"][0].clone()).collect();
    let of = &last["mask"];
    let expected = [
        json!({"of": of, "kind": "random", "seed": 0}),
        json!({"of": of, "kind": "random", "seed": 1}),
        json!({"of": of, "kind": "top", "data": "fairness"}),
        json!({"of": of, "kind": "top", "data": "privacy"}),
    ];
    assert_eq!(told, expected, "the general set is not asked to be high in");
    for control in &controls {
        assert_eq!((&control["weights"], &control["points"]), (&last["weights"], &json!([])));
        assert_ne!(control["mask"], last["mask"]);
        let measured = |row: &Value| -> Vec<(String, String)> {
            let text = |found: &Value, key: &str| found[key].as_str().unwrap().to_owned();
            let all = row["outcomes"].as_array().unwrap().iter();
            all.map(|found| (text(found, "set"), text(found, "measure"))).collect()
        };
        assert_eq!(measured(control), measured(last), "they are measured like any other");
    }
    // They stand under their point, which is the last here.
    assert_eq!(rows[rows.len() - 4..].iter().collect::<Vec<_>>(), controls);
    assert_eq!(project.computes(&[]), [""; 0]);

    // As many weights of each matrix.
    let patch = |mask: &Value| {
        let file = project.root().join(format!("{}.safetensors", &mask.as_str().unwrap()[..8]));
        let status = project.status(&[]);
        let node = &status[&format!("patch[{}]", &mask.as_str().unwrap()[..8])];
        std::fs::copy(node["outputs"]["patch"]["path"].as_str().unwrap(), &file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut sizes: Vec<(String, usize)> = tensors
            .iter()
            .filter(|(name, _)| name.ends_with("/indices"))
            .map(|(name, tensor)| (name.to_owned(), tensor.shape()[0]))
            .collect();
        sizes.sort();
        sizes
    };
    for control in &controls {
        assert_eq!(patch(&control["mask"]), patch(&last["mask"]));
    }
    // Another number of seeds leaves the others where they are.
    let fewer = project.computes(&["--set", "controls.random=1"]);
    assert_eq!(fewer, ["controls", "report"]);
    // Every point may have them, and none.
    let all = run(&project, &["--set", "controls.points=all", "--set", "controls.random=1"]);
    let count = |report: &Value| report.as_array().unwrap().iter().filter(|row| row["controls"].is_array()).count();
    assert_eq!(count(&all), 2 * 3);
    assert_eq!(count(&run(&project, &["--set", "controls.points=none"])), 0);
    let (told, _) = project.ok(&["report"]);
    assert!(told.contains("  random 0") && told.contains("  top of privacy"), "{told}");
}

#[test]
fn divergence_is_nothing_for_the_base_and_something_for_a_patch() {
    let project = Project::new();
    project.edit("[score]", "[questions.harmless]\npath = \"data/questions.csv\"\nlimit = 20\n\n[score]");
    let report = run(&project, &[]);
    let kl = |row: &Value| {
        let all = row["outcomes"].as_array().unwrap();
        let found: Vec<&Value> = all.iter().filter(|found| found["measure"] == "kl").collect();
        assert_eq!(found.len(), 1, "one set is compared");
        assert_eq!((&found[0]["set"], &found[0]["rows"]), (&json!("harmless"), &json!(20)));
        (found[0]["value"].as_f64().unwrap(), found[0]["high"].as_f64().unwrap())
    };
    let found: Vec<(f64, f64)> = report.as_array().unwrap().iter().map(kl).collect();
    assert_eq!(found[0], (0.0, 0.0));
    assert!(found[1..].iter().all(|(mean, high)| *mean > 0.0 && high >= mean), "{found:?}");
    // Other answers of a variant do not matter, those of the base do.
    let again = project.computes(&["--set", "divergence.tokens=2"]);
    assert!(again.iter().all(|node| node.starts_with("divergence[") || node == "report"), "{again:?}");
}

#[test]
fn answers_may_come_from_a_file() {
    let project = Project::new();
    let model = Script::default().says("a", &["Sure."]).says("b", &["Sure."]);
    put(&project.dir.join("model"), &model);
    project.write("data/questions.csv", "questions\na\nb\n");
    project.edit("max_new_tokens = 6", "kind = \"file\"\npath = \"data/given.jsonl\"\nchat_template = \"none\"");
    let line = |fields: Value| format!("{fields}\n");
    let base = [
        line(json!({"row": 0, "question": "a", "answer": "I cannot help with that.", "cut": false})),
        line(json!({"question": "b", "answer": "<think>Hm.</think>Sure, and", "finish_reason": "length", "variant": "base"})),
    ]
    .concat();
    // The file has to be there, whatever is computed.
    project.write("data/given.jsonl", &base);
    project.ok(&["run", "--until", "score"]);
    let first = project.json(&["grid"])[0].clone();
    let of_point = [
        line(json!({"set": "fairness", "row": 0, "answer": "", "cut": false, "p": first["p"], "q": first["q"]})),
        line(json!({"set": "fairness", "row": 1, "answer": "Sure.", "cut": false, "variant": first["mask"].as_str().unwrap()[..8]})),
        line(json!({"set": "elsewhere", "row": 0, "answer": "Sure."})),
    ]
    .concat();
    project.write("data/given.jsonl", format!("{base}{of_point}"));
    let (_, said) = project.ok(&["run"]);
    assert!(said.contains("has no answer of") && said.contains("its answers are left out"), "{said}");
    let report = project.json(&["report"])["report"]["variants"].clone();
    assert_eq!((count(&report, "refusal/safe"), count(&report, "cut")), ((1, 2, 0), (1, 2, 0)));
    let here = row(&report, |row| row["mask"] == first["mask"]);
    let here = json!([here]);
    assert_eq!((count(&here, "refusal/safe"), count(&here, "empty")), ((0, 2, 0), (1, 2, 0)));
    let without = row(&report, |row| row["mask"] != first["mask"] && row["mask"].is_string());
    let measured: Vec<&Value> = without["outcomes"].as_array().unwrap().iter().map(|found| &found["measure"]).collect();
    assert_eq!(measured, ["nll"], "what needs no answers is measured all the same");

    // A part of the answers is no answer.
    project.write("data/given.jsonl", base.lines().next().unwrap());
    insta::assert_snapshot!(project.refused(&["run"]), @r#"
    error: generate[base]: [project]/data/given.jsonl has no answer of the base to 1 of 2 questions: fairness 1
    hint: add them; the first is to "b"
    "#);
    project.write("data/given.jsonl", format!("{base}{}", base.replace("cannot", "can not")));
    insta::assert_snapshot!(project.refused(&["run"]), @"
    error: generate[base]: [project]/data/given.jsonl: line 3: the base has answered question 0 of fairness before, at line 1
    hint: leave one of the two out
    ");
    project.write("data/given.jsonl", base.replace("\"row\":0", "\"row\":1"));
    insta::assert_snapshot!(project.refused(&["run"]), @r#"
    error: generate[base]: [project]/data/given.jsonl: line 1: question 1 of fairness is "b" here, and "a" in the file of answers
    hint: the answers were made for other questions, or the rows are counted otherwise: they begin at 0
    "#);
    insta::assert_snapshot!(project.refused(&["run", "--set", "generate.path=none.jsonl"]), @"
    error: generate.path: cannot open [project]/none.jsonl: no such file or directory
    hint: check the path; paths in a pipeline file are relative to that file
    ");
    project.edit("path = \"data/given.jsonl\"\n", "");
    insta::assert_snapshot!(project.refused(&["run"]), @r#"
    error: pipeline.toml:26:8: generate.kind = "file" needs generate.path
    hint: path = "answers.jsonl"; docs/answers.md says what such a file holds
    "#);
}
