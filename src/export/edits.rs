//! A patch as bytes: which bytes of which safetensors file hold an edited weight, before and after.
//!
//! Must not know: where files are written, what a patch is for.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::model::patch::{Patch, PatchedTensor, base_digest, encode};
use crate::model::{Checkpoint, Dtype};

/// The bytes of one weight. The first `Edits::width` of each array count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// From the start of the file.
    pub at: u64,
    pub old: [u8; 4],
    pub new: [u8; 4],
    pub width: usize,
}

impl Edit {
    pub fn before(&self) -> &[u8] {
        self.old.get(..self.width).unwrap_or_default()
    }

    pub fn after(&self) -> &[u8] {
        self.new.get(..self.width).unwrap_or_default()
    }
}

/// Edits by file, in the order of their places.
pub type Edits = BTreeMap<PathBuf, Vec<Edit>>;

/// The edits that a patch asks for in a checkpoint whose weights lie in safetensors files.
///
/// # Errors
/// User: a tensor or weight that the checkpoint does not have, a value that its type cannot hold, weights in another
/// format.
pub fn edits(checkpoint: &Checkpoint, patch: &Patch) -> Result<Edits> {
    let mut edits = Edits::new();
    for patched in &patch.tensors {
        let (file, range) = checkpoint.place(&patched.tensor).ok_or_else(|| {
            if checkpoint.has(&patched.tensor) {
                Error::user(format!("{} is no directory with safetensors weights", checkpoint.path().display()))
                    .hint("`dean export POINT DIR` writes one")
            } else {
                stranger(checkpoint, patched)
            }
        })?;
        let dtype = checkpoint.dtype(&patched.tensor).ok_or_else(|| stranger(checkpoint, patched))?;
        let width = width(dtype);
        let count = range.len() / width;
        let list = edits.entry(file.to_owned()).or_default();
        let values = patched.original.iter().zip(&patched.values);
        for (index, (old, new)) in patched.indices.iter().zip(values) {
            let index = *index as usize;
            if index >= count {
                return Err(stranger(checkpoint, patched));
            }
            let at = range.start + index * width;
            let (old, new) = (bytes(*old, dtype, patched)?, bytes(*new, dtype, patched)?);
            list.push(Edit { at: at as u64, old, new, width });
        }
    }
    edits.values_mut().for_each(|list| list.sort_unstable_by_key(|edit| edit.at));
    Ok(edits)
}

/// Checks that the touched tensors are those that the patch was made for. The edited weights themselves are not compared.
///
/// # Errors
/// User: a tensor that is not, by name.
pub fn check_base(checkpoint: &Checkpoint, patch: &Patch) -> Result<()> {
    patch.tensors.par_iter().try_for_each(|patched| {
        let mut values = checkpoint.tensor(&patched.tensor).map_err(|_| stranger(checkpoint, patched))?;
        for (index, original) in patched.indices.iter().zip(&patched.original) {
            *values.get_mut(*index as usize).ok_or_else(|| stranger(checkpoint, patched))? = *original;
        }
        if base_digest(&values) == patched.base {
            return Ok(());
        }
        let place = checkpoint.path().display();
        Err(Error::user(format!("{place}: {} is not the one that the patch was made for", patched.tensor))
            .hint("the patch belongs to another model, or this one was changed; nothing was written"))
    })
}

/// The edits whose place in the file holds other bytes than `expected` says.
pub fn unlike(path: &Path, edits: &[Edit], expected: impl Fn(&Edit) -> &[u8]) -> Result<Vec<Edit>> {
    let mut file = files::open(path)?;
    let mut found = Vec::new();
    for edit in edits {
        let mut bytes = [0; 4];
        let here = bytes.get_mut(..edit.width).unwrap_or_default();
        file.seek(SeekFrom::Start(edit.at)).and_then(|_| file.read_exact(here)).at("read", path)?;
        if *here != *expected(edit) {
            found.push(*edit);
        }
    }
    Ok(found)
}

/// Checks that the file has the expected bytes at every edit.
///
/// # Errors
/// User: the first place where it does not.
pub fn check_present(path: &Path, edits: &[Edit], expected: impl Fn(&Edit) -> &[u8]) -> Result<()> {
    let others = unlike(path, edits, expected)?;
    let Some(first) = others.first() else { return Ok(()) };
    let weights = if others.len() == 1 { "weight is" } else { "weights are" };
    Err(Error::user(format!(
        "{}: {} {weights} not what the patch expects, the first at byte {}",
        path.display(),
        others.len(),
        first.at
    ))
    .hint("the patch belongs to another model, or this one was changed; nothing was written"))
}

fn stranger(checkpoint: &Checkpoint, patched: &PatchedTensor) -> Error {
    let place = checkpoint.path().display();
    Error::user(format!("the patch names weights of {} that {place} does not have", patched.tensor))
        .hint("the patch belongs to another model")
}

fn width(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::BF16 => 2,
    }
}

/// A value's bytes in the type in which it will stand, filled up with zeros.
fn bytes(value: f32, dtype: Dtype, patched: &PatchedTensor) -> Result<[u8; 4]> {
    let mut all = [0; 4];
    let encoded = encode(&[value], dtype);
    all.iter_mut().zip(&encoded).for_each(|(to, from)| *to = *from);
    // A bf16 patch is exact on an f32 checkpoint. An f32 patch may not be exact on a bf16 checkpoint.
    let back = match (dtype, all) {
        (Dtype::F32, all) => f32::from_le_bytes(all),
        (Dtype::F16, [a, b, ..]) => half::f16::from_le_bytes([a, b]).to_f32(),
        (Dtype::BF16, [a, b, ..]) => half::bf16::from_le_bytes([a, b]).to_f32(),
    };
    if back.to_bits() == value.to_bits() {
        return Ok(all);
    }
    Err(Error::user(format!(
        "{}: the patch is of {:?} values, and {dtype:?} cannot hold {value} exactly",
        patched.tensor, patched.dtype
    ))
    .hint("apply the patch to a model of the type that it was made for"))
}

/// The file names of a list, for messages.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
