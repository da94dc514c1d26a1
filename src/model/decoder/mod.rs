//! The one decoder block that serves every family: embedding, attention, SwiGLU, norm, head.
//!
//! Weights keep Hugging Face's layout [out, in], so flat indices are Hugging Face's. The forward pass
//! here is for reading (generation, perplexity); the one that scores is in [`crate::model::decoder::backward`] and
//! shares its parts. Must not know: files, stages, what a weight is worth.

mod attention;
pub mod backward;
mod cache;
pub mod generate;
pub mod gradient_sums;
pub mod inputs;
pub mod layer_groups;
mod loss;
pub mod memory_plan;
pub mod rows;

#[cfg(test)]
mod backward_tests;

use std::collections::HashMap;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::model::arch::config::DecoderConfig;
use crate::model::checkpoint::Checkpoint;
use crate::model::decoder::cache::LayerCache;
use crate::model::matrix::{MatrixId, Projection};
use crate::model::ops::Ops;
use crate::model::ops::mask::Mask;
use crate::model::ops::rope::Angles;

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
        let y = x.matmul(self.weight.clone().transpose());
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

/// One decoder layer.
#[derive(Clone)]
pub struct Layer {
    pub input_norm: Tensor<1>,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    /// Norms over each head of q and k (Qwen3), `[head_dim]`.
    pub qk_norm: Option<(Tensor<1>, Tensor<1>)>,
    pub post_norm: Tensor<1>,
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
    pub ops: Ops,
    /// [vocabulary, hidden]
    pub embedding: Tensor<2>,
    pub layers: Vec<Layer>,
    pub norm: Tensor<1>,
    /// [vocabulary, hidden]; the embedding itself where the head is tied.
    pub head: Tensor<2>,
}

/// The geometry of a batch: B sequences of T tokens each, where they stand and what they see.
pub struct Batch {
    pub sequences: usize,
    pub tokens: usize,
    pub angles: Angles,
    pub mask: Mask,
}

/// New values for some weights of one matrix.
pub struct Edit {
    pub id: MatrixId,
    /// (flat index over [out, in], new value)
    pub values: Vec<(u32, f32)>,
}

impl Decoder {
    /// Reads every weight that the decoder needs and puts it on the device, as `dtype`.
    /// `progress` is told how many of how many tensors are there.
    pub fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        dtype: DType,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let config = checkpoint.config().clone();
        if config.one_block().is_none() {
            return Err(Error::user(format!(
                "{}: layers of more than one kind are not computed yet",
                checkpoint.path().display()
            ))
            .hint("choose a model whose layers are alike"));
        }
        let shapes: HashMap<String, Vec<usize>> =
            config.tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect();
        let mut reader = Reader { checkpoint, device, dtype, shapes, done: 0, progress };
        let layers = (0..config.layers()).map(|index| reader.layer(&config, index)).collect::<Result<Vec<_>>>()?;
        let embedding = reader.matrix("model.embed_tokens.weight")?;
        let head = if config.tied_head { embedding.clone() } else { reader.matrix("lm_head.weight")? };
        let norm = reader.vector("model.norm.weight")?;
        let ops = Ops::of(device, dtype);
        Ok(Self { config, device: device.clone(), dtype, ops, embedding, layers, norm, head })
    }

    /// The geometry of B sequences that begin at `starts` (left padding) and whose next T tokens stand at
    /// slots `first..first + tokens`.
    pub fn batch(&self, starts: Vec<usize>, first: usize, tokens: usize) -> Batch {
        let positions: Vec<usize> =
            starts.iter().flat_map(|start| (first..first + tokens).map(|slot| slot.saturating_sub(*start))).collect();
        let angles = Angles::of(&self.config, &positions);
        let sequences = starts.len();
        Batch {
            sequences,
            tokens,
            angles,
            mask: Mask::new(starts, first, self.config.blocks.first().and_then(|block| block.window)),
        }
    }

    /// Embeddings [B*T, hidden] of token ids, row after row.
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
        Ok(self.embedding.clone().select(0, ids))
    }

    /// Runs every layer over embeddings x [B*T, hidden]; with a cache, keys and values of earlier slots are seen
    /// and those of this batch are kept. Returns the normed hidden states of the chosen rows.
    pub fn hidden(
        &self,
        x: Tensor<2>,
        batch: &Batch,
        mut cache: Option<&mut [LayerCache]>,
        last_only: bool,
    ) -> Tensor<2> {
        let mut x = x;
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = self.ops.rms_norm(x.clone(), &layer.input_norm, self.config.norm_eps);
            let kept = cache.as_deref_mut().map(|layers| &mut layers[index]);
            let attended = self.attention(layer, normed, batch, kept);
            let middle = x + layer.o.forward(attended);
            let normed = self.ops.rms_norm(middle.clone(), &layer.post_norm, self.config.norm_eps);
            let gated = self.ops.swiglu(&layer.gate.forward(normed.clone()), &layer.up.forward(normed));
            x = middle + layer.down.forward(gated);
        }
        if last_only && batch.tokens > 1 {
            let hidden = x.dims()[1];
            x = x
                .reshape([batch.sequences, batch.tokens, hidden])
                .narrow(1, batch.tokens - 1, 1)
                .reshape([batch.sequences, hidden]);
        }
        self.ops.rms_norm(x, &self.norm, self.config.norm_eps)
    }

    /// Logits [N, vocabulary] of normed hidden states [N, hidden].
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head.clone().transpose())
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

/// Values that are looked at together.
const BLOCK: usize = 4096;

/// Reads tensors of a checkpoint onto a device, counting.
struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    dtype: DType,
    shapes: HashMap<String, Vec<usize>>,
    done: usize,
    progress: &'a mut dyn FnMut(usize, usize),
}

impl Reader<'_> {
    fn tensor<const D: usize>(&mut self, name: &str) -> Result<Tensor<D>> {
        let shape = self.shapes.get(name).cloned().unwrap_or_default();
        let values = self.checkpoint.tensor(name)?;
        // Burn panics on data of another size, so it is looked at first.
        if shape.len() != D || values.len() != shape.iter().product::<usize>() {
            return Err(Error::user(format!("{name} has {} values, the decoder needs shape {shape:?}", values.len()))
                .hint("the weights do not fit config.json"));
        }
        self.must_be_finite(name, &shape, &values)?;
        self.done += 1;
        (self.progress)(self.done, self.shapes.len());
        Ok(Tensor::from_data(TensorData::new(values, shape), (self.device, self.dtype)))
    }

    /// One NaN or infinity spreads over everything that is computed after it, and would be blamed on what is looked at
    /// first, so it is found where it is.
    fn must_be_finite(&self, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
        // Without a branch for each value this runs as fast as memory is read.
        let sound = |block: &[f32]| block.iter().fold(true, |sound, value| sound & value.is_finite());
        let Some(block) = values.chunks(BLOCK).position(|block| !sound(block)) else { return Ok(()) };
        let first = values.iter().enumerate().skip(block * BLOCK).find(|(_, value)| !value.is_finite());
        let Some((index, value)) = first else { return Ok(()) };
        let place = match shape {
            [_, columns] if *columns > 0 => format!("row {}, column {}", index / columns, index % columns),
            _ => format!("position {index}"),
        };
        let path = self.checkpoint.path().display();
        Err(Error::user(format!("{path}: {name} is {value} at {place}; weights must be finite"))
            .hint("the weights are damaged, or overflowed when they were saved: copy or download them again"))
    }

    fn matrix(&mut self, name: &str) -> Result<Tensor<2>> {
        self.tensor(name)
    }

    fn vector(&mut self, name: &str) -> Result<Tensor<1>> {
        self.tensor(name)
    }

    fn linear(&mut self, id: MatrixId, bias: bool) -> Result<Linear> {
        let weight = self.matrix(&id.weight())?;
        let bias = if bias { Some(self.vector(&id.bias())?) } else { None };
        Ok(Linear { weight, bias })
    }

    fn layer(&mut self, config: &DecoderConfig, index: usize) -> Result<Layer> {
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        Ok(Layer {
            input_norm: self.vector(&name("input_layernorm"))?,
            q: self.linear(MatrixId::new(index, Projection::Q), config.qkv_bias)?,
            k: self.linear(MatrixId::new(index, Projection::K), config.qkv_bias)?,
            v: self.linear(MatrixId::new(index, Projection::V), config.qkv_bias)?,
            o: self.linear(MatrixId::new(index, Projection::O), config.o_bias)?,
            qk_norm: if config.qk_norm {
                Some((self.vector(&name("self_attn.q_norm"))?, self.vector(&name("self_attn.k_norm"))?))
            } else {
                None
            },
            post_norm: self.vector(&name("post_attention_layernorm"))?,
            gate: self.linear(MatrixId::new(index, Projection::Gate), config.mlp_bias)?,
            up: self.linear(MatrixId::new(index, Projection::Up), config.mlp_bias)?,
            down: self.linear(MatrixId::new(index, Projection::Down), config.mlp_bias)?,
        })
    }
}
