//! How far the next tokens of one decoder are from those of another, where both read the same text.
//!
//! The other decoder is known by the outputs of its last layer, which are small: the logits of both follow from them, because
//! decoders that differ in weights of layers only share the final norm and the head. Must not know: questions, patches, files.

use burn::tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;

use super::Decoder;
use super::sample::Sample;
use crate::error::{Error, Result};
use crate::model::ops;
use crate::model::ops::rows::{Rows, least_rows};

/// Rows of logits that are compared at once. With a vocabulary of 150,000 entries those of both decoders take 80 MB.
const ROWS: usize = 64;

impl Decoder {
    /// The last layer's outputs from which the labels of some samples are predicted: a row for each label, [labels, hidden],
    /// sample after sample.
    ///
    /// # Errors
    /// A sample without a token before its labels, a token outside the vocabulary.
    pub fn predicting(&self, samples: &[&Sample]) -> Result<Vec<f32>> {
        ops::run(self.ops, || {
            let read: Vec<&[u32]> = samples.iter().map(|sample| &sample.ids[..sample.inputs()]).collect();
            let (batch, x) = self.read(&read)?;
            let rows = batch.rows.split(&x).zip(samples).map(|(x, sample)| {
                let labels = sample.labels().len();
                let before = x.dims()[0].checked_sub(labels);
                let before = before.ok_or_else(|| Error::fault("a sample has no token before its first label"))?;
                Ok(x.narrow(0, before, labels))
            });
            host(Tensor::cat(rows.collect::<Result<_>>()?, 0))
        })
    }

    /// Σ p (log p − log q) over the vocabulary, in nats, for each row of two lists of [`Decoder::predicting`]: p is what the
    /// first predicts, q the second (Kullback & Leibler 1951). It is exactly 0 where both are equal. Where q is no
    /// distribution, because a logit is not a number, neither is the result.
    ///
    /// # Errors
    /// Lists that are not rows of this decoder, or not as many.
    pub fn divergences(&self, first: &[f32], second: &[f32]) -> Result<Vec<f64>> {
        let hidden = self.config.hidden_size;
        if first.len() != second.len() || !first.len().is_multiple_of(hidden) {
            return Err(Error::fault(format!(
                "{} and {} values are not equally many rows of {hidden}",
                first.len(),
                second.len()
            )));
        }
        ops::run(self.ops, || {
            let mut found = Vec::with_capacity(first.len() / hidden);
            for (first, second) in first.chunks(ROWS * hidden).zip(second.chunks(ROWS * hidden)) {
                let (first, second) = (self.logits_of(first)?, self.logits_of(second)?);
                let vocabulary = self.config.vocab_size;
                let rows = first.par_chunks(vocabulary).zip(second.par_chunks(vocabulary));
                found.par_extend(rows.map(|(first, second)| divergence(first, second)));
            }
            Ok(found)
        })
    }

    /// Logits [R, vocabulary] of outputs [R, hidden] of the last layer.
    fn logits_of(&self, outputs: &[f32]) -> Result<Vec<f32>> {
        let hidden = self.config.hidden_size;
        let count = outputs.len() / hidden;
        let x = Tensor::from_data(TensorData::new(outputs.to_vec(), [count, hidden]), (&self.device, self.dtype));
        let rows = Rows::whole([count], least_rows(&self.config)).join(vec![x]);
        host(self.logits(rows).narrow(0, 0, count))
    }
}

fn host(x: Tensor<2>) -> Result<Vec<f32>> {
    let values = x.cast(DType::F32).try_to_vec_as::<f32>();
    values.map_err(|error| Error::fault(format!("the device did not give activations back: {error}")))
}

/// Of two rows of logits. Sums are in f64, so that rounding does not hide what is small.
fn divergence(first: &[f32], second: &[f32]) -> f64 {
    let (first_sum, second_sum) = (log_sum_exp(first), log_sum_exp(second));
    let terms = first.iter().zip(second).map(|(first, second)| {
        let (first, second) = (f64::from(*first) - first_sum, f64::from(*second) - second_sum);
        let p = first.exp();
        // What the first holds impossible adds nothing, whatever the second says of it.
        if p == 0.0 && !second.is_nan() { 0.0 } else { p * (first - second) }
    });
    let sum: f64 = terms.sum();
    // Rounding may leave a tiny negative number where both are nearly equal.
    if sum < 0.0 { 0.0 } else { sum }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let high = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    high + logits.iter().map(|logit| (f64::from(*logit) - high).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::decoder::edit::Edit;
    use crate::model::matrix::{MatrixId, Projection};
    use crate::model::testing::{kinds, random, sample};

    fn edited(decoder: &Decoder, weights: u32) -> Decoder {
        let id = MatrixId::new(0, Projection::Down);
        decoder.edited(&[Edit { id, values: (0..weights).map(|index| (index * 3, 0.0)).collect() }]).unwrap()
    }

    #[test]
    fn a_row_is_the_sum_over_the_vocabulary_of_what_whole_passes_predict() {
        for config in kinds() {
            let base = random(&config, &Device::flex(), 3);
            let other = edited(&base, 20);
            let samples = [sample(&config, 9, 5, 0), sample(&config, 4, 2, 1), sample(&config, 12, 1, 2)];
            let samples: Vec<&Sample> = samples.iter().collect();
            let outputs = [&base, &other].map(|decoder| decoder.predicting(&samples).unwrap());
            let found = base.divergences(&outputs[0], &outputs[1]).unwrap();

            // Each sample alone, with all of its logits, in f64.
            let logits = |decoder: &Decoder, sample: &Sample| -> Vec<Vec<f64>> {
                let (batch, x) = decoder.read(&[&sample.ids[..sample.inputs()]]).unwrap();
                let logits = decoder.logits(batch.rows.without_rest(&x)).try_to_vec_as::<f32>().unwrap();
                let rows = logits.chunks(config.vocab_size).map(|row| row.iter().map(|x| f64::from(*x)).collect());
                rows.skip(sample.response - 1).take(sample.labels().len()).collect()
            };
            let softmax = |row: &[f64]| -> Vec<f64> {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(|x| x.exp() / sum).collect()
            };
            let expected: Vec<f64> = samples
                .iter()
                .flat_map(|sample| logits(&base, sample).into_iter().zip(logits(&other, sample)))
                .map(|(p, q)| softmax(&p).iter().zip(softmax(&q)).map(|(p, q)| p * (p / q).ln()).sum())
                .collect();
            assert_eq!(found.len(), expected.len());
            assert!(expected.iter().any(|sum| *sum > 1e-5), "{expected:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-5 * expected.max(0.1), "{found} {expected}");
            }
        }
    }

    #[test]
    fn nothing_changed_is_exactly_nothing() {
        for config in kinds() {
            let base = random(&config, &Device::flex(), 4);
            let same = edited(&base, 0);
            let samples: Vec<Sample> = (0..7).map(|salt| sample(&config, 6 + salt, 3, salt)).collect();
            let samples: Vec<&Sample> = samples.iter().collect();
            let (before, after) = (base.predicting(&samples).unwrap(), same.predicting(&samples).unwrap());
            assert!(same.divergences(&before, &after).unwrap().iter().all(|sum| *sum == 0.0));
            // Nor does it matter what shares the batch.
            let alone: Vec<f32> = samples.iter().flat_map(|sample| same.predicting(&[sample]).unwrap()).collect();
            assert_eq!(before, alone);
        }
    }

    #[test]
    fn what_is_impossible_or_no_number_is_told() {
        let infinity = f32::NEG_INFINITY;
        assert_eq!(divergence(&[0.0, infinity], &[1.0, infinity]), 0.0);
        assert_eq!(divergence(&[0.0, infinity], &[0.0, 0.0]), 2.0_f64.ln());
        assert_eq!(divergence(&[0.0, 0.0], &[0.0, infinity]), f64::INFINITY);
        assert!(divergence(&[0.0, 0.0], &[f32::NAN, 0.0]).is_nan());
        let decoder = random(&kinds()[2], &Device::flex(), 5);
        assert!(
            decoder.divergences(&[0.0; 16], &[0.0; 32]).is_err() && decoder.divergences(&[0.0; 3], &[0.0; 3]).is_err()
        );
    }
}
