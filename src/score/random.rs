//! Random: a score drawn for each weight. It is the control that every other method must beat.
//!
//! The number depends only on `score.seed`, the tensor's name and the weight's index. It is the index-th output of SplitMix64
//! (Steele, Lea & Flood 2014), whose outputs can be computed in any order. BLAKE3 derives the generator's start from the seed
//! and the name. So neither threads nor their order nor the other scored matrices can change it. Must not know: data sets,
//! weights.

use rayon::prelude::*;

use super::{Method, Reads, Scorer, matrices};
use crate::error::Result;
use crate::model::decoder::Decoder;
use crate::model::decoder::sample::Sample;
use crate::model::matrix::MatrixId;

pub struct Random;

/// SplitMix64's step: 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Method for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn reads(&self) -> Reads {
        Reads { tokens: false, weights: false, seed: true }
    }

    fn start(&self, decoder: &Decoder, scored: &dyn Fn(MatrixId) -> bool) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Draws { matrices: matrices(decoder, scored), seed: 0 }))
    }
}

struct Draws {
    matrices: Vec<MatrixId>,
    seed: u64,
}

impl Scorer for Draws {
    fn matrices(&self) -> Vec<MatrixId> {
        self.matrices.clone()
    }

    fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    fn add(&mut self, _: &Decoder, _: &[Sample]) -> Result<()> {
        Ok(())
    }

    fn finish(&self, decoder: &Decoder, id: MatrixId) -> Result<Vec<f32>> {
        let [out, input] = decoder.linear(id).weight.dims();
        let start = start(self.seed, &id.weight());
        Ok((0..(out * input) as u64).into_par_iter().map(|index| score(start, index)).collect())
    }
}

/// The start of the generator for a tensor.
fn start(seed: u64, tensor: &str) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("dean random score v1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(tensor.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

/// 1/u for a uniform u in (0, 1]. It orders weights as u does, in reverse. The highest values of 1/u are far apart as f32,
/// while those of u would be equal for many of 10^8 weights, and ties favour low indices.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounding keeps the order")]
fn score(start: u64, index: u64) -> f32 {
    let mut z = start.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (2.0_f64.powi(64) / (z as f64 + 1.0)) as f32
}

#[cfg(test)]
mod tests {
    use crate::model::matrix::Projection;
    use burn::tensor::Device;

    use super::*;
    use crate::model::testing::{random, small};

    #[test]
    fn scores_depend_on_seed_name_and_index_and_on_nothing_else() {
        let one = random(&small(), &Device::flex(), 1);
        let other = random(&small(), &Device::flex(), 2);
        let all = |_: MatrixId| true;
        let up = |id: MatrixId| id.projection == Projection::Up;
        let scores = |decoder: &Decoder, scored: &dyn Fn(MatrixId) -> bool, seed: u64, layer: usize| {
            let mut scorer = Random.start(decoder, scored).unwrap();
            scorer.seed(seed);
            scorer.finish(decoder, MatrixId::new(layer, Projection::Up)).unwrap()
        };
        let base = scores(&one, &all, 5, 1);
        assert_eq!(base, scores(&other, &up, 5, 1));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(base, pool.install(|| scores(&one, &all, 5, 1)));
        assert!(base != scores(&one, &all, 6, 1) && base != scores(&one, &all, 5, 0));
    }

    #[test]
    fn numbers_are_those_of_splitmix64_and_spread_evenly() {
        // The first outputs of the reference implementation for the seed 1234567.
        let known = [6_457_827_717_110_365_317_u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as the code does")]
        let expected = known.map(|z| (2.0_f64.powi(64) / (z as f64 + 1.0)) as f32);
        assert_eq!([0, 1, 2].map(|index| score(1_234_567, index)), expected);

        let start = start(0, "model.layers.0.mlp.up_proj.weight");
        let scores: Vec<f32> = (0..100_000).map(|index| score(start, index)).collect();
        assert!(scores.iter().all(|score| score.is_finite() && *score >= 1.0));
        // u < 1/n is score > n; deviations of five sigma are no chance.
        for n in [2.0, 10.0, 100.0_f32] {
            let found = scores.iter().filter(|score| **score > n).count() as f64;
            let (mean, p) = (1e5 / f64::from(n), 1.0 / f64::from(n));
            assert!((found - mean).abs() < 5.0 * (mean * (1.0 - p)).sqrt(), "{found} of {mean} above {n}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_for_ever() {
        // Changing these changes what is published under a key: raise the version of the score stage then.
        let start = start(0, "model.layers.0.mlp.up_proj.weight");
        let bits = [0, 1, 1_000_000].map(|index| score(start, index).to_bits());
        insta::assert_snapshot!(format!("{bits:08x?}"), @"[3fd19893, 400d2293, 436744c2]");
    }
}
