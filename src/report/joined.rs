//! Many runs of one job as one table: joined over the draws of rows and seeds, a line for each other setting and point.
//!
//! A result on one draw of calibration rows says nothing of how it would be on another. Here each value is a mean over draws,
//! with the interval that holds the spread between them; and beside each point stands how much the masks of two draws have in
//! common. Must not know: how runs are made, where they are kept.

use schemars::JsonSchema;
use serde::Serialize;

use super::facts::{Finding, Report, VariantReport};
use super::measures::{Measure, Summary, find};
use super::text::signed;
use crate::inspect::caution::is_count;
use crate::layout::{Align, Table, WIDTH, wrap};
use crate::naming;
use crate::rank::{Mask, Selection, mask_overlap};
use crate::stats::Spread;

/// One run of the sweep.
pub struct Member {
    /// The values that this run has on the axes that are no draws, by the name of the setting.
    pub settings: Vec<(String, String)>,
    pub report: Report,
    /// What it selected, if the store still has it.
    pub selection: Option<Selection>,
}

/// All draws of one setting at one point.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Joined {
    pub settings: Vec<(String, String)>,
    /// p and q; `None` for the base.
    pub point: Option<(Option<f64>, f64)>,
    pub draws: usize,
    /// The smallest and the largest mask.
    pub weights: (u64, u64),
    /// The mean Jaccard index of the masks of two draws.
    pub overlap: Option<f64>,
    pub findings: Vec<JoinedFinding>,
}

/// One measure over all draws.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct JoinedFinding {
    pub by: String,
    pub set: String,
    pub measure: String,
    pub value: Spread,
    /// Against the base of the same draw: a difference, or a ratio of measures whose ratios mean something.
    pub change: Option<Spread>,
    pub ratio: Option<Spread>,
}

/// Joins the members over their draws, in the order in which settings and points first occur.
pub fn join(members: &[Member]) -> Vec<Joined> {
    let mut settings: Vec<&Vec<(String, String)>> = Vec::new();
    for member in members {
        if !settings.contains(&&member.settings) {
            settings.push(&member.settings);
        }
    }
    let of_setting = |settings: &&Vec<(String, String)>| -> Vec<Joined> {
        let draws: Vec<&Member> = members.iter().filter(|member| member.settings == **settings).collect();
        let mut points: Vec<Option<(Option<f64>, f64)>> = vec![None];
        for point in draws.iter().flat_map(|member| &member.report.variants).flat_map(|variant| &variant.points) {
            if !points.contains(&Some((point.p, point.q))) {
                points.push(Some((point.p, point.q)));
            }
        }
        points.into_iter().map(|point| at(settings, point, &draws)).collect()
    };
    settings.iter().flat_map(of_setting).collect()
}

fn at(settings: &[(String, String)], point: Option<(Option<f64>, f64)>, draws: &[&Member]) -> Joined {
    let is_it = |variant: &&VariantReport| match point {
        None => variant.mask.is_none(),
        Some(point) => variant.points.iter().any(|here| (here.p, here.q) == point),
    };
    let rows: Vec<&VariantReport> =
        draws.iter().filter_map(|member| member.report.variants.iter().find(is_it)).collect();
    let size = |better: fn(u64, u64) -> u64| rows.iter().map(|row| row.weights).reduce(better).unwrap_or(0);
    let masks = draws.iter().filter_map(|member| {
        let selection = member.selection.as_ref()?;
        let selected = selection.points.iter().find(|selected| Some((selected.p, selected.q)) == point)?;
        selection.mask(&selected.mask)
    });
    Joined {
        settings: settings.to_vec(),
        point,
        draws: rows.len(),
        weights: (size(u64::min), size(u64::max)),
        overlap: overlap(&masks.collect::<Vec<_>>()),
        findings: findings(&rows),
    }
}

/// The mean Jaccard index of all pairs.
fn overlap(masks: &[&Mask]) -> Option<f64> {
    let pairs =
        masks.iter().enumerate().flat_map(|(first, one)| masks.iter().skip(first + 1).map(move |other| (one, other)));
    let found: Vec<f64> = pairs.filter_map(|(one, other)| mask_overlap(one, other, &|_| None).jaccard).collect();
    Spread::of(&found).map(|spread| spread.mean)
}

fn findings(rows: &[&VariantReport]) -> Vec<JoinedFinding> {
    let mut names: Vec<(&str, &str, &str)> = Vec::new();
    for found in rows.iter().flat_map(|row| &row.outcomes) {
        let name = (found.by.as_str(), found.set.as_str(), found.measure.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let joined = |(by, set, measure): (&str, &str, &str)| {
        let is_it =
            |found: &&Finding| (found.by.as_str(), found.set.as_str(), found.measure.as_str()) == (by, set, measure);
        let here = || rows.iter().flat_map(|row| &row.outcomes).filter(is_it);
        let spread = |of: &dyn Fn(&Finding) -> Option<f64>| Spread::of(&here().filter_map(of).collect::<Vec<_>>());
        Some(JoinedFinding {
            by: by.into(),
            set: set.into(),
            measure: measure.into(),
            value: spread(&|found| found.value)?,
            change: spread(&|found| found.change),
            ratio: spread(&|found| found.ratio),
        })
    };
    names.into_iter().filter_map(joined).collect()
}

/// The table: a line for each setting and point, and what its numbers are.
pub fn show(rows: &[Joined]) -> String {
    let mut table = Table::new();
    let axes: Vec<&str> =
        rows.first().map(|row| row.settings.iter().map(|(key, _)| key.as_str()).collect()).unwrap_or_default();
    for axis in &axes {
        table = table.column(axis, Align::Left);
    }
    table = table.column("point", Align::Left).column("weights", Align::Right).column("overlap", Align::Right);
    let columns = columns(rows);
    for (set, measure) in &columns {
        table = table.group(set).column(&measure.title, Align::Right).close_column("change", Align::Right, 1);
    }
    for row in rows {
        let mut cells: Vec<String> = row.settings.iter().map(|(_, value)| value.clone()).collect();
        cells.push(row.point.map_or_else(|| "base".into(), |(p, q)| naming::point(p, q)));
        cells.push(match row.weights {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low} to {high}"),
        });
        cells.push(row.overlap.map(|overlap| format!("{overlap:.2}")).unwrap_or_default());
        for (set, measure) in &columns {
            let found = row.findings.iter().find(|found| found.set == *set && found.measure == measure.name);
            cells.extend(found.map_or_else(|| [String::new(), String::new()], |found| shown(found, measure)));
        }
        table.cells(cells);
    }
    let draws = rows.iter().map(|row| row.draws).max().unwrap_or(0);
    let note = match draws {
        0 | 1 => "one draw: how much the values hang on the rows that were drawn is not known; sweep over data.*.seed"
            .to_owned(),
        _ => format!(
            "mean ± standard deviation over {draws} draws; in brackets the 95 % interval of the mean change against the base of the \
             same draw (Student's t): it holds the spread between draws, and not that of the questions. overlap: the mean Jaccard \
             index of the masks of two draws"
        ),
    };
    format!("{table}\n\n{}", wrap(&note, WIDTH, 2))
}

/// Every set and measure that is shown.
fn columns(rows: &[Joined]) -> Vec<(String, Measure)> {
    let mut columns: Vec<(String, Measure)> = Vec::new();
    for found in rows.iter().flat_map(|row| &row.findings) {
        let measure = find(&found.measure);
        let has_column = !matches!(measure.summary, Summary::Flaw { .. } | Summary::Portion { .. } | Summary::Detail);
        let is_told = has_column && !is_count(&found.measure);
        if is_told && !columns.iter().any(|(set, known)| *set == found.set && known.name == measure.name) {
            columns.push((found.set.clone(), measure));
        }
    }
    columns
}

/// The value and the change of a finding.
fn shown(found: &JoinedFinding, measure: &Measure) -> [String; 2] {
    let (factor, decimals, unit) = match measure.summary {
        Summary::Share { .. } => (100.0, 1, "%"),
        _ => (1.0, 3, ""),
    };
    let value = match found.value.deviation {
        Some(deviation) => {
            format!("{:.decimals$} ± {:.decimals$}{unit}", factor * found.value.mean, factor * deviation)
        }
        None => format!("{:.decimals$}{unit}", factor * found.value.mean),
    };
    let change = match (&found.change, &found.ratio) {
        (Some(change), _) => interval(change, |value| signed(factor * value, decimals)),
        (None, Some(ratio)) => interval(ratio, |value| format!("x{value:.3}")),
        (None, None) => String::new(),
    };
    [value, change]
}

fn interval(spread: &Spread, number: impl Fn(f64) -> String) -> String {
    match spread.interval {
        Some((low, high)) => format!("{} [{}, {}]", number(spread.mean), number(low), number(high)),
        None => number(spread.mean),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::facts::{PointReport, findings};
    use crate::report::paired::Groups;
    use crate::tables::Outcome;

    /// A run in which the base is safe in 2 of 8 answers, and the one point in so many.
    fn member(settings: &[(&str, &str)], safe: usize) -> Member {
        let row = |mask: Option<&str>, safe: usize| {
            let outcomes: Vec<Outcome> = (0..8)
                .map(|row| {
                    Outcome::new("fairness", row, "refusal/safe", Some(f64::from(u8::from((row as usize) < safe))))
                })
                .collect();
            VariantReport {
                variant: mask.unwrap_or("base").into(),
                name: mask.unwrap_or("base").into(),
                controls: Vec::new(),
                mask: mask.map(|mask| crate::digest::Digest::of(mask.as_bytes())),
                weights: if mask.is_some() { safe as u64 } else { 0 },
                points: mask.iter().map(|_| PointReport { p: Some(1e-5), q: 1e-5 }).collect(),
                rule: "a".into(),
                calibration: BTreeMap::new(),
                outcomes: findings("judge", &outcomes).unwrap(),
            }
        };
        let report = Report::new(vec![row(None, 2), row(Some("mask"), safe)], &[], &Groups::default());
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let tensors = [("m".to_owned(), (0..safe as u32).collect::<Vec<u32>>())];
        let mask = Mask::new(tensors);
        let point = crate::rank::SelectedPoint { p: Some(1e-5), q: 1e-5, mask: mask.digest, weights: safe as u64 };
        let selection = Selection { rule: "a".into(), masks: vec![mask], points: vec![point] };
        Member { settings, report, selection: Some(selection) }
    }

    #[test]
    fn draws_are_joined_and_settings_are_not() {
        let members = [
            member(&[("score.method", "snip")], 4),
            member(&[("score.method", "snip")], 8),
            member(&[("score.method", "wanda")], 6),
        ];
        let rows = join(&members);
        let told: Vec<(usize, (u64, u64), Option<f64>)> =
            rows.iter().map(|row| (row.draws, row.weights, row.overlap)).collect();
        assert_eq!(told, [(2, (0, 0), None), (2, (4, 8), Some(0.5)), (1, (0, 0), None), (1, (6, 6), None)]);
        let share = &rows[1].findings[0];
        assert_eq!((share.value.mean, share.change.unwrap().mean), (0.75, 0.5));
        assert_eq!(rows[3].findings[0].change.unwrap().interval, None);
        insta::assert_snapshot!(show(&rows), @"
                                                  fairness
        score.method  point     weights  overlap       caution                 change
        snip          base            0            25.0 ± 0.0%
        snip          p=q=1e-5   4 to 8     0.50  75.0 ± 35.4% +50.0 [-267.7, +367.7]
        wanda         base            0                  25.0%
        wanda         p=q=1e-5        6                  75.0%                  +50.0

        mean ± standard deviation over 2 draws; in brackets the 95 % interval of the mean change against the
          base of the same draw (Student's t): it holds the spread between draws, and not that of the
          questions. overlap: the mean Jaccard index of the masks of two draws
        ");
    }
}
