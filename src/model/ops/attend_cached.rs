//! Attention over a cache of keys and values, on the CPU, in which a row has the same bits whatever is read beside it.
//!
//! A token that was read alone, in a prompt, or behind tokens that are only supposed sees the same keys in the same order.
//! Its scores come from [`super::row_product`], and its values are added by [`super::weighted_rows`]; both compute a row as
//! if it were alone. A sequence's first keys may lie in a slot that it shares with others ([`super::rows::Prefix`]).
//! Must not know: projections, layers, prompts.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::Attention;
use super::lanes::{softmax, tanh, vectorised};
use super::memory::{Memory, tensor};
use super::product::Matrix;
use super::registers::InstructionSet;
use super::row_product::row_product;
use super::rows::{Rows, Sequence};
use super::weighted_rows::add_weighted_rows;

/// Tokens whose queries meet the keys together. Nothing in a result depends on it.
const BLOCK: usize = 32;

/// Some tokens of one sequence, with the query heads that share a key head.
struct Task<'a> {
    sequence: &'a Sequence,
    tokens: Range<usize>,
    key_head: usize,
}

fn tasks(rows: &Rows, key_heads: usize) -> Vec<Task<'_>> {
    let mut tasks = Vec::new();
    for sequence in &rows.sequences {
        for start in (0..sequence.tokens()).step_by(BLOCK) {
            let tokens = start..sequence.tokens().min(start + BLOCK);
            tasks.extend((0..key_heads).map(|key_head| Task { sequence, tokens: tokens.clone(), key_head }));
        }
    }
    tasks
}

/// A cache [slots, kv, positions, d].
struct Planes {
    memory: Memory,
    shape: [usize; 4],
}

impl Planes {
    fn of(cache: &Tensor<4>) -> Self {
        Self { memory: Memory::of(cache.clone()), shape: cache.dims() }
    }

    /// Some positions of one slot and key head, [positions, d].
    fn matrix(&self, slot: usize, key_head: usize, positions: Range<usize>) -> Matrix<'_> {
        let [_, heads, length, d] = self.shape;
        let first = ((slot * heads + key_head) * length + positions.start) * d;
        Matrix::new(&self.memory.slice()[first..], positions.len(), d, d)
    }
}

/// What one thread needs for a task.
#[derive(Default)]
struct Buffers {
    queries: Vec<f32>,
    scores: Vec<f32>,
    visible: Vec<Range<usize>>,
}

/// See [`super::Ops::attend`].
pub fn attend(q: Tensor<2>, [k, v]: [&Tensor<4>; 2], rows: &Rows, attention: &Attention) -> Tensor<2> {
    let width = attention.heads * attention.head_dim;
    let each = width / attention.kv_heads;
    let q = Memory::of(q);
    let (q, k, v) = (q.slice(), Planes::of(k), Planes::of(v));
    let tasks = tasks(rows, attention.kv_heads);
    let set = InstructionSet::best();
    let attended = |buffers: &mut Buffers, task: &Task<'_>| attend_block(set, buffers, q, [&k, &v], task, attention);
    let done: Vec<Vec<f32>> = tasks.par_iter().map_init(Buffers::default, attended).collect();
    let mut y = vec![0.0; rows.count() * width];
    for (Task { sequence, tokens, key_head }, values) in tasks.iter().zip(&done) {
        for (token, values) in tokens.clone().zip(values.chunks_exact(each)) {
            let place = (sequence.rows.start + token) * width + key_head * each;
            y[place..place + each].copy_from_slice(values);
        }
    }
    tensor(y, [rows.count(), width])
}

/// The task's rows: by token, then by query head, each of size d.
fn attend_block(
    set: InstructionSet,
    Buffers { queries, scores, visible }: &mut Buffers,
    q: &[f32],
    [k, v]: [&Planes; 2],
    Task { sequence, tokens, key_head }: &Task<'_>,
    attention: &Attention,
) -> Vec<f32> {
    let (d, width) = (attention.head_dim, attention.heads * attention.head_dim);
    let group = attention.heads / attention.kv_heads;
    queries.clear();
    visible.clear();
    // Keys that no query of the block sees are left out.
    let from = attention.visible(sequence.first + tokens.start).start;
    for token in tokens.clone() {
        let start = (sequence.rows.start + token) * width + key_head * group * d;
        queries.extend_from_slice(&q[start..start + group * d]);
        let seen = attention.visible(sequence.first + token);
        visible.extend(std::iter::repeat_n(seen.start - from..seen.end - from, group));
    }
    let (count, seen) = (visible.len(), sequence.first + tokens.end - from);
    scores.clear();
    scores.resize(count * seen, 0.0);
    let parts = sequence.parts(from..from + seen);
    for (slot, positions, at) in &parts {
        let keys = k.matrix(*slot, *key_head, positions.clone());
        row_product(set, (&mut scores[at - from..], seen), Matrix::new(queries, count, d, d), keys);
    }
    probabilities(scores, visible, attention);
    let mut y = vec![0.0; count * d];
    for (slot, positions, at) in &parts {
        let part = at - from..at - from + positions.len();
        let ranges: Vec<Range<usize>> = visible.iter().map(|seen| overlap(seen, &part)).collect();
        let values = v.matrix(*slot, *key_head, positions.clone());
        add_weighted_rows(set, &mut y, (&scores[part.start..], seen), values, &ranges);
    }
    y
}

/// What of `seen` lies in `part`, counted from the part's beginning.
fn overlap(seen: &Range<usize>, part: &Range<usize>) -> Range<usize> {
    let place = |at: usize| at.clamp(part.start, part.end) - part.start;
    place(seen.start)..place(seen.end)
}

/// Scores to probabilities, in place, row by row over what each sees.
fn probabilities(scores: &mut [f32], visible: &[Range<usize>], attention: &Attention) {
    #[expect(clippy::cast_possible_truncation, reason = "f32 arithmetic")]
    let (scale, cap) = (attention.scale as f32, attention.cap.map(|cap| cap as f32));
    let seen = scores.len() / visible.len().max(1);
    vectorised(|| {
        for (row, visible) in scores.chunks_exact_mut(seen.max(1)).zip(visible) {
            if let Some(cap) = cap {
                for score in &mut row[visible.clone()] {
                    *score = tanh(*score * scale / cap);
                }
            }
            // After the cap the scores are c times what is there.
            softmax(row, visible.clone(), cap.unwrap_or(scale));
        }
    });
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::model::ops::rows::{Piece, Prefix};
    use crate::model::ops::{Host, Ops};

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.5), &Device::flex())
    }

    fn bits(x: &Tensor<2>) -> Vec<u32> {
        x.to_data().iter::<f32>().map(f32::to_bits).collect()
    }

    /// Reads a sequence of 80 tokens in pieces, in this slot and behind this prefix.
    fn read(
        [q, k, v]: [&Tensor<2>; 3],
        pieces: &[usize],
        (slot, prefix): (usize, Option<Prefix>),
        caches: [Tensor<4>; 2],
        attention: &Attention,
    ) -> (Tensor<2>, [Tensor<4>; 2]) {
        let mut caches = caches;
        let mut first = prefix.map_or(0, |prefix| prefix.tokens);
        let mut found = Vec::new();
        for tokens in pieces {
            let of = |x: &Tensor<2>| x.clone().narrow(0, first, *tokens);
            let rows = Rows::new([Piece { tokens: *tokens, first, slot, prefix }], 0);
            let [keys, values] = caches;
            caches = [Host.store(keys, of(k), &rows), Host.store(values, of(v), &rows)];
            found.push(attend(of(q), [&caches[0], &caches[1]], &rows, attention));
            first += tokens;
        }
        (Tensor::cat(found, 0), caches)
    }

    #[test]
    fn a_token_has_the_same_bits_in_any_pieces_and_behind_a_shared_prefix() {
        for (window, cap) in [(None, None), (Some(20), None), (None, Some(2.0)), (Some(50), Some(2.0))] {
            let attention = Attention { heads: 6, kv_heads: 2, head_dim: 24, scale: 0.2, window, cap };
            let qkv = [random([80, 144]), random([80, 48]), random([80, 48])];
            let qkv = qkv.each_ref();
            let empty = || [random([3, 2, 90, 24]), random([3, 2, 90, 24])];
            let (whole, caches) = read(qkv, &[80], (1, None), empty(), &attention);
            let (steps, _) = read(qkv, &[1; 80], (2, None), empty(), &attention);
            let (mixed, _) = read(qkv, &[33, 1, 7, 1, 38], (0, None), empty(), &attention);
            assert!(bits(&steps) == bits(&whole) && bits(&mixed) == bits(&whole), "{attention:?}");
            // The first 40 keys are those of slot 1.
            let prefix = Prefix { slot: 1, page: 90, tokens: 40 };
            let (behind, _) = read(qkv, &[9, 1, 30], (2, Some(prefix)), caches, &attention);
            assert_eq!(bits(&behind), bits(&whole.clone().narrow(0, 40, 40)), "{attention:?}");
            // The first 40 keys lie in two slots, 25 and 15 of them, where they were read as a sequence of their own.
            let pages = Prefix { slot: 0, page: 25, tokens: 40 };
            let head = qkv.map(|x| x.clone().narrow(0, 0, 40));
            let rows = Rows::new([Piece { tokens: 40, prefix: Some(pages), ..Piece::default() }], 0);
            let [keys, values] = empty();
            let caches = [Host.store(keys, head[1].clone(), &rows), Host.store(values, head[2].clone(), &rows)];
            let alone = attend(head[0].clone(), [&caches[0], &caches[1]], &rows, &attention);
            assert_eq!(bits(&alone), bits(&whole.clone().narrow(0, 0, 40)), "{attention:?}");
            let (behind, _) = read(qkv, &[1, 39], (2, Some(pages)), caches, &attention);
            assert_eq!(bits(&behind), bits(&whole.narrow(0, 40, 40)), "{attention:?}");
        }
    }
}
