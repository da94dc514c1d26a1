//! The keys and values of tokens that were read already. Later tokens of the same sequence attend to them.
//!
//! A cache has slots, one for each sequence that is being read. A sequence that has ended leaves its slot to another.
//! Must not know: sampling, stopping.

use burn::tensor::{DType, Device, Tensor};

use crate::model::arch::config::DecoderConfig;
use crate::model::ops::Ops;
use crate::model::ops::rows::Rows;

/// One layer's keys and values, each [slots, kv heads, positions, head size]. Positions that were not read yet are zero.
pub struct LayerCache {
    // Taken out while it is written, because memory is only written in place if there is one reference to it.
    keys_values: Option<[Tensor<4>; 2]>,
}

impl LayerCache {
    /// An empty cache for every layer, with room for `slots` sequences of at most `positions` tokens.
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

    /// Appends the keys and values [N, kv*d] of a batch to those of its sequences, and returns all keys and values.
    pub fn extend(&mut self, k: &Tensor<2>, v: &Tensor<2>, rows: &Rows, ops: &dyn Ops) -> Option<&[Tensor<4>; 2]> {
        if let Some([keys, values]) = self.keys_values.take() {
            let written = [ops.store(keys, k.clone(), rows), ops.store(values, v.clone(), rows)];
            self.keys_values = Some(written);
        }
        self.keys_values.as_ref()
    }
}
