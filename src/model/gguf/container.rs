//! The GGUF container: header, metadata and tensors, but not their meaning. A container may be cut in several files.
//!
//! The header is read with a cursor that cannot leave the file. So counts and lengths are never trusted before the bytes are
//! there. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.
//! Must not know: families, Hugging Face names, tokenisers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::formats::{Format, READABLE};
use crate::error::{Error, Result};
use crate::files;
use crate::model::source::impostor;
use crate::model::source::parts;

/// The longest list that is read: far more than any vocabulary has.
const LONGEST_LIST: u64 = 1 << 22;

/// A metadata value. Numbers of every width are one of three; lists are of texts or of numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    Whole(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
    /// A list of lists; nothing that is read here uses one.
    Nested,
}

/// One tensor of the header. Its bytes are known to lie within the file.
pub struct GgufTensor {
    /// Row-major, outermost first, as in Hugging Face files (GGUF itself writes it the other way round).
    pub shape: Vec<usize>,
    pub format: Format,
    pub label: &'static str,
    /// Which of the files holds it.
    part: usize,
    start: usize,
    bytes: usize,
}

/// An opened GGUF file, with all its parts.
pub struct GgufFile {
    /// As it was opened: one of the parts.
    path: PathBuf,
    parts: Vec<(PathBuf, Mmap)>,
    meta: BTreeMap<String, Meta>,
    tensors: BTreeMap<String, GgufTensor>,
}

impl GgufFile {
    /// Maps the file and reads its header. If the file is one of several parts, all of them are opened.
    ///
    /// # Errors
    /// A part that is missing, a file that is truncated, malformed or something else.
    pub fn open(path: &Path) -> Result<Self> {
        let paths = parts::of(path).unwrap_or_else(|| vec![path.to_owned()]);
        let missing: Vec<String> = paths
            .iter()
            .filter(|part| !part.exists())
            .filter_map(|part| Some(part.file_name()?.display().to_string()))
            .collect();
        if !missing.is_empty() {
            let message =
                format!("{}: of its {} parts these are missing: {}", path.display(), paths.len(), missing.join(", "));
            return Err(
                Error::user(message).hint("all parts of a GGUF file belong into one folder; download the others too")
            );
        }
        let mut file =
            Self { path: path.to_owned(), parts: Vec::new(), meta: BTreeMap::new(), tensors: BTreeMap::new() };
        for path in &paths {
            let map = files::map(path)?;
            let place = path.display();
            impostor::check(path, &map)?;
            let read = header(&map).and_then(|header| file.add(header, paths.len()));
            read.map_err(|error| match error.hint_text() {
                Some(_) => error.within(place),
                None => error.within(place).hint("copy or download the file again"),
            })?;
            file.parts.push((path.clone(), map));
        }
        Ok(file)
    }

    /// Takes up the header of the next part of `count`. The first one has the metadata.
    fn add(&mut self, (meta, tensors): Header, count: usize) -> Result<()> {
        let part = self.parts.len();
        let number = |key: &str| match meta.get(key) {
            Some(Meta::Whole(number)) => usize::try_from(*number).ok(),
            _ => None,
        };
        let said = number("split.count").unwrap_or(1).max(1);
        if said != count {
            return Err(Error::user(format!("this is one of {said} parts of a GGUF file, but its name says {count}"))
                .hint(format!("give the parts their names back: NAME-00001-of-{said:05}.gguf and so on")));
        }
        if count > 1 && number("split.no") != Some(part) {
            let message = format!("this should be part {} of {count} of a GGUF file, and is another one", part + 1);
            return Err(Error::user(message).hint("copy or download the file again"));
        }
        for (name, tensor) in tensors {
            if self.tensors.contains_key(&name) {
                return Err(Error::user(format!("the tensor {name} is there twice")));
            }
            self.tensors.insert(name, GgufTensor { part, ..tensor });
        }
        if part == 0 {
            self.meta = meta;
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files of all parts, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        self.parts.iter().map(|(path, _)| path.clone()).collect()
    }

    pub fn meta(&self, key: &str) -> Option<&Meta> {
        self.meta.get(key)
    }

    /// Everything the header says, by key.
    pub fn metas(&self) -> impl Iterator<Item = (&str, &Meta)> {
        self.meta.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        match self.meta.get(key) {
            Some(Meta::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn tensors(&self) -> &BTreeMap<String, GgufTensor> {
        &self.tensors
    }

    /// The bytes of a tensor as they lie in the file.
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        let bytes = self.tensors.get(name).and_then(|tensor| {
            let (_, map) = self.parts.get(tensor.part)?;
            map.get(tensor.start..tensor.start + tensor.bytes)
        });
        bytes.ok_or_else(|| Error::fault(format!("{}: no bytes of {name}", self.path.display())))
    }

    /// The values of a tensor, dequantised, row-major.
    pub fn dequantize(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(name)?;
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Error::fault(format!("{}: no tensor {name}", self.path.display())));
        };
        let values = tensor.format.dequantize(bytes, &tensor.shape);
        values.map_err(|error| error.within(name).within(self.path.display()))
    }
}

type Header = (BTreeMap<String, Meta>, BTreeMap<String, GgufTensor>);

fn header(file: &[u8]) -> Result<Header> {
    let mut cursor = Cursor { file, at: 0 };
    if cursor.take(4).ok() != Some(b"GGUF") {
        return Err(Error::user("this is not a GGUF file"));
    }
    match cursor.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err(Error::user("this GGUF file is big-endian").hint("convert it to little-endian first"));
        }
        version => return Err(Error::user(format!("GGUF version {version} is not supported; 2 and 3 are"))),
    }
    let (tensor_count, meta_count) = (cursor.u64()?, cursor.u64()?);
    let mut meta = BTreeMap::new();
    for _ in 0..meta_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0).map_err(|error| error.within(&key))?;
        meta.insert(key, value);
    }
    let mut infos = Vec::new();
    for _ in 0..tensor_count {
        infos.push(cursor.tensor_info()?);
    }
    let alignment = match meta.get("general.alignment") {
        None => 32,
        Some(Meta::Whole(n)) if (8..=1 << 20).contains(n) && n % 8 == 0 => usize::try_from(*n).unwrap_or(32),
        Some(other) => return Err(Error::user(format!("general.alignment is {other:?}; it must be a multiple of 8"))),
    };
    let data = cursor.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for info in infos {
        let (name, tensor) = place(info, data, alignment, file.len())?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(Error::user(format!("the tensor {name} is there twice")));
        }
    }
    Ok((meta, tensors))
}

struct Info {
    name: String,
    shape: Vec<usize>,
    kind: u32,
    offset: u64,
}

/// Finds a tensor's bytes and checks that the file has them.
fn place(info: Info, data: usize, alignment: usize, file_size: usize) -> Result<(String, GgufTensor)> {
    let Info { name, shape, kind, offset } = info;
    let (label, format) = Format::of(kind)
        .map_err(|label| Error::user(format!("{name} is quantised as {label}, which cannot be read")).hint(READABLE))?;
    let row = shape.last().copied().unwrap_or(1);
    let numel = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if !row.is_multiple_of(format.block_size()) || numel == Some(0) {
        return Err(Error::user(format!("{name} has the shape {shape:?}, which {label} cannot store")));
    }
    let bytes = numel.and_then(|numel| (numel / format.block_size()).checked_mul(format.type_size()));
    let start = usize::try_from(offset).ok().filter(|offset| offset.is_multiple_of(alignment));
    let start = start.and_then(|offset| offset.checked_add(data));
    match (start, bytes) {
        (Some(start), Some(bytes)) if start.checked_add(bytes).is_some_and(|end| end <= file_size) => {
            Ok((name, GgufTensor { shape, format, label, part: 0, start, bytes }))
        }
        _ => Err(Error::user(format!(
            "the file is truncated or malformed: {name} of shape {shape:?} at offset {offset} is not within its {file_size} bytes"
        ))),
    }
}

/// A place in the file that can only move forward, and only onto bytes that exist.
struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.file.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            Error::user(format!(
                "the file is truncated or malformed: its header goes on past its {} bytes",
                self.file.len()
            ))
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Error::fault("a slice of the wrong length"))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Texts should be UTF-8; some files have broken ones in harmless places.
    fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn tensor_info(&mut self) -> Result<Info> {
        let name = self.text()?;
        let rank = self.u32()?;
        if rank > 4 {
            return Err(Error::user(format!("the tensor {name} has {rank} dimensions; 4 is the most")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(usize::try_from(self.u64()?).unwrap_or(usize::MAX));
        }
        shape.reverse();
        Ok(Info { name, shape, kind: self.u32()?, offset: self.u64()? })
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Meta> {
        Ok(match kind {
            7 => Meta::Bool(self.array::<1>()? != [0]),
            8 => Meta::Text(self.text()?),
            9 => self.list(depth)?,
            // an f32 becomes the f64 of its shortest decimal, so that 1e-5 is config.json's 1e-5
            6 => {
                let float = f32::from_le_bytes(self.array()?);
                Meta::Float(float.to_string().parse().unwrap_or_else(|_| f64::from(float)))
            }
            12 => Meta::Float(f64::from_le_bytes(self.array()?)),
            _ => Meta::Whole(self.whole(kind)?),
        })
    }

    fn whole(&mut self, kind: u32) -> Result<i128> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            _ => return Err(Error::user(format!("the header is malformed: there is no value type {kind}"))),
        })
    }

    fn list(&mut self, depth: u32) -> Result<Meta> {
        let (kind, length) = (self.u32()?, self.u64()?);
        if length > LONGEST_LIST || depth > 4 {
            return Err(Error::user(format!("the header is malformed: a list of {length} values, {depth} deep")));
        }
        match kind {
            8 => (0..length).map(|_| self.text()).collect::<Result<_>>().map(Meta::Texts),
            9 => {
                (0..length).try_for_each(|_| self.list(depth + 1).map(drop))?;
                Ok(Meta::Nested)
            }
            _ => {
                let number = |value| match value {
                    Meta::Whole(n) => n as f64,
                    Meta::Float(n) => n,
                    Meta::Bool(on) => f64::from(u8::from(on)),
                    _ => f64::NAN,
                };
                (0..length).map(|_| self.value(kind, depth).map(number)).collect::<Result<_>>().map(Meta::Numbers)
            }
        }
    }
}
