//! `dean report`: shows the report that is in the store; with `--out` copies artifacts out under plain names, with `--html` makes a
//! page.
//!
//! Must not know: what is in the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Job, JsonArg, PipelineArgs, SweepArgs, working_directory};
use super::format::count;
use super::page::{self, Source};
use super::{footer, look, print, provenance, sweep};
use crate::engine::{Plan, Planned, Planner};
use crate::error::{Error, Result};
use crate::files;
use crate::layout::wrap;
use crate::report::{self, Report};
use crate::store::Store;
use crate::tables::{Leak, Row};

/// Outputs that are copied: stage, name, the ending of the file. Tokens and patches are of no use outside, and the
/// outcomes of each node are in the report's.
const COPIED: [(&str, &str, &str); 10] = [
    ("score", "ranks", "parquet"),
    ("select", "masks", "parquet"),
    ("select", "points", "parquet"),
    ("controls", "controls", "parquet"),
    ("controls", "control-masks", "parquet"),
    ("generate", "answers", "parquet"),
    ("judge", "verdicts", "parquet"),
    ("report", "outcomes", "parquet"),
    ("report", LEAKS, "parquet"),
    ("report", "report", "json"),
];

/// The report's table of questions that are calibration prompts.
const LEAKS: &str = "leaks";

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// The report of an earlier run (see `dean runs`); without it, that of the pipeline as it is
    #[arg(conflicts_with = "out")]
    run: Option<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    sweep: SweepArgs,
    /// Copy the report and what it is made of into this directory, under plain names
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write everything as one page for a browser into this file; it needs no network
    #[arg(long, value_name = "FILE", conflicts_with_all = ["leaks", "phrases"])]
    html: Option<PathBuf>,
    /// List the questions that are calibration prompts, as they are or nearly
    #[arg(long, conflicts_with = "out")]
    leaks: bool,
    /// Show how often answers say cautionary phrases, before and after
    #[arg(long, conflicts_with_all = ["out", "leaks"])]
    phrases: bool,
    #[command(flatten)]
    json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    // Whatever else is asked for is asked of one job.
    let of_all = args.run.is_none() && args.out.is_none() && !args.leaks && !args.phrases;
    let (mut all, mut of_sweep) = (Vec::new(), None);
    if of_all && let Some(jobs) = sweep::jobs(&args.pipeline, &args.sweep)? {
        if args.html.is_none() {
            return sweep::report::show(&jobs, args.json.json);
        }
        // The page has the rows of all jobs, and the answers of the first of them.
        all = sweep::report::rows(&jobs)?;
        of_sweep = jobs.into_iter().next().map(|swept| swept.job);
    }
    let job = match of_sweep {
        Some(job) => job,
        None => args.pipeline.job()?,
    };
    if let Some(name) = &args.run {
        return of_run(&job.store, name, args);
    }
    let (planner, plan) = job.plan()?;
    if args.leaks {
        let leaks = match job.output(&plan, provenance::REPORT, LEAKS)? {
            Some(bytes) => bytes,
            None => so_far(&job, &planner, &plan, LEAKS)?.0,
        };
        return show_leaks(leaks, args.json.json);
    }
    let (report, missing) = match job.output(&plan, provenance::REPORT, provenance::REPORT)? {
        Some(bytes) => {
            let mut report = report::json::read(&bytes)?;
            report.job = provenance::of(&job, &plan)?;
            (report, BTreeSet::new())
        }
        None => {
            let (bytes, missing) = so_far(&job, &planner, &plan, provenance::REPORT)?;
            let mut report = report::json::read(&bytes)?;
            // Of a point that was not begun there is nothing to say.
            report.variants.retain(|variant| variant.mask.is_none() || !variant.outcomes.is_empty());
            (report, missing)
        }
    };
    let mut written = match &args.out {
        Some(dir) => copy(&job, &plan, &report, &working_directory()?.join(dir))?,
        None => Vec::new(),
    };
    if let Some(file) = &args.html {
        let path = working_directory()?.join(file);
        page::write(&Source::Plan(&job, &plan), &report, left_out(&plan, &missing), all, &args.pipeline, &path)?;
        written.push(path);
    }
    if args.json.json {
        return print::json(&Told { report, missing, files: written });
    }
    let look = look::of_answers();
    if args.phrases {
        print::line(report::phrases::show(&report));
        return Ok(());
    }
    print::line(report::text::show(&report, &look));
    if let Some(text) = left_out(&plan, &missing) {
        print::line(format_args!("\n{}", wrap(&text, look.width, 2)));
    }
    print::line(format_args!("\n{}", footer::text(&args.pipeline, &job, &report, &look)));
    if let Some(dir) = &args.out {
        let copied = written.len() - usize::from(args.html.is_some());
        print::line(format_args!("\nwrote {} to {}", count(copied, "file"), dir.display()));
    }
    if let Some(file) = &args.html {
        print::line(format_args!("\nwrote the page {}", file.display()));
    }
    Ok(())
}

/// Shows the report that a run came to.
fn of_run(store: &Store, name: &str, args: &Args) -> Result<()> {
    let run = store.run(name)?;
    let output = |output: &str| {
        store.output_of(&run, provenance::REPORT, output)?.ok_or_else(|| {
            Error::user(format!("the run {} has no report in the store", run.id))
                .hint("it was stopped before that, or a collection took the report; `dean run` makes it again")
        })
    };
    if args.leaks {
        return show_leaks(output(LEAKS)?, args.json.json);
    }
    let bytes = output(provenance::REPORT)?;
    let report = report::json::read(&bytes)?;
    let mut written = Vec::new();
    if let Some(file) = &args.html {
        let path = working_directory()?.join(file);
        let of_page = Report { job: Some(page::made_of(&run, &bytes)), ..report.clone() };
        page::write(&Source::Run(store, &run), &of_page, None, Vec::new(), &args.pipeline, &path)?;
        written.push(path);
    }
    if args.json.json {
        return print::json(&Told { report, missing: BTreeSet::new(), files: written });
    }
    print::line(match args.phrases {
        true => report::phrases::show(&report),
        false => report::text::show(&report, &look::of_answers()),
    });
    if let Some(file) = &args.html {
        print::line(format_args!("\nwrote the page {}", file.display()));
    }
    Ok(())
}

/// Lists the questions that are calibration prompts.
fn show_leaks(table: Vec<u8>, in_json: bool) -> Result<()> {
    let leaks = Leak::from_parquet(table)?;
    if in_json {
        return print::json(&ToldLeaks { leaks });
    }
    print::line(report::leaks::show(&leaks));
    Ok(())
}

/// An output of a report of what is there by now, and the nodes that are missing.
fn so_far(job: &Job, planner: &Planner<'_>, plan: &Plan, output: &str) -> Result<(Vec<u8>, BTreeSet<String>)> {
    let nothing = || {
        Error::user(format!("the report of {} is not in the store", job.pipeline.file.display()))
            .hint("`dean run` computes it; `dean status` shows what is there")
    };
    let (outputs, missing) = planner.so_far(plan, provenance::REPORT)?.ok_or_else(nothing)?;
    let bytes = outputs.into_iter().find(|(name, _)| name == output).ok_or_else(nothing)?.1;
    Ok((bytes, missing))
}

/// What is missing in a report that is not finished.
fn left_out(plan: &Plan, missing: &BTreeSet<String>) -> Option<String> {
    let first = missing.first()?;
    let label = |planned: &Planned| planned.node.variant.as_ref().map(|variant| variant.label.clone());
    let all = plan.nodes.iter().filter_map(|planned| label(planned)).collect::<BTreeSet<_>>().len();
    let open = missing.iter().filter_map(|node| label(plan.find(node)?)).collect::<BTreeSet<_>>().len();
    Some(format!(
        "so far: {} of {} are finished; {} {} missing, such as {}. `dean run` goes on.",
        all.saturating_sub(open),
        count(all, "variant"),
        count(missing.len(), "result"),
        if missing.len() == 1 { "is" } else { "are" },
        plan.called(first),
    ))
}

/// The questions that are calibration prompts, for a program.
#[derive(Serialize, JsonSchema)]
pub struct ToldLeaks {
    leaks: Vec<Leak>,
}

/// What a program is told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReportAnswer")]
pub struct Told {
    report: Report,
    /// Nodes that are not in the store yet, so that the report is of what is.
    missing: BTreeSet<String>,
    /// What `--out` and `--html` wrote.
    files: Vec<PathBuf>,
}

/// Copies every output that has a plain name. The report comes last, so that where it is, the rest is too. It says what it was
/// made of.
fn copy(job: &Job, plan: &Plan, report: &Report, dir: &Path) -> Result<Vec<PathBuf>> {
    files::create_dir_all(dir)?;
    let mut written = Vec::new();
    for planned in &plan.nodes {
        for (_, output, ending) in COPIED.into_iter().filter(|(stage, ..)| *stage == planned.stage.name()) {
            if let Some(bytes) = job.output(plan, &planned.node.name, output)? {
                let is_report = output == provenance::REPORT && planned.node.name == provenance::REPORT;
                let bytes = if is_report { report::json::write(report)? } else { bytes };
                let path = dir.join(file_name(&planned.node.name, output, ending));
                files::write_atomic(&path, &bytes)?;
                written.push(path);
            }
        }
    }
    Ok(written)
}

/// `answers-base.parquet` for the output `answers` of `generate[base]`, `masks.parquet` for that of `select`,
/// `verdicts-second-base.parquet` for that of `judge.second[base]`.
fn file_name(node: &str, output: &str, ending: &str) -> String {
    let (stage, label) = match node.split_once('[') {
        Some((stage, rest)) => (stage, rest.strip_suffix(']')),
        None => (node, None),
    };
    let name = stage.split_once('.').map(|(_, name)| name);
    let parts: String = name.into_iter().chain(label).map(|part| format!("-{}", harmless(part))).collect();
    format!("{output}{parts}.{ending}")
}

/// A data set may be named with any letters; a file name may not.
fn harmless(label: &str) -> String {
    label.chars().map(|letter| if matches!(letter, '/' | '\\' | '\0' | ':') { '_' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_plain_names() {
        assert_eq!(file_name("generate[base]", "answers", "parquet"), "answers-base.parquet");
        assert_eq!(file_name("judge.second[base]", "verdicts", "parquet"), "verdicts-second-base.parquet");
        assert_eq!(file_name("select", "masks", "parquet"), "masks.parquet");
        assert_eq!(file_name("score[a/../b]", "ranks", "parquet"), "ranks-a_.._b.parquet");
    }
}
