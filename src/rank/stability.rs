//! How far two results agree: the overlap of tops and of masks, and the overlap that chance would give.
//!
//! Overlap is the Jaccard index: of the weights that are in either set, the share that is in both. Tops are compared matrix by
//! matrix, because every matrix has a k of its own. Masks are compared whole, because a model loses the whole mask.
//! Must not know: why there are two results, data sets, samples.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::mask::Mask;
use super::table::RankTable;
use super::top::k;
use crate::error::{Error, Result};

/// The tops of two rank tables, over all matrices of which k is at least one weight.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TopOverlap {
    pub matrices: u64,
    /// The smallest and the largest k = floor(fraction * N).
    pub k: (u64, u64),
    /// The mean of the matrices' Jaccard indices.
    pub mean: f64,
    /// The smallest Jaccard index, and the first matrix that has it.
    pub min: f64,
    pub min_tensor: String,
    /// The mean to expect by chance, for tops drawn at random.
    pub chance: f64,
}

/// Two masks as sets of weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MaskOverlap {
    /// The sizes of both.
    pub weights: (u64, u64),
    pub shared: u64,
    /// None if both are empty.
    pub jaccard: Option<f64>,
    /// The Jaccard index to expect by chance: `E[shared] / E[union]` for random masks with the same numbers of weights in each
    /// matrix. For tiny masks this ratio of means differs a little from the mean of the ratio.
    pub chance: Option<f64>,
}

/// Compares the `fraction` highest weights of each matrix that `keep` names; none if k is 0 in all of them.
///
/// # Errors
/// Tables that hold too little, or other matrices.
pub fn top_overlap(
    one: &RankTable,
    other: &RankTable,
    fraction: f64,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Option<TopOverlap>> {
    let there: BTreeMap<&str, _> = other.matrices.iter().map(|matrix| (matrix.tensor.as_str(), matrix)).collect();
    let mut found: Option<TopOverlap> = None;
    for matrix in one.matrices.iter().filter(|matrix| keep(&matrix.tensor)) {
        let tensor = &matrix.tensor;
        let Some(twin) = there.get(tensor.as_str()).filter(|twin| twin.numel == matrix.numel) else {
            return Err(Error::user(format!("two rank tables are compared, and only one has this {tensor}"))
                .hint("score both with the same model and the same score.modules and score.layers"));
        };
        let count = k(fraction, matrix.numel);
        let size = usize::try_from(count).ok();
        let top = |index: &[u32]| size.and_then(|size| index.get(..size)).map(|top| top.iter().copied().collect());
        let (Some(mine), Some(theirs)) = (top(&matrix.index), top(&twin.index)) else {
            return Err(Error::user(format!("the rank table of {tensor} holds fewer than {count} weights"))
                .hint("raise score.cap to the highest p or q"));
        };
        let (mine, theirs): (BTreeSet<u32>, BTreeSet<u32>) = (mine, theirs);
        let shared = mine.intersection(&theirs).count() as u64;
        let Some((jaccard, chance)) = jaccard(count, count, shared).zip(expected_jaccard(count, matrix.numel)) else {
            continue;
        };
        match &mut found {
            None => {
                found = Some(TopOverlap {
                    matrices: 1,
                    k: (count, count),
                    mean: jaccard,
                    min: jaccard,
                    min_tensor: tensor.clone(),
                    chance,
                });
            }
            // Sums for now.
            Some(all) => {
                all.matrices += 1;
                all.k = (all.k.0.min(count), all.k.1.max(count));
                all.mean += jaccard;
                all.chance += chance;
                if jaccard < all.min {
                    (all.min, all.min_tensor) = (jaccard, tensor.clone());
                }
            }
        }
    }
    Ok(found.map(|all| TopOverlap {
        mean: all.mean / all.matrices as f64,
        chance: all.chance / all.matrices as f64,
        ..all
    }))
}

/// Compares two masks; `numel` tells how many weights a matrix has.
pub fn mask_overlap(one: &Mask, other: &Mask, numel: &dyn Fn(&str) -> Option<u64>) -> MaskOverlap {
    let there: BTreeMap<&str, &Vec<u32>> =
        other.tensors.iter().map(|(tensor, index)| (tensor.as_str(), index)).collect();
    let (mut shared, mut expected) = (0, 0.0);
    for (tensor, index) in &one.tensors {
        let Some(twin) = there.get(tensor.as_str()) else { continue };
        shared += index.iter().filter(|weight| twin.binary_search(weight).is_ok()).count() as u64;
        if let Some(numel) = numel(tensor).filter(|numel| *numel > 0) {
            expected += index.len() as f64 * twin.len() as f64 / numel as f64;
        }
    }
    let weights = (one.len(), other.len());
    let jaccard = jaccard(weights.0, weights.1, shared);
    let chance = jaccard.map(|_| expected / ((weights.0 + weights.1) as f64 - expected));
    MaskOverlap { weights, shared, jaccard, chance }
}

/// |A and B| / |A or B|; none for two empty sets.
fn jaccard(one: u64, other: u64, shared: u64) -> Option<f64> {
    let either = (one + other).saturating_sub(shared);
    (either > 0).then(|| shared as f64 / either as f64)
}

/// The expected Jaccard of two random sets of k out of n weights; none for k = 0.
///
/// The intersection is hypergeometric, P(i) = C(k, i) C(n - k, k - i) / C(n, k), and i shared weights make a Jaccard
/// of i / (2k - i). The sum runs both ways from the likeliest i, so that no term overflows.
pub fn expected_jaccard(k: u64, n: u64) -> Option<f64> {
    if k == 0 || k > n {
        return None;
    }
    let (size, all) = (k as f64, n as f64);
    let least = (2 * k).saturating_sub(n);
    let mode = ((size + 1.0) * (size + 1.0) / (all + 2.0)) as u64;
    let mode = mode.clamp(least, k);
    let up = |i: f64| (size - i) * (size - i) / ((i + 1.0) * (all - 2.0 * size + i + 1.0));
    let value = |i: f64| i / (2.0 * size - i);
    let (mut sum, mut total) = (value(mode as f64), 1.0);
    let mut weight = 1.0;
    for i in mode..k {
        weight *= up(i as f64);
        sum += weight * value(i as f64 + 1.0);
        total += weight;
        if weight < NOTHING {
            break;
        }
    }
    weight = 1.0;
    for i in (least..mode).rev() {
        weight /= up(i as f64);
        sum += weight * value(i as f64);
        total += weight;
        if weight < NOTHING {
            break;
        }
    }
    Some(sum / total)
}

/// Weights beside a likeliest one of 1 that no f64 sum would notice.
const NOTHING: f64 = 1e-20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::top;
    use super::*;

    /// Every pair of sets, one after the other.
    fn by_counting(k: u32, n: u32) -> f64 {
        let sets: Vec<u32> = (0_u32..1 << n).filter(|set| set.count_ones() == k).collect();
        let one = (1_u32 << k) - 1;
        let all =
            sets.iter().map(|other| f64::from((one & other).count_ones()) / f64::from((one | other).count_ones()));
        all.sum::<f64>() / sets.len() as f64
    }

    #[test]
    fn chance_is_what_all_pairs_of_sets_give() {
        for n in 1..=9_u32 {
            for k in 1..=n {
                let found = expected_jaccard(u64::from(k), u64::from(n)).unwrap();
                assert!((found - by_counting(k, n)).abs() < 1e-12, "{k} of {n}");
            }
        }
        assert_eq!((expected_jaccard(0, 9), expected_jaccard(3, 2)), (None, None));
    }

    #[test]
    fn chance_is_small_where_tops_are_small_and_exact_where_they_are_not() {
        // One of n: they meet once in n times.
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-3, "{found}, {expected}");
        near(expected_jaccard(1, 1_000_000).unwrap(), 1e-6);
        // The intersection k²/n = 67,895 is narrow: the ratio of the means is the mean of the ratio.
        let (k, n) = (67_895, 67_895_296);
        near(expected_jaccard(k, n).unwrap(), 67.895 / (2.0 * 67_895.0 - 67.895));
        near(expected_jaccard(200_000_000, 400_000_000).unwrap(), 1.0 / 3.0);
    }

    proptest! {
        #[test]
        fn tops_are_compared_as_sets(scores in prop::collection::vec((0_u8..9, 0_u8..9), 1..60), fraction in 0.0_f64..=1.0) {
            let table = |scores: Vec<f32>| RankTable { cap: 1.0, matrices: vec![top("m", &scores, 1, 1.0).unwrap()] };
            let one = table(scores.iter().map(|pair| f32::from(pair.0)).collect());
            let other = table(scores.iter().map(|pair| f32::from(pair.1)).collect());
            let found = top_overlap(&one, &other, fraction, &|_| true).unwrap();
            let count = (fraction * scores.len() as f64) as usize;
            let set = |table: &RankTable| table.matrices[0].index[..count].iter().copied().collect::<BTreeSet<u32>>();
            let (mine, theirs) = (set(&one), set(&other));
            let expected = mine.intersection(&theirs).count() as f64 / mine.union(&theirs).count() as f64;
            prop_assert_eq!(found.is_some(), count > 0);
            if let Some(found) = found {
                prop_assert_eq!((found.mean, found.min, found.k), (expected, expected, (count as u64, count as u64)));
            }
            prop_assert_eq!(top_overlap(&one, &one, 1.0, &|_| true).unwrap().unwrap().mean, 1.0);
        }
    }

    #[test]
    fn matrices_count_alike_and_the_worst_is_named() {
        let table = |a: &[f32], b: &[f32]| RankTable {
            cap: 0.5,
            matrices: vec![
                top("a", a, 1, 0.5).unwrap(),
                top("b", b, 1, 0.5).unwrap(),
                top("c", &[1.0], 1, 0.5).unwrap(),
            ],
        };
        let one = table(&[4.0, 3.0, 2.0, 1.0], &[1.0, 2.0]);
        let other = table(&[4.0, 1.0, 2.0, 3.0], &[2.0, 1.0]);
        let all = top_overlap(&one, &other, 0.5, &|_| true).unwrap().unwrap();
        assert_eq!((all.matrices, all.k, all.min, all.min_tensor.as_str()), (2, (1, 2), 0.0, "b"));
        assert!((all.mean - 1.0 / 6.0).abs() < 1e-12);
        assert!((all.chance - (by_counting(2, 4) + by_counting(1, 2)) / 2.0).abs() < 1e-12);
        assert_eq!(top_overlap(&one, &other, 0.5, &|tensor| tensor == "a").unwrap().unwrap().matrices, 1);
        assert_eq!(top_overlap(&one, &other, 0.1, &|_| true).unwrap(), None);
        let message = |other: &RankTable, fraction| top_overlap(&one, other, fraction, &|_| true).unwrap_err();
        insta::assert_snapshot!(message(&other, 0.75), @"the rank table of a holds fewer than 3 weights");
        insta::assert_snapshot!(message(&table(&[1.0], &[1.0]), 0.5), @"two rank tables are compared, and only one has this a");
    }

    #[test]
    fn masks_are_compared_as_wholes() {
        let mask = |tensors: &[(&str, &[u32])]| {
            Mask::new(tensors.iter().map(|(tensor, index)| ((*tensor).to_owned(), index.to_vec())))
        };
        let one = mask(&[("a", &[1, 2, 3]), ("b", &[4])]);
        let other = mask(&[("a", &[2, 3]), ("c", &[4, 5])]);
        let found = mask_overlap(&one, &other, &|_| Some(12));
        assert_eq!((found.weights, found.shared, found.jaccard), ((4, 4), 2, Some(2.0 / 6.0)));
        assert!((found.chance.unwrap() - 0.5 / 7.5).abs() < 1e-12);
        let nothing = mask_overlap(&mask(&[]), &mask(&[]), &|_| None);
        assert_eq!((nothing.weights, nothing.jaccard, nothing.chance), ((0, 0), None, None));
        assert_eq!(mask_overlap(&one, &mask(&[]), &|_| Some(9)).jaccard, Some(0.0));
    }
}
