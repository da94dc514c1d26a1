//! The notes under a report: what must be known to read the table, and what it does not show.
//!
//! Must not know: how wide the text is, how anything was measured.

use super::columns::{Block, is_noise};
use super::numbers::{percent, some};
use super::{label, point_text};
use crate::rank::draw_of;
use crate::report::facts::{CalibrationReport, VariantReport};
use crate::report::measures::{Better, Measure, Summary};
use crate::report::paired::Paired;
use crate::stats;

/// All notes, each a sentence or several.
pub fn notes(rows: &[VariantReport], blocks: &[Block]) -> Vec<String> {
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
    blocks.iter().for_each(|block| once(&mut notes, meaning(&block.measure)));
    notes.extend(comparison(rows, blocks));
    notes.extend(visible(rows, blocks));
    notes.extend(equivalence(rows, blocks));
    blocks.iter().for_each(|block| once(&mut notes, large_portion(rows, &block.measure)));
    for row in rows {
        let empty: Vec<String> = row.points.iter().filter(|_| row.mask.is_none()).map(point_text).collect();
        match empty.as_slice() {
            [] => {}
            [one] => notes.push(format!("{one} selects no weight and equals the base")),
            many => notes.push(format!("{} select no weight and equal the base", many.join("; "))),
        }
        notes.extend(blocks.iter().filter_map(|block| remark(block, row)));
    }
    blocks.iter().for_each(|block| once(&mut notes, block.measure.limits.map(str::to_owned)));
    notes
}

/// What a measure's values are.
fn meaning(measure: &Measure) -> Option<String> {
    let Measure { title, better, .. } = measure;
    let text = match &measure.summary {
        Summary::Share { of } => format!("{title}: share of {of}"),
        Summary::Mean => format!("{title}: mean over the rows"),
        Summary::Distance { of } => {
            format!("{title}: divergence of {of}: mean over the questions, and 95th percentile")
        }
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

/// Every comparison that is shown, with its measure.
fn compared<'a>(rows: &'a [VariantReport], blocks: &'a [Block]) -> impl Iterator<Item = (&'a Measure, &'a Paired)> {
    let of_block = move |block: &'a Block| {
        rows.iter().filter_map(move |row| Some((&block.measure, block.find(row)?.paired.as_ref()?)))
    };
    blocks.iter().filter(|block| block.is_compared()).flat_map(of_block)
}

/// What changes, flips and p-values are, and what the marks mean.
fn comparison(rows: &[VariantReport], blocks: &[Block]) -> Vec<String> {
    let mut notes = Vec::new();
    let all: Vec<_> = compared(rows, blocks).collect();
    if all.is_empty() {
        return notes;
    }
    let masks = rows.iter().filter(|row| row.mask.is_some() && !row.points.is_empty()).count();
    let corrected = match masks {
        0 | 1 => String::new(),
        masks => format!(", corrected by Holm for {masks} masks"),
    };
    // A control is not one of the masks that were tried for an effect.
    let corrected = match all.iter().any(|(_, pair)| pair.p.is_some() && pair.holm.is_none()) && masks > 1 {
        true => format!("{corrected} (not that of controls)"),
        false => corrected,
    };
    if all.iter().any(|(measure, _)| matches!(measure.summary, Summary::Share { .. })) {
        notes.push(format!(
            "change: percentage points against the base, with Newcombe's 95 % interval for pairs; flips: verdicts lost and won; p: \
             McNemar's exact test{corrected}"
        ));
    }
    if all.iter().any(|(measure, _)| !measure.summary.is_yes_or_no()) {
        notes.push(format!(
            "change and ratio of a mean: with the 95 % interval of the rows' paired differences; p: Student's test of these{corrected}"
        ));
    }
    if all.iter().any(|(_, pair)| pair.significant) {
        notes.push("*: significant: p is below .05, and drawing the rows anew excludes that nothing changed".into());
    }
    if rows.iter().any(|row| is_noise(row, blocks)) {
        notes.push("~: nothing in this row is significant; its changes may be noise".into());
    }
    notes
}

/// The share of verdicts that are taken to flip, where it is said how small a change would be seen.
const FLIPPING: f64 = 0.2;

/// The smallest difference that could have been seen, for each set.
fn visible(rows: &[VariantReport], blocks: &[Block]) -> Option<String> {
    let one = |block: &Block| {
        let pairs = || rows.iter().filter_map(|row| block.find(row)?.paired.as_ref());
        let Measure { title, summary, .. } = &block.measure;
        if summary.is_yes_or_no() {
            let rows = pairs().map(|pair| pair.rows).max()?;
            let points = 100.0 * stats::visible_share(rows, FLIPPING)?;
            return Some(format!("{} {points:.1} points ({rows} questions)", block.set));
        }
        let of = pairs().filter_map(|pair| Some((pair.visible?, pair.rows)));
        let (least, rows) = of.min_by(|one, other| one.0.total_cmp(&other.0))?;
        Some(match summary.is_compared_by_ratio() {
            true => format!("{title} {:.1} % ({rows} windows)", 100.0 * (least - 1.0)),
            false => format!("{}, {title} {least:.3} ({rows} rows)", block.set),
        })
    };
    let mut all: Vec<String> = Vec::new();
    for text in blocks.iter().filter(|block| block.is_compared()).filter_map(one) {
        // Several judges of one set see equally much.
        if !all.contains(&text) {
            all.push(text);
        }
    }
    (!all.is_empty()).then(|| {
        format!(
            "smallest true change that would be seen in 80 of 100 such measurements (of verdicts, if a fifth of them flips): {}",
            all.join("; ")
        )
    })
}

/// For which variants it is shown that hardly anything changed.
fn equivalence(rows: &[VariantReport], blocks: &[Block]) -> Option<String> {
    let with_margin = || blocks.iter().filter(|block| block.is_compared() && block.measure.summary.margin().is_some());
    let one = |block: &Block| {
        let pairs = rows.iter().filter_map(|row| Some((row, block.find(row)?.paired.as_ref()?)));
        let pairs: Vec<_> = pairs.filter(|(_, pair)| pair.rows > 0).collect();
        let within = pairs.iter().filter(|(_, pair)| pair.is_within_margin());
        let within: Vec<String> = within.map(|(row, _)| label(row)).collect();
        let several = with_margin().filter(|other| other.set == block.set).count() > 1;
        let what = match block.measure.summary {
            Summary::ExpMean { .. } => block.above(blocks),
            _ if several => format!("{}, {}", block.set, block.measure.title),
            _ => block.set.clone(),
        };
        let shown = match within.as_slice() {
            [] => "none".to_owned(),
            all if all.len() == pairs.len() && all.len() > 1 => "all".to_owned(),
            some => self::some(some),
        };
        (!pairs.is_empty()).then(|| format!("{what}: {shown}"))
    };
    let all: Vec<String> = with_margin().filter_map(one).collect();
    let margin = |is_it: fn(&Summary) -> bool| {
        with_margin().map(|block| &block.measure.summary).find(|summary| is_it(summary)).and_then(Summary::margin)
    };
    let margins: Vec<String> = [
        margin(Summary::is_yes_or_no).map(|margin| format!("a share within {} points", 100.0 * margin)),
        margin(Summary::is_compared_by_ratio).map(|margin| format!("a perplexity within a factor of {margin}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!all.is_empty())
        .then(|| format!("shown to stay as it was (two one-sided tests: {}): {}", margins.join(", "), all.join("; ")))
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
        "{}: more than {} % in {large} of {} places, at most {} ({label}, {set}): {advice}",
        measure.title,
        many,
        all.len(),
        percent(*share, 0)
    ))
}

/// What a variant's number does not show.
fn remark(block: &Block, row: &VariantReport) -> Option<String> {
    let found = block.find(row)?;
    let (count, what) = match block.measure.summary {
        Summary::Flaw { told } => (found.count.unwrap_or_default(), told),
        Summary::Portion { .. } | Summary::Detail => return None,
        Summary::Share { .. } | Summary::Mean | Summary::Distance { .. } | Summary::ExpMean { .. } => {
            (found.unread, block.measure.unread)
        }
    };
    (count > 0).then(|| format!("{}, {}: {count} of {} {what}", label(row), block.set, found.rows))
}

/// Calibration rows that occur more than once.
fn repeated(name: &str, calibration: &CalibrationReport, notes: &mut Vec<String>) {
    let of = format!("of {} calibration rows", calibration.samples);
    if calibration.repeated > 0 {
        notes.push(format!("{name}: {} {of} repeat an earlier one and count again", calibration.repeated));
    }
    // Draws of one set are drawn from the same rows.
    let is_other = |other: &str| draw_of(other).0 != draw_of(name).0;
    for (other, shared) in calibration.shared.iter().filter(|(other, shared)| **shared > 0 && is_other(other)) {
        notes.push(format!("{name}: {shared} {of} are rows of {other} too"));
    }
}
