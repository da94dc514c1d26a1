//! The table of all variants: a row for each, with every measure, its change against the base and the interval of that.
//!
//! Must not know: how a table is drawn, which variant is the best.

use super::front::{Axes, Kind, places};
use super::shape::{CellView, Head, RowView, TableView};
use crate::report::measures::Summary;
use crate::report::text::columns::{Block, Detail, blocks, is_noise};
use crate::report::{Finding, Report, VariantReport};

/// The table.
pub fn table(report: &Report, axes: Option<&Axes>) -> TableView {
    let all = blocks(&report.variants);
    let shown: Vec<&Block> = all.iter().filter(|block| block.has_columns()).collect();
    let mut table = TableView::new("Every variant and what was measured on it", &["variant", "weights#"]);
    table.groups.push((String::new(), 2));
    for block in &shown {
        let titles = titles(block);
        table.groups.push((block.above(&all), titles.len()));
        table.head.extend(titles.into_iter().map(|title| Head { title, number: true }));
    }
    // Neighbours under one title are one group.
    table.groups.dedup_by(|next, group| {
        let same = next.0 == group.0;
        if same {
            group.1 += next.1;
        }
        same
    });
    let places = axes.map(|axes| places(report, axes)).unwrap_or_default();
    for (number, variant) in report.variants.iter().enumerate() {
        let kind =
            places.iter().find(|place| place.variant == number).map_or_else(|| plain(variant), |place| place.kind);
        let mut name = CellView::from(variant.name.as_str());
        name.order = u32::try_from(number).ok().map(f64::from);
        if is_noise(variant, &all) {
            name.text.push_str(" ~");
        }
        let mut cells = vec![name, CellView::from(variant.weights)];
        cells.extend(shown.iter().flat_map(|block| row(block, variant)));
        table.rows.push(RowView { kind: kind.name().into(), cells });
    }
    table
}

fn plain(variant: &VariantReport) -> Kind {
    match (&variant.mask, variant.points.is_empty()) {
        (None, _) => Kind::Base,
        (Some(_), true) => Kind::Control,
        (Some(_), false) => Kind::Other,
    }
}

fn titles(block: &Block) -> Vec<String> {
    let title = block.measure.title.to_string();
    let titles: &[&str] = match block.measure.summary {
        Summary::Share { .. } => &["", "change", "95 % interval", "flips", "p"],
        Summary::Mean => &["", "change", "95 % interval", "p"],
        Summary::ExpMean { .. } => &["value", "ratio", "95 % interval", "p"],
        Summary::Portion { .. } => &[""],
        Summary::Distance { .. } => &["", "95th"],
        Summary::Flaw { .. } | Summary::Detail => &[],
    };
    titles.iter().map(|name| if name.is_empty() { title.clone() } else { (*name).to_owned() }).collect()
}

fn row(block: &Block, variant: &VariantReport) -> Vec<CellView> {
    let found = block.find(variant);
    let orders = found.map(|found| orders(block, found)).unwrap_or_default();
    let cells = block.cells(variant, Detail::Paired).into_iter().enumerate();
    let cell = |(at, cell): (usize, crate::layout::Cell)| CellView {
        // A minus is as wide as a plus.
        text: if at > 0 { cell.text.replace('-', "\u{2212}") } else { cell.text },
        order: orders.get(at).copied().flatten().filter(|order| order.is_finite()),
        strong: cell.tone.is_some(),
    };
    cells.map(cell).collect()
}

/// What each of the cells is sorted by.
fn orders(block: &Block, found: &Finding) -> Vec<Option<f64>> {
    let paired = found.paired.as_ref();
    let change = paired.and_then(|paired| paired.change).or(found.change).or(found.ratio);
    let low = paired.and_then(|paired| paired.interval).map(|(low, _)| low);
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let flips = paired.and_then(|paired| Some((paired.lost? + paired.won?) as f64));
    let p = paired.and_then(|paired| paired.holm.or(paired.p));
    match block.measure.summary {
        Summary::Share { .. } => vec![found.value, change, low, flips, p],
        Summary::Mean | Summary::ExpMean { .. } => vec![found.value, change, low, p],
        Summary::Distance { .. } => vec![found.value, found.high],
        Summary::Portion { .. } | Summary::Flaw { .. } | Summary::Detail => vec![found.value],
    }
}
