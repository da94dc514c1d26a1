//! SNIP: I(W) = Σ over samples of |W · dL/dW| (Lee et al. 2019; Wei et al. 2024; DEAN, arXiv 2410.16672).
//!
//! W does not change between samples, so |W| is multiplied once at the end, over Σ|dL/dW|.
//! Must not know: how gradients are made.

use super::{Method, Reads, Scorer};
use crate::error::Result;
use crate::model::accumulate::Accumulators;
use crate::model::backward::Sample;
use crate::model::decoder::Decoder;
use crate::model::projection::Projection;

pub struct Snip;

impl Method for Snip {
    fn name(&self) -> &'static str {
        "snip"
    }

    fn reads(&self) -> Reads {
        Reads { tokens: true, weights: true, seed: false }
    }

    fn start(&self, decoder: &Decoder, scored: &dyn Fn(usize, Projection) -> bool) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Sums { sums: Accumulators::new(decoder, scored), losses: Vec::new() }))
    }
}

struct Sums {
    sums: Accumulators,
    losses: Vec<f64>,
}

impl Scorer for Sums {
    fn matrices(&self) -> Vec<(usize, Projection)> {
        self.sums.matrices().collect()
    }

    /// One by one: padding samples together gains nothing on a CPU, and the sums must not depend on memory.
    fn group(&self, coming: &[Sample]) -> usize {
        coming.len().min(1)
    }

    fn add(&mut self, decoder: &Decoder, samples: &[Sample]) -> Result<()> {
        self.sums.expect(&samples.iter().map(Sample::inputs).collect::<Vec<_>>());
        self.losses.extend(decoder.losses_and_gradients(samples, &mut self.sums)?);
        Ok(())
    }

    fn snapshot(&self) -> Result<Option<Vec<u8>>> {
        self.sums.snapshot().map(Some)
    }

    fn restore(&mut self, state: &[u8]) -> bool {
        self.sums.restore(state)
    }

    fn finish(&self, decoder: &Decoder, layer: usize, projection: Projection) -> Result<Vec<f32>> {
        let mut scores = self.sums.values(layer, projection)?;
        for (score, weight) in scores.iter_mut().zip(decoder.weights(layer, projection)?) {
            *score *= weight.abs();
        }
        Ok(scores)
    }
}
