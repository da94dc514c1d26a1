//! In which order the variants of a grid are worked on: first the points that say most.
//!
//! A sweep is read before it has ended. So its first rows should span the grid: the strongest point, the corners, the middle,
//! and then what lies between. Each point is the one that is farthest from all points before it (farthest-first traversal,
//! Gonzalez 1985), where p and q count by their place among the grid's values. The order depends on the grid alone.
//! Must not know: what a point selects.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use crate::digest::Digest;
use crate::rank::{SelectedPoint, Selection};

/// The turn of each mask, from 0, by its first point in the order.
pub fn turns(selection: &Selection) -> BTreeMap<Digest, u32> {
    let mut turns = BTreeMap::new();
    let mut next = 0;
    for point in order(&places(&selection.points)) {
        let Some(point) = selection.points.get(point) else { continue };
        if let btree_map::Entry::Vacant(entry) = turns.entry(point.mask) {
            entry.insert(next);
            next += 1;
        }
    }
    turns
}

/// Where each point lies in the grid, between 0 and 1 along p and q.
fn places(points: &[SelectedPoint]) -> Vec<[f64; 2]> {
    // Numbers of one sign have the order of their bits.
    let bits = |value: Option<f64>| value.unwrap_or(0.0).to_bits();
    let (ps, qs): (BTreeSet<u64>, BTreeSet<u64>) =
        points.iter().map(|selected| (bits(selected.p), bits(Some(selected.q)))).unzip();
    #[expect(clippy::cast_precision_loss, reason = "a place among few values")]
    let place = |values: &BTreeSet<u64>| -> BTreeMap<u64, f64> {
        let last = (values.len().max(2) - 1) as f64;
        values.iter().enumerate().map(|(at, value)| (*value, at as f64 / last)).collect()
    };
    let (ps, qs) = (place(&ps), place(&qs));
    points.iter().map(|selected| [ps[&bits(selected.p)], qs[&bits(Some(selected.q))]]).collect()
}

/// The last corner, then always the point that is farthest from all before it; among equals the first.
fn order(places: &[[f64; 2]]) -> Vec<usize> {
    let far = |a: &[f64; 2], b: &[f64; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
    // As if the origin had been taken before: so the strongest point begins.
    let mut nearest: Vec<f64> = places.iter().map(|place| far(place, &[0.0, 0.0]) + 1.0).collect();
    let mut taken = vec![false; places.len()];
    let mut order = Vec::with_capacity(places.len());
    for number in 0..places.len() {
        let farther = |best: usize, at: usize| if nearest[at] > nearest[best] { at } else { best };
        let Some(next) = (0..places.len()).filter(|at| !taken[*at]).reduce(farther) else { break };
        taken[next] = true;
        order.push(next);
        for (place, nearest) in places.iter().zip(&mut nearest) {
            let distance = far(place, &places[next]);
            *nearest = if number == 0 { distance } else { nearest.min(distance) };
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A grid of so many p and q, p changing slowest.
    fn grid(ps: usize, qs: usize) -> Vec<[f64; 2]> {
        let share = |at: usize, of: usize| if of < 2 { 0.0 } else { f64::from(at as u32) / f64::from((of - 1) as u32) };
        (0..ps).flat_map(|p| (0..qs).map(move |q| [share(p, ps), share(q, qs)])).collect()
    }

    #[test]
    fn a_line_is_halved_and_a_square_begins_with_its_corners_and_its_middle() {
        assert_eq!(order(&grid(1, 5)), [4, 0, 2, 1, 3]);
        assert_eq!(order(&grid(3, 3))[..5], [8, 0, 2, 6, 4]);
        let nine = order(&grid(9, 9));
        assert_eq!(nine[..5], [80, 0, 8, 72, 40]);
        assert_eq!(order(&[]), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn every_point_has_its_turn(ps in 1_usize..8, qs in 1_usize..8) {
            let mut order = order(&grid(ps, qs));
            order.sort_unstable();
            prop_assert!(order.into_iter().eq(0..ps * qs));
        }
    }
}
