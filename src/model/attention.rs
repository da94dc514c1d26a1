//! Grouped-query attention, forward and backward, without copying keys for their query heads.
//!
//! B sequences, T queries and S keys each, n query heads in groups of g over n/g key heads, heads of
//! size d. Probabilities are not kept for the backward pass but computed again: they are the only
//! quadratic memory of a layer. Must not know: projections' scores, caches' sizes.

use burn::tensor::Tensor;

use super::cache::LayerCache;
use super::decoder::{Batch, Decoder, Layer};
use super::mask::Mask;

/// Queries of one block. Part of the results' last bits, so a change raises the versions of the stages that read.
const BLOCK: usize = 256;

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

    /// Attention probabilities [B, n, T, S] of queries [B, n, T, d] over keys [B, n/g, S, d].
    fn probabilities(&self, q: &Tensor<4>, k: &Tensor<4>, mask: &Mask) -> Tensor<4> {
        let [b, n, t, d] = q.dims();
        let [_, kv, s, _] = k.dims();
        let scores = q.clone().reshape([b, kv, n / kv * t, d]).matmul(k.clone().swap_dims(2, 3));
        self.ops.softmax(scores.reshape([b, n, t, s]), mask, self.scale())
    }

    /// The attention's output before the o projection, [B*T, n*d]. Long sequences are read in blocks of queries, each
    /// against the keys up to its end: no more memory than a block needs, and no work for what the mask hides.
    pub(super) fn attend(&self, q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, mask: &Mask) -> Tensor<2> {
        let [_, _, t, _] = q.dims();
        let [_, _, s, _] = k.dims();
        let blocks = (0..t).step_by(BLOCK).map(|first| {
            let count = BLOCK.min(t - first);
            let seen = s - t + first + count;
            let (k, v) = (k.clone().narrow(2, 0, seen), v.clone().narrow(2, 0, seen));
            self.attend_block(&q.clone().narrow(2, first, count), &k, v, &mask.from(first))
        });
        merge(Tensor::cat(blocks.collect(), 2))
    }

    /// Attention of some queries over all given keys, [B, n, T, d].
    fn attend_block(&self, q: &Tensor<4>, k: &Tensor<4>, v: Tensor<4>, mask: &Mask) -> Tensor<4> {
        let [b, n, t, d] = q.dims();
        let [_, kv, s, _] = k.dims();
        let p = self.probabilities(q, k, mask).reshape([b, kv, n / kv * t, s]);
        p.matmul(v).reshape([b, n, t, d])
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
                self.attend(&q, &k, &v, &batch.mask)
            }
            None => self.attend(&q, &k, &v, &batch.mask),
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
        let [b, n, t, d] = q.dims();
        let kv = self.config.kv_heads;
        let grouped = [b, kv, n / kv * t, d];
        let square = [b, kv, n / kv * t, t];

        let p = self.probabilities(&q, &k, &batch.mask);
        let dout = split(dout, batch, n, d).reshape(grouped);
        let dv = p.clone().reshape(square).swap_dims(2, 3).matmul(dout.clone());
        let dp = dout.matmul(v.swap_dims(2, 3)).reshape([b, n, t, t]);
        let ds = self.ops.softmax_backward(p, dp, &batch.mask, self.scale()).reshape(square);
        let dq = ds.clone().matmul(k).reshape([b, n, t, d]);
        let dk = ds.swap_dims(2, 3).matmul(q.reshape(grouped));

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
