//! Σ over samples of |dyᵀx| for every scored matrix: the sums from which SNIP scores are made.
//!
//! The absolute value is taken for each sample, before the sum, in f32 (Lee et al. 2019). The released DEAN code does the
//! same in bf16, and loses small increments. The sums can be saved and restored between any two batches, so that a killed
//! run continues with the same bits.
//! Must not know: where snapshots are kept.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::Decoder;
use super::tap::Tap;
use crate::error::{Error, Result};
use crate::model::matrix::MatrixId;
use crate::model::ops::rows::Rows;
use crate::model::ops::{self, Ops};

/// The running sums of a model's scored matrices, [out, in] each.
pub struct GradientSums {
    sums: BTreeMap<MatrixId, Option<Tensor<2>>>,
    ops: &'static dyn Ops,
    device: Device,
    /// The rows of each sample in the present batch.
    rows: Vec<Range<usize>>,
}

impl GradientSums {
    /// Zeros for the matrices that `scored` names.
    pub fn new(decoder: &Decoder, scored: impl Fn(MatrixId) -> bool) -> Self {
        let zeros = |id| Some(Tensor::zeros(decoder.linear(id).weight.dims(), (&decoder.device, DType::F32)));
        let wanted = MatrixId::all(decoder.layers.len()).filter(|id| scored(*id));
        let sums = wanted.map(|id| (id, zeros(id))).collect();
        Self { sums, ops: ops::of(&decoder.device, DType::F32), device: decoder.device.clone(), rows: Vec::new() }
    }

    /// Announces the next batch: how many tokens each of its samples has, in their order.
    pub fn expect(&mut self, inputs: impl IntoIterator<Item = usize>) {
        self.rows = Rows::whole(inputs, 0).sequences.into_iter().map(|sequence| sequence.rows).collect();
    }

    /// The scored matrices, in the order of layers and of the forward pass.
    pub fn matrices(&self) -> impl Iterator<Item = MatrixId> + '_ {
        self.sums.keys().copied()
    }

    /// The sums of one matrix, row-major [out, in].
    pub fn values(&self, id: MatrixId) -> Result<Vec<f32>> {
        let sum = self.sums.get(&id).and_then(Option::as_ref);
        let sum = sum.ok_or_else(|| Error::fault(format!("{} was not scored", id.weight())))?;
        sum.try_to_vec_as::<f32>()
            .map_err(|error| Error::fault(format!("the device did not give its sums back: {error}")))
    }

    /// The length of [`GradientSums::snapshot`] in bytes.
    pub fn snapshot_len(&self) -> usize {
        let count = |sum: &Option<Tensor<2>>| sum.as_ref().map_or(0, |sum| sum.dims().iter().product::<usize>());
        self.sums.values().map(count).sum::<usize>() * 4
    }

    /// Appends all sums as little-endian f32, matrix after matrix.
    ///
    /// # Errors
    /// If the device does not give them back.
    pub fn snapshot(&self, bytes: &mut Vec<u8>) -> Result<()> {
        for id in self.matrices() {
            bytes.extend(self.values(id)?.iter().flat_map(|value| value.to_le_bytes()));
        }
        Ok(())
    }

    /// Restores a snapshot. Returns false, and changes nothing, if its size does not fit.
    pub fn restore(&mut self, bytes: &[u8]) -> bool {
        if self.snapshot_len() != bytes.len() {
            return false;
        }
        let mut rest = bytes;
        for sum in self.sums.values_mut() {
            let Some(shape) = sum.as_ref().map(Tensor::dims) else { continue };
            let (mine, others) = rest.split_at(shape[0] * shape[1] * 4);
            rest = others;
            let values: Vec<f32> = mine.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
            *sum = Some(Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F32)));
        }
        true
    }
}

impl Tap for GradientSums {
    fn wants(&self, id: MatrixId) -> bool {
        self.sums.contains_key(&id)
    }

    fn gradient(&mut self, id: MatrixId, dy: &Tensor<2>, x: &Tensor<2>) {
        if let Some(slot) = self.sums.get_mut(&id)
            && let Some(sum) = slot.take()
        {
            *slot = Some(self.ops.add_abs_gradients(sum, dy, x, &self.rows));
        }
    }
}
