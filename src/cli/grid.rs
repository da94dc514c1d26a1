//! `dean grid`: how many weights each point selects and which points coincide, before anything is generated.
//!
//! A grid of several p and several q is drawn as a map, other points are listed. Must not know: how weights are selected.

use clap::Args as ClapArgs;

use super::args::{Job, JsonArg, PipelineArgs};
use super::format::{count, number, point};
use super::print;
use crate::engine::Planner;
use crate::error::Result;
use crate::layout::{Align, Table};
use crate::sweep::grid::{GridPoint, grid};

/// A grid with fewer points is listed.
const MAPPED: usize = 9;
/// The most columns of a map; of more, every so many are drawn.
const COLUMNS: usize = 12;
/// The same of rows.
const ROWS: usize = 24;

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    let job = args.pipeline.job()?;
    let points = of_job(&job)?;
    if args.json.json {
        return print::json(&points);
    }
    match map(&points) {
        Some(map) => print::line(map),
        None => print::line(table(&points)),
    }
    let distinct = points.iter().filter(|point| point.same_as.is_none() && point.weights > 0).count();
    let (points, variants) = (count(points.len(), "point"), count(distinct, "variant"));
    print::line(format_args!("\n{}: {points}, {variants} beside the base", job.pipeline.select.rule));
    Ok(())
}

/// The grid of a job. Its plan is made for one point, since planning would make the masks of all.
fn of_job(job: &Job) -> Result<Vec<GridPoint>> {
    let mut one = job.pipeline.clone();
    one.select.points.truncate(1);
    grid(&Planner::new(&one, &job.store, &job.models), &job.pipeline)
}

fn table(points: &[GridPoint]) -> Table {
    let mut table = Table::new()
        .column("point", Align::Left)
        .column("weights", Align::Right)
        .column("mask", Align::Left)
        .column("changes at", Align::Left)
        .column("", Align::Left);
    for here in points {
        let remark = match here.same_as {
            _ if here.weights == 0 => "empty: equals the base".into(),
            Some((p, q)) => format!("same as {}", point(p, q)),
            None => String::new(),
        };
        let next = [here.next_q.map(|q| format!("q={}", exact(q))), here.next_p.map(|p| format!("p={}", exact(p)))];
        table.row([
            here.name.clone(),
            here.weights.to_string(),
            here.mask.map_or_else(|| "-".into(), |mask| mask.short()),
            next.into_iter().flatten().collect::<Vec<_>>().join(", "),
            remark,
        ]);
    }
    table
}

/// A fraction with the digits that tell it from its neighbours.
fn exact(fraction: f64) -> String {
    format!("{fraction:.3e}")
}

/// The number of weights by p and q, if the grid has several of both and every pair of them.
fn map(points: &[GridPoint]) -> Option<String> {
    let distinct = |value: &dyn Fn(&GridPoint) -> Option<f64>| -> Option<Vec<f64>> {
        let mut values: Vec<f64> = points.iter().map(value).collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        values.dedup();
        Some(values)
    };
    let (ps, qs) = (distinct(&|point| point.p)?, distinct(&|point| Some(point.q))?);
    if points.len() < MAPPED || ps.len() < 2 || qs.len() < 2 || ps.len() * qs.len() != points.len() {
        return None;
    }
    let at = |p: f64, q: f64| points.iter().find(|point| point.p == Some(p) && point.q == q);
    let (across, down) = (thinned(&ps, COLUMNS), thinned(&qs, ROWS));
    let mut table = Table::new().column("q \\ p", Align::Left);
    for p in &across {
        table = table.column(&number(*p), Align::Right);
    }
    for q in down.iter().rev() {
        let cells = across.iter().map(|p| match at(*p, *q) {
            Some(here) if here.weights == 0 => "·".to_owned(),
            Some(here) if here.same_as.is_some() => format!("{}=", here.weights),
            Some(here) => here.weights.to_string(),
            None => String::new(),
        });
        table.cells(std::iter::once(number(*q)).chain(cells));
    }
    let thinned = match across.len() < ps.len() || down.len() < qs.len() {
        true => {
            format!("\ndrawn: {} of {} p, {} of {} q; --json has all", across.len(), ps.len(), down.len(), qs.len())
        }
        false => String::new(),
    };
    Some(format!(
        "weights selected\n{table}\n\n·  none, equal to the base    =  as many and the same as at an earlier point{thinned}"
    ))
}

/// At most so many values, evenly, the first and the last among them.
fn thinned(values: &[f64], most: usize) -> Vec<f64> {
    if values.len() <= most {
        return values.to_vec();
    }
    (0..most).filter_map(|number| values.get(number * (values.len() - 1) / (most - 1)).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn here(p: f64, q: f64, weights: u64, mask: &str, same_as: Option<(Option<f64>, f64)>) -> GridPoint {
        let mask = Some(Digest::of(mask.as_bytes()));
        let name = point(Some(p), q);
        GridPoint { name, p: Some(p), q, weights, mask, same_as, next_p: None, next_q: Some(q * 1.25) }
    }

    #[test]
    fn coincidences_and_empty_points_are_named() {
        let points = [
            here(1e-5, 1e-6, 0, "none", None),
            here(1e-5, 1e-5, 1_204, "some", None),
            here(1e-5, 2e-5, 1_204, "some", Some((Some(1e-5), 1e-5))),
        ];
        insta::assert_snapshot!(table(&points), @"
        point          weights  mask      changes at
        p=1e-5 q=1e-6        0  8ac49f51  q=1.250e-6  empty: equals the base
        p=q=1e-5          1204  2f610cf2  q=1.250e-5
        p=1e-5 q=2e-5     1204  2f610cf2  q=2.500e-5  same as p=q=1e-5
        ");
        assert!(map(&points).is_none(), "one p is no map");
    }

    #[test]
    fn a_grid_of_several_p_and_q_is_a_map() {
        let (ps, qs) = ([1e-6, 3e-6, 1e-5], [1e-6, 1e-5, 1e-4]);
        let cell = |(row, q): (usize, f64), (column, p): (usize, f64)| match (row, column) {
            (0, _) => here(p, q, 0, "none", None),
            (1, 1) => here(p, q, 12, "a", Some((Some(1e-6), q))),
            _ => here(p, q, 12 * (10_u64.pow(row as u32 - 1)) - column as u64, &format!("{row}{column}"), None),
        };
        let rows = qs.into_iter().enumerate();
        let points: Vec<GridPoint> =
            rows.flat_map(|row| ps.into_iter().enumerate().map(move |column| cell(row, column))).collect();
        insta::assert_snapshot!(map(&points).unwrap(), @r"
        weights selected
        q \ p  1e-6  3e-6  1e-5
        1e-4    120   119   118
        1e-5     12   12=    10
        1e-6      ·     ·     ·

        ·  none, equal to the base    =  as many and the same as at an earlier point
        ");
    }

    #[test]
    fn many_values_are_thinned_evenly_with_both_ends() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let thin = thinned(&values, 4);
        assert_eq!(thin, [0.0, 33.0, 66.0, 99.0]);
        assert_eq!(thinned(&values[..3], 4), values[..3]);
    }
}
