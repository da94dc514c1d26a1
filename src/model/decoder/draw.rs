//! Draws tokens from a model's distribution, with temperature, top-k and top-p.
//!
//! A draw depends on the seed, the prompt's own tokens and the position in the answer, and on nothing else. The number behind
//! it is a digest of these three, so there is no generator whose state could depend on what was drawn before. Whatever
//! shares a batch with a prompt, its answer stays the same, and equal prompts of two variants meet equal numbers. Must not
//! know: text, question sets, batches.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// How the distribution is changed before a token is drawn from it. First come the temperature, then `top_k`, then `top_p`
/// of what is left, as in transformers and vLLM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Logits are divided by it. Above 0.
    pub temperature: f64,
    /// Only the likeliest so many tokens may be drawn; of equally likely ones those with the lower ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Only the likeliest tokens may be drawn, as few as have this share of the probability together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    pub seed: u64,
}

/// The draws for some prompts.
pub struct Draws {
    sampling: Sampling,
    prompts: Vec<Digest>,
}

/// In front of what is digested. Another text makes other draws.
const DOMAIN: &[u8] = b"dean draw 1";

/// How many tokens are sorted at first in order to find those that `top_p` leaves.
const FIRST_SORTED: usize = 256;

impl Draws {
    pub fn new(sampling: Sampling, prompts: &[&[u32]]) -> Self {
        let digest = |ids: &&[u32]| Digest::of(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>());
        Self { sampling, prompts: prompts.iter().map(digest).collect() }
    }

    /// The token that follows a prompt and so many new tokens. `logits`, one for each token of the vocabulary, are those of that
    /// position.
    pub fn token(&self, prompt: usize, written: usize, logits: &[f32]) -> u32 {
        self.sampling.pick(logits, uniform(self.sampling.seed, &self.prompts[prompt], written))
    }
}

/// A number in [0, 1): 53 bits of a digest.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn uniform(seed: u64, prompt: &Digest, written: usize) -> f64 {
    let [seed, written] = [seed, written as u64].map(u64::to_le_bytes);
    let digest = Digest::of(&[DOMAIN, &seed, prompt.as_bytes(), &written].concat());
    let first = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    (u64::from_le_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Sampling {
    /// The token whose part of the cumulative distribution holds `uniform`. All sums are of f64, in the order of the tokens:
    /// by id, or from the likeliest down where only some may be drawn.
    fn pick(&self, logits: &[f32], uniform: f64) -> u32 {
        let weights = Weights::new(logits, self.temperature);
        let may_be_drawn = self.kept(&weights);
        let total: f64 = may_be_drawn.iter().map(|id| weights.of(*id)).sum();
        let mut left = uniform * total;
        let mut last = may_be_drawn.first().copied().unwrap_or_default();
        for id in may_be_drawn {
            let weight = weights.of(id);
            if weight > 0.0 {
                last = id;
            }
            if left < weight {
                return id;
            }
            left -= weight;
        }
        // Only rounding leads here: the number was so near 1 that the sum of what was taken off fell short of it.
        last
    }

    /// The tokens that may be drawn.
    fn kept(&self, weights: &Weights<'_>) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..).take(weights.logits.len()).collect();
        let most = self.top_k.unwrap_or(usize::MAX).max(1);
        if most < ids.len() {
            weights.sort_head(&mut ids, most);
            ids.truncate(most);
        }
        let Some(share) = self.top_p else { return ids };
        let total: f64 = ids.iter().map(|id| weights.of(*id)).sum();
        let mut head = FIRST_SORTED;
        loop {
            weights.sort_head(&mut ids, head);
            let mut sum = 0.0;
            let enough = ids.iter().take(head).position(|id| {
                sum += weights.of(*id);
                sum >= share * total
            });
            if let Some(at) = enough {
                ids.truncate(at + 1);
                return ids;
            }
            if head >= ids.len() {
                return ids;
            }
            head *= 8;
        }
    }
}

/// Probabilities up to a common factor.
struct Weights<'a> {
    logits: &'a [f32],
    high: f64,
    temperature: f64,
}

impl<'a> Weights<'a> {
    fn new(logits: &'a [f32], temperature: f64) -> Self {
        let high = logits.iter().copied().filter(|logit| !logit.is_nan()).fold(f32::NEG_INFINITY, f32::max);
        Self { logits, high: f64::from(high), temperature }
    }

    /// 1 for the likeliest token; 0 for one without a number, which a broken model may give.
    fn of(&self, id: u32) -> f64 {
        let logit = self.logits.get(id as usize).copied().map_or(f64::NAN, f64::from);
        if logit >= self.high {
            1.0
        } else {
            Some(((logit - self.high) / self.temperature).exp()).filter(|weight| !weight.is_nan()).unwrap_or(0.0)
        }
    }

    /// Brings the likeliest `count` ids to the front, from the likeliest down; of equal ones the lower first.
    fn sort_head(&self, ids: &mut [u32], count: usize) {
        let logit = |id: &u32| {
            let logit = self.logits.get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
            // Adding 0 makes one zero of the two.
            if logit.is_nan() { f32::NEG_INFINITY } else { logit + 0.0 }
        };
        let order = |one: &u32, other: &u32| logit(other).total_cmp(&logit(one)).then(one.cmp(other));
        if count > 0 && count < ids.len() {
            ids.select_nth_unstable_by(count - 1, order);
        }
        let head = count.min(ids.len());
        ids[..head].sort_unstable_by(order);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    use super::*;

    fn sampling(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampling {
        Sampling { temperature, top_k, top_p, seed: 7 }
    }

    /// The same by a plain sort of everything: each token's probability.
    fn plain(logits: &[f32], how: &Sampling) -> Vec<f64> {
        let softmax = |of: &[(usize, f64)]| -> Vec<(usize, f64)> {
            let total: f64 = of.iter().map(|(_, logit)| logit.exp()).sum();
            of.iter().map(|(id, logit)| (*id, logit.exp() / total)).collect()
        };
        let mut all: Vec<(usize, f64)> =
            logits.iter().map(|logit| f64::from(*logit) / how.temperature).enumerate().collect();
        all.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        all.truncate(how.top_k.unwrap_or(usize::MAX));
        if let Some(share) = how.top_p {
            let mut before = 0.0;
            let few = softmax(&all)
                .iter()
                .take_while(|(_, p)| {
                    let more = before < share;
                    before += p;
                    more
                })
                .count();
            all.truncate(few);
        }
        let mut probabilities = vec![0.0; logits.len()];
        softmax(&all).into_iter().for_each(|(id, p)| probabilities[id] = p);
        probabilities
    }

    proptest! {
        #[test]
        fn what_may_be_drawn_is_what_a_plain_sort_leaves(
            logits in prop::collection::vec(-9.0_f32..9.0, 1..700),
            temperature in 0.2_f64..3.0,
            top_k in prop::option::of(1_usize..900),
            top_p in prop::option::of(0.01_f64..0.999),
            uniform in 0.0_f64..1.0,
        ) {
            let how = sampling(temperature, top_k, top_p);
            let expected = plain(&logits, &how);
            let mut kept = how.kept(&Weights::new(&logits, temperature));
            let drawn = how.pick(&logits, uniform);
            prop_assert!(kept.contains(&drawn));
            kept.sort_unstable();
            let left: Vec<u32> = (0..).zip(&expected).filter(|(_, p)| **p > 0.0).map(|(id, _)| id).collect();
            prop_assert_eq!(kept, left);
        }
    }

    #[test]
    fn tokens_come_as_often_as_they_should() {
        let logits: Vec<f32> = (0..20).map(|id| ((id * 7 % 20) as f32) / 5.0).collect();
        for how in [sampling(1.0, None, None), sampling(0.7, Some(9), None), sampling(1.6, Some(15), Some(0.8))] {
            let (mut seen, draws) = (vec![0_u32; logits.len()], 20_000);
            let prompts: Vec<Vec<u32>> = (0..draws / 10).map(|prompt| vec![prompt]).collect();
            let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
            let drawn = Draws::new(how.clone(), &prompts);
            for prompt in 0..prompts.len() {
                (0..10).for_each(|written| seen[drawn.token(prompt, written, &logits) as usize] += 1);
            }
            let expected = plain(&logits, &how);
            assert!(seen.iter().zip(&expected).all(|(seen, p)| *p > 0.0 || *seen == 0), "{seen:?}");
            let possible = expected.iter().filter(|p| **p > 0.0).count();
            let terms = seen.iter().zip(&expected).filter(|(_, p)| **p > 0.0).map(|(seen, p)| {
                let expected = p * f64::from(draws);
                (f64::from(*seen) - expected).powi(2) / expected
            });
            let probability = ChiSquared::new(possible as f64 - 1.0).unwrap().sf(terms.sum());
            assert!(probability > 0.01, "{how:?}: {seen:?} has a chance of {probability}");
        }
    }

    #[test]
    fn numbers_depend_on_seed_prompt_and_position() {
        let prompt = |ids: &[u32]| Digest::of(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>());
        let numbers = [
            uniform(0, &prompt(&[1]), 0),
            uniform(1, &prompt(&[1]), 0),
            uniform(0, &prompt(&[2]), 0),
            uniform(0, &prompt(&[1]), 1),
        ];
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mut different = numbers.map(f64::to_bits).to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 4);
    }

    #[test]
    fn a_broken_model_still_gives_a_token() {
        for (logits, expected) in [
            (vec![f32::NAN; 3], 0),
            (vec![f32::NAN, 1.0, f32::NAN], 1),
            (vec![0.0, f32::INFINITY, 0.0], 1),
            (vec![f32::NEG_INFINITY, f32::NEG_INFINITY, 2.0], 2),
        ] {
            for how in [sampling(1.0, None, None), sampling(1.0, Some(2), None), sampling(1.0, None, Some(0.5))] {
                for uniform in [0.0, 0.5, 1.0 - f64::EPSILON / 2.0] {
                    assert_eq!(how.pick(&logits, uniform), expected, "{logits:?} {how:?}");
                }
            }
        }
        assert_eq!(sampling(1.0, None, Some(0.5)).pick(&[], 0.5), 0);
    }

    #[test]
    fn a_low_temperature_is_nearly_greedy() {
        let logits = [0.0, 3.0, 2.9, -1.0];
        assert!([0.0, 0.5, 0.999].iter().all(|number| sampling(1e-3, None, None).pick(&logits, *number) == 1));
        assert_eq!(sampling(1.0, Some(1), None).pick(&logits, 0.99), 1);
    }
}
