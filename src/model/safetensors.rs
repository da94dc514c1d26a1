//! Weights in a Hugging Face directory: `model.safetensors`, or the shards that an index names.
//!
//! Files are memory-mapped; opening reads headers only. Headers are not trusted: the index may
//! name files of this directory only, and every byte range is checked against the mapping.
//! Must not know: which tensors a decoder needs, config.json.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype as Kind, SafeTensorError, SafeTensors};
use serde_json::Value;

use super::checkpoint::{Dtype, Stored, Weights, floats, map_file};
use crate::error::{Error, Result};
use crate::files;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The opened shards of one directory.
pub struct Shards {
    shards: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Located>,
}

struct Located {
    stored: Stored,
    shard: usize,
    bytes: Range<usize>,
}

impl Shards {
    /// Opens the weights of a directory. Like transformers, a single file goes before an index.
    pub fn open(directory: &Path) -> Result<Self> {
        let single = directory.join(SINGLE);
        if single.is_file() {
            let mut opened = Self { shards: Vec::new(), tensors: BTreeMap::new() };
            opened.add(single, |_| true)?;
            return Ok(opened);
        }
        let index = directory.join(INDEX);
        if index.is_file() { Self::open_index(directory, &index) } else { Err(nothing_to_read(directory)) }
    }

    fn open_index(directory: &Path, index: &Path) -> Result<Self> {
        let malformed = |why: &str| Error::user(format!("{}: {why}", index.display())).hint("download the model again");
        let value: Value =
            serde_json::from_slice(&files::read(index)?).map_err(|cause| malformed(&format!("not JSON: {cause}")))?;
        let map = value.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| malformed("weight_map is missing or not a table"))?;
        let mut by_file: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().filter(|file| is_plain(file)).ok_or_else(|| {
                malformed(&format!(
                    "weight_map puts {tensor} into {file}, which is not the name of a .safetensors file here"
                ))
            })?;
            by_file.entry(file).or_default().insert(tensor);
        }
        let mut opened = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        for (file, wanted) in by_file {
            opened.add(directory.join(file), |name| wanted.contains(name))?;
            if let Some(lost) = wanted.iter().find(|name| !opened.tensors.contains_key(**name)) {
                return Err(malformed(&format!("weight_map puts {lost} into {file}, which does not hold it")));
            }
        }
        Ok(opened)
    }

    /// Maps one file and takes up the tensors that `wanted` names.
    fn add(&mut self, path: PathBuf, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let map = map_file(&path)?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|cause| unreadable(&path, &map, &cause))?;
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            if !wanted(&name) {
                continue;
            }
            // the library has checked the ranges, but with arithmetic that may wrap
            let place = |offset: usize| offset.checked_add(header)?.checked_add(8);
            let range = place(info.data_offsets.0).zip(place(info.data_offsets.1)).map(|(start, end)| start..end);
            let Some(bytes) = range.filter(|range| map.get(range.clone()).is_some()) else {
                return Err(unreadable(&path, &map, &SafeTensorError::MetadataIncompleteBuffer));
            };
            let dtype = match info.dtype {
                Kind::F32 => Some(Dtype::F32),
                Kind::F16 => Some(Dtype::F16),
                Kind::BF16 => Some(Dtype::BF16),
                _ => None,
            };
            let stored = Stored { shape: info.shape.clone(), label: format!("{:?}", info.dtype), dtype, heads: None };
            self.tensors.insert(name, Located { stored, shard, bytes });
        }
        self.shards.push((path, map));
        Ok(())
    }

    fn located(&self, name: &str) -> Result<&Located> {
        self.tensors.get(name).ok_or_else(|| Error::fault(format!("no shard holds {name}")))
    }
}

impl Weights for Shards {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name).map(|located| &located.stored)
    }

    fn bytes(&self, name: &str) -> Result<&[u8]> {
        let located = self.located(name)?;
        let shard = self.shards.get(located.shard).and_then(|(_, map)| map.get(located.bytes.clone()));
        shard.ok_or_else(|| Error::fault(format!("{name} lies outside of its file")))
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let located = self.located(name)?;
        let dtype = located.stored.dtype.ok_or_else(|| {
            Error::fault(format!("{name} is stored as {}, which was not refused", located.stored.label))
        })?;
        Ok(floats(self.bytes(name)?, dtype))
    }

    fn files(&self) -> Vec<PathBuf> {
        self.shards.iter().map(|(path, _)| path.clone()).collect()
    }
}

/// A bare file name: no folder, no way up, no drive.
fn is_plain(file: &str) -> bool {
    file.ends_with(".safetensors") && !file.starts_with('.') && !file.contains(['/', '\\', ':', '\0'])
}

fn unreadable(path: &Path, map: &[u8], cause: &SafeTensorError) -> Error {
    let file = path.display();
    if map.starts_with(b"version https://git-lfs") {
        return Error::user(format!("{file} is a Git LFS pointer, not the weights"))
            .hint("fetch them with `git lfs pull`");
    }
    let message = match cause {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => {
            format!("{file} is truncated, or not a safetensors file ({} bytes)", map.len())
        }
        other => format!("{file} has a malformed header: {other}"),
    };
    Error::user(message).hint("copy or download the file again")
}

fn nothing_to_read(directory: &Path) -> Error {
    let names: Vec<String> = files::list(directory)
        .unwrap_or_default()
        .iter()
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    let ends = |suffix: &str| names.iter().find(|name| name.ends_with(suffix));
    let place = directory.display();
    if let Some(bin) = ends(".bin") {
        return Error::user(format!("{place} has its weights in {bin}; PyTorch .bin files are not read yet"))
            .hint("convert them: transformers' `from_pretrained(DIR).save_pretrained(DIR)` writes model.safetensors");
    }
    if let Some(gguf) = ends(".gguf") {
        return Error::user(format!("{place} has no {SINGLE}"))
            .hint(format!("to use its GGUF file, name the file itself: {}", directory.join(gguf).display()));
    }
    Error::user(format!("{place} has neither {SINGLE} nor {INDEX}"))
        .hint("a model directory holds config.json, tokenizer.json and safetensors weights")
}
