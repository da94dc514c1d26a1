//! Two one-sided tests: whether a difference is shown to be smaller than a margin.
//!
//! That no difference was found does not show that there is none; this does. Both tests, that the difference is above −margin and
//! that it is below +margin, must hold at 5 %. This is the same as asking whether the 90 % interval lies between the margins
//! (D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680). Must not know: what was measured.

use statrs::distribution::{ContinuousCDF, Normal};

use super::newcombe::newcombe_at;
use super::{Estimate, Pairs};

/// The larger p-value of the two tests that a mean lies within ± `margin`, by Student's t; `None` where there is no error to go
/// by.
pub fn equivalent_within(estimate: &Estimate, margin: f64) -> Option<f64> {
    let student = estimate.student()?;
    let Estimate { mean, error, .. } = *estimate;
    // How many errors there are to the nearer margin; below zero, the mean is outside.
    let room = (margin - mean.abs()) / error;
    (error > 0.0).then(|| student.cdf(-room))
}

/// The same for the difference of two shares on the same rows: the level at which Newcombe's interval just touches a margin. It
/// is known where no row differs too, because the interval is. `None` without rows.
pub fn equivalent_pairs(pairs: &Pairs, margin: f64) -> Option<f64> {
    let is_inside = |z: f64| newcombe_at(z, pairs).is_some_and(|(lower, upper)| -margin < lower && upper < margin);
    pairs.difference()?;
    if !is_inside(0.0) {
        // Each test's p-value is one half at the margin. What lies outside is not told apart further.
        return Some(0.5);
    }
    // The interval grows with z.
    let (mut inside, mut outside) = (0.0, 40.0);
    for _ in 0..60 {
        let middle = f64::midpoint(inside, outside);
        if is_inside(middle) { inside = middle } else { outside = middle }
    }
    Some(Normal::standard().sf(inside))
}

#[cfg(test)]
mod tests {
    use super::super::Group;
    use super::*;

    #[test]
    fn the_tests_hold_where_the_90_percent_interval_is_inside() {
        const Z90: f64 = 1.644_853_626_951_472_7;
        for (pairs, margin) in [
            (Pairs { both: 1434, only_first: 18, only_second: 33, neither: 51 }, 0.02),
            (Pairs { both: 36, only_first: 12, only_second: 2, neither: 0 }, 0.3),
            (Pairs { both: 30, only_first: 0, only_second: 0, neither: 20 }, 0.05),
        ] {
            let (lower, upper) = newcombe_at(Z90, &pairs).unwrap();
            let touching = upper.max(-lower);
            assert!((equivalent_pairs(&pairs, touching).unwrap() - 0.05).abs() < 1e-9);
            let p = equivalent_pairs(&pairs, margin).unwrap();
            assert_eq!(p < 0.05, -margin < lower && upper < margin, "{p}");
        }
        let outside = Pairs { both: 36, only_first: 12, only_second: 2, neither: 0 };
        assert_eq!(equivalent_pairs(&outside, 0.1), Some(0.5));
        assert_eq!(equivalent_pairs(&Pairs { both: 0, only_first: 0, only_second: 0, neither: 0 }, 0.1), None);
    }

    #[test]
    fn few_rows_show_no_equivalence_even_if_none_differs() {
        let same = |rows: u64| Pairs { both: rows / 2, only_first: 0, only_second: 0, neither: rows - rows / 2 };
        assert!(equivalent_pairs(&same(20), 0.05).unwrap() > 0.05);
        assert!(equivalent_pairs(&same(657), 0.05).unwrap() < 0.001);
    }

    #[test]
    fn means_are_tested_by_students_t() {
        // d = 1, 2, 3, 4 within ± 4.2: t = (4.2 − 2.5) / 0.6454972 = 2.633629 with 3 degrees; R's pt(-2.633629, 3).
        let groups = [1.0, 2.0, 3.0, 4.0].map(|sum| Group { sum, weight: 1.0 });
        let found = equivalent_within(&Estimate::of(&groups).unwrap(), 4.2).unwrap();
        assert!((found - 0.039_040_74).abs() < 1e-7, "{found}");
        let outside = equivalent_within(&Estimate::of(&groups).unwrap(), 2.0).unwrap();
        assert!(outside > 0.5, "{outside}");
        let same = groups.map(|_| Group { sum: 1.0, weight: 1.0 });
        assert_eq!(equivalent_within(&Estimate::of(&same).unwrap(), 2.0), None);
    }
}
