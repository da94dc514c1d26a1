//! The one forward pass: reading, generating, scoring and looking at inputs are all this.
//!
//! A pass takes the N rows of a batch through some layers. It may use a cache of keys and values, keep activations for the
//! backward pass, and show the inputs of matrices to a [`Tap`]. None of these changes what it computes. Must not know:
//! prompts, samples, scores.

use std::ops::Range;

use burn::tensor::Tensor;

use super::attention::Saved;
use super::batch::{Batch, Products};
use super::cache::LayerCache;
use super::tap::{SITES, Tap};
use super::{Decoder, Linear};
use crate::error::{Error, Result};
use crate::model::ops::rows::Rows;

/// The activations of one layer that its backward pass needs.
pub(in crate::model) struct Kept {
    /// The layer's input, [N, hidden].
    pub x: Tensor<2>,
    pub attention: Saved,
    /// The input of the o projection.
    pub attended: Tensor<2>,
    /// The output of the o projection; only if a norm follows it.
    pub attention_out: Option<Tensor<2>>,
    /// The residual stream between attention and MLP, [N, hidden].
    pub middle: Tensor<2>,
    pub gate: Tensor<2>,
    pub up: Tensor<2>,
    /// The output of the down projection; only if a norm follows it.
    pub mlp_out: Option<Tensor<2>>,
}

impl Decoder {
    /// The input of the first layer, [N, hidden], for the ids of a batch's rows.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn embedded(&self, ids: &[u32], batch: &Batch) -> Result<Tensor<2>> {
        Ok(batch.rows.join(vec![self.embed(ids)?]))
    }

    /// From the input of the first of some layers to the output of the last, both [N, hidden].
    ///
    /// # Errors
    /// A batch of another decoder.
    pub fn forward(
        &self,
        layers: Range<usize>,
        x: Tensor<2>,
        batch: &Batch,
        mut cache: Option<&mut [LayerCache]>,
        tap: &mut dyn Tap,
    ) -> Result<Tensor<2>> {
        let mut x = x;
        for layer in layers {
            let cache = cache.as_deref_mut().and_then(|layers| layers.get_mut(layer));
            x = self.layer_forward(layer, x, batch, cache, tap, false)?.0;
        }
        Ok(x)
    }

    /// Runs one layer: from its input x [N, hidden] to the next layer's input and, if `keep` is true, the activations for the
    /// backward pass. Without them, sums are written into the memory of what they are made of.
    pub(in crate::model) fn layer_forward(
        &self,
        index: usize,
        x: Tensor<2>,
        batch: &Batch,
        cache: Option<&mut LayerCache>,
        tap: &mut dyn Tap,
        keep: bool,
    ) -> Result<(Tensor<2>, Option<Kept>)> {
        let [attention_in, attention_out, mlp_in, mlp_out] = SITES;
        let (layer, rows) = (&self.layers[index], &batch.rows);

        let normed = self.norm(x.clone(), &layer.before_attention);
        tap.offer_input(index, attention_in, || rows.without_rest(&normed));
        let (attention, attended) = self.attention(index, normed, batch, cache)?;
        tap.offer_input(index, attention_out, || rows.without_rest(&attended));
        let kept = keep.then(|| (x.clone(), attended.clone()));
        let (attention_out, after) = self.normed_after(batch, &layer.o, attended, layer.after_attention.as_ref());
        let middle = x + after;

        let normed = self.norm(middle.clone(), &layer.before_mlp);
        tap.offer_input(index, mlp_in, || rows.without_rest(&normed));
        let [gate, up] = self.linears(batch.products, normed, [&layer.gate, &layer.up]);
        let gated = self.ops.gate(self.config.blocks[index].gate, &gate, &up);
        tap.offer_input(index, mlp_out, || rows.without_rest(&gated));
        let kept = kept.map(|(x, attended)| (x, attended, middle.clone(), gate, up));
        let (mlp_out, after) = self.normed_after(batch, &layer.down, gated, layer.after_mlp.as_ref());
        let y = middle + after;

        let kept = kept.map(|(x, attended, middle, gate, up)| Kept {
            x,
            attention,
            attended,
            attention_out,
            middle,
            gate,
            up,
            mlp_out,
        });
        Ok((y, kept))
    }

    /// A linear, and the norm that follows it in some families. The first value is the norm's input; `None` without a norm.
    fn normed_after(
        &self,
        batch: &Batch,
        linear: &Linear,
        x: Tensor<2>,
        norm: Option<&Tensor<1>>,
    ) -> (Option<Tensor<2>>, Tensor<2>) {
        let [y] = self.linears(batch.products, x, [linear]);
        match norm {
            Some(weight) => (Some(y.clone()), self.norm(y, weight)),
            None => (None, y),
        }
    }

    /// Logits [R, vocabulary] of R rows of the last layer's output.
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        self.capped(self.norm(x, &self.final_norm).matmul(self.head.clone().transpose()))
    }

    /// The same with [`Ops::row_products`]: the logits of a row do not depend on the other rows.
    ///
    /// [`Ops::row_products`]: crate::model::ops::Ops::row_products
    pub(in crate::model) fn logits_by_row(&self, x: Tensor<2>) -> Tensor<2> {
        let normed = self.norm(x, &self.final_norm);
        self.capped(self.ops.row_products(normed, &[&self.head]).swap_remove(0))
    }

    fn capped(&self, logits: Tensor<2>) -> Tensor<2> {
        match self.config.logit_cap {
            Some(cap) => self.ops.cap(logits, cap),
            None => logits,
        }
    }

    /// Reads whole sequences and returns the last layer's output, [N, hidden].
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn read(&self, sequences: &[&[u32]]) -> Result<(Batch, Tensor<2>)> {
        let batch = self.batch(sequences.iter().map(|ids| ids.len()));
        let x = self.embedded(&sequences.concat(), &batch)?;
        let y = self.forward(0..self.layers.len(), x, &batch, None, &mut super::tap::Closed)?;
        Ok((batch, y))
    }

    /// Reads one sequence of T tokens and shows a tap the inputs [T, in] of the matrices that it wants. Stops after the last
    /// layer that has one of them.
    ///
    /// # Errors
    /// No token at all, or one outside the vocabulary.
    pub fn visit_inputs(&self, ids: &[u32], tap: &mut dyn Tap) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::user("a sample has no token to read").hint("every calibration pair needs some text"));
        }
        let wanted = |layer: &usize| SITES.iter().any(|site| tap.wants_any(*layer, site));
        let Some(last) = (0..self.layers.len()).rev().find(wanted) else { return Ok(()) };
        // The sequence is alone in its batch and need not have the bits that it would have in company. So a short one gets
        // no additional rows of zeros.
        let batch = self.batch_of(Rows::whole([ids.len()], 0), Products::Backend);
        let x = self.embedded(ids, &batch)?;
        self.forward(0..last + 1, x, &batch, None, tap).map(|_| ())
    }
}
