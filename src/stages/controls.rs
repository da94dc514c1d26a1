//! controls: masks that stand beside those of select, with as many weights in each matrix, chosen without the rule.
//!
//! Some are drawn at random, one for each seed, and others are the highest weights of one data set alone: of each set that the
//! rule asks to be high in. They are variants like any other. What they do to the model shows whether it matters which weights
//! the rule chose. Like select, the stage is cheap and needs no model, so planning evaluates it in memory.
//! Must not know: how scores were made, what a mask will be used for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Context, Input, Node, Outputs, Planning, Stage, params_of};
use crate::error::{Error, Result};
use crate::rank::{
    ControlPoints, Mask, Operand, RankTable, Selection, Setting, draw_of, masks_to_parquet, random_control, top_alone,
};
use crate::tables::{Control, ControlKind, Row};

pub struct Controls;

/// The node, and its two outputs: the table of controls and their masks.
pub const NODE: &str = "controls";
pub const TABLE: &str = "controls";
pub const MASKS: &str = "control-masks";

/// In front of a data set's name: the input with its rank table.
const RANKS: &str = "ranks of ";

/// What changes the controls.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// Beside which points controls stand.
    pub points: ControlPoints,
    /// How many are drawn at random; their seeds count from 0.
    pub random: u64,
}

impl Stage for Controls {
    fn name(&self) -> &'static str {
        NODE
    }

    fn version(&self) -> u32 {
        1
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let settings = &planning.pipeline.controls;
        if settings.points == ControlPoints::None {
            return Ok(Vec::new());
        }
        let params = params_of(&Params { points: settings.points, random: settings.random })?;
        let mut inputs =
            BTreeMap::from(["masks", "points"].map(|name| (name.to_owned(), Input::output("select", name))));
        // Of several draws of a set, the first one stands for it.
        let is_high = |operand: &Operand<'_>| operand.setting == Setting::Q && draw_of(operand.name).1 == 0;
        for operand in planning.pipeline.select.rule.operands().into_iter().filter(is_high) {
            let ranks = Input::output(&format!("score[{}]", operand.name), "ranks");
            inputs.insert(format!("{RANKS}{}", operand.name), ranks);
        }
        Ok(vec![Node { name: NODE.into(), params, inputs, ..Node::default() }])
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let selection = Selection::from_parquet(context.read("masks")?, context.read("points")?)?;
        let mut tables = BTreeMap::new();
        for input in context.inputs.keys() {
            if let Some(name) = input.strip_prefix(RANKS) {
                tables.insert(name, RankTable::from_parquet(context.read(input)?).map_err(|error| error.within(name))?);
            }
        }
        let (mut rows, mut masks) = (Vec::new(), Vec::new());
        for beside in beside(&selection, params.points) {
            for (kind, seed, data, mask) in controls(beside, params.random, &tables)? {
                let Some(mask) = mask else {
                    let (mask, set) = (beside.digest.short(), data.unwrap_or_default());
                    context.progress.note(&format!(
                        "beside {mask} stands no top of {set} alone: its rank table holds fewer weights of some matrix"
                    ));
                    continue;
                };
                // A rule that is one set alone has no other top of it.
                if mask.digest != beside.digest {
                    let (mask, of, weights) = (mask.digest, beside.digest, mask.len());
                    rows.push(Control { mask, of, kind, seed, data, weights });
                }
                masks.push(mask);
            }
        }
        masks.retain(|mask| rows.iter().any(|row| row.mask == mask.digest));
        masks.sort_by_key(|mask| mask.digest);
        masks.dedup_by_key(|mask| mask.digest);
        Ok(vec![(TABLE.into(), Control::to_parquet(&rows)?), (MASKS.into(), masks_to_parquet(&masks)?)])
    }
}

/// The masks that controls stand beside, each once, in the order of the grid. One without a weight needs none.
fn beside(selection: &Selection, points: ControlPoints) -> Vec<&Mask> {
    let mut masks: Vec<&Mask> = Vec::new();
    for mask in selection.points.iter().filter_map(|point| selection.mask(&point.mask)) {
        if !mask.is_empty() && !masks.contains(&mask) {
            masks.push(mask);
        }
    }
    match points {
        ControlPoints::All => masks,
        ControlPoints::Last => masks.pop().into_iter().collect(),
        ControlPoints::None => Vec::new(),
    }
}

/// How a control was chosen, the seed or the data set of it, and its mask, if there is one.
type Chosen = (ControlKind, Option<u64>, Option<String>, Option<Mask>);

fn controls(beside: &Mask, random: u64, tables: &BTreeMap<&str, RankTable>) -> Result<Vec<Chosen>> {
    let any = tables.values().next().ok_or_else(|| Error::fault("controls were planned without a rank table"))?;
    let drawn = |seed| Ok((ControlKind::Random, Some(seed), None, Some(random_control(beside, any, seed)?)));
    let mut found = (0..random).map(drawn).collect::<Result<Vec<Chosen>>>()?;
    let top = |(name, table): (&&str, &RankTable)| {
        (ControlKind::Top, None, Some((*name).to_owned()), top_alone(beside, table))
    };
    found.extend(tables.iter().map(top));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::{Point, Rule, select, top};

    /// Two data sets that agree in the first half of the matrix.
    fn tables() -> BTreeMap<String, RankTable> {
        let table = |turn: usize| {
            let scores: Vec<f32> = (0..200).map(|at| ((at + turn * (at / 100)) * 37 % 199) as f32).collect();
            RankTable { cap: 0.2, matrices: vec![top("m", &scores, 1, 0.2).unwrap()] }
        };
        [("a".to_owned(), table(0)), ("b".to_owned(), table(5))].into()
    }

    fn selection(rule: &str, shares: &[f64]) -> Selection {
        let points: Vec<Point> = shares.iter().map(|q| Point { p: None, q: *q }).collect();
        select(&Rule::parse(rule).unwrap(), &points, &tables(), &|_| true).unwrap()
    }

    fn chosen(rule: &str, shares: &[f64]) -> Vec<(String, Option<Mask>)> {
        let (tables, selection) = (tables(), selection(rule, shares));
        let tables: BTreeMap<&str, RankTable> =
            tables.iter().map(|(name, table)| (name.as_str(), table.clone())).collect();
        let last = beside(&selection, ControlPoints::Last);
        let found = controls(last[0], 2, &tables).unwrap().into_iter();
        found.map(|(kind, seed, data, mask)| (format!("{kind} {seed:?} {data:?}"), mask)).collect()
    }

    #[test]
    fn the_last_mask_with_a_weight_is_the_last_point() {
        let selection = selection("a & b", &[0.001, 0.05, 0.1, 0.1001]);
        let of = |points| beside(&selection, points).iter().map(|mask| mask.len()).collect::<Vec<_>>();
        assert_eq!((of(ControlPoints::Last).len(), of(ControlPoints::All).len()), (1, 2), "equal masks count once");
        assert_eq!(of(ControlPoints::All)[1], of(ControlPoints::Last)[0]);
        assert!(of(ControlPoints::None).is_empty());
    }

    #[test]
    fn controls_are_seeds_and_tops_with_as_many_weights() {
        let found = chosen("a & b", &[0.1]);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["random Some(0) None", "random Some(1) None", "top None Some(\"a\")", "top None Some(\"b\")"]
        );
        let weights = selection("a & b", &[0.1]).points[0].weights;
        assert!(weights > 3 && found.iter().all(|(_, mask)| mask.as_ref().unwrap().len() == weights));
    }

    #[test]
    fn a_sum_of_sets_may_have_more_weights_than_a_table_holds() {
        let found = chosen("a | b", &[0.2]);
        assert!(found[0].1.is_some() && found[2].1.is_none() && found[3].1.is_none(), "40 of each are held");
    }
}
