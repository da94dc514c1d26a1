//! Grouped-query attention of one layer, forward and backward: from normed hidden states to heads and back.
//!
//! Shapes: N rows, n query heads in groups that share one of kv key heads, heads of size d. The arithmetic within heads is
//! in [`crate::model::ops`]. Must not know: how weights are scored, how large a cache is.

use burn::tensor::Tensor;

use super::Decoder;
use super::batch::Batch;
use super::cache::LayerCache;
use crate::error::Result;
use crate::model::ops::{Attention, Keys};

/// The activations of a layer's attention that its backward pass needs.
pub(in crate::model) struct Saved {
    /// Queries and keys before the head norms, [N, …]; only where there are head norms.
    raw: Option<[Tensor<2>; 2]>,
    /// Queries, keys and values, rotated to their positions: [N, n*d], [N, kv*d] twice.
    qkv: [Tensor<2>; 3],
}

impl Decoder {
    /// The attention of a layer, as its operations take it.
    fn attention_of(&self, layer: usize) -> Attention {
        Attention {
            heads: self.config.heads,
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim,
            scale: self.config.scale(),
            window: self.config.blocks[layer].window,
            cap: self.config.attention_cap,
        }
    }

    /// RMS norm over each head of x [N, heads*d].
    fn head_norm(&self, x: Tensor<2>, weight: &Tensor<1>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let size = self.config.head_dim;
        self.norm(x.reshape([rows * width / size, size]), weight).reshape([rows, width])
    }

    fn head_norm_backward(&self, dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let size = self.config.head_dim;
        let shape = [rows * width / size, size];
        self.norm_backward(dy.reshape(shape), x.reshape(shape), weight).reshape([rows, width])
    }

    /// Attention of one layer within each sequence, up to the input of the o projection, [N, n*d], and the activations for the
    /// backward pass. With a cache, a token also sees the keys of its sequence's earlier tokens, and the keys of the batch are
    /// added to the cache.
    pub(in crate::model) fn attention(
        &self,
        index: usize,
        normed: Tensor<2>,
        batch: &Batch,
        cache: Option<&mut LayerCache>,
    ) -> Result<(Saved, Tensor<2>)> {
        let (layer, angles) = (&self.layers[index], self.angles(index, batch)?);
        let [q, k, v] = self.linears(batch.products, normed, [&layer.q, &layer.k, &layer.v]);
        let (raw, q, k) = match &layer.qk_norm {
            Some((q_weight, k_weight)) => {
                let normed = (self.head_norm(q.clone(), q_weight), self.head_norm(k.clone(), k_weight));
                (Some([q, k]), normed.0, normed.1)
            }
            None => (None, q, k),
        };
        let (q, k) = (self.ops.rotate(q, angles, false), self.ops.rotate(k, angles, false));
        let keys = match cache.and_then(|cache| cache.extend(&k, &v, &batch.rows, self.ops)) {
            Some([k, v]) => Keys::Cache { k, v },
            None => Keys::Batch { k: &k, v: &v },
        };
        let attended = self.ops.attend(q.clone(), keys, &batch.rows, &self.attention_of(index));
        Ok((Saved { raw, qkv: [q, k, v] }, attended))
    }

    /// [dL/dq, dL/dk, dL/dv] at the outputs of the three projections, each [N, …], given dL/d(output) of
    /// [`Decoder::attention`].
    pub(in crate::model) fn attention_backward(
        &self,
        index: usize,
        Saved { raw, qkv: [q, k, v] }: Saved,
        dout: Tensor<2>,
        batch: &Batch,
    ) -> Result<[Tensor<2>; 3]> {
        let (layer, angles) = (&self.layers[index], self.angles(index, batch)?);
        let [dq, dk, dv] = self.ops.attend_backward([q, k, v, dout], &batch.rows, &self.attention_of(index));
        let (dq, dk) = (self.ops.rotate(dq, angles, true), self.ops.rotate(dk, angles, true));
        Ok(match (&layer.qk_norm, raw) {
            (Some((q_weight, k_weight)), Some([q, k])) => {
                [self.head_norm_backward(dq, q, q_weight), self.head_norm_backward(dk, k, k_weight), dv]
            }
            _ => [dq, dk, dv],
        })
    }
}
