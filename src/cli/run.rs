//! `dean run`: computes what the plan says is missing, then shows the report.
//!
//! Must not know: how nodes are computed, how the report is made.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Job, JsonArg, PipelineArgs, SweepArgs};
use super::format::{self, WIDTH, count, wrap};
use super::progress::{Bars, Lines};
use super::sweep;
use super::sweep::run::How;
use super::until::{self, Until};
use super::{footer, look, print, provenance, signals};
use crate::engine::{Observer, Part, Runner, State, Summary};
use crate::error::{Error, Result};
use crate::report::lengths::Length;
use crate::report::{self, Report};
use crate::store::Damage;

/// Seconds of a stage that are worth a word.
const WORTH_TELLING: f64 = 1.0;

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// End after this stage, or stop at this time of day (07:00); what is unfinished then goes on with the next run
    #[arg(long, value_name = "STAGE|TIME")]
    until: Option<Until>,
    /// Stop when this much time is used up (3h, 45m); what is unfinished then goes on with the next run
    #[arg(long, value_name = "TIME", value_parser = format::duration)]
    budget: Option<Duration>,
    /// Call the run so, and keep it from every garbage collection; a run that had the name before loses it
    #[arg(long)]
    name: Option<String>,
    /// Take every digest again, of models and of what is in the store, whatever is remembered
    #[arg(long)]
    rehash: bool,
    /// Run the job once for each of these limits of new tokens, and compare: --lengths 64,256
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', conflicts_with_all = ["until", "budget", "name"])]
    lengths: Vec<NonZeroUsize>,
    #[command(flatten)]
    sweep: SweepArgs,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// What a program is told of a run.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RunAnswer")]
pub struct Told {
    /// The run's id.
    run: String,
    seconds: f64,
    /// What was computed here, in this order.
    computed: Vec<Computed>,
    /// Nodes that were in the store.
    hits: Vec<String>,
    /// What was damaged and computed again.
    damage: Vec<Damage>,
    /// Null where the run ended before it.
    report: Option<Report>,
}

/// A node that was computed.
#[derive(Serialize, JsonSchema)]
struct Computed {
    node: String,
    /// What people call it.
    name: String,
    seconds: f64,
}

/// What a program is told of the runs of several limits of new tokens.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LengthsAnswer")]
pub struct ToldLengths {
    seconds: f64,
    /// The shortest first.
    lengths: Vec<ToldLength>,
}

/// One of these runs: what is told of every run, and its limit.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LengthAnswer")]
struct ToldLength {
    max_new_tokens: usize,
    #[serde(flatten)]
    run: Told,
}

pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let (until, time) = match &args.until {
        Some(Until::Stage(stage)) => (Some(*stage), None),
        Some(Until::Time(time)) => (None, Some(until::next(*time)?)),
        None => (None, None),
    };
    let used_up = args.budget.and_then(|budget| SystemTime::now().checked_add(budget));
    if let Some(deadline) = time.into_iter().chain(used_up).min() {
        signals::stop_at(deadline);
    }
    if let Some(jobs) = sweep::jobs(&args.pipeline, &args.sweep)? {
        if args.rehash || !args.lengths.is_empty() {
            return Err(Error::user("--rehash and --lengths do not go with a sweep").hint(
                "--no-sweep takes the job without [sweep]; limits of tokens are an axis too: generate.max_new_tokens",
            ));
        }
        signals::heed()?;
        let how = How { until, name: args.name.as_deref(), quiet: args.quiet, in_json: args.json.json };
        return sweep::run::sweep(&jobs, &how);
    }
    if !args.lengths.is_empty() {
        return lengths(args, started);
    }
    let job = job(&args.pipeline, args.rehash)?;
    let summary = compute(&job, args.quiet, until, args.name.clone())?;
    let report = job.output(&summary.plan, "report", "report")?;
    let mut report = report.as_deref().map(report::json::read).transpose()?;
    if let Some(report) = &mut report {
        report.job = provenance::of(&job, &summary.plan)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    if args.json.json {
        return print::json(&in_json(&summary, seconds, report.as_ref()));
    }
    tell(&summary, seconds);
    match &report {
        Some(report) => {
            let look = look::of_answers();
            print::line(format_args!("\n{}", report::text::show(report, &look)));
            print::line(format_args!("\n{}", footer::text(&args.pipeline, &job, report, &look)));
        }
        None => print::line("there is no report yet; `dean run` goes on to it"),
    }
    Ok(())
}

/// The job, with a store that believes nothing that was remembered if it is to `rehash`.
fn job(pipeline: &PipelineArgs, rehash: bool) -> Result<Job> {
    let mut job = pipeline.job()?;
    if rehash {
        job.store = job.store.rehashing();
    }
    Ok(job)
}

/// The same job once for each limit of new tokens, and the reports side by side. The longest comes first, because a shorter
/// answer is the beginning of a longer one, so that the others cost next to nothing. All of them share what comes before.
fn lengths(args: &Args, started: Instant) -> Result<()> {
    let limits: BTreeSet<usize> = args.lengths.iter().map(|limit| limit.get()).collect();
    signals::heed()?;
    let (mut all, mut in_json) = (Vec::new(), Vec::new());
    for max_new_tokens in limits.into_iter().rev() {
        let begun = Instant::now();
        let mut pipeline = args.pipeline.clone();
        pipeline.sets.push(format!("generate.max_new_tokens={max_new_tokens}"));
        // Once is enough: what was hashed for the first limit serves all.
        let job = job(&pipeline, args.rehash && all.is_empty())?;
        let summary = missing(&job, args.quiet, None, None)?;
        let report = job.output(&summary.plan, "report", "report")?;
        let mut report =
            report::json::read(&report.ok_or_else(|| Error::fault("a run that ended well has no report"))?)?;
        report.job = provenance::of(&job, &summary.plan)?;
        let seconds = begun.elapsed().as_secs_f64();
        if !args.json.json {
            print::line(format_args!("{}:", count(max_new_tokens, "token")));
            tell(&summary, seconds);
        }
        in_json.insert(0, ToldLength { max_new_tokens, run: self::in_json(&summary, seconds, Some(&report)) });
        all.insert(0, Length { max_new_tokens, rows: report.variants });
    }
    if args.json.json {
        return print::json(&ToldLengths { seconds: started.elapsed().as_secs_f64(), lengths: in_json });
    }
    print::line(format_args!("\n{}", report::lengths::show(&all)));
    Ok(())
}

fn tell(summary: &Summary, seconds: f64) {
    print::line(wrap(&in_words(summary, seconds), WIDTH, 2));
    if let Some(text) = by_stage(summary) {
        print::line(wrap(&text, WIDTH, 2));
    }
    for damage in &summary.damage {
        print::line(wrap(
            &format!("repaired: the {} {} was damaged: {}", damage.what, damage.digest.short(), damage.reason),
            WIDTH,
            2,
        ));
    }
}

/// Computes what is missing up to a stage, showing progress and heeding signals.
pub fn compute(job: &Job, quiet: bool, until: Option<&str>, name: Option<String>) -> Result<Summary> {
    signals::heed()?;
    missing(job, quiet, until, name)
}

/// Computes what is missing up to a stage, showing progress.
pub fn missing(job: &Job, quiet: bool, until: Option<&str>, name: Option<String>) -> Result<Summary> {
    part(job, quiet, until, name, Part::default())
}

/// Computes what is missing of a part of the run.
pub fn part(job: &Job, quiet: bool, until: Option<&str>, name: Option<String>, part: Part) -> Result<Summary> {
    let observer = observer(quiet);
    let runner = Runner {
        planner: job.planner(),
        observer: observer.as_ref(),
        stop: &signals::stopping,
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        name,
        part,
    };
    runner.run(until)
}

/// Bars for a person, lines for a log, or nothing.
pub fn observer(quiet: bool) -> Box<dyn Observer> {
    match (quiet, print::is_watched()) {
        (true, _) => Box::new(Lines::quiet()),
        (false, true) => Box::new(Bars::new()),
        (false, false) => Box::new(Lines::new()),
    }
}

fn hits(summary: &Summary) -> Vec<&str> {
    let computed: BTreeSet<&str> = summary.computed.iter().map(|(node, _)| node.as_str()).collect();
    let hits = summary.plan.nodes.iter().filter(|planned| planned.state == State::Hit);
    hits.map(|planned| planned.node.name.as_str()).filter(|node| !computed.contains(node)).collect()
}

fn in_words(summary: &Summary, seconds: f64) -> String {
    let total = summary.plan.nodes.len();
    let computed: BTreeSet<&str> = summary.computed.iter().map(|(node, _)| node.as_str()).collect();
    let hits = hits(summary).len();
    let left = total.saturating_sub(hits + computed.len());
    let mut text = if computed.is_empty() && left == 0 {
        format!("nothing to do: all {} are in the store", count(total, "node"))
    } else if computed.is_empty() {
        format!("nothing to do: {hits} of {} are in the store", count(total, "node"))
    } else {
        let were = if hits == 1 { "was" } else { "were" };
        let nodes = count(total, "node");
        format!("computed {} of {nodes} in {}; {hits} {were} in the store", computed.len(), format::seconds(seconds))
    };
    if left > 0 {
        text.push_str(&format!("; {left} come after the stage that was asked for"));
    }
    text
}

/// Where the time went: `score 1 min 17 s, generate 2 min 25 s`. Not for a run in which one stage did all.
fn by_stage(summary: &Summary) -> Option<String> {
    let mut stages: Vec<(&str, f64)> = Vec::new();
    for (node, seconds) in &summary.computed {
        let stage = node.split_once('[').map_or(node.as_str(), |(stage, _)| stage);
        match stages.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, sum)) => *sum += seconds,
            None => stages.push((stage, *seconds)),
        }
    }
    stages.retain(|(_, seconds)| *seconds >= WORTH_TELLING);
    let told: Vec<String> =
        stages.iter().map(|(stage, seconds)| format!("{stage} {}", format::seconds(*seconds))).collect();
    (told.len() > 1).then(|| format!("of that, {}", told.join(", ")))
}

fn in_json(summary: &Summary, seconds: f64, report: Option<&Report>) -> Told {
    let computed = summary.computed.iter().map(|(node, seconds)| Computed {
        node: node.clone(),
        name: summary.plan.title(node),
        seconds: *seconds,
    });
    Told {
        run: summary.run.clone(),
        seconds,
        computed: computed.collect(),
        hits: hits(summary).into_iter().map(str::to_owned).collect(),
        damage: summary.damage.clone(),
        report: report.cloned(),
    }
}
