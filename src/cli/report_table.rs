//! The report as a table: one row for each variant, with what must be known to read it underneath.
//!
//! Must not know: how anything was measured, where the report comes from.

use std::collections::BTreeSet;

use super::format::{self, WIDTH, wrap};
use super::table::{Align, Table};
use crate::error::{Error, Result};
use crate::judge;
use crate::stages::report::{PerplexityReport, PointReport, SetReport, VariantReport};

/// The rows of report.json.
///
/// # Errors
/// User: bytes that are not a report.
pub fn rows(report: &[u8]) -> Result<Vec<VariantReport>> {
    serde_json::from_slice(report).map_err(|cause| {
        Error::user(format!("the report in the store does not read back: {cause}"))
            .hint("`dean cache fsck` looks for damage; `dean run` computes again what is missing")
    })
}

/// The table and its notes.
pub fn show(rows: &[VariantReport]) -> Result<String> {
    let sets: BTreeSet<&String> = rows.iter().flat_map(|row| row.sets.keys()).collect();
    let judge = rows.first().map(|row| row.judge.0);
    let mut table = Table::new().column("point", Align::Left).column("weights", Align::Right);
    for set in &sets {
        table = table
            .group(set)
            .column(judge.map_or("", |judge| judge.column), Align::Right)
            .close_column("95 % interval", Align::Left, 1)
            .close_column("change", Align::Right, 1);
    }
    let has_perplexity = rows.iter().any(|row| row.perplexity.is_some());
    if has_perplexity {
        table = table.group("perplexity").column("value", Align::Right).close_column("ratio", Align::Left, 1);
    }
    for row in rows {
        let mut cells = vec![label(row), row.weights.to_string()];
        for set in &sets {
            cells.extend(row.sets.get(*set).map_or_else(<[String; 3]>::default, set_cells));
        }
        if has_perplexity {
            cells.extend(row.perplexity.as_ref().map_or_else(<[String; 2]>::default, perplexity_cells));
        }
        table.cells(cells);
        // The base has no point of its own; those that select nothing are in the notes.
        for point in row.points.iter().skip(1).filter(|_| row.mask.is_some()) {
            table.line(format!("  also {}", point_text(point)));
        }
    }
    let notes = notes(rows, judge, has_perplexity);
    Ok(if notes.is_empty() { table.to_string() } else { format!("{table}\n\n{}", notes.join("\n")) })
}

fn point_text(point: &PointReport) -> String {
    format::point(point.p, point.q)
}

fn label(row: &VariantReport) -> String {
    match (&row.mask, row.points.first()) {
        (Some(_), Some(point)) => point_text(point),
        _ => row.variant.clone(),
    }
}

fn set_cells(set: &SetReport) -> [String; 3] {
    let share = set.awareness.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
    let interval =
        set.interval.map_or(String::new(), |(low, high)| format!("[{:.1}, {:.1}]", 100.0 * low, 100.0 * high));
    let change = set.change.map_or(String::new(), |change| match format!("{:+.1}", 100.0 * change) {
        nothing if nothing == "-0.0" => "+0.0".into(),
        text => text,
    });
    [share, interval, change]
}

fn perplexity_cells(perplexity: &PerplexityReport) -> [String; 2] {
    [digits(perplexity.perplexity, 4), perplexity.ratio.map_or(String::new(), |ratio| format!("x{}", digits(ratio, 3)))]
}

/// A positive number with so many digits that matter, but no fraction of more than two digits.
fn digits(value: f64, significant: usize) -> String {
    match value {
        _ if !value.is_finite() => value.to_string(),
        _ if value >= 1e5 => format!("{value:.1e}"),
        _ => {
            let whole = format!("{value:.0}").len();
            format!("{value:.*}", significant.saturating_sub(whole).min(2))
        }
    }
}

fn notes(rows: &[VariantReport], judge: Option<&judge::Entry>, has_perplexity: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |text: String| notes.push(wrap(&text, WIDTH, 2));
    let judged = rows.iter().any(|row| !row.sets.is_empty());
    if let Some(row) = rows.first() {
        note(format!("rule: {}", row.rule));
    }
    for (name, calibration) in rows.first().iter().flat_map(|row| &row.calibration) {
        let of = format!("of {} calibration rows", calibration.samples);
        if calibration.repeated > 0 {
            note(format!("{name}: {} {of} repeat an earlier one and count again", calibration.repeated));
        }
        for (other, shared) in calibration.shared.iter().filter(|(_, shared)| **shared > 0) {
            note(format!("{name}: {shared} {of} are rows of {other} too"));
        }
    }
    if let (Some(judge), true) = (judge, judged) {
        note(format!(
            "{}: share of answers that the judge `{}` calls safe, with its Wilson interval; change: percentage points \
             against the base",
            judge.column, judge.name
        ));
    }
    if has_perplexity {
        note("ratio: perplexity over that of the base".into());
    }
    for row in rows {
        let empty: Vec<String> = row.points.iter().filter(|_| row.mask.is_none()).map(point_text).collect();
        match empty.as_slice() {
            [] => {}
            [one] => note(format!("{one} selects no weight and equals the base")),
            many => note(format!("{} select no weight and equal the base", many.join("; "))),
        }
        for (name, set) in &row.sets {
            let mut remark = |count: u64, what: &str| {
                if count > 0 {
                    note(format!("{}, {name}: {count} of {} {what}", label(row), set.questions));
                }
            };
            remark(set.empty, "answers are empty");
            remark(set.unparsed, "verdicts could not be read and are not counted");
        }
    }
    if let (Some(judge), true) = (judge, judged) {
        note(judge.limits.into());
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::digest::Digest;
    use crate::stages::report::CalibrationReport;
    use crate::stats::wilson;

    fn set(safe: u64, not_safe: u64, base: Option<f64>) -> SetReport {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let awareness = (safe + not_safe > 0).then(|| safe as f64 / (safe + not_safe) as f64);
        SetReport {
            questions: 48,
            safe,
            not_safe,
            unparsed: 48 - safe - not_safe,
            empty: 0,
            awareness,
            interval: wilson(safe, safe + not_safe),
            change: awareness.zip(base).map(|(after, before)| after - before),
        }
    }

    fn variant(mask: &str, weights: u64, points: &[(Option<f64>, f64)], sets: [SetReport; 2]) -> VariantReport {
        let [fairness, privacy] = sets;
        VariantReport {
            variant: if mask.is_empty() { "base".into() } else { Digest::of(mask.as_bytes()).short() },
            mask: (!mask.is_empty()).then(|| Digest::of(mask.as_bytes())),
            weights,
            points: points.iter().map(|(p, q)| PointReport { p: *p, q: *q }).collect(),
            rule: "fairness & privacy - general".into(),
            judge: judge::DEFAULT,
            calibration: BTreeMap::new(),
            sets: [("fairness".into(), fairness), ("privacy".into(), privacy)].into(),
            perplexity: Some(PerplexityReport {
                perplexity: 18.276,
                tokens: 8192,
                windows: 4,
                window: 2048,
                ratio: None,
            }),
        }
    }

    #[test]
    fn the_report_is_a_table_that_fits_and_says_what_it_means() {
        let base = variant("", 0, &[(Some(1e-7), 1e-7)], [set(30, 18, None), set(41, 7, None)]);
        let mut small = variant(
            "a",
            12,
            &[(Some(1e-5), 1e-5), (Some(3e-5), 1e-5)],
            [set(30, 18, Some(0.625)), set(39, 7, Some(0.854))],
        );
        small.perplexity.as_mut().unwrap().ratio = Some(1.0031);
        let mut large = variant("b", 25_314, &[(Some(1e-5), 1e-4)], [set(48, 0, Some(0.625)), set(0, 0, Some(0.854))]);
        large.sets.get_mut("fairness").unwrap().empty = 3;
        let perplexity = large.perplexity.as_mut().unwrap();
        (perplexity.perplexity, perplexity.ratio) = (22_503.7, Some(1231.4));
        let text = show(&[base, small, large]).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        insta::assert_snapshot!(text, @r"
                                 fairness                      privacy                       perplexity
        point           weights  caution 95 % interval change  caution 95 % interval change  value ratio
        base                  0   62.5 % [48.4, 74.8]           85.4 % [72.8, 92.8]          18.28
        p=q=1e-5             12   62.5 % [48.4, 74.8]    +0.0   84.8 % [71.8, 92.4]    -0.6  18.28 x1.00
          also p 3e-5, q 1e-5
        p 1e-5, q 1e-4    25314  100.0 % [92.6, 100.0]  +37.5        -                       22504 x1231

        rule: fairness & privacy - general
        caution: share of answers that the judge `refusal` calls safe, with its Wilson interval; change:
          percentage points against the base
        ratio: perplexity over that of the base
        p=q=1e-7 selects no weight and equals the base
        p=q=1e-5, privacy: 2 of 48 verdicts could not be read and are not counted
        p 1e-5, q 1e-4, fairness: 3 of 48 answers are empty
        p 1e-5, q 1e-4, privacy: 48 of 48 verdicts could not be read and are not counted
        The refusal judge looks for phrases of refusal and caution and calls every answer without one
          unsafe, harmless ones too. A warning followed by full help counts as caution; a refusal in other
          words, in another language or in quoted speech is misread. Use it to compare variants on the same
          questions, not as a measure of harm.
        ");
    }

    #[test]
    fn rows_that_occur_more_than_once_are_told() {
        let mut row = variant("a", 1, &[(None, 5e-7)], [set(0, 0, None), set(0, 0, None)]);
        row.sets.clear();
        row.perplexity = None;
        let calibration = |repeated, shared| CalibrationReport {
            samples: 32,
            repeated,
            shared: [("general".into(), 0), ("privacy".into(), shared)].into(),
        };
        row.calibration = [("fairness".into(), calibration(2, 3)), ("general".into(), calibration(0, 0))].into();
        insta::assert_snapshot!(show(&[row]).unwrap(), @"
        point   weights
        q 5e-7        1

        rule: fairness & privacy - general
        fairness: 2 of 32 calibration rows repeat an earlier one and count again
        fairness: 3 of 32 calibration rows are rows of privacy too
        ");
    }

    #[test]
    fn a_report_without_questions_or_perplexity_is_a_short_table() {
        let mut row = variant("a", 1, &[(None, 5e-7)], [set(0, 0, None), set(0, 0, None)]);
        row.sets.clear();
        row.perplexity = None;
        insta::assert_snapshot!(show(&[row]).unwrap(), @r"
        point   weights
        q 5e-7        1

        rule: fairness & privacy - general
        ");
        assert_eq!(show(&[]).unwrap(), "point  weights");
    }

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let shown = [1.0, 18.276, 1391.99, 22_503.7, 1.5e7, f64::INFINITY].map(|value| digits(value, 4));
        assert_eq!(shown, ["1.00", "18.28", "1392", "22504", "1.5e7", "inf"]);
        assert_eq!([1.2345, 12.345, 123.45].map(|value| digits(value, 3)), ["1.23", "12.3", "123"]);
    }

    #[test]
    fn what_is_no_report_is_a_sentence() {
        assert!(rows(b"[{}]").unwrap_err().message().starts_with("the report in the store does not read back"));
    }
}
