//! What every command answers to `--json` fits the schema that is documented for it, and has no field that is not.
//!
//! Must not know: the schema, the commands' code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dean_testing::schema::check;
use serde_json::{Value, json};

use crate::support::{Project, copy_tree};

/// The schema as the program prints it, and the definitions that were used.
struct Forms<'a> {
    project: &'a Project,
    schema: Value,
    used: BTreeSet<String>,
}

impl Forms<'_> {
    /// Runs a command and checks its answer, whatever its exit code is.
    fn fit(&mut self, form: &str, arguments: &[&str]) -> Value {
        let output = self.project.dean(&[arguments, &["--json"]].concat()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|cause| {
            panic!("{arguments:?} wrote no JSON ({cause}): {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        self.fits(form, &value);
        value
    }

    fn fits(&mut self, form: &str, value: &Value) {
        check(&self.schema, form, value).unwrap_or_else(|why| panic!("{form}: {why}\n{value:#}"));
        self.used.insert(form.to_owned());
    }
}

#[test]
fn every_answer_fits_its_documented_form() {
    let project = Project::new();
    project.edit("cap = 0.05", "method = \"magnitude\"\ncap = 0.05");
    let (schema, _) = project.ok(&["schema", "--output"]);
    let mut forms = Forms { project: &project, schema: serde_json::from_str(&schema).unwrap(), used: BTreeSet::new() };

    let labelled =
        "prompt,completion,final_label\nHow?,I cannot help with that.,2_full_refusal\nHow?,So.,1_full_compliance\n";
    project.write("labelled.csv", labelled);

    // Before anything is there.
    forms.fit("doctor", &["doctor"]);
    forms.fit("plan", &["plan"]);
    forms.fit("status", &["status"]);
    forms.fit("explain", &["explain", "generate[base]"]);
    forms.fit("cache ls", &["cache", "ls"]);
    forms.fit("run", &["run", "--until", "score"]);
    forms.fit("plan", &["plan"]);

    let run = forms.fit("run", &["run"]);
    assert!(run["report"]["variants"].as_array().is_some_and(|rows| rows.len() == 3), "{run}");
    for (form, arguments) in [
        ("run --lengths", &["run", "--lengths", "2,4"][..]),
        ("plan", &["plan"]),
        ("status", &["status"]),
        ("explain", &["explain", "report"]),
        ("explain", &["explain", "score[fairness]", "--set", "score.cap=0.06"]),
        ("explain", &["explain", "report", "--set", "data.fairness.seed=7"]),
        ("grid", &["grid"]),
        ("report", &["report"]),
        ("report", &["report", run["run"].as_str().unwrap()]),
        ("report --leaks", &["report", "--leaks"]),
        ("plan --sweep", &["plan", "--sweep", "data.*.seed=0..2"]),
        ("run --sweep", &["run", "--sweep", "data.*.seed=0..2"]),
        ("plan --sweep", &["plan", "--sweep", "data.*.seed=0..2"]),
        ("report --sweep", &["report", "--sweep", "data.*.seed=0..3"]),
        ("runs", &["runs"]),
        ("runs describe", &["runs", "describe", run["run"].as_str().unwrap(), "--name", "first", "--note", "whole"]),
        ("runs", &["runs"]),
        ("plan --check", &["plan", "--check"]),
        ("report", &["report", "--out", "results"]),
        ("cache ls", &["cache", "ls"]),
        ("cache du", &["cache", "du"]),
        ("cache gc", &["cache", "gc", "--grace", "0s", "--keep-runs", "9"]),
        ("cache pin", &["cache", "pin", run["run"].as_str().unwrap()]),
        ("cache pin --list", &["cache", "pin", "--list"]),
        ("cache fsck", &["cache", "fsck"]),
        ("judge", &["judge", "--check", "labelled.csv"]),
        ("doctor", &["doctor"]),
    ] {
        forms.fit(form, arguments);
    }
    let other = forms.fit("run", &["run", "--set", "select.points=[[0.003,0.05],[0.006,0.04]]"]);
    let found = forms.fit("diff", &["diff", run["run"].as_str().unwrap(), other["run"].as_str().unwrap()]);
    assert!(!found["difference"]["points"].as_array().unwrap().is_empty(), "{found}");
    shown(&mut forms);
    exported(&mut forms);

    // Damage is told too.
    let blobs = project.store.join("blobs");
    let folder = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    let blob = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "damaged").unwrap();
    let found = forms.fit("cache fsck", &["cache", "fsck"]);
    assert!(!found["damaged"].as_array().unwrap().is_empty(), "{found}");

    let sites = ["--set", "search.p=[0.003, 0.006]", "--set", "search.q=[0.04, 0.05]"];
    let found = forms.fit("search", &[&["search", "--quiet", "--points", "2"], &sites[..]].concat());
    assert!(!found["points"].as_array().unwrap().is_empty(), "{found}");
    forms.fit("front", &[&["front", "--points", "2"], &sites[..]].concat());

    project.edit("method = \"magnitude\"", "method = \"snip\"");
    forms.fit("stability", &["stability", "--quiet"]);

    let defined: BTreeSet<String> = forms.schema["$defs"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.starts_with(char::is_lowercase))
        .cloned()
        .collect();
    assert_eq!(forms.used, defined, "every form was seen");
}

fn shown(forms: &mut Forms<'_>) {
    for arguments in [&["show"][..], &["show", "base"]] {
        let (answer, _) = forms.project.ok(&[arguments, &["--json"]].concat());
        assert_eq!(answer.lines().count(), 130);
        answer.lines().for_each(|line| forms.fits("show", &serde_json::from_str(line).unwrap()));
    }
}

fn exported(forms: &mut Forms<'_>) {
    let project = forms.project;
    forms.fit("export", &["export", "p=3e-3 q=5e-2", "out"]);
    forms.fit("export", &["export", "p=3e-3 q=5e-2", "patch.safetensors", "--patch"]);
    forms.fit("verify", &["verify", "out"]);
    copy_tree(&project.dir.join("model"), &project.dir.join("copy"));
    forms.fit("apply", &["apply", "patch.safetensors", "copy"]);
    forms.fit("undo", &["undo", "patch.safetensors", "copy"]);
    spoil(&project.dir.join("out/model.safetensors"));
    fs::remove_file(project.dir.join("out/tokenizer.json")).unwrap();
    let found = forms.fit("verify", &["verify", "out"]);
    assert_eq!(found["comparison"]["differences"].as_array().unwrap().len(), 2, "{found}");
}

/// Another last byte.
fn spoil(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_field_that_is_not_documented_is_noticed() {
    let project = Project::new();
    let schema: Value = serde_json::from_str(&project.ok(&["schema", "--output"]).0).unwrap();
    let mut plan = project.json(&["plan"]);
    assert_eq!(check(&schema, "plan", &plan), Ok(()));
    plan[0]["undocumented"] = json!(1);
    let why = check(&schema, "plan", &plan).unwrap_err();
    assert!(why.contains("plan[0].undocumented may not be there"), "{why}");
}
