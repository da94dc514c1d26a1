//! Every operation as fused loops over host memory. The rows are distributed over the threads.
//!
//! A tensor of the CPU backend gives its memory as a slice. The arithmetic within a row is in [`super::lanes`] and runs on one
//! thread, so the result does not depend on the number of threads. Attention is in [`super::attend`].
//! Must not know: devices other than the CPU, types other than f32.

use std::borrow::Cow;
use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::angles::Angles;
use super::lanes::{exp, maximum, sigmoid, sum, tanh, vectorised};
use super::memory::{GRAIN, Memory, rows_per_task, tensor};
use super::plain::{GELU_CUBE, GELU_SCALE};
use super::product::{Matrix, Onto, product};
use super::registers::InstructionSet;
use super::row_product;
use super::rows::Rows;
use super::{Attention, CrossEntropy, Keys, Ops, attend, attend_cached, means};
use crate::model::arch::config::Gate;

/// Fused loops over host memory: f32 on the CPU backend.
#[derive(Debug)]
pub struct Host;

impl Ops for Host {
    fn on_pool(&self) -> bool {
        true
    }

    fn rows_are_alone(&self) -> bool {
        true
    }

    fn row_products(&self, x: Tensor<2>, weights: &[&Tensor<2>]) -> Vec<Tensor<2>> {
        row_products(x, weights)
    }

    fn replace(&self, weight: Tensor<2>, values: &[(u32, f32)]) -> (Tensor<2>, Vec<f32>) {
        let shape = weight.dims();
        let mut whole = Memory::of(weight).into_vec();
        let before =
            values.iter().map(|(index, value)| std::mem::replace(&mut whole[*index as usize], *value)).collect();
        (tensor(whole, shape), before)
    }

    fn rms_norm(&self, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
        rms_norm(x, weight, eps)
    }

    fn rms_norm_backward(&self, dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
        rms_norm_backward(dy, x, weight, eps)
    }

    fn gate(&self, f: Gate, open: &Tensor<2>, up: &Tensor<2>) -> Tensor<2> {
        gate(f, open.clone(), up.clone())
    }

    fn gate_backward(&self, f: Gate, dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> [Tensor<2>; 3] {
        gate_backward(f, dy, gate, up)
    }

    fn rotate(&self, x: Tensor<2>, angles: &Angles, inverse: bool) -> Tensor<2> {
        rotate(x, angles, inverse)
    }

    fn store(&self, cache: Tensor<4>, x: Tensor<2>, rows: &Rows) -> Tensor<4> {
        store(cache, x, rows)
    }

    fn attend(&self, q: Tensor<2>, keys: Keys<'_>, rows: &Rows, attention: &Attention) -> Tensor<2> {
        match keys {
            Keys::Batch { k, v } => attend::attend(q, [k, v], rows, attention),
            Keys::Cache { k, v } => attend_cached::attend(q, [k, v], rows, attention),
        }
    }

    fn attend_backward(&self, qkvdy: [Tensor<2>; 4], rows: &Rows, attention: &Attention) -> [Tensor<2>; 3] {
        attend::attend_backward(qkvdy, rows, attention)
    }

    fn cap(&self, x: Tensor<2>, c: f64) -> Tensor<2> {
        cap(x, c)
    }

    fn cross_entropy(&self, logits: Tensor<2>, labels: &[u32], counts: &[usize]) -> CrossEntropy {
        cross_entropy(logits, labels, counts)
    }

    fn negative_log_likelihood(&self, logits: Tensor<2>, labels: &[u32]) -> Vec<f64> {
        negative_log_likelihood(logits, labels)
    }

    fn argmax(&self, logits: Tensor<2>) -> Vec<u32> {
        argmax(logits)
    }

    fn add_abs_gradients(&self, acc: Tensor<2>, dy: &Tensor<2>, x: &Tensor<2>, samples: &[Range<usize>]) -> Tensor<2> {
        add_abs_gradients(acc, dy.clone(), x.clone(), samples)
    }
}

fn row_products(x: Tensor<2>, weights: &[&Tensor<2>]) -> Vec<Tensor<2>> {
    let [rows, columns] = x.dims();
    let outs: Vec<usize> = weights.iter().map(|weight| weight.dims()[0]).collect();
    let (x, weights) = (Memory::of(x), Vec::from_iter(weights.iter().map(|weight| Memory::of((*weight).clone()))));
    let matrices = weights.iter().zip(&outs).map(|(weight, out)| Matrix::new(weight.slice(), *out, columns, columns));
    let matrices: Vec<Matrix<'_>> = matrices.collect();
    let products =
        row_product::row_products(InstructionSet::best(), Matrix::new(x.slice(), rows, columns, columns), &matrices);
    products.into_iter().zip(outs).map(|(y, out)| tensor(y, [rows, out])).collect()
}

#[inline(always)]
fn inverse_rms(row: &[f32], eps: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a mean in f32, as PyTorch")]
    let mean = sum(row, row, |a, b| a * b) / row.len() as f32 + eps as f32;
    1.0 / mean.sqrt()
}

fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    let [n, h] = x.dims();
    let (x, weight) = (Memory::of(x), Memory::of(weight.clone()));
    let (x, weight) = (x.slice(), weight.slice());
    let mut y = vec![0.0; n * h];
    y.par_chunks_mut(h).zip(x.par_chunks(h)).with_min_len(rows_per_task(h)).for_each(|(y, x)| {
        vectorised(|| {
            let inverse = inverse_rms(x, eps);
            for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                *y = (x * inverse) * w;
            }
        });
    });
    tensor(y, [n, h])
}

fn rms_norm_backward(dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    let [n, h] = x.dims();
    let (x, weight) = (Memory::of(x), Memory::of(weight.clone()));
    let (x, weight) = (x.slice(), weight.slice());
    let mut dx = Memory::of(dy).into_vec();
    dx.par_chunks_mut(h).zip(x.par_chunks(h)).with_min_len(rows_per_task(h)).for_each(|(dx, x)| {
        vectorised(|| {
            let inverse = inverse_rms(x, eps);
            for (d, w) in dx.iter_mut().zip(weight) {
                *d *= w;
            }
            #[expect(clippy::cast_precision_loss, reason = "a row's length")]
            let along = sum(dx, x, |d, x| d * x) * inverse * inverse / h as f32;
            for (d, x) in dx.iter_mut().zip(x) {
                *d = (*d - x * along) * inverse;
            }
        });
    });
    tensor(dx, [n, h])
}

fn gate(f: Gate, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let shape = gate.dims();
    let (gate, up) = (Memory::of(gate), Memory::of(up));
    let (gate, up) = (gate.slice(), up.slice());
    let mut y = vec![0.0; gate.len()];
    y.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN)).zip(up.par_chunks(GRAIN)).for_each(|((y, gate), up)| {
        let values = y.iter_mut().zip(gate).zip(up);
        match f {
            Gate::Silu => vectorised(|| {
                for ((y, g), u) in values {
                    *y = g * sigmoid(*g) * u;
                }
            }),
            Gate::GeluTanh => vectorised(|| {
                for ((y, g), u) in values {
                    *y = g * sigmoid(gelu(*g).0) * u;
                }
            }),
        }
    });
    tensor(y, shape)
}

/// 2u and its derivative, with u = sqrt(2/π) * (x + 0.044715 x³): 0.5 * (1 + tanh(u)) = sigmoid(2u).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
fn gelu(x: f32) -> (f32, f32) {
    const SCALE: f32 = 2.0 * GELU_SCALE as f32;
    const CUBE: f32 = GELU_CUBE as f32;
    let square = CUBE * x * x;
    (SCALE * x * (1.0 + square), SCALE * (1.0 + 3.0 * square))
}

fn gate_backward(f: Gate, dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> [Tensor<2>; 3] {
    let shape = gate.dims();
    // The three results overwrite the three arguments.
    let [mut y, mut gate, mut up] = [dy, gate, up].map(|x| Memory::of(x).into_vec());
    y.par_chunks_mut(GRAIN).zip(gate.par_chunks_mut(GRAIN)).zip(up.par_chunks_mut(GRAIN)).for_each(
        |((y, gate), up)| {
            let values = y.iter_mut().zip(gate).zip(up);
            match f {
                Gate::Silu => vectorised(|| {
                    for ((y, g), u) in values {
                        let s = sigmoid(*g);
                        let silu = *g * s;
                        // silu'(g) = s * (1 + g * (1 - s))
                        let slope = s * (1.0 + *g * (1.0 - s));
                        (*y, *g, *u) = (silu * *u, *y * *u * slope, *y * silu);
                    }
                }),
                Gate::GeluTanh => vectorised(|| {
                    for ((y, g), u) in values {
                        let (double, inner) = gelu(*g);
                        let s = sigmoid(double);
                        let gelu = *g * s;
                        let slope = s + gelu * (1.0 - s) * inner;
                        (*y, *g, *u) = (gelu * *u, *y * *u * slope, *y * gelu);
                    }
                }),
            }
        },
    );
    [y, gate, up].map(|values| tensor(values, shape))
}

fn rotate(x: Tensor<2>, angles: &Angles, inverse: bool) -> Tensor<2> {
    let shape = x.dims();
    let sign = if inverse { -1.0 } else { 1.0 };
    let half = angles.cos.dims()[1];
    let (cos, sin) = (Memory::of(angles.cos.clone()), Memory::of(angles.sin.clone()));
    let (cos, sin) = (cos.slice(), sin.slice());
    let mut y = Memory::of(x).into_vec();
    let rows = y.par_chunks_mut(shape[1]).zip(cos.par_chunks(half)).zip(sin.par_chunks(half));
    rows.with_min_len(rows_per_task(shape[1])).for_each(|((row, cos), sin)| {
        vectorised(|| {
            for head in row.chunks_exact_mut(2 * half) {
                let (low, high) = head.split_at_mut(half);
                for (((l, h), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    let s = sign * s;
                    (*l, *h) = (*l * c - *h * s, *h * c + *l * s);
                }
            }
        });
    });
    tensor(y, shape)
}

fn store(cache: Tensor<4>, x: Tensor<2>, rows: &Rows) -> Tensor<4> {
    let shape = cache.dims();
    let [_, kv, positions, d] = shape;
    let x = Memory::of(x);
    let x = x.slice();
    let mut cache = Memory::of(cache).into_vec();
    for sequence in &rows.sequences {
        for (slot, places, first) in sequence.parts(sequence.first..sequence.keys()) {
            let row = sequence.rows.start + first - sequence.first;
            for (row, position) in (row..).zip(places) {
                for head in 0..kv {
                    let from = (row * kv + head) * d;
                    let to = ((slot * kv + head) * positions + position) * d;
                    cache[to..to + d].copy_from_slice(&x[from..from + d]);
                }
            }
        }
    }
    tensor(cache, shape)
}

fn cap(x: Tensor<2>, cap: f64) -> Tensor<2> {
    let shape = x.dims();
    #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
    let cap = cap as f32;
    let mut y = Memory::of(x).into_vec();
    y.par_chunks_mut(GRAIN).for_each(|y| {
        vectorised(|| {
            for y in y {
                *y = cap * tanh(*y / cap);
            }
        });
    });
    tensor(y, shape)
}

/// log Σ exp(xᵢ) of a row, its maximum, and Σ exp(xᵢ − maximum).
fn log_sum_exp(row: &[f32]) -> (f64, f32, f32) {
    let (high, total) = vectorised(|| {
        let high = maximum(row);
        (high, sum(row, row, |x, _| exp(x - high)))
    });
    (f64::from(high) + f64::from(total).ln(), high, total)
}

fn label_logit(row: &[f32], label: u32) -> f64 {
    f64::from(row[label as usize])
}

fn cross_entropy(logits: Tensor<2>, labels: &[u32], counts: &[usize]) -> CrossEntropy {
    let shape = logits.dims();
    let vocabulary = shape[1];
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 gradients, token counts")]
    let shares: Vec<f32> =
        counts.iter().flat_map(|count| std::iter::repeat_n((1.0 / *count as f64) as f32, *count)).collect();
    let mut gradient = Memory::of(logits).into_vec();
    let losses: Vec<f64> = gradient
        .par_chunks_mut(vocabulary)
        .zip(labels)
        .zip(shares)
        .map(|((row, label), share)| {
            let (log_total, high, total) = log_sum_exp(row);
            let loss = log_total - label_logit(row, *label);
            let weight = share / total;
            vectorised(|| {
                for value in row.iter_mut() {
                    *value = exp(*value - high) * weight;
                }
            });
            row[*label as usize] -= share;
            loss
        })
        .collect();
    CrossEntropy { losses: means(&losses, counts), gradient: tensor(gradient, shape) }
}

fn negative_log_likelihood(logits: Tensor<2>, labels: &[u32]) -> Vec<f64> {
    let vocabulary = logits.dims()[1];
    let logits = Memory::of(logits);
    let rows = logits.slice().par_chunks(vocabulary).zip(labels);
    rows.map(|(row, label)| log_sum_exp(row).0 - label_logit(row, *label)).collect()
}

fn argmax(logits: Tensor<2>) -> Vec<u32> {
    let vocabulary = logits.dims()[1];
    let logits = Memory::of(logits);
    logits
        .slice()
        .par_chunks(vocabulary)
        .map(|row| {
            let high = vectorised(|| maximum(row));
            let index = row.iter().position(|value| *value == high).unwrap_or(0);
            u32::try_from(index).unwrap_or(u32::MAX)
        })
        .collect()
}

/// Bytes of a tile of a gradient. It is computed and added while it is in a core's cache.
const TILE: usize = 256 << 10;

/// Returns rows and their stride, and moves rows apart if their distance is a multiple of 512 bytes. A product that reads down
/// the columns of such rows finds them in few sets of a core's first cache, which made it a sixth slower.
fn spread(x: &[f32], columns: usize) -> (Cow<'_, [f32]>, usize) {
    const LINE: usize = 64 / size_of::<f32>();
    if columns == 0 || !columns.is_multiple_of(8 * LINE) {
        return (Cow::Borrowed(x), columns);
    }
    let stride = columns + LINE;
    let mut apart = vec![0.0; x.len() / columns * stride];
    let rows = apart.par_chunks_mut(stride).zip(x.par_chunks(columns));
    rows.with_min_len(rows_per_task(columns)).for_each(|(apart, row)| apart[..columns].copy_from_slice(row));
    (Cow::Owned(apart), stride)
}

fn add_abs_gradients(acc: Tensor<2>, dy: Tensor<2>, x: Tensor<2>, samples: &[Range<usize>]) -> Tensor<2> {
    let [out, input] = acc.dims();
    let (dy, x) = (Memory::of(dy), Memory::of(x));
    let dy = dy.slice();
    let (x, stride) = spread(x.slice(), input);
    let mut acc = Memory::of(acc).into_vec();
    let rows = (TILE / size_of::<f32>() / input.max(1)).clamp(16, 1024);
    acc.par_chunks_mut(rows * input).enumerate().for_each_init(Vec::new, |tile, (index, acc)| {
        let rows_here = acc.len() / input;
        tile.resize(acc.len(), 0.0);
        for sample in samples {
            let dy = Matrix::new(&dy[sample.start * out + index * rows..], sample.len(), rows_here, out).transposed();
            let x = Matrix::new(&x[sample.start * stride..], sample.len(), input, stride);
            product(tile, dy, x, Onto::Replace);
            vectorised(|| {
                for (acc, gradient) in acc.iter_mut().zip(&*tile) {
                    *acc += gradient.abs();
                }
            });
        }
    });
    tensor(acc, [out, input])
}
