//! How often answers say cautionary phrases, before and after, for the variant that is looked at.
//!
//! Must not know: which phrases there are, how a chart is drawn.

use std::collections::BTreeSet;

use super::{id, paired_ends};
use crate::inspect::caution::{PHRASE, PHRASES, is_count};
use crate::page::charts::{Estimate, rows};
use crate::page::figure::{Told, figure};
use crate::page::front::Kind;
use crate::page::shape::{CellView, FigureView, TableView};
use crate::report::text::numbers::{interval, signed};
use crate::report::{Report, VariantReport};

/// A figure for each set whose answers were searched.
pub fn figures(report: &Report, variant: &VariantReport) -> Vec<FigureView> {
    let Some(base) = report.variants.first() else { return Vec::new() };
    let sets: BTreeSet<&str> =
        base.outcomes.iter().filter(|found| is_count(&found.measure)).map(|found| found.set.as_str()).collect();
    sets.into_iter().enumerate().filter_map(|(number, set)| of_set(base, variant, set, number)).collect()
}

fn of_set(base: &VariantReport, variant: &VariantReport, set: &str, number: usize) -> Option<FigureView> {
    let title = format!("{set}: cautionary phrases, base to {}", variant.name);
    let mut table =
        TableView::new(&format!("{title}, in 100 answers"), &["phrase", "base#", "here#", "change#", "95 % interval#"]);
    let mut estimates = Vec::new();
    let here = base.outcomes.iter().filter(|found| found.set == set && is_count(&found.measure));
    let (all, each): (Vec<_>, Vec<_>) = here.partition(|found| found.measure == PHRASES);
    let plain = |value: f64| signed(100.0 * value, 1).replace('-', "\u{2212}");
    for before in each.into_iter().chain(all) {
        let found = variant.outcomes.iter().find(|found| found.set == set && found.measure == before.measure);
        let Some(after) = found else { continue };
        let name = before.measure.strip_prefix(PHRASE).unwrap_or("all together").to_owned();
        let per_100 = |value: Option<f64>| {
            CellView::number(value.map(|value| format!("{:.1}", 100.0 * value)).unwrap_or_default(), value)
        };
        let paired = after.paired.as_ref();
        let change = paired.and_then(|paired| paired.change);
        table.row([
            CellView::from(name.as_str()),
            per_100(before.value),
            per_100(after.value),
            CellView {
                strong: paired.is_some_and(|paired| paired.significant),
                ..CellView::number(change.map(plain).unwrap_or_default(), change)
            },
            paired.and_then(|paired| paired.interval).map(|ends| interval(ends, plain)).unwrap_or_default().into(),
        ]);
        // What nobody said stands in the table alone.
        let said = before.measure == PHRASES || before.value > Some(0.0) || after.value > Some(0.0);
        if let Some((value, low, high)) = paired.filter(|_| said).and_then(|paired| paired_ends(paired, 100.0)) {
            let kind = if before.measure == PHRASES { Kind::Base } else { Kind::Front };
            estimates.push(Estimate { name, value, low, high, kind });
        }
    }
    let caption = "Lines are 95 % intervals of the paired change. Phrases that neither said are in the table alone. A phrase counts wherever its words stand; it is no verdict. One phrase \
                   at a time is corrected for the number of masks, not for the number of phrases."
        .to_owned();
    (!estimates.is_empty()).then(|| {
        figure(Told { id: &id("phrases", number), title: &title, caption, table }, &|colours| {
            rows(&estimates, "more or fewer in 100 answers", Some(0.0), colours)
        })
    })
}
