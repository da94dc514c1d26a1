//! Compares an exported directory with what it should be, byte for byte.
//!
//! Must not know: how the directory was written, where the patch comes from.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::contents::{Contents, OWN};
use super::edits::file_name;
use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::model::source::layout::{MORE_TEMPLATES, is_looked_into};

/// What a comparison found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Comparison {
    pub files: usize,
    pub bytes: u64,
    pub differences: Vec<Difference>,
    /// Files that belong to nothing that was compared; README.md and the manifest are not counted.
    pub others: Vec<PathBuf>,
}

/// A file that is not what it should be.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    pub file: PathBuf,
    #[serde(flatten)]
    pub how: How,
}

/// How a file differs.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "how", rename_all = "lowercase")]
pub enum How {
    Missing,
    /// It ends before it should.
    Short,
    /// It goes on where it should end.
    Long,
    /// Its first byte that differs, and the weight that the byte belongs to.
    Byte {
        at: u64,
        tensor: Option<String>,
        index: Option<usize>,
    },
    /// A file that should not be there: tools would read it.
    Stranger,
}

/// Compares every file. Reads the base and the directory once each.
///
/// # Errors
/// User: files that cannot be read.
pub fn compare(dir: &Path, contents: &Contents<'_>) -> Result<Comparison> {
    let mut found = Comparison::default();
    for item in &contents.items {
        let path = dir.join(&item.name);
        let mut differ = |how| found.differences.push(Difference { file: item.name.clone(), how });
        if !path.is_file() {
            differ(How::Missing);
            continue;
        }
        let mut against = Against { file: files::open(&path)?, at: 0, buffer: Vec::new(), stopped: None };
        let produced = contents.produce(item, &mut against, &|cause| Error::io("read", &path, cause));
        found.files += 1;
        found.bytes += against.at;
        match against.stopped {
            Some(Stopped::Short) => differ(How::Short),
            Some(Stopped::Byte(at)) => {
                let (tensor, index) = contents.weight_at(item, at).unzip();
                differ(How::Byte { at, tensor, index });
            }
            None => {
                produced?;
                if against.file.read(&mut [0]).at("read", &path)? > 0 {
                    differ(How::Long);
                }
            }
        }
    }
    let mut there = files::list(dir)?;
    let more = dir.join(MORE_TEMPLATES);
    if more.is_dir() {
        there.retain(|path| *path != more);
        there.extend(files::list(&more)?);
    }
    for path in there {
        let Ok(name) = path.strip_prefix(dir).map(Path::to_owned) else { continue };
        if OWN.iter().any(|own| name == Path::new(own)) || contents.items.iter().any(|item| item.name == name) {
            continue;
        }
        if path.is_file() && is_looked_into(&file_name(&path)) {
            found.differences.push(Difference { file: name, how: How::Stranger });
        } else {
            found.others.push(name);
        }
    }
    Ok(found)
}

enum Stopped {
    Short,
    Byte(u64),
}

/// A writer that compares the bytes with those of a file instead of writing them.
struct Against {
    file: File,
    at: u64,
    buffer: Vec<u8>,
    stopped: Option<Stopped>,
}

impl Write for Against {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.clear();
        (&mut self.file).take(bytes.len() as u64).read_to_end(&mut self.buffer)?;
        let same = self.buffer.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        if same < self.buffer.len() {
            self.stopped = Some(Stopped::Byte(self.at + same as u64));
        } else if self.buffer.len() < bytes.len() {
            self.stopped = Some(Stopped::Short);
        }
        self.at += same as u64;
        // One difference is enough.
        if self.stopped.is_some() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
