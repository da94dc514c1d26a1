//! What a reader may conclude, and what not, in sentences that carry their intervals.
//!
//! Nothing is called significant here without its interval, and nothing is called the same that was not tested to be. Must not
//! know: how a page looks.

use super::front::{Axes, Kind, is_verdict, places, verdict};
use super::shape::Claim;
use crate::report::measures::{Measure, Summary};
use crate::report::text::columns::{Block, blocks};
use crate::report::text::numbers::{digits, interval, p_value, percent, ratio, signed, some};
use crate::report::tuning::TuningReport;
use crate::report::{Finding, Report, VariantReport};
use crate::tables::ControlKind;

/// Which point to take: a heading, and the sentences below it.
pub fn advice(report: &Report, looked_at: Option<usize>, axes: &[Axes]) -> (String, Vec<String>) {
    let tried = report.variants.iter().filter(|row| row.mask.is_some() && !row.points.is_empty()).count();
    let Some(variant) = looked_at.and_then(|number| report.variants.get(number)) else {
        return ("There is no point to take yet.".into(), vec!["Nothing but the base was measured.".into()]);
    };
    let front: Vec<String> = axes.iter().take(1).flat_map(|axes| names(report, axes, Kind::Front)).collect();
    let mut sentences = Vec::new();
    let best = report.tuning.as_ref().filter(|tuning| tuning.best.is_some());
    let heading = match best {
        Some(tuning) => {
            sentences.push(chosen(tuning, tried));
            // The largest of several gains that are all noise is larger than nothing.
            let noise = tuning.best.as_ref().zip(tuning.cost).is_some_and(|(best, cost)| best.gain <= cost.expected);
            match noise {
                true => format!("No point is shown to be better than the base. {} has the largest gain.", variant.name),
                false => format!("{} is the best of {tried} by the goals that were set.", variant.name),
            }
        }
        None if tried > 1 => {
            let goals = report.tuning.as_ref().is_some_and(|tuning| tuning.variants > 0);
            sentences.push(match goals {
                true => "By the goals that were set, no point is better than the base.".to_owned(),
                false => "No goals were set for the questions, so nothing was chosen by them.".to_owned(),
            });
            format!("{} is looked at in detail. It is not a recommendation.", variant.name)
        }
        None => format!("{} is the only point that was tried.", variant.name),
    };
    if let (Some(axes), false) = (axes.first(), front.is_empty()) {
        let [one, other] = &axes.sets;
        sentences.push(format!(
            "On the front, where no other point is at least as high on both {one} and {other}: {}. The front is made of estimates: with \
             other questions other points would be on it.",
            some(&front)
        ));
    }
    sentences.extend(axes.iter().take(1).filter_map(|axes| beside_controls(report, axes, variant)));
    (heading, sentences)
}

fn names(report: &Report, axes: &Axes, kind: Kind) -> Vec<String> {
    let places = places(report, axes).into_iter().filter(|place| place.kind == kind);
    places.filter_map(|place| report.variants.get(place.variant)).map(|row| row.name.clone()).collect()
}

/// What the number of the best point is worth.
fn chosen(tuning: &TuningReport, tried: usize) -> String {
    let points = |gain: f64| signed(100.0 * gain, 1);
    let Some(best) = &tuning.best else { return String::new() };
    match (&tuning.cost, best.testing) {
        (Some(cost), _) => format!(
            "Its gain, {} points, is a tuning number: it was chosen on the very questions that it is measured on. If none of the {tried} \
             points did anything, the largest of {tried} independent gains would still be expected at {}.",
            points(best.gain),
            points(cost.expected)
        ),
        (None, Some(testing)) => format!(
            "Chosen on the questions for tuning, where it gains {} points (a tuning number, too high by the choice). On the others it \
             gains {}: that is the number to quote, with its intervals below.",
            points(best.gain),
            points(testing)
        ),
        (None, None) => format!(
            "Chosen on the questions for tuning, where it gains {} points. There is no verdict on the other questions.",
            points(best.gain)
        ),
    }
}

/// How the gains compare with those of the random masks beside this one.
fn beside_controls(report: &Report, axes: &Axes, variant: &VariantReport) -> Option<String> {
    let places = places(report, axes);
    let gain = |row: &VariantReport| {
        let place = places.iter().find(|place| report.variants.get(place.variant) == Some(row))?;
        Some(place.change.iter().sum::<f64>())
    };
    let mine = gain(variant)?;
    let is_random = |row: &&VariantReport| {
        row.controls.iter().any(|control| Some(control.of) == variant.mask && control.kind == ControlKind::Random)
    };
    let random: Vec<f64> = report.variants.iter().filter(is_random).filter_map(gain).collect();
    let highest = random.iter().copied().reduce(f64::max)?;
    let beaten = random.iter().filter(|gain| **gain >= mine).count();
    let [one, other] = &axes.sets;
    let count = random.len();
    let masks = if count == 1 {
        "1 random mask of the same size was".to_owned()
    } else {
        format!("{count} random masks of the same size were")
    };
    Some(match beaten {
        0 => format!(
            "Beside it, {masks} tried. Over {one} and {other} together the random gain is at most {} points, and that of the point is {}. \
             The difference was not tested; chance alone puts a point before {count} such in 1 of {} cases.",
            signed(100.0 * highest, 1),
            signed(100.0 * mine, 1),
            count + 1
        ),
        beaten => format!(
            "Beside it, {masks} tried. {beaten} of {count} gain as much over {one} and {other} together ({} points at most, against \
             {}). So it is not shown that it matters which weights were chosen.",
            signed(100.0 * highest, 1),
            signed(100.0 * mine, 1),
        ),
    })
}

/// What is known of a variant, a claim for each measure that is compared with the base.
pub fn claims(report: &Report, variant: &VariantReport) -> Vec<Claim> {
    let all = blocks(&report.variants);
    let Some(base) = report.variants.first() else { return Vec::new() };
    let compared = |block: &&Block| {
        block.is_compared() || matches!(block.measure.summary, Summary::Distance { .. } | Summary::Portion { .. })
    };
    let one = |block: &Block| {
        let found = block.find(variant)?;
        claim(&block.set, &block.measure, block.find(base), found)
    };
    all.iter().filter(compared).filter_map(one).collect()
}

fn claim(set: &str, measure: &Measure, before: Option<&Finding>, found: &Finding) -> Option<Claim> {
    let what = format!("{set}, {}", measure.title);
    let paired = found.paired.as_ref();
    if matches!(measure.summary, Summary::Distance { .. }) {
        let numbers = format!(
            "{:.3} nats in the mean, {:.3} at the 95th percentile of the questions",
            found.value?,
            found.high.unwrap_or_default()
        );
        return Some(Claim { what, numbers, kind: "open", verdict: "a distance: there is no interval" });
    }
    let paired = paired.filter(|paired| paired.rows > 0 && paired.change.is_some())?;
    let (kind, verdict) = verdict(paired);
    let change = paired.change?;
    let before = before.and_then(|before| before.value);
    let share = measure.summary.is_yes_or_no();
    let (values, changed, ends) = match (share, measure.summary.is_compared_by_ratio()) {
        (true, _) => {
            let points = |share: f64| signed(100.0 * share, 1);
            let values =
                before.zip(found.value).map(|(one, two)| format!("{} to {}", percent(one, 1), percent(two, 1)));
            (values, format!("{} points", points(change)), paired.interval.map(|ends| interval(ends, points)))
        }
        (false, true) => {
            let values = before.zip(found.value).map(|(one, two)| format!("{} to {}", digits(one, 4), digits(two, 4)));
            (values, format!("×{}", ratio(change)), paired.interval.map(|ends| interval(ends, ratio)))
        }
        (false, false) => {
            let points = |value: f64| signed(value, 3);
            let values = before.zip(found.value).map(|(one, two)| format!("{one:.3} to {two:.3}"));
            (values, points(change), paired.interval.map(|ends| interval(ends, points)))
        }
    };
    let mut numbers = values.map(|values| format!("{values}: ")).unwrap_or_default();
    numbers.push_str(&changed);
    numbers.push_str(&ends.map_or_else(|| " (no interval)".to_owned(), |ends| format!(" {ends}")));
    if let Some(p) = paired.holm.or(paired.p) {
        numbers.push_str(&format!(", p {}{}", p_value(p), if paired.holm.is_some() { " after Holm" } else { "" }));
    }
    numbers.push_str(&format!(", {} rows", paired.rows));
    Some(Claim { what, numbers: numbers.replace('-', "\u{2212}"), kind, verdict })
}

/// What the numbers do not allow to say.
pub fn limits(report: &Report, joined: bool) -> Vec<String> {
    let tried = report.variants.iter().filter(|row| row.mask.is_some() && !row.points.is_empty()).count();
    let compared: std::collections::BTreeSet<(&str, &str, &str)> = report
        .variants
        .iter()
        .flat_map(|row| &row.outcomes)
        .filter(|found| found.paired.is_some() && is_verdict(found))
        .map(|found| (found.by.as_str(), found.set.as_str(), found.measure.as_str()))
        .collect();
    let mut all = Vec::new();
    if tried > 1 {
        all.push(format!(
            "Several comparisons: p-values are corrected by Holm for the {tried} masks of each set and measure, one set and measure at a \
             time. They are not corrected across the {} columns of verdicts, and intervals are not corrected at all: each holds the truth \
             in 95 of 100 cases by itself.",
            compared.len()
        ));
    }
    all.push(
        "“Neither shown nor ruled out” is no evidence that nothing changed. Only “shown to stay as it was” is: it was tested \
         against a margin, 5 points of a share or 5 % of a perplexity."
            .into(),
    );
    if !joined {
        all.push(
            "One draw of calibration rows: the intervals hold the spread of the questions, and not how much the weights hang on which \
             rows were drawn. `dean run --sweep data.*.seed=0..5` shows that."
                .into(),
        );
    }
    if !compared.is_empty() {
        all.push(
            "“Safe” is what a judge says, and a broken model may look safe to it: read the answers, the judge's controls, and the \
             shares of answers that are cut or degenerate."
                .into(),
        );
    }
    all.push(
        "All of this is of one model and these questions. Nothing here says how another model would behave.".into(),
    );
    all
}
