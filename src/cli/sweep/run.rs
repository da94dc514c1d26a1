//! `dean run` of a sweep: all jobs take turns, and one table shows them.
//!
//! First each job does what all of its variants need, the base and its first point; then each does some points more. So the
//! table of a sweep that was stopped has rows over all draws. Must not know: how a job runs.

use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Swept, member, plan};
use crate::cli::format::count;
use crate::cli::{print, run};
use crate::engine::{Part, Pricer, Summary, Total};
use crate::error::Result;
use crate::report::joined::{self, Joined};

/// How many times as many variants of a job are done in a round as in all rounds before it.
const GROWTH: u32 = 4;
/// The last turn of the first round: what all variants need has turn 0, the base 1, and the first point 2.
const FIRST: u32 = 2;

/// A sweep for a program.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SweepAnswer")]
pub struct Told {
    seconds: f64,
    runs: Vec<SweptRun>,
    /// Joined over draws; none where the run ended before the reports.
    rows: Vec<Joined>,
}

/// One job of a sweep that was run.
#[derive(Serialize, JsonSchema)]
struct SweptRun {
    /// What was set for it, as `--set` takes it.
    set: Vec<String>,
    run: String,
    /// Nodes that it computed.
    computed: usize,
}

/// How a sweep is run.
pub struct How<'a> {
    /// The stage that each job ends after.
    pub until: Option<&'a str>,
    /// The runs are called so, with a number behind.
    pub name: Option<&'a str>,
    pub quiet: bool,
    pub in_json: bool,
}

/// Runs every job, and shows all of them as one table.
pub fn sweep(jobs: &[Swept], how: &How<'_>) -> Result<()> {
    let started = Instant::now();
    let mut done: Vec<Option<Summary>> = jobs.iter().map(|_| None).collect();
    let mut computed = vec![0; jobs.len()];
    let rounds = rounds(jobs, how);
    // What is left of each job.
    let mut left = if how.until.is_none() { plan::costs(jobs)? } else { vec![Total::default(); jobs.len()] };
    for (round, turns) in rounds.iter().enumerate() {
        for (number, (swept, done)) in jobs.iter().zip(&mut done).enumerate() {
            if done.as_ref().is_some_and(|summary| summary.plan.is_complete()) {
                continue;
            }
            if !how.in_json {
                let of_rounds = if rounds.len() > 1 { format!(", round {}", round + 1) } else { String::new() };
                print::line(format_args!("[{}/{}{of_rounds}] {}", number + 1, jobs.len(), swept.label));
            }
            let of = done.as_ref().map(|summary| summary.run.clone());
            let name = how.name.filter(|_| of.is_none()).map(|name| format!("{name}-{}", number + 1));
            let is_named = name.is_some();
            left[number] = Total::default();
            let others = left.iter().cloned().reduce(Total::plus).unwrap_or_default();
            let summary = run::part(&swept.job, how.quiet, how.until, name, Part { turns: *turns, of, others })?;
            if turns.is_some() {
                let planner = swept.job.planner();
                left[number] = Pricer::new(&planner)?.total(&summary.plan, &|_| true);
            }
            if is_named {
                swept.job.store.describe(&summary.run, |about| about.note = Some(swept.label.clone()))?;
            }
            computed[number] += summary.computed.len();
            *done = Some(summary);
        }
    }
    let (mut members, mut runs) = (Vec::new(), Vec::new());
    for ((swept, summary), computed) in jobs.iter().zip(done.into_iter().flatten()).zip(computed) {
        if how.until.is_none() {
            members.extend(member(swept, &swept.job.planner(), &summary.plan)?.0);
        }
        runs.push(SweptRun { set: swept.sets.clone(), run: summary.run, computed });
    }
    let joined = joined::join(&members);
    if how.in_json {
        return print::json(&Told { seconds: started.elapsed().as_secs_f64(), runs, rows: joined });
    }
    match how.until {
        Some(stage) => print::line(format_args!("\nall {} are done up to {stage}", count(jobs.len(), "job"))),
        None => {
            print::line(format_args!("\n{}, joined over draws:\n\n{}", count(jobs.len(), "job"), joined::show(&joined)))
        }
    }
    Ok(())
}

/// The last turn of each round; the last round has none.
fn rounds(jobs: &[Swept], how: &How<'_>) -> Vec<Option<u32>> {
    let most = jobs.iter().map(|swept| swept.job.pipeline.select.points.len()).max().unwrap_or_default();
    let is_short = jobs.len() < 2 || how.until.is_some();
    let turns = std::iter::successors(Some(FIRST), |turns| turns.checked_mul(GROWTH));
    // The base and the points have turns up to this one.
    let turns = turns.take_while(|turns| !is_short && (*turns as usize) < most + 1);
    turns.map(Some).chain([None]).collect()
}
