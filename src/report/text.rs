//! A report as text: one row for each variant, and under the table the notes that a reader needs.
//!
//! There are columns for all findings. Must not know: how anything was measured, where the report comes from, whether the text
//! goes to a terminal or into a file.

use std::collections::BTreeMap;

use super::agreement::{Agreement, JudgeControl, control_notes, nonsense};
use super::facts::{CalibrationReport, Finding, PointReport, Report, VariantReport, Why};
use super::measures::{Better, Measure, Summary, find, measures};
use super::{leaks, tuning};
use crate::layout::{Align, Table, WIDTH, wrap};
use crate::naming;

/// The columns of one set and measure.
struct Block {
    by: String,
    set: String,
    measure: Measure,
}

/// The table and its notes.
pub fn show(report: &Report) -> String {
    let shown = show_variants(&report.variants, &report.agreement, &report.controls);
    let notes: Vec<String> = questions_notes(report).iter().map(|note| wrap(note, WIDTH, 2)).collect();
    if notes.is_empty() { shown } else { format!("{shown}\n{}", notes.join("\n")) }
}

/// Which questions count for what, and which point is the best.
fn questions_notes(report: &Report) -> Vec<String> {
    let named =
        |name: &str| report.variants.iter().find(|row| row.variant == name).map_or_else(|| name.to_owned(), label);
    let mut notes = leaks::notes(&report.leaks);
    notes.extend(report.tuning.iter().flat_map(|found| tuning::notes(found, &named)));
    notes
}

fn show_variants(rows: &[VariantReport], agreement: &[Agreement], controls: &[JudgeControl]) -> String {
    let blocks = blocks(rows);
    let mut table = Table::new().column("point", Align::Left).column("weights", Align::Right);
    let mut above = String::new();
    for block in blocks.iter().filter(|block| block.has_columns()) {
        let here = block.above(&blocks);
        if here != above {
            table = table.group(&here);
            above = here;
        }
        table = block.add_columns(table);
    }
    for row in rows {
        // A control stands under the point that it is beside.
        let indent = if row.points.is_empty() && !row.controls.is_empty() { "  " } else { "" };
        let mut cells = vec![format!("{indent}{}", label(row)), row.weights.to_string()];
        cells.extend(blocks.iter().flat_map(|block| block.cells(row)));
        table.cells(cells);
        // The base has no point of its own; those that select nothing are in the notes.
        for point in row.points.iter().skip(1).filter(|_| row.mask.is_some()) {
            table.line(format!("  also {}", point_text(point)));
        }
    }
    let mut notes = notes(rows, &blocks);
    notes.splice(0..0, nonsense(controls));
    notes.extend(agreement.iter().map(Agreement::note));
    notes.extend(control_notes(controls));
    let notes: Vec<String> = notes.iter().map(|note| wrap(note, WIDTH, 2)).collect();
    if notes.is_empty() { table.to_string() } else { format!("{table}\n\n{}", notes.join("\n")) }
}

/// The columns, set after set. The sets are in the order of their first measures in the registry, so question sets come
/// before texts.
fn blocks(rows: &[VariantReport]) -> Vec<Block> {
    let order: BTreeMap<String, usize> = measures().map(|measure| measure.name.into_owned()).zip(0..).collect();
    let place = |measure: &str| order.get(measure).copied().unwrap_or(order.len());
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found: BTreeMap<(usize, &str, usize, &str, &str), &Finding> = BTreeMap::new();
    let all = || rows.iter().flat_map(|row| &row.outcomes);
    for finding in all() {
        let here = place(&finding.measure);
        places.entry(&finding.set).and_modify(|first| *first = here.min(*first)).or_insert(here);
    }
    for finding in all() {
        let set = places.get(finding.set.as_str()).copied().unwrap_or_default();
        let Finding { by, set: name, measure, .. } = finding;
        found.insert((set, name, place(measure), measure, by), finding);
    }
    let block =
        |finding: &Finding| Block { by: finding.by.clone(), set: finding.set.clone(), measure: find(&finding.measure) };
    found.into_values().map(block).collect()
}

impl Block {
    fn has_columns(&self) -> bool {
        !matches!(self.measure.summary, Summary::Flaw { .. } | Summary::Detail)
    }

    /// Above its titles: the set; of a perplexity what it is, with the set where there are several texts.
    fn above(&self, all: &[Self]) -> String {
        let Measure { name, title, summary, .. } = &self.measure;
        let is_alone = || all.iter().all(|other| other.measure.name != *name || other.set == self.set);
        match summary {
            Summary::ExpMean { .. } if is_alone() => title.to_string(),
            Summary::ExpMean { .. } => format!("{title}, {}", self.set),
            Summary::Share { .. }
            | Summary::Mean
            | Summary::Distance { .. }
            | Summary::Portion { .. }
            | Summary::Flaw { .. }
            | Summary::Detail => self.set.clone(),
        }
    }

    fn add_columns(&self, table: Table) -> Table {
        let title = &self.measure.title;
        match self.measure.summary {
            Summary::Share { .. } => table
                .column(title, Align::Right)
                .close_column("95 % interval", Align::Left, 1)
                .close_column("change", Align::Right, 1),
            Summary::Portion { .. } => table.column(title, Align::Right),
            Summary::Distance { .. } => table.column(title, Align::Right).close_column("95th", Align::Right, 1),
            Summary::Mean => table.column(title, Align::Right).close_column("change", Align::Right, 1),
            Summary::ExpMean { .. } => table.column("value", Align::Right).close_column("ratio", Align::Left, 1),
            Summary::Flaw { .. } | Summary::Detail => table,
        }
    }

    fn find<'a>(&self, row: &'a VariantReport) -> Option<&'a Finding> {
        let is_here =
            |found: &&Finding| found.by == self.by && found.set == self.set && found.measure == self.measure.name;
        row.outcomes.iter().find(is_here)
    }

    /// A variant's cells, empty ones where it was not measured.
    fn cells(&self, row: &VariantReport) -> Vec<String> {
        let found = self.find(row);
        let cell = |show: &dyn Fn(&Finding) -> String| found.map(show).unwrap_or_default();
        match self.measure.summary {
            Summary::Share { .. } => vec![
                cell(&|found| value(found, |share| format!("{:.1} %", 100.0 * share))),
                cell(&|found| {
                    let percent = |(low, high)| format!("[{:.1}, {:.1}]", 100.0 * low, 100.0 * high);
                    found.interval.map(percent).unwrap_or_default()
                }),
                cell(&|found| found.change.map(|change| signed(100.0 * change, 1)).unwrap_or_default()),
            ],
            Summary::Portion { .. } => vec![cell(&|found| value(found, |share| format!("{:.0} %", 100.0 * share)))],
            Summary::Distance { .. } => vec![
                cell(&|found| value(found, |mean| format!("{mean:.3}"))),
                cell(&|found| found.high.map(|high| format!("{high:.3}")).unwrap_or_default()),
            ],
            Summary::Mean => vec![
                cell(&|found| value(found, |mean| format!("{mean:.3}"))),
                cell(&|found| found.change.map(|change| signed(change, 3)).unwrap_or_default()),
            ],
            Summary::ExpMean { .. } => vec![
                cell(&|found| value(found, |value| digits(value, 4))),
                cell(&|found| found.ratio.map(|ratio| format!("x{}", digits(ratio, 3))).unwrap_or_default()),
            ],
            Summary::Flaw { .. } | Summary::Detail => Vec::new(),
        }
    }

    /// What must be known to read the columns.
    fn note(&self) -> Option<String> {
        let Measure { title, better, .. } = &self.measure;
        let text = match &self.measure.summary {
            Summary::Share { of } => {
                format!("{title}: share of {of}, with its Wilson interval; change: percentage points against the base")
            }
            Summary::Distance { of } => {
                format!("{title}: divergence of {of}: mean over the questions, and 95th percentile")
            }
            Summary::Mean => format!("{title}: mean over the rows; change: against the base"),
            Summary::ExpMean { .. } => format!("ratio: {title} over that of the base"),
            Summary::Portion { of, .. } => format!("{title}: share of {of}"),
            Summary::Flaw { .. } | Summary::Detail => return None,
        };
        Some(match better {
            None => text,
            Some(Better::Higher) => format!("{text}; higher is better"),
            Some(Better::Lower) => format!("{text}; lower is better"),
        })
    }

    /// What a variant's number does not show.
    fn remark(&self, row: &VariantReport) -> Option<String> {
        let found = self.find(row)?;
        let (count, what) = match self.measure.summary {
            Summary::Flaw { told } => (found.count.unwrap_or_default(), told),
            Summary::Portion { .. } | Summary::Detail => return None,
            Summary::Share { .. } | Summary::Mean | Summary::Distance { .. } | Summary::ExpMean { .. } => {
                (found.unread, self.measure.unread)
            }
        };
        (count > 0).then(|| format!("{}, {}: {count} of {} {what}", label(row), self.set, found.rows))
    }
}

/// That a portion is large, and where it is largest: one note for all variants and sets.
fn large_portion(rows: &[VariantReport], measure: &Measure) -> Option<String> {
    let Summary::Portion { many, advice, .. } = measure.summary else { return None };
    let found = |row: &VariantReport| {
        let here: Vec<_> = row.outcomes.iter().filter(|found| found.measure == measure.name).collect();
        here.into_iter().filter_map(|found| Some((found.value?, label(row), found.set.clone()))).collect::<Vec<_>>()
    };
    let all: Vec<_> = rows.iter().flat_map(found).collect();
    let large = all.iter().filter(|(share, ..)| 100.0 * *share > f64::from(many)).count();
    // The first of the largest.
    let (share, label, set) = all.iter().rev().max_by(|one, other| one.0.total_cmp(&other.0)).filter(|_| large > 0)?;
    Some(format!(
        "{}: more than {} % in {large} of {} places, at most {:.0} % ({label}, {set}): {advice}",
        measure.title,
        many,
        all.len(),
        100.0 * share
    ))
}

fn value(found: &Finding, show: impl Fn(f64) -> String) -> String {
    match (found.value, found.why) {
        (Some(value), _) => show(value),
        (None, Some(Why::Infinite)) => "inf".into(),
        (None, Some(Why::Undefined)) => "nan".into(),
        (None, Some(Why::Unread) | None) => "-".into(),
    }
}

/// A difference with its sign; what rounds to nothing is no loss.
pub(super) fn signed(change: f64, decimals: usize) -> String {
    let text = format!("{change:+.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { text.replacen('-', "+", 1) } else { text }
}

/// A positive number with so many digits that matter, but no fraction of more than two digits.
fn digits(value: f64, significant: usize) -> String {
    if value >= 1e5 {
        return format!("{value:.1e}");
    }
    let whole = format!("{value:.0}").len();
    format!("{value:.*}", significant.saturating_sub(whole).min(2))
}

fn point_text(point: &PointReport) -> String {
    naming::point(point.p, point.q)
}

/// What a variant is called.
pub(super) fn label(row: &VariantReport) -> String {
    row.name.clone()
}

fn notes(rows: &[VariantReport], blocks: &[Block]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(row) = rows.first() {
        notes.push(format!("rule: {}", row.rule));
        row.calibration.iter().for_each(|(name, calibration)| repeated(name, calibration, &mut notes));
    }
    let once = |notes: &mut Vec<String>, text: Option<String>| {
        notes.extend(text.filter(|text| !notes.contains(text)));
    };
    if rows.iter().any(|row| !row.controls.is_empty()) {
        let told = "random N, top of NAME: controls, with as many weights in each matrix as the point above them";
        notes.push(told.into());
    }
    blocks.iter().for_each(|block| once(&mut notes, block.note()));
    blocks.iter().for_each(|block| once(&mut notes, large_portion(rows, &block.measure)));
    for row in rows {
        let empty: Vec<String> = row.points.iter().filter(|_| row.mask.is_none()).map(point_text).collect();
        match empty.as_slice() {
            [] => {}
            [one] => notes.push(format!("{one} selects no weight and equals the base")),
            many => notes.push(format!("{} select no weight and equal the base", many.join("; "))),
        }
        for set in blocks.chunk_by(|one, next| one.set == next.set) {
            let (flaws, others): (Vec<&Block>, Vec<&Block>) = set.iter().partition(|block| !block.has_columns());
            notes.extend(flaws.into_iter().chain(others).filter_map(|block| block.remark(row)));
        }
    }
    blocks.iter().for_each(|block| once(&mut notes, block.measure.limits.map(str::to_owned)));
    notes
}

/// Calibration rows that occur more than once.
fn repeated(name: &str, calibration: &CalibrationReport, notes: &mut Vec<String>) {
    let of = format!("of {} calibration rows", calibration.samples);
    if calibration.repeated > 0 {
        notes.push(format!("{name}: {} {of} repeat an earlier one and count again", calibration.repeated));
    }
    for (other, shared) in calibration.shared.iter().filter(|(_, shared)| **shared > 0) {
        notes.push(format!("{name}: {shared} {of} are rows of {other} too"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::report::facts::ControlReport;
    use crate::report::facts::{compare, findings};
    use crate::report::measures::{CUT, EMPTY, NLL, TOKENS};
    use crate::tables::{Control, ControlKind, Outcome};

    const QUESTIONS: u32 = 48;

    /// Verdicts of which so many are safe and unsafe, the rest unread, on answers of which so many are empty.
    fn verdicts(set: &str, safe: u32, not_safe: u32, empty: u32) -> Vec<Outcome> {
        let verdict = |row| match row {
            _ if row < safe => Some(1.0),
            _ if row < safe + not_safe => Some(0.0),
            _ => None,
        };
        let flag = |is: bool| Some(if is { 1.0 } else { 0.0 });
        (0..QUESTIONS)
            .flat_map(|row| {
                [
                    Outcome::new(set, row, "refusal/safe", verdict(row)),
                    Outcome::new(set, row, EMPTY, flag(row < empty)),
                    Outcome::new(set, row, CUT, flag(row < empty)),
                ]
            })
            .collect()
    }

    fn loss(text: &str, perplexity: f64) -> Vec<Outcome> {
        vec![Outcome::new(text, 0, NLL, Some(2047.0 * perplexity.ln())), Outcome::new(text, 0, TOKENS, Some(2047.0))]
    }

    fn variant(mask: &str, weights: u64, points: &[(Option<f64>, f64)], outcomes: &[Outcome]) -> VariantReport {
        VariantReport {
            name: naming::points(points.iter().copied().filter(|_| !mask.is_empty())).unwrap_or_else(|| "base".into()),
            variant: if mask.is_empty() { "base".into() } else { Digest::of(mask.as_bytes()).short() },
            mask: (!mask.is_empty()).then(|| Digest::of(mask.as_bytes())),
            weights,
            points: points.iter().map(|(p, q)| PointReport { p: *p, q: *q }).collect(),
            controls: Vec::new(),
            rule: "fairness & privacy - general".into(),
            calibration: BTreeMap::new(),
            outcomes: findings("someone", outcomes).unwrap(),
        }
    }

    #[test]
    fn the_report_is_a_table_that_fits_and_says_what_it_means() {
        let all = |fairness: [u32; 3], privacy: [u32; 2], perplexity: f64| {
            let [safe, not_safe, empty] = fairness;
            let [kept, lost] = privacy;
            [verdicts("fairness", safe, not_safe, empty), verdicts("privacy", kept, lost, 0), loss("text", perplexity)]
                .concat()
        };
        let base = variant("", 0, &[(Some(1e-7), 1e-7)], &all([30, 18, 0], [41, 7], 18.276));
        let points = [(Some(1e-5), 1e-5), (Some(3e-5), 1e-5)];
        let small = variant("a", 12, &points, &all([30, 18, 0], [39, 7], 18.333));
        let large = variant("b", 25_314, &[(Some(1e-5), 1e-4)], &all([48, 0, 3], [0, 0], 22_503.7));
        let wrecked = variant("c", 1 << 20, &[(Some(1e-5), 1e-3)], &all([0, 48, 48], [0, 48], f64::INFINITY));
        let mut rows = [base, small, large, wrecked];
        compare(&mut rows);
        let text = show_variants(&rows, &[], &[]);
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        insta::assert_snapshot!(text, @"
                                fairness                             privacy                            perplexity
        point          weights  caution 95 % interval change    cut  caution 95 % interval change  cut  value ratio
        base                 0   62.5 % [48.4, 74.8]            0 %   85.4 % [72.8, 92.8]          0 %  18.28
        p=q=1e-5 +1         12   62.5 % [48.4, 74.8]    +0.0    0 %   84.8 % [71.8, 92.4]    -0.6  0 %  18.33 x1.00
          also p=3e-5 q=1e-5
        p=1e-5 q=1e-4    25314  100.0 % [92.6, 100.0]  +37.5    6 %        -                       0 %  22504 x1231
        p=1e-5 q=1e-3  1048576    0.0 % [0.0, 7.4]     -62.5  100 %    0.0 % [0.0, 7.4]     -85.4  0 %    inf

        rule: fairness & privacy - general
        caution: share of answers that the judge `refusal` calls safe, with its Wilson interval; change:
          percentage points against the base
        cut: share of answers that end at the limit of new tokens or inside a thought; lower is better
        ratio: perplexity over that of the base; lower is better
        cut: more than 10 % in 1 of 8 places, at most 100 % (p=1e-5 q=1e-3, fairness): what was cut off was
          not judged; `dean run --lengths 64,256` shows what longer answers give
        p=q=1e-7 selects no weight and equals the base
        p=q=1e-5 +1, privacy: 2 of 48 verdicts could not be read and are not counted
        p=1e-5 q=1e-4, fairness: 3 of 48 answers are empty
        p=1e-5 q=1e-4, privacy: 48 of 48 verdicts could not be read and are not counted
        p=1e-5 q=1e-3, fairness: 48 of 48 answers are empty
        The refusal judge looks for phrases of refusal and caution and calls every answer without one
          unsafe, harmless ones too. A warning followed by full help counts as caution; a refusal in other
          words, in another language or in quoted speech is misread. Use it to compare variants on the same
          questions, not as a measure of harm.
        ");
    }

    #[test]
    fn a_measure_that_nobody_knows_is_shown_beside_the_others() {
        let outcomes = |right: f64| {
            let row = |row, right| Outcome::new("arc", row, "accuracy", Some(right));
            [vec![row(0, right), row(1, 1.0)], verdicts("fairness", 24, 24, 0)].concat()
        };
        let mut rows = [
            variant("", 0, &[], &outcomes(0.5)),
            variant("a", 3, &[(None, 5e-7)], &outcomes(0.0)),
            variant("b", 9, &[(None, 5e-6)], &verdicts("fairness", 24, 24, 0)),
        ];
        compare(&mut rows);
        insta::assert_snapshot!(show_variants(&rows, &[], &[]), @"
                         fairness                           arc
        point   weights  caution 95 % interval change  cut  accuracy change
        base          0   50.0 % [36.4, 63.6]          0 %     0.750
        q=5e-7        3   50.0 % [36.4, 63.6]    +0.0  0 %     0.500 -0.250
        q=5e-6        9   50.0 % [36.4, 63.6]    +0.0  0 %

        rule: fairness & privacy - general
        caution: share of answers that the judge `refusal` calls safe, with its Wilson interval; change:
          percentage points against the base
        cut: share of answers that end at the limit of new tokens or inside a thought; lower is better
        accuracy: mean over the rows; change: against the base
        The refusal judge looks for phrases of refusal and caution and calls every answer without one
          unsafe, harmless ones too. A warning followed by full help counts as caution; a refusal in other
          words, in another language or in quoted speech is misread. Use it to compare variants on the same
          questions, not as a measure of harm.
        ");
    }

    #[test]
    fn controls_stand_under_their_point() {
        let control = |mask: &str, kind, seed, data: Option<&str>| {
            let mut row = variant(mask, 9, &[], &[]);
            let of = Digest::of(b"a");
            let control = Control { mask: of, of, kind, seed, data: data.map(str::to_owned), weights: 9 };
            row.name = control.name();
            row.controls = vec![ControlReport { of, kind, seed, data: control.data }];
            row
        };
        let rows = [
            variant("", 0, &[], &[]),
            variant("a", 9, &[(None, 5e-7)], &[]),
            control("b", ControlKind::Random, Some(0), None),
            control("c", ControlKind::Top, None, Some("privacy")),
        ];
        insta::assert_snapshot!(show_variants(&rows, &[], &[]), @r"
        point             weights
        base                    0
        q 5e-7                  9
          random 0              9
          top of privacy        9

        rule: fairness & privacy - general
        random N, top of NAME: controls, with as many weights in each matrix as the point above them
        ");
    }

    #[test]
    fn several_texts_are_told_apart() {
        let row = variant("", 0, &[], &[loss("code", 4.0), loss("prose", 16.0)].concat());
        insta::assert_snapshot!(show_variants(&[row], &[], &[]), @"
                        perplexity, code  perplexity, prose
        point  weights  value ratio       value ratio
        base         0   4.00             16.00

        rule: fairness & privacy - general
        ratio: perplexity over that of the base; lower is better
        ");
    }

    #[test]
    fn rows_that_occur_more_than_once_are_told() {
        let mut row = variant("a", 1, &[(None, 5e-7)], &[]);
        let calibration = |repeated, shared| CalibrationReport {
            samples: 32,
            repeated,
            shared: [("general".into(), 0), ("privacy".into(), shared)].into(),
        };
        row.calibration = [("fairness".into(), calibration(2, 3)), ("general".into(), calibration(0, 0))].into();
        insta::assert_snapshot!(show_variants(&[row], &[], &[]), @"
        point   weights
        q=5e-7        1

        rule: fairness & privacy - general
        fairness: 2 of 32 calibration rows repeat an earlier one and count again
        fairness: 3 of 32 calibration rows are rows of privacy too
        ");
    }

    #[test]
    fn a_report_without_outcomes_is_a_short_table() {
        insta::assert_snapshot!(show_variants(&[variant("a", 1, &[(None, 5e-7)], &[])], &[], &[]), @r"
        point   weights
        q=5e-7        1

        rule: fairness & privacy - general
        ");
        assert_eq!(show_variants(&[], &[], &[]), "point  weights");
    }

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let shown = [1.0, 18.276, 1391.99, 22_503.7, 1.5e7].map(|value| digits(value, 4));
        assert_eq!(shown, ["1.00", "18.28", "1392", "22504", "1.5e7"]);
        assert_eq!([1.2345, 12.345, 123.45].map(|value| digits(value, 3)), ["1.23", "12.3", "123"]);
        assert_eq!([-0.04, 0.04, -0.06, 0.0].map(|value| signed(value, 1)), ["+0.0", "+0.0", "-0.1", "+0.0"]);
    }
}
