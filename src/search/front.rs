//! The front: what no other point beats in everything, and how much of the space of gains it commands.
//!
//! Must not know: what the numbers are gains of.

/// Whether the first is nowhere worse and somewhere better.
pub fn dominates(one: &[f64], other: &[f64]) -> bool {
    let pairs = || one.iter().zip(other);
    pairs().all(|(one, other)| one >= other) && pairs().any(|(one, other)| one > other)
}

/// The places of those that no other one dominates, in their order. Of equals, all are.
pub fn front(gains: &[Vec<f64>]) -> Vec<usize> {
    let is_best = |at: &usize| {
        let Some(here) = gains.get(*at) else { return false };
        here.iter().all(|gain| gain.is_finite()) && !gains.iter().any(|other| dominates(other, here))
    };
    (0..gains.len()).filter(is_best).collect()
}

/// The size of what lies above no gain at all and below at least one of these: for two objectives an area. The base, which
/// gains nothing, is the corner that it is measured from, so that a point which loses anywhere adds nothing.
pub fn hypervolume(gains: &[Vec<f64>]) -> f64 {
    let inside: Vec<&[f64]> = gains
        .iter()
        .map(Vec::as_slice)
        .filter(|gains| !gains.is_empty() && gains.iter().all(|gain| gain.is_finite() && *gain > 0.0))
        .collect();
    volume(&inside)
}

/// By slices along the last objective, from the largest value down.
fn volume(gains: &[&[f64]]) -> f64 {
    let Some(dimensions) = gains.iter().map(|gains| gains.len()).min() else { return 0.0 };
    if dimensions <= 1 {
        return gains.iter().filter_map(|gains| gains.first()).copied().fold(0.0, f64::max);
    }
    let last = |gains: &[f64]| gains.get(dimensions - 1).copied().unwrap_or(0.0);
    let mut order = gains.to_vec();
    order.sort_by(|one, other| last(other).total_cmp(&last(one)));
    let (mut sum, mut above): (f64, Vec<&[f64]>) = (0.0, Vec::new());
    for (at, here) in order.iter().enumerate() {
        above.push(here.get(..dimensions - 1).unwrap_or(here));
        let height = last(here) - order.get(at + 1).map_or(0.0, |next| last(next));
        if height > 0.0 {
            sum += height * volume(&above);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn areas_and_volumes_that_can_be_counted() {
        let near = |gains: &[Vec<f64>], expected: f64| {
            let found = hypervolume(gains);
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        };
        near(&[], 0.0);
        near(&[vec![2.0, 3.0]], 6.0);
        near(&[vec![1.0, 3.0], vec![3.0, 1.0]], 5.0);
        near(&[vec![1.0, 3.0], vec![3.0, 1.0], vec![2.0, 2.0], vec![1.0, 1.0], vec![-1.0, 9.0]], 6.0);
        near(&[vec![1.0, 1.0, 2.0], vec![2.0, 1.0, 1.0], vec![1.0, 2.0, 1.0]], 4.0);
        near(&[vec![0.5], vec![0.7]], 0.7);
        near(&[vec![f64::NAN, 1.0], vec![f64::INFINITY, 1.0]], 0.0);
    }

    #[test]
    fn the_front_is_what_nobody_beats() {
        let gains = [vec![1.0, 1.0], vec![2.0, 0.0], vec![0.5, 0.5], vec![1.0, 1.0], vec![f64::NAN, 5.0]];
        assert_eq!(front(&gains), [0, 1, 3]);
        assert_eq!(front(&[]), Vec::<usize>::new());
    }

    fn gains() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let one = prop::collection::vec((0_u8..20).prop_map(|gain| f64::from(gain) / 10.0 - 0.3), 3);
        prop::collection::vec(one, 0..9)
    }

    proptest! {
        #[test]
        fn the_front_commands_all_that_is_commanded(gains in gains(), more in gains()) {
            let best: Vec<Vec<f64>> = front(&gains).into_iter().map(|at| gains[at].clone()).collect();
            prop_assert!((hypervolume(&best) - hypervolume(&gains)).abs() < 1e-9);
            let all = [gains.clone(), more].concat();
            prop_assert!(hypervolume(&all) >= hypervolume(&gains) - 1e-9);
            for (at, here) in gains.iter().enumerate() {
                let is_beaten = gains.iter().any(|other| dominates(other, here));
                prop_assert_eq!(front(&gains).contains(&at), !is_beaten);
            }
        }
    }
}
