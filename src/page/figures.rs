//! The figures of a page, each with the table behind it: gains, intervals, costs, phrases, places, draws.
//!
//! Must not know: how a chart is drawn, how the page looks.

pub mod costs;
pub mod draws;
pub mod gains;
pub mod phrases;
pub mod places;

use crate::report::paired::Paired;

/// An interval's ends, or the value itself where none is known.
fn ends(interval: Option<(f64, f64)>, value: f64) -> (f64, f64) {
    interval.unwrap_or((value, value))
}

/// The interval of a comparison, if it is one.
fn paired_ends(paired: &Paired, factor: f64) -> Option<(f64, f64, f64)> {
    let change = paired.change?;
    let (low, high) = ends(paired.interval, change);
    [change, low, high].iter().all(|value| value.is_finite()).then_some((factor * change, factor * low, factor * high))
}

/// An id that a page and a file may have: letters, digits and dashes of a text, and a number that makes it unique.
fn id(kind: &str, number: usize) -> String {
    format!("{kind}-{}", number + 1)
}
