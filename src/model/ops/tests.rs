//! Both forms of every operation against each other, on random tensors.

use std::ops::Range;

use burn::tensor::{DType, Device, Distribution, Tensor, TensorData};

use super::angles::Angles;
use super::rows::{Piece, Prefix, Rows};
use super::{Attention, Host, Keys, Ops, Plain};
use crate::model::arch::config::Gate;
use crate::model::arch::rope::Rope;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.5), &Device::flex())
}

fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>, what: &str) {
    let (a, b): (Vec<f32>, Vec<f32>) = (a.to_data().iter().collect(), b.to_data().iter().collect());
    let largest = b.iter().fold(0.0_f32, |high, value| high.max(value.abs()));
    for (index, (x, y)) in a.iter().zip(&b).enumerate() {
        assert!((x - y).abs() <= 1e-5 * y.abs() + 2e-6 * largest, "{what}: {x} against {y} at {index}");
    }
    assert_eq!(a.len(), b.len());
}

#[test]
fn values_are_replaced_and_what_they_replace_is_told() {
    let weight = random([5, 7]);
    let held = weight.clone();
    let before: Vec<f32> = held.to_data().iter().collect();
    let values = [(0, 0.0), (34, -2.5), (8, f32::MIN_POSITIVE)];
    for ops in [&Host as &dyn Ops, &Plain] {
        let (after, told) = ops.replace(weight.clone(), &values);
        assert_eq!(told, [before[0], before[34], before[8]]);
        let mut expected = before.clone();
        values.iter().for_each(|(index, value)| expected[*index as usize] = *value);
        assert_eq!(after.to_data().iter::<f32>().collect::<Vec<_>>(), expected);
    }
    assert_eq!(held.to_data().iter::<f32>().collect::<Vec<_>>(), before, "who else holds it sees nothing");
}

#[test]
fn norms_agree() {
    let (x, dy, w) = (random([7, 37]), random([7, 37]), random([37]));
    close(Host.rms_norm(x.clone(), &w, 1e-5), Plain.rms_norm(x.clone(), &w, 1e-5), "forward");
    close(
        Host.rms_norm_backward(dy.clone(), x.clone(), &w, 1e-5),
        Plain.rms_norm_backward(dy, x, &w, 1e-5),
        "backward",
    );
}

#[test]
fn gates_agree() {
    for f in [Gate::Silu, Gate::GeluTanh] {
        let (g, u, dy) = (random([5, 41]), random([5, 41]), random([5, 41]));
        close(Host.gate(f, &g, &u), Plain.gate(f, &g, &u), "forward");
        let y = Host.gate(f, &g, &u);
        let host = Host.gate_backward(f, dy.clone(), g.clone(), u.clone());
        assert_eq!(host[0].to_data().as_slice::<f32>().unwrap(), y.to_data().as_slice::<f32>().unwrap());
        let plain = Plain.gate_backward(f, dy, g, u).into_iter().zip(["y", "gate", "up"]);
        for (host, (plain, what)) in host.into_iter().zip(plain) {
            close(host, plain, what);
        }
    }
}

#[test]
fn gelu_is_the_function_of_its_name() {
    let x = [-3.0_f32, -0.5, 0.0, 0.1, 2.0, 8.0];
    let tensor = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [1, 6]), &Device::flex());
    let found: Vec<f32> =
        Host.gate(Gate::GeluTanh, &tensor, &Tensor::ones([1, 6], &Device::flex())).to_data().iter().collect();
    for (x, found) in x.into_iter().map(f64::from).zip(found) {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        assert!((f64::from(found) - 0.5 * x * (1.0 + u.tanh())).abs() < 1e-6, "{x}: {found}");
    }
}

#[test]
fn rotation_agrees_and_turns_back() {
    let angles = Angles::of(&Rope::plain(10000.0), 8, &[0, 1, 2, 5, 6, 7], &Device::flex(), DType::F32);
    let x = random([6, 24]);
    let host = Host.rotate(x.clone(), &angles, false);
    close(host.clone(), Plain.rotate(x.clone(), &angles, false), "forward");
    close(Host.rotate(host, &angles, true), x, "back again");
}

fn attention(window: Option<usize>, cap: Option<f64>) -> Attention {
    Attention { heads: 4, kv_heads: 2, head_dim: 8, scale: 0.3, window, cap }
}

#[test]
fn attention_agrees_within_sequences_of_any_lengths() {
    // More than one block of queries, groups of two, a sequence of one token, and rows that belong to nobody.
    for (tokens, least) in [(vec![3], 0), (vec![5, 1, 2], 11), (vec![150, 70], 0)] {
        let rows = Rows::whole(tokens, least);
        for attention in [attention(None, None), attention(Some(2), None), attention(Some(60), Some(2.0))] {
            let n = rows.count();
            let (q, dy) = (random([n, 32]), random([n, 32]));
            let (k, v) = (random([n, 16]), random([n, 16]));
            let keys = || Keys::Batch { k: &k, v: &v };
            let host = Host.attend(q.clone(), keys(), &rows, &attention);
            let rest = host.to_data().iter::<f32>().skip(rows.used() * 32).collect::<Vec<_>>();
            assert!(rest.len() == (n - rows.used()) * 32 && rest.iter().all(|value| *value == 0.0));
            close(host, Plain.attend(q.clone(), keys(), &rows, &attention), "forward");
            let all = || [q.clone(), k.clone(), v.clone(), dy.clone()];
            let host = Host.attend_backward(all(), &rows, &attention);
            let plain = Plain.attend_backward(all(), &rows, &attention).into_iter().zip(["dq", "dk", "dv"]);
            for (host, (plain, what)) in host.into_iter().zip(plain) {
                close(host, plain, what);
            }
        }
    }
}

#[test]
fn attention_over_a_cache_is_attention_over_the_whole_sequence() {
    let attention = attention(Some(4), None);
    let whole = Rows::whole([9, 6], 0);
    let (q, k, v) = (random([15, 32]), random([15, 16]), random([15, 16]));
    let expected = Host.attend(q.clone(), Keys::Batch { k: &k, v: &v }, &whole, &attention);
    for ops in [&Host as &dyn Ops, &Plain] {
        // What another sequence left in the slots must not matter.
        let mut caches = [random([3, 2, 12, 8]), random([3, 2, 12, 8])];
        // The first sequence in three pieces beside the second in two, in slots 2 and 0.
        for pieces in [[(0..4, 0, 2), (9..9, 0, 0)], [(4..5, 4, 2), (9..14, 0, 0)], [(5..9, 5, 2), (14..15, 5, 0)]] {
            let pieces: Vec<_> = pieces.into_iter().filter(|(rows, ..)| !rows.is_empty()).collect();
            let sequences = pieces.iter().map(|(rows, first, slot)| (rows.len(), *first, *slot));
            let rows = Rows::new(sequences, 0);
            let of = |x: &Tensor<2>| {
                rows.join(pieces.iter().map(|(rows, ..)| x.clone().narrow(0, rows.start, rows.len())).collect())
            };
            let [keys, values] = caches;
            caches = [ops.store(keys, of(&k), &rows), ops.store(values, of(&v), &rows)];
            let [keys, values] = &caches;
            let found = ops.attend(of(&q), Keys::Cache { k: keys, v: values }, &rows, &attention);
            close(found, of(&expected), "a piece");
        }
    }
}

#[test]
fn a_shared_prefix_is_attended_to_as_the_beginning_of_every_sequence() {
    let attention = attention(None, None);
    let (q, k, v) = (random([15, 32]), random([15, 16]), random([15, 16]));
    let keys = Keys::Batch { k: &k, v: &v };
    let expected = Host.attend(q.clone(), keys, &Rows::whole([15], 0), &attention).narrow(0, 9, 6);
    // Nine tokens in slots 1 and 2, five a slot, and what follows them in slots 0 and 3.
    let prefix = Some(Prefix { slot: 1, page: 5, tokens: 9 });
    let head = Rows::new([Piece { tokens: 9, prefix, ..Piece::default() }], 0);
    let tails = Rows::new([0, 3].map(|slot| Piece { tokens: 6, first: 9, slot, prefix }), 0);
    let twice = |x: &Tensor<2>| Tensor::cat(vec![x.clone().narrow(0, 9, 6); 2], 0);
    for ops in [&Host as &dyn Ops, &Plain] {
        let empty = || random([4, 2, 6, 8]);
        let stored = |x: &Tensor<2>| {
            let cache = ops.store(empty(), x.clone().narrow(0, 0, 9), &head);
            ops.store(cache, twice(x), &tails)
        };
        let (keys, values) = (stored(&k), stored(&v));
        let found = ops.attend(twice(&q), Keys::Cache { k: &keys, v: &values }, &tails, &attention);
        close(found, Tensor::cat(vec![expected.clone(); 2], 0), "behind a prefix");
    }
}

#[test]
fn caps_agree() {
    let (x, dy) = (random([4, 19]), random([4, 19]));
    let y = Host.cap(x.clone(), 1.5);
    close(y.clone(), Plain.cap(x.clone(), 1.5), "forward");
    let step = |delta: f64| Plain.cap(x.clone().add_scalar(delta), 1.5);
    let slope = (step(1e-2) - step(-1e-2)).div_scalar(2e-2) * dy.clone();
    let found = Host.cap_backward(dy, y, 1.5);
    let largest = |x: Tensor<2>| x.abs().max().into_scalar::<f32>();
    assert!(largest(found - slope) < 2e-3);
}

#[test]
fn cross_entropies_agree() {
    let (logits, labels) = (random([4, 53]), [0, 52, 7, 7]);
    let (host, backend) =
        (Host.cross_entropy(logits.clone(), &labels, &[3, 1]), Plain.cross_entropy(logits.clone(), &labels, &[3, 1]));
    assert_eq!(host.losses.len(), 2);
    assert!(host.losses.iter().zip(&backend.losses).all(|(a, b)| (a - b).abs() < 1e-6));
    close(host.gradient, backend.gradient, "gradient");
    let host = Host.negative_log_likelihood(logits.clone(), &labels);
    let backend = Plain.negative_log_likelihood(logits, &labels);
    assert!(host.iter().zip(&backend).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn the_lowest_index_wins_among_equals() {
    let logits = || {
        Tensor::<2>::from_data(
            TensorData::new(vec![1.0_f32, 3.0, 3.0, 0.0, 9.0, -1.0, 2.0, 9.0], [2, 4]),
            &Device::flex(),
        )
    };
    assert_eq!(Host.argmax(logits()), [1, 0]);
    assert_eq!(Plain.argmax(logits()), [1, 0]);
}

#[test]
fn sums_of_absolute_values_agree() {
    // Wider than a tile, so that several tiles and a rest are made.
    for (tokens, out, input) in [(5, 9, 11), (33, 300, 700), (33, 300, 512)] {
        let (acc, dy, x) = (random([out, input]), random([tokens, out]), random([tokens, input]));
        // Two samples, and a row that belongs to none.
        let samples = [0..tokens / 3, tokens / 3..tokens - 1];
        let host = Host.add_abs_gradients(acc.clone(), &dy, &x, &samples);
        let one = |acc, rows: &Range<usize>| Host.add_abs_gradients(acc, &dy, &x, std::slice::from_ref(rows));
        let after_another = one(one(acc.clone(), &samples[0]), &samples[1]);
        assert_eq!(host.to_data().as_slice::<f32>().unwrap(), after_another.to_data().as_slice::<f32>().unwrap());
        close(host, Plain.add_abs_gradients(acc, &dy, &x, &samples), "sums");
    }
}

#[test]
fn views_are_read_as_what_they_show() {
    let (x, w) = (random([8, 6]), random([6]));
    let part = x.clone().narrow(0, 3, 2);
    close(Host.rms_norm(part.clone(), &w, 1e-5), Plain.rms_norm(part, &w, 1e-5), "narrowed");
    let turned = x.transpose();
    let w = random([8]);
    close(Host.rms_norm(turned.clone(), &w, 1e-5), Plain.rms_norm(turned, &w, 1e-5), "transposed");
}
