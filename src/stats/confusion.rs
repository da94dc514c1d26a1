//! Two opinions on the same things, each yes or no: how often they agree, and how often chance alone would.
//!
//! Must not know: whose opinions they are, what is judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Z, wilson};

/// How often one opinion and the other came together. Where one of them is the truth, it is the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Both say yes.
    pub both: u64,
    /// Only the first says yes: a false alarm.
    pub first: u64,
    /// Only the second says yes: a miss.
    pub second: u64,
    /// Both say no.
    pub neither: u64,
}

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranged {
    pub value: f64,
    pub interval: (f64, f64),
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
impl Confusion {
    /// Counts one more.
    pub fn add(&mut self, first: bool, second: bool) {
        match (first, second) {
            (true, true) => self.both += 1,
            (true, false) => self.first += 1,
            (false, true) => self.second += 1,
            (false, false) => self.neither += 1,
        }
    }

    pub fn total(&self) -> u64 {
        self.both + self.first + self.second + self.neither
    }

    /// The share on which they agree.
    pub fn accuracy(&self) -> Option<Ranged> {
        share(self.both + self.neither, self.total())
    }

    /// Of what the first calls yes, the share that the second does.
    pub fn precision(&self) -> Option<Ranged> {
        share(self.both, self.both + self.first)
    }

    /// Of what the second calls yes, the share that the first does.
    pub fn recall(&self) -> Option<Ranged> {
        share(self.both, self.both + self.second)
    }

    /// The harmonic mean of both. It is 2j / (1 + j) of the share j of what both call yes in what either does, and grows with
    /// it, so its interval is made of that of j.
    pub fn f1(&self) -> Option<Ranged> {
        let of = |share: f64| 2.0 * share / (1.0 + share);
        let jaccard = share(self.both, self.both + self.first + self.second)?;
        let (low, high) = jaccard.interval;
        Some(Ranged { value: of(jaccard.value), interval: (of(low), of(high)) })
    }

    /// Cohen's kappa: how much of the agreement that chance leaves open there is. The interval is that of the large-sample
    /// variance of J. L. Fleiss, J. Cohen and B. S. Everitt, "Large sample standard errors of kappa and weighted kappa",
    /// Psychological Bulletin 72 (1969), 323-327. `None` where both always say the same one thing: chance leaves nothing open.
    pub fn kappa(&self) -> Option<Ranged> {
        let n = self.total() as f64;
        let cell = [[self.both, self.first], [self.second, self.neither]].map(|row| row.map(|count| count as f64 / n));
        let one = cell.map(|row| row[0] + row[1]);
        let other = [cell[0][0] + cell[1][0], cell[0][1] + cell[1][1]];
        let agreed = cell[0][0] + cell[1][1];
        let chance = one[0] * other[0] + one[1] * other[1];
        if n == 0.0 || chance >= 1.0 {
            return None;
        }
        let value = (agreed - chance) / (1.0 - chance);
        let (mut same, mut apart) = (0.0, 0.0);
        for (i, row) in cell.iter().enumerate() {
            for (j, share) in row.iter().enumerate() {
                if i == j {
                    same += share * ((1.0 - chance) - (one[i] + other[i]) * (1.0 - agreed)).powi(2);
                } else {
                    apart += share * (other[i] + one[j]).powi(2);
                }
            }
        }
        let mean = agreed * chance - 2.0 * chance + agreed;
        let variance = (same + (1.0 - agreed).powi(2) * apart - mean * mean) / (n * (1.0 - chance).powi(4));
        let half = Z * variance.max(0.0).sqrt();
        Some(Ranged { value, interval: ((value - half).max(-1.0), (value + half).min(1.0)) })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
fn share(successes: u64, trials: u64) -> Option<Ranged> {
    let interval = wilson(successes, trials)?;
    Some(Ranged { value: successes as f64 / trials as f64, interval })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_by_hand() {
        let table = Confusion { both: 20, first: 5, second: 10, neither: 15 };
        let kappa = table.kappa().unwrap();
        assert!((kappa.value - 0.4).abs() < 1e-12, "agreed 0.7, by chance 0.5");
        assert_eq!(table.accuracy().unwrap().value, 0.7);
        assert!((table.precision().unwrap().value - 0.8).abs() < 1e-12);
        assert!((table.recall().unwrap().value - 2.0 / 3.0).abs() < 1e-12);
        let f1 = table.f1().unwrap();
        assert!((f1.value - 40.0 / 55.0).abs() < 1e-12 && f1.interval.0 < f1.value && f1.value < f1.interval.1);
    }

    #[test]
    fn where_chance_leaves_nothing_open_there_is_no_kappa() {
        assert_eq!(Confusion::default().kappa(), None);
        assert_eq!(Confusion { both: 9, ..Confusion::default() }.kappa(), None);
        assert_eq!(Confusion { neither: 9, ..Confusion::default() }.accuracy().unwrap().value, 1.0);
        let apart = Confusion { first: 5, second: 5, ..Confusion::default() }.kappa().unwrap();
        assert_eq!((apart.value, apart.interval.0), (-1.0, -1.0));
    }

    /// The variance by the delta method, with slopes that are taken numerically.
    fn variance(counts: [f64; 4]) -> f64 {
        let kappa = |p: [f64; 4]| {
            let total: f64 = p.iter().sum();
            let [a, b, c, d] = p.map(|share| share / total);
            let chance = (a + b) * (a + c) + (c + d) * (b + d);
            (a + d - chance) / (1.0 - chance)
        };
        let n: f64 = counts.iter().sum();
        let p = counts.map(|count| count / n);
        let slope = |at: usize| {
            let moved = |by: f64| {
                let mut p = p;
                p[at] += by;
                kappa(p)
            };
            (moved(1e-6) - moved(-1e-6)) / 2e-6
        };
        let slopes = [0, 1, 2, 3].map(slope);
        let mean: f64 = (0..4).map(|at| p[at] * slopes[at]).sum();
        ((0..4).map(|at| p[at] * slopes[at] * slopes[at]).sum::<f64>() - mean * mean) / n
    }

    proptest! {
        #[test]
        fn the_interval_of_kappa_is_that_of_the_delta_method(counts in prop::array::uniform4(20u64..60)) {
            let [both, first, second, neither] = counts;
            let kappa = Confusion { both, first, second, neither }.kappa().unwrap();
            let half = Z * variance(counts.map(|count| count as f64)).sqrt();
            prop_assert!((kappa.value - half - kappa.interval.0).abs() < 1e-5, "{kappa:?} {half}");
            prop_assert!((kappa.value + half - kappa.interval.1).abs() < 1e-5, "{kappa:?} {half}");
        }
    }
}
