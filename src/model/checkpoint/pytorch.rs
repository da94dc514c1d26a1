//! Weights as PyTorch saves them: one `.bin` file, or several.
//!
//! Such a file is a zip archive (before PyTorch 1.6 a stream) of storages, and a pickle that says which part of a storage is
//! which tensor. Burn's reader makes tensors of it, and executes nothing. This file first checks that the entries are as
//! `torch.save` writes them, and that the pickle names nothing but tensors (`pickle.rs`). Opening reads the pickles. Values are
//! read tensor by tensor, again at every call.
//!
//! Panics are not caught here, because the reader returns an error for everything that is wrong: it checks each number of the
//! file before it uses it as an index, and bounds nesting. Must not know: which tensors a decoder needs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use pytorch_reader::{DType as Kind, PickleValue, PytorchError, PytorchReader, Tensor};
use zip::{CompressionMethod, ZipArchive};

use super::pickle;
use crate::error::{Error, Result};
use crate::files;
use crate::model::checkpoint::weights::{Stored, Weights};
use crate::model::floats::{Dtype, floats};
use crate::model::source::impostor;
use crate::model::source::layout::Layout;

/// The longest description of one file's tensors: room for ten thousand. What the reader builds of a pickle takes about
/// a hundred times its length.
const LONGEST_PICKLE: usize = 2 << 20;

/// How old files begin: a pickle of this number, in protocol 2.
const LEGACY_MAGIC: [u8; 14] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Magic, protocol version, system, tensors, names of storages.
const LEGACY_PICKLES: usize = 5;

/// The opened files of one model.
pub(in crate::model) struct PytorchFiles {
    files: Vec<PathBuf>,
    /// With the place of the tensor's file among the files.
    tensors: BTreeMap<String, (Stored, Tensor, usize)>,
}

impl PytorchFiles {
    /// Opens a model's files of weights.
    pub fn open(layout: &Layout) -> Result<Self> {
        let mut opened = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for (path, wanted) in layout.shards() {
            opened.add(path, wanted)?;
        }
        layout.check_held(|tensor| opened.tensors.contains_key(tensor))?;
        Ok(opened)
    }

    /// Checks one file and takes up its tensors, or those of them that are wanted.
    fn add(&mut self, path: PathBuf, wanted: Option<&BTreeSet<String>>) -> Result<()> {
        let place = path.display().to_string();
        let map = files::map(&path)?;
        impostor::check(&path, &map)?;
        let bytes = admit(&map).map_err(|error| match error.hint_text() {
            Some(_) => error.within(&place),
            None => error.within(&place).hint("copy or download the file again"),
        })?;
        only_tensors(PytorchReader::read_pickle_data(&path, None).map_err(|cause| unreadable(&path, cause))?)
            .map_err(|error| error.within(&place))?;
        let reader = PytorchReader::new(&path).map_err(|cause| unreadable(&path, cause))?;
        for (name, tensor) in reader.into_tensors() {
            if wanted.is_some_and(|wanted| !wanted.contains(&name)) {
                continue;
            }
            // A view may repeat its storage (a stride of 0) and so promise more than there is.
            if tensor.byte_len() > bytes {
                let message = format!(
                    "{place}: {name} of shape {:?} would take {} bytes, but the file has {bytes}",
                    tensor.shape(),
                    tensor.byte_len()
                );
                return Err(Error::user(message).hint("copy or download the file again"));
            }
            let dtype = match tensor.dtype() {
                Kind::F32 => Some(Dtype::F32),
                Kind::F16 => Some(Dtype::F16),
                Kind::BF16 => Some(Dtype::BF16),
                _ => None,
            };
            let label = format!("{:?}", tensor.dtype());
            let stored = Stored { shape: tensor.shape().to_vec(), label, dtype, heads: None };
            self.tensors.insert(name, (stored, tensor, self.files.len()));
        }
        self.files.push(path);
        Ok(())
    }

    fn located(&self, name: &str) -> Result<&(Stored, Tensor, usize)> {
        self.tensors.get(name).ok_or_else(|| Error::fault(format!("no .bin file holds {name}")))
    }
}

impl Weights for PytorchFiles {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name).map(|(stored, _, _)| stored)
    }

    fn size(&self, name: &str) -> Result<usize> {
        Ok(self.located(name)?.1.byte_len())
    }

    /// Row-major, whatever view the file describes; so these are the bytes that safetensors has.
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let (_, tensor, file) = self.located(name)?;
        tensor.read().map(Cow::Owned).map_err(|cause| {
            let file = self.files.get(*file).map(|path| path.display().to_string()).unwrap_or_default();
            Error::user(format!("{file}: {cause}")).hint("copy or download the file again")
        })
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let (stored, _, _) = self.located(name)?;
        let dtype = stored
            .dtype
            .ok_or_else(|| Error::fault(format!("{name} is stored as {}, which was not refused", stored.label)))?;
        Ok(floats(&self.bytes(name)?, dtype))
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }
}

/// Looks at a file's container and pickles; returns the file's size.
fn admit(map: &[u8]) -> Result<usize> {
    if map.starts_with(b"PK\x03\x04") {
        pickle::check(data_pkl(map)?, 1)?;
    } else if map.starts_with(&LEGACY_MAGIC) {
        pickle::check(map.get(..LONGEST_PICKLE).unwrap_or(map), LEGACY_PICKLES)?;
    } else {
        return Err(Error::user("this is not a file of weights that torch.save wrote"));
    }
    Ok(map.len())
}

/// The pickle of a zip archive whose entries are stored as they are, one after the other.
fn data_pkl(file: &[u8]) -> Result<&[u8]> {
    let malformed =
        |cause: zip::result::ZipError| Error::user(format!("the archive is truncated or malformed: {cause}"));
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(malformed)?;
    let mut found = None;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(malformed)?;
        let name = entry.name().map_err(malformed)?;
        // A packed entry can promise any size; torch.save packs nothing.
        if entry.compression() != CompressionMethod::Stored || entry.compressed_size() != entry.size() {
            return Err(Error::user(format!("its entry {} is compressed, as torch.save never does", short(&name)))
                .hint("load it with torch and save it again, preferably as safetensors"));
        }
        let length = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let bytes = start.and_then(|start| file.get(start..start.checked_add(length)?));
        let bytes = bytes.ok_or_else(|| Error::user(format!("its entry {} goes on past its end", short(&name))))?;
        if name == "data.pkl" || name.ends_with("/data.pkl") {
            if found.replace(bytes).is_some() {
                return Err(Error::user("it has more than one data.pkl"));
            }
            if length > LONGEST_PICKLE {
                return Err(Error::user(format!("its data.pkl has {length} bytes; {LONGEST_PICKLE} are the most")));
            }
        }
    }
    found.ok_or_else(|| Error::user("the archive has no data.pkl, so torch.save did not write it"))
}

/// A table of tensors, and beside them at most the versions that `state_dict()` leaves under `_metadata`.
fn only_tensors(root: PickleValue) -> Result<()> {
    let refused = |message: String| {
        let way = "save the tensors alone: `torch.save(model.state_dict(), \"pytorch_model.bin\")`";
        Error::user(message).hint(way)
    };
    let PickleValue::Dict(table) = root else {
        return Err(refused("it does not hold a table of tensors".into()));
    };
    let mut names: Vec<_> = table.into_iter().filter(|(name, _)| name != "_metadata").collect();
    names.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, value) in names {
        let what = match &value {
            PickleValue::Unsupported(kind) if kind == "torch.Tensor" => continue,
            PickleValue::Unsupported(kind) => short(kind),
            PickleValue::None => "None".into(),
            PickleValue::Bool(_) => "a truth value".into(),
            PickleValue::Int(_) | PickleValue::Float(_) => "a number".into(),
            PickleValue::String(_) | PickleValue::Bytes(_) => "a text".into(),
            PickleValue::List(_) => "a list".into(),
            PickleValue::Dict(_) => "a table".into(),
        };
        return Err(refused(format!("{} is {what}, not a tensor", short(&name))));
    }
    Ok(())
}

fn unreadable(path: &Path, cause: PytorchError) -> Error {
    match cause {
        PytorchError::Io(cause) if cause.raw_os_error().is_some() => Error::io("read", path, &cause),
        other => Error::user(format!("{} cannot be read: {}", path.display(), short(&other.to_string())))
            .hint("copy or download the file again"),
    }
}

/// What a file says, in one line of a message.
fn short(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(|char| if char.is_control() { char.escape_debug().collect() } else { vec![char] })
        .collect()
}

#[cfg(test)]
mod tests;
