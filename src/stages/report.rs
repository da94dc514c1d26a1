//! report: everything that was measured, for each variant: as facts in JSON, and row by row in one table.
//!
//! The base comes first, then the masks in the order of the grid. What there is to show is what earlier stages
//! put out as outcomes; which stages these are is not known here. Must not know: what was measured, how facts
//! come about and how they are shown.

use std::collections::BTreeMap;

use serde_json::json;

use super::variant::Variant;
use super::{Context, Input, Node, Outputs, Planning, Stage};
use crate::error::Result;
use crate::rank::Selection;
use crate::report::{self, PointReport, VariantReport, facts};
use crate::tables::{Joined, OUTCOMES, Outcome, Row, Tokens};

pub struct Report;

/// In front of a data set's name: the input with its token ids.
const CALIBRATION: &str = "tokens of ";
/// In front of a node's name: the input with its outcomes.
const MEASURED: &str = "outcomes of ";

impl Stage for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    fn version(&self) -> u32 {
        3
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let pipeline = planning.pipeline;
        let mut inputs = BTreeMap::from([("points".to_owned(), Input::output("select", "points"))]);
        if pipeline.score.method.reads().tokens {
            for name in pipeline.select.rule.names() {
                let tokens = Input::output(&format!("tokenize[{name}]"), "tokens");
                inputs.insert(format!("{CALIBRATION}{name}"), tokens);
            }
        }
        for node in planning.measured {
            // A node that stands for variants which are not known yet has no outputs, and what it waits for is waited
            // for here.
            let unknown = node.inputs.values().find(|input| matches!(input, Input::Unknown { .. }));
            let input = unknown.cloned().unwrap_or_else(|| Input::output(&node.name, OUTCOMES));
            inputs.insert(format!("{MEASURED}{}", node.name), input);
        }
        Ok(vec![Node { name: "report".into(), params: json!({}), inputs, ..Node::default() }])
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let (rule, points) = Selection::points_from_parquet(context.read("points")?)?;
        let measured = measured(context)?;
        let calibration = facts::calibration(&calibration(context)?);
        let row = |variant: Variant, weights: u64| -> Result<VariantReport> {
            let mut outcomes = Vec::new();
            for (by, found) in measured.get(&variant.label).into_iter().flatten() {
                outcomes.extend(facts::findings(by, found)?);
            }
            let Variant { label, mask } = variant;
            let (rule, calibration) = (rule.clone(), calibration.clone());
            Ok(VariantReport { variant: label, mask, weights, points: Vec::new(), rule, calibration, outcomes })
        };
        let mut rows = vec![row(Variant::base(), 0)?];
        for point in &points {
            let here = PointReport { p: point.p, q: point.q };
            let mask = (point.weights > 0).then_some(point.mask);
            match rows.iter_mut().find(|row| row.mask == mask) {
                Some(row) => row.points.push(here),
                None => {
                    let mut new = row(Variant::of_mask(point.mask), point.weights)?;
                    new.points.push(here);
                    rows.push(new);
                }
            }
        }
        facts::compare(&mut rows);
        let mut joined = Vec::new();
        for VariantReport { variant, .. } in &rows {
            for (by, found) in measured.get(variant).into_iter().flatten() {
                joined.extend(found.iter().map(|outcome| Joined::new(variant, by, outcome.clone())));
            }
        }
        Ok(vec![("report".into(), report::json::write(&rows)?), (OUTCOMES.into(), Joined::to_parquet(&joined)?)])
    }
}

/// By the label of each variant: who measured, and what was found.
fn measured(context: &Context<'_>) -> Result<BTreeMap<String, Vec<(String, Vec<Outcome>)>>> {
    let mut all: BTreeMap<String, Vec<(String, Vec<Outcome>)>> = BTreeMap::new();
    for input in context.inputs.keys() {
        let Some((by, label)) = input.strip_prefix(MEASURED).and_then(Variant::of_node) else { continue };
        let outcomes = Outcome::from_parquet(context.read(input)?)?;
        all.entry(label.to_owned()).or_default().push((by.to_owned(), outcomes));
    }
    Ok(all)
}

/// The token ids that were scored, by the data set's name.
fn calibration(context: &Context<'_>) -> Result<BTreeMap<String, Tokens>> {
    let mut tables = BTreeMap::new();
    for input in context.inputs.keys() {
        if let Some(name) = input.strip_prefix(CALIBRATION) {
            tables.insert(name.to_owned(), Tokens::from_parquet(context.read(input)?)?);
        }
    }
    Ok(tables)
}
