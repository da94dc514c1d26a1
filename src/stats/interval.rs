//! How far a proportion of a few hundred answers can be trusted.
//!
//! Must not know: what was counted.

use super::Z;

/// The Wilson score interval of a proportion, 95 %: (lower, upper), each in `0..=1`.
///
/// E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
/// the American Statistical Association 22 (1927), 209-212, without continuity correction:
/// `(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`. It stays sensible at p = 0, at p = 1 and
/// for small n, where the textbook interval `p ± z·sqrt(p(1-p)/n)` does not.
///
/// `None` when there are no trials (nothing is known), or more successes than trials.
pub fn wilson(successes: u64, trials: u64) -> Option<(f64, f64)> {
    wilson_at(Z, successes, trials)
}

/// The same at another level: `z` standard deviations to either side.
pub(super) fn wilson_at(z: f64, successes: u64, trials: u64) -> Option<(f64, f64)> {
    if trials == 0 || successes > trials {
        return None;
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let scale = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / scale;
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / scale;
    // The ends are exact at p = 0 and p = 1; rounding must not leave 1e-17 there.
    let lower = if successes == 0 { 0.0 } else { (centre - half).clamp(0.0, 1.0) };
    let upper = if successes == trials { 1.0 } else { (centre + half).clamp(0.0, 1.0) };
    Some((lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_close(successes: u64, trials: u64, expected: (f64, f64)) {
        let (lower, upper) = wilson(successes, trials).unwrap();
        assert!((lower - expected.0).abs() < 5e-5 && (upper - expected.1).abs() < 5e-5, "{lower} {upper}");
    }

    #[test]
    fn known_intervals() {
        // Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in
        // Medicine 17 (1998), table I, method 3.
        assert_close(81, 263, (0.2553, 0.3662));
        assert_close(15, 148, (0.0624, 0.1605));
        assert_close(0, 20, (0.0, 0.1611));
        assert_close(1, 29, (0.0061, 0.1718));
        // As R's prop.test(8, 10, correct = FALSE) prints it.
        assert_close(8, 10, (0.4902, 0.9433));
        // statsmodels' proportion_confint(…, method="wilson").
        for (successes, trials, lower, upper) in [
            (5, 48, 0.045_321_719_0, 0.221_674_216_9),
            (0, 48, 0.0, 0.074_100_129_7),
            (1447, 2165, 0.648_245_805_0, 0.687_878_348_8),
            (487, 657, 0.706_425_783_0, 0.773_265_670_6),
        ] {
            let found = wilson(successes, trials).unwrap();
            assert!((found.0 - lower).abs() < 1e-10 && (found.1 - upper).abs() < 1e-10, "{found:?}");
        }
    }

    #[test]
    fn nothing_is_said_without_trials() {
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(3, 2), None);
    }

    #[test]
    fn the_ends_are_exact() {
        assert_eq!(wilson(0, 7).unwrap().0, 0.0);
        assert_eq!(wilson(7, 7).unwrap().1, 1.0);
    }

    proptest! {
        #[test]
        fn the_proportion_lies_inside_and_failures_mirror(trials in 1u64..100_000, part in 0.0f64..=1.0) {
            let successes = (trials as f64 * part) as u64;
            let (lower, upper) = wilson(successes, trials).unwrap();
            let p = successes as f64 / trials as f64;
            prop_assert!(0.0 <= lower && lower <= p && p <= upper && upper <= 1.0);
            let (mirrored, _) = wilson(trials - successes, trials).unwrap();
            prop_assert!((mirrored - (1.0 - upper)).abs() < 1e-12);
        }
    }
}
