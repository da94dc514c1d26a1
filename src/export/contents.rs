//! What an exported directory holds, file by file, and the bytes of each: the base model's files with the patch in them.
//!
//! Writing and comparing both read this list. README.md and the manifest are not in it, because they describe the export and
//! are not part of the model. Must not know: where the directory is, points, reports.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::edits::{Edit, edits, file_name};
pub use super::tensors::Written;
use super::tensors::{Planned, layout, write};
use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::model::patch::Patch;
use crate::model::source::layout::MORE_TEMPLATES;
use crate::model::{Checkpoint, Dtype, TensorSpec};

/// How much of a file is read at once.
const CHUNK: usize = 4 << 20;

/// One file of the directory.
pub struct Item {
    /// Its path in the directory.
    pub name: PathBuf,
    pub content: Content,
}

/// Where the bytes of a file come from.
pub enum Content {
    /// A file beside the weights, as it is.
    Copied(PathBuf),
    /// A file of weights, with the edits in it; none leave it as it is.
    Shard {
        base: PathBuf,
        edits: Vec<Edit>,
    },
    Made(Vec<u8>),
    /// Weights that lie in another format in the base.
    Tensors(Vec<Planned>),
}

/// The files of a patched model.
pub struct Contents<'a> {
    pub items: Vec<Item>,
    pub dtype: Option<Written>,
    checkpoint: &'a Checkpoint,
    patch: &'a Patch,
}

impl<'a> Contents<'a> {
    /// `dtype` is for a model from a GGUF file; the tensors of a directory keep their types.
    ///
    /// # Errors
    /// User: a patch of another model; a `dtype` for a directory; a GGUF header that Hugging Face's files cannot say.
    pub fn of(checkpoint: &'a Checkpoint, patch: &'a Patch, dtype: Option<Written>) -> Result<Self> {
        let written = dtype.unwrap_or(Written::F32);
        let (items, dtype) = match checkpoint.hugging_face_files(written.dtype())? {
            Some(files) => {
                let made = files.into_iter().map(|(name, bytes)| made(name, bytes)).collect();
                (converted(checkpoint, made, |_| Ok(written.dtype()))?, Some(written))
            }
            None if dtype.is_some() => {
                let place = checkpoint.path().display();
                return Err(Error::user(format!(
                    "{place} is a directory, and an export keeps the types of its weights"
                ))
                .hint("leave --dtype out; it is for models from GGUF files"));
            }
            None if in_safetensors(checkpoint) => (edited(checkpoint, patch)?, None),
            None => {
                let kept = |spec: &TensorSpec| {
                    let lost = || Error::fault(format!("{} has no type", spec.name));
                    checkpoint.dtype(&spec.name).ok_or_else(lost)
                };
                (converted(checkpoint, beside(checkpoint)?, kept)?, None)
            }
        };
        Ok(Self { items, dtype, checkpoint, patch })
    }

    /// Where the base model lies: a directory or a GGUF file.
    pub fn base(&self) -> &Path {
        self.checkpoint.path()
    }

    /// Writes the bytes of an item from its start to its end. `failed` turns an output's failure into a sentence.
    pub fn produce(&self, item: &Item, out: &mut dyn Write, failed: &dyn Fn(&std::io::Error) -> Error) -> Result<()> {
        match &item.content {
            Content::Made(bytes) => out.write_all(bytes).map_err(|cause| failed(&cause)),
            Content::Copied(base) => stream(base, &[], out, failed),
            Content::Shard { base, edits } => stream(base, edits, out, failed),
            Content::Tensors(tensors) => write(self.checkpoint, self.patch, tensors, out, failed),
        }
    }

    /// The tensor and the flat index that a byte of a shard belongs to.
    pub fn weight_at(&self, item: &Item, byte: u64) -> Option<(String, usize)> {
        let Content::Shard { base, .. } = &item.content else { return None };
        let byte = usize::try_from(byte).ok()?;
        self.checkpoint.config().tensors().into_iter().find_map(|spec| {
            let (file, range) = self.checkpoint.place(&spec.name)?;
            let width = range.len() / spec.shape.iter().product::<usize>().max(1);
            (file == base && range.contains(&byte)).then(|| (spec.name.clone(), (byte - range.start) / width.max(1)))
        })
    }
}

fn edited(checkpoint: &Checkpoint, patch: &Patch) -> Result<Vec<Item>> {
    let mut edits = edits(checkpoint, patch)?;
    let shards = checkpoint.weight_files();
    let mut items = Vec::new();
    for base in &shards {
        let edits = edits.remove(base).unwrap_or_default();
        items.push(Item { name: file_name(base).into(), content: Content::Shard { base: base.clone(), edits } });
    }
    if let Some(base) = edits.keys().next() {
        return Err(Error::fault(format!("{} is edited and not one of the model's files", base.display())));
    }
    items.extend(beside(checkpoint)?);
    Ok(items)
}

/// Whether the weights lie in files whose bytes an export can take over.
fn in_safetensors(checkpoint: &Checkpoint) -> bool {
    checkpoint.config().tensors().iter().all(|spec| checkpoint.place(&spec.name).is_some())
}

/// The files beside the weights, and the base's index of these if it can stay as it is.
fn beside(checkpoint: &Checkpoint) -> Result<Vec<Item>> {
    let Some(layout) = checkpoint.layout() else { return Ok(Vec::new()) };
    let root = layout.root();
    let item = |name: PathBuf| Item { content: Content::Copied(root.join(&name)), name };
    let mut items: Vec<Item> =
        layout.beside().filter(|name| !OWN.contains(name)).map(|name| item(name.into())).collect();
    let more = root.join(MORE_TEMPLATES);
    if more.is_dir() {
        let templates = files::list(&more)?.into_iter().filter(|file| file.is_file());
        items.extend(templates.map(|file| item(Path::new(MORE_TEMPLATES).join(file_name(&file)))));
    }
    Ok(items)
}

/// What an export writes about itself, which is never a copy.
pub const OWN: [&str; 2] = ["README.md", super::MANIFEST];

fn made(name: &str, bytes: Vec<u8>) -> Item {
    Item { name: name.into(), content: Content::Made(bytes) }
}

/// Weights from another format as safetensors files, beside some other files.
fn converted(
    checkpoint: &Checkpoint,
    others: Vec<Item>,
    dtype: impl Fn(&TensorSpec) -> Result<Dtype>,
) -> Result<Vec<Item>> {
    let planned = |spec: TensorSpec| Ok(Planned { dtype: dtype(&spec)?, spec });
    let layout = layout(checkpoint.config().tensors().into_iter().map(planned).collect::<Result<_>>()?)?;
    let mut items = others;
    items.extend(layout.index.map(|(name, bytes)| made(name, bytes)));
    let shards = layout.shards.into_iter();
    items.extend(shards.map(|(name, tensors)| Item { name: name.into(), content: Content::Tensors(tensors) }));
    let names: BTreeSet<&Path> = items.iter().map(|item| item.name.as_path()).collect();
    if names.len() != items.len() {
        return Err(Error::fault("an export has two files of one name"));
    }
    Ok(items)
}

/// A file's bytes, with edits over them. Edits are in order.
fn stream(base: &Path, edits: &[Edit], out: &mut dyn Write, failed: &dyn Fn(&std::io::Error) -> Error) -> Result<()> {
    let mut file = files::open(base)?;
    let mut buffer = vec![0; CHUNK];
    let (mut start, mut edits) = (0_u64, edits);
    loop {
        let read = file.read(&mut buffer).at("read", base)?;
        let Some(chunk) = buffer.get_mut(..read).filter(|chunk| !chunk.is_empty()) else { return Ok(()) };
        let end = start + read as u64;
        for edit in edits.iter().take_while(|edit| edit.at < end) {
            // a weight may lie across the border of two chunks
            for (at, byte) in (edit.at..).zip(edit.after()) {
                let here = at.checked_sub(start).and_then(|at| usize::try_from(at).ok());
                if let Some(here) = here.and_then(|at| chunk.get_mut(at)) {
                    *here = *byte;
                }
            }
        }
        let done = edits.iter().take_while(|edit| edit.at + edit.width as u64 <= end).count();
        edits = edits.get(done..).unwrap_or_default();
        out.write_all(chunk).map_err(|cause| failed(&cause))?;
        start = end;
    }
}

#[cfg(test)]
mod tests;
