//! Loading: from a checkpoint to a decoder on a device. Every weight is checked to be finite.
//!
//! Must not know: what is computed with the weights.

use std::collections::HashMap;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{Decoder, Layer, Linear};
use crate::error::{Error, Result};
use crate::model::arch::config::{DecoderConfig, Norms};
use crate::model::checkpoint::Checkpoint;
use crate::model::matrix::{MatrixId, Projection};
use crate::model::ops;

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
        let shapes: HashMap<String, Vec<usize>> =
            config.tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect();
        let mut reader = Reader { checkpoint, device, dtype, shapes, done: 0, progress };
        let layers = (0..config.layers()).map(|index| reader.layer(&config, index)).collect::<Result<Vec<_>>>()?;
        let embedding = reader.matrix("model.embed_tokens.weight")?;
        let head = if config.tied_head { embedding.clone() } else { reader.matrix("lm_head.weight")? };
        let final_norm = reader.norm("model.norm.weight", &config)?;
        let ops = ops::of(device, dtype);
        Ok(Self { config, device: device.clone(), dtype, ops, embedding, layers, final_norm, head })
    }
}

/// How many values are checked together.
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

    /// One NaN or infinity spreads to everything that is computed from it, and the error would name some later place. So it
    /// is looked for here.
    fn must_be_finite(&self, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
        // There is no branch for each value, so this is as fast as reading memory.
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

    /// The weight of a norm, as it is multiplied.
    fn norm(&mut self, name: &str, config: &DecoderConfig) -> Result<Tensor<1>> {
        let weight = self.vector(name)?;
        Ok(if config.norm_offset { weight.add_scalar(1.0) } else { weight })
    }

    fn layer(&mut self, config: &DecoderConfig, index: usize) -> Result<Layer> {
        let mut norms = Vec::new();
        let kind = config.blocks[index].norms;
        for name in kind.names() {
            norms.push(self.norm(&format!("model.layers.{index}.{name}.weight"), config)?);
        }
        let mut norms = norms.into_iter();
        let mut next = || norms.next().ok_or_else(|| Error::fault("a layer has fewer norms than its kind names"));
        let (before_attention, after_attention, before_mlp, after_mlp) = match kind {
            Norms::Before => (next()?, None, next()?, None),
            Norms::Around => (next()?, Some(next()?), next()?, Some(next()?)),
        };
        let head_norm = |part: &str| format!("model.layers.{index}.self_attn.{part}.weight");
        let qk_norm = if config.qk_norm {
            Some((self.norm(&head_norm("q_norm"), config)?, self.norm(&head_norm("k_norm"), config)?))
        } else {
            None
        };
        let id = |projection| MatrixId::new(index, projection);
        Ok(Layer {
            before_attention,
            q: self.linear(id(Projection::Q), config.qkv_bias)?,
            k: self.linear(id(Projection::K), config.qkv_bias)?,
            v: self.linear(id(Projection::V), config.qkv_bias)?,
            o: self.linear(id(Projection::O), config.o_bias)?,
            qk_norm,
            after_attention,
            before_mlp,
            gate: self.linear(id(Projection::Gate), config.mlp_bias)?,
            up: self.linear(id(Projection::Up), config.mlp_bias)?,
            down: self.linear(id(Projection::Down), config.mlp_bias)?,
            after_mlp,
        })
    }
}
