//! The scoring pass: one forward and one hand-written backward through every layer.
//!
//! For a linear y = xWᵀ the gradient of the loss is dL/dW = dyᵀx. This file never builds it: it shows the factors dy and x
//! of every wanted matrix to a [`Tap`], which decides what to make of them ([`super::gradient_sums`] keeps Σ|dyᵀx|).
//!
//! The forward pass keeps a few activations of each layer, and no attention matrix. The backward pass computes norms and
//! gates again. Each part runs over a range of layers, so that [`super::layer_groups`] can run the layers in groups and use
//! less memory. The tests compare the gradients with Burn's autodiff. Must not know: scores, data sets.

use std::ops::Range;

use burn::tensor::Tensor;

use super::Decoder;
use super::batch::Batch;
use super::forward::Kept;
use super::sample::Sample;
use super::tap::{Closed, Tap};
use crate::error::Result;
use crate::model::matrix::{MatrixId, Projection};

impl Decoder {
    /// As [`Decoder::forward`]; also returns the activations that the backward pass of each layer needs.
    pub(in crate::model) fn forward_keeping(
        &self,
        layers: Range<usize>,
        x: Tensor<2>,
        batch: &Batch,
    ) -> Result<(Tensor<2>, Vec<Kept>)> {
        let mut x = x;
        let mut kept = Vec::with_capacity(layers.len());
        for layer in layers {
            let (y, memory) = self.layer_forward(layer, x, batch, None, &mut Closed, true)?;
            kept.extend(memory);
            x = y;
        }
        Ok((x, kept))
    }

    /// The backward pass through consecutive layers. `kept` has their activations, from layer `first` upwards. `dy` is
    /// dL/d(output) of the topmost one; the result is dL/d(input) of the lowest one, both [N, hidden]. If `below` is false,
    /// no lower layer needs it: the pass stops early and returns `None`.
    pub(in crate::model) fn backward_layers(
        &self,
        first: usize,
        kept: Vec<Kept>,
        dy: Tensor<2>,
        batch: &Batch,
        tap: &mut dyn Tap,
        below: bool,
    ) -> Result<Option<Tensor<2>>> {
        let mut dy = dy;
        for (above, memory) in kept.into_iter().enumerate().rev() {
            match self.layer_backward(first + above, memory, dy, batch, tap, below || above > 0)? {
                Some(dx) => dy = dx,
                None => return Ok(None),
            }
        }
        Ok(Some(dy))
    }

    /// The losses of the samples in nats, and dL/dx of the last layer's output x, [N, hidden]. Logits are computed only at
    /// the R rows that predict a response token.
    pub(in crate::model) fn head_backward(
        &self,
        x: &Tensor<2>,
        samples: &[Sample],
        batch: &Batch,
    ) -> (Vec<f64>, Tensor<2>) {
        let rows = &batch.rows;
        let labels: Vec<u32> = samples.iter().flat_map(Sample::labels).copied().collect();
        let counts: Vec<usize> = samples.iter().map(|sample| sample.labels().len()).collect();
        let last = |(x, count): (Tensor<2>, &usize)| {
            let first = x.dims()[0] - count;
            x.narrow(0, first, *count)
        };
        let predicting = rows.join(rows.split(x).zip(&counts).map(last).collect());
        let logits = self.logits(predicting.clone()).narrow(0, 0, labels.len());
        let capped = self.config.logit_cap.map(|cap| (cap, logits.clone()));
        let result = self.ops.cross_entropy(logits, &labels, &counts);
        let dlogits = match capped {
            Some((cap, logits)) => self.ops.cap_backward(result.gradient, logits, cap),
            None => result.gradient,
        };
        let dnormed = rows.join(vec![dlogits]).matmul(self.head.clone());
        let drows = self.norm_backward(dnormed, predicting, &self.final_norm);
        let mut pieces = Vec::new();
        let mut from = 0;
        for (sequence, count) in rows.sequences.iter().zip(counts) {
            let before = sequence.tokens() - count;
            if before > 0 {
                pieces.push(Tensor::zeros([before, self.config.hidden_size], (&self.device, self.dtype)));
            }
            pieces.push(drows.clone().narrow(0, from, count));
            from += count;
        }
        (result.losses, rows.join(pieces))
    }

    /// The backward pass of one layer: shows its gradients to the tap and returns dL/dx, or `None` if no lower layer needs
    /// it (`below` is false).
    fn layer_backward(
        &self,
        index: usize,
        kept: Kept,
        dy: Tensor<2>,
        batch: &Batch,
        tap: &mut dyn Tap,
        below: bool,
    ) -> Result<Option<Tensor<2>>> {
        let layer = &self.layers[index];
        let Kept { x, attention, attended, attention_out, middle, gate, up, mlp_out } = kept;
        let id = |projection| MatrixId::new(index, projection);

        let ddown = self.after_backward(dy.clone(), mlp_out, layer.after_mlp.as_ref());
        let dgated = layer.down.backward(ddown.clone());
        let [gated, dgate, dup] = self.ops.gate_backward(self.config.blocks[index].gate, dgated, gate, up);
        tap.offer_gradient(id(Projection::Down), &ddown, &gated);
        drop((gated, ddown));
        let normed = self.norm(middle.clone(), &layer.before_mlp);
        tap.offer_gradient(id(Projection::Gate), &dgate, &normed);
        tap.offer_gradient(id(Projection::Up), &dup, &normed);
        drop(normed);

        let attention_parts = [Projection::Q, Projection::K, Projection::V, Projection::O];
        if !below && !tap.wants_any(index, &attention_parts) {
            return Ok(None);
        }
        let dnormed = layer.gate.backward(dgate) + layer.up.backward(dup);
        let dmiddle = dy + self.norm_backward(dnormed, middle, &layer.before_mlp);

        let dout = self.after_backward(dmiddle.clone(), attention_out, layer.after_attention.as_ref());
        tap.offer_gradient(id(Projection::O), &dout, &attended);
        let dattended = layer.o.backward(dout);
        let [dq, dk, dv] = self.attention_backward(index, attention, dattended, batch)?;
        let normed = self.norm(x.clone(), &layer.before_attention);
        tap.offer_gradient(id(Projection::Q), &dq, &normed);
        tap.offer_gradient(id(Projection::K), &dk, &normed);
        tap.offer_gradient(id(Projection::V), &dv, &normed);
        if !below {
            return Ok(None);
        }
        let dnormed = layer.q.backward(dq) + layer.k.backward(dk) + layer.v.backward(dv);
        Ok(Some(dmiddle + self.norm_backward(dnormed, x, &layer.before_attention)))
    }

    /// The backward pass of the norm that follows a linear, or dy as it is without such a norm.
    fn after_backward(&self, dy: Tensor<2>, x: Option<Tensor<2>>, norm: Option<&Tensor<1>>) -> Tensor<2> {
        match (x, norm) {
            (Some(x), Some(weight)) => self.norm_backward(dy, x, weight),
            _ => dy,
        }
    }
}
