//! Keys and values of the slots that were read already, kept for the next token.
//!
//! Must not know: sampling, stopping.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::model::arch::config::DecoderConfig;

/// One layer's keys and values, [B, kv heads, slots, head size], filled from the left.
pub struct LayerCache {
    // `None` only while `extend` writes: Burn writes in place if it holds the only reference.
    k: Option<Tensor<4>>,
    v: Option<Tensor<4>>,
    filled: usize,
}

impl LayerCache {
    /// Empty caches of every layer for B sequences of at most `slots` tokens.
    pub fn for_model(
        config: &DecoderConfig,
        sequences: usize,
        slots: usize,
        device: &Device,
        dtype: DType,
    ) -> Vec<Self> {
        let empty = || Some(Tensor::zeros([sequences, config.kv_heads, slots, config.head_dim], (device, dtype)));
        (0..config.layers()).map(|_| Self { k: empty(), v: empty(), filled: 0 }).collect()
    }

    /// Writes the next T keys and values and returns all so far, [B, kv heads, filled, head size].
    pub fn extend(&mut self, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [b, heads, t, d] = k.dims();
        let range = [0..b, 0..heads, self.filled..self.filled + t, 0..d];
        self.filled += t;
        let write = |slot: &mut Option<Tensor<4>>, new: Tensor<4>| {
            let whole = match slot.take() {
                Some(whole) => whole.slice_assign(range.clone(), new),
                None => new,
            };
            let seen = whole.clone().narrow(2, 0, self.filled);
            *slot = Some(whole);
            seen
        };
        (write(&mut self.k, k), write(&mut self.v, v))
    }

    /// Keeps only some sequences, in the given order.
    pub fn keep(&mut self, rows: &[usize], device: &Device) {
        let rows: Vec<i64> = rows.iter().map(|row| i64::try_from(*row).unwrap_or(0)).collect();
        let count = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), device);
        for slot in [&mut self.k, &mut self.v] {
            *slot = slot.take().map(|whole| whole.select(0, rows.clone()));
        }
    }
}
