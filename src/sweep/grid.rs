//! The grid before anything is generated: how many weights each point selects, which points coincide, and where the mask
//! changes next.
//!
//! A rule such as `a & b - g` is answered for the whole plane of p and q at once, whatever its size. Other rules are selected
//! point by point. Must not know: what is done with a mask.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Pipeline;
use crate::digest::Digest;
use crate::engine::Planner;
use crate::error::{Error, Result};
use crate::model::matrix::MatrixId;
use crate::naming;
use crate::rank::{self, Point, RankTable, Selection};

/// The most points of which each mask is made, so that its digest is known.
const MASKS: usize = 200;

/// One point of the grid.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GridPoint {
    /// What people call it.
    pub name: String,
    pub p: Option<f64>,
    pub q: f64,
    pub weights: u64,
    /// Not of a grid with very many points, whose masks are not made.
    pub mask: Option<Digest>,
    /// The first point of the grid with the same mask, if that is another one.
    pub same_as: Option<(Option<f64>, f64)>,
    /// The lowest higher p and q at which the mask is another one; `None` if there is none up to `score.cap`, or if the rule is
    /// not of a form that tells.
    pub next_p: Option<f64>,
    pub next_q: Option<f64>,
}

/// The grid's points, in its order. `planner` may be of the same job with fewer points: only what was scored is read.
///
/// # Errors
/// Rank tables that are not there yet.
pub fn grid(planner: &Planner<'_>, pipeline: &Pipeline) -> Result<Vec<GridPoint>> {
    let plan = planner.plan(false)?;
    let select = &pipeline.select;
    let mut tables = BTreeMap::new();
    for name in select.rule.names() {
        let Some(ranks) = planner.output_bytes(&plan, &format!("score[{name}]"), "ranks")? else {
            return Err(not_scored());
        };
        tables.insert(name.clone(), RankTable::from_parquet(ranks).map_err(|error| error.within(name))?);
    }
    let keep = |tensor: &str| MatrixId::parse(tensor).is_some_and(|id| id.is_in(select.modules, &select.layers));
    let (ps, qs) = axes(&select.points);
    let places = rank::plane(&select.rule, &ps, &qs, &tables, &keep)?;
    let selection = match places.is_none() || select.points.len() <= MASKS {
        true => Some(rank::select(&select.rule, &select.points, &tables, &keep)?),
        false => None,
    };
    Ok(join(&select.points, places.map(|places| Plane { ps, qs, places }), selection))
}

/// Nobody knows what a point selects before its data sets were scored.
pub fn not_scored() -> Error {
    Error::user("the grid needs the rank tables of every data set, and some are not there yet")
        .hint("type `dean run --until score` first")
}

/// The plane of the grid's p and q.
struct Plane {
    ps: Vec<f64>,
    qs: Vec<f64>,
    places: Vec<Vec<rank::Place>>,
}

impl Plane {
    fn at(&self, point: &Point) -> Option<&rank::Place> {
        let place = |values: &[f64], value: f64| values.iter().position(|known| known.total_cmp(&value).is_eq());
        self.places.get(place(&self.qs, point.q)?)?.get(place(&self.ps, point.p.unwrap_or(0.0))?)
    }
}

/// Every p and every q of a grid, ascending.
fn axes(points: &[Point]) -> (Vec<f64>, Vec<f64>) {
    let distinct = |values: &mut dyn Iterator<Item = f64>| {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    };
    (
        distinct(&mut points.iter().map(|point| point.p.unwrap_or(0.0))),
        distinct(&mut points.iter().map(|point| point.q)),
    )
}

fn join(points: &[Point], plane: Option<Plane>, selection: Option<Selection>) -> Vec<GridPoint> {
    // What tells masks apart: the mask's digest, or the fingerprint of a mask that was not made.
    let mut first: HashMap<(Option<Digest>, u128), Point> = HashMap::new();
    let of = |(number, point): (usize, &Point)| {
        let place = plane.as_ref().and_then(|plane| plane.at(point)).copied();
        let selected = selection.as_ref().and_then(|selection| selection.points.get(number));
        let (mask, fingerprint) = (selected.map(|point| point.mask), place.map_or(0, |place| place.fingerprint));
        let before = *first.entry((mask, fingerprint)).or_insert(*point);
        GridPoint {
            name: naming::point(point.p, point.q),
            p: point.p,
            q: point.q,
            weights: selected.map(|point| point.weights).or(place.map(|place| place.weights)).unwrap_or_default(),
            mask,
            same_as: (before != *point).then_some((before.p, before.q)),
            next_p: place.and_then(|place| place.next_p).filter(|_| point.p.is_some()),
            next_q: place.and_then(|place| place.next_q),
        }
    };
    points.iter().enumerate().map(of).collect()
}
