//! The front of a search as text: a plot of gain against damage, a table with intervals, and what may be concluded.
//!
//! Must not know: how it was found.

use super::format::{WIDTH, count, wrap};
use crate::layout::{Align, Table};
use crate::search::{Estimate, Verdict};
use crate::sweep::search::{Best, Looked, SearchReport};

/// Characters of the plot.
const COLUMNS: usize = 60;
const ROWS: usize = 14;

pub fn text(found: &SearchReport) -> String {
    let mut parts = vec![heading(found)];
    parts.extend(plot(found));
    if !found.front.is_empty() {
        parts.push(table(found).to_string().trim_end().to_owned());
    }
    parts.push(notes(found));
    parts.join("\n\n")
}

fn heading(found: &SearchReport) -> String {
    let of = |is: fn(&Verdict) -> bool| found.points.iter().filter(|point| is(&point.verdict)).count();
    let over = of(|verdict| matches!(verdict, Verdict::OverLimit(_)));
    let dropped = of(|verdict| *verdict == Verdict::Dropped);
    let text = format!(
        "{}: {} of {} were looked at; {over} over a limit, {dropped} given up, {} on the front",
        found.rule,
        found.points.len(),
        count(found.sites, "distinct point"),
        found.front.len()
    );
    wrap(&text, WIDTH, 2)
}

/// The mean of a point's gains.
#[expect(clippy::cast_precision_loss, reason = "a count of objectives")]
fn mean(gains: &[f64]) -> Option<f64> {
    (!gains.is_empty()).then(|| gains.iter().sum::<f64>() / gains.len() as f64)
}

/// Gain upwards, damage to the right; damage is the first cheap limit, else the number of weights.
fn plot(found: &SearchReport) -> Option<String> {
    let damage = |cheap: &[Option<f64>], weights: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a place in a plot")]
        let weights = (weights as f64).log10();
        if found.limits.iter().any(|limit| limit.is == "at most") {
            cheap.first().copied().flatten()
        } else {
            Some(weights)
        }
    };
    let axis = found.limits.iter().find(|limit| limit.is == "at most").map_or("log10 of weights", |limit| &limit.name);
    let of_point = |point: &Looked| {
        let gains: Vec<f64> = point.tuning.iter().map(|gain| gain.value).collect();
        let mark = if point.is_on_front { 'O' } else { '.' };
        Some((damage(&point.cheap, point.weights)?, mean(&gains)?, mark))
    };
    let of_controls = |best: &Best| -> Vec<(f64, f64, char)> {
        let place = damage(&best.cheap, best.weights);
        best.controls.iter().filter_map(|gains| Some((place?, mean(gains)?, 'x'))).collect()
    };
    let mut marks: Vec<(f64, f64, char)> = found.points.iter().filter_map(of_point).collect();
    if marks.len() < 2 {
        return None;
    }
    marks.extend(found.front.iter().flat_map(of_controls));
    // What is drawn last is seen: the front.
    marks.sort_by_key(|(_, _, mark)| match mark {
        '.' => 0,
        'x' => 1,
        _ => 2,
    });
    let range = |of: fn(&(f64, f64, char)) -> f64| {
        let values = || marks.iter().map(of).filter(|value| value.is_finite());
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let ((left, right), (low, high)) = (range(|mark| mark.0), range(|mark| mark.1));
    let (low, high) = (low.min(0.0), high.max(0.0));
    let mut drawn = vec![vec![' '; COLUMNS]; ROWS];
    let zero = place(0.0, low, high, ROWS);
    if let Some(row) = drawn.get_mut(ROWS - 1 - zero) {
        row.iter_mut().for_each(|cell| *cell = '-');
    }
    for (damage, gain, mark) in marks.iter().filter(|mark| mark.0.is_finite() && mark.1.is_finite()) {
        let (row, column) = (ROWS - 1 - place(*gain, low, high, ROWS), place(*damage, left, right, COLUMNS));
        if let Some(cell) = drawn.get_mut(row).and_then(|row| row.get_mut(column)) {
            *cell = *mark;
        }
    }
    let mut lines = vec!["mean gain, points    O front  . other points  x random masks as large".to_owned()];
    for (number, row) in drawn.iter().enumerate() {
        let label = match number {
            0 => format!("{:+.1}", 100.0 * high),
            _ if number == ROWS - 1 - zero => "0".to_owned(),
            _ if number == ROWS - 1 => format!("{:+.1}", 100.0 * low),
            _ => String::new(),
        };
        lines.push(format!("{label:>6} |{}", row.iter().collect::<String>().trim_end()));
    }
    lines.push(format!("{:>6} +{}", "", "-".repeat(COLUMNS)));
    lines.push(format!("{:>8}{left:.3} to {right:.3}: {axis}", ""));
    Some(lines.join("\n"))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a small plot"
)]
fn place(value: f64, low: f64, high: f64, cells: usize) -> usize {
    if high > low { (((value - low) / (high - low)) * (cells - 1) as f64).round() as usize } else { 0 }
}

fn interval(gain: &Estimate) -> String {
    format!("{:+.1} [{:+.1}, {:+.1}]", 100.0 * gain.value, 100.0 * gain.lower, 100.0 * gain.upper)
}

fn table(found: &SearchReport) -> Table {
    let mut table = Table::new().column("point", Align::Left).column("weights", Align::Right);
    let cheap = || found.limits.iter().filter(|limit| limit.is == "at most");
    for limit in cheap() {
        table = table.column(&limit.name, Align::Right);
    }
    let of_controls = found.front.iter().any(|best| !best.controls.is_empty());
    for objective in &found.objectives {
        table = table.column(&format!("{}, tuning", objective.set), Align::Left);
        if found.is_confirmed {
            table = table.column(&format!("{}, held out", objective.set), Align::Left).column("Holm", Align::Right);
        }
        if of_controls {
            table = table.column("random", Align::Right);
        }
    }
    for best in &found.front {
        let mut cells = vec![best.name.clone(), best.weights.to_string()];
        let value = |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        cells.extend(best.cheap.iter().map(value));
        for (number, gain) in best.tuning.iter().enumerate() {
            cells.push(interval(gain));
            if found.is_confirmed {
                let confirmed = best.confirmed.get(number);
                cells.push(confirmed.map_or_else(|| "-".into(), |confirmed| interval(&confirmed.gain)));
                cells.push(confirmed.map_or_else(|| "-".into(), |confirmed| format!("{:.3}", confirmed.holm)));
            }
            if of_controls {
                let gains: Vec<f64> = best.controls.iter().filter_map(|gains| gains.get(number)).copied().collect();
                cells.push(mean(&gains).map_or_else(|| "-".into(), |gain| format!("{:+.1}", 100.0 * gain)));
            }
        }
        table.cells(cells);
    }
    table
}

fn notes(found: &SearchReport) -> String {
    let mut notes = Vec::new();
    match (found.front.is_empty(), found.is_confirmed) {
        (true, _) => notes.push("no point that was looked at holds all limits".to_owned()),
        (false, true) => {
            let sure = found.front.iter().filter(|best| best.confirmed.iter().any(|gain| gain.is_gain)).count();
            notes.push(format!(
                "tuning: the questions that the points were chosen on, so these gains are too large; held out: the others. \
                 {sure} of {} gain something there that is no accident (Holm's p-value below 5 %)",
                count(found.front.len(), "point")
            ));
        }
        (false, false) if found.stopped.is_none() => notes.push(
            "all gains are of the questions that the points were chosen on, so they are too large; \
             tune = 0.5 in [questions.NAME] holds some questions out"
                .to_owned(),
        ),
        (false, false) => {
            notes.push(
                "these gains are of the questions that the points were chosen on; nothing is confirmed yet".to_owned(),
            );
        }
    }
    match &found.versus {
        Some(versus) if versus.is_noise => notes.push(
            "random masks of the same sizes do as well: this front is noise, and says nothing of the rule".to_owned(),
        ),
        Some(versus) => notes.push(format!(
            "the front commands more than each of {} of random masks of the same sizes",
            count(versus.controls.len(), "round")
        )),
        None if found.stopped.is_none() && !found.front.is_empty() => {
            notes.push(
                "without random masks beside it (controls.random = 0), nobody knows whether this front is noise"
                    .to_owned(),
            );
        }
        None => {}
    }
    notes.extend(found.stopped.iter().map(|why| format!("this is the front so far: {why}")));
    notes.iter().map(|note| wrap(note, WIDTH, 2)).collect::<Vec<_>>().join("\n")
}
