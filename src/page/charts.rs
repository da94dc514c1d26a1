//! The three kinds of chart: points on two axes, rows with intervals, and a map of cells.
//!
//! Everything is in numbers and names here; what they mean is the callers'. Must not know: reports, measures.

use std::sync::Arc;

use kuva::plot::ForestPlot;
use kuva::plot::heatmap::{ColorMap, Heatmap};
use kuva::plot::legend::{LegendEntry, LegendPosition, LegendShape};
use kuva::plot::scatter::{MarkerShape, ScatterPlot};
use kuva::render::annotations::{ReferenceLine, TextAnnotation};
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;

use super::figure::Colours;
use super::front::Kind;

const WIDTH: f64 = 640.0;
/// Up to so many points are named, or have bars as dark as they are.
const FEW: usize = 8;
/// The longest name beside an axis.
const LONGEST: usize = 26;

/// An estimate with its interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub name: String,
    pub value: f64,
    /// The interval's ends; the value itself where none is known.
    pub low: f64,
    pub high: f64,
    pub kind: Kind,
}

/// A point with its intervals on both axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    pub name: String,
    pub at: [f64; 2],
    pub ends: [(f64, f64); 2],
    pub kind: Kind,
}

impl Colours {
    const fn of(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Base => self.base,
            Kind::Control => self.control,
            Kind::Front => self.front,
            Kind::Best => self.best,
            Kind::Other => self.point,
        }
    }
}

/// Text for the sizes in which pages show drawings.
fn sized(layout: Layout, height: f64) -> Layout {
    layout.with_width(WIDTH).with_height(height).with_label_size(14).with_tick_size(12).with_body_size(12)
}

fn signed_tick() -> TickFormat {
    TickFormat::Custom(Arc::new(|value| {
        let text = format!("{value:+.4}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if matches!(text, "+0" | "-0" | "+" | "-") { "0".to_owned() } else { text.replace('-', "\u{2212}") }
    }))
}

/// Points on two axes, with intervals. The kinds that matter are drawn last and named.
pub fn spots(spots: &[Spot], titles: [&str; 2], colours: &Colours) -> (Vec<Plot>, Layout) {
    let series = [
        (Kind::Other, "other points", MarkerShape::Circle, 3.5),
        (Kind::Control, "controls", MarkerShape::Diamond, 5.0),
        (Kind::Front, "front", MarkerShape::Circle, 5.5),
        (Kind::Best, "best by the goals", MarkerShape::Square, 6.5),
        (Kind::Base, "base", MarkerShape::Triangle, 6.5),
    ];
    let mut plots = Vec::new();
    let mut entries = Vec::new();
    for (kind, legend, marker, size) in series {
        let here: Vec<&Spot> = spots.iter().filter(|spot| spot.kind == kind).collect();
        if here.is_empty() {
            continue;
        }
        let side = |axis: usize| {
            here.iter().map(move |spot| {
                let (low, high) = spot.ends[axis];
                ((spot.at[axis] - low).max(0.0), (high - spot.at[axis]).max(0.0))
            })
        };
        // The bars of many points that matter less are no darker than the grid.
        let faint = kind == Kind::Other && here.len() > FEW;
        let tips = here.iter().map(|spot| {
            let ends =
                |axis: usize| format!("{:+.1} [{:+.1}, {:+.1}]", spot.at[axis], spot.ends[axis].0, spot.ends[axis].1);
            format!("{}: {} {}, {} {}", spot.name, titles[0], ends(0), titles[1], ends(1))
        });
        let plot = ScatterPlot::new()
            .with_data(here.iter().map(|spot| (spot.at[0], spot.at[1])))
            .with_x_err_asymmetric(side(0))
            .with_y_err_asymmetric(side(1))
            .with_marker(marker)
            .with_size(size)
            .with_color(if faint { colours.grid } else { colours.of(kind) })
            .with_colors(here.iter().map(|_| colours.of(kind).to_owned()))
            .with_tooltip_labels(tips);
        let named = matches!(kind, Kind::Front | Kind::Best) && here.len() <= FEW;
        let plot = if named { plot.with_labels(here.iter().map(|spot| clipped(&spot.name))) } else { plot };
        plots.push(Plot::Scatter(plot));
        entries.push(LegendEntry {
            label: legend.into(),
            color: colours.of(kind).into(),
            shape: LegendShape::Marker(marker),
            dasharray: None,
        });
    }
    let layout = sized(Layout::auto_from_plots(&plots), 560.0)
        .with_x_label(titles[0])
        .with_y_label(titles[1])
        .with_x_tick_format(signed_tick())
        .with_y_tick_format(signed_tick())
        .with_legend_entries(entries)
        .with_legend_position(LegendPosition::OutsideBottomColumns)
        .with_legend_box(false)
        .with_reference_line(ReferenceLine::vertical(0.0).with_color(colours.line).with_dasharray("2 3"))
        .with_reference_line(ReferenceLine::horizontal(0.0).with_color(colours.line).with_dasharray("2 3"));
    (plots, layout)
}

/// Estimates with their intervals, one below the other, and a line where nothing changed.
pub fn rows(rows: &[Estimate], title: &str, nothing: Option<f64>, colours: &Colours) -> (Vec<Plot>, Layout) {
    let mut plot = ForestPlot::new().with_marker_size(4.0).with_whisker_width(1.6).with_cap_size(3.0);
    plot = match nothing {
        Some(nothing) => plot.with_null_value(nothing),
        None => plot.with_show_null_line(false),
    };
    for row in rows {
        plot = plot.with_colored_row(clipped(&row.name), row.value, row.low, row.high, colours.of(row.kind));
    }
    let plots = vec![Plot::Forest(plot)];
    let layout = sized(Layout::auto_from_plots(&plots), height(rows.len(), 24.0)).with_x_label(title);
    let layout = if nothing == Some(0.0) { layout.with_x_tick_format(signed_tick()) } else { layout };
    (plots, layout)
}

/// A map of cells: rows from the bottom, columns from the left. `text` is what a cell says.
pub struct Cells<'a> {
    pub columns: Vec<String>,
    pub rows: Vec<String>,
    pub titles: [&'a str; 2],
    /// By row, then column; what is not finite is empty.
    pub values: Vec<Vec<f64>>,
    pub text: &'a dyn Fn(f64) -> String,
    /// What a value is coloured by, where that is not the value.
    pub colour: &'a dyn Fn(f64) -> f64,
    pub tall: f64,
}

/// The most columns in which a cell has room for its number.
const ROOM: usize = 12;

pub fn cells(cells: &Cells<'_>, colours: &Colours) -> (Vec<Plot>, Layout) {
    let colour: Vec<Vec<f64>> =
        cells.values.iter().map(|row| row.iter().map(|value| (cells.colour)(*value)).collect()).collect();
    let tips = cells.rows.iter().zip(&cells.values).flat_map(|(row, values)| {
        cells.columns.iter().zip(values).map(move |(column, value)| {
            format!("{} {column}, {} {row}: {}", cells.titles[0], cells.titles[1], (cells.text)(*value))
        })
    });
    let own = *colours;
    let plot = Heatmap::new()
        .with_data(colour.clone())
        .with_color_map(ColorMap::Custom(Arc::new(move |share| own.scale(share))))
        .with_cell_size(0.97);
    // A cell that shows its number needs no other word.
    let shows = cells.columns.len() <= ROOM;
    let plot = if shows { plot } else { plot.with_tooltip_labels(tips.collect::<Vec<String>>()) };
    let plots = vec![Plot::Heatmap(plot)];
    let mut layout = sized(Layout::auto_from_plots(&plots), height(cells.rows.len(), cells.tall))
        .with_x_categories(cells.columns.clone())
        .with_y_categories(cells.rows.clone())
        .with_x_label(cells.titles[0])
        .with_y_label(cells.titles[1])
        .with_show_grid(false);
    layout.show_colorbar = false;
    if shows {
        // Annotations stand six pixels above their place; a number stands in the middle of its cell.
        let down = 10.0 / cells.tall;
        for (y, row) in (1_u32..).zip(&cells.values) {
            for (x, value) in (1_u32..).zip(row).filter(|(_, value)| value.is_finite()) {
                let text = (cells.text)(*value);
                layout = layout
                    .with_annotation(TextAnnotation::new(text, f64::from(x), f64::from(y) - down).with_font_size(11));
            }
        }
    }
    (plots, layout)
}

#[expect(clippy::cast_precision_loss, reason = "a few rows")]
fn height(rows: usize, each: f64) -> f64 {
    rows.max(2) as f64 * each + 80.0
}

fn clipped(name: &str) -> String {
    crate::layout::clip(name, LONGEST)
}
