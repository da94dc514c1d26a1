//! The grid before anything is generated: how many weights each point selects, and which points coincide.
//!
//! Must not know: what is done with a mask.

use serde::Serialize;

use crate::digest::Digest;
use crate::engine::{Plan, Planner};
use crate::error::{Error, Result};
use crate::rank::Selection;

/// One point of the grid.
#[derive(Clone, Debug, Serialize)]
pub struct GridPoint {
    pub p: Option<f64>,
    pub q: f64,
    pub weights: u64,
    pub mask: Digest,
    /// The first point of the grid with the same mask, if that is another one.
    pub same_as: Option<(Option<f64>, f64)>,
}

/// The grid's points, in its order.
///
/// # Errors
/// Rank tables that are not there yet.
pub fn grid(planner: &Planner<'_>, plan: &Plan) -> Result<Vec<GridPoint>> {
    let Some(points) = planner.output_bytes(plan, "select", "points")? else {
        return Err(Error::user("the grid needs the rank tables of every data set, and some are not there yet")
            .hint("type `dean run --until score` first"));
    };
    let mut grid: Vec<GridPoint> = Vec::new();
    for point in Selection::points_from_parquet(points)?.1 {
        let same_as = grid.iter().find(|other| other.mask == point.mask).map(|other| (other.p, other.q));
        grid.push(GridPoint { p: point.p, q: point.q, weights: point.weights, mask: point.mask, same_as });
    }
    Ok(grid)
}
