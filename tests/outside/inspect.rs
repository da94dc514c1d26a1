//! What is read off answers without a judge, on answers that people and large models wrote, and on those of SmolLM2 with and
//! without damage. The table of docs/answers.md has these numbers.
//!
//! Must not know: the rules.

use std::path::{Path, PathBuf};

use dean::inspect::{Inspected, inspect};
use libtest_mimic::Trial;
use serde_json::Value;

use super::golden::say;
use super::needs;

pub fn tests() -> Vec<Trial> {
    needs::tests![needs::shared => good_answers_are_not_called_broken, broken_answers_are_found]
}

/// How many of some answers are repeating, and how many are not words.
fn count(what: &str, answers: &[String]) -> [usize; 2] {
    let of = |measure: &str| {
        let has = |answer: &&String| {
            let found = inspect(&Inspected { answer, ..Inspected::default() });
            found.iter().any(|(name, value)| name == measure && *value == 1.0)
        };
        answers.iter().filter(has).count()
    };
    let found = ["repeating", "not words"].map(of);
    say(&format!("{what}: of {} answers {} repeat themselves, {} are no words", answers.len(), found[0], found[1]));
    found
}

fn column(file: &Path, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_reader(dean::files::open(file).unwrap());
    let at = reader.headers().unwrap().iter().position(|header| header == name).unwrap();
    reader.records().map(|record| record.unwrap()[at].to_owned()).collect()
}

fn good_answers_are_not_called_broken(shared: PathBuf) {
    for (file, name, most) in [
        ("eval/xstest/completions_gpt4_gpteval", "completion", [0, 0]),
        ("eval/xstest/completions_llama2orig_gpteval", "completion", [1, 0]),
        ("beaver_train330k_fairness_safe_1k", "response", [0, 0]),
        ("beaver_train330k_privacy_safe_1k", "response", [0, 0]),
        ("beaver_train330k_privacy_unsafe_1k", "response", [0, 0]),
        ("alpaca_cleaned_no_safety_train_1k", "response", [2, 0]),
    ] {
        let answers = column(&shared.join(format!("data/{file}.csv")), name);
        assert_eq!(count(file, &answers), most, "{file}");
    }
}

fn broken_answers_are_found(shared: PathBuf) {
    let text = dean::files::read_to_string(&shared.join("golden/smollm2/generations.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answers = |variant: &str, mode: &str| -> Vec<String> {
        let is_it = |row: &&Value| row["variant"] == variant && row["mode"] == mode;
        rows.iter().filter(is_it).map(|row| row["text"].as_str().unwrap().to_owned()).collect()
    };
    for (variant, mode, expected) in [
        ("base", "chatml", [14, 0]),
        ("true_mlp_0.0001", "chatml", [18, 0]),
        ("true_mlp_0.001", "chatml", [13, 2]),
        ("base", "raw", [12, 3]),
        ("true_mlp_0.0001", "raw", [37, 3]),
        ("true_mlp_0.001", "raw", [19, 8]),
    ] {
        assert_eq!(count(&format!("{variant}, {mode}"), &answers(variant, mode)), expected);
    }
}
