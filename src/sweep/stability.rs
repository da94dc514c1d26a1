//! How stable a selection is: the same job scored on halves of its rows and on rows of other seeds.
//!
//! The parts are ordinary data sets, with settings that anybody could type. So their scores are ordinary nodes, which are
//! computed once and kept. Their names have characters that pipeline.toml does not allow, so they cannot be confused with its
//! sets. Must not know: how overlap is measured, how a table looks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Data, Pipeline};
use crate::engine::{Plan, Planner, State};
use crate::error::{Error, Result};
use crate::model::matrix::MatrixId;
use crate::naming;
use crate::rank::{self, Mask, MaskOverlap, Point, RankTable, Rule, Selection, Setting, TopOverlap};
use crate::tables::Tokens;

/// Some of the rows that a data set could have drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    FirstHalf,
    SecondHalf,
    /// The rows that another seed draws: the set's own seed plus this number.
    Seed(u64),
}

impl Part {
    /// The name of the derived data set, and with it of its nodes.
    fn of(self, data: &str) -> String {
        match self {
            Self::Whole => data.to_owned(),
            Self::FirstHalf => format!("{data}/first half"),
            Self::SecondHalf => format!("{data}/second half"),
            Self::Seed(more) => format!("{data}/seed +{more}"),
        }
    }

    fn settings(self, whole: &Data) -> Data {
        let half = whole.samples / 2;
        match self {
            Self::Whole => whole.clone(),
            Self::FirstHalf => Data { samples: half, ..whole.clone() },
            Self::SecondHalf => Data { samples: half, skip: whole.skip.saturating_add(half), ..whole.clone() },
            Self::Seed(more) => Data { seed: whole.seed.wrapping_add(more), ..whole.clone() },
        }
    }
}

/// The two parts that are compared, and the name of the comparison. If the rule speaks of several draws, the other seeds begin
/// behind them: what is compared has no draw in common.
fn comparisons(seeds: u64, rule: &Rule) -> Vec<(Part, Part, String)> {
    let mut all = vec![(Part::FirstHalf, Part::SecondHalf, "halves".to_owned())];
    let further = (1..=seeds).map(|number| number * rule.draws());
    all.extend(further.map(|more| (Part::Whole, Part::Seed(more), format!("seed +{more}"))));
    all
}

/// The overlap of one data set's tops.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TopRow {
    pub data: String,
    /// `p` or `q`: which of a point's shares the rule uses for this set.
    pub setting: String,
    pub fraction: f64,
    /// `halves`, or `seed +1`: the set's own rows compared with those that its seed plus one draws.
    pub compared: String,
    /// How many rows each side has, and how many of them both have.
    pub rows: u64,
    pub rows_shared: u64,
    /// None if the fraction is less than one weight of every matrix.
    pub overlap: Option<TopOverlap>,
}

/// The overlap of the masks that a point gives.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MaskRow {
    /// What people call the point.
    pub name: String,
    pub p: Option<f64>,
    pub q: f64,
    pub compared: String,
    #[serde(flatten)]
    pub overlap: MaskOverlap,
}

/// Everything that was compared.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Stability {
    pub rule: String,
    /// By data set in the order of the rule, then by fraction.
    pub tops: Vec<TopRow>,
    /// By point.
    pub masks: Vec<MaskRow>,
}

/// The job with the data sets that are compared, and without what comes after selection.
///
/// # Errors
/// A score method that reads no data, a data set of one row, no name in the rule that is there.
pub fn widened(pipeline: &Pipeline, seeds: u64) -> Result<Pipeline> {
    let method = pipeline.score.method;
    if !method.reads().tokens {
        return Err(Error::user(format!(
            "score.method = \"{method}\" reads no data, so no rows can change its scores"
        ))
        .hint("stability is a question to methods that read data, such as \"snip\" and \"wanda\""));
    }
    let mut wide = pipeline.clone();
    wide.data.clear();
    wide.questions.clear();
    wide.perplexity = None;
    for name in pipeline.select.rule.names() {
        let whole = pipeline
            .data
            .get(name)
            .ok_or_else(|| Error::fault(format!("the rule names {name}, which the pipeline has not")))?;
        if whole.samples < 2 {
            return Err(Error::user(format!("data.{name}.samples = 1 cannot be halved"))
                .hint("stability needs at least two rows of each data set"));
        }
        for (one, other, _) in comparisons(seeds, &pipeline.select.rule) {
            for part in [Part::Whole, one, other] {
                wide.data.insert(part.of(name), part.settings(whole));
            }
        }
    }
    Ok(wide)
}

/// Whether every rank table of a widened job is there.
pub fn is_ready(plan: &Plan) -> bool {
    plan.nodes.iter().filter(|planned| planned.stage.name() == "score").all(|planned| planned.state == State::Hit)
}

/// Compares what is in the store.
///
/// # Errors
/// Rank tables that are not there, or damaged.
pub fn compare(planner: &Planner<'_>, plan: &Plan, seeds: u64) -> Result<Stability> {
    let select = &planner.pipeline().select;
    let keep = |tensor: &str| MatrixId::parse(tensor).is_some_and(|id| id.is_in(select.modules, &select.layers));
    let mut stability = Stability { rule: select.rule.to_string(), tops: Vec::new(), masks: Vec::new() };
    for (one, other, compared) in comparisons(seeds, &select.rule) {
        let (here, there) = (tables(planner, plan, one)?, tables(planner, plan, other)?);
        for (data, setting, fraction) in fractions(planner.pipeline()) {
            let (Some(mine), Some(theirs)) = (here.get(data), there.get(data)) else { continue };
            let (rows, others) = (tokens(planner, plan, &one.of(data))?, tokens(planner, plan, &other.of(data))?);
            stability.tops.push(TopRow {
                data: data.to_owned(),
                setting: setting.to_string(),
                fraction,
                compared: compared.clone(),
                rows: rows.rows().len() as u64,
                rows_shared: rows.shared(&others) as u64,
                overlap: rank::top_overlap(mine, theirs, fraction, &keep)?,
            });
        }
        let selection = |tables| rank::select(&select.rule, &select.points, tables, &keep);
        let numels: BTreeMap<&str, u64> = here
            .values()
            .flat_map(|table| &table.matrices)
            .map(|matrix| (matrix.tensor.as_str(), matrix.numel))
            .collect();
        let numel = |tensor: &str| numels.get(tensor).copied();
        let (here, there) = (selection(&here)?, selection(&there)?);
        for ((point, mine), theirs) in select.points.iter().zip(masks(&here)?).zip(masks(&there)?) {
            stability.masks.push(MaskRow {
                name: naming::point(point.p, point.q),
                p: point.p,
                q: point.q,
                compared: compared.clone(),
                overlap: rank::mask_overlap(mine, theirs, &numel),
            });
        }
    }
    // Rows of one data set and fraction are grouped. Within a group, comparisons keep their order.
    let order = |row: &TopRow| select.rule.names().iter().position(|name| *name == row.data);
    stability.tops.sort_by(|a, b| {
        order(a).cmp(&order(b)).then(a.setting.cmp(&b.setting)).then(a.fraction.total_cmp(&b.fraction))
    });
    let place = |row: &MaskRow| select.points.iter().position(|point| same(point, row));
    stability.masks.sort_by_key(place);
    Ok(stability)
}

fn same(point: &Point, row: &MaskRow) -> bool {
    point.q.total_cmp(&row.q).is_eq() && point.p.unwrap_or(-1.0).total_cmp(&row.p.unwrap_or(-1.0)).is_eq()
}

/// The masks in the order of the points.
fn masks(selection: &Selection) -> Result<Vec<&Mask>> {
    let of = |digest| selection.mask(digest).ok_or_else(|| Error::fault("a point's mask is not in its selection"));
    selection.points.iter().map(|point| of(&point.mask)).collect()
}

/// Which shares of which data set the rule takes, each once, ascending.
fn fractions(pipeline: &Pipeline) -> Vec<(&str, Setting, f64)> {
    let mut found: Vec<(&str, Setting, f64)> = Vec::new();
    for operand in pipeline.select.rule.operands() {
        for point in &pipeline.select.points {
            let fraction = match operand.setting {
                Setting::P => point.p,
                Setting::Q => Some(point.q),
            };
            let known = |fraction: f64| {
                found.iter().any(|(name, setting, known)| {
                    *name == operand.name && *setting == operand.setting && known.total_cmp(&fraction).is_eq()
                })
            };
            if let Some(fraction) = fraction.filter(|fraction| !known(*fraction)) {
                found.push((operand.name, operand.setting, fraction));
            }
        }
    }
    found
}

/// The rank tables of one part, by the names that the rule knows.
fn tables(planner: &Planner<'_>, plan: &Plan, part: Part) -> Result<BTreeMap<String, RankTable>> {
    let read = |name: &String| {
        let node = format!("score[{}]", part.of(name));
        let bytes = planner.output_bytes(plan, &node, "ranks")?.ok_or_else(|| missing(&node))?;
        Ok((name.clone(), RankTable::from_parquet(bytes).map_err(|error| error.within(&node))?))
    };
    planner.pipeline().select.rule.names().iter().map(read).collect()
}

fn tokens(planner: &Planner<'_>, plan: &Plan, data: &str) -> Result<Tokens> {
    let node = format!("tokenize[{data}]");
    let bytes = planner.output_bytes(plan, &node, "tokens")?.ok_or_else(|| missing(&node))?;
    Tokens::from_parquet(bytes).map_err(|error| error.within(&node))
}

fn missing(node: &str) -> Error {
    Error::user(format!("{node} is not in the store")).hint("type the same again: what is missing is computed first")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{TooLong, Turns};

    #[test]
    fn halves_are_disjoint_and_of_equal_size() {
        let whole = Data {
            path: "rows.csv".into(),
            prompt: "prompt".into(),
            response: "response".into(),
            samples: 9,
            seed: 3,
            skip: 5,
            format: None,
            turns: Turns::Last,
            too_long: TooLong::Error,
        };
        let drawn = |part: Part| {
            let data = part.settings(&whole);
            (data.seed, data.skip, data.samples)
        };
        let parts = [Part::Whole, Part::FirstHalf, Part::SecondHalf, Part::Seed(2)];
        assert_eq!(parts.map(drawn), [(3, 5, 9), (3, 5, 4), (3, 9, 4), (5, 5, 9)]);
        let names = |rule: &str| -> Vec<String> {
            comparisons(2, &Rule::parse(rule).unwrap()).into_iter().map(|(.., name)| name).collect()
        };
        assert_eq!(names("a & b - c"), ["halves", "seed +1", "seed +2"]);
        assert_eq!(names("stable(a, 2 of 3) & b"), ["halves", "seed +3", "seed +6"]);
    }
}
