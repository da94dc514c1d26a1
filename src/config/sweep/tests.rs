//! Axes as they are written, and the jobs that they mean.

use super::*;
use crate::config::tests::{SMALL, complaint, try_load, with};

#[test]
fn values_are_written_as_people_write_lists() {
    let values = |text: &str| values_of(text).unwrap();
    assert_eq!(values("0..3"), ["0", "1", "2"]);
    assert_eq!(values("snip, wanda"), ["\"snip\"", "\"wanda\""]);
    assert_eq!(values("\"a, b\", 3"), ["\"a, b\"", "3"]);
    assert_eq!(values("[\"a, b\", 2]"), ["\"a, b\"", "2"]);
    assert_eq!(values("1e-5,3e-5"), ["1e-5", "3e-5"]);
    assert_eq!(values("logspace(1e-6, 1e-4, 3)"), ["1e-6", "1.00e-5", "1e-4"]);
    assert_eq!(values("[\"../a\", \"../b\"]"), ["\"../a\"", "\"../b\""]);
    assert_eq!(values("../x.csv,../y.csv"), ["\"../x.csv\"", "\"../y.csv\""]);
    for wrong in ["logspace(0,1,3)", "logspace(1,2)", "logspace(1,inf,3)", "1..x", "[1, ", "0..99999999"] {
        assert!(values_of(wrong).is_err(), "{wrong}");
    }
    assert!(Axis::parse("data.a.seed").is_err() && Axis::parse("data.a.seed=").is_err());
}

fn sweep(text: &str) -> Sweep {
    try_load(&with(&format!("[sweep]\n{text}")), &[]).unwrap().sweep
}

fn told(sweep: &Sweep) -> Vec<String> {
    let pick = |(key, value): &(String, String)| format!("{key}={value}");
    let job = |job: &Combination| job.picks.iter().map(pick).collect::<Vec<_>>().join(" ");
    sweep.combinations().unwrap().iter().map(job).collect()
}

#[test]
fn the_file_writes_axes_with_quotes_or_without_in_any_number() {
    let axes = sweep("\"data.*.seed\" = [0, 1]\nscore.method = [\"snip\", \"wanda\"]\n\"select.q\" = [1e-5, 3e-5]\n");
    assert_eq!(
        told(&axes)[1..3],
        [
            "select.q=[1e-5, 3e-5] data.*.seed=0 score.method=\"wanda\"",
            "select.q=[1e-5, 3e-5] data.*.seed=1 score.method=\"snip\""
        ]
    );
    assert_eq!(told(&sweep("")).len(), 1);
    assert_eq!(told(&sweep("\"data.*.seed\" = \"0..3\"\n\"score.cap\" = 1e-3\n")).len(), 3);
    assert_eq!(try_load(SMALL, &[]).unwrap().sweep, Sweep::default());
}

#[test]
fn axes_are_zipped_all_or_in_groups() {
    let three = "a.b = [1, 2]\nc.d = [3, 4]\ne.f = [5, 6]\n";
    assert_eq!(told(&sweep(&format!("zip = true\n{three}"))), ["a.b=1 c.d=3 e.f=5", "a.b=2 c.d=4 e.f=6"]);
    assert_eq!(
        told(&sweep(&format!("zip = [[\"e.f\", \"a.b\"]]\n{three}"))),
        ["a.b=1 e.f=5 c.d=3", "a.b=1 e.f=5 c.d=4", "a.b=2 e.f=6 c.d=3", "a.b=2 e.f=6 c.d=4"]
    );
    let message = |text: &str| sweep(text).combinations().unwrap_err().to_string();
    assert!(message("zip = true\na.b = [1]\nc.d = [1, 2]\n").contains("a.b, c.d"));
    assert!(message("zip = true\nselect.p = [1e-5]\nselect.q = [1e-5]\n").contains("make a grid"));
    assert!(message("a.b = \"0..200\"\nc.d = \"0..200\"\n").contains("more than 10000"));
}

#[test]
fn what_is_typed_wins_over_the_file() {
    let file = sweep("\"data.*.seed\" = [0, 1]\nscore.method = [\"snip\", \"wanda\"]\n");
    let axes = |texts: &[&str]| -> Vec<Axis> { texts.iter().map(|text| Axis::parse(text).unwrap()).collect() };
    let under = |typed: &[&str], zip, sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        told(&file.clone().under(&axes(typed), zip, &sets))
    };
    assert_eq!(under(&["data.*.seed=7"], false, &["score.method=random"]), ["data.*.seed=7"]);
    assert_eq!(under(&[], true, &[]).len(), 2);
    assert_eq!(under(&["score.cap=0.1,0.2"], false, &["score.cap=1"]).len(), 8);
    assert_eq!(under(&[], false, &["score.method = \"snip\"", "data.*.seed=1"]), [""]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |text: &str| complaint(&with(&format!("[sweep]\n{text}\n")), &[]);
    insta::assert_snapshot!(refused("\"data.*.seed\" = []"), @r#"
    job/pipeline.toml:10:1: `data.*.seed` has no values
    write a list: "data.*.seed" = [0, 1, 2]
    "#);
    insta::assert_snapshot!(refused("\"data.*.seed\" = \"logspace(0, 1, 3)\""), @r#"
    job/pipeline.toml:10:1: `logspace(0, 1, 3)` is no list of values: write a,b,c or [a, b] or 0..5 or logspace(1e-6,1e-4,5)
    sweep: settings and the values that each takes in turn: "data.*.seed" = [0, 1, 2]
    "#);
    insta::assert_snapshot!(refused("zip = [[\"data.*.sed\", \"score.method\"]]\n\"data.*.seed\" = [0]\nscore.method = [\"snip\"]"), @r#"
    job/pipeline.toml:10:1: `zip` names data.*.sed, which is not swept; did you mean `data.*.seed`?
    zip lists groups of keys of [sweep]: zip = [["data.a.seed", "data.b.seed"]]
    "#);
    insta::assert_snapshot!(refused("zip = 3"), @r#"
    job/pipeline.toml:10:1: `zip` must be true, false, or a list of lists of keys
    zip = true, or zip = [["data.a.seed", "data.b.seed"]]
    "#);
    insta::assert_snapshot!(complaint("sweep = 3\n", &[]), @"
    job/pipeline.toml:1:9: `sweep` must be a table, found a whole number
    write [sweep]
    ");
    insta::assert_snapshot!(complaint(SMALL, &["select.q=logspace(1, 2)"]), @"
    --set select.q: `q` must be a number or a list of numbers, found a string
    q: shares of the other sets
    ");
}

#[test]
fn shares_may_be_spaced_evenly() {
    let points = |text: &str, sets: &[&str]| -> Vec<f64> {
        try_load(text, sets).unwrap().select.points.iter().map(|point| point.q).collect()
    };
    assert_eq!(points(SMALL, &["select.q=logspace(1e-6, 1e-4, 3)"]), [1e-6, 1e-5, 1e-4]);
    assert_eq!(points(&with("[select]\nq = \"logspace(1e-6, 1e-4, 5)\"\n"), &[]), [1e-6, 3.16e-6, 1e-5, 3.16e-5, 1e-4]);
}

#[test]
fn a_star_stands_for_names() {
    let names = |section: &str| if section == "data" { vec!["a", "b"] } else { Vec::new() };
    assert_eq!(options("data.*.seed", "3", &names), ["data.a.seed=3", "data.b.seed=3"]);
    assert_eq!(options("score.cap", "0.1", &names), ["score.cap=0.1"]);
    assert!(options("judge.*.kind", "x", &names).is_empty());
}
