//! select: rank tables to the masks of the whole grid, at once.
//!
//! Cheap and without a model, so planning evaluates it in memory as soon as the rank tables are
//! there. Must not know: how scores were made, what a mask will be used for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Context, Input, Node, Outputs, Planning, Preview, Role, Stage, params_of};
use crate::error::{Error, Result};
use crate::model::matrix::MatrixId;
use crate::model::matrix::{Layers, Modules};
use crate::rank::{self, Point, RankTable, Rule};

pub struct Select;

/// What changes the masks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// The rule in its canonical spelling.
    pub rule: String,
    /// In their canonical spelling.
    pub modules: Modules,
    /// Left out when all that were scored take part.
    #[serde(default = "Layers::all", skip_serializing_if = "Layers::is_all")]
    pub layers: Layers,
    /// Sorted and distinct: (p, q), p null for a rule without a minus.
    pub points: Vec<(Option<f64>, f64)>,
}

impl Params {
    fn points(&self) -> Vec<Point> {
        self.points.iter().map(|(p, q)| Point { p: *p, q: *q }).collect()
    }

    /// Whether a matrix takes part.
    fn takes(&self, tensor: &str) -> bool {
        MatrixId::parse(tensor).is_some_and(|id| id.is_in(self.modules, &self.layers))
    }
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
            modules: settings.modules,
            layers: settings.layers.clone(),
            points: settings.points.iter().map(|point| (point.p, point.q)).collect(),
        })?;
        let inputs = settings
            .rule
            .names()
            .iter()
            .map(|name| (name.clone(), Input::output(&format!("score[{name}]"), "ranks")))
            .collect();
        Ok(vec![Node { name: "select".into(), params, inputs, ..Node::default() }])
    }

    /// Selection reads rank tables alone. With the shapes of the model's matrices, points that select nothing are found
    /// before anything is scored.
    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        let params: Params = preview.params()?;
        let Some(checkpoint) = preview.checkpoint_if_here(Role::Subject)? else { return Ok(Vec::new()) };
        let config = checkpoint.config();
        params.layers.fit("select.layers", config.layers())?;
        let linears = (0..config.layers()).flat_map(|layer| config.linears(layer));
        let selected = linears.filter(|linear| params.takes(&linear.name));
        let shapes: Vec<(String, u64)> =
            selected.map(|linear| (linear.name, linear.out as u64 * linear.input as u64)).collect();
        rank::check_k(&params.points(), &shapes)
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let rule = Rule::parse(&params.rule)?;
        let points = params.points();
        let mut tables = BTreeMap::new();
        for name in context.inputs.keys() {
            let table = RankTable::from_parquet(context.read(name)?).map_err(|error| error.within(name))?;
            tables.insert(name.clone(), table);
        }
        tables.values().try_for_each(|table| check_held(&params, table))?;
        let keep = |tensor: &str| params.takes(tensor);
        let shapes: Vec<(String, u64)> = tables
            .values()
            .next()
            .ok_or_else(|| Error::fault("selection was planned without a rank table"))?
            .matrices
            .iter()
            .filter(|matrix| keep(&matrix.tensor))
            .map(|matrix| (matrix.tensor.clone(), matrix.numel))
            .collect();
        // What is no error was told by `check`.
        rank::check_k(&points, &shapes)?;
        let selection = rank::select(&rule, &points, &tables, &keep)?;
        Ok(vec![("masks".into(), selection.masks_parquet()?), ("points".into(), selection.points_parquet()?)])
    }
}

/// Whether a table holds every matrix that is to take part.
fn check_held(params: &Params, table: &RankTable) -> Result<()> {
    let held: BTreeSet<(usize, &str)> = table
        .matrices
        .iter()
        .filter_map(|matrix| MatrixId::parse(&matrix.tensor))
        .map(|id| (id.layer, id.projection.name()))
        .collect();
    let layers: BTreeSet<usize> = held.iter().map(|(layer, _)| *layer).collect();
    let mut wanted = layers.iter().copied().filter(|layer| params.layers.has(*layer)).chain([params.layers.highest()]);
    let missing = wanted.find_map(|layer| {
        params.modules.projections().find(|name| !held.contains(&(layer, *name))).map(|name| (layer, name))
    });
    let Some((layer, name)) = missing else { return Ok(()) };
    let modules = Modules::of(held.iter().map(|(_, name)| *name));
    let layers = Layers::of_numbers(&layers.into_iter().collect::<Vec<_>>());
    let scored = match (modules, layers) {
        (Some(modules), Some(layers)) => format!("modules = {modules} and layers = {layers}"),
        _ => "nothing".into(),
    };
    Err(Error::user(format!(
        "select.modules = {} and select.layers = {} ask for {name} of layer {layer}, but what was scored is {scored}",
        params.modules, params.layers
    ))
    .hint(
        "narrow select.modules and select.layers, or widen score.modules and score.layers (scores are computed again)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::top;

    #[test]
    fn what_was_not_scored_is_named_with_what_was() {
        let tensors = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"];
        let matrices = tensors.map(|tensor| top(tensor, &[1.0, 2.0], 1, 1.0).unwrap());
        let table = RankTable { cap: 1.0, matrices: matrices.into() };
        let check = |modules: &[&str], layers: &str| {
            let (modules, layers) = (Modules::of(modules.iter().copied()).unwrap(), Layers::of_text(layers).unwrap());
            check_held(&Params { rule: "a".into(), modules, layers, points: vec![] }, &table)
        };
        for layers in ["all", "1..", "0..2", "0..1"] {
            check(&["up_proj"], layers).unwrap();
        }
        let message = |modules: &[&str], layers: &str| check(modules, layers).unwrap_err().message().to_owned();
        insta::assert_snapshot!(message(&["mlp"], "all"), @r#"select.modules = "mlp" and select.layers = "all" ask for gate_proj of layer 0, but what was scored is modules = ["up_proj"] and layers = "0..2""#);
        insta::assert_snapshot!(message(&["up_proj"], "0..3"), @r#"select.modules = ["up_proj"] and select.layers = "0..3" ask for up_proj of layer 2, but what was scored is modules = ["up_proj"] and layers = "0..2""#);
        insta::assert_snapshot!(message(&["up_proj"], "7.."), @r#"select.modules = ["up_proj"] and select.layers = "7.." ask for up_proj of layer 7, but what was scored is modules = ["up_proj"] and layers = "0..2""#);
    }
}
