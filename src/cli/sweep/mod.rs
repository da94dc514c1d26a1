//! Sweeps: the jobs that `[sweep]` and `--sweep` mean, and what `run`, `plan` and `report` do with them.
//!
//! What the jobs have in common is computed once, since they share a store. Must not know: how a job runs, what a value means.

pub mod plan;
pub mod report;
pub mod run;

use std::collections::BTreeSet;

use super::args::{Job, PipelineArgs, SweepArgs};
use super::provenance::REPORT;
use crate::config::Pipeline;
use crate::config::sweep::{Combination, is_draw, is_grid, options};
use crate::engine::{Plan, Planner};
use crate::error::{Error, Result};
use crate::rank::{Selection, draw_of};
use crate::report::joined::Member;
use crate::report::json;

/// One job of a sweep.
pub struct Swept {
    /// What is set for it, as `--set` takes it.
    pub sets: Vec<String>,
    /// The same by axis, as people read it.
    pub label: String,
    /// The values that it has on the axes that are no draws, by the name of the setting.
    pub settings: Vec<(String, String)>,
    pub job: Job,
}

/// The jobs of the sweep, if there is one: that of the file under what was typed.
///
/// # Errors
/// User: axes that do not fit, or a value that is none of its setting's.
pub fn jobs(pipeline: &PipelineArgs, args: &SweepArgs) -> Result<Option<Vec<Swept>>> {
    if args.no_sweep {
        return Ok(None);
    }
    let sweep = pipeline.pipeline()?.sweep.under(&args.sweep, args.zip, &pipeline.sets);
    if sweep.axes.is_empty() {
        return match args.zip {
            true => {
                Err(Error::user("--zip has nothing to zip").hint("name axes with --sweep KEY=VALUES, or in [sweep]"))
            }
            false => Ok(None),
        };
    }
    let typed: BTreeSet<&str> = args.sweep.iter().map(|axis| axis.key.as_str()).collect();
    let mut all: Vec<Swept> = Vec::new();
    for combination in sweep.combinations()? {
        let swept = swept(pipeline, &combination, &typed, all.first())?;
        all.push(swept);
    }
    Ok(Some(all))
}

fn swept(
    pipeline: &PipelineArgs,
    combination: &Combination,
    typed: &BTreeSet<&str>,
    first: Option<&Swept>,
) -> Result<Swept> {
    let mut of_it = pipeline.clone();
    let mut sets = Vec::new();
    // What `*` stands for may hang on the other values: a rule names data sets.
    let (starred, plain): (Vec<_>, Vec<_>) = combination.picks.iter().partition(|(key, _)| key.contains(".*."));
    for picks in [plain, starred].into_iter().filter(|picks| !picks.is_empty()) {
        let known = of_it.pipeline()?;
        for (key, value) in picks {
            let mut options = options(key, value, &|section| names(&known, section));
            if options.is_empty() {
                return Err(Error::user(format!("`{key}` stands for no setting: `*` has no name to stand for"))
                    .hint("`*` stands for the names of data.*, questions.* or judge.*"));
            }
            // A single name may have been set apart.
            let key_of = |option: &str| option.split_once('=').map(|(key, _)| key.trim().to_owned());
            options.retain(|option| !pipeline.sets.iter().any(|set| key_of(set) == key_of(option)));
            let place = if typed.contains(key.as_str()) { &mut of_it.sets } else { &mut of_it.swept };
            place.extend(options.iter().cloned());
            sets.extend(options);
        }
    }
    let job = match first {
        Some(first) => Job::beside(of_it.pipeline()?, &first.job)?,
        None => of_it.job()?,
    };
    let picks = &combination.picks;
    let settings = picks.iter().filter(|(key, _)| !is_draw(key) && !is_grid(key)).cloned().collect();
    // All jobs have one grid, so it tells none from another.
    let told = picks.iter().filter(|(key, _)| !is_grid(key) || picks.iter().all(|(key, _)| is_grid(key)));
    let label = told.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
    Ok(Swept { sets, label, settings, job })
}

/// The names of a section; a further draw of a data set has the settings of the set.
fn names<'a>(pipeline: &'a Pipeline, section: &str) -> Vec<&'a str> {
    let all: Vec<&str> = match section {
        "data" => pipeline.data.keys().map(String::as_str).collect(),
        "questions" => pipeline.questions.keys().map(String::as_str).collect(),
        "judge" => pipeline.judges.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    all.into_iter().filter(|name| draw_of(name).1 == 0).collect()
}

/// What there is of a job: its report, or one of what is there by now; and the nodes that are missing.
fn member(swept: &Swept, planner: &Planner<'_>, plan: &Plan) -> Result<(Option<Member>, BTreeSet<String>)> {
    let (report, missing) = match swept.job.output(plan, REPORT, REPORT)? {
        Some(report) => (Some(report), BTreeSet::new()),
        None => match planner.so_far(plan, REPORT)? {
            Some((outputs, missing)) => {
                (outputs.into_iter().find(|(name, _)| name == REPORT).map(|(_, bytes)| bytes), missing)
            }
            None => (
                None,
                plan.nodes
                    .iter()
                    .filter(|planned| planned.record.is_none())
                    .map(|planned| planned.node.name.clone())
                    .collect(),
            ),
        },
    };
    let Some(report) = report else { return Ok((None, missing)) };
    let mut report = json::read(&report)?;
    // Of a point that was not begun there is nothing to say.
    report.variants.retain(|variant| variant.mask.is_none() || !variant.outcomes.is_empty());
    let output = |output: &str| planner.output_bytes(plan, "select", output);
    let selection = match (output("masks")?, output("points")?) {
        (Some(masks), Some(points)) => Some(Selection::from_parquet(masks, points)?),
        _ => None,
    };
    Ok((Some(Member { settings: swept.settings.clone(), report, selection }), missing))
}
