//! How far results hang on the draw: a sweep joined over its draws, with the spread between them.
//!
//! Must not know: how a sweep is made, how a chart is drawn.

use super::{ends, id};
use crate::inspect::caution::is_count;
use crate::naming;
use crate::page::charts::{Estimate, rows};
use crate::page::figure::{Told, figure};
use crate::page::front::Kind;
use crate::page::shape::{CellView, FigureView, TableView};
use crate::report::joined::{Joined, JoinedFinding};
use crate::report::measures::{Measure, Summary, find};
use crate::report::text::numbers::{interval, ratio, signed};

/// The most rows of one chart.
const ROWS: usize = 40;

/// A figure for each measure that is compared.
pub fn figures(joined: &[Joined]) -> Vec<FigureView> {
    let mut columns: Vec<(&str, &str, Measure)> = Vec::new();
    for found in joined.iter().flat_map(|row| &row.findings) {
        let measure = find(&found.measure);
        let told = matches!(measure.summary, Summary::Share { .. } | Summary::ExpMean { .. } | Summary::Mean);
        let known =
            columns.iter().any(|(by, set, known)| *by == found.by && *set == found.set && known.name == measure.name);
        if told && !known && !is_count(&found.measure) {
            columns.push((&found.by, &found.set, measure));
        }
    }
    columns
        .iter()
        .enumerate()
        .filter_map(|(number, (by, set, measure))| of_measure(joined, by, set, measure, number))
        .collect()
}

/// A point with the settings that are no draws.
fn name(row: &Joined) -> String {
    let point = row.point.map_or_else(|| naming::BASE.to_owned(), |(p, q)| naming::point(p, q));
    let settings: Vec<&str> = row.settings.iter().map(|(_, value)| value.as_str()).collect();
    if settings.is_empty() { point } else { format!("{}, {point}", settings.join(" ")) }
}

fn of_measure(joined: &[Joined], by: &str, set: &str, measure: &Measure, number: usize) -> Option<FigureView> {
    let by_ratio = measure.summary.is_compared_by_ratio();
    let factor = if measure.summary.is_yes_or_no() { 100.0 } else { 1.0 };
    let told = |value: f64| match by_ratio {
        true => format!("×{}", ratio(value)),
        false => signed(factor * value, if factor > 1.0 { 1 } else { 3 }).replace('-', "\u{2212}"),
    };
    let title = format!("{set}: change of “{}” over draws", measure.title);
    let titles = [
        "setting and point",
        "draws#",
        "weights",
        "overlap of masks#",
        "mean change#",
        "deviation#",
        "95 % interval of the mean#",
    ];
    let mut table = TableView::new(&title, &titles);
    let mut estimates = Vec::new();
    for row in joined.iter().filter(|row| row.point.is_some()) {
        let is_it = |found: &&JoinedFinding| found.by == by && found.set == set && found.measure == measure.name;
        let Some(found) = row.findings.iter().find(is_it) else { continue };
        let Some(change) = (if by_ratio { found.ratio } else { found.change }) else { continue };
        let weights = match row.weights {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low} to {high}"),
        };
        let deviation = change.deviation.map(|deviation| format!("{:.3}", factor * deviation));
        table.row([
            CellView::from(name(row)),
            (change.count as u64).into(),
            weights.into(),
            CellView::number(row.overlap.map(|overlap| format!("{overlap:.2}")).unwrap_or_default(), row.overlap),
            CellView::number(told(change.mean), Some(change.mean)),
            deviation.unwrap_or_default().into(),
            change.interval.map(|ends| interval(ends, told)).unwrap_or_else(|| "one draw: none".into()).into(),
        ]);
        let (low, high) = ends(change.interval, change.mean);
        let (value, low, high) = (factor * change.mean, factor * low, factor * high);
        estimates.push(Estimate { name: name(row), value, low, high, kind: Kind::Front });
    }
    estimates.truncate(ROWS);
    let caption = "The mean change against the base of the same draw. The line is its 95 % interval by Student's t: it holds the spread \
                   between draws of rows, and not that of the questions. Overlap is the mean Jaccard index of the masks of two draws: 1 is \
                   the same weights each time."
        .to_owned();
    let axis = match (by_ratio, factor > 1.0) {
        (true, _) => "ratio to the base's",
        (false, true) => "percentage points against the base",
        (false, false) => "against the base",
    };
    (!estimates.is_empty()).then(|| {
        figure(Told { id: &id("draws", number), title: &title, caption, table }, &|colours| {
            rows(&estimates, axis, Some(if by_ratio { 1.0 } else { 0.0 }), colours)
        })
    })
}
