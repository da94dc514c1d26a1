//! The interval of a mean by drawing its groups anew, many times, with replacement.
//!
//! Must not know: what was measured, why rows belong together.

use super::Group;

/// How often all groups are drawn anew.
pub const DRAWS: u32 = 10_000;

/// Where the draws begin. One seed for all: what is drawn for one variant is drawn for the next, so that their intervals differ
/// by what was measured and not by the draw.
pub const SEED: u64 = 0;

/// The 95 % interval of Σ sums / Σ weights over the groups, from the 2.5th to the 97.5th percentile of [`DRAWS`] means. `None` with
/// fewer than two groups, or where a value is not finite.
///
/// B. Efron, Annals of Statistics 7 (1979), 1-26; groups are drawn whole (Davison and Hinkley, Bootstrap Methods, 3.8), because
/// rows of one group are no witnesses of their own. Sums are in the order of the draws, so that every machine gets equal bits.
pub fn bootstrap(groups: &[Group], seed: u64) -> Option<(f64, f64)> {
    let is_finite = groups.iter().all(|group| group.sum.is_finite() && group.weight.is_finite() && group.weight > 0.0);
    if groups.len() < 2 || !is_finite {
        return None;
    }
    if groups.iter().all(|group| group.sum == 0.0) {
        return Some((0.0, 0.0));
    }
    let mut state = seed;
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|_| {
            // Two groups of each 64 bits, into two sums, so that no addition waits for the one before it.
            let mut drawn = [Group::default(); 2];
            for _ in 0..groups.len() / 2 {
                let bits = next(&mut state);
                add(&mut drawn[0], at(groups, bits >> 32));
                add(&mut drawn[1], at(groups, bits & 0xffff_ffff));
            }
            if !groups.len().is_multiple_of(2) {
                add(&mut drawn[0], at(groups, next(&mut state) >> 32));
            }
            (drawn[0].sum + drawn[1].sum) / (drawn[0].weight + drawn[1].weight)
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let percentile = |percent: f64| means.get((f64::from(DRAWS) * percent / 100.0) as usize).copied();
    Some((percentile(2.5)?, percentile(97.5)?))
}

/// The group that a number of 32 random bits stands for: all are equally likely, up to one part in 2^32 for each group.
fn at(groups: &[Group], bits: u64) -> Group {
    let index = bits.wrapping_mul(groups.len() as u64) >> 32;
    groups.get(index as usize).copied().unwrap_or_default()
}

fn add(drawn: &mut Group, group: Group) {
    drawn.sum += group.sum;
    drawn.weight += group.weight;
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): the next 64 random bits.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::{Estimate, Pairs, newcombe};
    use super::*;

    fn alone(values: impl IntoIterator<Item = f64>) -> Vec<Group> {
        values.into_iter().map(|sum| Group { sum, weight: 1.0 }).collect()
    }

    #[test]
    fn the_bits_are_those_of_the_paper() {
        // The reference implementation, seed 1234567.
        let mut state = 1_234_567;
        let found = [(); 3].map(|()| next(&mut state));
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn with_many_rows_it_is_the_interval_that_formulas_give() {
        // 2,165 pairs, 120 won and 60 lost, as in the paper's larger set.
        let values = (0..2165).map(|row| {
            if row < 120 {
                1.0
            } else if row < 180 {
                -1.0
            } else {
                0.0
            }
        });
        let groups = alone(values);
        let (lower, upper) = bootstrap(&groups, SEED).unwrap();
        let pairs = Pairs { both: 900, only_first: 120, only_second: 60, neither: 1085 };
        let by_formula = newcombe(&pairs).unwrap();
        assert!((lower - by_formula.0).abs() < 1e-3 && (upper - by_formula.1).abs() < 1e-3, "{lower} {upper}");
        let student = Estimate::of(&groups).unwrap().interval().unwrap();
        assert!((lower - student.0).abs() < 1e-3 && (upper - student.1).abs() < 1e-3, "{lower} {upper}");
        assert_eq!(bootstrap(&groups, SEED), Some((lower, upper)), "a seed is a result");
        assert_ne!(bootstrap(&groups, 1), Some((lower, upper)));
    }

    #[test]
    fn rows_of_one_group_are_one_witness() {
        // The same forty values, once as forty questions, once as ten that were asked four times.
        let value = |group: u32| if group.is_multiple_of(3) { 1.0 } else { 0.0 };
        let (lower, upper) = bootstrap(&alone((0..40).map(|row| value(row / 4))), SEED).unwrap();
        let groups: Vec<Group> = (0..10).map(|group| Group { sum: 4.0 * value(group), weight: 4.0 }).collect();
        let (wider, widest) = bootstrap(&groups, SEED).unwrap();
        let ratio = (widest - wider) / (upper - lower);
        assert!((1.6..2.4).contains(&ratio), "twice as wide, for a quarter of the witnesses: {ratio}");
    }

    #[test]
    fn what_cannot_be_drawn_is_not() {
        assert_eq!(bootstrap(&alone([1.0]), SEED), None);
        assert_eq!(bootstrap(&alone([1.0, f64::INFINITY]), SEED), None);
        assert_eq!(bootstrap(&[Group { sum: 1.0, weight: 0.0 }; 2], SEED), None);
        assert_eq!(bootstrap(&alone([0.0; 5]), SEED), Some((0.0, 0.0)));
    }
}
