//! McNemar's test: of the rows whose verdict flipped, are as many won as lost?
//!
//! Must not know: what a verdict is.

use statrs::distribution::{Binomial, Discrete, DiscreteCDF};

/// How surprising the flips are if each was as likely to go one way as the other. Both are two-sided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// The exact p-value. It never finds more than it should, and with few flips it finds less.
    pub exact: f64,
    /// The exact p-value less half of the probability of what was found. On average it finds neither too much nor too little.
    pub mid: f64,
}

/// McNemar's test of so many flips one way and the other.
///
/// Q. McNemar, Psychometrika 12 (1947), 153-157: under the hypothesis the smaller of the two is binomial with n = lost + won and
/// probability 1/2. exact = min(1, 2·P(X ≤ smaller)); mid = exact − P(X = smaller), and 1 where both are equal (Fagerland,
/// Lydersen and Laake, BMC Medical Research Methodology 13 (2013), 91).
pub fn mcnemar(lost: u64, won: u64) -> McNemar {
    let fewer = lost.min(won);
    match Binomial::new(0.5, lost + won) {
        Ok(fair) if lost != won => {
            let exact = (2.0 * fair.cdf(fewer)).min(1.0);
            McNemar { exact, mid: (exact - fair.pmf(fewer)).clamp(0.0, 1.0) }
        }
        // As many as the other way are no sign of anything.
        _ => McNemar { exact: 1.0, mid: 1.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    fn is_near(found: f64, expected: f64, digits: f64) -> bool {
        (found - expected).abs() <= digits * expected.abs()
    }

    #[test]
    fn known_tests() {
        // scipy's binomtest, statsmodels' mcnemar; the first row also as R's mcnemar.test prints it.
        for (lost, won, exact, mid) in [
            (18, 33, 0.048_873_892_318_3, 0.036_483_400_008_4),
            (5, 15, 0.041_389_465_332, 0.026_603_698_730_5),
            (0, 6, 0.031_25, 0.015_625),
            (7, 2, 0.179_687_5, 0.109_375),
            (59, 121, 4.434_449_263_76e-6, 3.266_646_795_77e-6),
            (150, 210, 0.001_834_007_417_1, 0.001_553_493_739_56),
            (1, 0, 1.0, 0.5),
            (0, 0, 1.0, 1.0),
            (10, 10, 1.0, 1.0),
        ] {
            let found = mcnemar(lost, won);
            assert!(is_near(found.exact, exact, 1e-11) && is_near(found.mid, mid, 1e-11), "{lost} {won}: {found:?}");
            assert_eq!(mcnemar(won, lost), found);
        }
    }

    /// The usual approximation, chi squared with Edwards' correction, lies beside the exact test where flips are many.
    #[test]
    fn the_approximation_lies_beside_it() {
        for (lost, won, statistic, p) in [
            (18_u64, 33_u64, 3.843_137_255, 0.049_949_976_454_7),
            (5, 15, 4.05, 0.044_171_344_908_4),
            (59, 121, 20.672_222_22, 5.450_094_825_43e-6),
            (150, 210, 9.669_444_444, 0.001_873_579_598_68),
        ] {
            let corrected = (lost.abs_diff(won) as f64 - 1.0).powi(2) / (lost + won) as f64;
            assert!(is_near(corrected, statistic, 1e-9), "{corrected}");
            let approximate = 1.0 - ChiSquared::new(1.0).unwrap().cdf(corrected);
            assert!(is_near(approximate, p, 1e-9), "{approximate}");
            assert!(is_near(mcnemar(lost, won).exact, approximate, 0.25), "{approximate}");
        }
    }

    #[test]
    fn many_flips_are_no_trouble() {
        // The sum of the probabilities, from the largest down.
        let sum = |fewer: u64, flips: u64| {
            let mut term = Binomial::new(0.5, flips).unwrap().pmf(fewer);
            let mut sum = 0.0;
            for k in (1..=fewer).rev() {
                sum += term;
                term *= k as f64 / (flips - k + 1) as f64;
            }
            sum + term
        };
        for (lost, won) in [(14_800, 15_200), (980, 1_060), (2, 60)] {
            let found = mcnemar(lost, won).exact;
            assert!(is_near(found, 2.0 * sum(lost, lost + won), 1e-8), "{lost} {won}: {found}");
        }
    }

    proptest! {
        #[test]
        fn mid_is_below_exact_and_more_one_sided_flips_surprise_more(lost in 0u64..400, more in 1u64..400) {
            let one = mcnemar(lost, lost + more);
            let two = mcnemar(lost, lost + more + 1);
            prop_assert!(0.0 <= one.mid && one.mid <= one.exact && one.exact <= 1.0);
            prop_assert!(two.exact <= one.exact + 1e-12);
        }
    }
}
