//! Samples laid end to end: the rows of one batch of the scoring pass, without padding.
//!
//! Every product of the pass treats its rows alone, except attention, which goes sample by sample, and
//! the gradients, which are one sample's by definition. So samples share the reading and packing
//! of weights, which is most of what a short sample costs, and nothing is computed for padding.
//! The results have the same bits however samples are packed: what a row comes to does not
//! depend on the others, with one exception that [`Packed::join`] takes care of. (On a GPU, where kernels
//! are chosen by size, the last bits may differ.) Must not know: layers, scores, memory.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::model::arch::config::DecoderConfig;
use crate::model::decoder::backward::Sample;
use crate::model::decoder::{Batch, Decoder};

/// How many of the coming samples share a batch of `tokens`: as many as fit, in their order, and one at least. `inputs`
/// are the samples' tokens.
pub fn together(inputs: impl IntoIterator<Item = usize>, tokens: usize) -> usize {
    let mut sum: usize = 0;
    let fit = inputs.into_iter().take_while(|inputs| {
        sum = sum.saturating_add(*inputs);
        sum <= tokens
    });
    fit.count().max(1)
}

/// The fewest rows from which every product of this decoder adds in one order. `gemm`, with which the CPU backend
/// multiplies, takes other kernels for results of one row or of 256 values and fewer, and blocks of another depth for
/// results within 64 by 64.
fn least_rows(config: &DecoderConfig) -> usize {
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let widths = [config.hidden_size, config.intermediate_size, config.vocab_size, q, kv];
    if widths.into_iter().all(|width| width > 64) { 4 } else { 65 }
}

/// Some samples as one batch.
pub struct Packed<'a> {
    pub samples: &'a [Sample],
    /// Where each one lies.
    pub parts: Vec<Part>,
    least_rows: usize,
}

/// One sample of a batch.
pub struct Part {
    /// Its rows in the batch.
    pub rows: Range<usize>,
    /// Its own geometry: one sequence.
    pub batch: Batch,
}

impl Part {
    /// The sample's rows of x [N, width].
    pub fn of(&self, x: &Tensor<2>) -> Tensor<2> {
        if self.rows == (0..x.dims()[0]) { x.clone() } else { x.clone().narrow(0, self.rows.start, self.rows.len()) }
    }
}

impl<'a> Packed<'a> {
    /// # Errors
    /// A sample without a response token.
    pub fn new(decoder: &Decoder, samples: &'a [Sample]) -> Result<Self> {
        if let Some(index) = samples.iter().position(|sample| sample.labels().is_empty()) {
            return Err(Error::user(format!("sample {index} has no response token to predict"))
                .hint("every response must have at least one token, and a prompt before it"));
        }
        let parts = rows(samples.iter().map(Sample::inputs))
            .map(|rows| Part { batch: decoder.batch(vec![0], 0, rows.len()), rows })
            .collect();
        Ok(Self { samples, parts, least_rows: least_rows(&decoder.config) })
    }

    /// The input of layer 0, [N, hidden].
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn embedded(&self, decoder: &Decoder) -> Result<Tensor<2>> {
        let ids = |sample: &'a Sample| &sample.ids[..sample.inputs()];
        let ids: Vec<u32> = self.samples.iter().flat_map(ids).copied().collect();
        Ok(self.join(vec![decoder.embed(&ids)?]))
    }

    /// Pieces [.., width] one behind another. Where they are few rows, rows of zeros follow that belong to no sample, so that a
    /// sample that travels alone meets the same kernels as in company.
    pub fn join(&self, mut pieces: Vec<Tensor<2>>) -> Tensor<2> {
        let rows: usize = pieces.iter().map(|piece| piece.dims()[0]).sum();
        if let Some(first) = pieces.first()
            && rows < self.least_rows
        {
            let like = (&first.device(), first.dtype());
            pieces.push(Tensor::zeros([self.least_rows - rows, first.dims()[1]], like));
        }
        match pieces.len() {
            1 => pieces.swap_remove(0),
            _ => Tensor::cat(pieces, 0),
        }
    }

    /// Every sample's rows of x [N, width].
    pub fn split<'x>(&self, x: &'x Tensor<2>) -> impl Iterator<Item = Tensor<2>> + use<'_, 'a, 'x> {
        self.parts.iter().map(|part| part.of(x))
    }
}

/// The rows of samples of so many tokens, one behind another.
pub fn rows(inputs: impl IntoIterator<Item = usize>) -> impl Iterator<Item = Range<usize>> {
    inputs.into_iter().scan(0, |end, inputs| {
        let first = *end;
        *end += inputs;
        Some(first..*end)
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::testing::{random, sample, small};

    #[test]
    fn as_many_samples_as_fit_and_one_at_least() {
        assert_eq!(together([5, 5, 5], 10), 2);
        assert_eq!(together([5, 5, 5], 9), 1);
        assert_eq!(together([5, 5, 5], 0), 1, "no budget: one by one");
        assert_eq!(together([50, 1], 10), 1, "a long one travels alone");
        assert_eq!(together([1, usize::MAX, 1], 10), 1, "no overflow");
        assert_eq!(together([5, 5], 100), 2);
    }

    #[test]
    fn a_batch_never_has_so_few_rows_that_another_kernel_takes_it() {
        let decoder = random(&small(), &Device::flex(), 1);
        let samples = [sample(&small(), 3, 1, 0)];
        let packed = Packed::new(&decoder, &samples).unwrap();
        let rows = |rows: usize| Tensor::<2>::ones([rows, 3], &Device::flex());
        let few = packed.join(vec![rows(2), rows(1)]);
        assert_eq!(few.dims(), [65, 3], "its matrices are narrow");
        assert_eq!(few.to_data().iter::<f32>().sum::<f32>(), 9.0, "zeros behind");
        assert_eq!(packed.join(vec![rows(70)]).dims(), [70, 3]);
        let wide = DecoderConfig { hidden_size: 256, intermediate_size: 512, vocab_size: 100, head_dim: 64, ..small() };
        assert_eq!((least_rows(&wide), least_rows(&DecoderConfig { kv_heads: 1, ..wide.clone() })), (4, 65));
    }
}
