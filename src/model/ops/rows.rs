//! The rows of a batch: sequences of any lengths end to end, one row for each token, without padding.
//!
//! Matrix products see rows, and do not know which sequence a row belongs to. Attention goes sequence by sequence. So the
//! sequences of a batch share the reading and packing of weights, and nothing is computed for padding.
//!
//! A row has the same bits whatever else is in its batch. There is one exception: the CPU backend's matrix products choose
//! other kernels for results with few rows. Scoring uses them, and [`Rows::join`] avoids the exception by adding rows of
//! zeros. Generation has products of its own ([`super::row_product`]) and needs no such rows. On a GPU, kernels are chosen
//! by size, so the last bits may differ. Must not know: layers, samples, prompts.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::model::arch::config::DecoderConfig;

/// The first tokens of a sequence, if their keys and values lie in other slots of the cache. Any number of sequences may begin
/// with the same tokens, which are then read and held once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The first of its slots, which lie side by side.
    pub slot: usize,
    /// How many of its tokens a slot holds.
    pub page: usize,
    pub tokens: usize,
}

/// Some tokens of one sequence, before they have rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece {
    pub tokens: usize,
    /// How many of the sequence's tokens were read before, those of the prefix included.
    pub first: usize,
    /// The sequence's place in a cache, where there is one.
    pub slot: usize,
    pub prefix: Option<Prefix>,
}

/// (tokens, first, slot)
impl From<(usize, usize, usize)> for Piece {
    fn from((tokens, first, slot): (usize, usize, usize)) -> Self {
        Self { tokens, first, slot, prefix: None }
    }
}

/// One sequence of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its rows in the batch.
    pub rows: Range<usize>,
    /// The position of its first row: how many of its tokens were read before.
    pub first: usize,
    /// Its place in a cache, where there is one.
    pub slot: usize,
    /// Where its first tokens are, if not there.
    pub prefix: Option<Prefix>,
}

impl Sequence {
    /// How many tokens of it are in the batch.
    pub fn tokens(&self) -> usize {
        self.rows.len()
    }

    /// Where the keys at some of its positions lie: (slot, positions in the slot, first position of them in the sequence).
    pub fn parts(&self, positions: Range<usize>) -> Vec<(usize, Range<usize>, usize)> {
        let mut parts = Vec::new();
        let mut at = positions.start;
        if let Some(Prefix { slot, page, tokens }) = self.prefix {
            while at < positions.end.min(tokens) {
                let (index, place) = (at / page, at % page);
                let count = (page - place).min(positions.end.min(tokens) - at);
                parts.push((slot + index, place..place + count, at));
                at += count;
            }
        }
        let shared = self.prefix.map_or(0, |prefix| prefix.tokens);
        if at < positions.end {
            parts.push((self.slot, at - shared..positions.end - shared, at));
        }
        parts
    }

    /// How many keys its last token sees, without a window.
    pub fn keys(&self) -> usize {
        self.first + self.tokens()
    }

    /// Its rows of x [N, width].
    pub fn of(&self, x: &Tensor<2>) -> Tensor<2> {
        if self.rows == (0..x.dims()[0]) { x.clone() } else { x.clone().narrow(0, self.rows.start, self.rows.len()) }
    }
}

/// With this many rows or more, the CPU backend's products with a result of this width add in the same order. It multiplies
/// with `gemm`, which uses other kernels for results of one row or of at most 256 values, and blocks of another depth for
/// results within 64 by 64.
pub fn least_rows_of(width: usize) -> usize {
    if width > 64 { 4 } else { 65 }
}

/// With this many rows or more, every product of the backend that this decoder needs adds in the same order.
pub fn least_rows(config: &DecoderConfig) -> usize {
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let widths = [config.hidden_size, config.intermediate_size, config.vocab_size, q, kv];
    widths.into_iter().map(least_rows_of).max().unwrap_or(0)
}

/// Which rows of a batch belong to which sequence.
#[derive(Clone, Debug)]
pub struct Rows {
    pub sequences: Vec<Sequence>,
    least: usize,
}

impl Rows {
    /// Rows for a piece of every sequence. A batch has at least `least` rows. Rows that belong to no sequence come last.
    pub fn new(sequences: impl IntoIterator<Item: Into<Piece>>, least: usize) -> Self {
        let mut end = 0;
        let mut place = |piece: Piece| {
            let start = end;
            end += piece.tokens;
            Sequence { rows: start..end, first: piece.first, slot: piece.slot, prefix: piece.prefix }
        };
        Self { sequences: sequences.into_iter().map(|piece| place(piece.into())).collect(), least }
    }

    /// Rows for whole sequences of these lengths.
    pub fn whole(tokens: impl IntoIterator<Item = usize>, least: usize) -> Self {
        Self::new(tokens.into_iter().map(|tokens| (tokens, 0, 0)), least)
    }

    /// How many rows belong to sequences.
    pub fn used(&self) -> usize {
        self.sequences.last().map_or(0, |last| last.rows.end)
    }

    /// N: how many rows the batch has.
    pub fn count(&self) -> usize {
        self.used().max(self.least)
    }

    /// The position of every row; 0 for rows of no sequence.
    pub fn positions(&self) -> Vec<usize> {
        let of = |sequence: &Sequence| sequence.first..sequence.keys();
        let mut positions: Vec<usize> = self.sequences.iter().flat_map(of).collect();
        positions.resize(self.count(), 0);
        positions
    }

    /// Concatenates pieces [.., width]. If they have fewer than `least` rows together, rows of zeros are added, so that a
    /// sequence alone in a batch uses the same kernels as one among many.
    pub fn join(&self, mut pieces: Vec<Tensor<2>>) -> Tensor<2> {
        let rows: usize = pieces.iter().map(|piece| piece.dims()[0]).sum();
        if let Some(first) = pieces.first()
            && rows < self.least
        {
            let like = (&first.device(), first.dtype());
            pieces.push(Tensor::zeros([self.least - rows, first.dims()[1]], like));
        }
        match pieces.len() {
            1 => pieces.swap_remove(0),
            _ => Tensor::cat(pieces, 0),
        }
    }

    /// Every sequence's rows of x [N, width].
    pub fn split<'x>(&self, x: &'x Tensor<2>) -> impl Iterator<Item = Tensor<2>> + use<'_, 'x> {
        self.sequences.iter().map(|sequence| sequence.of(x))
    }

    /// The rows of x [N, width] that belong to sequences.
    pub fn without_rest(&self, x: &Tensor<2>) -> Tensor<2> {
        if self.used() == x.dims()[0] { x.clone() } else { x.clone().narrow(0, 0, self.used()) }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::testing::small;

    #[test]
    fn sequences_lie_end_to_end_and_know_their_positions() {
        let rows = Rows::new([(3, 0, 1), (1, 7, 0)], 6);
        let [prompt, step] = &rows.sequences[..] else { panic!("two sequences") };
        assert_eq!((prompt.rows.clone(), step.rows.clone(), step.keys()), (0..3, 3..4, 8));
        assert_eq!((rows.used(), rows.count()), (4, 6));
        assert_eq!(rows.positions(), [0, 1, 2, 7, 0, 0]);
    }

    #[test]
    fn a_batch_never_has_so_few_rows_that_another_kernel_takes_it() {
        let rows = Rows::whole([3], least_rows(&small()));
        let ones = |count: usize| Tensor::<2>::ones([count, 3], &Device::flex());
        let few = rows.join(vec![ones(2), ones(1)]);
        assert_eq!(few.dims(), [65, 3], "the decoder's matrices are narrow");
        assert_eq!(few.to_data().iter::<f32>().sum::<f32>(), 9.0, "zeros behind");
        assert_eq!(rows.join(vec![ones(70)]).dims(), [70, 3]);
        let wide = DecoderConfig { hidden_size: 256, intermediate_size: 512, vocab_size: 100, head_dim: 64, ..small() };
        assert_eq!((least_rows(&wide), least_rows(&DecoderConfig { kv_heads: 1, ..wide.clone() })), (4, 65));
    }
}
