//! What every format of weights can be asked for, and the small types of the answers.
//!
//! Must not know: which formats there are, which tensors a decoder needs.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::Result;

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

/// What a file says of one tensor.
pub(in crate::model) struct Stored {
    pub shape: Vec<usize>,
    /// The format's own name, for messages and digests: `BF16`, `Q4_1`.
    pub label: String,
    /// `None`: a format that cannot be read, such as I64. Fine for a tensor that nobody needs.
    pub dtype: Option<Dtype>,
    /// `Some(heads)`: the rows of each head are interleaved in the file.
    pub heads: Option<usize>,
}

/// A file format of weights. Names are Hugging Face's.
pub(in crate::model) trait Weights: Send + Sync {
    fn names(&self) -> Vec<&str>;
    fn stored(&self, name: &str) -> Option<&Stored>;
    /// How many [`Self::bytes`] there are.
    fn size(&self, name: &str) -> Result<usize>;
    /// The tensor's bytes as they lie in the file.
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>>;
    /// The values, row-major.
    fn read(&self, name: &str) -> Result<Vec<f32>>;
    /// Where the values lie as they are, row-major, in a file that others read too: the file and the bytes in it.
    fn place(&self, _: &str) -> Option<(&Path, Range<usize>)> {
        None
    }
    fn files(&self) -> Vec<PathBuf>;
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
