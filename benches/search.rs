//! The search of `dean search` over a table of what every point gave: benches/search runs it, and Optuna over the same table.
//!
//!     cargo bench --bench search -- TABLE POINTS
//!
//! Prints the places of the points in the table, in the order in which they were looked at. Must not know: how a table was made.

#![allow(clippy::disallowed_macros, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own input")]

use std::error::Error;

use dean::rank::Point;
use dean::search::{Answered, Estimate, Evaluate, Known, Limits, Space, search};
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    ps: Vec<f64>,
    qs: Vec<f64>,
    /// By name, what may not be exceeded.
    limits: Vec<(String, f64)>,
    /// Every q with every p, p changing fastest.
    points: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    weights: u64,
    /// Equal for equal masks.
    mask: String,
    /// In the order of the limits.
    cheap: Vec<Option<f64>>,
    gains: Vec<Estimate>,
}

struct Given<'a> {
    table: &'a Table,
    /// The place in the table of each site.
    places: Vec<usize>,
}

impl Given<'_> {
    fn row(&self, site: usize) -> dean::error::Result<&Row> {
        let row = self.places.get(site).and_then(|place| self.table.points.get(*place));
        row.ok_or_else(|| dean::error::Error::fault(format!("site {site} is not in the table")))
    }
}

impl Evaluate for Given<'_> {
    fn cheap(&mut self, site: usize) -> dean::error::Result<Vec<Option<f64>>> {
        Ok(self.row(site)?.cheap.clone())
    }

    fn answers(&mut self, site: usize, _: usize) -> dean::error::Result<Answered> {
        Ok(Answered { gains: self.row(site)?.gains.clone(), guards: Vec::new(), is_all: true })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [file, points] = arguments.as_slice() else {
        // `cargo test --benches` runs it without a table.
        return Ok(());
    };
    let table: Table = serde_json::from_slice(&std::fs::read(file)?)?;
    let mut masks: Vec<&str> = table.points.iter().map(|row| row.mask.as_str()).collect();
    masks.sort_unstable();
    let known = |row: &Row| Known {
        weights: row.weights,
        fingerprint: masks.partition_point(|mask| *mask < row.mask.as_str()) as u128,
        damage: None,
    };
    let known: Vec<Vec<Known>> =
        table.points.chunks(table.ps.len()).map(|row| row.iter().map(known).collect()).collect();
    let ps: Vec<Option<f64>> = table.ps.iter().copied().map(Some).collect();
    let space = Space::of_plane(&ps, &table.qs, &known);
    let place = |point: &Point| {
        let column = table.ps.iter().position(|p| Some(*p) == point.p)?;
        Some(table.qs.iter().position(|q| *q == point.q)? * table.ps.len() + column)
    };
    let places: Option<Vec<usize>> = space.sites().iter().map(|site| place(&site.point)).collect();
    let places = places.ok_or("a site is not in the table")?;
    let limits = Limits { cheap: table.limits.clone(), answers: Vec::new() };
    let mut given = Given { table: &table, places };
    let found = search(&space, &limits, points.parse()?, &mut given, &mut |_| {})?;
    let order: Vec<usize> = found.trials.iter().filter_map(|trial| given.places.get(trial.site).copied()).collect();
    println!("{}", serde_json::to_string(&order)?);
    Ok(())
}
