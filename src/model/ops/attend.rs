//! Attention on the CPU, forward and backward, fused: a head's block of queries is scored, softened and multiplied while
//! it lies in a core's cache, and what the mask hides is never computed.
//!
//! Heads are spread over the threads; a head's own arithmetic runs on one, in a fixed order, so the
//! result does not depend on how many there are. Probabilities are not kept for the backward pass but
//! computed again: they are the only quadratic memory of a layer. Must not know: projections, caches.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::lanes::{softmax, softmax_backward, vectorised};
use super::memory::{Memory, tensor};
use super::product::{Matrix, Onto, product};
use crate::model::ops::mask::Mask;

/// Queries of one block. Part of the results' last bits, so a change raises the versions of the stages that read.
const BLOCK: usize = 64;

/// Where the rows of one task lie: some query heads of one sequence that share a key head.
struct Task {
    sequence: usize,
    key_head: usize,
    /// Rows before and after the end of this task's, over [B*n*T].
    rows: std::ops::Range<usize>,
}

/// Sizes of a call: B sequences, n query heads in groups over kv key heads, T queries, S keys, heads of d.
#[derive(Clone, Copy)]
struct Sizes {
    n: usize,
    kv: usize,
    t: usize,
    s: usize,
    d: usize,
}

impl Sizes {
    fn of(q: &Tensor<4>, k: &Tensor<4>) -> Self {
        let ([_, n, t, d], [_, kv, s, _]) = (q.dims(), k.dims());
        Self { n, kv, t, s, d }
    }

    /// Query heads of one task. With one query each, the heads of a group read the same keys in one product.
    fn heads(self) -> usize {
        if self.t == 1 { self.n / self.kv } else { 1 }
    }

    fn task(self, index: usize) -> Task {
        let heads = self.heads();
        let (sequence, head) = (index * heads / self.n, index * heads % self.n);
        let rows = index * heads * self.t;
        Task { sequence, key_head: head / (self.n / self.kv), rows: rows..rows + heads * self.t }
    }

    /// Blocks of a task's rows: the rows, and how many keys at most they see.
    fn blocks(self) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> {
        let rows = self.heads() * self.t;
        (0..rows).step_by(BLOCK).map(move |first| {
            let last = (first + BLOCK).min(rows);
            (first..last, if self.t == 1 { self.s } else { self.s - self.t + last })
        })
    }

    /// Attention probabilities of a block of queries, [rows, seen].
    fn probabilities(self, p: &mut Vec<f32>, q: Matrix<'_>, k: Matrix<'_>, block: &Block<'_>) {
        let seen = block.seen;
        p.resize(block.rows.len() * seen, 0.0);
        product(p, q, k.transposed(), Onto::Replace);
        vectorised(|| {
            for (row, values) in block.rows.clone().zip(p.chunks_exact_mut(seen)) {
                let visible = block.mask.visible(block.sequence, if self.t == 1 { 0 } else { row });
                softmax(values, visible.start..visible.end.min(seen), block.scale);
            }
        });
    }
}

/// Which queries a block holds and what they may see.
struct Block<'a> {
    rows: std::ops::Range<usize>,
    seen: usize,
    sequence: usize,
    mask: &'a Mask,
    scale: f32,
}

/// Attention of queries q [B, n, T, d] over keys and values [B, kv, S, d], whose last T slots are the queries' own.
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &Mask, scale: f32) -> Tensor<4> {
    let (shape, sizes) = (q.dims(), Sizes::of(&q, &k));
    let Sizes { t, d, .. } = sizes;
    let (q, k, v) = (Memory::of(q), Memory::strided(k), Memory::strided(v));
    let (q, (k, k_at), (v, v_at)) = (q.slice(), k.matrices(), v.matrices());
    let mut y = vec![0.0; q.len()];
    let tasks = y.par_chunks_mut((sizes.heads() * t * d).max(1)).enumerate();
    tasks.for_each_init(Vec::new, |p, (index, y)| {
        let task = sizes.task(index);
        let q = &q[task.rows.start * d..task.rows.end * d];
        let k = &k[k_at(task.sequence, task.key_head)..];
        let v = &v[v_at(task.sequence, task.key_head)..];
        for (rows, seen) in sizes.blocks() {
            let block = Block { rows: rows.clone(), seen, sequence: task.sequence, mask, scale };
            let q = Matrix::new(&q[rows.start * d..], rows.len(), d, d);
            sizes.probabilities(p, q, Matrix::new(k, seen, d, d), &block);
            let y = &mut y[rows.start * d..rows.end * d];
            product(y, Matrix::new(p, rows.len(), seen, seen), Matrix::new(v, seen, d, d), Onto::Replace);
        }
    });
    tensor(y, shape)
}

/// (dL/dq, dL/dk, dL/dv) of [`attend`] over whole sequences (S = T), given dL/dy [B, n, T, d].
pub fn attend_backward([q, k, v, dy]: [Tensor<4>; 4], mask: &Mask, scale: f32) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
    let (shape, key_shape, sizes) = (q.dims(), k.dims(), Sizes::of(&q, &k));
    let Sizes { n, kv, t, d, .. } = sizes;
    let (q, dy) = (Memory::of(q), Memory::of(dy));
    let (k, v) = (Memory::strided(k), Memory::strided(v));
    let (q, dy, (k, k_at), (v, v_at)) = (q.slice(), dy.slice(), k.matrices(), v.matrices());
    let plane = t * d;
    // Every query head has its own share of dk and dv, so that heads need not wait for each other.
    let mut dq = vec![0.0; q.len()];
    let (mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; q.len()]);
    let planes = dq.par_chunks_mut(plane).zip(dk.par_chunks_mut(plane)).zip(dv.par_chunks_mut(plane));
    planes.enumerate().for_each_init(
        Default::default,
        |(p, dp): &mut (Vec<f32>, Vec<f32>), (index, ((dq, dk), dv))| {
            let (sequence, key_head) = (index / n, index % n / (n / kv));
            let (q, dy) = (&q[index * plane..(index + 1) * plane], &dy[index * plane..(index + 1) * plane]);
            let k = &k[k_at(sequence, key_head)..];
            let v = &v[v_at(sequence, key_head)..];
            for first in (0..t).step_by(BLOCK) {
                let rows = first..(first + BLOCK).min(t);
                let (count, seen) = (rows.len(), rows.end);
                let block = Block { rows: rows.clone(), seen, sequence, mask, scale };
                let q = Matrix::new(&q[first * d..], count, d, d);
                let dy = Matrix::new(&dy[first * d..], count, d, d);
                let (k, v) = (Matrix::new(k, seen, d, d), Matrix::new(v, seen, d, d));
                sizes.probabilities(p, q, k, &block);
                product(&mut dv[..seen * d], Matrix::new(p, count, seen, seen).transposed(), dy, Onto::Add);
                dp.resize(count * seen, 0.0);
                product(dp, dy, v.transposed(), Onto::Replace);
                vectorised(|| {
                    for (dp, p) in dp.chunks_exact_mut(seen).zip(p.chunks_exact(seen)) {
                        softmax_backward(dp, p, scale);
                    }
                });
                let ds = Matrix::new(dp, count, seen, seen);
                product(&mut dq[first * d..rows.end * d], ds, k, Onto::Replace);
                product(&mut dk[..seen * d], ds.transposed(), q, Onto::Add);
            }
        },
    );
    let group = n / kv;
    (
        tensor(dq, shape),
        tensor(sum_groups(&dk, group, plane), key_shape),
        tensor(sum_groups(&dv, group, plane), key_shape),
    )
}

/// Adds the shares of the query heads of each group: [B, kv * group, plane] to [B, kv, plane].
fn sum_groups(shares: &[f32], group: usize, plane: usize) -> Vec<f32> {
    let mut sums = Vec::with_capacity(shares.len() / group.max(1));
    for shares in shares.chunks_exact((group * plane).max(1)) {
        let (first, others) = shares.split_at(plane);
        let start = sums.len();
        sums.extend_from_slice(first);
        for other in others.chunks_exact(plane.max(1)) {
            for (sum, share) in sums[start..].iter_mut().zip(other) {
                *sum += share;
            }
        }
    }
    sums
}
