//! What points cost, and how large they are: a p x q map of each measure where the grid is one, else rows with intervals.
//!
//! Must not know: how a chart is drawn.

use std::collections::BTreeSet;

use super::{id, paired_ends};
use crate::naming::number;
use crate::page::charts::{Cells, Estimate, cells, rows};
use crate::page::figure::{Told, figure};
use crate::page::front::Kind;
use crate::page::shape::{CellView, FigureView, TableView};
use crate::report::measures::Summary;
use crate::report::text::columns::{Block, blocks};
use crate::report::text::numbers::{digits, interval, ratio};
use crate::report::{Report, VariantReport};

/// The most measures that have a map.
const MAPS: usize = 12;

/// The p and the q of a grid that fills a rectangle of at least two by two.
struct Grid {
    p: Vec<f64>,
    q: Vec<f64>,
}

impl Grid {
    fn of(report: &Report) -> Option<Self> {
        let points = || report.variants.iter().flat_map(|row| &row.points);
        // Positive numbers sort as their bits do.
        let sorted = |values: BTreeSet<u64>| values.into_iter().map(f64::from_bits).collect::<Vec<f64>>();
        let p = sorted(points().filter_map(|point| point.p).map(f64::to_bits).collect());
        let q = sorted(points().map(|point| point.q.to_bits()).collect());
        let is_map = p.len() > 1 && q.len() > 1 && 2 * points().count() >= p.len() * q.len();
        is_map.then_some(Self { p, q })
    }

    /// The variant at a point, which may be the base.
    fn at<'a>(&self, report: &'a Report, p: f64, q: f64) -> Option<&'a VariantReport> {
        let is_here = |row: &&VariantReport| {
            row.points
                .iter()
                .any(|point| point.q.to_bits() == q.to_bits() && point.p.map(f64::to_bits) == Some(p.to_bits()))
        };
        report.variants.iter().find(is_here)
    }
}

/// What a quantity is of a variant, where it is known.
type Value<'a> = Box<dyn Fn(&VariantReport) -> Option<f64> + 'a>;

/// One quantity of a map.
struct Quantity<'a> {
    title: String,
    caption: String,
    value: Value<'a>,
    text: fn(f64) -> String,
    /// What it is coloured by.
    colour: fn(f64) -> f64,
}

/// The maps of a grid; none where the points are no grid.
pub fn maps(report: &Report) -> Vec<FigureView> {
    let Some(grid) = Grid::of(report) else { return Vec::new() };
    let all = blocks(&report.variants);
    let quantities = std::iter::once(weights()).chain(all.iter().filter_map(quantity)).take(MAPS);
    quantities.enumerate().map(|(number, quantity)| map(report, &grid, &quantity, number)).collect()
}

fn weights<'a>() -> Quantity<'a> {
    #[expect(clippy::cast_precision_loss, reason = "a count that is coloured and shown")]
    Quantity {
        title: "Weights changed".into(),
        caption: "How many weights each point changes. The colour follows the logarithm.".into(),
        value: Box::new(|row| Some(row.weights as f64)),
        text: |value| if value >= 1e5 { format!("{value:.1e}") } else { format!("{value:.0}") },
        colour: |value| (1.0 + value).ln(),
    }
}

fn quantity(block: &Block) -> Option<Quantity<'_>> {
    let title = match block.measure.summary {
        Summary::ExpMean { .. } => format!("{}: {} over the base's", block.set, block.measure.title),
        _ => format!("{}: {}", block.set, block.measure.title),
    };
    let value = Box::new(|row: &VariantReport| block.find(row)?.value);
    Some(match block.measure.summary {
        Summary::Share { .. } => Quantity {
            title,
            caption: "Percent of the answers. The intervals are in the table of every variant, below.".into(),
            value,
            text: |share| format!("{:.0}", 100.0 * share),
            colour: |share| share,
        },
        Summary::Portion { .. } => Quantity {
            title,
            caption: "Percent of the answers.".into(),
            value,
            text: |share| format!("{:.0}", 100.0 * share),
            colour: |share| share,
        },
        Summary::ExpMean { .. } => Quantity {
            title,
            caption: "1 is the base's. The colour follows the logarithm; the intervals are in the table of every variant, below.".into(),
            value: Box::new(|row: &VariantReport| {
                let found = block.find(row)?;
                found.ratio.or_else(|| row.mask.is_none().then_some(1.0))
            }),
            text: ratio,
            colour: f64::ln,
        },
        Summary::Distance { .. } => Quantity {
            title,
            caption: "Nats, the mean over the questions. The colour follows the logarithm.".into(),
            value,
            text: |value| if value < 0.0995 { format!("{value:.3}") } else { digits(value, 3) },
            colour: |value| (1e-3 + value).ln(),
        },
        Summary::Mean => Quantity {
            title,
            caption: "The mean over the rows.".into(),
            value,
            text: |value| format!("{value:.2}"),
            colour: |value| value,
        },
        Summary::Flaw { .. } | Summary::Detail => return None,
    })
}

fn map(report: &Report, grid: &Grid, quantity: &Quantity<'_>, number_of_map: usize) -> FigureView {
    let value = |p: f64, q: f64| grid.at(report, p, q).and_then(|row| (quantity.value)(row)).unwrap_or(f64::NAN);
    let values: Vec<Vec<f64>> = grid.p.iter().map(|p| grid.q.iter().map(|q| value(*p, *q)).collect()).collect();
    let head: Vec<String> =
        std::iter::once("p \\ q".to_owned()).chain(grid.q.iter().map(|q| format!("{}#", number(*q)))).collect();
    let mut table = TableView::new(&quantity.title, &head.iter().map(String::as_str).collect::<Vec<_>>());
    for (p, row) in grid.p.iter().zip(&values) {
        let cell = |value: &f64| match value.is_finite() {
            true => CellView::number((quantity.text)(*value), Some(*value)),
            false => CellView::from(""),
        };
        table.row(std::iter::once(CellView::number(number(*p), Some(*p))).chain(row.iter().map(cell)));
    }
    let text = |value: f64| if value.is_finite() { (quantity.text)(value) } else { "nothing".to_owned() };
    let drawn = Cells {
        columns: grid.q.iter().map(|q| number(*q)).collect(),
        rows: grid.p.iter().map(|p| number(*p)).collect(),
        titles: ["q", "p"],
        values,
        text: &text,
        colour: &quantity.colour,
        tall: 30.0,
    };
    let told = Told { id: &id("map", number_of_map), title: &quantity.title, caption: quantity.caption.clone(), table };
    figure(told, &|colours| cells(&drawn, colours))
}

/// Perplexity against the base's, with intervals.
pub fn perplexities(report: &Report) -> Vec<FigureView> {
    let all = blocks(&report.variants);
    let texts = all.iter().filter(|block| block.measure.summary.is_compared_by_ratio());
    texts.enumerate().filter_map(|(number, block)| perplexity(report, block, number)).collect()
}

/// The most rows of the chart.
const ROWS: usize = 40;

fn perplexity(report: &Report, block: &Block, number: usize) -> Option<FigureView> {
    let title = format!("{}: {} over the base's", block.set, block.measure.title);
    let mut table = TableView::new(&title, &["variant", "value#", "ratio#", "95 % interval#"]);
    let mut estimates = Vec::new();
    for row in report.variants.iter().filter(|row| row.mask.is_some()) {
        let Some(found) = block.find(row) else { continue };
        let Some((value, low, high)) = found.paired.as_ref().and_then(|paired| paired_ends(paired, 1.0)) else {
            continue;
        };
        let kind = if row.points.is_empty() { Kind::Control } else { Kind::Other };
        let value_text = found.value.map(|value| digits(value, 4)).unwrap_or_default();
        let ends = found.paired.as_ref().and_then(|paired| paired.interval);
        table.kind_of_row(
            kind.name(),
            [
                CellView::from(row.name.as_str()),
                CellView::number(value_text, found.value),
                CellView::number(format!("×{}", ratio(value)), Some(value)),
                ends.map(|ends| interval(ends, ratio)).unwrap_or_default().into(),
            ],
        );
        estimates.push(Estimate { name: row.name.clone(), value, low, high, kind });
    }
    // One wrecked variant would press all others into one place.
    let sane = |one: &Estimate| one.high < 3.0;
    let (left, wrecked) =
        (estimates.iter().filter(|one| sane(one)).count(), estimates.iter().filter(|one| !sane(one)).count());
    let mut caption =
        "1 is the base's perplexity; lines are 95 % intervals over the windows of the text, each for itself."
            .to_owned();
    if left > 0 && wrecked > 0 {
        estimates.retain(sane);
        caption.push_str(&format!(" {wrecked} whose interval reaches 3 or more stand in the table alone."));
    }
    if estimates.len() > ROWS {
        estimates.truncate(ROWS);
        caption.push_str(&format!(" The chart has the first {ROWS} variants; the table has all."));
    }
    (!estimates.is_empty()).then(|| {
        figure(Told { id: &id("perplexity", number), title: &title, caption, table }, &|colours| {
            rows(&estimates, "ratio to the base's perplexity", Some(1.0), colours)
        })
    })
}
