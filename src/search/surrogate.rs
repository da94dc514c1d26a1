//! What a site that was not measured is likely to give, by those that were: a Gaussian process.
//!
//! Two sites are alike as their masks overlap and as they lie near each other in the grid. Both are kernels (the Jaccard index is
//! one: Bouchard, Jousselme and Doré, International Journal of Approximate Reasoning 54 (2013), 615-626), and so is their mean. The
//! prior's mean and spread are those of what was measured, and the noise is what the intervals say. Must not know: what is
//! measured, which site is chosen.

use super::space::Space;

/// How far in the grid values are alike; the whole grid is 1.
const REACH: f64 = 0.3;
/// The share of the variance that is noise at least: neighbours differ by what nobody foresees.
const JITTER: f64 = 0.02;

/// One quantity over all sites.
pub struct Surrogate<'a> {
    space: &'a Space,
    measured: Vec<usize>,
    mean: f64,
    variance: f64,
    /// The lower triangle of the Cholesky factor of what the measurements have in common.
    factor: Vec<Vec<f64>>,
    /// The inverse of that matrix times the deviations from the mean.
    pull: Vec<f64>,
}

/// What is expected, and its standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    pub mean: f64,
    pub deviation: f64,
}

impl<'a> Surrogate<'a> {
    /// By (site, value, standard error); `None` of nothing.
    pub fn new(space: &'a Space, measured: &[(usize, f64, f64)]) -> Option<Self> {
        let measured: Vec<_> = measured.iter().filter(|(_, value, error)| (value + error).is_finite()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a count of measurements")]
        let count = measured.len() as f64;
        if measured.is_empty() {
            return None;
        }
        let mean = measured.iter().map(|(_, value, _)| value).sum::<f64>() / count;
        let spread = measured.iter().map(|(_, value, _)| (value - mean).powi(2)).sum::<f64>() / count;
        let variance = spread.max(1e-12);
        let sites: Vec<usize> = measured.iter().map(|(site, _, _)| *site).collect();
        let mut factor: Vec<Vec<f64>> = Vec::with_capacity(sites.len());
        for (at, (site, _, error)) in measured.iter().enumerate() {
            let mut row: Vec<f64> = Vec::with_capacity(at + 1);
            for (other, before) in sites.iter().zip(&factor) {
                let shared: f64 = row.iter().zip(before).map(|(one, other)| one * other).sum();
                let pivot = before.last().copied().unwrap_or(1.0);
                row.push((variance * alike(space, *site, *other) - shared) / pivot);
            }
            let own = variance * (1.0 + JITTER) + error * error;
            let rest: f64 = row.iter().map(|value| value * value).sum();
            row.push((own - rest).max(variance * 1e-6).sqrt());
            factor.push(row);
        }
        let deviations: Vec<f64> = measured.iter().map(|(_, value, _)| value - mean).collect();
        let pull = backward(&factor, forward(&factor, &deviations));
        Some(Self { space, measured: sites, mean, variance, factor, pull })
    }

    pub fn guess(&self, site: usize) -> Guess {
        let shared: Vec<f64> =
            self.measured.iter().map(|other| self.variance * alike(self.space, site, *other)).collect();
        let mean = self.mean + shared.iter().zip(&self.pull).map(|(shared, pull)| shared * pull).sum::<f64>();
        let known: f64 = forward(&self.factor, &shared).iter().map(|value| value * value).sum();
        Guess { mean, deviation: (self.variance - known).max(0.0).sqrt() }
    }
}

/// Between 0 and 1.
fn alike(space: &Space, one: usize, other: usize) -> f64 {
    let (Some(here), Some(there)) = (space.sites().get(one), space.sites().get(other)) else { return 0.0 };
    let squares: f64 = here.place.iter().zip(there.place).map(|(one, other)| (one - other).powi(2)).sum();
    0.5 * space.jaccard(one, other) + 0.5 * (-squares / (2.0 * REACH * REACH)).exp()
}

/// Solves factor · x = right.
fn forward(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut found: Vec<f64> = Vec::with_capacity(right.len());
    for (row, right) in factor.iter().zip(right) {
        let known: f64 = row.iter().zip(&found).map(|(one, other)| one * other).sum();
        found.push((right - known) / row.last().copied().unwrap_or(1.0));
    }
    found
}

/// Solves factorᵀ · x = right.
fn backward(factor: &[Vec<f64>], mut right: Vec<f64>) -> Vec<f64> {
    for (at, row) in factor.iter().enumerate().rev() {
        let Some((pivot, before)) = row.split_last() else { continue };
        let value = right.get(at).copied().unwrap_or(0.0) / pivot;
        right.iter_mut().take(at).zip(before).for_each(|(right, share)| *right -= share * value);
        right.iter_mut().skip(at).take(1).for_each(|right| *right = value);
    }
    right
}
