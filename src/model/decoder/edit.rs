//! New values for some weights of a decoder, in place.
//!
//! Only the new values travel to the device, and only the old ones of the same places come back. So a patch costs what it
//! holds, not what its matrices hold, and a sweep of hundreds of patches needs the memory of one model. A weight that another
//! clone of the decoder shares is copied before it is written. Must not know: where the values come from.

use burn::tensor::Tensor;

use super::Decoder;
use crate::error::{Error, Result};
use crate::model::matrix::MatrixId;

/// New values for some weights of one matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub id: MatrixId,
    /// (flat index over [out, in], new value); each index once.
    pub values: Vec<(u32, f32)>,
}

impl Decoder {
    /// Replaces some weights, and returns the edits that undo it, to be applied in their order. A value is rounded to the
    /// type of the weights.
    ///
    /// # Errors
    /// User: an edit names a matrix or an index that the model does not have. Then nothing was replaced.
    pub fn edit(&mut self, edits: &[Edit]) -> Result<Vec<Edit>> {
        for edit in edits {
            self.check(edit)?;
        }
        let (ops, device) = (self.ops, self.device.clone());
        let mut undo = Vec::with_capacity(edits.len());
        for Edit { id, values } in edits.iter().filter(|edit| !edit.values.is_empty()) {
            let Some(layer) = self.layers.get_mut(id.layer) else { continue };
            let weight = &mut layer.linear_mut(id.projection).weight;
            // Taken out, so that nobody else holds it while it is written.
            let whole = std::mem::replace(weight, Tensor::zeros([1, 1], &device));
            let (edited, before) = ops.replace(whole, values);
            *weight = edited;
            let places = values.iter().map(|(index, _)| *index);
            undo.push(Edit { id: *id, values: places.zip(before).collect() });
        }
        // A matrix that was named twice gets back what it held first.
        undo.reverse();
        Ok(undo)
    }

    /// The same model with some weights replaced; all others are shared.
    ///
    /// # Errors
    /// As of [`Self::edit`].
    pub fn edited(&self, edits: &[Edit]) -> Result<Self> {
        let mut model = self.clone();
        model.edit(edits)?;
        Ok(model)
    }

    fn check(&self, Edit { id, values }: &Edit) -> Result<()> {
        let foreign = |what: String| Err(Error::user(what).hint("this patch belongs to another model"));
        let Some(layer) = self.layers.get(id.layer).filter(|_| id.expert.is_none()) else {
            return foreign(format!("the patch names {id}, which the model does not have"));
        };
        let size = layer.linear(id.projection).weight.dims().iter().product::<usize>();
        match values.iter().find(|(index, _)| *index as usize >= size) {
            Some((index, _)) => foreign(format!("the patch names weight {index} of {id}, which has {size}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::allocator::counting::peak;
    use crate::digest::Digest;
    use crate::model::arch::config::DecoderConfig;
    use crate::model::testing::{random, small};

    fn digests(decoder: &Decoder) -> Vec<Digest> {
        let matrices = MatrixId::all(decoder.config.layers());
        let bytes = |id| -> Vec<u8> {
            let values: Vec<f32> = decoder.linear(id).weight.to_data().iter().collect();
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        matrices.map(|id| Digest::of(&bytes(id))).collect()
    }

    /// Some weights of two matrices.
    fn some(number: u32) -> Vec<Edit> {
        let value = [0.0, -0.0, 1e-30][number as usize % 3];
        let edit = |id, first: u32| Edit { id, values: vec![(first, value), (first + 7, value)] };
        [edit(MatrixId::all(2).nth(number as usize % 14).unwrap(), number), edit(MatrixId::all(2).last().unwrap(), 3)]
            .into()
    }

    #[test]
    fn two_hundred_patches_come_and_go_and_not_a_bit_is_left_of_them() {
        // One matrix alone is larger than all that editing may take.
        let config = DecoderConfig { intermediate_size: 512, hidden_size: 128, ..small() };
        let mut decoder = random(&config, &Device::flex(), 5);
        let before = digests(&decoder);
        for number in 0..200 {
            let (undo, most) = peak(|| decoder.edit(&some(number)).unwrap());
            assert!(most < 16 << 10, "{most} bytes for four weights");
            let after = digests(&decoder);
            assert!((1..=2).contains(&before.iter().zip(&after).filter(|(before, after)| before != after).count()));
            decoder.edit(&undo).unwrap();
            assert_eq!(digests(&decoder), before, "patch {number}");
        }
    }

    #[test]
    fn what_somebody_else_holds_stays_as_it_is() {
        let mut decoder = random(&small(), &Device::flex(), 5);
        let (other, before) = (decoder.clone(), digests(&decoder));
        decoder.edit(&some(1)).unwrap();
        assert_eq!(digests(&other), before);
        assert_ne!(digests(&decoder), before);
    }

    #[test]
    fn an_edit_of_another_model_changes_nothing() {
        let mut decoder = random(&small(), &Device::flex(), 5);
        let before = digests(&decoder);
        let expert = MatrixId { expert: Some(0), ..MatrixId::all(2).next().unwrap() };
        let beyond = MatrixId::all(10).last().unwrap();
        let size = decoder.linear(MatrixId::all(2).next().unwrap()).weight.dims().iter().product::<usize>();
        let outside =
            Edit { id: MatrixId::all(2).next().unwrap(), values: vec![(0, 0.0), (u32::try_from(size).unwrap(), 0.0)] };
        for wrong in [Edit { id: expert, values: vec![] }, Edit { id: beyond, values: vec![] }, outside] {
            let error = decoder.edit(&[some(1), vec![wrong]].concat()).unwrap_err();
            assert!(error.message().contains("which"), "{error:?}");
            assert_eq!(digests(&decoder), before);
        }
    }
}
