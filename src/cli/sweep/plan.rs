//! `dean plan` of a sweep: what each of its jobs adds, and what all of them take.
//!
//! Must not know: how a plan is made, how a price is found.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::Swept;
use crate::cli::format::{self, WIDTH, count, wrap};
use crate::cli::{plan, print};
use crate::engine::{Planned, Price, Pricer, State, Total, identities};
use crate::error::Result;
use crate::layout::{Align, Table};

/// The plan of a sweep for a program. A node that several jobs need is counted once, with the first of them.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SweepPlanAnswer")]
pub struct Told {
    jobs: Vec<PlannedJob>,
    /// Nodes of all jobs, as far as they are known.
    nodes: usize,
    /// Those of them that are in the store.
    hits: usize,
    /// Nodes that will run; points that are not known yet are counted as if each had a mask of its own.
    runs: usize,
    /// By what earlier runs took on this device; null where the device is not there.
    price: Option<Price>,
    /// Stages of which nothing was recorded on this device, so that their nodes have no price.
    unknown: Vec<String>,
}

/// One job of a planned sweep.
#[derive(Serialize, JsonSchema)]
struct PlannedJob {
    /// What is set for it, as `--set` takes it.
    set: Vec<String>,
    /// All of its nodes, as far as they are known.
    nodes: usize,
    /// Those of them that jobs before it need too.
    shared: usize,
    /// Of the others, those that are in the store, and those that will run.
    hits: usize,
    runs: usize,
    price: Option<Price>,
}

/// What each job adds to those before it, and what that costs; no cost where the device is not there.
fn added(jobs: &[Swept]) -> Result<Vec<(PlannedJob, Option<Total>)>> {
    let mut seen = HashSet::new();
    let of_job = |swept: &Swept| {
        let (planner, plan) = swept.job.plan()?;
        let mut fresh = HashSet::new();
        for (planned, identity) in plan.nodes.iter().zip(identities(&planner, &plan)) {
            if seen.insert(identity) {
                fresh.insert(planned.node.name.as_str());
            }
        }
        let is_fresh = |planned: &Planned| fresh.contains(planned.node.name.as_str());
        let hits = plan.nodes.iter().filter(|planned| planned.state == State::Hit && is_fresh(planned)).count();
        let total = Pricer::new(&planner).ok().map(|mut pricer| pricer.total(&plan, &is_fresh));
        let job = PlannedJob {
            set: swept.sets.clone(),
            nodes: plan.nodes.len(),
            shared: plan.nodes.len() - fresh.len(),
            hits,
            runs: total.as_ref().map_or(fresh.len() - hits, |total| total.nodes),
            price: total.as_ref().map(price),
        };
        Ok((job, total))
    };
    jobs.iter().map(of_job).collect()
}

/// What is left of each job, as far as no job before it does it.
pub fn costs(jobs: &[Swept]) -> Result<Vec<Total>> {
    Ok(added(jobs)?.into_iter().map(|(_, total)| total.unwrap_or_default()).collect())
}

/// Shows the plan, and computes nothing.
pub fn show(jobs: &[Swept], in_json: bool) -> Result<()> {
    for (number, swept) in jobs.iter().enumerate() {
        let (planner, plan) = swept.job.plan()?;
        // Most warnings are the same for all jobs.
        planner.check(&plan, &|_| true)?.iter().filter(|_| number == 0).for_each(print::warning);
    }
    let (told, totals): (Vec<PlannedJob>, Vec<Option<Total>>) = added(jobs)?.into_iter().unzip();
    let all = totals.into_iter().flatten().reduce(Total::plus);
    let sum = |of: fn(&PlannedJob) -> usize| told.iter().map(of).sum::<usize>();
    let (nodes, hits, runs) = (sum(|job| job.nodes - job.shared), sum(|job| job.hits), sum(|job| job.runs));
    if in_json {
        let unknown = all.as_ref().map(|all| all.unknown.clone()).unwrap_or_default();
        return print::json(&Told { jobs: told, nodes, hits, runs, price: all.as_ref().map(price), unknown });
    }
    print::line(table(jobs, &told));
    let text = match runs {
        0 => {
            format!("nothing would run: all {} of {} are in the store", count(nodes, "node"), count(jobs.len(), "job"))
        }
        _ => format!(
            "would run {} of {}; {hits} of {} are in the store. What several jobs need is counted with the first of them",
            count(runs, "node"),
            count(jobs.len(), "job"),
            count(nodes, "known node")
        ),
    };
    print::line(format_args!("\n{}", wrap(&text, WIDTH, 2)));
    if let Some(text) = all.as_ref().and_then(plan::in_words) {
        print::line(wrap(&text, WIDTH, 2));
    }
    Ok(())
}

fn price(total: &Total) -> Price {
    Price { seconds: total.seconds, bytes: total.bytes }
}

fn table(jobs: &[Swept], told: &[PlannedJob]) -> Table {
    let mut table = Table::new().column("job", Align::Left);
    for column in ["nodes", "shared", "in the store", "to run", "about"] {
        table = table.column(column, Align::Right);
    }
    for (swept, job) in jobs.iter().zip(told) {
        let seconds = job.price.map(|price| price.seconds.expected).filter(|seconds| *seconds > 0.0);
        table.row([
            swept.label.clone(),
            job.nodes.to_string(),
            job.shared.to_string(),
            job.hits.to_string(),
            job.runs.to_string(),
            seconds.map(format::rough).unwrap_or_default(),
        ]);
    }
    table
}
