//! Writing an artifact as a stream. It goes into a temporary file while it is hashed, so that an artifact of many gigabytes is
//! never in memory. It gets its name when its key is published.
//!
//! Must not know: what the bytes mean.

use std::io::{self, BufWriter, Write};

use super::Store;
use super::claims::Claim;
use super::records::OutputRef;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::Temporary;

/// How much is hashed and written at once: enough for BLAKE3 to use all lanes of the CPU.
const PIECE: usize = 1 << 18;

/// An artifact that is being written. Dropped before [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    buffer: BufWriter<Hashed<'a>>,
}

/// A whole artifact, on its way into the store: an [`Output`](super::Output) to publish. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Written {
    pub(super) file: Temporary,
    pub(super) output: OutputRef,
}

/// A file that is hashed while it is written.
#[derive(Debug)]
struct Hashed<'a> {
    store: &'a Store,
    file: Temporary,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> Claim<'a> {
    /// Starts an artifact that is written as a stream. Call this when the bytes are ready: a garbage collection removes
    /// temporary files that were not written to for a long time.
    ///
    /// # Errors
    /// User: the store cannot be written.
    pub fn writer(&self) -> Result<BlobWriter<'a>> {
        let (store, file) = (self.store(), self.store().temporary("blob")?);
        let hashed = Hashed { store, file, hasher: blake3::Hasher::new(), bytes: 0 };
        Ok(BlobWriter { buffer: BufWriter::with_capacity(PIECE, hashed) })
    }
}

impl BlobWriter<'_> {
    /// Finishes the artifact.
    ///
    /// # Errors
    /// User: the last bytes cannot be written.
    pub fn finish(self) -> Result<Written> {
        let store = self.buffer.get_ref().store;
        let hashed = self
            .buffer
            .into_inner()
            .map_err(|error| Error::inside(error.error()).unwrap_or_else(|| store.write_error(error.error())))?;
        let output = OutputRef { digest: Digest::finish(&hashed.hasher), bytes: hashed.bytes };
        Ok(Written { file: hashed.file, output })
    }
}

impl Written {
    /// Digest and size.
    pub fn output(&self) -> OutputRef {
        self.output
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.buffer.flush()
    }
}

/// Whoever writes into this through a library finds the sentence about a full disk with [`Error::inside`].
impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sentence = |cause: io::Error| io::Error::new(cause.kind(), self.store.write_error(&cause));
        let written = self.file.write(bytes).map_err(sentence)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
