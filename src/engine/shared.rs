//! Which nodes of several plans are one and the same: a sweep computes them once.
//!
//! A node that has a key is known by it. One that still waits is known by what it is made of: its parameters, files and models,
//! and the nodes that it waits for. Must not know: any particular stage, why there are several plans.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::plan::{Plan, Planned};
use super::planner::Planner;
use crate::digest::Digest;
use crate::stages::Input;

/// What each node of a plan is known by, in the order of the plan: equal for two nodes, of one plan or of two, exactly if one
/// computation serves both.
pub fn identities(planner: &Planner<'_>, plan: &Plan) -> Vec<Digest> {
    let mut known: HashMap<&str, Digest> = HashMap::new();
    let mut all = Vec::with_capacity(plan.nodes.len());
    for planned in &plan.nodes {
        let identity = match planned.key {
            Some(key) => key,
            None => waiting(planner, planned, &known),
        };
        known.insert(&planned.node.name, identity);
        all.push(identity);
    }
    all
}

fn waiting(planner: &Planner<'_>, planned: &Planned, known: &HashMap<&str, Digest>) -> Digest {
    let of_node = |node: &str| known.get(node).map(ToString::to_string);
    let input = |input: &Input| match input {
        Input::File(path) => json!(["file", path]),
        Input::Model { role, part } => {
            json!(["model", planner.inputs.sources.source(*role).map(|source| source.text.clone()).ok(), part])
        }
        Input::Output { node, output } => json!(["output", of_node(node), output]),
        Input::Part { digest, .. } => json!(["part", digest]),
        // It stands for variants, which differ from the base by a patch alone.
        Input::Unknown { node } => json!([
            "variants",
            of_node(node),
            of_node(&planned.node.name.replace("[…]", "[base]")).filter(|_| planned.node.name.ends_with("[…]")),
            planner.pipeline.patch,
        ]),
    };
    let inputs: Vec<Value> = planned.node.inputs.iter().map(|(name, from)| json!([name, input(from)])).collect();
    Digest::of_json(&json!([planned.stage.name(), planned.stage.version(), planned.node.params, inputs]))
}
