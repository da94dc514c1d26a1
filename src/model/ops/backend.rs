//! The element-wise operations in plain tensor operations, for GPUs and for types other than f32.
//!
//! Must not know: where the memory lies.

use burn::tensor::{DType, Int, Tensor, TensorData, activation};

use super::{CrossEntropy, means};
use crate::model::ops::mask::Mask;
use crate::model::ops::rope::Angles;

/// Norms and softmaxes are taken in f32 whatever the type of the weights, as transformers does.
fn widen<const D: usize>(x: Tensor<D>) -> (Tensor<D>, DType) {
    let dtype = x.dtype();
    (x.cast(DType::F32), dtype)
}

fn normalised(x: Tensor<2>, eps: f64) -> (Tensor<2>, Tensor<2>) {
    let inverse = (x.clone().square().mean_dim(1).add_scalar(eps)).sqrt().recip();
    (x * inverse.clone(), inverse)
}

pub fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    let (x, dtype) = widen(x);
    let (normal, _) = normalised(x, eps);
    normal.cast(dtype) * weight.clone().unsqueeze::<2>()
}

pub fn rms_norm_backward(dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    let (x, dtype) = widen(x);
    let (normal, inverse) = normalised(x, eps);
    let dn = dy.cast(DType::F32) * weight.clone().cast(DType::F32).unsqueeze::<2>();
    let along = (dn.clone() * normal.clone()).mean_dim(1);
    ((dn - normal * along) * inverse).cast(dtype)
}

pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    activation::silu(gate) * up
}

pub fn swiglu_backward(dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> [Tensor<2>; 3] {
    let sigmoid = activation::sigmoid(gate.clone());
    let silu = gate.clone() * sigmoid.clone();
    // silu'(g) = s(g) * (1 + g * (1 - s(g)))
    let slope = sigmoid.clone() * (gate * (sigmoid.neg().add_scalar(1.0))).add_scalar(1.0);
    [silu.clone() * up.clone(), dy.clone() * up * slope, dy * silu]
}

pub fn rotate(x: Tensor<4>, angles: &Angles, inverse: bool) -> Tensor<4> {
    let [b, _, t, d] = x.dims();
    let device = x.device();
    let table = |values: &[f32]| {
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), [b, 1, t, d / 2]), (&device, x.dtype()))
    };
    let (cos, sin) = (table(&angles.cos), table(&angles.sin));
    let sin = if inverse { sin.neg() } else { sin };
    let (low, high) = (x.clone().narrow(3, 0, d / 2), x.narrow(3, d / 2, d / 2));
    Tensor::cat(vec![low.clone() * cos.clone() - high.clone() * sin.clone(), high * cos + low * sin], 3)
}

/// Queries of one block: no more memory than a block needs, and no work for what the mask hides.
const BLOCK: usize = 256;

fn softmax(x: Tensor<4>, mask: &Mask, scale: f64) -> Tensor<4> {
    let [b, _, t, s] = x.dims();
    let device = x.device();
    let (x, dtype) = widen(x);
    let bias = Tensor::<4>::from_data(TensorData::new(mask.additive(t, s), [b, 1, t, s]), (&device, DType::F32));
    activation::softmax(x.mul_scalar(scale) + bias, 3).cast(dtype)
}

/// Attention probabilities [B, n, T, S]. Query heads of a group lie one after another, so they are read as more queries of
/// their key head, and keys need no copies.
fn probabilities(q: &Tensor<4>, k: &Tensor<4>, mask: &Mask, scale: f64) -> Tensor<4> {
    let ([b, n, t, d], [_, kv, s, _]) = (q.dims(), k.dims());
    let scores = q.clone().reshape([b, kv, n / kv * t, d]).matmul(k.clone().swap_dims(2, 3));
    softmax(scores.reshape([b, n, t, s]), mask, scale)
}

pub fn attend(q: Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, mask: &Mask, scale: f64) -> Tensor<4> {
    let ([b, n, t, d], [_, kv, s, _]) = (q.dims(), k.dims());
    let blocks = (0..t).step_by(BLOCK).map(|first| {
        let count = BLOCK.min(t - first);
        let seen = s - t + first + count;
        let (k, v) = (k.clone().narrow(2, 0, seen), v.clone().narrow(2, 0, seen));
        let p = probabilities(&q.clone().narrow(2, first, count), &k, &mask.from(first), scale);
        p.reshape([b, kv, n / kv * count, seen]).matmul(v).reshape([b, n, count, d])
    });
    Tensor::cat(blocks.collect(), 2)
}

pub fn attend_backward([q, k, v, dy]: [Tensor<4>; 4], mask: &Mask, scale: f64) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
    let ([b, n, t, d], [_, kv, ..]) = (q.dims(), k.dims());
    let (grouped, square) = ([b, kv, n / kv * t, d], [b, kv, n / kv * t, t]);
    let p = probabilities(&q, &k, mask, scale);
    let dy = dy.reshape(grouped);
    let dv = p.clone().reshape(square).swap_dims(2, 3).matmul(dy.clone());
    let dp = dy.matmul(v.swap_dims(2, 3)).reshape([b, n, t, t]);
    let along = (p.clone() * dp.clone()).sum_dim(3);
    let ds = (p * (dp - along)).mul_scalar(scale).reshape(square);
    let dq = ds.clone().matmul(k).reshape([b, n, t, d]);
    let dk = ds.swap_dims(2, 3).matmul(q.reshape(grouped));
    (dq, dk, dv)
}

fn label_column(logits: &Tensor<2>, labels: &[u32]) -> Tensor<2, Int> {
    let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let rows = labels.len();
    Tensor::from_data(TensorData::new(labels, [rows, 1]), &logits.device())
}

pub fn cross_entropy(logits: Tensor<2>, labels: &[u32], counts: &[usize]) -> CrossEntropy {
    let [rows, vocabulary] = logits.dims();
    let (device, dtype) = (logits.device(), logits.dtype());
    let labels = label_column(&logits, labels);
    let log_p = activation::log_softmax(logits.cast(DType::F32), 1);
    let picked = log_p.clone().gather(1, labels.clone()).into_data();
    let losses: Vec<f64> = picked.iter::<f32>().map(|value| -f64::from(value)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a token count")]
    let divisors: Vec<f32> = counts.iter().flat_map(|count| std::iter::repeat_n(*count as f32, *count)).collect();
    let divisors = Tensor::<2>::from_data(TensorData::new(divisors, [rows, 1]), (&device, DType::F32));
    let one_hot = Tensor::<2>::zeros([rows, vocabulary], (&device, DType::F32)).scatter(
        1,
        labels,
        Tensor::ones([rows, 1], (&device, DType::F32)),
        burn::tensor::IndexingUpdateOp::Add,
    );
    let gradient = ((log_p.exp() - one_hot) / divisors).cast(dtype);
    CrossEntropy { losses: means(&losses, counts), gradient }
}

pub fn negative_log_likelihood(logits: Tensor<2>, labels: &[u32]) -> Vec<f64> {
    let labels = label_column(&logits, labels);
    let log_p = activation::log_softmax(logits.cast(DType::F32), 1).gather(1, labels);
    log_p.into_data().iter::<f32>().map(|value| -f64::from(value)).collect()
}

pub fn argmax(logits: Tensor<2>) -> Vec<u32> {
    logits.argmax(1).into_data().iter::<i64>().map(|index| u32::try_from(index).unwrap_or(0)).collect()
}
