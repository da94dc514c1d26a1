//! What a pass through the decoder shows to others: inputs in the forward pass, gradients in the backward pass.
//!
//! Score methods are taps. For a matrix y = xWᵀ, a method without gradients gets x. A method with gradients gets dL/dy and x,
//! whose product dyᵀx is the gradient. Must not know: scores, data sets.

use burn::tensor::Tensor;

use crate::model::matrix::{MatrixId, Projection};

/// The matrices of a layer that share an input, in the order of the forward pass.
pub const SITES: [&[Projection]; 4] = [
    &[Projection::Q, Projection::K, Projection::V],
    &[Projection::O],
    &[Projection::Gate, Projection::Up],
    &[Projection::Down],
];

/// Is called for every matrix of a pass that it wants.
pub trait Tap: Send {
    /// Whether this matrix is wanted.
    fn wants(&self, id: MatrixId) -> bool;

    /// Takes the input x [T, in] that the matrices of `site` share. Called if at least one of them is wanted. `site` is one
    /// of [`SITES`].
    fn input(&mut self, _layer: usize, _site: &'static [Projection], _x: &Tensor<2>) {}

    /// Takes the two factors of a wanted matrix's gradient: dL/dy [N, out] and x [N, in]. The rows of the samples come one
    /// after another. Rows after the last sample belong to none and must not be counted.
    fn gradient(&mut self, _id: MatrixId, _dy: &Tensor<2>, _x: &Tensor<2>) {}
}

/// Wants nothing.
pub struct Closed;

impl Tap for Closed {
    fn wants(&self, _: MatrixId) -> bool {
        false
    }
}

impl dyn Tap + '_ {
    /// Whether any of these matrices of a layer is wanted.
    pub fn wants_any(&self, layer: usize, projections: &[Projection]) -> bool {
        projections.iter().any(|projection| self.wants(MatrixId::new(layer, *projection)))
    }

    pub(in crate::model) fn offer_input(
        &mut self,
        layer: usize,
        site: &'static [Projection],
        x: impl FnOnce() -> Tensor<2>,
    ) {
        if self.wants_any(layer, site) {
            self.input(layer, site, &x());
        }
    }

    pub(in crate::model) fn offer_gradient(&mut self, id: MatrixId, dy: &Tensor<2>, x: &Tensor<2>) {
        if self.wants(id) {
            self.gradient(id, dy, x);
        }
    }
}
