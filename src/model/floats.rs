//! The three float formats that tensors are stored in, and their values.
//!
//! Must not know: files, what a tensor is for.

/// The float format of a tensor as stored; GGUF's quantised formats count as what they expand to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    BF16,
}

impl Dtype {
    /// What config.json calls it.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }
}

/// Little-endian floats of any of the three formats; a trailing part of a float is dropped.
pub(in crate::model) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    let two = |pair: &[u8; 2]| u16::from_le_bytes(*pair);
    match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|pair| half::f16::from_bits(two(pair)).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|pair| half::bf16::from_bits(two(pair)).to_f32()).collect(),
    }
}
