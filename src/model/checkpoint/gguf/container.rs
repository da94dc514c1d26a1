//! The GGUF container: header, metadata and tensors, but not their meaning.
//!
//! The header is read with a cursor that cannot leave the file. So counts and lengths are never trusted before the bytes are
//! there. Dequantisation is candle's. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.
//! Must not know: families, Hugging Face names, tokenisers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};
use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::files;
use crate::model::checkpoint::weights::{Dtype, floats};

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
    pub kind: GgmlDType,
    pub label: &'static str,
    start: usize,
    bytes: usize,
}

/// An opened GGUF file.
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    meta: BTreeMap<String, Meta>,
    tensors: BTreeMap<String, GgufTensor>,
}

impl GgufFile {
    /// Maps the file and reads its header.
    pub fn open(path: &Path) -> Result<Self> {
        let map = files::map(path)?;
        let place = path.display();
        let (meta, tensors) = header(&map).map_err(|error| match error.hint_text() {
            Some(_) => error.within(place),
            None => error.within(place).hint("copy or download the file again"),
        })?;
        Ok(Self { path: path.to_owned(), map, meta, tensors })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn meta(&self, key: &str) -> Option<&Meta> {
        self.meta.get(key)
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
        let bytes = self.tensors.get(name).and_then(|tensor| self.map.get(tensor.start..tensor.start + tensor.bytes));
        bytes.ok_or_else(|| Error::fault(format!("{}: no bytes of {name}", self.path.display())))
    }

    /// The values of a tensor, dequantised, row-major.
    pub fn dequantize(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.bytes(name)?;
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Error::fault(format!("{}: no tensor {name}", self.path.display())));
        };
        match tensor.kind {
            GgmlDType::F32 => return Ok(floats(bytes, Dtype::F32)),
            GgmlDType::F16 => return Ok(floats(bytes, Dtype::F16)),
            GgmlDType::BF16 => return Ok(floats(bytes, Dtype::BF16)),
            _ => {}
        }
        // candle casts the slice to blocks that may hold f16: the header's check of offsets keeps it aligned
        let cpu = &candle_core::Device::Cpu;
        qtensor_from_ggml(tensor.kind, bytes, tensor.shape.clone(), cpu)
            .and_then(|quantised| quantised.dequantize(cpu)?.flatten_all()?.to_vec1::<f32>())
            .map_err(|cause| Error::fault(format!("{}: cannot dequantise {name}: {cause}", self.path.display())))
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
    if let Some(Meta::Whole(parts)) = meta.get("split.count")
        && *parts > 1
    {
        return Err(Error::user(format!("this GGUF file is one of {parts} parts"))
            .hint("join them: llama.cpp's `llama-gguf-split --merge FIRST-PART OUT.gguf`"));
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
    let Some((label, kind)) = kind_of(kind) else {
        let label = foreign(kind).map_or_else(|| format!("type {kind}"), str::to_owned);
        return Err(Error::user(format!("{name} is quantised as {label}, which cannot be read"))
            .hint("use a file of type Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, F16, BF16 or F32"));
    };
    let row = shape.last().copied().unwrap_or(1);
    let numel = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if !row.is_multiple_of(kind.block_size()) || numel == Some(0) {
        return Err(Error::user(format!("{name} has the shape {shape:?}, which {label} cannot store")));
    }
    let bytes = numel.and_then(|numel| (numel / kind.block_size()).checked_mul(kind.type_size()));
    let start = usize::try_from(offset).ok().filter(|offset| offset.is_multiple_of(alignment));
    let start = start.and_then(|offset| offset.checked_add(data));
    match (start, bytes) {
        (Some(start), Some(bytes)) if start.checked_add(bytes).is_some_and(|end| end <= file_size) => {
            Ok((name, GgufTensor { shape, kind, label, start, bytes }))
        }
        _ => Err(Error::user(format!(
            "the file is truncated or malformed: {name} of shape {shape:?} at offset {offset} is not within its {file_size} bytes"
        ))),
    }
}

/// The formats candle dequantises, by their number in the file.
fn kind_of(kind: u32) -> Option<(&'static str, GgmlDType)> {
    Some(match kind {
        0 => ("F32", GgmlDType::F32),
        1 => ("F16", GgmlDType::F16),
        2 => ("Q4_0", GgmlDType::Q4_0),
        3 => ("Q4_1", GgmlDType::Q4_1),
        6 => ("Q5_0", GgmlDType::Q5_0),
        7 => ("Q5_1", GgmlDType::Q5_1),
        8 => ("Q8_0", GgmlDType::Q8_0),
        10 => ("Q2_K", GgmlDType::Q2K),
        11 => ("Q3_K", GgmlDType::Q3K),
        12 => ("Q4_K", GgmlDType::Q4K),
        13 => ("Q5_K", GgmlDType::Q5K),
        14 => ("Q6_K", GgmlDType::Q6K),
        30 => ("BF16", GgmlDType::BF16),
        _ => return None,
    })
}

/// Names of formats that cannot be read, for the error.
fn foreign(kind: u32) -> Option<&'static str> {
    Some(match kind {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return None,
    })
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

#[cfg(test)]
mod tests;
