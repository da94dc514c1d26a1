//! The mean of a few numbers, how far they spread, and how sure the mean is: for a result that was had several times, with
//! other draws each time.
//!
//! Must not know: what was drawn.

use schemars::JsonSchema;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Mean and spread of a few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Spread {
    pub count: usize,
    pub mean: f64,
    /// The standard deviation, with n - 1; `None` of one number.
    pub deviation: Option<f64>,
    /// The 95 % interval of the mean by Student's t ("Student", Biometrika 6, 1908); `None` of one number.
    pub interval: Option<(f64, f64)>,
}

impl Spread {
    /// `None` of no number, or if one is not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few numbers")]
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if values.len() == 1 {
            return Some(Self { count: 1, mean, deviation: None, interval: None });
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (count - 1.0)).sqrt();
        let quantile = StudentsT::new(0.0, 1.0, count - 1.0).ok()?.inverse_cdf(0.975);
        let half = quantile * deviation / count.sqrt();
        Some(Self { count: values.len(), mean, deviation: Some(deviation), interval: Some((mean - half, mean + half)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_tables_give() {
        // The quantile of Student's t with 4 degrees of freedom is 2.7764451051977987 in scipy and in tables.
        let spread = Spread::of(&[1.0, 2.0, 4.0, 4.0, 9.0]).unwrap();
        let (low, high) = spread.interval.unwrap();
        assert!((spread.mean - 4.0).abs() < 1e-12 && (spread.deviation.unwrap() - 3.082_207_001_484_488).abs() < 1e-12);
        assert!((low - 0.172_934_531_245_128).abs() < 1e-9 && (high - 7.827_065_468_754_872).abs() < 1e-9);
    }

    #[test]
    fn one_number_has_no_spread_and_none_has_nothing() {
        assert_eq!(Spread::of(&[3.0]), Some(Spread { count: 1, mean: 3.0, deviation: None, interval: None }));
        assert_eq!((Spread::of(&[]), Spread::of(&[1.0, f64::NAN])), (None, None));
    }
}
