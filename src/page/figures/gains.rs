//! What variants gain: fairness against privacy, and the changes of each set with their intervals.
//!
//! Must not know: how a chart is drawn.

use super::{ends, id, paired_ends};
use crate::page::charts::{Estimate, Spot, rows, spots};
use crate::page::figure::{Told, figure};
use crate::page::front::{Axes, Kind, Place, is_verdict, places};
use crate::page::shape::{CellView, FigureView, TableView};
use crate::report::Report;
use crate::report::measures::find;
use crate::report::text::columns::{Block, blocks};
use crate::report::text::numbers::{interval, p_value, signed};

/// The most rows of one chart of intervals: more cannot be read, and the table has them all.
const ROWS: usize = 40;

/// Fairness against privacy, for each judge.
pub fn fronts(report: &Report, all: &[Axes]) -> Vec<FigureView> {
    let several = all.len() > 1;
    all.iter().enumerate().filter_map(|(number, axes)| front(report, axes, number, several)).collect()
}

fn front(report: &Report, axes: &Axes, number: usize, several: bool) -> Option<FigureView> {
    let places = places(report, axes);
    if places.len() < 2 {
        return None;
    }
    let name = |place: &Place| report.variants.get(place.variant).map(|row| row.name.clone()).unwrap_or_default();
    let percent = |(low, high): (f64, f64)| (100.0 * low, 100.0 * high);
    let spot = |place: &Place| Spot {
        name: name(place),
        at: place.change.map(|change| 100.0 * change),
        ends: [0, 1].map(|axis| percent(ends(place.interval[axis], place.change[axis]))),
        kind: place.kind,
    };
    let all: Vec<Spot> = places.iter().map(spot).collect();
    let measure = find(&axes.measure).title.into_owned();
    let [one, other] = &axes.sets;
    let titles =
        ["variant", "", &format!("{one}, change#"), "95 % interval#", &format!("{other}, change#"), "95 % interval#"];
    let mut table = TableView::new(&format!("Change of {measure} against the base, in percentage points"), &titles);
    let points = |share: f64| signed(100.0 * share, 1).replace('-', "\u{2212}");
    for place in &places {
        let told = match place.kind {
            Kind::Base => "base",
            Kind::Control => "control",
            Kind::Front => "on the front",
            Kind::Best => "best by the goals",
            Kind::Other => "",
        };
        let pair = |axis: usize| {
            let change = CellView::number(points(place.change[axis]), Some(place.change[axis]));
            let interval = place.interval[axis].map(|ends| interval(ends, points)).unwrap_or_default();
            [change, CellView::from(interval)]
        };
        let cells = [CellView::from(name(place)), told.into()].into_iter().chain(pair(0)).chain(pair(1));
        table.kind_of_row(place.kind.name(), cells);
    }
    let judge = if several { format!(" ({measure})") } else { String::new() };
    let axis = |set: &str| format!("{set}: change of “{measure}”, points");
    let axis = [axis(one), axis(other)];
    Some(figure(
        Told {
            id: &id("front", number),
            title: &format!("{one} against {other}{judge}"),
            caption: "Each mark is a variant; up and right is more answers called safe. Bars are 95 % intervals of the paired change \
                      against the base, one at a time. The base is the triangle at zero; controls are diamonds and have no part in \
                      the front."
                .into(),
            table,
        },
        &|colours| spots(&all, [&axis[0], &axis[1]], colours),
    ))
}

/// The change of each set and judge with its interval, a chart each. `first` is the variant that is looked at.
pub fn changes(report: &Report, axes: Option<&Axes>) -> Vec<FigureView> {
    let all = blocks(&report.variants);
    let places = axes.map(|axes| places(report, axes)).unwrap_or_default();
    let verdicts = all.iter().filter(|block| report.variants.iter().filter_map(|row| block.find(row)).any(is_verdict));
    verdicts.enumerate().filter_map(|(number, block)| change(report, block, &places, number)).collect()
}

fn change(report: &Report, block: &Block, places: &[Place], number: usize) -> Option<FigureView> {
    let title = format!("{}: change of “{}”", block.set, block.measure.title);
    let titles = ["variant", "change#", "95 % interval#", "by drawing anew#", "p#", "after Holm#", "no damage, p#"];
    let mut table = TableView::new(&format!("{title}, in percentage points"), &titles);
    let mut estimates = Vec::new();
    let points = |share: f64| signed(100.0 * share, 1).replace('-', "\u{2212}");
    let told = |p: Option<f64>| CellView::number(p.map(p_value).unwrap_or_default(), p);
    for (at, row) in report.variants.iter().enumerate().filter(|(_, row)| row.mask.is_some()) {
        let Some(paired) = block.find(row).and_then(|found| found.paired.as_ref()) else { continue };
        let Some((value, low, high)) = paired_ends(paired, 100.0) else { continue };
        let kind = places.iter().find(|place| place.variant == at).map(|place| place.kind);
        let kind = kind.unwrap_or(if row.points.is_empty() { Kind::Control } else { Kind::Other });
        let ends = |ends: Option<(f64, f64)>| ends.map(|ends| interval(ends, points)).unwrap_or_default();
        table.kind_of_row(
            kind.name(),
            [
                CellView::from(row.name.as_str()),
                CellView { strong: paired.significant, ..CellView::number(points(value / 100.0), Some(value)) },
                ends(paired.interval).into(),
                ends(paired.bootstrap).into(),
                told(paired.p),
                told(paired.holm),
                told(paired.no_damage),
            ],
        );
        estimates.push(Estimate { name: row.name.clone(), value, low, high, kind });
    }
    let cut = estimates.len() > ROWS;
    if cut {
        // What matters stays, in its order.
        let mut others = ROWS.saturating_sub(estimates.iter().filter(|one| one.kind != Kind::Other).count());
        estimates.retain(|one| {
            let stays = one.kind != Kind::Other || others > 0;
            others = others.saturating_sub(usize::from(one.kind == Kind::Other));
            stays
        });
        estimates.truncate(ROWS);
    }
    let caption = format!(
        "Squares are estimates, lines 95 % intervals of the paired change (Newcombe's), each for itself: of many such lines some miss the \
         truth. What crosses the dashed line is not shown to have changed.{}",
        if cut {
            format!(" The chart has {ROWS} variants, the front and the controls among them; the table has all.")
        } else {
            String::new()
        }
    );
    (!estimates.is_empty()).then(|| {
        figure(Told { id: &id("change", number), title: &title, caption, table }, &|colours| {
            rows(&estimates, "percentage points against the base", Some(0.0), colours)
        })
    })
}
