//! The element-wise operations of the decoder, forward and backward, in two forms.
//!
//! Matrix products are left to Burn on every device. What stands between them is the weak part of
//! the CPU backend (one pass over memory per tiny operation, on one thread), so each operation has
//! a fused, parallel loop for host memory ([`host`], [`attend`]) and a form in plain tensor operations for any
//! other device ([`backend`]). [`Ops`] chooses; the tests hold both forms against each other.
//!
//! Shapes: N rows are tokens of all sequences of a batch, B sequences, n heads, T queries, S keys,
//! d the size of a head. Must not know: checkpoints, stages.

mod attend;
mod backend;
mod host;
mod lanes;
pub(in crate::model) mod mask;
mod memory;
mod product;
pub(in crate::model) mod rope;

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::model::ops::mask::Mask;
use crate::model::ops::rope::Angles;

/// Which form of the element-wise operations to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// Fused loops over host memory: f32 on the CPU backend.
    Host,
    /// Plain tensor operations: every device and type.
    Backend,
}

/// What cross entropy gives: each sample's loss in nats and the gradient of their sum at the logits.
pub struct CrossEntropy {
    /// By sample, the mean over its rows of −log p(label).
    pub losses: Vec<f64>,
    /// Shape [rows, vocabulary].
    pub gradient: Tensor<2>,
}

/// The mean of each sample's rows.
fn means(rows: &[f64], counts: &[usize]) -> Vec<f64> {
    let mut rest = rows;
    let mean = |count: &usize| {
        let (mine, others) = rest.split_at(*count);
        rest = others;
        #[expect(clippy::cast_precision_loss, reason = "a token count")]
        let count = *count as f64;
        mine.iter().sum::<f64>() / count
    };
    counts.iter().map(mean).collect()
}

impl Ops {
    /// Host loops where the tensors lie in host memory as f32, plain operations elsewhere.
    pub fn of(device: &Device, dtype: DType) -> Self {
        if *device == Device::flex() && dtype == DType::F32 { Self::Host } else { Self::Backend }
    }

    /// Runs some work where its parallel loops start quickest. On the CPU that is a thread of the pool: from outside of it
    /// every loop would put its thread to sleep and be woken again, thousands of times a pass.
    pub fn run<R: Send>(self, work: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Host => rayon::scope(|_| work()),
            Self::Backend => work(),
        }
    }

    /// y = x / sqrt(mean(x²) + eps) * w over each row of x [N, H] (Zhang & Sennrich 2019).
    pub fn rms_norm(self, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
        match self {
            Self::Host => host::rms_norm(x, weight, eps),
            Self::Backend => backend::rms_norm(x, weight, eps),
        }
    }

    /// dL/dx of [`Ops::rms_norm`], given dL/dy [N, H]. The weight takes no gradient here.
    pub fn rms_norm_backward(self, dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
        match self {
            Self::Host => host::rms_norm_backward(dy, x, weight, eps),
            Self::Backend => backend::rms_norm_backward(dy, x, weight, eps),
        }
    }

    /// silu(gate) * up, element by element (SwiGLU, Shazeer 2020).
    pub fn swiglu(self, gate: &Tensor<2>, up: &Tensor<2>) -> Tensor<2> {
        match self {
            Self::Host => host::swiglu(gate.clone(), up.clone()),
            Self::Backend => backend::swiglu(gate.clone(), up.clone()),
        }
    }

    /// [y, dL/dgate, dL/dup] of [`Ops::swiglu`], given dL/dy: y is computed again, because its factors are at hand.
    pub fn swiglu_backward(self, dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> [Tensor<2>; 3] {
        match self {
            Self::Host => host::swiglu_backward(dy, gate, up),
            Self::Backend => backend::swiglu_backward(dy, gate, up),
        }
    }

    /// Rotates the two halves of every head of x [B, n, T, d] by the angles of its position, as Hugging
    /// Face's `rotate_half` does; `inverse` turns back, which is also the backward pass.
    pub fn rotate(self, x: Tensor<4>, angles: &Angles, inverse: bool) -> Tensor<4> {
        match self {
            Self::Host => host::rotate(x, angles, inverse),
            Self::Backend => backend::rotate(x, angles, inverse),
        }
    }

    /// Attention of queries q [B, n, T, d] over keys and values [B, n/g, S, d], of which the last T are the queries' own:
    /// softmax(scale * qkᵀ) v over what the mask lets each query see (Vaswani et al. 2017; groups, Ainslie et al. 2023).
    pub fn attend(self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Mask, scale: f64) -> Tensor<4> {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
            Self::Host => attend::attend(q, k, v, mask, scale as f32),
            Self::Backend => backend::attend(q, &k, &v, mask, scale),
        }
    }

    /// (dL/dq, dL/dk, dL/dv) of [`Ops::attend`] over whole sequences (S = T), given [q, k, v, dL/dy].
    pub fn attend_backward(self, qkvdy: [Tensor<4>; 4], mask: &Mask, scale: f64) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
            Self::Host => attend::attend_backward(qkvdy, mask, scale as f32),
            Self::Backend => backend::attend_backward(qkvdy, mask, scale),
        }
    }

    /// Cross entropy of logits [R, V] against R labels, and its gradient; `counts` are the rows of each sample.
    pub fn cross_entropy(self, logits: Tensor<2>, labels: &[u32], counts: &[usize]) -> CrossEntropy {
        match self {
            Self::Host => host::cross_entropy(logits, labels, counts),
            Self::Backend => backend::cross_entropy(logits, labels, counts),
        }
    }

    /// −log p(label) of each row of logits [R, V], in nats.
    pub fn negative_log_likelihood(self, logits: Tensor<2>, labels: &[u32]) -> Vec<f64> {
        match self {
            Self::Host => host::negative_log_likelihood(logits, labels),
            Self::Backend => backend::negative_log_likelihood(logits, labels),
        }
    }

    /// The index of the highest logit of each row of [R, V]; the lowest index among equals.
    pub fn argmax(self, logits: Tensor<2>) -> Vec<u32> {
        match self {
            Self::Host => host::argmax(logits),
            Self::Backend => backend::argmax(logits),
        }
    }

    /// acc + Σ|dyᵀx| over samples, one after another: the accumulation of their gradients. acc [out, in] in f32, dy [N, out],
    /// x [N, in]; `samples` are the rows of each.
    pub fn add_abs_gradients(
        self,
        acc: Tensor<2>,
        dy: &Tensor<2>,
        x: &Tensor<2>,
        samples: &[Range<usize>],
    ) -> Tensor<2> {
        match self {
            Self::Host => host::add_abs_gradients(acc, dy.clone(), x.clone(), samples),
            Self::Backend => samples.iter().fold(acc, |acc, rows| {
                let of = |x: &Tensor<2>| x.clone().narrow(0, rows.start, rows.len());
                acc + of(dy).transpose().matmul(of(x)).cast(DType::F32).abs()
            }),
        }
    }

    /// Some work for each of several samples: on the CPU side by side, elsewhere in their order.
    pub fn map<T: Send, R: Send>(
        self,
        samples: impl IntoIterator<Item = T>,
        work: impl Fn(T) -> R + Sync + Send,
    ) -> Vec<R> {
        match self {
            Self::Host => samples.into_iter().collect::<Vec<_>>().into_par_iter().map(work).collect(),
            Self::Backend => samples.into_iter().map(work).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
