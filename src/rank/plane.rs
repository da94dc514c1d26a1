//! The whole plane of p and q at once: how many weights each point selects, which points coincide, and where the mask changes
//! next. No mask is made, so ten thousand points cost little more than one.
//!
//! A weight of a rule such as `a & b - g` is chosen where q reaches beyond its worst rank in a and b, and p does not reach its
//! rank in g: a rectangle of the plane that is open towards high q and low p. So each weight is counted once, in the cell of the
//! grid where its rectangle begins, and sums over cells give every point. Must not know: what is done with a mask.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::rules::{Rule, Threshold};
use super::select::{Point, check_points, matched, used_tables};
use super::table::RankTable;
use super::top::k;
use crate::digest::Digest;
use crate::error::Result;

/// What is known of one point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub weights: u64,
    /// Equal for equal masks, and for no others but by a chance of 2⁻¹²⁸.
    pub fingerprint: u128,
    /// The lowest higher q at which the mask is another one, within the tables.
    pub next_q: Option<f64>,
    /// The lowest higher p at which the mask is another one, within the tables.
    pub next_p: Option<f64>,
    /// The sum of the scores that its weights have in other tables; 0 without any. A weight that is below the cut of a table
    /// counts with the best score below it, so this is what they have at most.
    pub price: f64,
}

/// Sums of the weights whose rectangle begins in a cell.
#[derive(Clone, Copy, Default)]
struct Sum {
    weights: u64,
    fingerprint: u128,
    price: f64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.weights += other.weights;
        self.fingerprint = self.fingerprint.wrapping_add(other.fingerprint);
        self.price += other.price;
    }
}

/// What the weights of one matrix, or of all, say about the cells of a grid. Rows are q, ascending; columns are p, ascending.
/// One row and one column more stand for what is chosen at no q of the grid, and is protected at every p.
struct Cells {
    columns: usize,
    sums: Vec<Sum>,
    /// By cell, the lowest q that chooses one of its weights, and the lowest p that protects one.
    chosen_from: Vec<f64>,
    lost_from: Vec<f64>,
}

impl Cells {
    fn new(rows: usize, columns: usize) -> Self {
        let cells = (rows + 1) * (columns + 1);
        Self {
            columns: columns + 1,
            sums: vec![Sum::default(); cells],
            chosen_from: vec![f64::INFINITY; cells],
            lost_from: vec![f64::INFINITY; cells],
        }
    }

    fn join(mut self, other: &Self) -> Self {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| sum.add(*other));
        let least = |here: &mut Vec<f64>, there: &[f64]| {
            here.iter_mut().zip(there).for_each(|(here, there)| *here = here.min(*there));
        };
        least(&mut self.chosen_from, &other.chosen_from);
        least(&mut self.lost_from, &other.lost_from);
        self
    }
}

/// Every point of the plane of these p and q, both ascending, as rows of q. A rule that does not use p has one column, p = 0.
/// `None` if the rule is not of a form whose weights are chosen in rectangles.
///
/// # Errors
/// As of [`super::select()`].
pub fn plane(
    rule: &Rule,
    ps: &[f64],
    qs: &[f64],
    tables: &BTreeMap<String, RankTable>,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Option<Vec<Vec<Place>>>> {
    plane_priced(rule, ps, qs, tables, keep, &[])
}

/// The same with the scores of each point's weights in the tables `prices`.
///
/// # Errors
/// As of [`super::select()`].
pub fn plane_priced(
    rule: &Rule,
    ps: &[f64],
    qs: &[f64],
    tables: &BTreeMap<String, RankTable>,
    keep: &dyn Fn(&str) -> bool,
    prices: &[&RankTable],
) -> Result<Option<Vec<Vec<Place>>>> {
    let used = used_tables(rule, tables)?;
    let corner =
        |p: Option<&f64>, q: Option<&f64>| Some(Point { p: if rule.uses_p() { p.copied() } else { None }, q: *q? });
    let corners: Vec<Point> =
        [corner(ps.first(), qs.first()), corner(ps.last(), qs.last())].into_iter().flatten().collect();
    check_points(rule, &corners, tables)?;
    let matrices = matched(&used, keep)?;
    // Beyond it nobody may select, so nothing changes there.
    let cap = used.iter().map(|(_, table)| table.cap).fold(f64::INFINITY, f64::min);
    let of_matrix = |(number, matrix): (usize, &super::select::Matrix<'_>)| {
        let thresholds = rule.thresholds(&matrix.lists)?;
        let cuts = |fractions: &[f64]| fractions.iter().map(|fraction| k(*fraction, matrix.numel)).collect::<Vec<_>>();
        let (kps, kqs) = (cuts(ps), cuts(qs));
        let mut cells = Cells::new(qs.len(), ps.len());
        let prices: Vec<Prices> = prices.iter().filter_map(|table| Prices::of(table, matrix.tensor)).collect();
        for Threshold { index, beyond, until } in thresholds {
            // The first row that chooses it, and the first column that protects it.
            let row = kqs.partition_point(|kq| *kq <= u64::from(beyond));
            let column = until.map_or(kps.len(), |until| kps.partition_point(|kp| *kp <= u64::from(until)));
            let cell = row * cells.columns + column;
            let fingerprint = fingerprint(number, index);
            let price = prices.iter().map(|prices| prices.of_weight(index)).sum();
            cells.sums[cell].add(Sum { weights: 1, fingerprint, price });
            cells.chosen_from[cell] = cells.chosen_from[cell].min(fraction_of(u64::from(beyond) + 1, matrix.numel));
            if let Some(until) = until {
                cells.lost_from[cell] = cells.lost_from[cell].min(fraction_of(u64::from(until) + 1, matrix.numel));
            }
        }
        Some(cells)
    };
    let all: Option<Vec<Cells>> = matrices.par_iter().enumerate().map(of_matrix).collect();
    let Some(all) = all else { return Ok(None) };
    let cells = all.iter().fold(Cells::new(qs.len(), ps.len()), Cells::join);
    let mut found = points(&cells, qs.len(), ps.len());
    for place in found.iter_mut().flatten() {
        place.next_q = place.next_q.filter(|q| *q <= cap);
        place.next_p = place.next_p.filter(|p| *p <= cap);
    }
    Ok(Some(found))
}

/// The scores of one matrix in one table.
struct Prices {
    scores: HashMap<u32, f32>,
    /// The best score that the table does not hold.
    below: f32,
}

impl Prices {
    fn of(table: &RankTable, tensor: &str) -> Option<Self> {
        let ranks = table.matrices.iter().find(|ranks| ranks.tensor == tensor)?;
        let scores = ranks.index.iter().copied().zip(ranks.score.iter().copied()).collect();
        Some(Self { scores, below: ranks.next.unwrap_or(0.0) })
    }

    fn of_weight(&self, index: u32) -> f64 {
        f64::from(self.scores.get(&index).copied().unwrap_or(self.below))
    }
}

/// The least fraction f with k(f, numel) = rank, in the arithmetic of [`k`].
fn fraction_of(rank: u64, numel: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a matrix has less than 2^32 weights")]
    let mut fraction = rank as f64 / numel as f64;
    while k(fraction, numel) < rank {
        fraction = fraction.next_up();
    }
    while k(fraction.next_down(), numel) >= rank {
        fraction = fraction.next_down();
    }
    fraction
}

/// From what begins in each cell to what holds at each point: a point has all weights that begin at its q or below, and are
/// protected only at a higher p.
fn points(cells: &Cells, rows: usize, columns: usize) -> Vec<Vec<Place>> {
    let at = |row: usize, column: usize| row * cells.columns + column;
    // By column: the sums of the rows so far, and the lowest p at which one of them is lost.
    let mut sums = vec![Sum::default(); columns + 1];
    let mut lost = vec![f64::INFINITY; columns + 1];
    let mut found: Vec<Vec<Place>> = Vec::with_capacity(rows);
    for row in 0..rows {
        let mut places = vec![Place { weights: 0, fingerprint: 0, next_q: None, next_p: None, price: 0.0 }; columns];
        for column in 0..=columns {
            sums[column].add(cells.sums[at(row, column)]);
            lost[column] = lost[column].min(cells.lost_from[at(row, column)]);
        }
        let (mut sum, mut next_p) = (Sum::default(), f64::INFINITY);
        for column in (0..columns).rev() {
            sum.add(sums[column + 1]);
            next_p = next_p.min(lost[column + 1]);
            places[column] = Place {
                weights: sum.weights,
                fingerprint: sum.fingerprint,
                next_q: None,
                next_p: Some(next_p).filter(|p| p.is_finite()),
                price: sum.price,
            };
        }
        found.push(places);
    }
    // From the other side: what begins in a higher row, by column.
    let mut above = vec![f64::INFINITY; columns + 1];
    for row in (0..rows).rev() {
        for (column, above) in above.iter_mut().enumerate() {
            *above = above.min(cells.chosen_from[at(row + 1, column)]);
        }
        let mut next_q = f64::INFINITY;
        for column in (0..columns).rev() {
            next_q = next_q.min(above[column + 1]);
            found[row][column].next_q = Some(next_q).filter(|q| q.is_finite());
        }
    }
    found
}

/// 128 bits that stand for one weight of one matrix.
fn fingerprint(matrix: usize, index: u32) -> u128 {
    let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        *Digest::of(&[(matrix as u64).to_le_bytes(), u64::from(index).to_le_bytes()].concat()).as_bytes();
    u128::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{select, top};
    use super::*;

    const ALL: fn(&str) -> bool = |_| true;

    fn tables(scores: &[Vec<f32>; 3], cap: f64) -> BTreeMap<String, RankTable> {
        let table = |scores: &Vec<f32>| {
            let (first, second) = scores.split_at(scores.len() / 3);
            let matrices = vec![top("m0", first, 1, cap).unwrap(), top("m1", second, 1, cap).unwrap()];
            RankTable { cap, matrices }
        };
        // A second draw of `a`, and one of `g`, have the scores of others.
        let names = [("a", 0), ("b", 1), ("g", 2), ("a~1", 2), ("a~2", 1), ("g~1", 0)];
        names
            .into_iter()
            .map(|(name, place)| (name, &scores[place]))
            .map(|(name, scores)| (name.to_owned(), table(scores)))
            .collect()
    }

    fn scores() -> impl Strategy<Value = [Vec<f32>; 3]> {
        let one = || proptest::collection::vec((0_u8..200).prop_map(f32::from), 60);
        [one(), one(), one()]
    }

    fn fractions() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::btree_set(0_u32..500, 1..6)
            .prop_map(|values| values.into_iter().map(|value| f64::from(value) / 1000.0).collect())
    }

    proptest! {
        #[test]
        fn every_point_is_what_selection_finds_there(
            scores in scores(), ps in fractions(), qs in fractions(),
            text in prop::sample::select(vec!["a & b - g", "a - g", "a - (b | g)", "(a & b) - g", "a - b - g", "a & b",
                "stable(a, 2 of 3) & b - stable(g, 1 of 2)", "stable(a, 1 of 3) - g", "stable(a, 3 of 3)"]),
        ) {
            let tables = tables(&scores, 0.5);
            let rule = Rule::parse(text).unwrap();
            let ps = if rule.uses_p() { ps } else { vec![0.0] };
            let masks = |ps: &[f64], qs: &[f64]| {
                let points: Vec<Point> = qs.iter().flat_map(|q| ps.iter().map(|p| Point { p: rule.uses_p().then_some(*p), q: *q })).collect();
                select(&rule, &points, &tables, &ALL).unwrap().points
            };
            let found = plane(&rule, &ps, &qs, &tables, &ALL).unwrap().unwrap();
            let selected = masks(&ps, &qs);
            let flat: Vec<Place> = found.iter().flatten().copied().collect();
            let weights: Vec<u64> = flat.iter().map(|place| place.weights).collect();
            prop_assert_eq!(weights, selected.iter().map(|point| point.weights).collect::<Vec<_>>());
            for (one, here) in flat.iter().zip(&selected) {
                for (other, there) in flat.iter().zip(&selected) {
                    prop_assert_eq!(one.fingerprint == other.fingerprint, here.mask == there.mask);
                }
            }
            // Just below the next change it is still the same mask, and there it is another one.
            for (row, q) in qs.iter().enumerate() {
                for (column, p) in ps.iter().enumerate() {
                    let (place, here) = (found[row][column], masks(&[*p], &[*q])[0].mask);
                    if let Some(next) = place.next_q {
                        prop_assert!(next > *q);
                        prop_assert_eq!(masks(&[*p], &[next.next_down()])[0].mask, here);
                        prop_assert!(masks(&[*p], &[next])[0].mask != here);
                    }
                    if let Some(next) = place.next_p {
                        prop_assert_eq!(masks(&[next.next_down()], &[*q])[0].mask, here);
                        prop_assert!(masks(&[next], &[*q])[0].mask != here);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_chosen_in_rectangles_is_said_to_be_so() {
        let values: Vec<f32> = (0..60_u8).map(f32::from).collect();
        let tables = tables(&[values.clone(), values.clone(), values], 0.5);
        for text in ["a | b", "a@p & b", "a - (b & g)", "released-code(a, b; g)"] {
            let rule = Rule::parse(text).unwrap();
            assert!(plane(&rule, &[0.1], &[0.1], &tables, &ALL).unwrap().is_none(), "{text}");
        }
        let names: BTreeSet<u128> = (0..100_000).map(|index| fingerprint(index as usize % 7, index)).collect();
        assert_eq!(names.len(), 100_000);
    }
}
