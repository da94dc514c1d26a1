//! What a report was made of, as the plan knows it: for a report that leaves the store.
//!
//! Must not know: what is in a report, how it is shown.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::args::Job;
use crate::digest::Digest;
use crate::engine::{Plan, Planned};
use crate::error::Result;
use crate::model::source::spec::SourceKind;
use crate::report::job::{self, JobNode, Model};
use crate::stages::{Input, Role};

/// The node that makes the report, and what its output is called.
pub const REPORT: &str = "report";

/// What makes reports.
pub const TOOL: &str = concat!("dean ", env!("CARGO_PKG_VERSION"));

/// What the report of a finished plan was made of; none without a report.
pub fn of(job: &Job, plan: &Plan) -> Result<Option<job::Job>> {
    let Some((key, report)) = finished(plan) else { return Ok(None) };
    let mut models: BTreeMap<String, Model> = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    for planned in &plan.nodes {
        let (Some(manifest), Some(key)) = (&planned.manifest, planned.key) else { continue };
        for (name, input) in &planned.node.inputs {
            let (Input::Model { role, part }, Some(digest)) = (input, manifest.inputs.get(name)) else { continue };
            let new = || Model { source: source(job, *role), digests: BTreeMap::new() };
            models.entry(called(job, *role)).or_insert_with(new).digests.insert(part.name().to_owned(), *digest);
        }
        let outputs = planned.record.iter().flat_map(|record| &record.outputs);
        let node = JobNode {
            stage: manifest.stage.clone(),
            version: manifest.version,
            key,
            params: manifest.params.clone(),
            inputs: manifest.inputs.clone(),
            outputs: outputs.map(|(name, output)| (name.clone(), output.digest)).collect(),
        };
        nodes.insert(planned.node.name.clone(), node);
    }
    Ok(Some(job::Job { tool: TOOL.to_owned(), run: newest_run(job, &key)?, report, models, nodes }))
}

/// The key of the report, and the digest of its bytes, once it is in the store.
fn finished(plan: &Plan) -> Option<(Digest, Digest)> {
    let Planned { key, record, .. } = plan.find(REPORT)?;
    Some(((*key)?, record.as_ref()?.outputs.get(REPORT)?.digest))
}

/// The newest run that had this report.
fn newest_run(job: &Job, report: &Digest) -> Result<Option<String>> {
    let mut newest = None;
    job.store.each_run(&mut |run| {
        let has_it = run.nodes.get(REPORT).is_some_and(|node| node.key == Some(*report));
        if has_it {
            newest = Some(run.id);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(newest)
}

/// What a model is called: several judges go by their names.
fn called(job: &Job, role: Role) -> String {
    match role {
        Role::Judge(number) => match job.pipeline.judges().nth(number) {
            Some((Some(name), _)) => format!("{} {name}", role.name()),
            _ => role.name().to_owned(),
        },
        Role::Subject => role.name().to_owned(),
    }
}

/// How the job names a model. Of a path only the last part: the rest says something about one machine only.
fn source(job: &Job, role: Role) -> String {
    let source = match role {
        Role::Subject => Some(&job.pipeline.model.source),
        Role::Judge(number) => job.pipeline.judges().nth(number).and_then(|(_, judge)| judge.model()),
    };
    match source.map(|source| (&source.kind, &source.text)) {
        Some((SourceKind::Path(path), _)) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        Some((_, text)) => text.clone(),
        None => String::new(),
    }
}
