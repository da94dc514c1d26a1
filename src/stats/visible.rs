//! The smallest difference that a measurement could have shown, had it been there.
//!
//! Must not know: what was measured.

use super::Z;

/// The 80 % quantile of the standard normal distribution.
const Z_POWER: f64 = 0.841_621_233_572_914_3;

/// The smallest true mean difference that a two-sided test at 5 % finds in 80 of 100 repetitions, if the mean has this error:
/// (z.975 + z.8) · error. Miller, arXiv 2411.00640, section 4.
pub fn visible(error: f64) -> f64 {
    (Z + Z_POWER) * error
}

/// The same for the difference of two shares over so many pairs, of which the part `discordant` flip: the error is then
/// √(discordant / n), as in McNemar's test. `None` without pairs, or where none flip: nothing is known then.
pub fn visible_share(pairs: u64, discordant: f64) -> Option<f64> {
    (pairs > 0 && discordant > 0.0).then(|| visible((discordant / pairs as f64).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_differences() {
        for (pairs, points) in [(48, 18.1), (657, 4.89), (2165, 2.69)] {
            let found = 100.0 * visible_share(pairs, 0.2).unwrap();
            assert!((found - points).abs() < 0.05, "{pairs}: {found}");
        }
        assert_eq!(visible_share(0, 0.2), None);
        assert_eq!(visible_share(48, 0.0), None);
    }
}
