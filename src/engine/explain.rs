//! Why a node runs or not: compares its manifest with the one that it had last time.
//!
//! The last time is the newest run that has the node. If there is none, it is the record of the same stage that has most in
//! common with it. Must not know: any particular stage, how reasons are worded on a terminal.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::plan::{Plan, Planned, State};
use super::planner::Planner;
use crate::digest::{Digest, Manifest};
use crate::error::{Error, Result};
use crate::stages::Input;

/// One difference, or one cause.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Nothing of this stage was ever computed here.
    NeverRan,
    /// Its outputs are in the store.
    Hit { key: Digest, seconds: f64, backend: String, host: String },
    /// A parameter has another value.
    Parameter { name: String, old: Value, new: Value },
    /// An input has other bytes.
    Input { name: String, from: String, old: Option<Digest>, new: Option<Digest> },
    /// The stage computes something else than before.
    Version { old: u32, new: u32 },
    /// Key and manifest are the same as last time, but the outputs are gone or damaged.
    OutputsGone,
    /// It cannot be told before these have run.
    WaitsFor { nodes: Vec<String> },
}

/// Why one node is as it is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Explanation {
    pub node: String,
    /// What people call it.
    pub name: String,
    pub state: State,
    pub key: Option<Digest>,
    /// What it was compared with: a run's id, or `the nearest record`.
    pub compared_with: Option<String>,
    pub reasons: Vec<Reason>,
}

/// Explains a node and, where it waits for others, those as well.
///
/// # Errors
/// A name that is not in the plan; the hint lists some that are.
pub fn explain(planner: &Planner<'_>, plan: &Plan, node: &str) -> Result<Vec<Explanation>> {
    let Some(planned) = plan.meant(node) else {
        let names: Vec<String> = plan.nodes.iter().map(|planned| planned.node.called()).collect();
        return Err(Error::user(format!("there is no node `{node}` in this plan"))
            .hint(format!("nodes are: {}", names.join(", "))));
    };
    let mut explanations = vec![one(planner, planned)?];
    let mut queue: Vec<&str> = planned.waits_for.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = queue.pop() {
        if let (true, Some(other)) = (seen.insert(name), plan.find(name)) {
            explanations.push(one(planner, other)?);
            queue.extend(other.waits_for.iter().map(String::as_str));
        }
    }
    Ok(explanations)
}

fn one(planner: &Planner<'_>, planned: &Planned) -> Result<Explanation> {
    let (node, name) = (planned.node.name.clone(), planned.node.title());
    let (state, key, reasons) = (planned.state, planned.key, Vec::new());
    let mut explanation = Explanation { node, name, state, key, compared_with: None, reasons };
    if let Some(record) = &planned.record {
        explanation.reasons.push(Reason::Hit {
            key: record.key,
            seconds: record.seconds,
            backend: record.backend.clone(),
            host: record.host.clone(),
        });
        return Ok(explanation);
    }
    let Some(manifest) = planned.manifest.as_deref() else {
        explanation.reasons.push(Reason::WaitsFor { nodes: planned.waits_for.clone() });
        // Parameters are known even where inputs are not.
        if let Some((with, last)) = last_time(planner, planned, None)? {
            explanation.compared_with = Some(with);
            explanation.reasons.extend(parameters(&last.params, &planned.node.params, ""));
        }
        return Ok(explanation);
    };
    match last_time(planner, planned, Some(manifest))? {
        None => explanation.reasons.push(Reason::NeverRan),
        Some((with, last)) => {
            explanation.compared_with = Some(with);
            explanation.reasons = differences(planned, &last, manifest);
        }
    }
    Ok(explanation)
}

/// The newest run's manifest of this node, else the nearest record's.
fn last_time(
    planner: &Planner<'_>,
    planned: &Planned,
    manifest: Option<&Manifest>,
) -> Result<Option<(String, Manifest)>> {
    let mut found = None;
    planner.inputs.store.each_run(&mut |mut run| {
        let known = run.nodes.remove(&planned.node.name).and_then(|node| node.manifest);
        found = known.map(|known| (format!("run {}", run.id), known));
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if found.is_some() {
        return Ok(found);
    }
    let Some(manifest) = manifest else { return Ok(None) };
    let records = planner.inputs.store.records(planned.stage.name())?;
    let distance = |other: &Manifest| differences(planned, other, manifest).len();
    let nearest = records.into_iter().map(|record| record.manifest).min_by_key(distance);
    Ok(nearest.map(|manifest| ("the nearest record".to_owned(), manifest)))
}

fn differences(planned: &Planned, old: &Manifest, new: &Manifest) -> Vec<Reason> {
    if old == new {
        return vec![Reason::OutputsGone];
    }
    let mut reasons = Vec::new();
    if old.version != new.version {
        reasons.push(Reason::Version { old: old.version, new: new.version });
    }
    reasons.extend(parameters(&old.params, &new.params, ""));
    let names: BTreeSet<&String> = old.inputs.keys().chain(new.inputs.keys()).collect();
    for name in names {
        let (before, after) = (old.inputs.get(name).copied(), new.inputs.get(name).copied());
        if before != after {
            let from = planned.node.inputs.get(name).map(origin).unwrap_or_default();
            reasons.push(Reason::Input { name: name.clone(), from, old: before, new: after });
        }
    }
    reasons
}

fn origin(input: &Input) -> String {
    match input {
        Input::File(path) => path.display().to_string(),
        Input::Model { role, .. } => role.setting().into(),
        Input::Output { node, .. } | Input::Part { node, .. } | Input::Unknown { node } => node.clone(),
    }
}

/// Every leaf of two JSON values that differs, with its path.
fn parameters(old: &Value, new: &Value, path: &str) -> Vec<Reason> {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let nothing = Value::Null;
            names
                .into_iter()
                .flat_map(|name| {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    parameters(a.get(name).unwrap_or(&nothing), b.get(name).unwrap_or(&nothing), &path)
                })
                .collect()
        }
        _ if old == new => Vec::new(),
        _ => vec![Reason::Parameter { name: path.into(), old: old.clone(), new: new.clone() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_changed_leaf_is_named_with_both_values() {
        let reasons = parameters(
            &json!({"cap": 1e-3, "sets": {"a": {"limit": 3}}, "keep": "full"}),
            &json!({"cap": 1e-3, "sets": {"a": {"limit": 4}}}),
            "",
        );
        assert_eq!(
            reasons,
            [
                Reason::Parameter { name: "keep".into(), old: json!("full"), new: Value::Null },
                Reason::Parameter { name: "sets.a.limit".into(), old: json!(3), new: json!(4) },
            ]
        );
    }
}
