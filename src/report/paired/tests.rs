//! Paired comparisons, on rows whose statistics are known.

use std::collections::BTreeMap;

use super::*;
use crate::digest::Digest;
use crate::report::facts::findings;
use crate::report::measures::{NLL, TOKENS};
use crate::report::{PointReport, Report};
use crate::tables::Outcome;

/// A report of a base and of variants, each with a name and its outcomes. All but those called `control` are points.
fn report(all: &[(&str, Vec<Outcome>)], groups: &Groups) -> Report {
    let variant = |(name, found): &(&str, Vec<Outcome>)| VariantReport {
        variant: (*name).into(),
        name: (*name).into(),
        mask: (*name != "base").then(|| Digest::of(name.as_bytes())),
        weights: 1,
        points: if ["base", "control"].contains(name) { Vec::new() } else { vec![PointReport { p: None, q: 0.1 }] },
        controls: Vec::new(),
        rule: "a".into(),
        calibration: BTreeMap::new(),
        outcomes: findings("someone", found).unwrap(),
    };
    let measured: Vec<Measured> = all
        .iter()
        .map(|(name, found)| Measured { by: "someone".into(), variant: (*name).into(), found: found.clone() })
        .collect();
    Report::new(all.iter().map(variant).collect(), &measured, groups)
}

fn paired(report: &Report, variant: usize) -> Paired {
    let found = &report.variants[variant].outcomes;
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].paired.clone().unwrap()
}

/// Rows that are 1 in both, in the variant alone, in the base alone, and in neither: those of the base, and of the variant.
fn verdicts([both, won, lost, neither]: [u32; 4]) -> [Vec<Outcome>; 2] {
    let rows = |is: &dyn Fn(u32) -> bool| {
        let all = 0..both + won + lost + neither;
        all.map(|row| Outcome::new("fairness", row, "refusal/safe", Some(f64::from(u8::from(is(row)))))).collect()
    };
    let before = |row| row < both || (row >= both + won && row < both + won + lost);
    [rows(&before), rows(&|row| row < both + won)]
}

fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-9 * expected.abs().max(1e-3)
}

#[test]
fn verdicts_have_flips_an_exact_test_and_newcombes_interval() {
    let [before, after] = verdicts([1434, 18, 33, 51]);
    let found = paired(&report(&[("base", before), ("a", after)], &Groups::default()), 1);
    assert_eq!((found.rows, found.groups, found.lost, found.won), (1536, 1536, Some(33), Some(18)));
    assert!(is_near(found.change.unwrap(), -0.009_765_625));
    let (low, high) = found.interval.unwrap();
    assert!((low + 0.019_397_519_2).abs() < 1e-10 && (high + 0.000_506_342_2).abs() < 1e-10, "{found:?}");
    assert!(is_near(found.p.unwrap(), 0.048_873_892_318_3) && is_near(found.mid_p.unwrap(), 0.036_483_400_008_4));
    assert!((found.holm, found.benjamini_hochberg) == (found.p, found.p), "there is one mask");
    let (low, high) = found.bootstrap.unwrap();
    assert!((low + 0.0189).abs() < 1e-3 && (high + 0.0007).abs() < 1e-3 && found.significant, "{found:?}");
    assert!(is_near(found.visible.unwrap(), 2.801_585_218_112_968 * (51.0_f64 / 1536.0 / 1536.0).sqrt()));
    assert!(found.is_within_margin() && found.margin == Some(0.05), "{found:?}");
}

#[test]
fn equal_questions_are_one_witness() {
    // Five questions, each asked four times: twenty rows, of which sixteen are won.
    let [before, after] = verdicts([0, 16, 0, 4]);
    let mut groups = Groups::default();
    (0..20).for_each(|row| groups.put("fairness", row, row as usize / 4));
    let alone = paired(&report(&[("base", before.clone()), ("a", after.clone())], &Groups::default()), 1);
    let found = paired(&report(&[("base", before), ("a", after)], &groups), 1);
    assert_eq!((alone.groups, found.groups, found.rows), (20, 5, 20));
    let width = |found: &Paired| found.bootstrap.map(|(low, high)| high - low).unwrap();
    assert!(width(&found) > 1.7 * width(&alone), "{found:?} {alone:?}");
}

#[test]
fn only_rows_that_both_have_read_are_compared() {
    let row = |row, value| Outcome::new("fairness", row, "refusal/safe", value);
    let before = vec![row(0, Some(1.0)), row(1, None), row(2, Some(0.0)), row(3, Some(0.0))];
    let after = vec![row(0, Some(0.0)), row(1, Some(1.0)), row(2, Some(1.0)), row(4, Some(1.0)), row(3, None)];
    let found = paired(&report(&[("base", before), ("a", after)], &Groups::default()), 1);
    assert_eq!((found.rows, found.lost, found.won, found.change), (2, Some(1), Some(1), Some(0.0)));
    assert_eq!((found.p, found.significant), (Some(1.0), false));
    let nothing = report(&[("base", vec![row(0, None)]), ("a", vec![row(0, Some(1.0))])], &Groups::default());
    let found = paired(&nothing, 1);
    assert_eq!((found.rows, found.change, found.p, found.interval, found.visible), (0, None, None, None, None));
}

#[test]
fn the_masks_of_the_grid_are_corrected_for_and_controls_are_not_among_them() {
    let [before, one] = verdicts([20, 8, 0, 20]);
    let after = |won| verdicts([20, won, 0, 28 - won])[1].clone();
    let all = [("base", before), ("a", one), ("b", after(7)), ("c", after(6)), ("control", after(8))];
    let report = report(&all, &Groups::default());
    let found: Vec<Paired> = (1..5).map(|variant| paired(&report, variant)).collect();
    let p: Vec<f64> = found.iter().map(|found| found.p.unwrap()).collect();
    assert_eq!(p, [0.007_812_5, 0.015_625, 0.031_25, 0.007_812_5]);
    let corrected: Vec<Option<f64>> = found.iter().map(|found| found.holm).collect();
    assert_eq!(corrected, [Some(0.023_437_5), Some(0.031_25), Some(0.031_25), None]);
    assert_eq!(found.iter().map(|found| found.significant).collect::<Vec<_>>(), [true, true, true, false]);
}

#[test]
fn a_perplexity_has_the_interval_of_its_ratio() {
    let text = |losses: [f64; 4]| -> Vec<Outcome> {
        let both = |(row, loss): (u32, f64)| {
            [Outcome::new("text", row, NLL, Some(loss)), Outcome::new("text", row, TOKENS, Some(100.0))]
        };
        (0..).zip(losses).flat_map(both).collect()
    };
    // The differences per token are 0.01, 0.02, 0.03, 0.04: those of R's t.test, over a hundred.
    let report = report(
        &[("base", text([300.0, 310.0, 290.0, 305.0])), ("a", text([301.0, 312.0, 293.0, 309.0]))],
        &Groups::default(),
    );
    let found = paired(&report, 1);
    assert!(is_near(found.change.unwrap(), 0.025_f64.exp()), "{found:?}");
    assert!((found.change.unwrap() - report.variants[1].outcomes[0].ratio.unwrap()).abs() < 1e-9);
    let (low, high) = found.interval.unwrap();
    assert!((low.ln() - 0.004_457_397).abs() < 1e-8 && (high.ln() - 0.045_542_603).abs() < 1e-8, "{found:?}");
    assert!((found.p.unwrap() - 0.030_466_29).abs() < 1e-7, "{found:?}");
    assert_eq!((found.lost, found.margin), (None, Some(1.05)));
    let (low, high) = found.bootstrap.unwrap();
    assert!(1.009 < low && low < high && high < 1.041 && found.significant, "{found:?}");
}

#[test]
fn a_measure_that_nobody_knows_is_compared_by_its_mean() {
    let rows = |values: [f64; 4]| -> Vec<Outcome> {
        (0..).zip(values).map(|(row, value)| Outcome::new("arc", row, "accuracy", Some(value))).collect()
    };
    let all =
        [("base", rows([0.0; 4])), ("a", rows([1.0, 2.0, 3.0, 4.0])), ("b", rows([f64::INFINITY, 0.0, 0.0, 0.0]))];
    let report = report(&all, &Groups::default());
    let found = paired(&report, 1);
    assert!(is_near(found.change.unwrap(), 2.5) && (found.p.unwrap() - 0.030_466_29).abs() < 1e-7, "{found:?}");
    assert_eq!((found.margin, found.no_damage, found.mid_p), (None, None, None));
    let wrecked = paired(&report, 2);
    assert_eq!((wrecked.change, wrecked.interval, wrecked.p, wrecked.significant), (None, None, None, false));
}

#[test]
fn numbers_have_ten_digits() {
    assert_eq!(rounded(1.0 / 3.0), Some(0.333_333_333_3));
    assert_eq!((rounded(0.0), rounded(-1e-300), rounded(f64::NAN)), (Some(0.0), Some(-1e-300), None));
}
