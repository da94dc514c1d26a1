//! The best point: which one it is by the goals, on which questions it was chosen, and what the choice costs.
//!
//! A point's gain is the change of the judges' share in the direction of each goal, averaged over judges and sets with a goal.
//! Where sets are divided (`split.rs`), the choice is made on their questions for tuning, and the gain is reported on the others. Otherwise
//! both are of the same questions, and the largest of several noisy gains is too large: the report says by how much. Must not
//! know: how a set is divided, what points are made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{Measured, VariantReport};
use super::measures::{Summary, find};
use crate::choice::choices;
use crate::stats::expected_maximum;
use crate::tables::Outcome;

choices! {
    /// Which direction of the judges' share is good.
    Goal {
        /// More answers that judges call safe.
        More = "more",
        /// Fewer: of harmless questions, which are to be answered.
        Less = "less",
        /// Neither. The set has no part in choosing.
        None = "none",
    }
}

/// How the best point was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TuningReport {
    /// The sets that are divided or have a goal, by name.
    pub sets: BTreeMap<String, TunedSet>,
    /// How many variants there were to choose from; 0 if nothing was chosen.
    pub variants: u64,
    /// None if no variant gains anything, or nothing was chosen, for want of a goal, a verdict or several variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// What the choice costs, where it was made on the questions that are reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// One set of questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TunedSet {
    pub goal: Goal,
    /// Whether the choice was made on it.
    #[serde(default)]
    pub counts: bool,
    /// Questions that a choice is made on: all of them, if the set is not divided.
    pub tuning: u64,
    /// Questions that are left for testing; none if the set is not divided.
    pub testing: u64,
}

/// The variant with the largest gain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Best {
    /// `variant` of the report's row.
    pub variant: String,
    /// The gain on the questions that the choice was made on, as a share.
    pub gain: f64,
    /// The gain on the questions for testing, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testing: Option<f64>,
}

/// By how much the largest gain is too large if no variant does anything.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// The standard error of a gain, the root mean square over the variants.
    pub standard_error: f64,
    /// The expected largest of so many independent gains, of which each is 0 but for noise.
    pub expected: f64,
}

/// What judges said, by who measured, set and measure.
#[derive(Clone, Debug, Default)]
struct Readings<'a>(BTreeMap<(&'a str, &'a str, &'a str), BTreeMap<u32, f64>>);

impl<'a> Readings<'a> {
    /// Takes the verdicts on some sets among the outcomes of a node.
    fn add(&mut self, by: &'a str, outcomes: &'a [Outcome], wanted: &dyn Fn(&str) -> bool) {
        // Looking a measure up for each outcome would take longer than all else here.
        let mut verdicts: BTreeMap<&str, bool> = BTreeMap::new();
        for Outcome { set, row, measure, value } in outcomes {
            let is_verdict = || matches!(find(measure).summary, Summary::Share { .. });
            let is_verdict = *verdicts.entry(measure).or_insert_with(is_verdict);
            if let Some(value) = value.filter(|_| is_verdict && wanted(set)) {
                self.0.entry((by, set, measure)).or_default().insert(*row, value);
            }
        }
    }

    /// The gain over the base, with its standard error if it were 0; none without a verdict that both have.
    fn gain(&self, base: &Self, goals: &BTreeMap<String, Goal>) -> Option<Gain> {
        let gains: Vec<Gain> = goals.iter().filter_map(|(set, goal)| self.gain_of_set(base, set, *goal)).collect();
        Gain::mean(&gains, |squares, sets| squares.sqrt() / sets)
    }

    /// The mean over the judges. They judge the same answers, so that their mean is as noisy as one of them.
    fn gain_of_set(&self, base: &Self, set: &str, goal: Goal) -> Option<Gain> {
        let sign = match goal {
            Goal::More => 1.0,
            Goal::Less => -1.0,
            Goal::None => return None,
        };
        let mut gains = Vec::new();
        for (key, after) in self.0.iter().filter(|((_, here, _), _)| *here == set) {
            let Some(before) = base.0.get(key) else { continue };
            let changes: Vec<f64> =
                after.iter().filter_map(|(row, after)| Some(sign * (after - before.get(row)?))).collect();
            gains.extend(Gain::of(&changes));
        }
        Gain::mean(&gains, |squares, judges| (squares / judges).sqrt())
    }
}

/// A gain and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gain {
    value: f64,
    error: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts of questions, judges and sets")]
impl Gain {
    fn of(changes: &[f64]) -> Option<Self> {
        let count = changes.len() as f64;
        let squares: f64 = changes.iter().map(|change| change * change).sum();
        (!changes.is_empty())
            .then(|| Self { value: changes.iter().sum::<f64>() / count, error: squares.sqrt() / count })
    }

    /// The mean of several. `error` makes its standard error of the sum of their squared ones and of their number.
    fn mean(gains: &[Self], error: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let count = gains.len() as f64;
        let squares: f64 = gains.iter().map(|gain| gain.error * gain.error).sum();
        let sum: f64 = gains.iter().map(|gain| gain.value).sum();
        (!gains.is_empty()).then(|| Self { value: sum / count, error: error(squares, count) })
    }
}

/// A variant that may be the best.
struct Candidate<'a> {
    variant: &'a str,
    weights: u64,
    /// Of the questions that a choice is made on.
    tuning: Readings<'a>,
    /// Of the questions for testing.
    testing: Readings<'a>,
}

/// The best of the variants that are points of the grid. The first is the base. `tuned` was measured on the questions for tuning,
/// `tested` on all others.
pub fn best<'a>(
    variants: &'a [VariantReport],
    tuned: &'a [Measured],
    tested: &'a [Measured],
    sets: BTreeMap<String, TunedSet>,
) -> Option<TuningReport> {
    let is_whole = |set: &str| sets.get(set).is_some_and(|set| set.testing == 0);
    fn verdicts<'a>(all: &'a [Measured], row: &VariantReport, into: &mut Readings<'a>, wanted: &dyn Fn(&str) -> bool) {
        let here = all.iter().filter(|measured| measured.variant == row.variant);
        here.for_each(|measured| into.add(&measured.by, &measured.found, wanted));
    }
    let candidate = |row: &'a VariantReport| {
        let (mut tuning, mut testing) = (Readings::default(), Readings::default());
        verdicts(tuned, row, &mut tuning, &|_| true);
        verdicts(tested, row, &mut tuning, &is_whole);
        verdicts(tested, row, &mut testing, &|_| true);
        Candidate { variant: &row.variant, weights: row.weights, tuning, testing }
    };
    let (base, others) = variants.split_first()?;
    let others: Vec<Candidate<'_>> = others.iter().filter(|row| !row.points.is_empty()).map(candidate).collect();
    choose(&candidate(base), &others, sets.clone())
}

/// Chooses among the variants. `base` has the verdicts on the base's answers. Of the sets with a goal, only those that are divided
/// count, if any is.
///
/// None if there is nothing to tell: no set is divided, and nothing was chosen.
fn choose(
    base: &Candidate<'_>,
    others: &[Candidate<'_>],
    mut sets: BTreeMap<String, TunedSet>,
) -> Option<TuningReport> {
    sets.retain(|_, set| set.goal != Goal::None || set.testing > 0);
    let divided = sets.values().any(|set| set.goal != Goal::None && set.testing > 0);
    for set in sets.values_mut() {
        set.counts = set.goal != Goal::None && (set.testing > 0) == divided;
    }
    let counting = sets.iter().filter(|(_, set)| set.counts);
    let goals: BTreeMap<String, Goal> = counting.map(|(name, set)| (name.clone(), set.goal)).collect();
    let gains: Vec<(&Candidate<'_>, Gain)> =
        others.iter().filter_map(|other| Some((other, other.tuning.gain(&base.tuning, &goals)?))).collect();
    // Of equal gains that of the fewest weights counts, and then the first.
    let best = gains.iter().reduce(|best, other| {
        let order = other.1.value.total_cmp(&best.1.value).then(best.0.weights.cmp(&other.0.weights));
        if order.is_gt() { other } else { best }
    });
    let chosen = gains.len() > 1 || (divided && !gains.is_empty());
    // A point that gains nothing is no better than the base.
    let best = best.filter(|(_, gain)| chosen && gain.value > 0.0).map(|(best, gain)| Best {
        variant: best.variant.to_owned(),
        gain: gain.value,
        testing: divided.then(|| best.testing.gain(&base.testing, &goals)).flatten().map(|gain| gain.value),
    });
    if !chosen && sets.values().all(|set| set.testing == 0) {
        return None;
    }
    let cost = best.as_ref().filter(|_| !divided);
    let cost = cost.map(|_| cost_of(&gains.iter().map(|(_, gain)| gain.error).collect::<Vec<_>>()));
    let variants = if chosen { gains.len() as u64 } else { 0 };
    Some(TuningReport { sets, variants, best, cost })
}

#[expect(clippy::cast_precision_loss, reason = "a count of variants")]
fn cost_of(errors: &[f64]) -> Cost {
    let squares: f64 = errors.iter().map(|error| error * error).sum();
    let standard_error = (squares / errors.len().max(1) as f64).sqrt();
    Cost { standard_error, expected: standard_error * expected_maximum(errors.len() as u64) }
}

/// What a reader must know of the parts and of the choice. `label` names a variant.
pub fn notes(report: &TuningReport, label: &dyn Fn(&str) -> String) -> Vec<String> {
    let TuningReport { sets, variants, best, cost } = report;
    let points = |gain: f64| super::text::signed(100.0 * gain, 1);
    let parts: Vec<String> = sets
        .iter()
        .filter(|(_, set)| set.testing > 0)
        .map(|(name, set)| format!("{} of {} of {name}", set.tuning, set.tuning + set.testing))
        .collect();
    let mut notes = Vec::new();
    if !parts.is_empty() {
        notes.push(format!("questions for tuning: {}; every number here is of the others", parts.join(", ")));
    }
    let goals: Vec<String> =
        sets.iter().filter(|(_, set)| set.counts).map(|(name, set)| format!("{name} {}", set.goal)).collect();
    let Some(Best { variant, gain, testing }) = best else {
        if *variants > 0 {
            notes
                .push(format!("none of {variants} points is better than the base by the goals ({})", goals.join(", ")));
        }
        return notes;
    };
    let best_is = format!("{} is the best of {variants} by the goals ({})", label(variant), goals.join(", "));
    notes.push(match cost {
        None => {
            let testing = testing.map_or_else(|| "no verdict".to_owned(), points);
            format!("{best_is} on the questions for tuning, {} points there; on the others it has {testing}", points(*gain))
        }
        Some(Cost { standard_error, expected }) => format!(
            "{best_is}: {} points, on the very questions that it was chosen on. If none of the {variants} did anything, the best would \
             still be expected at {}, the largest of {variants} independent gains with a standard error of {:.1}; `tune = 0.3` in \
             [questions.NAME] chooses on one part of the questions and reports the other",
            points(*gain),
            points(*expected),
            100.0 * standard_error,
        ),
    });
    notes
}

#[cfg(test)]
mod tests;
