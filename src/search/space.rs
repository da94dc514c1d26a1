//! The points that a search may take, and how far they are from each other.
//!
//! The distance of two points is one minus the Jaccard index of their masks. For a rule like `a & b - g` no mask is needed: the
//! intersection of two points is the point with the smaller q and the larger p, so three sizes tell. For other rules whoever makes
//! the space compares the masks. Points of one mask are one site, and a point that selects nothing is none, since it is the base.
//! Must not know: how sizes come about.

use std::collections::BTreeSet;

use crate::rank::Point;

/// One mask that can be had, by the first point that gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    pub point: Point,
    pub weights: u64,
    /// The sum of the scores of its weights on the protected data, where that is known: the change of the loss to first order.
    pub damage: Option<f64>,
    /// Where it lies in the grid, each between 0 and 1.
    pub(super) place: [f64; 2],
    row: usize,
    column: usize,
}

/// How two sites overlap.
#[derive(Clone, Debug)]
enum Overlap {
    /// The size of every point, rows of q, columns of p, both ascending.
    Sizes(Vec<Vec<u64>>),
    /// The Jaccard index of all pairs of sites.
    Pairs(Vec<Vec<f64>>),
}

/// All sites.
#[derive(Clone, Debug)]
pub struct Space {
    sites: Vec<Site>,
    overlap: Overlap,
}

/// What is known of a point before it is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub weights: u64,
    /// Equal for equal masks.
    pub fingerprint: u128,
    pub damage: Option<f64>,
}

impl Space {
    /// The space of a plane: `known` has rows of q and columns of p, both ascending. `None` stands for the p of a rule that has no
    /// use for it.
    pub fn of_plane(ps: &[Option<f64>], qs: &[f64], known: &[Vec<Known>]) -> Self {
        let sites = sites(ps, qs, known);
        let sizes = known.iter().map(|row| row.iter().map(|known| known.weights).collect()).collect();
        Self { sites, overlap: Overlap::Sizes(sizes) }
    }

    /// The same for a rule whose points have no intersections that are points: `jaccard` compares the masks of two of them.
    pub fn of_pairs(
        ps: &[Option<f64>],
        qs: &[f64],
        known: &[Vec<Known>],
        jaccard: impl Fn(&Point, &Point) -> f64,
    ) -> Self {
        let sites = sites(ps, qs, known);
        let mut pairs = vec![vec![1.0; sites.len()]; sites.len()];
        for (one, here) in sites.iter().enumerate() {
            for (other, there) in sites.iter().enumerate().take(one) {
                let index = jaccard(&here.point, &there.point);
                (pairs[one][other], pairs[other][one]) = (index, index);
            }
        }
        Self { sites, overlap: Overlap::Pairs(pairs) }
    }

    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The share of the weights of two sites that both have.
    #[expect(clippy::cast_precision_loss, reason = "counts of weights")]
    pub fn jaccard(&self, one: usize, other: usize) -> f64 {
        let (Some(here), Some(there)) = (self.sites.get(one), self.sites.get(other)) else { return 0.0 };
        match &self.overlap {
            Overlap::Sizes(sizes) => {
                let (row, column) = (here.row.min(there.row), here.column.max(there.column));
                let shared = sizes.get(row).and_then(|row| row.get(column)).copied().unwrap_or(0);
                let either = (here.weights + there.weights).saturating_sub(shared);
                if either == 0 { 1.0 } else { shared as f64 / either as f64 }
            }
            Overlap::Pairs(pairs) => pairs.get(one).and_then(|row| row.get(other)).copied().unwrap_or(0.0),
        }
    }

    pub fn distance(&self, one: usize, other: usize) -> f64 {
        1.0 - self.jaccard(one, other)
    }
}

fn sites(ps: &[Option<f64>], qs: &[f64], known: &[Vec<Known>]) -> Vec<Site> {
    #[expect(clippy::cast_precision_loss, reason = "a place among few values")]
    let place = |at: usize, of: usize| if of < 2 { 0.0 } else { at as f64 / (of - 1) as f64 };
    let mut seen = BTreeSet::new();
    let mut sites = Vec::new();
    for (row, (q, known)) in qs.iter().zip(known).enumerate() {
        for (column, (p, known)) in ps.iter().zip(known).enumerate() {
            if known.weights > 0 && seen.insert(known.fingerprint) {
                let point = Point { p: *p, q: *q };
                let place = [place(column, ps.len()), place(row, qs.len())];
                sites.push(Site { point, weights: known.weights, damage: known.damage, place, row, column });
            }
        }
    }
    sites
}
