//! Both forms of every operation against each other, on random tensors.

use burn::tensor::{Device, Distribution, Tensor, TensorData};

use super::Ops;
use crate::model::mask::Mask;
use crate::model::rope::Angles;

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
    let (host, backend) =
        (Ops::Host.swiglu_backward(dy.clone(), g.clone(), u.clone()), Ops::Backend.swiglu_backward(dy, g, u));
    close(host.0, backend.0, "gate");
    close(host.1, backend.1, "up");
}

#[test]
fn rotation_agrees_and_turns_back() {
    let config = crate::model::config::DecoderConfig { head_dim: 8, ..crate::model::config::tests::small() };
    let angles = Angles::of(&config, &[0, 1, 2, 5, 6, 7]);
    let x = random([2, 3, 3, 8]);
    let host = Ops::Host.rotate(x.clone(), &angles, false);
    close(host.clone(), Ops::Backend.rotate(x.clone(), &angles, false), "forward");
    close(Ops::Host.rotate(host, &angles, true), x, "back again");
}

#[test]
fn softmaxes_agree_under_every_kind_of_mask() {
    for mask in [Mask::new(vec![0, 0], 0, None), Mask::new(vec![0, 3], 2, Some(2)), Mask::new(vec![1, 4], 4, None)] {
        let (t, s) = (3, 7);
        let (x, dp) = (random([2, 2, t, s]), random([2, 2, t, s]));
        let p = Ops::Host.softmax(x.clone(), &mask, 0.3);
        close(p.clone(), Ops::Backend.softmax(x, &mask, 0.3), "forward");
        close(
            Ops::Host.softmax_backward(p.clone(), dp.clone(), &mask, 0.3),
            Ops::Backend.softmax_backward(p, dp, &mask, 0.3),
            "backward",
        );
    }
}

#[test]
fn cross_entropies_agree() {
    let (logits, labels) = (random([4, 53]), [0, 52, 7, 7]);
    let (host, backend) = (
        Ops::Host.cross_entropy(logits.clone(), &labels, 4.0),
        Ops::Backend.cross_entropy(logits.clone(), &labels, 4.0),
    );
    assert!((host.loss - backend.loss).abs() < 1e-6);
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
    let (acc, x) = (random([9, 11]), random([9, 11]));
    close(Ops::Host.add_abs(acc.clone(), x.clone()), Ops::Backend.add_abs(acc, x), "add_abs");
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
