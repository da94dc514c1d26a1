//! Attention within a batch on the CPU, forward and backward, in fused loops. For one block of a head's queries, the scores, their softmax and
//! the product with the values are computed while they are in a core's cache. What the mask hides is never computed.
//!
//! Sequences and heads are distributed over the threads. The arithmetic of one head runs on one thread, in a fixed order. So
//! the result depends neither on the number of threads nor on what else is in the batch. The backward pass computes the
//! probabilities again, because they would be the only memory of a layer that grows with the square of the length.
//! Must not know: projections, layers.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::Attention;
use super::lanes::{softmax, softmax_backward, tanh, vectorised};
use super::memory::{Memory, rows_per_task, tensor};
use super::product::{Matrix, Onto, product};
use super::rows::{Rows, Sequence};

/// Queries of one block. It influences the last bits of results, so a change raises the versions of the stages that run the
/// decoder.
const BLOCK: usize = 64;

/// Some query heads of one sequence that share a key head.
struct Task<'a> {
    sequence: &'a Sequence,
    heads: Range<usize>,
}

/// The tasks of a batch, in the order of sequences and heads. If a sequence has one token, the heads of a group share one
/// product with their keys. If it has several, each head has products of its own.
fn tasks<'a>(rows: &'a Rows, attention: &Attention) -> Vec<Task<'a>> {
    let of = |sequence: &'a Sequence| {
        let heads = if sequence.tokens() == 1 { attention.heads / attention.kv_heads } else { 1 };
        (0..attention.heads).step_by(heads).map(move |head| Task { sequence, heads: head..head + heads })
    };
    rows.sequences.iter().flat_map(of).collect()
}

/// Keys or values of every sequence, [seen, d] for a key head.
struct Planes {
    memory: Memory,
    kv_heads: usize,
    d: usize,
}

impl Planes {
    fn of(x: Tensor<2>, attention: &Attention) -> Self {
        Self { memory: Memory::of(x), kv_heads: attention.kv_heads, d: attention.head_dim }
    }

    fn matrix(&self, sequence: &Sequence, key_head: usize, seen: usize) -> Matrix<'_> {
        let width = self.kv_heads * self.d;
        let first = sequence.rows.start * width + key_head * self.d;
        Matrix::new(&self.memory.slice()[first..], seen, self.d, width)
    }
}

/// Queries of one head, or of the heads of a group with one query each: [rows, d] of [N, n*d].
fn queries<'a>(values: &'a [f32], task: &Task<'_>, block: &Range<usize>, attention: &Attention) -> Matrix<'a> {
    let (d, width) = (attention.head_dim, attention.heads * attention.head_dim);
    let start = task.sequence.rows.start * width + task.heads.start * d;
    let stride = if task.sequence.tokens() == 1 { d } else { width };
    Matrix::new(&values[start + block.start * stride..], block.len(), d, stride)
}

/// The blocks of a task's queries, and how many keys at most each sees.
fn blocks(task: &Task<'_>) -> impl Iterator<Item = (Range<usize>, usize)> + use<> {
    let (tokens, heads, first) = (task.sequence.tokens(), task.heads.len(), task.sequence.first);
    (0..tokens * heads).step_by(BLOCK).map(move |start| {
        let end = (start + BLOCK).min(tokens * heads);
        (start..end, if tokens == 1 { first + 1 } else { first + end })
    })
}

/// Attention probabilities of a block of queries, [rows, seen]. With a cap, `slope` gets its derivative at every score.
fn probabilities(
    p: &mut Vec<f32>,
    slope: Option<&mut Vec<f32>>,
    [q, k]: [Matrix<'_>; 2],
    (task, block, seen): (&Task<'_>, &Range<usize>, usize),
    attention: &Attention,
) {
    #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
    let (scale, cap) = (attention.scale as f32, attention.cap.map(|cap| cap as f32));
    p.resize(block.len() * seen, 0.0);
    product(p, q, k.transposed(), Onto::Replace);
    if let Some(cap) = cap {
        vectorised(|| {
            for p in p.iter_mut() {
                *p = tanh(*p * scale / cap);
            }
        });
        if let Some(slope) = slope {
            slope.clear();
            slope.extend(p.iter().map(|tanh| 1.0 - tanh * tanh));
        }
    }
    // After the cap the scores are c times what is there.
    let scale = cap.unwrap_or(scale);
    let alone = task.sequence.tokens() == 1;
    vectorised(|| {
        for (row, values) in block.clone().zip(p.chunks_exact_mut(seen)) {
            let visible = attention.visible(task.sequence.first + if alone { 0 } else { row });
            softmax(values, visible.start..visible.end.min(seen), scale);
        }
    });
}

/// Puts the rows of tasks [heads, T, d] into one tensor [N, heads*d]. Rows that belong to no sequence are zero.
fn side_by_side(rows: &Rows, heads: usize, d: usize, tasks: &[Vec<f32>]) -> Tensor<2> {
    let width = heads * d;
    let mut y = vec![0.0; rows.count() * width];
    let mut rest = &mut y[..];
    let mut tasks = tasks;
    for sequence in &rows.sequences {
        let (mine, others) = rest.split_at_mut(sequence.tokens() * width);
        rest = others;
        let count = mine.len() / tasks.first().map_or(1, Vec::len).max(1);
        let (parts, others) = tasks.split_at(count);
        tasks = others;
        mine.par_chunks_mut(width).enumerate().with_min_len(rows_per_task(width)).for_each(|(row, y)| {
            let each = width / count.max(1);
            for (y, part) in y.chunks_exact_mut(each).zip(parts) {
                y.copy_from_slice(&part[row * each..(row + 1) * each]);
            }
        });
    }
    tensor(y, [rows.count(), width])
}

/// See [`super::Ops::attend`], for keys and values [N, kv*d] of the batch itself.
pub fn attend(q: Tensor<2>, [k, v]: [&Tensor<2>; 2], rows: &Rows, attention: &Attention) -> Tensor<2> {
    let (n, kv, d) = (attention.heads, attention.kv_heads, attention.head_dim);
    let q = Memory::of(q);
    let q = q.slice();
    let (k, v) = (Planes::of(k.clone(), attention), Planes::of(v.clone(), attention));
    let done: Vec<Vec<f32>> = tasks(rows, attention)
        .into_par_iter()
        .map_init(Vec::new, |p, task| {
            let key_head = task.heads.start / (n / kv);
            let mut y = vec![0.0; task.sequence.tokens() * task.heads.len() * d];
            for (block, seen) in blocks(&task) {
                let k = k.matrix(task.sequence, key_head, seen);
                let v = v.matrix(task.sequence, key_head, seen);
                probabilities(p, None, [queries(q, &task, &block, attention), k], (&task, &block, seen), attention);
                let y = &mut y[block.start * d..block.end * d];
                product(y, Matrix::new(p, block.len(), seen, seen), v, Onto::Replace);
            }
            y
        })
        .collect();
    side_by_side(rows, n, d, &done)
}

/// See [`super::Ops::attend_backward`].
pub fn attend_backward([q, k, v, dy]: [Tensor<2>; 4], rows: &Rows, attention: &Attention) -> [Tensor<2>; 3] {
    let (n, kv, d) = (attention.heads, attention.kv_heads, attention.head_dim);
    let (q, dy) = (Memory::of(q), Memory::of(dy));
    let (q, dy) = (q.slice(), dy.slice());
    let (k, v) = (Planes::of(k, attention), Planes::of(v, attention));
    #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
    let scale = attention.scale as f32;
    let each = |sequence| (0..n).map(move |head| Task { sequence, heads: head..head + 1 });
    let tasks: Vec<Task<'_>> = rows.sequences.iter().flat_map(each).collect();
    // Every query head has its own share of dk and dv, so that heads need not wait for each other.
    let shares: Vec<[Vec<f32>; 3]> = tasks
        .into_par_iter()
        .map_init(Default::default, |[p, dp, slope]: &mut [Vec<f32>; 3], task| {
            let (t, key_head) = (task.sequence.tokens(), task.heads.start / (n / kv));
            let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![0.0; t * d]);
            for (block, seen) in blocks(&task) {
                let count = block.len();
                let (q, dy) = (queries(q, &task, &block, attention), queries(dy, &task, &block, attention));
                let (k, v) = (k.matrix(task.sequence, key_head, seen), v.matrix(task.sequence, key_head, seen));
                probabilities(p, Some(&mut *slope), [q, k], (&task, &block, seen), attention);
                product(&mut dv[..seen * d], Matrix::new(p, count, seen, seen).transposed(), dy, Onto::Add);
                dp.resize(count * seen, 0.0);
                product(dp, dy, v.transposed(), Onto::Replace);
                vectorised(|| {
                    for (dp, p) in dp.chunks_exact_mut(seen).zip(p.chunks_exact(seen)) {
                        softmax_backward(dp, p, scale);
                    }
                });
                if attention.cap.is_some() {
                    for (dp, slope) in dp.iter_mut().zip(&*slope) {
                        *dp *= slope;
                    }
                }
                let ds = Matrix::new(dp, count, seen, seen);
                product(&mut dq[block.start * d..block.end * d], ds, k, Onto::Replace);
                product(&mut dk[..seen * d], ds.transposed(), q, Onto::Add);
            }
            [dq, dk, dv]
        })
        .collect();
    let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
    for [q, k, v] in shares {
        dq.push(q);
        dk.push(k);
        dv.push(v);
    }
    let group = n / kv;
    [
        side_by_side(rows, n, d, &dq),
        side_by_side(rows, kv, d, &sum_groups(dk, group)),
        side_by_side(rows, kv, d, &sum_groups(dv, group)),
    ]
}

/// Sums the gradients of the query heads of each group.
fn sum_groups(shares: Vec<Vec<f32>>, group: usize) -> Vec<Vec<f32>> {
    let mut sums: Vec<Vec<f32>> = Vec::with_capacity(shares.len() / group.max(1));
    for (index, share) in shares.into_iter().enumerate() {
        match sums.last_mut() {
            Some(sum) if !index.is_multiple_of(group.max(1)) => {
                sum.iter_mut().zip(&share).for_each(|(sum, share)| *sum += share);
            }
            _ => sums.push(share),
        }
    }
    sums
}
