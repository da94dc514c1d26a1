//! select: rank tables to the masks of the whole grid, at once.
//!
//! Cheap and without a model, so planning evaluates it in memory as soon as the rank tables are
//! there. Must not know: how scores were made, what a mask will be used for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Input, Node, Outputs, Planning, Stage, Work, params_of};
use crate::error::{Error, Result};
use crate::model::projection::Projection;
use crate::rank::{self, Point, RankTable, Rule};

pub struct Select;

/// What changes the masks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// The rule in its canonical spelling.
    pub rule: String,
    /// `mlp`, `self_attn` or `all`.
    pub modules: String,
    /// Sorted and distinct: (p, q), p null for a rule without a minus.
    pub points: Vec<(Option<f64>, f64)>,
}

impl Stage for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn version(&self) -> u32 {
        1
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let settings = &planning.pipeline.select;
        let params = params_of(&Params {
            rule: settings.rule.to_string(),
            modules: settings.modules.to_string(),
            points: settings.points.iter().map(|point| (point.p, point.q)).collect(),
        })?;
        let inputs = settings
            .rule
            .names()
            .iter()
            .map(|name| (name.clone(), Input::output(&format!("score[{name}]"), "ranks")))
            .collect();
        Ok(vec![Node { name: "select".into(), params, inputs }])
    }

    fn run(&self, work: &Work<'_>) -> Result<Outputs> {
        let params: Params = work.params()?;
        let rule = Rule::parse(&params.rule)?;
        let points: Vec<Point> = params.points.iter().map(|(p, q)| Point { p: *p, q: *q }).collect();
        let mut tables = BTreeMap::new();
        for name in work.inputs.keys() {
            let table = RankTable::from_parquet(work.read(name)?).map_err(|error| error.within(name))?;
            tables.insert(name.clone(), table);
        }
        let keep = |tensor: &str| Projection::parse(tensor).is_some_and(|(_, part)| part.is_in(&params.modules));
        let shapes: Vec<(String, u64)> = tables
            .values()
            .next()
            .ok_or_else(|| Error::fault("selection was planned without a rank table"))?
            .matrices
            .iter()
            .filter(|matrix| keep(&matrix.tensor))
            .map(|matrix| (matrix.tensor.clone(), matrix.numel))
            .collect();
        for warning in rank::check_k(&points, &shapes)? {
            work.progress.note(&warning);
        }
        let selection = rank::select(&rule, &points, &tables, &keep)?;
        Ok(vec![("masks".into(), selection.masks_parquet()?), ("points".into(), selection.points_parquet()?)])
    }
}
