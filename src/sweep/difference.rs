//! Two runs side by side: what was asked for, what was selected, what was said, what came out.
//!
//! Everything is read from the store by the keys that the runs know; nothing is planned or computed. Points are brought
//! together by their p and q. Must not know: how a difference is shown.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::inspect::caution::PHRASE;
use crate::naming;
use crate::rank::{Mask, Selection, mask_overlap};
use crate::report::{self, VariantReport};
use crate::store::{Run, Store};
use crate::tables::{Answer, Row};

/// What differs between two runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Difference {
    /// Settings that differ, with their values; null where one has none.
    pub settings: Vec<Setting>,
    /// Nodes with one key in both runs, with two keys, and in one run alone.
    pub nodes: Nodes,
    /// By point that both runs have, in the order of the first run's grid.
    pub points: Vec<PointDifference>,
    /// Points of one run alone.
    pub only: (Vec<PointName>, Vec<PointName>),
}

/// p, if the rule uses one, and q.
pub type PointName = (Option<f64>, f64);

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Setting {
    pub key: String,
    pub values: (Value, Value),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Nodes {
    pub same: usize,
    pub different: usize,
    pub only: (usize, usize),
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PointDifference {
    /// What people call the point.
    pub name: String,
    /// `None` for the base.
    pub point: Option<PointName>,
    /// How many weights each mask has, and how many both have.
    pub weights: (u64, u64),
    pub shared: u64,
    /// Questions that both runs answered at this point, and those of them whose answers differ.
    pub answers: Option<(usize, usize)>,
    /// Values that differ, of what both runs measured.
    pub values: Vec<ValueDifference>,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ValueDifference {
    pub by: String,
    pub set: String,
    pub measure: String,
    pub values: (Option<f64>, Option<f64>),
}

/// One run and what the store still has of it.
struct Side<'a> {
    store: &'a Store,
    run: &'a Run,
    selection: Option<Selection>,
    variants: Vec<VariantReport>,
}

/// What differs between the runs `one` and `other`. What a run has not come to yet, or what is no longer in the store, is
/// compared with nothing.
///
/// # Errors
/// User: the store cannot be read. Fault: an artifact is not what its stage puts out.
pub fn difference(store: &Store, one: &Run, other: &Run) -> Result<Difference> {
    let (left, right) = (Side::open(store, one)?, Side::open(store, other)?);
    let points = |side: &Side<'_>| -> Vec<PointName> {
        side.selection.iter().flat_map(|selection| &selection.points).map(|point| (point.p, point.q)).collect()
    };
    let (here, there) = (points(&left), points(&right));
    let without = |all: &[PointName], others: &[PointName]| {
        all.iter().filter(|point| !others.contains(point)).copied().collect::<Vec<_>>()
    };
    let both = here.iter().filter(|point| there.contains(point)).map(|point| Some(*point));
    Ok(Difference {
        settings: settings(&one.pipeline, &other.pipeline),
        nodes: nodes(one, other),
        points: std::iter::once(None).chain(both).map(|point| at(point, &left, &right)).collect::<Result<_>>()?,
        only: (without(&here, &there), without(&there, &here)),
    })
}

impl<'a> Side<'a> {
    fn open(store: &'a Store, run: &'a Run) -> Result<Self> {
        let mut side = Self { store, run, selection: None, variants: Vec::new() };
        if let (Some(masks), Some(points)) = (side.output("select", "masks")?, side.output("select", "points")?) {
            side.selection = Some(Selection::from_parquet(masks, points)?);
        }
        if let Some(bytes) = side.output("report", "report")? {
            side.variants = report::json::read(&bytes)?.variants;
        }
        Ok(side)
    }

    fn output(&self, node: &str, output: &str) -> Result<Option<Vec<u8>>> {
        self.store.output_of(self.run, node, output)
    }

    fn mask(&self, point: PointName) -> Option<&Mask> {
        let selection = self.selection.as_ref()?;
        let found = selection.points.iter().find(|selected| (selected.p, selected.q) == point)?;
        selection.mask(&found.mask)
    }

    /// The name of the variant at a point, as nodes have it.
    fn label(&self, point: Option<PointName>) -> String {
        let mask = point.and_then(|point| self.mask(point)).filter(|mask| !mask.is_empty());
        mask.map_or_else(|| "base".to_owned(), |mask| mask.digest.short())
    }

    fn answers(&self, label: &str) -> Result<Option<Vec<Answer>>> {
        self.output(&format!("generate[{label}]"), "answers")?.map(Answer::from_parquet).transpose()
    }

    fn variant(&self, label: &str) -> Option<&VariantReport> {
        self.variants.iter().find(|variant| variant.variant == label)
    }
}

fn at(point: Option<PointName>, left: &Side<'_>, right: &Side<'_>) -> Result<PointDifference> {
    let masks = point.map(|point| (left.mask(point), right.mask(point)));
    let size = |mask: Option<&Mask>| mask.map_or(0, Mask::len);
    let (weights, shared) = match masks {
        Some((one, other)) => (
            (size(one), size(other)),
            one.zip(other).map_or(0, |(one, other)| mask_overlap(one, other, &|_| None).shared),
        ),
        None => ((0, 0), 0),
    };
    let (here, there) = (left.label(point), right.label(point));
    let answers = left.answers(&here)?.zip(right.answers(&there)?).map(|(one, other)| changed(&one, &other));
    let values = left.variant(&here).zip(right.variant(&there)).map_or(Vec::new(), |(one, other)| values(one, other));
    let name = point.map_or_else(|| naming::BASE.to_owned(), |(p, q)| naming::point(p, q));
    Ok(PointDifference { name, point, weights, shared, answers, values })
}

/// The questions that both answered, and those whose answers differ.
fn changed(one: &[Answer], other: &[Answer]) -> (usize, usize) {
    let theirs: BTreeMap<(&str, &str), &str> =
        other.iter().map(|answer| ((answer.set.as_str(), answer.question.as_str()), answer.answer.as_str())).collect();
    let both: Vec<bool> = one
        .iter()
        .filter_map(|answer| Some(*theirs.get(&(answer.set.as_str(), answer.question.as_str()))? != answer.answer))
        .collect();
    (both.len(), both.iter().filter(|changed| **changed).count())
}

fn values(one: &VariantReport, other: &VariantReport) -> Vec<ValueDifference> {
    let theirs: BTreeMap<_, _> =
        other.outcomes.iter().map(|found| ((&found.by, &found.set, &found.measure), found.value)).collect();
    let mut values = Vec::new();
    // There are too many phrases to list each that is said once more; all of them together are one value.
    for found in one.outcomes.iter().filter(|found| !found.measure.starts_with(PHRASE)) {
        let Some(theirs) = theirs.get(&(&found.by, &found.set, &found.measure)) else { continue };
        if *theirs != found.value {
            let (by, set, measure) = (found.by.clone(), found.set.clone(), found.measure.clone());
            values.push(ValueDifference { by, set, measure, values: (found.value, *theirs) });
        }
    }
    values
}

fn nodes(one: &Run, other: &Run) -> Nodes {
    let mut nodes = Nodes::default();
    for name in one.nodes.keys().chain(other.nodes.keys()).collect::<BTreeSet<_>>() {
        match (one.nodes.get(name), other.nodes.get(name)) {
            (Some(here), Some(there)) if here.key.is_some() && here.key == there.key => nodes.same += 1,
            (Some(_), Some(_)) => nodes.different += 1,
            (Some(_), None) => nodes.only.0 += 1,
            (None, _) => nodes.only.1 += 1,
        }
    }
    nodes
}

/// The leaves of two pipelines that differ. `[run]` says nothing about results.
fn settings(one: &Value, other: &Value) -> Vec<Setting> {
    let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
    leaves("", one, &mut here);
    leaves("", other, &mut there);
    let keys: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let setting = |key: &String| {
        let values = (here.get(key).copied().cloned(), there.get(key).copied().cloned());
        let values = (values.0.unwrap_or_default(), values.1.unwrap_or_default());
        (values.0 != values.1).then(|| Setting { key: key.clone(), values })
    };
    keys.into_iter().filter(|key| !key.starts_with("run.")).filter_map(setting).collect()
}

/// Every value that is no table, by its path. A list is one value.
fn leaves<'v>(path: &str, value: &'v Value, found: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value, found);
            }
        }
        other => {
            found.insert(path.to_owned(), other);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_differ_leaf_by_leaf_and_where_it_ran_does_not_count() {
        let one =
            json!({ "select": { "q": [1e-5], "rule": "a" }, "data": { "a": { "seed": 0 } }, "run": { "threads": 1 } });
        let other = json!({ "select": { "q": [1e-5, 3e-5], "rule": "a" }, "run": { "threads": 2 } });
        let found: Vec<_> = settings(&one, &other).into_iter().map(|setting| (setting.key, setting.values)).collect();
        assert_eq!(
            found,
            [
                ("data.a.seed".to_owned(), (json!(0), Value::Null)),
                ("select.q".to_owned(), (json!([1e-5]), json!([1e-5, 3e-5])))
            ]
        );
    }
}
