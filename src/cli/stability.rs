//! `dean stability`: how much of a selection would be the same on other rows. Scores what that needs, then compares.
//!
//! Must not know: which parts are compared, how overlap is measured.

use clap::Args as ClapArgs;

use super::args::{Job, JsonArg, PipelineArgs};
use super::format::{WIDTH, number, wrap};
use super::print;
use super::run::compute;
use crate::error::Result;
use crate::layout::{Align, Table};
use crate::sweep::stability::{MaskRow, Stability, TopRow, compare, is_ready, widened};

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// How many other seeds to compare with; each scores all rows once more, and 0 compares only the halves
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=100))]
    seeds: u64,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    let job = Job::new(widened(&args.pipeline.pipeline()?, args.seeds)?)?;
    let (_, mut plan) = job.plan()?;
    if !is_ready(&plan) {
        plan = compute(&job, args.quiet, Some("score"), None)?.plan;
    }
    let stability = compare(&job.planner(), &plan, args.seeds)?;
    if args.json.json {
        return print::json(&stability);
    }
    print::line(tops(&stability.tops));
    print::line(format_args!("\n{}\n", masks(&stability.masks)));
    notes(&stability).iter().for_each(|note| print::line(wrap(note, WIDTH, 2)));
    Ok(())
}

fn tops(rows: &[TopRow]) -> Table {
    let mut table = Table::new()
        .column("data", Align::Left)
        .column("top", Align::Left)
        .column("k", Align::Left)
        .column("compared", Align::Left)
        .column("rows", Align::Right)
        .close_column("shared", Align::Right, 1)
        .group("overlap of the tops")
        .column("mean", Align::Right)
        .close_column("least", Align::Right, 1)
        .close_column("chance", Align::Right, 1);
    for row in rows {
        let mut cells = vec![
            row.data.clone(),
            format!("{}={}", row.setting, number(row.fraction)),
            "0".into(),
            row.compared.clone(),
        ];
        cells.extend([row.rows.to_string(), row.rows_shared.to_string()]);
        if let Some(overlap) = &row.overlap {
            let (least, most) = overlap.k;
            cells[2] = if least == most { least.to_string() } else { format!("{least} to {most}") };
            cells.extend([overlap.mean, overlap.min, overlap.chance].map(share));
        }
        table.cells(cells);
    }
    table
}

fn masks(rows: &[MaskRow]) -> Table {
    let mut table = Table::new()
        .column("point", Align::Left)
        .column("compared", Align::Left)
        .column("weights", Align::Right)
        .close_column("and", Align::Right, 1)
        .close_column("shared", Align::Right, 1)
        .group("overlap of the masks")
        .column("whole", Align::Right)
        .close_column("chance", Align::Right, 1);
    for row in rows {
        let of = |value: Option<f64>| value.map_or("-".into(), share);
        let (one, other) = row.overlap.weights;
        table.row([
            row.name.clone(),
            row.compared.clone(),
            one.to_string(),
            other.to_string(),
            row.overlap.shared.to_string(),
            of(row.overlap.jaccard),
            of(row.overlap.chance),
        ]);
    }
    table
}

/// `0.42`, `0.00`, and `2e-6` where two digits would hide what there is.
fn share(value: f64) -> String {
    if value > 0.0 && value < 0.005 { format!("{value:.0e}") } else { format!("{value:.2}") }
}

fn notes(stability: &Stability) -> Vec<String> {
    vec![
        format!("rule: {}", stability.rule),
        "overlap: of the weights in either set, the share that is in both (Jaccard); mean and least over the matrices, \
         chance for sets of the same sizes drawn at random"
            .into(),
        "halves: the first half of the drawn rows against the second, so each is scored on half the rows; seed +N: the \
         drawn rows against those that a seed higher by N draws. Rows in both make them alike, so look at shared"
            .into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::{MaskOverlap, TopOverlap};

    #[test]
    fn overlaps_are_tables_that_fit() {
        let top = |data: &str, compared: &str, rows_shared, overlap| TopRow {
            data: data.into(),
            setting: "q".into(),
            fraction: 1e-5,
            compared: compared.into(),
            rows: 32,
            rows_shared,
            overlap,
        };
        let overlap = TopOverlap {
            matrices: 90,
            k: (3, 8),
            mean: 0.234,
            min: 0.0,
            min_tensor: "model.layers.3.mlp.up_proj.weight".into(),
            chance: 4.5e-6,
        };
        let rows = [
            top("fairness", "halves", 0, Some(overlap.clone())),
            top("fairness", "seed +1", 7, Some(TopOverlap { k: (8, 8), ..overlap })),
            top("general", "halves", 0, None),
        ];
        insta::assert_snapshot!(tops(&rows), @"
                                                         overlap of the tops
        data      top     k       compared  rows shared  mean least chance
        fairness  q=1e-5  3 to 8  halves      32      0  0.23  0.00   5e-6
        fairness  q=1e-5  8       seed +1     32      7  0.23  0.00   5e-6
        general   q=1e-5  0       halves      32      0
        ");
        let mask = |weights, shared, jaccard, chance| MaskRow {
            name: "p=q=1e-5".into(),
            p: Some(1e-5),
            q: 1e-5,
            compared: "halves".into(),
            overlap: MaskOverlap { weights, shared, jaccard, chance },
        };
        let rows = [mask((101, 98), 12, Some(12.0 / 187.0), Some(1e-6)), mask((0, 0), 0, None, None)];
        insta::assert_snapshot!(masks(&rows), @"
                                                overlap of the masks
        point     compared  weights and shared  whole chance
        p=q=1e-5  halves        101  98     12   0.06   1e-6
        p=q=1e-5  halves          0   0      0      -      -
        ");
    }
}
