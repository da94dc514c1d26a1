//! Grouped-query attention of one layer, forward and backward: from normed hidden states to heads and back.
//!
//! B sequences, T queries and S keys each, n query heads in groups of g over n/g key heads, heads of
//! size d. What happens between heads is in [`super::ops`]. Must not know: projections' scores, caches' sizes.

use burn::tensor::Tensor;

use super::cache::LayerCache;
use super::decoder::{Batch, Decoder, Layer};
use super::mask::Mask;

/// What the backward pass needs of a layer's attention.
pub struct Saved {
    /// Before the head norms; equal to the projections' outputs. Only kept where there are head norms.
    pub raw: Option<(Tensor<2>, Tensor<2>)>,
    /// Rotated, [B, n, T, d].
    pub q: Tensor<4>,
    /// Rotated, [B, n/g, T, d].
    pub k: Tensor<4>,
    pub v: Tensor<4>,
}

/// [B*T, n*d] to [B, n, T, d].
fn split(x: Tensor<2>, batch: &Batch, heads: usize, size: usize) -> Tensor<4> {
    x.reshape([batch.sequences, batch.tokens, heads, size]).swap_dims(1, 2)
}

/// [B, n, T, d] to [B*T, n*d].
fn merge(x: Tensor<4>) -> Tensor<2> {
    let [b, n, t, d] = x.dims();
    x.swap_dims(1, 2).reshape([b * t, n * d])
}

impl Decoder {
    fn scale(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a head's size")]
        let size = self.config.head_dim as f64;
        size.sqrt().recip()
    }

    /// RMS norm over each head of x [B*T, heads*d].
    fn head_norm(&self, x: Tensor<2>, weight: &Tensor<1>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let size = self.config.head_dim;
        let heads = x.reshape([rows * width / size, size]);
        self.ops.rms_norm(heads, weight, self.config.norm_eps).reshape([rows, width])
    }

    fn head_norm_backward(&self, dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let size = self.config.head_dim;
        let shape = [rows * width / size, size];
        self.ops
            .rms_norm_backward(dy.reshape(shape), x.reshape(shape), weight, self.config.norm_eps)
            .reshape([rows, width])
    }

    /// Queries, keys and values of normed hidden states [B*T, hidden], rotated to their positions.
    pub(super) fn heads(&self, layer: &Layer, normed: Tensor<2>, batch: &Batch) -> Saved {
        let (n, kv, d) = (self.config.heads, self.config.kv_heads, self.config.head_dim);
        let (q, k) = (layer.q.forward(normed.clone()), layer.k.forward(normed.clone()));
        let v = split(layer.v.forward(normed), batch, kv, d);
        let (q_normed, k_normed, raw) = match &layer.qk_norm {
            Some((q_weight, k_weight)) => {
                (self.head_norm(q.clone(), q_weight), self.head_norm(k.clone(), k_weight), Some((q, k)))
            }
            None => (q, k, None),
        };
        let q = self.ops.rotate(split(q_normed, batch, n, d), &batch.angles, false);
        let k = self.ops.rotate(split(k_normed, batch, kv, d), &batch.angles, false);
        Saved { raw, q, k, v }
    }

    /// The attention's output before the o projection, [B*T, n*d].
    pub(super) fn attend(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Mask) -> Tensor<2> {
        merge(self.ops.attend(q, k, v, mask, self.scale()))
    }

    /// Attention of one layer for reading, through a cache where there is one.
    pub(super) fn attention(
        &self,
        layer: &Layer,
        normed: Tensor<2>,
        batch: &Batch,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<2> {
        let Saved { q, k, v, .. } = self.heads(layer, normed, batch);
        match cache {
            Some(cache) => {
                let (k, v) = cache.extend(k, v);
                self.attend(q, k, v, &batch.mask)
            }
            None => self.attend(q, k, v, &batch.mask),
        }
    }

    /// (dL/dq, dL/dk, dL/dv) at the outputs of the three projections, each [B*T, …], given dL/d(output) of
    /// [`Decoder::attend`].
    pub(super) fn attention_backward(
        &self,
        layer: &Layer,
        saved: Saved,
        dout: Tensor<2>,
        batch: &Batch,
    ) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let Saved { raw, q, k, v } = saved;
        let dout = split(dout, batch, self.config.heads, self.config.head_dim);
        let (dq, dk, dv) = self.ops.attend_backward([q, k, v, dout], &batch.mask, self.scale());
        let dq = merge(self.ops.rotate(dq, &batch.angles, true));
        let dk = merge(self.ops.rotate(dk, &batch.angles, true));
        let (dq, dk) = match (&layer.qk_norm, raw) {
            (Some((q_weight, k_weight)), Some((q, k))) => {
                (self.head_norm_backward(dq, q, q_weight), self.head_norm_backward(dk, k, k_weight))
            }
            _ => (dq, dk),
        };
        (dq, dk, merge(dv))
    }
}
