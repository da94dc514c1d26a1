//! What is scored, by which method, on which rows, and how stable that is.
//!
//! Must not know: how a score is made.

use serde_json::{Value, json};

use crate::support::{Project, assert_sound, assert_tidy, pairs};

const ALL: &str = "score.modules=\"all\"";

#[test]
fn scoring_all_once_serves_every_choice_of_modules_and_layers() {
    let project = Project::new();
    project.ok(&["run", "--until", "score", "--set", ALL]);
    let choose = |choice: &[&str]| {
        let mut arguments = vec!["--set", ALL, "--set", "select.rule=\"fairness\"", "--set", "select.q=[0.05]"];
        choice.iter().for_each(|set| arguments.extend(["--set", set]));
        let computed = project.computes(&[&["--until", "select"], &arguments[..]].concat());
        assert_eq!(computed, ["select"], "{choice:?}");
        project.json(&[&["grid"], &arguments[..]].concat())[0]["weights"].as_u64().unwrap()
    };
    // 5 % of each of two layers' matrices: q and o have 256 weights, k and v 128, the three of the MLP 384.
    assert_eq!(choose(&["select.modules=\"mlp\""]), 2 * 3 * 19);
    assert_eq!(choose(&["select.modules=\"self_attn\""]), 2 * (2 * 12 + 2 * 6));
    assert_eq!(choose(&["select.modules=[\"down_proj\", \"q_proj\"]", "select.layers=[1]"]), 19 + 12);
    assert_eq!(choose(&["select.layers=0..1"]), 3 * 19 + 2 * 12 + 2 * 6);
}

#[test]
fn layers_that_the_model_lacks_or_that_were_not_scored_are_refused() {
    let project = Project::new();
    insta::assert_snapshot!(project.refused(&["plan", "--set", "score.layers=0..3"]), @r#"
    error: score[fairness]: score.layers = "0..3" names layer 2, but the model has 2 layers
    hint: layers are counted from 0, so the last one is 1
    "#);
    insta::assert_snapshot!(project.refused(&["plan", "--set", "score.layers=[0]", "--set", "select.layers=[1]"]), @r#"
    error: --set select.layers: select.layers = [1] is not within score.layers = [0]
    hint: only scored weights can be selected: widen score.layers (scores are computed again) or narrow select.layers
    "#);
    insta::assert_snapshot!(project.refused(&["plan", "--set", "score.layers=1..1"]), @r#"
    error: --set score.layers: `layers` must be "all", a range "first..end" or a list of layers, counted from 0, found "1..1"
    hint: layers: in which layers: "all", "0..12" (12 excluded), [0, 5]
    "#);
}

#[test]
fn every_method_makes_a_report_and_those_without_data_one_table() {
    let project = Project::new();
    // Of the three data sets the rule names two.
    for (method, tables) in [("wanda", 2), ("magnitude", 1), ("random", 1)] {
        let method = format!("score.method=\"{method}\"");
        let arguments = ["--set", &method, "--set", "select.rule=\"fairness & privacy\"", "--set", "select.q=[0.05]"];
        let computed = project.computes(&arguments);
        assert_eq!(computed.iter().filter(|node| node.starts_with("score[")).count(), tables, "{computed:?}");
        let report = project.json(&[&["report"], &arguments[..]].concat());
        assert!(tables > 1 || report["report"]["variants"][1]["weights"] == 2 * 3 * 19, "equal tables have equal tops");
        let calibration = report["report"]["variants"][0]["calibration"].as_object().unwrap();
        assert_eq!(calibration.len(), if tables > 1 { 2 } else { 0 }, "only what was read is counted");
    }
    let mask = |seed: &str| {
        let random = ["--set", "score.method=\"random\"", "--set", seed, "--set", "select.rule=\"fairness\""];
        project.ok(&[&["run", "--until", "select"], &random[..], &["--set", "select.q=[0.05]"]].concat());
        project.json(&[&["grid"], &random[..], &["--set", "select.q=[0.05]"]].concat())[0]["mask"].clone()
    };
    assert_ne!(mask("score.seed=0"), mask("score.seed=1"));
}

#[test]
fn what_the_rule_does_not_name_is_neither_tokenized_nor_scored() {
    let project = Project::new();
    std::fs::remove_file(project.dir.join("data/general.csv")).unwrap();
    let one = ["--set", "select.rule=\"privacy\"", "--set", "select.q=[0.05]"];
    let computed = project.computes(&[&["--until", "score"], &one[..]].concat());
    assert_eq!(computed, ["tokenize[privacy]", "score[privacy]"]);
}

#[test]
fn a_local_model_that_is_not_there_is_told_by_plan() {
    let project = Project::new();
    insta::assert_snapshot!(project.refused(&["plan", "--set", "model.source=no-such-model"]), @"
    error: there is no model at [project]/no-such-model
    hint: check model.source: a directory in Hugging Face layout, a .gguf file, `hf:owner/name@revision` or `pip:package==version/member`; paths in a pipeline file are relative to that file
    ");
}

#[test]
fn rows_that_occur_more_than_once_are_counted() {
    let project = Project::new();
    let privacy = pairs("privacy", 1, 4);
    let (header, rows) = privacy.split_once('\n').unwrap();
    // Twelve rows of four texts, two of which are general's too.
    let twice = rows.lines().next().unwrap();
    project.write("data/privacy.csv", format!("{header}\n{rows}{rows}{rows}"));
    project.write("data/general.csv", format!("{}{twice}\n{twice}\n", pairs("general", 2, 6)));
    let all = ["--set", "data.privacy.samples=12"];
    let (answer, said) = project.ok(&[&["run"], &all[..]].concat());
    assert!(said.contains("8 of 12 drawn rows repeat an earlier one"), "{said}");
    let notes: Vec<&str> = answer.lines().filter(|line| line.contains("calibration rows")).collect();
    insta::assert_snapshot!(notes.join("\n"), @"
    general: 1 of 8 calibration rows repeat an earlier one and count again
    general: 2 of 8 calibration rows are rows of privacy too
    privacy: 8 of 12 calibration rows repeat an earlier one and count again
    privacy: 3 of 12 calibration rows are rows of general too
    ");
    let report = project.json(&[&["report"], &all[..]].concat());
    let expected = json!({
        "fairness": { "samples": 8, "repeated": 0, "shared": { "general": 0, "privacy": 0 } },
        "general": { "samples": 8, "repeated": 1, "shared": { "fairness": 0, "privacy": 2 } },
        "privacy": { "samples": 12, "repeated": 8, "shared": { "fairness": 0, "general": 3 } },
    });
    assert!(
        report["report"]["variants"].as_array().unwrap().iter().all(|row| row["calibration"] == expected),
        "{report}"
    );
}

#[test]
fn stability_scores_other_rows_once_and_compares() {
    let project = Project::new();
    let (answer, said) = project.ok(&["stability"]);
    insta::assert_snapshot!(answer, @"
                                                 overlap of the tops
    data      top     k   compared  rows shared  mean least chance
    fairness  q=3e-2  11  halves       4      0  0.28  0.16   0.02
    fairness  q=3e-2  11  seed +1      8      6  0.63  0.47   0.02
    fairness  q=5e-2  19  halves       4      0  0.27  0.12   0.03
    fairness  q=5e-2  19  seed +1      8      6  0.60  0.52   0.03
    privacy   q=3e-2  11  halves       4      0  0.22  0.16   0.02
    privacy   q=3e-2  11  seed +1      8      6  0.54  0.38   0.02
    privacy   q=5e-2  19  halves       4      0  0.28  0.23   0.03
    privacy   q=5e-2  19  seed +1      8      6  0.63  0.52   0.03
    general   p=3e-3  1   halves       4      0  0.33  0.00   3e-3
    general   p=3e-3  1   seed +1      8      6  0.67  0.00   3e-3
    general   p=4e-3  1   halves       4      0  0.33  0.00   3e-3
    general   p=4e-3  1   seed +1      8      6  0.67  0.00   3e-3
    general   p=6e-3  2   halves       4      0  0.33  0.00   3e-3
    general   p=6e-3  2   seed +1      8      6  0.39  0.00   3e-3

                                                 overlap of the masks
    point          compared  weights and shared  whole chance
    p=6e-3 q=3e-2  halves         27  16      4   0.10   5e-3
    p=6e-3 q=3e-2  seed +1        31  26     17   0.42   0.01
    p=3e-3 q=5e-2  halves         56  48     17   0.20   0.01
    p=3e-3 q=5e-2  seed +1        59  60     40   0.51   0.01
    p=4e-3 q=5e-2  halves         56  48     17   0.20   0.01
    p=4e-3 q=5e-2  seed +1        59  60     40   0.51   0.01

    rule: fairness & privacy - general
    overlap: of the weights in either set, the share that is in both (Jaccard); mean and least over the
      matrices, chance for sets of the same sizes drawn at random
    halves: the first half of the drawn rows against the second, so each is scored on half the rows;
      seed +N: the drawn rows against those that a seed higher by N draws. Rows in both make them alike,
      so look at shared
    ");
    for node in
        ["score[fairness]", "score[fairness/first half]", "score[general/second half]", "score[privacy/seed +1]"]
    {
        assert!(said.contains(node), "{node} is scored: {said}");
    }
    assert!(!said.contains("generate["), "nothing is generated: {said}");
    assert_sound(&project.store);
    assert_tidy(&project.store);

    let (again, said) = project.ok(&["stability"]);
    assert_eq!((again, said.contains("score[")), (answer, false), "nothing is scored again: {said}");
    let json = project.json(&["stability", "--seeds", "0"]);
    let compared = |part: &str| -> Vec<Value> {
        json[part].as_array().unwrap().iter().map(|row| row["compared"].clone()).collect()
    };
    // Two shares q of each of two sets, and three p of the set that is subtracted.
    assert_eq!(compared("tops"), vec![Value::from("halves"); 7]);
    assert_eq!(compared("masks"), vec![Value::from("halves"); 3]);
    assert_eq!(json["tops"][0]["rows"], 4);

    // The job itself finds its scores, and its own halves are nobody's data sets.
    let computed = project.computes(&[]);
    assert!(!computed.iter().any(|node| node.starts_with("score[")), "{computed:?}");
    assert!(project.status(&[]).keys().all(|node| !node.contains('/')));
}

#[test]
fn stability_refuses_what_rows_cannot_change() {
    let project = Project::new();
    insta::assert_snapshot!(project.refused(&["stability", "--set", "score.method=\"magnitude\""]), @r#"
    error: score.method = "magnitude" reads no data, so no rows can change its scores
    hint: stability is a question to methods that read data, such as "snip" and "wanda"
    "#);
    insta::assert_snapshot!(project.refused(&["stability", "--set", "data.privacy.samples=1"]), @"
    error: data.privacy.samples = 1 cannot be halved
    hint: stability needs at least two rows of each data set
    ");
    insta::assert_snapshot!(project.refused(&["run", "--until", "tokenize", "--set", "data.privacy.skip=5"]), @"
    error: tokenize[privacy]: 8 samples were asked for after 5 that are skipped, but the file has 12 rows
    hint: lower `samples` of this data set, or give it more rows
    ");
}
