//! What p-values are worth when several tests were made at once.
//!
//! Must not know: what was tested.

/// The p-values as if each were the only one, by Holm's method: how often at least one of all would be wrong.
///
/// S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70: the i-th smallest of m is multiplied by m − i + 1, and none is
/// smaller than one before it.
pub fn holm(values: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![1.0; values.len()];
    let mut largest: f64 = 0.0;
    for (rank, at) in ascending(values).into_iter().enumerate() {
        largest = largest.max(((values.len() - rank) as f64 * values[at]).min(1.0));
        adjusted[at] = largest;
    }
    adjusted
}

/// The p-values by the method of Benjamini and Hochberg: which share of what is found would be wrong.
///
/// Journal of the Royal Statistical Society B 57 (1995), 289-300: the i-th smallest of m is multiplied by m / i, and none is
/// larger than one behind it.
pub fn benjamini_hochberg(values: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![1.0; values.len()];
    let mut smallest: f64 = 1.0;
    for (rank, at) in ascending(values).into_iter().enumerate().rev() {
        smallest = smallest.min(values.len() as f64 / (rank + 1) as f64 * values[at]);
        adjusted[at] = smallest;
    }
    adjusted
}

/// The places of the values, the smallest first.
fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(found: &[f64], expected: &[f64]) {
        let is_near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-12;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(is_near), "{found:?}");
    }

    #[test]
    fn known_families() {
        // As R's p.adjust and statsmodels' multipletests.
        let values = [0.01, 0.04, 0.03, 0.005, 0.5];
        assert_near(&holm(&values), &[0.04, 0.09, 0.09, 0.025, 0.5]);
        assert_near(&benjamini_hochberg(&values), &[0.025, 0.05, 0.05, 0.025, 0.5]);
    }

    #[test]
    fn one_test_and_none_stay_as_they_are() {
        assert_near(&holm(&[0.03]), &[0.03]);
        assert_near(&benjamini_hochberg(&[0.03]), &[0.03]);
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
        assert_near(&holm(&[0.6, 0.7]), &[1.0, 1.0]);
    }
}
