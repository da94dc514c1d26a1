//! `dean plan`: every node of the pipeline with its state and key, and what a run would do. Computes nothing.
//!
//! The rows are shared with `dean status`. Must not know: how a plan is made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::args::{Job, JsonArg, PipelineArgs, SweepArgs};
use super::format::{self, WIDTH, count, wrap};
use super::{print, sweep};
use crate::digest::Digest;
use crate::engine::{Plan, Planned, Planner, Price, Pricer, Range, State, Total};
use crate::error::Result;
use crate::layout::{Align, Table};
use crate::stages::{Forecast, Role};

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    sweep: SweepArgs,
    /// Show how far predictions of earlier runs were from what they took
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// One node for a program. `status` has the first six fields, `plan` all of them.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlannedNode")]
pub struct Row {
    node: String,
    /// What people call it.
    name: String,
    stage: &'static str,
    /// Null while an input is not known.
    key: Option<Digest>,
    state: State,
    /// Of what is in the store.
    outputs: BTreeMap<String, Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Value>,
    /// Seconds and bytes, by what earlier runs took on this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
}

/// Where an output lies.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Output")]
struct Place {
    digest: Digest,
    path: PathBuf,
    bytes: u64,
}

impl Row {
    /// What `status` says of a node.
    pub fn of(job: &Job, planned: &Planned) -> Self {
        let outputs = planned.record.iter().flat_map(|record| &record.outputs);
        let outputs = outputs.map(|(name, output)| {
            let path = job.store.blob_path(&output.digest);
            (name.clone(), Place { digest: output.digest, path, bytes: output.bytes })
        });
        Self {
            node: planned.node.name.clone(),
            name: planned.node.title(),
            stage: planned.stage.name(),
            key: planned.key,
            state: planned.state,
            outputs: outputs.collect(),
            waits_for: None,
            params: None,
            cost: None,
            price: None,
        }
    }

    fn in_full(job: &Job, planned: &Planned, forecast: Option<&Forecast>, price: Option<Price>) -> Self {
        Self {
            price,
            cost: forecast.map(|forecast| forecast.facts.clone()),
            waits_for: Some(planned.waits_for.clone()),
            params: Some(planned.node.params.clone()),
            ..Self::of(job, planned)
        }
    }
}

/// How far off the predictions of a stage's nodes were, for a program.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PredictedStage")]
pub struct Told<'a> {
    stage: &'a str,
    /// How many of its nodes ran after a prediction.
    nodes: usize,
    /// As a share of what they took.
    median_error: f64,
}

pub fn run(args: &Args) -> Result<()> {
    if !args.check
        && let Some(jobs) = sweep::jobs(&args.pipeline, &args.sweep)?
    {
        return sweep::plan::show(&jobs, args.json.json);
    }
    let job = args.pipeline.job()?;
    let (planner, plan) = job.plan()?;
    if args.check {
        return tell_errors(&planner, args.json.json);
    }
    planner.check(&plan, &|_| true)?.iter().for_each(print::warning);
    let forecasts = plan.nodes.iter().map(|planned| planner.forecast(&plan, planned)).collect::<Result<Vec<_>>>()?;
    // Without the device there is no price, and the plan is right all the same.
    let mut pricer = Pricer::new(&planner).ok();
    let prices: Vec<Option<Price>> = plan
        .nodes
        .iter()
        .map(|planned| match (&mut pricer, planned.state) {
            (Some(pricer), State::Miss | State::Partial) => pricer.price(&plan, planned),
            _ => None,
        })
        .collect();
    let rows = || plan.nodes.iter().zip(&forecasts);
    if args.json.json {
        let rows = rows().zip(&prices);
        let rows = rows.map(|((planned, forecast), price)| Row::in_full(&job, planned, forecast.as_ref(), *price));
        return print::json(&rows.collect::<Vec<_>>());
    }
    print::line(table(&plan));
    let lines: Vec<String> = rows()
        .filter_map(|(planned, forecast)| Some(format!("{} {}", planned.node.called(), forecast.as_ref()?.words)))
        .collect();
    if !lines.is_empty() {
        print::line(format_args!("\n{}", lines.join("\n")));
    }
    print::line("");
    print::line(wrap(&outlook(&plan), WIDTH, 2));
    if let Some(text) = pricer.and_then(|mut pricer| in_words(&pricer.total(&plan, &|_| true))) {
        print::line(wrap(&text, WIDTH, 2));
    }
    Ok(())
}

/// What all that is missing will take.
pub fn in_words(total: &Total) -> Option<String> {
    let unknown = match total.unknown.as_slice() {
        [] => String::new(),
        stages => format!("what {} takes is not known yet on this device", stages.join(", ")),
    };
    match (total.nodes, total.seconds.expected > 0.0) {
        (0, _) => None,
        (_, false) => Some(unknown).filter(|text| !text.is_empty()),
        (_, true) => {
            let Range { expected, low, high } = total.seconds;
            let text = format!(
                "it takes about {} ({} to {}) and {} of the store",
                format::rough(expected),
                format::rough(low),
                format::rough(high),
                format::bytes(rounded(total.bytes.expected)),
            );
            Some(if unknown.is_empty() { text } else { format!("{text}; {unknown}") })
        }
    }
}

/// Two digits of a number of bytes.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size is positive and below 2^53")]
fn rounded(bytes: f64) -> u64 {
    let unit = 10_f64.powf((bytes.max(1.0).log10() - 1.0).floor().max(0.0));
    ((bytes / unit).round() * unit) as u64
}

/// How far off earlier predictions were, stage by stage.
fn tell_errors(planner: &Planner<'_>, in_json: bool) -> Result<()> {
    let pricer = Pricer::new(planner)?;
    let errors = pricer.experience.errors();
    if in_json {
        let row = |(stage, (nodes, median_error))| Told { stage, nodes, median_error };
        return print::json(&errors.into_iter().map(row).collect::<Vec<_>>());
    }
    if errors.is_empty() {
        print::line("no node of this store ran after a prediction on this device");
        return Ok(());
    }
    let mut table = Table::new()
        .column("stage", Align::Left)
        .column("predicted nodes", Align::Right)
        .column("median error", Align::Right);
    for (stage, (nodes, error)) in errors {
        table.row([stage.to_owned(), nodes.to_string(), format!("{:.0}%", 100.0 * error)]);
    }
    print::line(table);
    Ok(())
}

/// The word for a state.
pub fn state(state: State) -> &'static str {
    match state {
        State::Hit => "hit",
        State::Partial => "partial",
        State::Miss => "miss",
    }
}

/// The nodes as a table.
pub fn table(plan: &Plan) -> Table {
    let mut table = Table::new()
        .column("node", Align::Left)
        .column("mask", Align::Left)
        .column("state", Align::Left)
        .column("key", Align::Left)
        .column("waits for", Align::Left);
    for planned in &plan.nodes {
        let key = planned.key.map_or("-".into(), |key| key.short());
        let mask = planned.node.mask().map(Digest::short).unwrap_or_default();
        let waits_for: Vec<String> = planned.waits_for.iter().map(|node| plan.title(node)).collect();
        table.row([planned.node.title(), mask, state(planned.state).into(), key, waits_for.join(", ")]);
    }
    table
}

/// What a run would do now, in a sentence.
fn outlook(plan: &Plan) -> String {
    let missing = || plan.nodes.iter().filter(|planned| planned.state != State::Hit);
    let ready: Vec<String> =
        missing().filter(|planned| planned.key.is_some()).map(|planned| planned.node.title()).collect();
    let waiting = missing().filter(|planned| planned.key.is_none()).count();
    let fetched: Vec<&str> = [Role::Subject, Role::Judge(0)]
        .map(Role::name)
        .into_iter()
        .filter(|model| missing().any(|planned| planned.waits_for.iter().any(|cause| cause == model)))
        .collect();
    let mut parts = Vec::new();
    if !fetched.is_empty() {
        parts.push(format!("fetch the {}", fetched.join(" and the ")));
    }
    if !ready.is_empty() {
        parts.push(format!("run {}", ready.join(", ")));
    }
    if waiting > 0 {
        let wait = if waiting == 1 { "waits" } else { "wait" };
        parts.push(format!("then see what follows ({} {wait} for others)", count(waiting, "node")));
    }
    if parts.is_empty() {
        return format!("nothing would run: all {} are in the store", count(plan.nodes.len(), "node"));
    }
    format!("would {}", parts.join("; "))
}
