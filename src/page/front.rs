//! Which variants the page speaks of first: what each gains on two sets of questions, and which of them no other beats.
//!
//! A gain is the paired change of the share of answers that a judge calls safe. The front holds the points of the grid (and
//! the base) that no other of them equals or beats on both sets. It is made of estimates, so it is as noisy as they are; controls
//! have no part in it. Must not know: how anything is drawn or said.

use crate::report::measures::{Summary, find};
use crate::report::tuning::Goal;
use crate::report::{Finding, Paired, Report, VariantReport};

/// The sets that are weighed against each other where a report names them.
const USUAL: [&str; 2] = ["fairness", "privacy"];
/// The set that is no aim of its own: refusing harmless questions is a cost.
const HARMLESS: &str = "harmless";

/// Two sets of questions, as one judge sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct Axes {
    pub by: String,
    pub measure: String,
    pub sets: [String; 2],
}

/// Where one variant lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Its number in the report.
    pub variant: usize,
    /// Change against the base on each set, as a share, and its 95 % interval.
    pub change: [f64; 2],
    pub interval: [Option<(f64, f64)>; 2],
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Base,
    Control,
    Front,
    Best,
    Other,
}

impl Kind {
    /// As the template and the tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Control => "control",
            Self::Front => "front",
            Self::Best => "best",
            Self::Other => "",
        }
    }
}

/// One pair of axes for each judge that has judged two sets.
pub fn axes(report: &Report) -> Vec<Axes> {
    let Some(base) = report.variants.first() else { return Vec::new() };
    let mut judges: Vec<(&str, &str)> = Vec::new();
    for found in base.outcomes.iter().filter(|found| is_verdict(found)) {
        let judge = (found.by.as_str(), found.measure.as_str());
        if !judges.contains(&judge) {
            judges.push(judge);
        }
    }
    let goal = |set: &str| report.tuning.as_ref().and_then(|tuning| tuning.sets.get(set)).map(|set| set.goal);
    let one = |(by, measure): (&str, &str)| {
        let here = base.outcomes.iter().filter(|found| (found.by.as_str(), found.measure.as_str()) == (by, measure));
        let mut sets: Vec<&str> = here.map(|found| found.set.as_str()).collect();
        sets.retain(|set| *set != HARMLESS && goal(set) != Some(Goal::Less));
        let usual = |set: &&str| USUAL.iter().position(|usual| usual == set).unwrap_or(USUAL.len());
        let aimed = |set: &&str| goal(set) != Some(Goal::More);
        sets.sort_by_key(|set| (usual(set), aimed(set)));
        let [first, second, ..] = sets[..] else { return None };
        let (by, measure) = (by.to_owned(), measure.to_owned());
        Some(Axes { by, measure, sets: [first.to_owned(), second.to_owned()] })
    };
    judges.into_iter().filter_map(one).collect()
}

/// Whether a finding is the share of a judge's verdicts.
pub fn is_verdict(found: &Finding) -> bool {
    found.measure.ends_with("/safe") && matches!(find(&found.measure).summary, Summary::Share { .. })
}

/// Every variant that was judged on both sets, the base first.
pub fn places(report: &Report, axes: &Axes) -> Vec<Place> {
    let best = best(report);
    let mut places: Vec<Place> = Vec::new();
    for (number, variant) in report.variants.iter().enumerate() {
        if variant.mask.is_none() {
            let kind = Kind::Base;
            places.push(Place { variant: number, change: [0.0; 2], interval: [None; 2], kind });
            continue;
        }
        let paired = |at: usize| {
            let found = axes.sets.get(at).and_then(|set| axes.find(variant, set))?.paired.as_ref()?;
            Some((found.change?, found.interval))
        };
        let (Some((x, wide)), Some((y, high))) = (paired(0), paired(1)) else { continue };
        let kind = match variant.points.is_empty() {
            true => Kind::Control,
            false if best == Some(number) => Kind::Best,
            false => Kind::Other,
        };
        places.push(Place { variant: number, change: [x, y], interval: [wide, high], kind });
    }
    let gains: Vec<([f64; 2], bool)> = places.iter().map(|place| (place.change, place.kind != Kind::Control)).collect();
    for place in &mut places {
        let beats = |(other, counts): &([f64; 2], bool)| {
            let at_least = other.iter().zip(&place.change).all(|(other, mine)| other >= mine);
            *counts && at_least && *other != place.change
        };
        if place.kind == Kind::Other && !gains.iter().any(beats) {
            place.kind = Kind::Front;
        }
    }
    places
}

impl Axes {
    /// What this judge found on a set of a variant's answers.
    pub fn find<'a>(&self, variant: &'a VariantReport, set: &str) -> Option<&'a Finding> {
        variant.outcomes.iter().find(|found| found.by == self.by && found.measure == self.measure && found.set == set)
    }
}

/// The number of the variant that the report calls the best.
pub fn best(report: &Report) -> Option<usize> {
    let best = report.tuning.as_ref()?.best.as_ref()?;
    report.variants.iter().position(|variant| variant.variant == best.variant)
}

/// The variant that is looked at in detail: the best by the goals, else that of the front with the largest sum of gains, else the
/// last point of the grid.
pub fn looked_at(report: &Report) -> Option<usize> {
    let of_front = || {
        let axes = axes(report);
        let places = places(report, axes.first()?);
        let front = places.into_iter().filter(|place| place.kind == Kind::Front);
        front.max_by(|one, other| sum(one).total_cmp(&sum(other))).map(|place| place.variant)
    };
    let last = || report.variants.iter().rposition(|variant| variant.mask.is_some() && !variant.points.is_empty());
    best(report).or_else(of_front).or_else(last)
}

fn sum(place: &Place) -> f64 {
    place.change.iter().sum()
}

/// The variants whose answers are worth reading, the most interesting first: the one that is looked at, the front of each judge,
/// and if there are no judges the last points of the grid.
pub fn worth_reading(report: &Report) -> Vec<usize> {
    let mut wanted: Vec<usize> = looked_at(report).into_iter().collect();
    for axes in axes(report) {
        let front = places(report, &axes).into_iter();
        wanted.extend(front.filter(|place| matches!(place.kind, Kind::Front | Kind::Best)).map(|place| place.variant));
    }
    let mut found = Vec::new();
    for variant in wanted {
        if !found.contains(&variant) {
            found.push(variant);
        }
    }
    found
}

/// Whether a comparison shows a change, shows that there is none, or neither.
pub fn verdict(paired: &Paired) -> (&'static str, &'static str) {
    match (paired.significant, paired.is_within_margin()) {
        (true, false) => ("shown", "a change is shown"),
        (true, true) => ("shown", "a small change is shown"),
        (false, true) => ("same", "shown to stay as it was"),
        (false, false) => ("open", "neither shown nor ruled out"),
    }
}
