//! The columns of one set and measure, and a variant's cells in them.
//!
//! What columns there are follows from how rows become one value ([`Summary`]). Must not know: how many columns fit.

use std::collections::BTreeMap;

use super::numbers::{digits, interval, p_value, percent, ratio, signed};
use crate::inspect::caution::is_count;
use crate::layout::{Align, Cell, Table, Tone};
use crate::report::facts::{Finding, VariantReport, Why};
use crate::report::measures::{Measure, Summary, find, measures};
use crate::report::paired::Paired;

/// The columns of one set and measure.
pub struct Block {
    pub by: String,
    pub set: String,
    pub measure: Measure,
}

/// How much is shown of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The value, the flips or the change, and how sure they are.
    Short,
    /// The change too, with its paired interval.
    Paired,
    /// The interval of the value itself too.
    Full,
}

/// The columns: first those that say what changed, then what it cost, then how the rows came about; each set after set. The sets
/// are in the order of their first measures in the registry, so question sets come before texts.
pub fn blocks(rows: &[VariantReport]) -> Vec<Block> {
    let order: BTreeMap<String, usize> = measures().map(|measure| measure.name.into_owned()).zip(0..).collect();
    let place = |measure: &str| order.get(measure).copied().unwrap_or(order.len());
    let all = || rows.iter().flat_map(|row| &row.outcomes).filter(|found| !is_count(&found.measure));
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in all() {
        let here = place(&finding.measure);
        places.entry(&finding.set).and_modify(|first| *first = here.min(*first)).or_insert(here);
    }
    let mut found = BTreeMap::new();
    for finding in all() {
        let set = places.get(finding.set.as_str()).copied().unwrap_or_default();
        let Finding { by, set: name, measure, .. } = finding;
        let measured = find(measure);
        let part = match measured.summary {
            Summary::Share { .. } => 0,
            Summary::ExpMean { .. } => 1,
            Summary::Mean | Summary::Distance { .. } => 2,
            Summary::Portion { .. } => 3,
            Summary::Flaw { .. } | Summary::Detail => 4,
        };
        let block = || Block { by: by.clone(), set: name.clone(), measure: measured };
        found.entry((part, set, name, place(measure), measure, by)).or_insert_with(block);
    }
    found.into_values().collect()
}

impl Block {
    pub fn has_columns(&self) -> bool {
        !matches!(self.measure.summary, Summary::Flaw { .. } | Summary::Detail)
    }

    /// Whether the comparison with the base is shown, and not only the value.
    pub fn is_compared(&self) -> bool {
        matches!(self.measure.summary, Summary::Share { .. } | Summary::Mean | Summary::ExpMean { .. })
    }

    /// Above its titles: the set; of a perplexity what it is, with the set where there are several texts.
    pub fn above(&self, all: &[Self]) -> String {
        let Measure { name, title, summary, .. } = &self.measure;
        let is_alone = || all.iter().all(|other| other.measure.name != *name || other.set == self.set);
        match summary {
            Summary::ExpMean { .. } if is_alone() => title.to_string(),
            Summary::ExpMean { .. } => format!("{title}, {}", self.set),
            _ => self.set.clone(),
        }
    }

    pub fn add_columns(&self, table: Table, detail: Detail) -> Table {
        let title = &self.measure.title;
        let paired = |table: Table, change: &str, flips: bool| {
            let table = match detail {
                Detail::Full | Detail::Paired => {
                    table.close_column(change, Align::Right, 1).close_column("95 % interval", Align::Left, 1)
                }
                Detail::Short if flips => table,
                Detail::Short => table.close_column(change, Align::Right, 1),
            };
            let table = if flips { table.close_column("flips", Align::Right, 1) } else { table };
            table.close_column("p", Align::Left, 1)
        };
        match self.measure.summary {
            Summary::Share { .. } => {
                let table = table.column(title, Align::Right);
                let own = |table: Table| table.close_column("95 % interval", Align::Left, 1);
                paired(if detail == Detail::Full { own(table) } else { table }, "change", true)
            }
            Summary::Mean => paired(table.column(title, Align::Right), "change", false),
            Summary::ExpMean { .. } => paired(table.column("value", Align::Right), "ratio", false),
            Summary::Portion { .. } => table.column(title, Align::Right),
            Summary::Distance { .. } => table.column(title, Align::Right).close_column("95th", Align::Right, 1),
            Summary::Flaw { .. } | Summary::Detail => table,
        }
    }

    pub fn find<'a>(&self, row: &'a VariantReport) -> Option<&'a Finding> {
        let is_here =
            |found: &&Finding| found.by == self.by && found.set == self.set && found.measure == self.measure.name;
        row.outcomes.iter().find(is_here)
    }

    /// A variant's cells, empty ones where it was not measured. What is significant is strong.
    pub fn cells(&self, row: &VariantReport, detail: Detail) -> Vec<Cell> {
        let found = self.find(row);
        let pair = found.and_then(|found| found.paired.as_ref());
        let value = |show: &dyn Fn(f64) -> String| found.map(|found| value(found, show)).unwrap_or_default();
        let change = |show: &dyn Fn(f64) -> String| {
            // Over the rows that both have, as the interval is.
            let over_all = found.and_then(|found| found.change.or(found.ratio));
            pair.and_then(|pair| pair.change).or(over_all).map(show).unwrap_or_default()
        };
        let ends = |show: &dyn Fn(f64) -> String| {
            pair.and_then(|pair| pair.interval).map(|ends| interval(ends, show)).unwrap_or_default()
        };
        let (flips, p) = (pair.map(flips).unwrap_or_default(), pair.map(p_and_mark).unwrap_or_default());
        let texts = match self.measure.summary {
            Summary::Share { .. } => {
                let points = |share: f64| signed(100.0 * share, 1);
                let own = found
                    .and_then(|found| found.interval)
                    .map(|ends| interval(ends, |end| format!("{:.1}", 100.0 * end)));
                let mut texts = vec![value(&|share| percent(share, 1))];
                texts.extend((detail == Detail::Full).then(|| own.unwrap_or_default()));
                texts.extend((detail > Detail::Short).then(|| [change(&points), ends(&points)]).into_iter().flatten());
                texts.extend([
                    if detail == Detail::Short && !flips.is_empty() { format!("({flips})") } else { flips },
                    p,
                ]);
                texts
            }
            Summary::Mean => {
                let difference = |difference: f64| signed(difference, 3);
                let mut texts = vec![value(&|mean| format!("{mean:.3}")), change(&difference)];
                texts.extend((detail > Detail::Short).then(|| ends(&difference)));
                texts.push(p);
                texts
            }
            Summary::ExpMean { .. } => {
                let mut texts = vec![value(&|value| digits(value, 4)), change(&|factor| format!("x{}", ratio(factor)))];
                texts.extend((detail > Detail::Short).then(|| ends(&ratio)));
                texts.push(p);
                texts
            }
            Summary::Portion { .. } => vec![value(&|share| percent(share, 0))],
            Summary::Distance { .. } => {
                let high = found.and_then(|found| found.high).map(|high| format!("{high:.3}"));
                vec![value(&|mean| format!("{mean:.3}")), high.unwrap_or_default()]
            }
            Summary::Flaw { .. } | Summary::Detail => Vec::new(),
        };
        let tone = pair.filter(|pair| pair.significant && self.is_compared()).map(|_| Tone::Strong);
        texts.into_iter().map(|text| Cell { text, tone }).collect()
    }
}

/// `-3 +5`: verdicts lost and won.
fn flips(pair: &Paired) -> String {
    match (pair.lost, pair.won) {
        (Some(lost), Some(won)) if pair.rows > 0 => format!("-{lost} +{won}"),
        _ => String::new(),
    }
}

/// The p-value, corrected where it could be, with a star if it is significant.
fn p_and_mark(pair: &Paired) -> String {
    let p = pair.holm.or(pair.p).map(p_value).unwrap_or_default();
    if pair.significant { format!("{p}*") } else { p }
}

/// Whether a variant differs from the base, but in nothing that is shown significantly. What is infinite is no noise.
pub fn is_noise(row: &VariantReport, blocks: &[Block]) -> bool {
    if row.outcomes.iter().any(|found| matches!(found.why, Some(Why::Infinite | Why::Undefined))) {
        return false;
    }
    let compared =
        blocks.iter().filter(|block| block.is_compared()).filter_map(|block| block.find(row)?.paired.as_ref());
    let mut compared = compared.filter(|pair| pair.holm.is_some()).peekable();
    compared.peek().is_some() && compared.all(|pair| !pair.significant)
}

fn value(found: &Finding, show: &dyn Fn(f64) -> String) -> String {
    match (found.value, found.why) {
        (Some(value), _) => show(value),
        (None, Some(Why::Infinite)) => "inf".into(),
        (None, Some(Why::Undefined)) => "nan".into(),
        (None, Some(Why::Unread) | None) => "-".into(),
    }
}
