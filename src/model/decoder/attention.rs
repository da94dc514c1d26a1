//! Grouped-query attention of one layer, forward and backward: from normed hidden states to heads and back.
//!
//! B sequences, T queries and S keys each, N rows of samples end to end, n query heads in groups of g over n/g key heads, heads of
//! size d. What happens between heads is in [`crate::model::ops`]. Must not know: projections' scores, caches' sizes.

use burn::tensor::Tensor;

use crate::model::decoder::cache::LayerCache;
use crate::model::decoder::rows::{Packed, Part};
use crate::model::decoder::{Batch, Decoder, Layer};
use crate::model::ops::mask::Mask;

/// Queries, keys and values of sequences of one length, rotated to their positions.
pub struct Heads {
    /// [B, n, T, d]
    q: Tensor<4>,
    /// [B, n/g, T, d]
    k: Tensor<4>,
    v: Tensor<4>,
}

/// What the backward pass needs of a layer's attention.
pub struct Saved {
    /// Before the head norms; equal to the projections' outputs, [N, …]. Only kept where there are head norms.
    raw: Option<(Tensor<2>, Tensor<2>)>,
    /// By sample.
    heads: Vec<Heads>,
}

/// What the three projections make of N rows: q [N, n*d], k and v [N, n/g*d], after the head norms.
struct Projected {
    qkv: [Tensor<2>; 3],
    raw: Option<(Tensor<2>, Tensor<2>)>,
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

    /// Normed hidden states [N, hidden] through the three projections.
    fn projected(&self, layer: &Layer, normed: Tensor<2>) -> Projected {
        let (q, k) = (layer.q.forward(normed.clone()), layer.k.forward(normed.clone()));
        let v = layer.v.forward(normed);
        match &layer.qk_norm {
            Some((q_weight, k_weight)) => Projected {
                qkv: [self.head_norm(q.clone(), q_weight), self.head_norm(k.clone(), k_weight), v],
                raw: Some((q, k)),
            },
            None => Projected { qkv: [q, k, v], raw: None },
        }
    }

    /// Rows of B sequences of T as heads, rotated to their positions.
    fn heads(&self, [q, k, v]: [Tensor<2>; 3], batch: &Batch) -> Heads {
        let (n, kv, d) = (self.config.heads, self.config.kv_heads, self.config.head_dim);
        let turned = |x, heads| self.ops.rotate(split(x, batch, heads, d), &batch.angles, false);
        Heads { q: turned(q, n), k: turned(k, kv), v: split(v, batch, kv, d) }
    }

    /// The attention's output before the o projection, [B*T, n*d].
    fn attend(&self, Heads { q, k, v }: Heads, mask: &Mask) -> Tensor<2> {
        merge(self.ops.attend(q, k, v, mask, self.scale()))
    }

    /// Attention of one layer within each sample, before the o projection [N, n*d], and what backward needs of it.
    pub(in crate::model) fn attention_of_each(
        &self,
        layer: &Layer,
        normed: Tensor<2>,
        packed: &Packed<'_>,
    ) -> (Saved, Tensor<2>) {
        let Projected { qkv, raw } = self.projected(layer, normed);
        let each = |part: &Part| {
            let heads = self.heads(qkv.each_ref().map(|x| part.of(x)), &part.batch);
            let Heads { q, k, v } = &heads;
            let y = self.attend(Heads { q: q.clone(), k: k.clone(), v: v.clone() }, &part.batch.mask);
            (heads, y)
        };
        let (heads, attended): (Vec<_>, Vec<_>) = self.ops.map(&packed.parts, each).into_iter().unzip();
        (Saved { raw, heads }, packed.join(attended))
    }

    /// Attention of one layer for reading, through a cache where there is one.
    pub(in crate::model) fn attention(
        &self,
        layer: &Layer,
        normed: Tensor<2>,
        batch: &Batch,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<2> {
        let heads = self.heads(self.projected(layer, normed).qkv, batch);
        let heads = match cache {
            Some(cache) => {
                let (k, v) = cache.extend(heads.k, heads.v);
                Heads { q: heads.q, k, v }
            }
            None => heads,
        };
        self.attend(heads, &batch.mask)
    }

    /// (dL/dq, dL/dk, dL/dv) at the outputs of the three projections, each [N, …], given dL/d(output) of
    /// [`Decoder::attention_of_each`].
    pub(in crate::model) fn attention_backward(
        &self,
        layer: &Layer,
        Saved { raw, heads }: Saved,
        dout: &Tensor<2>,
        packed: &Packed<'_>,
    ) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let each = |(part, Heads { q, k, v }): (&Part, Heads)| {
            let batch = &part.batch;
            let dout = split(part.of(dout), batch, self.config.heads, self.config.head_dim);
            let (dq, dk, dv) = self.ops.attend_backward([q, k, v, dout], &batch.mask, self.scale());
            let back = |dx| merge(self.ops.rotate(dx, &batch.angles, true));
            [back(dq), back(dk), merge(dv)]
        };
        let mut pieces = [Vec::new(), Vec::new(), Vec::new()];
        for sample in self.ops.map(packed.parts.iter().zip(heads), each) {
            pieces.iter_mut().zip(sample).for_each(|(pieces, piece)| pieces.push(piece));
        }
        let [dq, dk, dv] = pieces.map(|pieces| packed.join(pieces));
        match (&layer.qk_norm, raw) {
            (Some((q_weight, k_weight)), Some((q, k))) => {
                (self.head_norm_backward(dq, q, q_weight), self.head_norm_backward(dk, k, k_weight), dv)
            }
            _ => (dq, dk, dv),
        }
    }
}
