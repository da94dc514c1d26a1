//! Weights as safetensors: one file, or several.
//!
//! Files are memory-mapped; opening reads headers only. Headers are not trusted: every byte range is
//! checked against the mapping. Must not know: which files there are, which tensors a decoder needs, config.json.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype as Kind, SafeTensorError, SafeTensors};

use crate::error::{Error, Result};
use crate::files;
use crate::model::checkpoint::weights::{Stored, Weights};
use crate::model::floats::{Dtype, floats};
use crate::model::source::impostor;
use crate::model::source::layout::Layout;

/// The opened files of one model.
pub struct SafetensorsFiles {
    shards: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Located>,
}

struct Located {
    stored: Stored,
    shard: usize,
    bytes: Range<usize>,
}

impl SafetensorsFiles {
    /// Opens a model's files of weights.
    pub fn open(layout: &Layout) -> Result<Self> {
        let mut opened = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        for (path, wanted) in layout.shards() {
            opened.add(path, wanted)?;
        }
        layout.check_held(|tensor| opened.tensors.contains_key(tensor))?;
        Ok(opened)
    }

    /// Maps one file and takes up its tensors, or those of them that are wanted.
    fn add(&mut self, path: PathBuf, wanted: Option<&BTreeSet<String>>) -> Result<()> {
        let map = files::map(&path)?;
        impostor::check(&path, &map)?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|cause| unreadable(&path, &map, &cause))?;
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            if wanted.is_some_and(|wanted| !wanted.contains(&name)) {
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

impl Weights for SafetensorsFiles {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name).map(|located| &located.stored)
    }

    fn size(&self, name: &str) -> Result<usize> {
        Ok(self.located(name)?.bytes.len())
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let located = self.located(name)?;
        let shard = self.shards.get(located.shard).and_then(|(_, map)| map.get(located.bytes.clone()));
        shard.map(Cow::Borrowed).ok_or_else(|| Error::fault(format!("{name} lies outside of its file")))
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let located = self.located(name)?;
        let dtype = located.stored.dtype.ok_or_else(|| {
            Error::fault(format!("{name} is stored as {}, which was not refused", located.stored.label))
        })?;
        Ok(floats(&self.bytes(name)?, dtype))
    }

    fn place(&self, name: &str) -> Option<(&Path, Range<usize>)> {
        let located = self.tensors.get(name)?;
        self.shards.get(located.shard).map(|(path, _)| (path.as_path(), located.bytes.clone()))
    }

    fn files(&self) -> Vec<PathBuf> {
        self.shards.iter().map(|(path, _)| path.clone()).collect()
    }
}

fn unreadable(path: &Path, map: &[u8], cause: &SafeTensorError) -> Error {
    let file = path.display();
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
