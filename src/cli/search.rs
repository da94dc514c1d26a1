//! `dean search`: measures few points of a lattice of p and q, and shows those that no other one beats. `dean front` shows the
//! same of what is in the store, and computes nothing.
//!
//! Must not know: how a point is chosen, how it is measured.

use std::time::{Duration, Instant};

use clap::Args as ClapArgs;

use super::args::{Job, JsonArg, PipelineArgs};
use super::{format, front, print, run, signals};
use crate::error::{Error, Result};
use crate::sweep::search::{SearchReport, Tools, search};

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Measure so many points at most, in place of search.points
    #[arg(long, value_name = "N")]
    points: Option<std::num::NonZeroUsize>,
    /// Begin no other point when this much time is used up (3h, 45m), in place of search.budget
    #[arg(long, value_name = "TIME", value_parser = format::duration)]
    budget: Option<Duration>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(ClapArgs, Debug)]
pub struct FrontArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only the first so many points of the search
    #[arg(long, value_name = "N")]
    points: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    let mut job = args.pipeline.job()?;
    set(&mut job, args.points, args.budget);
    signals::heed()?;
    let deadline = job.pipeline.search.budget.and_then(|budget| Instant::now().checked_add(budget));
    let observer = run::observer(args.quiet);
    let tools = Tools {
        pipeline: &job.pipeline,
        store: &job.store,
        models: &job.models,
        observer: observer.as_ref(),
        stop: &signals::stopping,
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        computes: true,
        deadline,
    };
    let mut tell = |line: &str| {
        if !args.quiet && !args.json.json {
            print::line(line);
        }
    };
    let found = search(&tools, &mut tell)?;
    show(&found, args.json.json)?;
    match &found.stopped {
        Some(why) => Err(Error::stopped(format!("{why}: this is the front so far"))),
        None => Ok(()),
    }
}

pub fn front(args: &FrontArgs) -> Result<()> {
    let mut job = args.pipeline.job()?;
    set(&mut job, args.points, None);
    let observer = run::observer(true);
    let tools = Tools {
        pipeline: &job.pipeline,
        store: &job.store,
        models: &job.models,
        observer: observer.as_ref(),
        stop: &|| false,
        command: Vec::new(),
        computes: false,
        deadline: None,
    };
    let found = search(&tools, &mut |_| {}).map_err(|error| match error.kind() {
        crate::error::Kind::Stopped => {
            Error::user("there is no front yet: nothing of a search is in the store").hint("type `dean search` first")
        }
        _ => error,
    })?;
    show(&found, args.json.json)
}

fn set(job: &mut Job, points: Option<std::num::NonZeroUsize>, budget: Option<Duration>) {
    let search = &mut job.pipeline.search;
    search.points = points.map_or(search.points, std::num::NonZeroUsize::get);
    search.budget = budget.or(search.budget);
}

fn show(found: &SearchReport, in_json: bool) -> Result<()> {
    if in_json {
        return print::json(found);
    }
    print::line(format_args!("\n{}", front::text(found)));
    Ok(())
}
