//! `dean report --html FILE`: gathers what a page is made of, and writes it.
//!
//! Must not know: what is on a page.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::{Job, PipelineArgs};
use super::{footer, provenance};
use crate::digest::Digest;
use crate::engine::Plan;
use crate::error::Result;
use crate::files;
use crate::page::{self, Answers, Given, Places};
use crate::rank::Selection;
use crate::report::Report;
use crate::report::job::{self, JobNode};
use crate::report::joined::Joined;
use crate::show::{Side, pairs};
use crate::store::{Run, Store};
use crate::tables::{Answer, Row, VerdictRow};

/// Where the tables behind a report are: those of a plan, or those of a run.
pub enum Source<'a> {
    Plan(&'a Job, &'a Plan),
    Run(&'a Store, &'a Run),
}

impl Source<'_> {
    fn output(&self, node: &str, output: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Plan(job, plan) => job.output(plan, node, output),
            Self::Run(store, run) => store.output_of(run, node, output),
        }
    }
}

/// Writes the page of a report. `missing` says what is not there yet; `joined` are all draws of a sweep, of which this report is
/// the first.
pub fn write(
    source: &Source<'_>,
    report: &Report,
    missing: Option<String>,
    joined: Vec<Joined>,
    pipeline: &PipelineArgs,
    file: &Path,
) -> Result<()> {
    let given = Given {
        title: title(report),
        missing,
        answers: answers(source, report)?,
        places: places(source)?,
        commands: commands(source, pipeline, file),
        report: Some(report.clone()),
        joined,
    };
    files::write_atomic(file, page::write(&given)?.as_bytes())
}

/// The model and the rule.
fn title(report: &Report) -> String {
    let rule = report.variants.first().map(|base| base.rule.clone()).unwrap_or_default();
    let model = report.job.as_ref().and_then(|job| job.models.get("model"));
    // Of an address its last part; what pins it stands under "How was this made?".
    let model = model.map(|model| model.source.split('#').next().unwrap_or_default());
    let model =
        model.and_then(|source| source.trim_end_matches('/').rsplit('/').next()).filter(|name| !name.is_empty());
    match model {
        Some(model) => format!("{model}: {rule}"),
        None => rule,
    }
}

/// What the variants that are worth reading said, if their answers are there.
fn answers(source: &Source<'_>, report: &Report) -> Result<Vec<Answers>> {
    let mut found = Vec::new();
    for row in page::worth_reading(report).into_iter().filter_map(|number| report.variants.get(number)) {
        // Read again for each: a side is used up, and its tables are small.
        if let (Some(before), Some(after)) = (side(source, report, &report.base)?, side(source, report, &row.variant)?)
        {
            found.push(Answers { name: row.name.clone(), pairs: pairs(before, Some(after)) });
        }
    }
    Ok(found)
}

/// What one variant said, and what the judges of the report called it.
fn side(source: &Source<'_>, report: &Report, variant: &str) -> Result<Option<Side>> {
    let Some(answers) = source.output(&format!("generate[{variant}]"), "answers")? else { return Ok(None) };
    let mut side = Side { answers: Answer::from_parquet(answers)?, verdicts: Vec::new() };
    let mut judges: BTreeMap<&str, &str> = BTreeMap::new();
    for found in report.variants.iter().flat_map(|row| &row.outcomes) {
        if let Some(judge) = found.measure.strip_suffix("/safe") {
            judges.insert(&found.by, judge);
        }
    }
    for (by, judge) in judges {
        if let Some(verdicts) = source.output(&format!("{by}[{variant}]"), "verdicts")? {
            side.verdicts.push((judge.to_owned(), VerdictRow::from_parquet(verdicts)?));
        }
    }
    Ok(Some(side))
}

/// Where the masks of the grid lie, if they were selected.
fn places(source: &Source<'_>) -> Result<Vec<Places>> {
    let mut masks = Vec::new();
    for (node, output) in [("select", "masks"), ("controls", "control-masks")] {
        if let Some(bytes) = source.output(node, output)? {
            masks.extend(Selection::masks_from_parquet(bytes)?);
        }
    }
    Ok(masks.iter().map(Places::of).collect())
}

/// What is typed to have all of this again.
fn commands(source: &Source<'_>, pipeline: &PipelineArgs, file: &Path) -> Vec<String> {
    let same = footer::same_job(pipeline);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let page = footer::quoted(&name);
    match source {
        Source::Plan(..) => vec![format!("dean run{same}"), format!("dean report --html {page}{same}")],
        Source::Run(_, run) => vec![format!("dean report {} --html {page}{same}", run.id)],
    }
}

/// What the report of a run was made of, as far as the run's file knows.
pub fn made_of(run: &Run, report: &[u8]) -> job::Job {
    let node = |(name, node): (&String, &crate::store::RunNode)| {
        let (manifest, key) = (node.manifest.as_ref()?, node.key?);
        let node = JobNode {
            stage: manifest.stage.clone(),
            version: manifest.version,
            key,
            params: manifest.params.clone(),
            inputs: manifest.inputs.clone(),
            outputs: BTreeMap::new(),
        };
        Some((name.clone(), node))
    };
    job::Job {
        tool: provenance::TOOL.to_owned(),
        run: Some(run.id.clone()),
        report: Digest::of(report),
        models: BTreeMap::new(),
        nodes: run.nodes.iter().filter_map(node).collect(),
    }
}
