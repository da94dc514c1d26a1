//! The scoring pass: one forward and one hand-written backward through every layer.
//!
//! For a linear y = xWᵀ the gradient of the loss is dyᵀx. No weight gradient is ever built here:
//! the pass hands dy and x of every wanted matrix to a hook, which accumulates what it likes
//! ([`crate::model::decoder::gradient_sums`] keeps Σ|dyᵀx|). Samples lie end to end ([`crate::model::decoder::rows`]), N rows in all.
//! Forward keeps each layer's few activations and no attention matrix; norms and gates are computed again on the way back. The parts run over a range of
//! layers, so that [`crate::model::decoder::layer_groups`] can put them together with less memory. The tests hold it against
//! Burn's autodiff. Must not know: scores, data sets.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::error::Result;
use crate::model::decoder::Decoder;
use crate::model::decoder::attention::Saved;
use crate::model::decoder::layer_groups::Walk;
use crate::model::decoder::rows::Packed;
use crate::model::matrix::{MatrixId, Projection};

/// One calibration pair as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Prompt and response.
    pub ids: Vec<u32>,
    /// The index of the response's first token in `ids`.
    pub response: usize,
}

impl Sample {
    /// The tokens whose prediction counts. The first token of all is predicted from nothing, so it never does.
    pub fn labels(&self) -> &[u32] {
        self.ids.get(self.response.max(1)..).unwrap_or_default()
    }

    /// How many tokens are read: the last one only ever is a label.
    pub fn inputs(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }
}

/// Told for each wanted matrix: its name, dL/dy [N, out] and x [N, in].
pub trait Hook: Send {
    /// Whether the gradient of this matrix is wanted.
    fn wants(&self, id: MatrixId) -> bool;
    /// Takes the two factors of the gradient, the samples' rows one behind another ([`crate::model::decoder::rows::rows`]); rows behind
    /// these belong to no sample.
    fn take(&mut self, id: MatrixId, dy: &Tensor<2>, x: &Tensor<2>);
}

fn offer(hook: &mut dyn Hook, id: MatrixId, dy: &Tensor<2>, x: &Tensor<2>) {
    if hook.wants(id) {
        hook.take(id, dy, x);
    }
}

/// What a layer's backward needs of its forward.
pub(in crate::model) struct Kept {
    /// The layer's input, [N, hidden].
    x: Tensor<2>,
    attention: Saved,
    /// The input of the o projection.
    attended: Tensor<2>,
    /// After attention and its residual.
    middle: Tensor<2>,
    gate: Tensor<2>,
    up: Tensor<2>,
}

impl Decoder {
    /// Runs the samples forward and backward as one batch and returns each one's loss: the mean cross entropy over its
    /// response tokens, in nats. Gradients are those of the *sum* of the losses; the hook can tell samples apart by
    /// their rows.
    ///
    /// # Errors
    /// A sample without a response token, or a token outside the vocabulary.
    pub fn losses_and_gradients(&self, samples: &[Sample], hook: &mut dyn Hook) -> Result<Vec<f64>> {
        let wanted =
            |layer: &usize| Projection::ALL.into_iter().any(|projection| hook.wants(MatrixId::new(*layer, projection)));
        let lowest = (0..self.layers.len()).find(wanted).unwrap_or(self.layers.len());
        Walk::new(self, std::iter::once(lowest..self.layers.len()).collect()).add(self, samples, hook)
    }

    /// From the input of the first of some layers to the output of the last, both [N, hidden]; nothing is kept.
    pub(in crate::model) fn forward_layers(
        &self,
        layers: Range<usize>,
        x: Tensor<2>,
        packed: &Packed<'_>,
    ) -> Tensor<2> {
        layers.fold(x, |x, layer| self.layer_forward(layer, x, packed).0)
    }

    /// The same, with what each layer's backward needs.
    pub(in crate::model) fn forward_keeping(
        &self,
        layers: Range<usize>,
        x: Tensor<2>,
        packed: &Packed<'_>,
    ) -> (Tensor<2>, Vec<Kept>) {
        let mut x = x;
        let mut kept = Vec::with_capacity(layers.len());
        for layer in layers {
            let (y, memory) = self.layer_forward(layer, x, packed);
            kept.push(memory);
            x = y;
        }
        (x, kept)
    }

    /// Back through the layers of which `kept` was kept, the lowest of them being `first`: from dL/dy of the topmost
    /// one's output to dL/dx of the lowest one's input, [N, hidden]. `below` says whether anything below needs that;
    /// where nothing does, the way ends early and there is none.
    pub(in crate::model) fn backward_layers(
        &self,
        first: usize,
        kept: Vec<Kept>,
        dy: Tensor<2>,
        packed: &Packed<'_>,
        hook: &mut dyn Hook,
        below: bool,
    ) -> Option<Tensor<2>> {
        let mut dy = dy;
        for (above, memory) in kept.into_iter().enumerate().rev() {
            dy = self.layer_backward(first + above, memory, dy, packed, hook, below || above > 0)?;
        }
        Some(dy)
    }

    fn layer_forward(&self, index: usize, x: Tensor<2>, packed: &Packed<'_>) -> (Tensor<2>, Kept) {
        let layer = &self.layers[index];
        let eps = self.config.norm_eps;
        let normed = self.ops.rms_norm(x.clone(), &layer.input_norm, eps);
        let (attention, attended) = self.attention_of_each(layer, normed, packed);
        let middle = x.clone() + layer.o.forward(attended.clone());
        let normed = self.ops.rms_norm(middle.clone(), &layer.post_norm, eps);
        let (gate, up) = (layer.gate.forward(normed.clone()), layer.up.forward(normed));
        let y = middle.clone() + layer.down.forward(self.ops.swiglu(&gate, &up));
        (y, Kept { x, attention, attended, middle, gate, up })
    }

    /// Losses of the samples and dL/dx of the last layer's output x [N, hidden]. Logits exist only at the R rows that
    /// predict a response token.
    pub(in crate::model) fn head_backward(&self, x: &Tensor<2>, packed: &Packed<'_>) -> (Vec<f64>, Tensor<2>) {
        let eps = self.config.norm_eps;
        let labels: Vec<u32> = packed.samples.iter().flat_map(Sample::labels).copied().collect();
        let counts: Vec<usize> = packed.samples.iter().map(|sample| sample.labels().len()).collect();
        let last = |(rows, count): (Tensor<2>, &usize)| {
            let first = rows.dims()[0] - count;
            rows.narrow(0, first, *count)
        };
        let rows = packed.join(packed.split(x).zip(&counts).map(last).collect());
        let logits = self.logits(self.ops.rms_norm(rows.clone(), &self.norm, eps)).narrow(0, 0, labels.len());
        let result = self.ops.cross_entropy(logits, &labels, &counts);
        let dnormed = packed.join(vec![result.gradient]).matmul(self.head.clone());
        let drows = self.ops.rms_norm_backward(dnormed, rows, &self.norm, eps);
        let mut pieces = Vec::new();
        let mut from = 0;
        for (part, count) in packed.parts.iter().zip(counts) {
            let before = part.rows.len() - count;
            if before > 0 {
                pieces.push(Tensor::zeros([before, self.config.hidden_size], (&self.device, self.dtype)));
            }
            pieces.push(drows.clone().narrow(0, from, count));
            from += count;
        }
        (result.losses, packed.join(pieces))
    }

    /// Hands the layer's gradients to the hook and returns dL/dx, unless nothing below wants it.
    fn layer_backward(
        &self,
        index: usize,
        kept: Kept,
        dy: Tensor<2>,
        packed: &Packed<'_>,
        hook: &mut dyn Hook,
        below: bool,
    ) -> Option<Tensor<2>> {
        let layer = &self.layers[index];
        let eps = self.config.norm_eps;
        let Kept { x, attention, attended, middle, gate, up } = kept;
        let mut take = |projection, dy: &_, x: &_| offer(hook, MatrixId::new(index, projection), dy, x);

        let dgated = layer.down.backward(dy.clone());
        let [gated, dgate, dup] = self.ops.swiglu_backward(dgated, gate, up);
        take(Projection::Down, &dy, &gated);
        drop(gated);
        let normed = self.ops.rms_norm(middle.clone(), &layer.post_norm, eps);
        take(Projection::Gate, &dgate, &normed);
        take(Projection::Up, &dup, &normed);
        drop(normed);

        let attention_parts = [Projection::Q, Projection::K, Projection::V, Projection::O];
        if !below && !attention_parts.into_iter().any(|part| hook.wants(MatrixId::new(index, part))) {
            return None;
        }
        let dnormed = layer.gate.backward(dgate) + layer.up.backward(dup);
        let dmiddle = dy + self.ops.rms_norm_backward(dnormed, middle, &layer.post_norm, eps);

        let mut take = |projection, dy: &_, x: &_| offer(hook, MatrixId::new(index, projection), dy, x);
        take(Projection::O, &dmiddle, &attended);
        let dattended = layer.o.backward(dmiddle.clone());
        let (dq, dk, dv) = self.attention_backward(layer, attention, &dattended, packed);
        let normed = self.ops.rms_norm(x.clone(), &layer.input_norm, eps);
        take(Projection::Q, &dq, &normed);
        take(Projection::K, &dk, &normed);
        take(Projection::V, &dv, &normed);
        if !below {
            return None;
        }
        let dnormed = layer.q.backward(dq) + layer.k.backward(dk) + layer.v.backward(dv);
        Some(dmiddle + self.ops.rms_norm_backward(dnormed, x, &layer.input_norm, eps))
    }
}
