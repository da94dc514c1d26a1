//! Patches: sparse edits of a model's weights, with the values from before.
//!
//! File form (safetensors): `<tensor>/indices` i64, `<tensor>/values` and `<tensor>/original` in the
//! checkpoint's own type, and in the metadata the BLAKE3 digest of each touched base tensor (its f32
//! values, little-endian, after dequantisation and un-permutation). Must not know: masks' origin.

use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::tensor::{Dtype as FileType, SafeTensors, TensorView};

use crate::choice::choices;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::checkpoint::Dtype;
use crate::model::decoder::Edit;
use crate::model::matrix::MatrixId;

choices! {
    /// What happens to a selected weight.
    #[derive(Default)]
    Action {
        /// It becomes zero.
        #[default]
        Zero = "zero",
    }
}

/// Edits of several tensors, sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    pub tensors: Vec<PatchedTensor>,
}

/// Edits of one tensor, sorted by flat index (row-major [out, in]).
#[derive(Clone, Debug, PartialEq)]
pub struct PatchedTensor {
    pub tensor: String,
    /// The type of the values in the checkpoint.
    pub dtype: Dtype,
    pub indices: Vec<u32>,
    pub values: Vec<f32>,
    pub original: Vec<f32>,
    /// Of the whole base tensor.
    pub base: Digest,
}

impl PatchedTensor {
    /// Sets the chosen weights of a tensor to zero.
    pub fn zeroing(tensor: &str, dtype: Dtype, values: &[f32], indices: &[u32]) -> Result<Self> {
        let original =
            indices.iter().map(|index| values.get(*index as usize).copied()).collect::<Option<Vec<f32>>>().ok_or_else(
                || {
                    Error::user(format!("the mask names a weight that {tensor} does not have"))
                        .hint("the mask belongs to another model")
                },
            )?;
        Ok(Self {
            tensor: tensor.into(),
            dtype,
            indices: indices.to_vec(),
            values: vec![0.0; indices.len()],
            original,
            base: base_digest(values),
        })
    }
}

/// The digest of a tensor's f32 values.
pub fn base_digest(values: &[f32]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::with_capacity(1 << 16);
    for piece in values.chunks(1 << 14) {
        buffer.clear();
        buffer.extend(piece.iter().flat_map(|value| value.to_le_bytes()));
        hasher.update(&buffer);
    }
    Digest::finish(&hasher)
}

/// Values in a type's little-endian bytes, rounded to the nearest.
pub(crate) fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn file_type(dtype: Dtype) -> FileType {
    match dtype {
        Dtype::F32 => FileType::F32,
        Dtype::F16 => FileType::F16,
        Dtype::BF16 => FileType::BF16,
    }
}

fn own_type(dtype: FileType) -> Option<Dtype> {
    [Dtype::F32, Dtype::F16, Dtype::BF16].into_iter().find(|own| file_type(*own) == dtype)
}

fn decode(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    match own_type(view.dtype())? {
        Dtype::F32 => Some(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()),
        Dtype::F16 => Some(bytes.as_chunks().0.iter().map(|chunk| f16::from_le_bytes(*chunk).to_f32()).collect()),
        Dtype::BF16 => Some(bytes.as_chunks().0.iter().map(|chunk| bf16::from_le_bytes(*chunk).to_f32()).collect()),
    }
}

impl Patch {
    /// How many weights change.
    pub fn len(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.indices.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The edits as the decoder takes them.
    pub fn edits(&self) -> Result<Vec<Edit>> {
        let edit = |patched: &PatchedTensor| {
            let id = MatrixId::parse(&patched.tensor).ok_or_else(|| {
                Error::user(format!("the patch names {}, which is not a linear layer of the decoder", patched.tensor))
                    .hint("this patch belongs to another model")
            })?;
            let values = patched.indices.iter().copied().zip(patched.values.iter().copied()).collect();
            Ok(Edit { id, values })
        };
        self.tensors.iter().map(edit).collect()
    }

    /// The patch as a safetensors file; equal patches give equal bytes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut buffers = Vec::new();
        for patched in &self.tensors {
            let count = patched.indices.len();
            let indices: Vec<u8> = patched.indices.iter().flat_map(|index| i64::from(*index).to_le_bytes()).collect();
            let kind = file_type(patched.dtype);
            buffers.push((format!("{}/indices", patched.tensor), FileType::I64, count, indices));
            buffers.push((format!("{}/values", patched.tensor), kind, count, encode(&patched.values, patched.dtype)));
            buffers.push((
                format!("{}/original", patched.tensor),
                kind,
                count,
                encode(&patched.original, patched.dtype),
            ));
        }
        let fault = |error: safetensors::SafeTensorError| Error::fault(format!("a patch cannot be written: {error}"));
        let views = buffers
            .iter()
            .map(|(name, dtype, count, bytes)| {
                Ok((name.clone(), TensorView::new(*dtype, vec![*count], bytes).map_err(fault)?))
            })
            .collect::<Result<Vec<_>>>()?;
        // One entry only: the order of several would depend on a hash map.
        let bases: serde_json::Map<String, serde_json::Value> =
            self.tensors.iter().map(|patched| (patched.tensor.clone(), patched.base.to_string().into())).collect();
        let metadata = HashMap::from([("base".to_owned(), crate::digest::canonical_json(&bases.into()))]);
        safetensors::serialize(views, Some(metadata)).map_err(fault)
    }

    /// Reads a patch file.
    ///
    /// # Errors
    /// Anything that is not one, as a sentence.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let bad = |what: String| {
            Error::user(format!("this is not a patch file: {what}"))
                .hint("a patch is written by `dean export POINT FILE.safetensors --patch`")
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| bad(error.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
        let bases = metadata.metadata().as_ref().and_then(|entries| entries.get("base"));
        let bases: std::collections::BTreeMap<String, Digest> = bases
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| bad("its metadata names no base".into()))?;
        let mut tensors = Vec::new();
        for (tensor, base) in bases {
            let view = |part: &str| file.tensor(&format!("{tensor}/{part}")).map_err(|error| bad(error.to_string()));
            let indices = view("indices")?;
            if indices.dtype() != FileType::I64 {
                return Err(bad(format!("the indices of {tensor} are not I64")));
            }
            let indices: Vec<u32> = indices
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|chunk| u32::try_from(i64::from_le_bytes(*chunk)))
                .collect::<Result<_, _>>()
                .map_err(|_| bad(format!("an index of {tensor} is out of range")))?;
            let values = view("values")?;
            let dtype = own_type(values.dtype()).ok_or_else(|| bad(format!("{tensor} has values of another type")))?;
            let numbers =
                |view: &TensorView<'_>| decode(view).ok_or_else(|| bad(format!("{tensor} has values of another type")));
            let original = view("original")?;
            if original.dtype() != values.dtype() {
                return Err(bad(format!("{tensor} has new and original values of two types")));
            }
            if !indices.is_sorted_by(|a, b| a < b) {
                return Err(bad(format!("the indices of {tensor} are not in order, or one is there twice")));
            }
            let (values, original) = (numbers(&values)?, numbers(&original)?);
            if values.len() != indices.len() || original.len() != indices.len() {
                return Err(bad(format!("{tensor} has not as many values as indices")));
            }
            tensors.push(PatchedTensor { tensor, dtype, indices, values, original, base });
        }
        if file.len() != 3 * tensors.len() {
            return Err(bad("it holds tensors of a matrix that its metadata does not name".into()));
        }
        Ok(Self { tensors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::matrix::Projection;

    fn patch(dtype: Dtype) -> Patch {
        let values = [1.0, -2.0, 0.5, 4.0];
        let one = |name: &str, indices: &[u32]| PatchedTensor::zeroing(name, dtype, &values, indices).unwrap();
        Patch {
            tensors: vec![
                one("model.layers.0.mlp.up_proj.weight", &[1, 3]),
                one("model.layers.1.mlp.up_proj.weight", &[0]),
            ],
        }
    }

    #[test]
    fn a_patch_survives_its_file_in_every_type() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let patch = patch(dtype);
            let bytes = patch.to_safetensors().unwrap();
            assert_eq!(Patch::from_safetensors(&bytes).unwrap(), patch);
            assert_eq!(bytes, patch.to_safetensors().unwrap());
        }
    }

    #[test]
    fn edits_carry_the_new_values() {
        let edits = patch(Dtype::F32).edits().unwrap();
        assert_eq!(edits[0].values, [(1, 0.0), (3, 0.0)]);
        assert_eq!(edits[1].id, MatrixId::new(1, Projection::Up));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(Patch::from_safetensors(b"not a patch").is_err());
        // Edits of a second matrix, which would be passed over: the metadata names the first one only.
        let whole = patch(Dtype::F32);
        let bytes = whole.to_safetensors().unwrap();
        let base = format!("{{\"{}\":\"{}\"}}", whole.tensors[0].tensor, whole.tensors[0].base);
        let views = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let bytes = safetensors::serialize(views, Some(HashMap::from([("base".to_owned(), base)]))).unwrap();
        let refused = Patch::from_safetensors(&bytes).unwrap_err();
        assert!(refused.message().ends_with("that its metadata does not name"), "{refused}");
        assert!(PatchedTensor::zeroing("t", Dtype::F32, &[1.0], &[7]).is_err());
    }
}
