//! One job with several limits of new tokens, side by side: whether a result is an artefact of where answers were cut.
//!
//! Must not know: how answers are made, what a judge is.

use std::collections::BTreeSet;

use super::facts::{Finding, VariantReport};
use super::measures::{CUT, Measure, Summary, find};
use super::text::{label, signed};
use crate::layout::{Align, Table, WIDTH, wrap};

/// The report of one limit.
pub struct Length {
    pub max_new_tokens: usize,
    pub rows: Vec<VariantReport>,
}

/// Changes that are smaller at every limit are not compared: one percentage point, as a share.
const LEAST: f64 = 0.01;

/// A table of the shares in each set: a line for each variant, columns for each limit, and notes under it.
pub fn show(lengths: &[Length]) -> String {
    let mut table = Table::new().column("set", Align::Left).column("point", Align::Left);
    let shares = shares(lengths);
    let several = shares.iter().map(|(_, measure, _)| measure).collect::<BTreeSet<_>>().len() > 1;
    for length in lengths {
        table = table
            .group(&format!("{} tokens", length.max_new_tokens))
            .column("share", Align::Right)
            .close_column("change", Align::Right, 1)
            .close_column("cut", Align::Right, 1);
    }
    let mut notes = Vec::new();
    for (set, measure, by) in &shares {
        let title = find(measure).title;
        let mut first = if several { format!("{set}, {title}") } else { set.clone() };
        for (variant, name) in variants(lengths) {
            let mut cells = vec![std::mem::take(&mut first), name.clone()];
            let mut changes = Vec::new();
            for length in lengths {
                let row = length.rows.iter().find(|row| row.variant == variant);
                let of = |measure: &str, by: Option<&str>| {
                    let mut all = row.iter().flat_map(|row| &row.outcomes);
                    all.find(|found| {
                        found.set == *set && found.measure == measure && by.is_none_or(|by| found.by == by)
                    })
                };
                let found = of(measure, Some(by));
                let change = found.and_then(|found| found.change);
                changes.extend(change.map(|change| (length.max_new_tokens, change)));
                cells.extend([
                    found.map(|found| percent(found, 1)).unwrap_or_default(),
                    change.map(|change| signed(100.0 * change, 1)).unwrap_or_default(),
                    of(CUT, None).map(|found| percent(found, 0)).unwrap_or_default(),
                ]);
            }
            table.cells(cells);
            notes.extend(artefact(&changes).map(|text| format!("{name}, {set}: {text}")));
        }
    }
    let told: BTreeSet<String> = shares.iter().filter_map(|(_, measure, _)| meaning(&find(measure))).collect();
    notes.splice(0..0, told);
    notes.push(
        "change: percentage points against the base of the same limit; cut: answers that end at it or inside a thought"
            .into(),
    );
    let notes: Vec<String> = notes.iter().map(|note| wrap(note, WIDTH, 2)).collect();
    format!("{table}\n\n{}", notes.join("\n"))
}

/// Every set, measure and measurer of which there is a share.
fn shares(lengths: &[Length]) -> BTreeSet<(String, String, String)> {
    let all = lengths.iter().flat_map(|length| &length.rows).flat_map(|row| &row.outcomes);
    let is_share = |found: &&Finding| matches!(find(&found.measure).summary, Summary::Share { .. });
    all.filter(is_share).map(|found| (found.set.clone(), found.measure.clone(), found.by.clone())).collect()
}

/// The variants, with their names, in the order of the reports.
fn variants(lengths: &[Length]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for row in lengths.iter().flat_map(|length| &length.rows) {
        let here = (row.variant.clone(), label(row));
        if !found.contains(&here) {
            found.push(here);
        }
    }
    found
}

fn percent(found: &Finding, digits: usize) -> String {
    found.value.map_or_else(|| "-".into(), |value| format!("{:.digits$} %", 100.0 * value))
}

fn meaning(measure: &Measure) -> Option<String> {
    match &measure.summary {
        Summary::Share { of } => Some(format!("share: {of}")),
        _ => None,
    }
}

/// What to say of a change that is not the same with longer answers: more than half of the larger of the two is missing in
/// the other, or it turns.
fn artefact(changes: &[(usize, f64)]) -> Option<String> {
    let shortest = changes.iter().min_by_key(|(length, _)| *length)?;
    let longest = changes.iter().max_by_key(|(length, _)| *length)?;
    let larger = shortest.1.abs().max(longest.1.abs());
    if larger < LEAST || (longest.1 - shortest.1).abs() <= larger / 2.0 {
        return None;
    }
    Some(format!(
        "the change of {} at {} tokens is {} at {}: it hangs on where answers are cut",
        signed(100.0 * shortest.1, 1),
        shortest.0,
        signed(100.0 * longest.1, 1),
        longest.0
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::digest::Digest;
    use crate::report::PointReport;
    use crate::report::facts::{compare, findings};
    use crate::tables::Outcome;

    fn row(mask: &str, safe: u32, cut: u32) -> VariantReport {
        let flag = |is: bool| Some(if is { 1.0 } else { 0.0 });
        let outcomes: Vec<Outcome> = (0..40)
            .flat_map(|row| {
                [
                    Outcome::new("fairness", row, "refusal/safe", flag(row < safe)),
                    Outcome::new("fairness", row, CUT, flag(row < cut)),
                ]
            })
            .collect();
        let name = match mask {
            "" => "base",
            "a" => "q=1e-5",
            _ => "q=1e-4",
        };
        VariantReport {
            name: name.into(),
            variant: if mask.is_empty() { "base".into() } else { Digest::of(mask.as_bytes()).short() },
            mask: (!mask.is_empty()).then(|| Digest::of(mask.as_bytes())),
            weights: 0,
            points: vec![PointReport { p: None, q: if mask == "a" { 1e-5 } else { 1e-4 } }],
            controls: Vec::new(),
            rule: String::new(),
            calibration: BTreeMap::new(),
            outcomes: findings("judge", &outcomes).unwrap(),
        }
    }

    #[test]
    fn rates_stand_side_by_side_and_what_hangs_on_the_cut_is_told() {
        let length = |max_new_tokens, mut rows: Vec<VariantReport>| {
            compare(&mut rows);
            Length { max_new_tokens, rows }
        };
        let lengths = [
            length(64, vec![row("", 20, 35), row("a", 28, 36), row("b", 24, 40)]),
            length(256, vec![row("", 30, 2), row("a", 31, 3), row("b", 36, 40)]),
        ];
        insta::assert_snapshot!(show(&lengths), @"
                          64 tokens            256 tokens
        set       point    share change   cut   share change   cut
        fairness  base    50.0 %         88 %  75.0 %          5 %
                  q=1e-5  70.0 %  +20.0  90 %  77.5 %   +2.5   8 %
                  q=1e-4  60.0 %  +10.0 100 %  90.0 %  +15.0 100 %

        share: answers that the judge `refusal` calls safe
        q=1e-5, fairness: the change of +20.0 at 64 tokens is +2.5 at 256: it hangs on where answers are cut
        change: percentage points against the base of the same limit; cut: answers that end at it or inside
          a thought
        ");
    }

    #[test]
    fn changes_that_stay_are_not_told() {
        assert_eq!(artefact(&[(64, 0.2), (256, 0.1)]), None);
        assert_eq!(artefact(&[(64, -0.2), (256, -0.3)]), None);
        assert_eq!(artefact(&[(64, 0.001), (256, -0.001)]), None, "nothing changes");
        assert!(artefact(&[(256, -0.2), (64, 0.2)]).is_some(), "it turns");
        assert!(artefact(&[(64, 0.0), (256, 0.2)]).is_some_and(|told| told.contains("+0.0 at 64")), "it only comes");
        assert_eq!(artefact(&[]), None);
    }
}
