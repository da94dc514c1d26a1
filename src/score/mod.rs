//! Score methods: what number a weight gets from a data set.
//!
//! A method is one file and one line in [`METHODS`]. It sees samples and the decoder, and keeps the running sums that it
//! needs. Must not know: rank tables, where shards are kept, stages.

use std::ops::Range;

use crate::choice::{Choice, Member, choices};
use crate::error::Result;
use crate::model::decoder::Decoder;
use crate::model::decoder::sample::Sample;
use crate::model::matrix::MatrixId;

mod magnitude;
mod random;
mod snip;
mod wanda;

/// A way of scoring.
pub trait Method: Sync {
    /// The word in `score.method`.
    fn name(&self) -> &'static str;
    /// What its scores depend on.
    fn reads(&self) -> Reads;
    /// Whether it sums gradients, and can do so in groups of layers if memory is short. Then
    /// [`crate::model::decoder::memory_plan`] says what it takes.
    fn in_groups(&self) -> bool {
        false
    }
    /// Begins with nothing summed. `scored` says which matrices are scored.
    fn start(&self, decoder: &Decoder, scored: &dyn Fn(MatrixId) -> bool) -> Result<Box<dyn Scorer>>;
    /// The same in groups of layers, and in batches of at most so many tokens. The groups are given from the topmost down, and
    /// cover every scored matrix. The scores have the same bits as without groups.
    fn start_in_groups(
        &self,
        decoder: &Decoder,
        scored: &dyn Fn(MatrixId) -> bool,
        _: &[Range<usize>],
        _: usize,
    ) -> Result<Box<dyn Scorer>> {
        self.start(decoder, scored)
    }
}

choices! {
    /// What scoring publishes.
    #[derive(Default)]
    Keep {
        /// The best `score.cap` of each matrix.
        #[default]
        Ranks = "ranks",
        /// Also every score, from which rank tables of any cap can be made later.
        Full = "full",
    }
}

/// What a method's scores depend on, besides the names and shapes of the matrices. Nothing else may enter a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// The samples of the data set. If a method does not read them, all data sets have the same table.
    pub tokens: bool,
    /// The model's weights, in the number format that it computes in.
    pub weights: bool,
    /// `score.seed`
    pub seed: bool,
}

/// The running state of one method over one data set.
pub trait Scorer {
    /// The scored matrices, in the order of layers and of the forward pass.
    fn matrices(&self) -> Vec<MatrixId>;
    /// The matrices that each round finishes. A round goes once through all samples. The first round is already begun.
    fn rounds(&self) -> Vec<Vec<MatrixId>> {
        vec![self.matrices()]
    }
    /// Begins a round with nothing summed, either after the previous round or before a `restore`.
    fn begin(&mut self, _: &Decoder, _: usize) {}
    /// Gets `score.seed`, before any sample.
    fn seed(&mut self, _: u64) {}
    /// How many of the next samples are added at once. This must not change the result.
    fn group(&self, coming: &[Sample]) -> usize {
        coming.len()
    }
    /// Adds some samples. Not called if the method reads no data.
    fn add(&mut self, decoder: &Decoder, samples: &[Sample]) -> Result<()>;
    /// The state as bytes, from which `restore` continues with the same bits. `None` if starting again is quick.
    fn snapshot(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    /// Restores a snapshot. Returns false, and changes nothing, if the bytes do not fit.
    fn restore(&mut self, _: &[u8]) -> bool {
        false
    }
    /// The scores of one matrix of this round, row-major [out, in].
    fn finish(&self, decoder: &Decoder, id: MatrixId) -> Result<Vec<f32>>;
}

/// Every score method.
pub const METHODS: &[&dyn Method] = &[&magnitude::Magnitude, &random::Random, &snip::Snip, &wanda::Wanda];

/// The method where none is named.
pub const DEFAULT: Choice<dyn Method> = Choice(&snip::Snip);

impl Member for dyn Method {
    fn name(&self) -> &'static str {
        Method::name(self)
    }

    fn members() -> &'static [&'static Self] {
        METHODS
    }
}

/// The matrices that `scored` names, in the order of layers and of the forward pass.
fn matrices(decoder: &Decoder, scored: &dyn Fn(MatrixId) -> bool) -> Vec<MatrixId> {
    MatrixId::all(decoder.layers.len()).filter(|id| scored(*id)).collect()
}
