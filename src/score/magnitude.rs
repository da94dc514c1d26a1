//! Magnitude: |W|, the oldest of all measures. It reads no data, so all data sets have the same table.
//!
//! Must not know: data sets, activations.

use super::{Method, Reads, Scorer, matrices};
use crate::error::Result;
use crate::model::decoder::Decoder;
use crate::model::decoder::sample::Sample;
use crate::model::matrix::MatrixId;

pub struct Magnitude;

impl Method for Magnitude {
    fn name(&self) -> &'static str {
        "magnitude"
    }

    fn reads(&self) -> Reads {
        Reads { tokens: false, weights: true, seed: false }
    }

    fn start(&self, decoder: &Decoder, scored: &dyn Fn(MatrixId) -> bool) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Weights(matrices(decoder, scored))))
    }
}

struct Weights(Vec<MatrixId>);

impl Scorer for Weights {
    fn matrices(&self) -> Vec<MatrixId> {
        self.0.clone()
    }

    fn add(&mut self, _: &Decoder, _: &[Sample]) -> Result<()> {
        Ok(())
    }

    fn finish(&self, decoder: &Decoder, id: MatrixId) -> Result<Vec<f32>> {
        Ok(decoder.weights(id)?.into_iter().map(f32::abs).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::matrix::Projection;
    use burn::tensor::Device;

    use super::*;
    use crate::model::testing::{random, small};

    #[test]
    fn a_score_is_the_weight_without_its_sign() {
        let decoder = random(&small(), &Device::flex(), 8);
        let up = |id: MatrixId| id.projection == Projection::Up;
        let scorer = Magnitude.start(&decoder, &up).unwrap();
        assert_eq!(scorer.matrices().len(), small().layers());
        let scores = scorer.finish(&decoder, MatrixId::new(1, Projection::Up)).unwrap();
        let weights: Vec<f32> = decoder.layers[1].up.weight.to_data().iter().collect();
        assert!(weights.iter().any(|weight| *weight < 0.0));
        assert!(scores.iter().zip(&weights).all(|(score, weight)| *score == weight.abs()));
        assert_eq!(scores.len(), weights.len());
    }
}
