//! A decoder: the weights of a model on a device, and everything that is computed with them.
//!
//! | file | what it does |
//! | --- | --- |
//! | `batch`, `sample` | the rows of one pass and the angles of their positions; one calibration pair |
//! | `load` | from a checkpoint onto the device |
//! | `forward` | the one pass through the layers, with or without a cache, taps and memory |
//! | `attention`, `cache` | attention of one layer; keys and values of what was read |
//! | `generate`, `draft`, `draw` | answers; what an answer probably says next; how tokens are drawn |
//! | `loss`, `divergence` | the loss of plain text; how far next tokens are from those of another decoder |
//! | `backward`, `layer_groups` | gradients of samples; the same with less memory |
//! | `tap`, `gradient_sums` | what a pass shows to score methods; the sums of SNIP |
//! | `memory_plan` | the memory and the operations that a scoring pass will take |
//! | `edit` | other values for some weights |
//!
//! Weights keep Hugging Face's layout [out, in], so a flat index means the same weight in both. Must not know: files,
//! stages, what a weight is worth.

mod attention;
pub mod backward;
pub mod batch;
mod cache;
mod divergence;
mod draft;
pub mod draw;
pub mod edit;
pub mod forward;
pub mod generate;
pub mod gradient_sums;
pub mod layer_groups;
mod load;
mod loss;
pub mod memory_plan;
pub mod sample;
pub mod tap;

#[cfg(test)]
mod tests;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::model::arch::config::DecoderConfig;
use crate::model::matrix::{MatrixId, Projection};
use crate::model::ops::Ops;

use batch::Products;
pub use edit::Edit;

/// y = x Wᵀ + b.
#[derive(Clone)]
pub struct Linear {
    /// [out, in]
    pub weight: Tensor<2>,
    pub bias: Option<Tensor<1>>,
}

impl Linear {
    /// x [N, in] to [N, out].
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.with_bias(x.matmul(self.weight.clone().transpose()))
    }

    fn with_bias(&self, y: Tensor<2>) -> Tensor<2> {
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze::<2>(),
            None => y,
        }
    }

    /// dL/dx [N, in], given dL/dy [N, out].
    pub fn backward(&self, dy: Tensor<2>) -> Tensor<2> {
        dy.matmul(self.weight.clone())
    }
}

/// One decoder layer. The weight of a norm is what is multiplied with: if a family stores w for 1 + w, 1 was added.
#[derive(Clone)]
pub struct Layer {
    pub before_attention: Tensor<1>,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    /// Norms over each head of q and k (Qwen3), `[head_dim]`.
    pub qk_norm: Option<(Tensor<1>, Tensor<1>)>,
    /// A norm between attention and its residual (Gemma 2 and 3).
    pub after_attention: Option<Tensor<1>>,
    pub before_mlp: Tensor<1>,
    /// A norm between the MLP and its residual (Gemma 2 and 3).
    pub after_mlp: Option<Tensor<1>>,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

impl Layer {
    pub fn linear(&self, projection: Projection) -> &Linear {
        match projection {
            Projection::Q => &self.q,
            Projection::K => &self.k,
            Projection::V => &self.v,
            Projection::O => &self.o,
            Projection::Gate => &self.gate,
            Projection::Up => &self.up,
            Projection::Down => &self.down,
        }
    }

    fn linear_mut(&mut self, projection: Projection) -> &mut Linear {
        match projection {
            Projection::Q => &mut self.q,
            Projection::K => &mut self.k,
            Projection::V => &mut self.v,
            Projection::O => &mut self.o,
            Projection::Gate => &mut self.gate,
            Projection::Up => &mut self.up,
            Projection::Down => &mut self.down,
        }
    }
}

/// A model on a device. Cloning shares the weights.
#[derive(Clone)]
pub struct Decoder {
    pub config: DecoderConfig,
    pub device: Device,
    pub dtype: DType,
    pub ops: &'static dyn Ops,
    /// [vocabulary, hidden]
    pub embedding: Tensor<2>,
    pub layers: Vec<Layer>,
    pub final_norm: Tensor<1>,
    /// [vocabulary, hidden]; the embedding itself where the head is tied.
    pub head: Tensor<2>,
}

impl Decoder {
    /// Embeds T token ids: the input of the first layer, [T, hidden].
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor<2>> {
        let vocabulary = self.config.vocab_size;
        if let Some(bad) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(Error::user(format!(
                "token id {bad} is outside the model's vocabulary of {vocabulary} entries"
            ))
            .hint("tokeniser and weights do not belong together; check the files of model.source"));
        }
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &self.device);
        let embedded = self.embedding.clone().select(0, ids);
        Ok(match self.config.embedding_scale {
            Some(scale) => embedded.mul_scalar(scale),
            None => embedded,
        })
    }

    /// x Wᵀ + b of several linears, each [N, out], for an input x [N, in] that they share.
    pub(in crate::model) fn linears<const L: usize>(
        &self,
        products: Products,
        x: Tensor<2>,
        linears: [&Linear; L],
    ) -> [Tensor<2>; L] {
        match products {
            Products::Backend => linears.map(|linear| linear.forward(x.clone())),
            Products::ByRow => {
                let mut found = self.ops.row_products(x, &linears.map(|linear| &linear.weight)).into_iter();
                linears.map(|linear| linear.with_bias(found.next().expect("one product for each linear")))
            }
        }
    }

    /// RMS norm over each row.
    pub(in crate::model) fn norm(&self, x: Tensor<2>, weight: &Tensor<1>) -> Tensor<2> {
        self.ops.rms_norm(x, weight, self.config.norm_eps)
    }

    /// dL/dx of [`Decoder::norm`].
    pub(in crate::model) fn norm_backward(&self, dy: Tensor<2>, x: Tensor<2>, weight: &Tensor<1>) -> Tensor<2> {
        self.ops.rms_norm_backward(dy, x, weight, self.config.norm_eps)
    }

    /// The matrix of this name, which must be one of the decoder's.
    pub fn linear(&self, id: MatrixId) -> &Linear {
        self.layers[id.layer].linear(id.projection)
    }

    /// The weights of one matrix as f32, row-major [out, in].
    ///
    /// # Errors
    /// If the device does not give them back.
    pub fn weights(&self, id: MatrixId) -> Result<Vec<f32>> {
        let weights = self.linear(id).weight.clone().cast(DType::F32);
        weights
            .try_to_vec_as::<f32>()
            .map_err(|error| Error::fault(format!("the device did not give {} back: {error}", id.weight())))
    }
}
