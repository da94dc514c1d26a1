//! How a page was made: versions, models, digests, seeds, and the commands that make it again.
//!
//! Must not know: plans, the store.

use serde::Serialize;
use serde_json::Value;

use super::shape::{CellView, TableView};
use crate::report::Report;
use crate::report::job::Job;

/// Provenance.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Made {
    pub commands: Vec<String>,
    /// What, and its value.
    pub facts: Vec<(String, String)>,
    pub models: Option<TableView>,
    pub nodes: Option<TableView>,
}

/// What is known of how the report was made.
pub fn made(report: Option<&Report>, commands: &[String]) -> Made {
    let mut made = Made { commands: commands.to_vec(), ..Made::default() };
    let Some(report) = report else { return made };
    if let Some(variant) = report.variants.first() {
        made.facts.push(("rule".into(), variant.rule.clone()));
    }
    for (name, data) in report.variants.first().map(|base| &base.calibration).into_iter().flatten() {
        made.facts.push((format!("calibration rows of {name}"), data.samples.to_string()));
    }
    made.facts
        .push(("bootstrap".into(), format!("{} draws with seed {}", report.bootstrap.draws, report.bootstrap.seed)));
    let Some(job) = &report.job else { return made };
    made.facts.insert(0, ("made by".into(), job.tool.clone()));
    if let Some(run) = &job.run {
        made.facts.insert(1, ("run".into(), run.clone()));
    }
    made.facts.push(("report, BLAKE3".into(), job.report.to_string()));
    made.models = models(job);
    made.nodes = nodes(job);
    made
}

fn models(job: &Job) -> Option<TableView> {
    let mut table = TableView::new("Models and their digests (BLAKE3)", &["model", "source", "part", "digest"]);
    for (name, model) in &job.models {
        for (part, digest) in &model.digests {
            let digest = digest.to_string();
            table.row([name.as_str(), model.source.as_str(), part.as_str(), digest.as_str()]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Every node. Of variants only the version differs from nothing else, so they are told together.
fn nodes(job: &Job) -> Option<TableView> {
    let titles = ["node", "version#", "seed", "key", "outputs"];
    let mut table =
        TableView::new("Every result that the report is made of, with its key and the digests of its outputs", &titles);
    for (name, node) in &job.nodes {
        let outputs: Vec<String> =
            node.outputs.iter().map(|(name, digest)| format!("{name} {}", digest.short())).collect();
        table.row([
            CellView::from(name.as_str()),
            u64::from(node.version).into(),
            seeds(&node.params).join(", ").into(),
            node.key.short().into(),
            outputs.join(", ").into(),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Every seed among parameters, wherever it stands.
fn seeds(params: &Value) -> Vec<String> {
    let Value::Object(fields) = params else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in fields {
        if key == "seed" && !value.is_null() {
            found.push(value.to_string());
        }
        found.extend(seeds(value));
    }
    found
}
