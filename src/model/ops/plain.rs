//! Every operation in plain tensor operations, for GPUs and for types other than f32.
//!
//! Must not know: where the memory lies.

use std::ops::Range;

use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use super::angles::Angles;
use super::rows::{Rows, Sequence, least_rows_of};
use super::{Attention, CrossEntropy, Keys, means};
use crate::model::arch::config::Gate;

/// Norms and softmaxes are computed in f32 whatever the type of the weights, as in transformers.
fn widen<const D: usize>(x: Tensor<D>) -> (Tensor<D>, DType) {
    let dtype = x.dtype();
    (x.cast(DType::F32), dtype)
}

/// Adds rows of zeros to few rows, so that the backend multiplies them as it multiplies many.
pub fn row_products(x: Tensor<2>, weights: &[&Tensor<2>]) -> Vec<Tensor<2>> {
    let [count, _] = x.dims();
    let least = weights.iter().map(|weight| least_rows_of(weight.dims()[0])).max().unwrap_or(0);
    let x = Rows::whole([count], least).join(vec![x]);
    weights.iter().map(|weight| x.clone().matmul((*weight).clone().transpose()).narrow(0, 0, count)).collect()
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

/// f(x) and f'(x) of the gate's function.
fn opened(f: Gate, x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    match f {
        Gate::Silu => {
            let sigmoid = activation::sigmoid(x.clone());
            // silu'(x) = s(x) * (1 + x * (1 - s(x)))
            let slope = sigmoid.clone() * (x.clone() * (sigmoid.clone().neg().add_scalar(1.0))).add_scalar(1.0);
            (x * sigmoid, slope)
        }
        Gate::GeluTanh => {
            // 0.5 * (1 + tanh(u)) = sigmoid(2u), with u = sqrt(2/π) * (x + 0.044715 x³)
            let square = x.clone().square();
            let double =
                (square.clone().mul_scalar(GELU_CUBE).add_scalar(1.0) * x.clone()).mul_scalar(2.0 * GELU_SCALE);
            let sigmoid = activation::sigmoid(double);
            let inner = square.mul_scalar(3.0 * GELU_CUBE).add_scalar(1.0).mul_scalar(2.0 * GELU_SCALE);
            let slope = sigmoid.clone() + x.clone() * sigmoid.clone() * sigmoid.clone().neg().add_scalar(1.0) * inner;
            (x * sigmoid, slope)
        }
    }
}

/// The constants of GELU's tanh form (Hendrycks & Gimpel 2016): sqrt(2/π), and the factor of x³.
pub const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
pub const GELU_CUBE: f64 = 0.044_715;

pub fn gate(f: Gate, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    match f {
        Gate::Silu => activation::silu(gate) * up,
        Gate::GeluTanh => opened(f, gate).0 * up,
    }
}

pub fn gate_backward(f: Gate, dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> [Tensor<2>; 3] {
    let (open, slope) = opened(f, gate);
    [open.clone() * up.clone(), dy.clone() * up * slope, dy * open]
}

pub fn rotate(x: Tensor<2>, angles: &Angles, inverse: bool) -> Tensor<2> {
    let [rows, width] = x.dims();
    let half = angles.cos.dims()[1];
    let x = x.reshape([rows, width / (2 * half), 2 * half]);
    let (cos, sin) = (angles.cos.clone().unsqueeze_dim::<3>(1), angles.sin.clone().unsqueeze_dim::<3>(1));
    let sin = if inverse { sin.neg() } else { sin };
    let (low, high) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let turned = [low.clone() * cos.clone() - high.clone() * sin.clone(), high * cos + low * sin];
    Tensor::cat(turned.into(), 2).reshape([rows, width])
}

pub fn store(cache: Tensor<4>, x: Tensor<2>, rows: &Rows) -> Tensor<4> {
    let shape = cache.dims();
    let [slots, kv, positions, d] = shape;
    let lines = |sequence: &Sequence| {
        let parts = sequence.parts(sequence.first..sequence.keys());
        let places = parts.into_iter().flat_map(|(slot, places, _)| places.map(move |position| (slot, position)));
        places.flat_map(move |(slot, position)| {
            (0..kv).map(move |head| i64::try_from((slot * kv + head) * positions + position).unwrap_or(i64::MAX))
        })
    };
    let lines: Vec<i64> = rows.sequences.iter().flat_map(lines).collect();
    let count = lines.len();
    let lines = Tensor::<1, Int>::from_data(TensorData::new(lines, [count]), &cache.device());
    let values = rows.without_rest(&x).reshape([count, d]);
    // There is adding to chosen lines and no writing, so slots that are written from their beginning are emptied first.
    let parts = rows.sequences.iter().flat_map(|sequence| sequence.parts(sequence.first..sequence.keys()));
    let begun = parts.filter(|(_, places, _)| places.start == 0);
    let cache = begun.fold(cache, |cache, (slot, ..)| {
        let zeros = Tensor::zeros([1, kv, positions, d], (&cache.device(), cache.dtype()));
        cache.slice_assign([slot..slot + 1, 0..kv, 0..positions, 0..d], zeros)
    });
    let flat = cache.reshape([slots * kv * positions, d]);
    flat.select_assign(0, lines, values, IndexingUpdateOp::Add).reshape(shape)
}

/// Queries of one block. Going block by block bounds the memory, and skips what the mask hides.
const BLOCK: usize = 256;

/// [T, heads*d] to [1, heads, T, d].
fn split(x: Tensor<2>, d: usize) -> Tensor<4> {
    let [t, width] = x.dims();
    x.reshape([1, t, width / d, d]).swap_dims(1, 2)
}

/// [1, heads, T, d] to [T, heads*d].
fn merge(x: Tensor<4>) -> Tensor<2> {
    let [_, heads, t, d] = x.dims();
    x.swap_dims(1, 2).reshape([t, heads * d])
}

/// Scores before the softmax, and the derivative of the cap where there is one: [B, n, T, S] of products qkᵀ.
fn scored(products: Tensor<4>, attention: &Attention) -> (Tensor<4>, Option<Tensor<4>>) {
    let scores = products.mul_scalar(attention.scale);
    match attention.cap {
        None => (scores, None),
        Some(cap) => {
            let tanh = scores.div_scalar(cap).tanh();
            (tanh.clone().mul_scalar(cap), Some(tanh.square().neg().add_scalar(1.0)))
        }
    }
}

/// Attention probabilities [B, n, T, S] of queries [B, n, T, d] at these positions, in their order, and the derivative of the
/// cap. The query heads of a group are stored one after another. So they are treated as more queries of their key head, and
/// keys need not be copied.
fn probabilities(
    q: &Tensor<4>,
    k: &Tensor<4>,
    positions: &[usize],
    attention: &Attention,
) -> (Tensor<4>, Option<Tensor<4>>) {
    let ([b, n, t, d], [_, kv, s, _]) = (q.dims(), k.dims());
    let products = q.clone().reshape([b, kv, n / kv * t, d]).matmul(k.clone().swap_dims(2, 3)).reshape([b, n, t, s]);
    let (products, dtype) = widen(products);
    let (scores, slope) = scored(products, attention);
    let mut bias = vec![f32::NEG_INFINITY; positions.len() * s];
    for (position, values) in positions.iter().zip(bias.chunks_mut(s)) {
        let visible = attention.visible(*position);
        values[visible.start..visible.end.min(s)].fill(0.0);
    }
    let bias = Tensor::<4>::from_data(TensorData::new(bias, [b, 1, t, s]), (&q.device(), DType::F32));
    (activation::softmax(scores + bias, 3).cast(dtype), slope)
}

/// Queries [B, n, T, d] at these positions over keys and values [B, kv, S, d].
fn attend_heads(q: &Tensor<4>, k: &Tensor<4>, v: Tensor<4>, positions: &[usize], attention: &Attention) -> Tensor<4> {
    let ([b, n, t, d], [_, kv, s, _]) = (q.dims(), k.dims());
    let (p, _) = probabilities(q, k, positions, attention);
    p.reshape([b, kv, n / kv * t, s]).matmul(v).reshape([b, n, t, d])
}

/// One sequence's queries [T, n*d], block by block, over its keys and values [1, kv, S, d].
fn attend_sequence(q: Tensor<2>, k: &Tensor<4>, v: &Tensor<4>, first: usize, attention: &Attention) -> Tensor<2> {
    let q = split(q, attention.head_dim);
    let t = q.dims()[2];
    let blocks = (0..t).step_by(BLOCK).map(|start| {
        let count = BLOCK.min(t - start);
        let seen = first + start + count;
        let positions: Vec<usize> = (first + start..seen).collect();
        let (k, v) = (k.clone().narrow(2, 0, seen), v.clone().narrow(2, 0, seen));
        attend_heads(&q.clone().narrow(2, start, count), &k, v, &positions, attention)
    });
    merge(Tensor::cat(blocks.collect(), 2))
}

/// Sequences of one token each, [B, n*d], all at once over the first keys of the cache.
fn attend_steps(q: Tensor<2>, [k, v]: [&Tensor<4>; 2], sequences: &[Sequence], attention: &Attention) -> Tensor<2> {
    let count = sequences.len();
    let (n, d) = (attention.heads, attention.head_dim);
    let seen = sequences.iter().map(Sequence::keys).max().unwrap_or(0);
    let slots: Vec<i64> = sequences.iter().map(|sequence| i64::try_from(sequence.slot).unwrap_or(i64::MAX)).collect();
    let slots = Tensor::<1, Int>::from_data(TensorData::new(slots, [count]), &q.device());
    let of = |cache: &Tensor<4>| cache.clone().narrow(2, 0, seen).select(0, slots.clone());
    let positions: Vec<usize> = sequences.iter().map(|sequence| sequence.first).collect();
    attend_heads(&q.reshape([count, n, 1, d]), &of(k), of(v), &positions, attention).reshape([count, n * d])
}

pub fn attend(q: Tensor<2>, keys: Keys<'_>, rows: &Rows, attention: &Attention) -> Tensor<2> {
    let d = attention.head_dim;
    let mut pieces = Vec::new();
    match keys {
        Keys::Batch { k, v } => {
            for sequence in &rows.sequences {
                let (k, v) = (split(sequence.of(k), d), split(sequence.of(v), d));
                pieces.push(attend_sequence(sequence.of(&q), &k, &v, sequence.first, attention));
            }
        }
        Keys::Cache { k, v } => {
            let step = |sequence: &Sequence| sequence.tokens() == 1 && sequence.prefix.is_none();
            for group in rows.sequences.chunk_by(|one, other| step(one) && step(other)) {
                let (first, last) = (group[0].rows.start, group[group.len() - 1].rows.end);
                let q = q.clone().narrow(0, first, last - first);
                let one = &group[0];
                if step(one) {
                    pieces.push(attend_steps(q, [k, v], group, attention));
                } else {
                    let part = |cache: &Tensor<4>, (slot, places, _): &(usize, Range<usize>, usize)| {
                        cache.clone().narrow(0, *slot, 1).narrow(2, places.start, places.len())
                    };
                    let parts = one.parts(0..one.keys());
                    let of = |cache: &Tensor<4>| Tensor::cat(parts.iter().map(|at| part(cache, at)).collect(), 2);
                    pieces.push(attend_sequence(q, &of(k), &of(v), one.first, attention));
                }
            }
        }
    }
    rows.join(pieces)
}

pub fn attend_backward(qkvdy: [Tensor<2>; 4], rows: &Rows, attention: &Attention) -> [Tensor<2>; 3] {
    let mut pieces = [Vec::new(), Vec::new(), Vec::new()];
    for sequence in &rows.sequences {
        let heads = qkvdy.each_ref().map(|x| split(sequence.of(x), attention.head_dim));
        pieces.iter_mut().zip(backward_of(heads, attention)).for_each(|(pieces, dx)| pieces.push(merge(dx)));
    }
    pieces.map(|pieces| rows.join(pieces))
}

fn backward_of([q, k, v, dy]: [Tensor<4>; 4], attention: &Attention) -> [Tensor<4>; 3] {
    let ([b, n, t, d], [_, kv, ..]) = (q.dims(), k.dims());
    let (grouped, square) = ([b, kv, n / kv * t, d], [b, kv, n / kv * t, t]);
    let positions: Vec<usize> = (0..t).collect();
    let (p, slope) = probabilities(&q, &k, &positions, attention);
    let dy = dy.reshape(grouped);
    let dv = p.clone().reshape(square).swap_dims(2, 3).matmul(dy.clone());
    let dp = dy.matmul(v.swap_dims(2, 3)).reshape([b, n, t, t]);
    let along = (p.clone() * dp.clone()).sum_dim(3);
    let ds = (p * (dp - along)).mul_scalar(attention.scale);
    let ds = match slope {
        Some(slope) => ds.clone() * slope.cast(ds.dtype()),
        None => ds,
    };
    let ds = ds.reshape(square);
    let dq = ds.clone().matmul(k).reshape([b, n, t, d]);
    let dk = ds.swap_dims(2, 3).matmul(q.reshape(grouped));
    [dq, dk, dv]
}

pub fn cap(x: Tensor<2>, cap: f64) -> Tensor<2> {
    let (x, dtype) = widen(x);
    x.div_scalar(cap).tanh().mul_scalar(cap).cast(dtype)
}

pub fn cap_backward(dy: Tensor<2>, y: Tensor<2>, cap: f64) -> Tensor<2> {
    dy * y.div_scalar(cap).square().neg().add_scalar(1.0)
}

pub fn add_abs_gradients(acc: Tensor<2>, dy: &Tensor<2>, x: &Tensor<2>, samples: &[Range<usize>]) -> Tensor<2> {
    samples.iter().fold(acc, |acc, rows| {
        let of = |x: &Tensor<2>| x.clone().narrow(0, rows.start, rows.len());
        acc + of(dy).transpose().matmul(of(x)).cast(DType::F32).abs()
    })
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
        IndexingUpdateOp::Add,
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

/// Only the places travel, there and back.
pub fn replace(weight: Tensor<2>, values: &[(u32, f32)]) -> (Tensor<2>, Vec<f32>) {
    let (device, dtype, [_, columns]) = (weight.device(), weight.dtype(), weight.dims());
    let place = |(index, _): &(u32, f32)| {
        let index = *index as usize;
        [index / columns, index % columns].map(|at| i64::try_from(at).unwrap_or(i64::MAX))
    };
    let places: Vec<i64> = values.iter().flat_map(place).collect();
    let places = Tensor::<2, Int>::from_data(TensorData::new(places, [values.len(), 2]), &device);
    let new: Vec<f32> = values.iter().map(|(_, value)| *value).collect();
    let new = Tensor::<1>::from_data(TensorData::new(new, [values.len()]), (&device, dtype));
    // Read before the matrix is written: whoever still held it would make the device copy it.
    let before = weight.clone().gather_nd::<2, 1>(places.clone()).into_data().iter::<f32>().collect();
    (weight.scatter_nd::<2, 1>(places, new, IndexingUpdateOp::Assign), before)
}
