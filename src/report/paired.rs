//! The same rows before and after: what each variant's measures changed against the base, row by row.
//!
//! What is computed follows from how rows become one value ([`Summary`]), so a new measure has its statistics without a line here.
//! Everything is rounded to ten digits, so that the last bits of another machine's logarithms do not show. Must not know: stages,
//! what a measure means, how facts are shown.

use std::collections::BTreeMap;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::{Finding, Measured, Values, VariantReport, grouped};
use super::measures::{Summary, find};
use crate::stats::{
    Estimate, Group, Pairs, SEED, benjamini_hochberg, bootstrap, equivalent_pairs, equivalent_within, holm, mcnemar,
    newcombe, visible, visible_share,
};

#[cfg(test)]
mod tests;

/// Below this, a p-value is a sign of something.
pub const LEVEL: f64 = 0.05;

/// One measure of one set, compared row by row with the base.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Paired {
    /// Rows with a reading in both.
    pub rows: u64,
    /// Groups of rows that are one witness: equal questions are one group.
    pub groups: u64,
    /// Over these rows, the variant's value minus the base's; of a perplexity, over the base's.
    pub change: Option<f64>,
    /// Where rows are 0 or 1: those that were 1 and are 0,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// and those that were 0 and are 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub won: Option<u64>,
    /// The 95 % interval of the change: Newcombe's where rows are 0 or 1, else Student's with the error of the groups.
    pub interval: Option<(f64, f64)>,
    /// The same by drawing the groups anew.
    pub bootstrap: Option<(f64, f64)>,
    /// That there is no change: McNemar's exact test, else Student's.
    pub p: Option<f64>,
    /// McNemar's mid-p.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid_p: Option<f64>,
    /// p, corrected for the masks of the grid that were tried, by Holm; none for a variant that is no point of the grid.
    pub holm: Option<f64>,
    /// The same by Benjamini and Hochberg.
    pub benjamini_hochberg: Option<f64>,
    /// Whether Holm's p-value is below 5 %, and the drawn interval excludes that nothing changed.
    pub significant: bool,
    /// The smallest true change that a test of these rows would show in 80 of 100 cases; none where no row differs.
    pub visible: Option<f64>,
    /// What change is called no damage: up to here, to either side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The p-value of two one-sided tests that the change is within the margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_damage: Option<f64>,
}

/// Which rows of a set belong together. A row without a group is one of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(BTreeMap<String, BTreeMap<u32, usize>>);

impl Groups {
    /// Puts a row of a set into the group with this number.
    pub fn put(&mut self, set: &str, row: u32, group: usize) {
        self.0.entry(set.to_owned()).or_default().insert(row, group);
    }

    pub fn of(&self, set: &str, row: u32) -> Option<usize> {
        self.0.get(set)?.get(&row).copied()
    }
}

/// A group by its number, or a row that is one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Member {
    Group(usize),
    Row(u32),
}

/// Fills in [`Finding::paired`] of every variant but the first, which is the base.
pub(super) fn compare(variants: &mut [VariantReport], measured: &[Measured], groups: &Groups) {
    let rows: Rows<'_> = measured
        .iter()
        .map(|Measured { by, variant, found }| ((variant.as_str(), by.as_str()), grouped(found)))
        .collect();
    let Some((base, others)) = variants.split_first_mut() else { return };
    let base = base.variant.clone();
    let one = |variant: &str, finding: &Finding| -> Option<Paired> {
        let Finding { by, set, measure, .. } = finding;
        let before = values(&rows, [&base, by, set, measure])?;
        let after = values(&rows, [variant, by, set, measure])?;
        let group = |row: u32| groups.of(set, row).map_or(Member::Row(row), Member::Group);
        Some(match find(measure).summary {
            summary @ (Summary::Share { .. } | Summary::Portion { .. } | Summary::Flaw { .. } | Summary::Detail) => {
                let mut found = yes_or_no(before, after, &group);
                found.equivalence_of_pairs(before, after, summary.margin());
                found
            }
            Summary::Mean => mean(before, after, &group),
            // It is a comparison with the base already.
            Summary::Distance { .. } => return None,
            summary @ Summary::ExpMean { per } => {
                exp_mean(before, after, values(&rows, [&base, by, set, per])?, &group, summary.margin())
            }
        })
    };
    others.par_iter_mut().for_each(|variant| {
        let name = variant.variant.clone();
        variant.outcomes.par_iter_mut().for_each(|finding| finding.paired = one(&name, finding));
    });
    correct(others);
    others.iter_mut().flat_map(|variant| &mut variant.outcomes).for_each(|finding| {
        let by_ratio = find(&finding.measure).summary.is_compared_by_ratio();
        if let Some(paired) = &mut finding.paired {
            paired.conclude(if by_ratio { 1.0 } else { 0.0 });
        }
    });
}

/// By variant and by who measured, then by set and measure.
type Rows<'a> = BTreeMap<(&'a str, &'a str), BTreeMap<(&'a str, &'a str), Values>>;

/// The rows of a variant, as someone measured them on a set with a measure.
fn values<'a>(rows: &'a Rows<'a>, [variant, by, set, measure]: [&'a str; 4]) -> Option<&'a Values> {
    rows.get(&(variant, by))?.get(&(set, measure))
}

/// Corrects the p-values of each set and measure for the masks that were tried. A mask of several points was tried once.
fn correct(others: &mut [VariantReport]) {
    let mut families: BTreeMap<(String, String, String), Vec<&mut Paired>> = BTreeMap::new();
    for variant in others.iter_mut().filter(|variant| !variant.points.is_empty()) {
        for Finding { by, set, measure, paired, .. } in &mut variant.outcomes {
            if let Some(paired) = paired.as_mut().filter(|paired| paired.p.is_some()) {
                families.entry((by.clone(), set.clone(), measure.clone())).or_default().push(paired);
            }
        }
    }
    for family in families.into_values() {
        let values: Vec<f64> = family.iter().filter_map(|paired| paired.p).collect();
        let corrected = holm(&values).into_iter().zip(benjamini_hochberg(&values));
        for (paired, (holm, benjamini_hochberg)) in family.into_iter().zip(corrected) {
            (paired.holm, paired.benjamini_hochberg) = (Some(holm), Some(benjamini_hochberg));
        }
    }
}

/// The rows that both have read, with both values.
fn both<'a>(before: &'a Values, after: &'a Values) -> impl Iterator<Item = (u32, f64, f64)> + 'a {
    after.iter().filter_map(|(row, after)| Some((*row, (*before.get(row)?)?, (*after)?)))
}

/// Sums of differences by group.
fn groups(rows: impl Iterator<Item = (u32, f64, f64)>, group: &dyn Fn(u32) -> Member) -> Vec<Group> {
    let mut found: BTreeMap<Member, Group> = BTreeMap::new();
    for (row, difference, weight) in rows {
        let here = found.entry(group(row)).or_default();
        here.sum += difference;
        here.weight += weight;
    }
    found.into_values().collect()
}

fn pairs(before: &Values, after: &Values) -> Pairs {
    let count = |first: bool, second: bool| {
        let is_it = |(_, before, after): &(u32, f64, f64)| (*after == 1.0, *before == 1.0) == (first, second);
        both(before, after).filter(is_it).count() as u64
    };
    Pairs {
        both: count(true, true),
        only_first: count(true, false),
        only_second: count(false, true),
        neither: count(false, false),
    }
}

fn yes_or_no(before: &Values, after: &Values, group: &dyn Fn(u32) -> Member) -> Paired {
    let pairs = pairs(before, after);
    let (won, lost) = (pairs.only_first, pairs.only_second);
    let groups = groups(both(before, after).map(|(row, before, after)| (row, after - before, 1.0)), group);
    let test = (pairs.rows() > 0).then(|| mcnemar(lost, won));
    Paired {
        rows: pairs.rows(),
        groups: groups.len() as u64,
        change: pairs.difference(),
        lost: Some(lost),
        won: Some(won),
        interval: newcombe(&pairs),
        bootstrap: bootstrap(&groups, SEED),
        p: test.map(|test| test.exact),
        mid_p: test.map(|test| test.mid),
        visible: visible_share(pairs.rows(), (lost + won) as f64 / pairs.rows() as f64),
        ..Paired::default()
    }
}

fn mean(before: &Values, after: &Values, group: &dyn Fn(u32) -> Member) -> Paired {
    let rows = both(before, after).count() as u64;
    let groups = groups(both(before, after).map(|(row, before, after)| (row, after - before, 1.0)), group);
    let estimate = Estimate::of(&groups);
    let sum: f64 = groups.iter().map(|group| group.sum).sum();
    Paired {
        rows,
        groups: groups.len() as u64,
        change: (rows > 0).then(|| sum / rows as f64),
        interval: estimate.and_then(|estimate| estimate.interval()),
        bootstrap: bootstrap(&groups, SEED),
        p: estimate.and_then(|estimate| estimate.p()),
        visible: estimate.map(|estimate| visible(estimate.error)).filter(|visible| *visible > 0.0),
        ..Paired::default()
    }
}

/// The logarithm of the ratio is a mean over tokens, Σ (loss after − loss before) / Σ tokens. Everything is computed of it, and
/// shown as a ratio again.
fn exp_mean(
    before: &Values,
    after: &Values,
    per: &Values,
    group: &dyn Fn(u32) -> Member,
    margin: Option<f64>,
) -> Paired {
    let rows = both(before, after).filter_map(|(row, before, after)| Some((row, after - before, (*per.get(&row)?)?)));
    let rows: Vec<_> = rows.collect();
    let groups = groups(rows.iter().copied(), group);
    let estimate = Estimate::of(&groups);
    let (sum, tokens) = groups.iter().fold((0.0, 0.0), |(sum, tokens), group| (sum + group.sum, tokens + group.weight));
    let ratios = |(low, high): (f64, f64)| (low.exp(), high.exp());
    Paired {
        rows: rows.len() as u64,
        groups: groups.len() as u64,
        change: (tokens > 0.0).then(|| (sum / tokens).exp()),
        interval: estimate.and_then(|estimate| estimate.interval()).map(ratios),
        bootstrap: bootstrap(&groups, SEED).map(ratios),
        p: estimate.and_then(|estimate| estimate.p()),
        visible: estimate.map(|estimate| visible(estimate.error).exp()).filter(|visible| *visible > 1.0),
        margin,
        no_damage: margin.zip(estimate).and_then(|(margin, estimate)| equivalent_within(&estimate, margin.ln())),
        ..Paired::default()
    }
}

impl Paired {
    fn equivalence_of_pairs(&mut self, before: &Values, after: &Values, margin: Option<f64>) {
        self.margin = margin;
        self.no_damage = margin.and_then(|margin| equivalent_pairs(&pairs(before, after), margin));
    }

    /// Says what is significant, and rounds. `nothing` is the change of a measure that did not change.
    fn conclude(&mut self, nothing: f64) {
        let excluded = self.bootstrap.is_some_and(|(low, high)| nothing < low || high < nothing);
        self.significant = excluded && self.holm.is_some_and(|holm| holm < LEVEL);
        let values = [&mut self.change, &mut self.p, &mut self.mid_p, &mut self.holm, &mut self.benjamini_hochberg];
        for value in values.into_iter().chain([&mut self.visible, &mut self.no_damage]) {
            *value = value.and_then(rounded);
        }
        for interval in [&mut self.interval, &mut self.bootstrap] {
            *interval = interval.and_then(|(low, high)| Some((rounded(low)?, rounded(high)?)));
        }
    }

    /// Whether the change is shown to be within the margin.
    pub fn is_within_margin(&self) -> bool {
        self.no_damage.is_some_and(|p| p < LEVEL)
    }
}

/// Ten digits of a value. JSON has no infinity and no NaN, so there is none of them here.
fn rounded(value: f64) -> Option<f64> {
    value.is_finite().then(|| format!("{value:.9e}").parse().ok()).flatten()
}
