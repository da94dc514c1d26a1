//! What the linear layers read: a forward walk that shows a hook the input of every matrix.
//!
//! Score methods without a gradient need only the x of y = xWᵀ. Some matrices of a layer read the
//! same x (q, k and v; gate and up), so a hook is told of them together. The walk is made of the
//! decoder's own parts and ends at the last layer that is wanted. Must not know: scores, data sets.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::matrix::{MatrixId, Projection};

/// The matrices of a layer that share an input, in the order of the forward pass.
pub const SITES: [&[Projection]; 4] = [
    &[Projection::Q, Projection::K, Projection::V],
    &[Projection::O],
    &[Projection::Gate, Projection::Up],
    &[Projection::Down],
];

/// Told for each wanted place: layer, the matrices that read there, and what they read, x [T, in].
pub trait InputHook {
    /// Whether the input of this matrix is wanted.
    fn wants(&self, id: MatrixId) -> bool;
    /// Takes the input that all of `site`, one of [`SITES`], have in common.
    fn take(&mut self, layer: usize, site: &'static [Projection], x: &Tensor<2>);
}

impl Decoder {
    /// Reads one sequence of T tokens, without padding, and offers the hook the inputs of every layer's matrices.
    ///
    /// # Errors
    /// No token at all, or one outside the vocabulary.
    pub fn visit_inputs(&self, ids: &[u32], hook: &mut dyn InputHook) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::user("a sample has no token to read").hint("every calibration pair needs some text"));
        }
        let [attention_in, attention_out, mlp_in, mlp_out] = SITES;
        let wants = |hook: &dyn InputHook, layer: usize, sites: &[&[Projection]]| {
            sites.iter().flat_map(|site| site.iter()).any(|projection| hook.wants(MatrixId::new(layer, *projection)))
        };
        let Some(last) = (0..self.layers.len()).rev().find(|layer| wants(hook, *layer, &SITES)) else { return Ok(()) };
        let offer = |hook: &mut dyn InputHook, layer: usize, site: &'static [Projection], x: &Tensor<2>| {
            if wants(hook, layer, &[site]) {
                hook.take(layer, site, x);
            }
        };
        let eps = self.config.norm_eps;
        let batch = self.batch(vec![0], 0, ids.len());
        let mut x = self.embed(ids)?;
        for (index, layer) in self.layers.iter().enumerate().take(last + 1) {
            let normed = self.ops.rms_norm(x.clone(), &layer.input_norm, eps);
            offer(hook, index, attention_in, &normed);
            if index == last && !wants(hook, index, &[attention_out, mlp_in, mlp_out]) {
                break;
            }
            let attended = self.attention(layer, normed, &batch, None);
            offer(hook, index, attention_out, &attended);
            if index == last && !wants(hook, index, &[mlp_in, mlp_out]) {
                break;
            }
            let middle = x + layer.o.forward(attended);
            let normed = self.ops.rms_norm(middle.clone(), &layer.post_norm, eps);
            offer(hook, index, mlp_in, &normed);
            if index == last && !wants(hook, index, &[mlp_out]) {
                break;
            }
            let gated = self.ops.swiglu(&layer.gate.forward(normed.clone()), &layer.up.forward(normed));
            offer(hook, index, mlp_out, &gated);
            x = middle + layer.down.forward(gated);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::tensor::Device;

    use super::*;
    use crate::model::arch::config::DecoderConfig;
    use crate::model::decoder::backward::{Hook, Sample};
    use crate::model::testing::{random, small};

    type Inputs = BTreeMap<MatrixId, Vec<f32>>;

    /// Of the one sample.
    const TOKENS: usize = 7;

    /// Keeps x of everything that both walks show; wants what lies at or before a place.
    struct Kept {
        until: MatrixId,
        seen: Inputs,
    }

    impl InputHook for Kept {
        fn wants(&self, id: MatrixId) -> bool {
            id <= self.until
        }

        fn take(&mut self, layer: usize, site: &'static [Projection], x: &Tensor<2>) {
            for projection in site {
                self.seen.insert(MatrixId::new(layer, *projection), x.to_data().iter().collect());
            }
        }
    }

    impl Hook for Kept {
        fn wants(&self, _: MatrixId) -> bool {
            true
        }

        fn take(&mut self, id: MatrixId, _: &Tensor<2>, x: &Tensor<2>) {
            let x = x.clone().narrow(0, 0, TOKENS);
            self.seen.insert(id, x.to_data().iter().collect());
        }
    }

    #[test]
    fn the_walk_sees_the_inputs_of_the_scoring_pass_and_ends_where_nothing_is_wanted() {
        let kinds = [
            small(),
            DecoderConfig { qk_norm: true, head_dim: 8, qkv_bias: true, ..small() },
            DecoderConfig { o_bias: true, mlp_bias: true, ..small() }.with_window(3),
        ];
        for config in kinds {
            let decoder = random(&config, &Device::flex(), 4);
            let sample = Sample { ids: vec![3, 1, 4, 1, 5, 9, 2, 6], response: 3 };
            assert_eq!(sample.inputs(), TOKENS);
            let mut oracle = Kept { until: MatrixId::new(0, Projection::Q), seen: Inputs::new() };
            decoder.losses_and_gradients(std::slice::from_ref(&sample), &mut oracle).unwrap();
            for until in
                [(config.layers() - 1, Projection::Down), (1, Projection::Up), (1, Projection::O), (0, Projection::Q)]
                    .map(|(layer, projection)| MatrixId::new(layer, projection))
            {
                let mut found = Kept { until, seen: Inputs::new() };
                decoder.visit_inputs(&sample.ids[..sample.inputs()], &mut found).unwrap();
                // Whoever shares the input of the last wanted matrix is told as well.
                let site = SITES.into_iter().find(|site| site.contains(&until.projection)).unwrap();
                let reach = MatrixId::new(until.layer, *site.last().unwrap());
                assert!(found.seen.keys().eq(oracle.seen.keys().filter(|place| **place <= reach)), "{until:?}");
                for (place, x) in &found.seen {
                    let expected = &oracle.seen[place];
                    assert_eq!(x.len(), expected.len());
                    let near = x.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()));
                    assert!(near, "{place:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_sentence() {
        let decoder = random(&small(), &Device::flex(), 4);
        let mut hook = Kept { until: MatrixId::new(9, Projection::Down), seen: Inputs::new() };
        assert!(decoder.visit_inputs(&[], &mut hook).is_err());
        assert!(decoder.visit_inputs(&[1, 9_999], &mut hook).is_err());
    }
}
