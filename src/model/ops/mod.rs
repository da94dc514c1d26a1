//! The operations of a decoder: norms, gates, rotations, attention, losses, gradient sums, and the products of generation.
//!
//! Burn does the other matrix products, on every device. Its CPU backend is slow at the operations between them: it makes one pass
//! over memory for each small step, on one thread. So [`Ops`] is a trait. Its own methods are plain tensor operations
//! ([`plain`]) for any device. A device overrides the methods that it can do better: [`host`] does all of them in fused,
//! parallel loops over the CPU's memory. The tests compare both.
//!
//! Shapes: a batch has N rows, one for each token of its sequences, which are stored end to end ([`rows`]). There are n query
//! heads of size d, in groups that share one of kv key heads. V is the size of the vocabulary. Must not know: checkpoints,
//! layers, stages.

pub mod angles;
mod attend;
mod attend_cached;
mod host;
mod lanes;
mod memory;
mod panels;
mod plain;
mod product;
mod registers;
mod row_product;
pub mod rows;
mod weighted_rows;

use std::fmt::Debug;
use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};

use self::angles::Angles;
use self::rows::Rows;
use crate::model::arch::config::Gate;

/// The attention of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// n
    pub heads: usize,
    /// kv
    pub kv_heads: usize,
    /// d
    pub head_dim: usize,
    /// The factor of the products of queries and keys.
    pub scale: f64,
    /// How many keys a query sees, its own included; `None` for all keys up to its own.
    pub window: Option<usize>,
    /// With `Some(c)`, scaled scores s become c * tanh(s / c) before the mask (Gemma Team 2024, Gemma 2).
    pub cap: Option<f64>,
}

impl Attention {
    /// The positions that a query at this position sees. Never empty.
    pub fn visible(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }
}

/// The keys and values that a batch attends to.
pub enum Keys<'a> {
    /// In the batch itself, [N, kv*d]: every sequence begins at position 0.
    Batch { k: &'a Tensor<2>, v: &'a Tensor<2> },
    /// In a cache [slots, kv, positions, d], which holds the batch's own keys too.
    Cache { k: &'a Tensor<4>, v: &'a Tensor<4> },
}

/// The result of cross entropy: each sample's loss in nats, and the gradient of their sum with respect to the logits.
pub struct CrossEntropy {
    /// By sample, the mean over its rows of −log p(label).
    pub losses: Vec<f64>,
    /// [R, V]
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

/// The operations of a device. The body that a method has here runs on every device.
pub trait Ops: Debug + Send + Sync {
    /// Whether work should run on a thread of rayon's pool. Called from any other thread, each parallel loop would park and
    /// wake the caller, thousands of times in a pass.
    fn on_pool(&self) -> bool {
        false
    }

    /// Whether a row that goes through these products, and through attention over a cache, has the same bits whatever rows are
    /// beside it.
    fn rows_are_alone(&self) -> bool {
        false
    }

    /// x Wᵀ for x [N, in] and each W [out, in], in the order of W. A row has the same bits whatever rows are beside it; on a GPU,
    /// where kernels are chosen by size, nearly the same.
    fn row_products(&self, x: Tensor<2>, weights: &[&Tensor<2>]) -> Vec<Tensor<2>> {
        plain::row_products(x, weights)
    }

    /// y = x / sqrt(mean(x²) + eps) * w over each row of x [N, H] (Zhang & Sennrich 2019).
    fn rms_norm(&self, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
        plain::rms_norm(x, weight, eps)
    }

    /// dL/dx of [`Ops::rms_norm`], given dL/dy [N, H]. The weight takes no gradient here.
    fn rms_norm_backward(&self, dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
        plain::rms_norm_backward(dy, x, weight, eps)
    }

    /// f(gate) * up, element by element (Shazeer 2020).
    fn gate(&self, f: Gate, gate: &Tensor<2>, up: &Tensor<2>) -> Tensor<2> {
        plain::gate(f, gate.clone(), up.clone())
    }

    /// [y, dL/dgate, dL/dup] of [`Ops::gate`], given dL/dy. y is computed again, which is cheap here: its factors are needed
    /// anyway.
    fn gate_backward(&self, f: Gate, dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> [Tensor<2>; 3] {
        plain::gate_backward(f, dy, gate, up)
    }

    /// Rotates the two halves of every head of x [N, heads*d] by the angles of its row, as Hugging Face's `rotate_half`
    /// does (Su et al. 2021). `inverse` rotates by the negative angles, which is also the backward pass.
    fn rotate(&self, x: Tensor<2>, angles: &Angles, inverse: bool) -> Tensor<2> {
        plain::rotate(x, angles, inverse)
    }

    /// Writes the keys or values x [N, kv*d] of a batch into a cache [slots, kv, positions, d]. Each sequence is written into
    /// its slot, after its earlier tokens. The first tokens of a sequence overwrite what the slot held before.
    fn store(&self, cache: Tensor<4>, x: Tensor<2>, rows: &Rows) -> Tensor<4> {
        plain::store(cache, x, rows)
    }

    /// Attention of queries q [N, n*d], each within its own sequence: softmax(scale * qkᵀ) v over what each query sees
    /// (Vaswani et al. 2017; groups, Ainslie et al. 2023). Rows that belong to no sequence come out as zeros.
    fn attend(&self, q: Tensor<2>, keys: Keys<'_>, rows: &Rows, attention: &Attention) -> Tensor<2> {
        plain::attend(q, keys, rows, attention)
    }

    /// [dL/dq, dL/dk, dL/dv] of [`Ops::attend`] over whole sequences, given [q, k, v, dL/dy], each [N, …].
    fn attend_backward(&self, qkvdy: [Tensor<2>; 4], rows: &Rows, attention: &Attention) -> [Tensor<2>; 3] {
        plain::attend_backward(qkvdy, rows, attention)
    }

    /// c * tanh(x / c).
    fn cap(&self, x: Tensor<2>, cap: f64) -> Tensor<2> {
        plain::cap(x, cap)
    }

    /// dL/dx of [`Ops::cap`], given dL/dy and y.
    fn cap_backward(&self, dy: Tensor<2>, y: Tensor<2>, cap: f64) -> Tensor<2> {
        plain::cap_backward(dy, y, cap)
    }

    /// Cross entropy of logits [R, V] against R labels, and its gradient. `counts` are the rows of each sample.
    fn cross_entropy(&self, logits: Tensor<2>, labels: &[u32], counts: &[usize]) -> CrossEntropy {
        plain::cross_entropy(logits, labels, counts)
    }

    /// −log p(label) of each row of logits [R, V], in nats.
    fn negative_log_likelihood(&self, logits: Tensor<2>, labels: &[u32]) -> Vec<f64> {
        plain::negative_log_likelihood(logits, labels)
    }

    /// The index of the highest logit of each row of [R, V]; the lowest index among equals.
    fn argmax(&self, logits: Tensor<2>) -> Vec<u32> {
        plain::argmax(logits)
    }

    /// Puts values (flat index, value) into a matrix [out, in], in place unless somebody else holds it. Returns it with what
    /// was at these places before.
    fn replace(&self, weight: Tensor<2>, values: &[(u32, f32)]) -> (Tensor<2>, Vec<f32>) {
        plain::replace(weight, values)
    }

    /// acc + Σ|dyᵀx| over samples, added in their order. acc is [out, in] in f32, dy [N, out], x [N, in]. `samples` are the
    /// rows of each sample.
    fn add_abs_gradients(&self, acc: Tensor<2>, dy: &Tensor<2>, x: &Tensor<2>, samples: &[Range<usize>]) -> Tensor<2> {
        plain::add_abs_gradients(acc, dy, x, samples)
    }
}

/// Plain tensor operations: every device and type.
#[derive(Debug)]
pub struct Plain;

impl Ops for Plain {}

pub use host::Host;

/// The operations for tensors of this type on this device: [`Host`] for f32 on the CPU, otherwise [`Plain`].
pub fn of(device: &Device, dtype: DType) -> &'static dyn Ops {
    if *device == Device::flex() && dtype == DType::F32 { &Host } else { &Plain }
}

/// Runs `work`, on a thread of rayon's pool if [`Ops::on_pool`] says so.
pub fn run<R: Send>(ops: &dyn Ops, work: impl FnOnce() -> R + Send) -> R {
    if ops.on_pool() { rayon::scope(|_| work()) } else { work() }
}

#[cfg(test)]
mod tests;
