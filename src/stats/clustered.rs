//! The error of a mean whose rows come in groups: rows of one group say nearly the same, and count as one witness.
//!
//! Must not know: what was measured, why rows belong together.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Rows that are no witnesses of their own, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Group {
    /// The sum of the rows' values.
    pub sum: f64,
    /// What the mean is over: the number of rows, or of tokens in them.
    pub weight: f64,
}

/// A mean over all rows of all groups, Σ sums / Σ weights, with its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    /// The standard error of the mean.
    pub error: f64,
    pub groups: usize,
}

impl Estimate {
    /// The mean and its clustered standard error. `None` with fewer than two groups, or where a value is not finite.
    ///
    /// E. Miller, arXiv 2411.00640, section 2.2: the squares of the groups' summed residuals. They are multiplied by C / (C − 1)
    /// for C groups, as inspect_ai does and Miller does not; with few groups the error would be too small without it. For
    /// groups of unequal weight this is the usual error of a ratio of sums (Cochran, Sampling Techniques, 6.4).
    pub fn of(groups: &[Group]) -> Option<Self> {
        let count = groups.len();
        let weight: f64 = groups.iter().map(|group| group.weight).sum();
        let mean = groups.iter().map(|group| group.sum).sum::<f64>() / weight;
        let squares: f64 = groups.iter().map(|group| (group.sum - mean * group.weight).powi(2)).sum();
        let error = (squares * count as f64 / (count as f64 - 1.0)).sqrt() / weight;
        (count > 1 && weight > 0.0 && mean.is_finite() && error.is_finite()).then_some(Self {
            mean,
            error,
            groups: count,
        })
    }

    /// The 95 % interval of the mean, by Student's t with one degree of freedom fewer than there are groups.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let half = self.student()?.inverse_cdf(0.975) * self.error;
        Some((self.mean - half, self.mean + half))
    }

    /// The two-sided p-value of a mean of zero; `None` where all groups say the same, so that there is no error to go by.
    pub fn p(&self) -> Option<f64> {
        match (self.mean, self.error) {
            (0.0, _) => Some(1.0),
            (_, 0.0) => None,
            (mean, error) => Some((2.0 * self.student()?.cdf(-(mean / error).abs())).min(1.0)),
        }
    }

    pub(super) fn student(&self) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.groups.checked_sub(1)? as f64).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of these sizes over these values.
    fn groups(sizes: &[usize], values: &[f64]) -> Vec<Group> {
        let mut values = values.iter();
        let sum = |size: &usize| Group { sum: values.by_ref().take(*size).sum(), weight: *size as f64 };
        sizes.iter().map(sum).collect()
    }

    const D: [f64; 20] = [1., 0., 0., 1., 1., -1., 0., 0., 1., 1., -1., 1., 0., 0., 0., -1., -1., 1., 0., 0.];

    #[test]
    fn known_errors() {
        let found = Estimate::of(&groups(&[1, 2, 3, 4, 1, 5, 2, 2], &D)).unwrap();
        assert!((found.mean - 0.15).abs() < 1e-15);
        assert!((found.error - 0.121_184_628_917).abs() < 1e-11, "as inspect_ai: {found:?}");
        let millers = found.error * (7.0_f64 / 8.0).sqrt();
        assert!((millers - 0.113_357_840_488).abs() < 1e-11, "as Miller and statsmodels: {millers}");
        let naive = Estimate::of(&groups(&[1; 20], &D)).unwrap();
        assert!((naive.error - 0.166_622_801_245).abs() < 1e-11, "every row a witness: {naive:?}");
    }

    #[test]
    fn intervals_and_tests_are_students() {
        // d = 1, 2, 3, 4: mean 2.5, s / 2 = 0.6454972, t = 3.872983 with 3 degrees: R's t.test gives
        // p = 0.03046 and the interval [0.4457397, 4.5542603].
        let found = Estimate::of(&groups(&[1; 4], &[1., 2., 3., 4.])).unwrap();
        let (lower, upper) = found.interval().unwrap();
        assert!((lower - 0.445_739_7).abs() < 1e-6 && (upper - 4.554_260_3).abs() < 1e-6, "{lower} {upper}");
        assert!((found.p().unwrap() - 0.030_466_29).abs() < 1e-6, "{:?}", found.p());
    }

    #[test]
    fn what_cannot_be_estimated_is_not() {
        assert_eq!(Estimate::of(&groups(&[3], &D)), None, "one group");
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of(&groups(&[1, 1], &[f64::INFINITY, 1.0])), None);
        let same = Estimate::of(&groups(&[1, 1], &[0.5, 0.5])).unwrap();
        assert_eq!((same.error, same.p()), (0.0, None));
        let nothing = Estimate::of(&groups(&[1, 1], &[0.0, 0.0])).unwrap();
        assert_eq!((nothing.interval(), nothing.p()), (Some((0.0, 0.0)), Some(1.0)));
    }
}
