//! `dean status`: what of the pipeline is in the store, and where. Computes nothing.
//!
//! Must not know: how a plan is made.

use clap::Args as ClapArgs;

use super::args::{JsonArg, PipelineArgs};
use super::format::count;
use super::plan::{Row, table};
use super::print;
use crate::engine::State;
use crate::error::Result;

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    let job = args.pipeline.job()?;
    let (_, plan) = job.plan()?;
    if args.json.json {
        return print::json(&plan.nodes.iter().map(|planned| Row::of(&job, planned)).collect::<Vec<_>>());
    }
    let of = |state| plan.nodes.iter().filter(|planned| planned.state == state).count();
    print::line(table(&plan));
    print::line("");
    let partial = match of(State::Partial) {
        0 => String::new(),
        some => format!(", {some} partly"),
    };
    let total = count(plan.nodes.len(), "node");
    print::line(format_args!(
        "{} of {total} are in the store{partial}: {}",
        of(State::Hit),
        job.store.root().display()
    ));
    Ok(())
}
