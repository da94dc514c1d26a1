//! What choosing the best of several noisy numbers adds to it.
//!
//! Must not know: what was chosen.

use statrs::distribution::{ContinuousCDF, Normal};

/// The expected value of the largest of so many independent draws from the standard normal distribution: 0 of one draw, 0.846 of
/// three, 1.539 of ten. It is the integral of 1 - Φ(x)^k from 0 up, less that of Φ(x)^k from 0 down, by Simpson's rule.
pub fn expected_maximum(draws: u64) -> f64 {
    /// Where Φ has no more to add in f64, and the steps up to there.
    const END: f64 = 9.0;
    const STEPS: u32 = 2000;
    let normal = Normal::standard();
    let draws = draws as f64;
    let simpson = |value: &dyn Fn(f64) -> f64| {
        let step = END / f64::from(STEPS);
        let weight = |at: u32| match at {
            0 | STEPS => 1.0,
            at if at % 2 == 1 => 4.0,
            _ => 2.0,
        };
        (0..=STEPS).map(|at| weight(at) * value(f64::from(at) * step)).sum::<f64>() * step / 3.0
    };
    simpson(&|x| 1.0 - normal.cdf(x).powf(draws)) - simpson(&|x| normal.cdf(-x).powf(draws))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Harter, "Expected values of normal order statistics", Biometrika 48 (1961), table 1.
        for (draws, expected) in
            [(1, 0.0), (2, 0.56419), (3, 0.84628), (5, 1.16296), (10, 1.53875), (50, 2.24907), (100, 2.50759)]
        {
            assert!((expected_maximum(draws) - expected).abs() < 1e-5, "{draws}: {}", expected_maximum(draws));
        }
    }
}
