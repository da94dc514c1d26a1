//! What every format of weights can be asked for.
//!
//! Must not know: which formats there are, which tensors a decoder needs.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::model::floats::Dtype;

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
