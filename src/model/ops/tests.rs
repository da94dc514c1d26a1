//! Both forms of every operation against each other, on random tensors.

use std::ops::Range;

use burn::tensor::{Device, Distribution, Tensor, TensorData};

use super::Ops;
use crate::model::ops::mask::Mask;
use crate::model::ops::rope::Angles;

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
fn norms_agree() {
    let (x, dy, w) = (random([7, 37]), random([7, 37]), random([37]));
    close(Ops::Host.rms_norm(x.clone(), &w, 1e-5), Ops::Backend.rms_norm(x.clone(), &w, 1e-5), "forward");
    close(
        Ops::Host.rms_norm_backward(dy.clone(), x.clone(), &w, 1e-5),
        Ops::Backend.rms_norm_backward(dy, x, &w, 1e-5),
        "backward",
    );
}

#[test]
fn gates_agree() {
    let (g, u, dy) = (random([5, 41]), random([5, 41]), random([5, 41]));
    close(Ops::Host.swiglu(&g, &u), Ops::Backend.swiglu(&g, &u), "forward");
    let y = Ops::Host.swiglu(&g, &u);
    let host = Ops::Host.swiglu_backward(dy.clone(), g.clone(), u.clone());
    assert_eq!(host[0].to_data().as_slice::<f32>().unwrap(), y.to_data().as_slice::<f32>().unwrap());
    for (host, (backend, what)) in
        host.into_iter().zip(Ops::Backend.swiglu_backward(dy, g, u).into_iter().zip(["y", "gate", "up"]))
    {
        close(host, backend, what);
    }
}

#[test]
fn rotation_agrees_and_turns_back() {
    let config = crate::model::arch::config::DecoderConfig { head_dim: 8, ..crate::model::testing::small() };
    let angles = Angles::of(&config, &[0, 1, 2, 5, 6, 7]);
    let x = random([2, 3, 3, 8]);
    let host = Ops::Host.rotate(x.clone(), &angles, false);
    close(host.clone(), Ops::Backend.rotate(x.clone(), &angles, false), "forward");
    close(Ops::Host.rotate(host, &angles, true), x, "back again");
}

#[test]
fn attention_agrees_under_every_kind_of_mask() {
    // More than one block of queries, groups of two, and a cache of which only a part is filled.
    for (t, s, mask) in [
        (3, 3, Mask::new(vec![0, 0], 0, None)),
        (3, 7, Mask::new(vec![0, 3], 4, Some(2))),
        (1, 5, Mask::new(vec![1, 4], 4, None)),
        (150, 150, Mask::new(vec![0, 0], 0, None)),
        (150, 300, Mask::new(vec![7, 0], 150, Some(60))),
    ] {
        let (q, dy) = (random([2, 4, t, 8]), random([2, 4, t, 8]));
        let (k, v) = (random([2, 2, s + 5, 8]).narrow(2, 0, s), random([2, 2, s + 5, 8]).narrow(2, 0, s));
        let host = Ops::Host.attend(q.clone(), k.clone(), v.clone(), &mask, 0.3);
        close(host, Ops::Backend.attend(q.clone(), k.clone(), v.clone(), &mask, 0.3), "forward");
        if t == s {
            let host = Ops::Host.attend_backward([q.clone(), k.clone(), v.clone(), dy.clone()], &mask, 0.3);
            let backend = Ops::Backend.attend_backward([q, k, v, dy], &mask, 0.3);
            close(host.0, backend.0, "dq");
            close(host.1, backend.1, "dk");
            close(host.2, backend.2, "dv");
        }
    }
}

#[test]
fn cross_entropies_agree() {
    let (logits, labels) = (random([4, 53]), [0, 52, 7, 7]);
    let (host, backend) = (
        Ops::Host.cross_entropy(logits.clone(), &labels, &[3, 1]),
        Ops::Backend.cross_entropy(logits.clone(), &labels, &[3, 1]),
    );
    assert_eq!(host.losses.len(), 2);
    assert!(host.losses.iter().zip(&backend.losses).all(|(a, b)| (a - b).abs() < 1e-6));
    close(host.gradient, backend.gradient, "gradient");
    let host = Ops::Host.negative_log_likelihood(logits.clone(), &labels);
    let backend = Ops::Backend.negative_log_likelihood(logits, &labels);
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
    assert_eq!(Ops::Host.argmax(logits()), [1, 0]);
    assert_eq!(Ops::Backend.argmax(logits()), [1, 0]);
}

#[test]
fn sums_of_absolute_values_agree() {
    // Wider than a tile, so that several tiles and a rest are made.
    for (tokens, out, input) in [(5, 9, 11), (33, 300, 700), (33, 300, 512)] {
        let (acc, dy, x) = (random([out, input]), random([tokens, out]), random([tokens, input]));
        // Two samples, and a row that belongs to none.
        let samples = [0..tokens / 3, tokens / 3..tokens - 1];
        let host = Ops::Host.add_abs_gradients(acc.clone(), &dy, &x, &samples);
        let one = |acc, rows: &Range<usize>| Ops::Host.add_abs_gradients(acc, &dy, &x, std::slice::from_ref(rows));
        let after_another = one(one(acc.clone(), &samples[0]), &samples[1]);
        assert_eq!(host.to_data().as_slice::<f32>().unwrap(), after_another.to_data().as_slice::<f32>().unwrap());
        close(host, Ops::Backend.add_abs_gradients(acc, &dy, &x, &samples), "sums");
    }
}

#[test]
fn views_are_read_as_what_they_show() {
    let (x, w) = (random([8, 6]), random([6]));
    let part = x.clone().narrow(0, 3, 2);
    close(Ops::Host.rms_norm(part.clone(), &w, 1e-5), Ops::Backend.rms_norm(part, &w, 1e-5), "narrowed");
    let turned = x.transpose();
    let w = random([8]);
    close(Ops::Host.rms_norm(turned.clone(), &w, 1e-5), Ops::Backend.rms_norm(turned, &w, 1e-5), "transposed");
}
