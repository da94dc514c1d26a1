//! Findings from outcomes, and their differences to the base.

use super::*;
use crate::report::measures::{EMPTY, KL, NLL, TOKENS};

fn rows(measure: &str, values: &[Option<f64>]) -> Vec<Outcome> {
    (0..).zip(values).map(|(row, value)| Outcome::new("here", row, measure, *value)).collect()
}

fn only(outcomes: &[Outcome]) -> Finding {
    let mut found = findings("someone", outcomes).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_share_is_of_the_rows_that_could_be_read() {
    let share = only(&rows("refusal/safe", &[Some(1.0), None, Some(0.0), Some(1.0), Some(0.0), None]));
    assert_eq!((share.rows, share.unread, share.count, share.value), (6, 2, Some(2), Some(0.5)));
    assert_eq!(share.interval, wilson(2, 4));
    let nothing = only(&rows("refusal/safe", &[None, None]));
    assert_eq!((nothing.value, nothing.why, nothing.interval), (None, Some(Why::Unread), None));
    let error = findings("someone", &rows(EMPTY, &[Some(0.5)])).unwrap_err();
    assert_eq!(error.message(), "empty of row 0 of here is 0.5, not 0 or 1");
}

#[test]
fn perplexity_is_the_mean_over_tokens_and_not_over_windows() {
    let both = [rows(NLL, &[Some(12.0), Some(2.0)]), rows(TOKENS, &[Some(3.0), Some(4.0)])].concat();
    let found = only(&both);
    assert_eq!((found.rows, found.over, found.value), (2, Some(7.0), Some(2.0_f64.exp())));
    let error = findings("someone", &rows(NLL, &[Some(1.0)])).unwrap_err();
    assert_eq!(error.message(), "row 0 of here has nll and no tokens");
}

#[test]
fn what_is_no_number_says_so() {
    let loss = |value| only(&[rows(NLL, &[Some(value), Some(1.0)]), rows(TOKENS, &[Some(3.0); 2])].concat());
    assert_eq!((loss(f64::INFINITY).value, loss(f64::INFINITY).why), (None, Some(Why::Infinite)));
    assert_eq!((loss(1e6).value, loss(1e6).why), (None, Some(Why::Infinite)), "exp of it has no number");
    assert_eq!((loss(f64::NAN).value, loss(f64::NAN).why), (None, Some(Why::Undefined)));
}

#[test]
fn a_distance_has_a_mean_and_a_95th_percentile() {
    let values: Vec<Option<f64>> = (0..21).map(|row| Some(f64::from(row * row))).chain([None]).collect();
    let found = only(&rows(KL, &values));
    assert_eq!((found.rows, found.unread, found.value), (22, 1, Some(2870.0 / 21.0)));
    assert_eq!(found.high, Some(361.0), "numpy.percentile(numpy.arange(21) ** 2, 95)");
    assert_eq!(percentile(vec![100.0, 0.0], 0.95), Some(95.0));
    assert_eq!((percentile(vec![7.0], 0.95), percentile(Vec::new(), 0.95)), (Some(7.0), None));
    let wrecked = only(&rows(KL, &[Some(f64::INFINITY); 2]));
    assert_eq!((wrecked.value, wrecked.why, wrecked.high), (None, Some(Why::Infinite), None));
}

#[test]
fn a_measure_that_nobody_knows_is_a_mean() {
    let found = only(&rows("accuracy", &[Some(0.25), Some(0.5), None]));
    assert_eq!((found.value, found.unread, found.count), (Some(0.375), 1, None));
}

#[test]
fn differences_are_to_the_base_where_both_have_a_value() {
    let row = |nll: f64, accuracy: f64| {
        let loss = [rows(NLL, &[Some(nll)]), rows(TOKENS, &[Some(1.0)]), rows("accuracy", &[Some(accuracy)])];
        VariantReport {
            variant: "base".into(),
            name: "base".into(),
            mask: None,
            weights: 0,
            points: Vec::new(),
            controls: Vec::new(),
            rule: String::new(),
            calibration: BTreeMap::new(),
            outcomes: findings("someone", &loss.concat()).unwrap(),
        }
    };
    let mut all = [row(0.0, 0.5), row(2.0, 0.75), row(f64::INFINITY, f64::NAN)];
    compare(&mut all);
    let of = |row: usize| all[row].outcomes.iter().map(|found| (found.change, found.ratio)).collect::<Vec<_>>();
    assert_eq!(of(0), [(None, None); 2]);
    assert_eq!(of(1), [(Some(0.25), None), (None, Some(2.0_f64.exp()))]);
    assert_eq!(of(2), [(None, None); 2]);
}
