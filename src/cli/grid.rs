//! `dean grid`: how many weights each point selects and which points coincide, before anything is generated.
//!
//! Must not know: how weights are selected.

use clap::Args as ClapArgs;

use super::args::{JsonArg, PipelineArgs};
use super::format::{count, point};
use super::print;
use crate::error::Result;
use crate::layout::{Align, Table};
use crate::sweep::grid::{GridPoint, grid};

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    let job = args.pipeline.job()?;
    let (planner, plan) = job.plan()?;
    let points = grid(&planner, &plan)?;
    if args.json.json {
        return print::json(&points);
    }
    print::line(table(&points));
    let distinct = points.iter().filter(|point| point.same_as.is_none() && point.weights > 0).count();
    let (points, variants) = (count(points.len(), "point"), count(distinct, "variant"));
    print::line(format_args!("\n{}: {points}, {variants} beside the base", job.pipeline.select.rule));
    Ok(())
}

fn table(points: &[GridPoint]) -> Table {
    let mut table = Table::new()
        .column("point", Align::Left)
        .column("weights", Align::Right)
        .column("mask", Align::Left)
        .column("", Align::Left);
    for here in points {
        let remark = match here.same_as {
            _ if here.weights == 0 => "empty: equals the base".into(),
            Some((p, q)) => format!("same as {}", point(p, q)),
            None => String::new(),
        };
        table.row([point(here.p, here.q), here.weights.to_string(), here.mask.short(), remark]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn coincidences_and_empty_points_are_named() {
        let here = |q, weights, mask: &str, same_as| GridPoint {
            p: Some(1e-5),
            q,
            weights,
            mask: Digest::of(mask.as_bytes()),
            same_as,
        };
        let points = [
            here(1e-6, 0, "none", None),
            here(1e-5, 1_204, "some", None),
            here(2e-5, 1_204, "some", Some((Some(1e-5), 1e-5))),
        ];
        insta::assert_snapshot!(table(&points), @r"
        point           weights  mask
        p 1e-5, q 1e-6        0  8ac49f51  empty: equals the base
        p=q=1e-5           1204  2f610cf2
        p 1e-5, q 2e-5     1204  2f610cf2  same as p=q=1e-5
        ");
    }
}
