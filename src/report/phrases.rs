//! Cautionary phrases: how often answers say them, before and after, phrase by phrase.
//!
//! Must not know: which phrases there are, how they are counted.

use std::collections::BTreeSet;

use super::facts::{Finding, Report, VariantReport};
use super::text::{label, signed};
use crate::inspect::caution::{PHRASE, PHRASES, is_count};
use crate::layout::{Align, Table};

/// A table for each set and variant: each phrase in 100 answers of the base and of the variant, with the paired difference.
pub fn show(report: &Report) -> String {
    let Some((base, others)) = report.variants.split_first() else { return nothing() };
    let counts = base.outcomes.iter().filter(|found| is_count(&found.measure));
    let sets: BTreeSet<&str> = counts.map(|found| found.set.as_str()).collect();
    let tables: Vec<String> =
        sets.iter().flat_map(|set| others.iter().map(|other| table(set, base, other).to_string())).collect();
    if tables.is_empty() {
        return nothing();
    }
    format!(
        "{}\n\neach in 100 answers; change and its 95 % interval: of the same questions, before and after; *: significant after \
         Holm's\n  correction for the masks of the grid, one phrase at a time",
        tables.join("\n\n")
    )
}

fn nothing() -> String {
    "no answers were searched for cautionary phrases".into()
}

fn table(set: &str, base: &VariantReport, variant: &VariantReport) -> Table {
    let mut table = Table::new()
        .column(&format!("{set}, {}", label(variant)), Align::Left)
        .column("base", Align::Right)
        .column("here", Align::Right)
        .column("change", Align::Right)
        .column("95 % interval", Align::Left)
        .close_column("", Align::Left, 1);
    let here = |found: &&Finding| found.set == set;
    let find = |measure: &str| variant.outcomes.iter().filter(here).find(|found| found.measure == measure);
    let counts = base.outcomes.iter().filter(here).filter(|found| is_count(&found.measure));
    let (all, each): (Vec<&Finding>, Vec<&Finding>) = counts.partition(|found| found.measure == PHRASES);
    for before in each.into_iter().chain(all) {
        let phrase = before.measure.strip_prefix(PHRASE).unwrap_or("all together");
        let after = find(&before.measure);
        let per_100 =
            |found: Option<&Finding>| found.and_then(|found| found.value).map(|mean| format!("{:.1}", 100.0 * mean));
        let paired = after.and_then(|after| after.paired.as_ref());
        table.row([
            phrase.to_owned(),
            per_100(Some(before)).unwrap_or_default(),
            per_100(after).unwrap_or_default(),
            paired.and_then(|paired| paired.change).map(|change| signed(100.0 * change, 1)).unwrap_or_default(),
            paired
                .and_then(|paired| paired.interval)
                .map(|(low, high)| format!("[{}, {}]", signed(100.0 * low, 1), signed(100.0 * high, 1)))
                .unwrap_or_default(),
            if paired.is_some_and(|paired| paired.significant) { "*".into() } else { String::new() },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::facts::findings;
    use crate::report::{Groups, Measured, PointReport};
    use crate::tables::Outcome;

    fn counts(said: [f64; 4], sorry: [f64; 4]) -> Vec<Outcome> {
        let outcomes = |measure: &'static str, counts: [f64; 4]| {
            (0..).zip(counts).map(move |(row, count)| Outcome::new("privacy", row, measure, Some(count)))
        };
        let all = std::array::from_fn(|row| said[row] + sorry[row]);
        let cut = outcomes("cut", [0.0; 4]);
        outcomes("phrase: I cannot", said)
            .chain(outcomes("phrase: I'm sorry", sorry))
            .chain(outcomes(PHRASES, all))
            .chain(cut)
            .collect()
    }

    fn report(counts: &[(&str, Vec<Outcome>)]) -> Report {
        let row = |(name, found): &(&str, Vec<Outcome>)| VariantReport {
            variant: (*name).into(),
            name: (*name).into(),
            mask: None,
            weights: 0,
            points: vec![PointReport { p: None, q: 1e-5 }],
            controls: Vec::new(),
            rule: String::new(),
            calibration: std::collections::BTreeMap::new(),
            outcomes: findings("inspect", found).unwrap(),
        };
        let measured: Vec<Measured> = counts
            .iter()
            .map(|(name, found)| Measured { by: "inspect".into(), variant: (*name).into(), found: found.clone() })
            .collect();
        Report::new(counts.iter().map(row).collect(), &measured, &Groups::default())
    }

    #[test]
    fn each_phrase_is_shown_before_and_after() {
        let base = counts([0.0, 1.0, 0.0, 0.0], [0.0; 4]);
        let patched = counts([1.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 1.0]);
        insta::assert_snapshot!(show(&report(&[("base", base), ("q=1e-5", patched)])), @"
        privacy, q=1e-5  base   here  change  95 % interval
        I cannot         25.0  125.0  +100.0  [-29.9, +229.9]
        I'm sorry         0.0   25.0   +25.0  [-54.6, +104.6]
        all together     25.0  150.0  +125.0  [-75.2, +325.2]

        each in 100 answers; change and its 95 % interval: of the same questions, before and after; *: significant after Holm's
          correction for the masks of the grid, one phrase at a time
        ");
    }

    #[test]
    fn without_phrases_there_is_nothing_to_show() {
        let cut = vec![Outcome::new("privacy", 0, "cut", Some(0.0))];
        assert_eq!(show(&report(&[("base", cut.clone()), ("q=1e-5", cut)])), nothing());
        assert_eq!(show(&report(&[])), nothing());
    }
}
