//! The element-wise operations as fused loops over host memory, rows spread over the threads.
//!
//! Safe Rust throughout: a tensor of the CPU backend lends its memory as a slice. Sums run in a
//! fixed number of lanes, so the result does not depend on the number of threads.
//! Must not know: devices other than the CPU, types other than f32.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Device, Shape, Tensor, TensorData};
use rayon::prelude::*;

use super::CrossEntropy;
use crate::model::mask::Mask;
use crate::model::rope::Angles;

/// Lanes of a sum: two registers of eight floats, so that the compiler can use vector adds.
const LANES: usize = 16;
/// The least elements worth a thread's while.
const GRAIN: usize = 1 << 13;

/// The memory of a tensor, contiguous and row-major. Copies only if the tensor is a strided view.
struct Memory(FloatTensor<Flex>);

impl Memory {
    fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let primitive = tensor.try_into_primitive::<Flex>().expect("Ops::of chose host loops for a CPU tensor");
        Self(if primitive.as_slice::<f32>().is_some() { primitive } else { primitive.to_contiguous() })
    }

    fn slice(&self) -> &[f32] {
        self.0.as_slice().expect("contiguous f32 by construction")
    }

    /// The values, moved out where nobody else holds them.
    fn into_vec(self) -> Vec<f32> {
        let values = self.slice();
        if self.0.is_unique() && self.0.layout().start_offset() == 0 && self.0.storage::<f32>().len() == values.len() {
            let data = self.0.into_data();
            return data.try_into_vec::<f32>().expect("f32 by construction");
        }
        values.to_vec()
    }
}

fn tensor<const D: usize>(values: Vec<f32>, shape: impl Into<Shape>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Rows per task, so that a task is worth a thread.
fn rows_per_task(columns: usize) -> usize {
    (GRAIN / columns.max(1)).max(1)
}

/// Σ f(aᵢ, bᵢ) in [`LANES`] running sums, which are added at the end.
fn sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (heads_a, tail_a) = a.as_chunks::<LANES>();
    let (heads_b, tail_b) = b.as_chunks::<LANES>();
    for (a, b) in heads_a.iter().zip(heads_b) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    lanes.iter().sum::<f32>() + tail_a.iter().zip(tail_b).map(|(a, b)| f(*a, *b)).sum::<f32>()
}

/// The highest value of a row.
fn maximum(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (heads, tail) = row.as_chunks::<LANES>();
    for values in heads {
        for lane in 0..LANES {
            lanes[lane] = if values[lane] > lanes[lane] { values[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |high, value| high.max(*value))
}

/// eˣ to about one unit in the last place, written so that the compiler can vectorise it: Cody and Waite's
/// reduction by ln 2 and a polynomial of degree 6 (Cephes' `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    // Written with plain comparisons, so that a NaN stays a NaN and is reported by whoever reads the result.
    let x = if x > 88.376_26 { 88.376_26 } else { x };
    let x = if x < -87.336_54 { -87.336_54 } else { x };
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_6e-1;
    p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    // 2ⁿ through the exponent bits; n lies in [-126, 127].
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "n is whole and small")]
    let power = f32::from_bits(((n as i32 + 127) as u32) << 23);
    value * power
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

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
        let inverse = inverse_rms(x, eps);
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = (x * inverse) * w;
        }
    });
    tensor(y, [n, h])
}

pub fn rms_norm_backward(dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    let [n, h] = x.dims();
    let (x, weight) = (Memory::of(x), Memory::of(weight.clone()));
    let (x, weight) = (x.slice(), weight.slice());
    let mut dx = Memory::of(dy).into_vec();
    dx.par_chunks_mut(h).zip(x.par_chunks(h)).with_min_len(rows_per_task(h)).for_each(|(dx, x)| {
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
    tensor(dx, [n, h])
}

pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let shape = gate.dims();
    let (gate, up) = (Memory::of(gate), Memory::of(up));
    let (gate, up) = (gate.slice(), up.slice());
    let mut y = vec![0.0; gate.len()];
    y.par_chunks_mut(GRAIN).zip(gate.par_chunks(GRAIN)).zip(up.par_chunks(GRAIN)).for_each(|((y, g), u)| {
        for ((y, g), u) in y.iter_mut().zip(g).zip(u) {
            *y = g * sigmoid(*g) * u;
        }
    });
    tensor(y, shape)
}

pub fn swiglu_backward(dy: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let shape = gate.dims();
    let dy = Memory::of(dy);
    let (mut dg, mut du) = (Memory::of(gate).into_vec(), Memory::of(up).into_vec());
    dg.par_chunks_mut(GRAIN).zip(du.par_chunks_mut(GRAIN)).zip(dy.slice().par_chunks(GRAIN)).for_each(
        |((gate, up), dy)| {
            for ((g, u), d) in gate.iter_mut().zip(up).zip(dy) {
                let s = sigmoid(*g);
                let silu = *g * s;
                // silu'(g) = s * (1 + g * (1 - s))
                let slope = s * (1.0 + *g * (1.0 - s));
                (*g, *u) = (d * *u * slope, d * silu);
            }
        },
    );
    (tensor(dg, shape), tensor(du, shape))
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

pub fn softmax(x: Tensor<4>, mask: &Mask, scale: f64) -> Tensor<4> {
    let shape = x.dims();
    let [_, n, t, s] = shape;
    #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
    let scale = scale as f32;
    let mut p = Memory::of(x).into_vec();
    p.par_chunks_mut(s).enumerate().with_min_len(rows_per_task(s)).for_each(|(row, values)| {
        let visible = mask.visible(row / (n * t), row % t);
        let (start, end) = (visible.start, visible.end.min(s));
        values[..start].fill(0.0);
        values[end..].fill(0.0);
        let seen = &mut values[start..end];
        let high = maximum(seen) * scale;
        for value in seen.iter_mut() {
            *value = exp(*value * scale - high);
        }
        let inverse = 1.0 / sum(seen, seen, |a, _| a);
        for value in seen.iter_mut() {
            *value *= inverse;
        }
    });
    tensor(p, shape)
}

pub fn softmax_backward(p: Tensor<4>, dp: Tensor<4>, mask: &Mask, scale: f64) -> Tensor<4> {
    let shape = p.dims();
    let [_, n, t, s] = shape;
    #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
    let scale = scale as f32;
    let dp = Memory::of(dp);
    let mut dx = Memory::of(p).into_vec();
    dx.par_chunks_mut(s).zip(dp.slice().par_chunks(s)).enumerate().with_min_len(rows_per_task(s)).for_each(
        |(row, (p, dp))| {
            let visible = mask.visible(row / (n * t), row % t);
            let (start, end) = (visible.start, visible.end.min(s));
            let (p, dp) = (&mut p[start..end], &dp[start..end]);
            let along = sum(p, dp, |p, dp| p * dp);
            for (p, dp) in p.iter_mut().zip(dp) {
                *p = *p * (dp - along) * scale;
            }
        },
    );
    tensor(dx, shape)
}

/// log Σ exp(xᵢ) of a row, and the maximum that was taken out.
fn log_sum_exp(row: &[f32]) -> (f64, f32, f32) {
    let high = maximum(row);
    let total = sum(row, row, |x, _| exp(x - high));
    (f64::from(high) + f64::from(total).ln(), high, total)
}

fn label_logit(row: &[f32], label: u32) -> f64 {
    f64::from(row[label as usize])
}

pub fn cross_entropy(logits: Tensor<2>, labels: &[u32], divisor: f64) -> CrossEntropy {
    let shape = logits.dims();
    let vocabulary = shape[1];
    #[expect(clippy::cast_possible_truncation, reason = "f32 gradients")]
    let share = (1.0 / divisor) as f32;
    let mut gradient = Memory::of(logits).into_vec();
    let losses: Vec<f64> = gradient
        .par_chunks_mut(vocabulary)
        .zip(labels)
        .map(|(row, label)| {
            let (log_total, high, total) = log_sum_exp(row);
            let loss = log_total - label_logit(row, *label);
            let weight = share / total;
            for value in row.iter_mut() {
                *value = exp(*value - high) * weight;
            }
            row[*label as usize] -= share;
            loss
        })
        .collect();
    CrossEntropy { loss: losses.iter().sum::<f64>() / divisor, gradient: tensor(gradient, shape) }
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
            let high = maximum(row);
            let index = row.iter().position(|value| *value == high).unwrap_or(0);
            u32::try_from(index).unwrap_or(u32::MAX)
        })
        .collect()
}

pub fn add_abs(acc: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
    let shape = acc.dims();
    let x = Memory::of(x);
    let mut acc = Memory::of(acc).into_vec();
    acc.par_chunks_mut(GRAIN).zip(x.slice().par_chunks(GRAIN)).for_each(|(acc, x)| {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc += x.abs();
        }
    });
    tensor(acc, shape)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_right_to_the_last_places_over_its_whole_range() {
        let mut worst = 0.0_f64;
        for step in 0..200_000 {
            #[expect(clippy::cast_precision_loss, reason = "a grid")]
            let x = -87.0 + 175.0 * (step as f32) / 200_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert!(exp(f32::NAN).is_nan() && exp(-1e30) >= 0.0 && exp(1e30).is_finite());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }
}
