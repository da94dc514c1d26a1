//! A safetensors file written tensor after tensor, so that no more than one is in memory.
//!
//! The safetensors library writes whole files from tensors in memory, where a dequantised model might not fit. The header has
//! the documented form (<https://github.com/huggingface/safetensors#format>), and the library's reader checks it. Must not
//! know: what is in the tensors.

use std::io::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::Dtype;
use crate::model::patch::{Patch, encode};
use crate::model::source::layout::{Format, shard_name};
use crate::model::{Checkpoint, TensorSpec};

/// The most bytes of one file, as transformers cuts them: 5 GB.
const LARGEST: u64 = 5_000_000_000;
const INDEX: &str = Format::Safetensors.index();

/// The type in which a model from a GGUF file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Written {
    F32,
    /// Rounded to the nearest, ties to even.
    Bf16,
}

impl Written {
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// A tensor that is to be written, and the type it is written in.
pub struct Planned {
    pub spec: TensorSpec,
    pub dtype: Dtype,
}

impl Planned {
    fn label(&self) -> &'static str {
        match self.dtype {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
        }
    }

    fn bytes(&self) -> u64 {
        let width = match self.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        };
        self.spec.shape.iter().map(|size| *size as u64).product::<u64>() * width
    }
}

/// The files that some tensors are written to, each with its tensors, and the index of more than one.
pub struct Layout {
    pub shards: Vec<(String, Vec<Planned>)>,
    pub index: Option<(&'static str, Vec<u8>)>,
}

/// Cuts a model's tensors into files.
pub fn layout(tensors: Vec<Planned>) -> Result<Layout> {
    cut(tensors, LARGEST)
}

fn cut(tensors: Vec<Planned>, largest: u64) -> Result<Layout> {
    let mut shards: Vec<(u64, Vec<Planned>)> = Vec::new();
    let mut total = 0;
    for tensor in tensors {
        let bytes = tensor.bytes();
        total += bytes;
        match shards.last_mut() {
            Some((size, shard)) if *size + bytes <= largest => {
                *size += bytes;
                shard.push(tensor);
            }
            _ => shards.push((bytes, vec![tensor])),
        }
    }
    let count = shards.len();
    let name = |at: usize| match count {
        0 | 1 => Format::Safetensors.single().to_owned(),
        _ => shard_name(at, count),
    };
    let shards: Vec<(String, Vec<Planned>)> =
        shards.into_iter().enumerate().map(|(at, (_, tensors))| (name(at), tensors)).collect();
    let index = if count > 1 {
        let map: Map<String, Value> = shards
            .iter()
            .flat_map(|(file, tensors)| {
                tensors.iter().map(move |tensor| (tensor.spec.name.clone(), file.as_str().into()))
            })
            .collect();
        let value = json!({"metadata": {"total_size": total}, "weight_map": map});
        let bytes = serde_json::to_vec_pretty(&value)
            .map_err(|cause| Error::fault(format!("{INDEX} cannot be written: {cause}")))?;
        Some((INDEX, bytes))
    } else {
        None
    };
    Ok(Layout { shards, index })
}

/// Writes one file: the checkpoint's values with the patch in them. `failed` turns an output's failure into a sentence.
///
/// # Errors
/// User: weights that are not what the patch expects; the output's own failures.
pub fn write(
    checkpoint: &Checkpoint,
    patch: &Patch,
    tensors: &[Planned],
    out: &mut dyn Write,
    failed: &dyn Fn(&std::io::Error) -> Error,
) -> Result<()> {
    let mut at = 0;
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    for tensor in tensors {
        let end = at + tensor.bytes();
        let entry = json!({"dtype": tensor.label(), "shape": tensor.spec.shape, "data_offsets": [at, end]});
        header.insert(tensor.spec.name.clone(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // As the library does, so that tensors begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|cause| failed(&cause));
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    for Planned { spec, dtype } in tensors {
        let mut values = checkpoint.tensor(&spec.name)?;
        if let Some(patched) = patch.tensors.iter().find(|patched| patched.tensor == spec.name) {
            for ((index, value), original) in patched.indices.iter().zip(&patched.values).zip(&patched.original) {
                match values.get_mut(*index as usize) {
                    Some(here) if here.to_bits() == original.to_bits() => *here = *value,
                    _ => {
                        let place = checkpoint.path().display();
                        return Err(Error::user(format!("{place}: {} is not what the patch expects", spec.name))
                            .hint("the patch belongs to another model, or this one was changed"));
                    }
                }
            }
        }
        for piece in values.chunks(1 << 20) {
            put(&encode(piece, *dtype))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn large_models_are_cut_and_indexed() {
        let tensors = |count: usize, dtype: Dtype| {
            let spec = |n| TensorSpec { name: format!("t{n}"), shape: vec![10, 2], keys: "" };
            (0..count).map(|n| Planned { spec: spec(n), dtype }).collect::<Vec<_>>()
        };
        let one = cut(tensors(2, Dtype::F32), 200).unwrap();
        assert_eq!((one.shards.len(), one.shards[0].0.as_str()), (1, "model.safetensors"));
        assert!(one.index.is_none());
        let many = cut(tensors(5, Dtype::F32), 200).unwrap();
        assert_eq!(many.shards.iter().map(|(_, tensors)| tensors.len()).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(many.shards[2].0, "model-00003-of-00003.safetensors");
        let index: Value = serde_json::from_slice(&many.index.unwrap().1).unwrap();
        assert_eq!(index["weight_map"]["t4"], "model-00003-of-00003.safetensors");
        assert_eq!(index["metadata"]["total_size"], 400);
        // one tensor may be larger than a file should be
        assert_eq!(cut(tensors(2, Dtype::BF16), 30).unwrap().shards.len(), 2);
    }
}
