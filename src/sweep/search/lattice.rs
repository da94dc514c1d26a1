//! The points of a search as a space: every p with every q of `[search]`, by what the rank tables say of them.
//!
//! Must not know: how points are measured, which of them is taken.

use std::collections::{BTreeMap, HashMap};

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::model::matrix::MatrixId;
use crate::rank::{self, Mask, Point, RankTable, Selection, mask_overlap};
use crate::search::{Known, Space};

/// The most points of a rule whose masks have to be compared one by one.
const COMPARED: usize = 400;

/// # Errors
/// User: a lattice with too many points for a rule of that form.
pub fn space(pipeline: &Pipeline, tables: &BTreeMap<String, RankTable>) -> Result<Space> {
    let select = &pipeline.select;
    let keep = |tensor: &str| MatrixId::parse(tensor).is_some_and(|id| id.is_in(select.modules, &select.layers));
    let (own, qs) = (&pipeline.search.ps, &pipeline.search.qs);
    let ps: Vec<Option<f64>> = if select.rule.uses_p() { own.iter().copied().map(Some).collect() } else { vec![None] };
    let bare = if select.rule.uses_p() { own.clone() } else { vec![0.0] };
    // The scores on what the rule protects say to first order what losing the weights costs.
    let protected: Vec<&RankTable> = protected(pipeline).filter_map(|name| tables.get(name)).collect();
    if let Some(places) = rank::plane_priced(&select.rule, &bare, qs, tables, &keep, &protected)? {
        let known = |place: &rank::Place| Known {
            weights: place.weights,
            fingerprint: place.fingerprint,
            damage: (!protected.is_empty()).then_some(place.price),
        };
        let known: Vec<Vec<Known>> = places.iter().map(|row| row.iter().map(known).collect()).collect();
        return Ok(Space::of_plane(&ps, qs, &known));
    }
    if ps.len() * qs.len() > COMPARED {
        let rule = &select.rule;
        return Err(Error::user(format!(
            "the rule `{rule}` needs each mask of the search, and {} points are more than {COMPARED}",
            ps.len() * qs.len()
        ))
        .hint("give fewer values: --set 'search.p=[1e-6, 1e-5, 1e-4]' --set 'search.q=[1e-6, 1e-5, 1e-4]'"));
    }
    let points: Vec<Point> = qs.iter().flat_map(|q| ps.iter().map(|p| Point { p: *p, q: *q })).collect();
    let selection = rank::select(&select.rule, &points, tables, &keep)?;
    Ok(compared(&ps, qs, &selection))
}

/// The data sets whose weights the rule leaves alone.
fn protected(pipeline: &Pipeline) -> impl Iterator<Item = &str> {
    let rule = &pipeline.select.rule;
    let uses = |name: &str, setting| rule.operands().iter().any(|used| used.name == name && used.setting == setting);
    let is_protected = move |name: &&String| uses(name, rank::Setting::P) && !uses(name, rank::Setting::Q);
    rule.names().iter().filter(is_protected).map(String::as_str)
}

fn compared(ps: &[Option<f64>], qs: &[f64], selection: &Selection) -> Space {
    let mut numbers = HashMap::new();
    let known: Vec<Known> = selection
        .points
        .iter()
        .map(|point| {
            let next = numbers.len() as u128;
            let fingerprint = *numbers.entry(point.mask).or_insert(next);
            Known { weights: point.weights, fingerprint, damage: None }
        })
        .collect();
    let known: Vec<Vec<Known>> = known.chunks(ps.len().max(1)).map(<[Known]>::to_vec).collect();
    let mask = |point: &Point| -> Option<&Mask> {
        let selected = selection.points.iter().find(|selected| (selected.p, selected.q) == (point.p, point.q))?;
        selection.mask(&selected.mask)
    };
    Space::of_pairs(ps, qs, &known, |one, other| {
        let both = mask(one).zip(mask(other));
        both.and_then(|(one, other)| mask_overlap(one, other, &|_| None).jaccard).unwrap_or(0.0)
    })
}
