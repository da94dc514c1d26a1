//! Where the chosen weights lie, by layer and matrix.
//!
//! Must not know: how weights were chosen, how a chart is drawn.

use std::collections::{BTreeMap, BTreeSet};

use super::id;
use crate::model::matrix::{MatrixId, Projection};
use crate::page::charts::{Cells, cells};
use crate::page::figure::{Told, figure};
use crate::page::given::Places;
use crate::page::shape::{CellView, FigureView, TableView};
use crate::report::{Report, VariantReport};

/// Counts by layer and projection. The experts of a mixture are added up. What is in no layer is counted apart.
struct Layers {
    counts: BTreeMap<(usize, Projection), u64>,
    elsewhere: u64,
}

impl Layers {
    fn of(places: &Places) -> Self {
        let mut layers = Self { counts: BTreeMap::new(), elsewhere: 0 };
        for (tensor, count) in &places.tensors {
            match MatrixId::parse(tensor) {
                Some(id) => *layers.counts.entry((id.layer, id.projection)).or_default() += count,
                None => layers.elsewhere += count,
            }
        }
        layers
    }

    fn projections(&self) -> Vec<Projection> {
        let used: BTreeSet<Projection> = self.counts.keys().map(|(_, projection)| *projection).collect();
        used.into_iter().collect()
    }
}

/// The map of the variant that is looked at.
pub fn figure_of(variant: &VariantReport, places: &[Places]) -> Option<FigureView> {
    let places = places.iter().find(|places| Some(places.mask) == variant.mask)?;
    let layers = Layers::of(places);
    let projections = layers.projections();
    let last = layers.counts.keys().map(|(layer, _)| *layer).max()?;
    let title = format!("{}: weights by layer and matrix", variant.name);
    let head: Vec<String> = std::iter::once("layer#".to_owned())
        .chain(projections.iter().map(|projection| format!("{}#", projection.name())))
        .chain(["all#".to_owned()])
        .collect();
    let mut table = TableView::new(&title, &head.iter().map(String::as_str).collect::<Vec<_>>());
    let mut values = Vec::new();
    for layer in 0..=last {
        let counts: Vec<u64> = projections
            .iter()
            .map(|projection| layers.counts.get(&(layer, *projection)).copied().unwrap_or_default())
            .collect();
        let all: u64 = counts.iter().sum();
        let number = CellView::from(layer as u64);
        table.row(std::iter::once(number).chain(counts.iter().map(|count| CellView::from(*count))).chain([all.into()]));
        #[expect(clippy::cast_precision_loss, reason = "counts that are coloured and shown")]
        values.push(counts.into_iter().map(|count| count as f64).collect::<Vec<f64>>());
    }
    // The first layer stands at the top.
    values.reverse();
    let text = |count: f64| format!("{count:.0}");
    let colour = |count: f64| (1.0 + count).ln();
    let drawn = Cells {
        columns: projections.iter().map(|projection| projection.name().to_owned()).collect(),
        rows: (0..=last).rev().map(|layer| layer.to_string()).collect(),
        titles: ["matrix", "layer"],
        values,
        text: &text,
        colour: &colour,
        tall: 20.0,
    };
    let mut caption = "How many weights of each matrix were chosen; the colour follows the logarithm. Matrices differ in size, and a rule \
                       takes a share of each, so numbers differ for that reason too."
        .to_owned();
    if layers.elsewhere > 0 {
        caption.push_str(&format!(" {} weights lie in no layer.", layers.elsewhere));
    }
    let told = Told { id: &id("places", 0), title: &title, caption, table };
    Some(figure(told, &|colours| cells(&drawn, colours)))
}

/// All masks: how many weights, in how many matrices, and their shares by projection.
pub fn table(report: &Report, all: &[Places]) -> Option<TableView> {
    let layers: Vec<(&VariantReport, Layers)> = report
        .variants
        .iter()
        .filter_map(|row| Some((row, Layers::of(all.iter().find(|places| Some(places.mask) == row.mask)?))))
        .collect();
    let used: BTreeSet<Projection> = layers.iter().flat_map(|(_, layers)| layers.projections()).collect();
    let head: Vec<String> = ["variant", "weights#", "matrices#", "layer with most#"]
        .map(str::to_owned)
        .into_iter()
        .chain(used.iter().map(|projection| format!("{}#", projection.name())))
        .collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = TableView::new("Every mask: its weights, and its share of each kind of matrix in percent", &head);
    for (row, layers) in &layers {
        let sum = |wanted: &dyn Fn(&(usize, Projection)) -> bool| -> u64 {
            layers.counts.iter().filter(|(place, _)| wanted(place)).map(|(_, count)| count).sum()
        };
        let whole = sum(&|_| true);
        let by_layer = |layer: usize| sum(&|(here, _)| *here == layer);
        let numbers: BTreeSet<usize> = layers.counts.keys().map(|(layer, _)| *layer).collect();
        // The first of the largest.
        let most = numbers.iter().rev().max_by_key(|layer| by_layer(**layer));
        #[expect(clippy::cast_precision_loss, reason = "counts of weights as a share")]
        let share = |projection: Projection| {
            let share = sum(&|(_, here)| *here == projection) as f64 / whole.max(1) as f64;
            CellView::number(format!("{:.0}", 100.0 * share), Some(share))
        };
        let most = most.map(|layer| format!("{layer} ({})", by_layer(*layer))).unwrap_or_default();
        let cells =
            [CellView::from(row.name.as_str()), row.weights.into(), (layers.counts.len() as u64).into(), most.into()];
        table.row(cells.into_iter().chain(used.iter().map(|projection| share(*projection))));
    }
    (!table.rows.is_empty()).then_some(table)
}
