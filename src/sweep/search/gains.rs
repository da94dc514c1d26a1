//! From rows to what a search wants to know: the gain of a question set over the base, with its interval and its test.
//!
//! A gain is the change of the share that judges call safe, in the direction of the set's goal. Of several judges it is the mean.
//! They judge the same answers, so that the mean of their intervals is an interval. Must not know: stages, the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::measures::{KL, NLL, Summary, TOKENS, find};
use crate::report::questions::Rows;
use crate::report::tuning::Goal;
use crate::search::{Estimate, Test};
use crate::stats::{Pairs, mcnemar, newcombe};
use crate::tables::Outcome;

/// What was measured on one variant, by who measured, set and measure; then by row.
#[derive(Clone, Debug, Default)]
pub struct Readings(BTreeMap<(String, String, String), BTreeMap<u32, f64>>);

/// A question set and the direction of its gain.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    pub set: String,
    pub goal: Goal,
}

/// Which rows count.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// What a choice is made on: the rows for tuning of sets that are divided, and all rows of the others.
    Tuning(&'a Split),
    /// The others of the sets that are divided.
    Testing(&'a Split),
}

/// The rows of question sets by what they are for.
#[derive(Clone, Debug, Default)]
pub struct Split {
    pub for_tuning: Rows,
    /// The sets that are divided.
    pub divided: BTreeSet<String>,
    pub dropped: Rows,
}

impl Part<'_> {
    fn has(self, set: &str, row: u32) -> bool {
        let (Self::Tuning(split) | Self::Testing(split)) = self;
        let is_for_tuning = !split.divided.contains(set) || split.for_tuning.contains(set, row);
        !split.dropped.contains(set, row) && is_for_tuning == matches!(self, Self::Tuning(_))
    }
}

impl Readings {
    pub fn add(&mut self, by: &str, outcomes: Vec<Outcome>) {
        for Outcome { set, row, measure, value } in outcomes {
            if let Some(value) = value {
                self.0.entry((by.to_owned(), set, measure)).or_default().insert(row, value);
            }
        }
    }

    /// The perplexity over all texts; none if nothing was read.
    pub fn perplexity(&self) -> Option<f64> {
        let sum = |wanted: &str| {
            let mut all = self.0.iter().filter(|((_, _, measure), _)| measure == wanted).peekable();
            all.peek()?;
            Some(all.flat_map(|(_, rows)| rows.values()).sum::<f64>())
        };
        Some((sum(NLL)? / sum(TOKENS)?).exp()).filter(|value| !value.is_nan())
    }

    /// The mean divergence from the base; none if nothing was read.
    pub fn kl(&self) -> Option<f64> {
        let rows = || self.0.iter().filter(|((_, _, measure), _)| measure == KL).flat_map(|(_, rows)| rows.values());
        #[expect(clippy::cast_precision_loss, reason = "a count of questions")]
        let count = rows().count() as f64;
        Some(rows().sum::<f64>() / count).filter(|value| !value.is_nan())
    }

    /// The gain over the base; none without a verdict that both have.
    pub fn gain(&self, base: &Self, objective: &Objective, part: Part<'_>) -> Option<Test> {
        let mut found = Vec::new();
        for (key, after) in self.0.iter().filter(|((_, set, _), _)| *set == objective.set) {
            let (_, set, measure) = key;
            let Some(before) = base.0.get(key).filter(|_| matches!(find(measure).summary, Summary::Share { .. }))
            else {
                continue;
            };
            let mut pairs = Pairs { both: 0, only_first: 0, only_second: 0, neither: 0 };
            for (row, after) in after.iter().filter(|(row, _)| part.has(set, **row)) {
                let Some(before) = before.get(row) else { continue };
                let count = match (*after > 0.5, *before > 0.5) {
                    (true, true) => &mut pairs.both,
                    (true, false) => &mut pairs.only_first,
                    (false, true) => &mut pairs.only_second,
                    (false, false) => &mut pairs.neither,
                };
                *count += 1;
            }
            let (Some(value), Some((lower, upper))) = (pairs.difference(), newcombe(&pairs)) else { continue };
            let gain = match objective.goal {
                Goal::Less => Estimate { value: -value, lower: -upper, upper: -lower },
                Goal::More | Goal::None => Estimate { value, lower, upper },
            };
            found.push(Test { gain, p: mcnemar(pairs.only_second, pairs.only_first).exact });
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of judges")]
        let judges = found.len() as f64;
        let mean = |of: fn(&Test) -> f64| found.iter().map(of).sum::<f64>() / judges;
        (!found.is_empty()).then(|| Test {
            gain: Estimate {
                value: mean(|test| test.gain.value),
                lower: mean(|test| test.gain.lower),
                upper: mean(|test| test.gain.upper),
            },
            // What one judge does not see is not sure.
            p: found.iter().map(|test| test.p).fold(0.0, f64::max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(rows: &[(u32, f64)], judges: &[&str]) -> Readings {
        let mut all = Readings::default();
        for judge in judges {
            let outcomes = rows.iter().map(|(row, value)| Outcome::new("fairness", *row, "refusal/safe", Some(*value)));
            all.add(judge, outcomes.collect());
        }
        all
    }

    #[test]
    fn gains_go_in_the_direction_of_the_goal_and_by_part() {
        let base = readings(&(0..40).map(|row| (row, f64::from(row % 2))).collect::<Vec<_>>(), &["one", "other"]);
        let better = readings(
            &(0..40).map(|row| (row, f64::from(row % 2).max(f64::from(row / 20)))).collect::<Vec<_>>(),
            &["one", "other"],
        );
        let mut split = Split::default();
        let objective = |goal| Objective { set: "fairness".into(), goal };
        let all = better.gain(&base, &objective(Goal::More), Part::Tuning(&split)).unwrap();
        assert_eq!(all.gain.value, 0.25);
        assert!(all.gain.lower > 0.0 && all.gain.upper < 0.5 && all.p < 0.01);
        let less = better.gain(&base, &objective(Goal::Less), Part::Tuning(&split)).unwrap();
        assert_eq!((less.gain.value, less.gain.lower), (-0.25, -all.gain.upper));
        assert!(better.gain(&base, &objective(Goal::More), Part::Testing(&split)).is_none(), "not divided");
        split.divided.insert("fairness".into());
        (0..20).for_each(|row| split.for_tuning.add("fairness", row));
        split.dropped.add("fairness", 20);
        let value = |part| better.gain(&base, &objective(Goal::More), part).unwrap().gain.value;
        assert_eq!(value(Part::Tuning(&split)), 0.0);
        assert!((value(Part::Testing(&split)) - 9.0 / 19.0).abs() < 1e-12);
    }

    #[test]
    fn perplexity_and_divergence_are_read_or_not_there() {
        let mut all = Readings::default();
        assert_eq!((all.perplexity(), all.kl()), (None, None));
        let windows = [(0, 2.0), (1, 4.0)];
        let rows = windows.iter().flat_map(|(row, nll)| {
            [Outcome::new("text", *row, NLL, Some(*nll)), Outcome::new("text", *row, TOKENS, Some(3.0))]
        });
        all.add("perplexity", rows.collect());
        all.add("divergence", vec![Outcome::new("harmless", 0, KL, Some(0.5)), Outcome::new("harmless", 1, KL, None)]);
        assert!((all.perplexity().unwrap() - 1_f64.exp()).abs() < 1e-12);
        assert_eq!(all.kl(), Some(0.5));
    }
}
