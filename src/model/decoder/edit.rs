//! A decoder with new values for some of its weights.
//!
//! Must not know: where the values come from.

use burn::tensor::{Tensor, TensorData};

use super::Decoder;
use crate::error::{Error, Result};
use crate::model::matrix::MatrixId;

/// New values for some weights of one matrix.
pub struct Edit {
    pub id: MatrixId,
    /// (flat index over [out, in], new value)
    pub values: Vec<(u32, f32)>,
}

impl Decoder {
    /// The same model with some weights replaced; all other weights are shared.
    ///
    /// # Errors
    /// If an edit names a layer or an index that the model does not have.
    pub fn edited(&self, edits: &[Edit]) -> Result<Self> {
        let mut model = self.clone();
        for Edit { id, values: edited } in edits {
            let Some(layer) = model.layers.get_mut(id.layer).filter(|_| id.expert.is_none()) else {
                return Err(Error::user(format!("the patch names {id}, which the model does not have"))
                    .hint("this patch belongs to another model"));
            };
            let linear = layer.linear_mut(id.projection);
            let shape = linear.weight.dims();
            let mut values: Vec<f32> = linear.weight.to_data().iter::<f32>().collect();
            for (index, value) in edited {
                let Some(slot) = values.get_mut(*index as usize) else {
                    return Err(Error::user(format!(
                        "the patch names weight {index} of {id}, which has {}",
                        shape[0] * shape[1]
                    ))
                    .hint("this patch belongs to another model"));
                };
                *slot = *value;
            }
            linear.weight = Tensor::from_data(TensorData::new(values, shape), (&self.device, self.dtype));
        }
        Ok(model)
    }
}
