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
mod memory;
mod product;

use burn::tensor::{DType, Device, Tensor};

use super::mask::Mask;
use super::rope::Angles;

/// Which form of the element-wise operations to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// Fused loops over host memory: f32 on the CPU backend.
    Host,
    /// Plain tensor operations: every device and type.
    Backend,
}

/// What a sample's cross entropy gives: its loss in nats and the gradient at the logits.
pub struct CrossEntropy {
    /// Sum over the rows of −log p(label), divided by the divisor.
    pub loss: f64,
    /// Shape [rows, vocabulary].
    pub gradient: Tensor<2>,
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

    /// (dL/dgate, dL/dup) of [`Ops::swiglu`], given dL/dy.
    pub fn swiglu_backward(self, dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
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

    /// Cross entropy of logits [R, V] against R labels, and its gradient.
    pub fn cross_entropy(self, logits: Tensor<2>, labels: &[u32], divisor: f64) -> CrossEntropy {
        match self {
            Self::Host => host::cross_entropy(logits, labels, divisor),
            Self::Backend => backend::cross_entropy(logits, labels, divisor),
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

    /// acc + |dyᵀx|, the accumulation of one sample's gradient; acc [out, in] in f32, dy [T, out], x [T, in].
    pub fn add_abs_gradient(self, acc: Tensor<2>, dy: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Host => host::add_abs_gradient(acc, dy, x),
            Self::Backend => acc + dy.transpose().matmul(x).cast(DType::F32).abs(),
        }
    }
}

#[cfg(test)]
mod tests;
