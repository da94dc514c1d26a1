//! Newcombe's interval of the difference between two proportions that were counted on the same rows.
//!
//! Must not know: what was counted.

use super::Z;
use super::interval::wilson_at;

/// Rows by what they are in the first and in the second count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs {
    pub both: u64,
    pub only_first: u64,
    pub only_second: u64,
    pub neither: u64,
}

impl Pairs {
    pub fn rows(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }

    /// The first proportion minus the second, `None` without rows.
    pub fn difference(&self) -> Option<f64> {
        let rows = self.rows();
        (rows > 0).then(|| (self.only_first as f64 - self.only_second as f64) / rows as f64)
    }
}

/// The 95 % interval of the first proportion minus the second; `None` without rows.
///
/// R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
/// Statistics in Medicine 17 (1998), 2635-2650, method 10: the Wilson intervals of both proportions, put together with the
/// correlation φ of the pairs, corrected for continuity. It stays sensible where few rows or none differ.
pub fn newcombe(pairs: &Pairs) -> Option<(f64, f64)> {
    newcombe_at(Z, pairs)
}

/// The same at another level: `z` standard deviations to either side.
pub(super) fn newcombe_at(z: f64, pairs: &Pairs) -> Option<(f64, f64)> {
    let difference = pairs.difference()?;
    let Pairs { both, only_first, only_second, neither } = *pairs;
    let (first, second, rows) = (both + only_first, both + only_second, pairs.rows());
    let n = rows as f64;
    let (lower_1, upper_1) = wilson_at(z, first, rows)?;
    let (lower_2, upper_2) = wilson_at(z, second, rows)?;
    let (p1, p2) = (first as f64 / n, second as f64 / n);

    let margins = [first, rows - first, second, rows - second].map(|margin| margin as f64).iter().product::<f64>();
    let cross = both as f64 * neither as f64 - only_first as f64 * only_second as f64;
    let cross = if cross > 0.0 { (cross - n / 2.0).max(0.0) } else { cross };
    let phi = if margins > 0.0 { cross / margins.sqrt() } else { 0.0 };

    let side = |one: f64, other: f64| (one * one - 2.0 * phi * one * other + other * other).max(0.0).sqrt();
    Some((difference - side(p1 - lower_1, upper_2 - p2), difference + side(upper_1 - p1, p2 - lower_2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs([both, only_first, only_second, neither]: [u64; 4]) -> Pairs {
        Pairs { both, only_first, only_second, neither }
    }

    #[test]
    fn known_intervals() {
        // The first four are rows of the paper's table II, method 10, to its four digits.
        for (counts, difference, lower, upper) in [
            ([36, 12, 2, 0], 0.2, 0.056_929_584_0, 0.340_427_603_0),
            ([24, 4, 12, 8], -0.166_666_666_667, -0.318_304_863_0, -0.002_936_349_5),
            ([43, 0, 8, 3], -0.148_148_148_148, -0.264_633_760_4, -0.046_725_426_4),
            ([30, 0, 0, 20], 0.0, -0.040_380_331_6, 0.040_380_331_6),
            ([1434, 18, 33, 51], -0.009_765_625, -0.019_397_519_2, -0.000_506_342_2),
        ] {
            let found = newcombe(&pairs(counts)).unwrap();
            assert!((pairs(counts).difference().unwrap() - difference).abs() < 1e-11);
            assert!((found.0 - lower).abs() < 1e-10 && (found.1 - upper).abs() < 1e-10, "{counts:?}: {found:?}");
        }
        assert_eq!(newcombe(&pairs([0; 4])), None);
    }

    proptest! {
        #[test]
        fn the_difference_lies_inside_and_the_sides_mirror(counts in [0u64..500, 0u64..500, 0u64..500, 1u64..500]) {
            let here = pairs(counts);
            let (lower, upper) = newcombe(&here).unwrap();
            let difference = here.difference().unwrap();
            prop_assert!(-1.0 - 1e-12 <= lower && lower <= difference && difference <= upper && upper <= 1.0 + 1e-12);
            let [both, first, second, neither] = counts;
            let (mirrored, _) = newcombe(&pairs([both, second, first, neither])).unwrap();
            prop_assert!((mirrored + upper).abs() < 1e-12);
        }
    }
}
