//! SNIP: I(W) = Σ over samples of |W · dL/dW| (Lee et al. 2019; Wei et al. 2024; DEAN, arXiv 2410.16672).
//!
//! W is the same for all samples, so I(W) = |W| · Σ|dL/dW|: the sums are multiplied by |W| once, at the end. They may be made
//! for one group of layers after another. Must not know: how gradients are made.

use std::ops::Range;

use super::{Method, Reads, Scorer, matrices};
use crate::error::Result;
use crate::model::decoder::Decoder;
use crate::model::decoder::gradient_sums::GradientSums;
use crate::model::decoder::layer_groups::LayerGroups;
use crate::model::decoder::sample::Sample;
use crate::model::decoder::sample::together;
use crate::model::matrix::MatrixId;

pub struct Snip;

impl Method for Snip {
    fn name(&self) -> &'static str {
        "snip"
    }

    fn reads(&self) -> Reads {
        Reads { tokens: true, weights: true, seed: false }
    }

    fn in_groups(&self) -> bool {
        true
    }

    fn start(&self, decoder: &Decoder, scored: &dyn Fn(MatrixId) -> bool) -> Result<Box<dyn Scorer>> {
        let lowest = matrices(decoder, scored).first().map_or(decoder.layers.len(), |id| id.layer);
        self.start_in_groups(decoder, scored, std::slice::from_ref(&(lowest..decoder.layers.len())), 0)
    }

    fn start_in_groups(
        &self,
        decoder: &Decoder,
        scored: &dyn Fn(MatrixId) -> bool,
        groups: &[Range<usize>],
        batch_tokens: usize,
    ) -> Result<Box<dyn Scorer>> {
        let all = matrices(decoder, scored);
        let of = |group: &Range<usize>| all.iter().copied().filter(|id| group.contains(&id.layer)).collect();
        let mut sums = Sums {
            rounds: groups.iter().map(of).collect(),
            walk: LayerGroups::new(decoder, groups.to_vec()),
            sums: GradientSums::new(decoder, |_| false),
            batch_tokens,
        };
        sums.begin(decoder, 0);
        Ok(Box::new(sums))
    }
}

struct Sums {
    /// The matrices of each group of layers, the topmost first.
    rounds: Vec<Vec<MatrixId>>,
    walk: LayerGroups,
    /// The sums of the present group.
    sums: GradientSums,
    batch_tokens: usize,
}

impl Scorer for Sums {
    fn matrices(&self) -> Vec<MatrixId> {
        self.rounds.iter().rev().flatten().copied().collect()
    }

    fn rounds(&self) -> Vec<Vec<MatrixId>> {
        self.rounds.clone()
    }

    fn begin(&mut self, decoder: &Decoder, round: usize) {
        // The old sums go first, so that the new ones get their memory.
        self.sums = GradientSums::new(decoder, |_| false);
        let of = self.rounds.get(round).map_or(&[][..], Vec::as_slice);
        self.sums = GradientSums::new(decoder, |id| of.contains(&id));
        self.walk.begin(round);
    }

    fn group(&self, coming: &[Sample]) -> usize {
        together(coming.iter().map(Sample::inputs), self.batch_tokens).min(coming.len())
    }

    fn add(&mut self, decoder: &Decoder, samples: &[Sample]) -> Result<()> {
        self.sums.expect(samples.iter().map(Sample::inputs));
        self.walk.add(decoder, samples, &mut self.sums)?;
        Ok(())
    }

    fn snapshot(&self) -> Result<Option<Vec<u8>>> {
        let mut state = Vec::with_capacity(self.sums.snapshot_len() + self.walk.snapshot_len());
        self.sums.snapshot(&mut state)?;
        self.walk.snapshot(&mut state)?;
        Ok(Some(state))
    }

    fn restore(&mut self, state: &[u8]) -> bool {
        let parts = state.split_at_checked(self.sums.snapshot_len());
        parts.is_some_and(|(sums, walk)| self.walk.restore(walk) && self.sums.restore(sums))
    }

    fn finish(&self, decoder: &Decoder, id: MatrixId) -> Result<Vec<f32>> {
        let mut scores = self.sums.values(id)?;
        for (score, weight) in scores.iter_mut().zip(decoder.weights(id)?) {
            *score *= weight.abs();
        }
        Ok(scores)
    }
}
