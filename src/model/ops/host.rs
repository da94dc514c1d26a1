//! The element-wise operations as fused loops over host memory, rows spread over the threads.
//!
//! A tensor of the CPU backend lends its memory as a slice; the arithmetic of a row is in [`super::lanes`],
//! so the result does not depend on the number of threads.
//! Must not know: devices other than the CPU, types other than f32.

use std::borrow::Cow;
use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::lanes::{exp, maximum, sigmoid, sum, vectorised};
use super::memory::{GRAIN, Memory, rows_per_task, tensor};
use super::product::{Matrix, Onto, product};
use super::{CrossEntropy, means};
use crate::model::ops::rope::Angles;

#[inline(always)]
fn inverse_rms(row: &[f32], eps: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a mean in f32, as PyTorch")]
    let mean = sum(row, row, |a, b| a * b) / row.len() as f32 + eps as f32;
    1.0 / mean.sqrt()
}

pub fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
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

pub fn rms_norm_backward(dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
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

pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let shape = gate.dims();
    let (gate, up) = (Memory::of(gate), Memory::of(up));
    let (gate, up) = (gate.slice(), up.slice());
    let mut y = vec![0.0; gate.len()];
    y.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN)).zip(up.par_chunks(GRAIN)).for_each(|((y, g), u)| {
        vectorised(|| {
            for ((y, g), u) in y.iter_mut().zip(g).zip(u) {
                *y = g * sigmoid(*g) * u;
            }
        });
    });
    tensor(y, shape)
}

pub fn swiglu_backward(dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> [Tensor<2>; 3] {
    let shape = gate.dims();
    // Three streams in, three out, in the same memory.
    let [mut y, mut gate, mut up] = [dy, gate, up].map(|x| Memory::of(x).into_vec());
    y.par_chunks_mut(GRAIN).zip(gate.par_chunks_mut(GRAIN)).zip(up.par_chunks_mut(GRAIN)).for_each(
        |((y, gate), up)| {
            vectorised(|| {
                for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                    let s = sigmoid(*g);
                    let silu = *g * s;
                    // silu'(g) = s * (1 + g * (1 - s))
                    let slope = s * (1.0 + *g * (1.0 - s));
                    (*y, *g, *u) = (silu * *u, *y * *u * slope, *y * silu);
                }
            });
        },
    );
    [y, gate, up].map(|values| tensor(values, shape))
}

pub fn rotate(x: Tensor<4>, angles: &Angles, inverse: bool) -> Tensor<4> {
    let shape = x.dims();
    let [_, n, t, d] = shape;
    let sign = if inverse { -1.0 } else { 1.0 };
    let mut y = Memory::of(x).into_vec();
    let half = d / 2;
    y.par_chunks_mut(t * d).enumerate().for_each(|(plane, values)| {
        let first = plane / n * t * half;
        for (row, head) in values.chunks_exact_mut(d).enumerate() {
            let at = first + row * half;
            let (cos, sin) = (&angles.cos[at..at + half], &angles.sin[at..at + half]);
            let (low, high) = head.split_at_mut(half);
            for (((l, h), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let s = sign * s;
                (*l, *h) = (*l * c - *h * s, *h * c + *l * s);
            }
        }
    });
    tensor(y, shape)
}

/// log Σ exp(xᵢ) of a row, and the maximum that was taken out.
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

pub fn cross_entropy(logits: Tensor<2>, labels: &[u32], counts: &[usize]) -> CrossEntropy {
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

pub fn negative_log_likelihood(logits: Tensor<2>, labels: &[u32]) -> Vec<f64> {
    let vocabulary = logits.dims()[1];
    let logits = Memory::of(logits);
    let rows = logits.slice().par_chunks(vocabulary).zip(labels);
    rows.map(|(row, label)| log_sum_exp(row).0 - label_logit(row, *label)).collect()
}

pub fn argmax(logits: Tensor<2>) -> Vec<u32> {
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

/// Bytes of a piece of gradient that is made, and added, while it lies in a core's cache.
const TILE: usize = 256 << 10;

/// Rows, and how far apart they lie. A product that walks down their columns wants them in different sets of a core's first
/// cache: rows a multiple of 512 bytes apart share few, which cost a sixth of the time, so these are moved apart.
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

pub fn add_abs_gradients(acc: Tensor<2>, dy: Tensor<2>, x: Tensor<2>, samples: &[Range<usize>]) -> Tensor<2> {
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
