//! Keys and values of the tokens that were read already, kept for the next one.
//!
//! A cache has slots, one for each sequence that is being read. A sequence that has ended leaves its slot to another.
//! Must not know: sampling, stopping.

use burn::tensor::{DType, Device, Tensor};

use crate::model::arch::config::DecoderConfig;
use crate::model::ops::Ops;
use crate::model::ops::rows::Rows;

/// One layer's keys and values, [slots, kv heads, positions, head size] each; zeros where nothing was read yet.
pub struct LayerCache {
    // `None` only while they are written: memory is written in place if there is only one reference to it.
    keys_values: Option<[Tensor<4>; 2]>,
}

impl LayerCache {
    /// Empty caches of every layer for so many sequences of at most `positions` tokens.
    pub fn for_model(
        config: &DecoderConfig,
        slots: usize,
        positions: usize,
        device: &Device,
        dtype: DType,
    ) -> Vec<Self> {
        let empty = || Tensor::zeros([slots, config.kv_heads, positions, config.head_dim], (device, dtype));
        (0..config.layers()).map(|_| Self { keys_values: Some([empty(), empty()]) }).collect()
    }

    /// Writes the keys and values of a batch behind those of its sequences, and shows all of them.
    pub fn extend(&mut self, k: &Tensor<2>, v: &Tensor<2>, rows: &Rows, ops: &dyn Ops) -> Option<&[Tensor<4>; 2]> {
        if let Some([keys, values]) = self.keys_values.take() {
            let written = [ops.store(keys, k.clone(), rows), ops.store(values, v.clone(), rows)];
            self.keys_values = Some(written);
        }
        self.keys_values.as_ref()
    }
}
