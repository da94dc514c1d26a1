//! Files that were packed with gzip or Zstandard, by their content and not by their name.
//!
//! A few kilobytes can unpack to more than any memory holds, so there is a limit. Must not know: what is in a file.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::size;

/// The most bytes that a packed file may have when it is unpacked, and the most text that is taken from a file whose
/// container packs its columns.
pub const LIMIT: usize = 1 << 30;

/// The endings that such files have behind another one.
pub const ENDINGS: [&str; 4] = ["gz", "gzip", "zst", "zstd"];

const GZIP: &[u8] = &[0x1f, 0x8b, 8];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The content of a file, unpacked if it is packed.
///
/// # Errors
/// User: a damaged file, one that unpacks to more than [`LIMIT`], one that was packed twice.
pub fn unpacked(bytes: &Bytes) -> Result<Bytes> {
    within(bytes, LIMIT)
}

fn within(bytes: &Bytes, limit: usize) -> Result<Bytes> {
    let Some(name) = packer(bytes) else { return Ok(bytes.clone()) };
    let source: &[u8] = bytes;
    let content = match name {
        "gzip" => expand(MultiGzDecoder::new(source), limit),
        _ => zstd::Decoder::new(source).and_then(|decoder| expand(decoder, limit)),
    };
    let content = content.map_err(|cause| {
        let how =
            if cause.kind() == io::ErrorKind::UnexpectedEof { "it ends too early".into() } else { cause.to_string() };
        let hint = match how.contains("too much memory") {
            true => "it was packed with a window of more than 128 MiB: unpack it with `zstd -d --long=31`, and give that file",
            false => "the file is damaged or was not fetched whole: fetch it again",
        };
        Error::user(format!("it cannot be unpacked with {name}: {how}")).hint(hint)
    })?;
    if content.len() > limit {
        return Err(too_large());
    }
    if packer(&content).is_some() {
        return Err(Error::user(format!("it was packed twice: the {name} file holds another packed one"))
            .hint("unpack it once, and give the file that is inside"));
    }
    Ok(content.into())
}

/// That a file holds more than is taken from one.
pub fn too_large() -> Error {
    Error::user(format!("it unpacks to more than {}, the most that is taken from one file", size::size(LIMIT as u64)))
        .hint("give a smaller part of the data, or check where the file comes from: a small file that unpacks to so much is often an attack")
}

/// What packed these bytes.
fn packer(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(GZIP) {
        Some("gzip")
    } else if bytes.starts_with(ZSTD) {
        Some("zstd")
    } else {
        None
    }
}

/// All that a reader gives, but at most one byte above the limit.
fn expand(reader: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap().into()
    }

    fn zstd(content: &[u8]) -> Bytes {
        zstd::encode_all(content, 0).unwrap().into()
    }

    #[test]
    fn packed_files_are_known_by_their_content() {
        let text = Bytes::from_static(b"a,b\n1,2\n");
        for packed in [text.clone(), gzip(&text), zstd(&text)] {
            assert_eq!(unpacked(&packed).unwrap(), text);
        }
        // Several members one after the other are one file.
        assert_eq!(unpacked(&[gzip(b"a,b\n"), gzip(b"1,2\n")].concat().into()).unwrap(), text);
        assert_eq!(unpacked(&[zstd(b"a,b\n"), zstd(b"1,2\n")].concat().into()).unwrap(), text);
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let zeros = vec![0; 5000];
        for packed in [gzip(&zeros), zstd(&zeros)] {
            assert_eq!(within(&packed, 5000).unwrap().len(), 5000);
            let error = within(&packed, 4999).unwrap_err();
            assert_eq!(error.message(), "it unpacks to more than 1.0 GiB, the most that is taken from one file");
        }
    }

    #[test]
    fn damaged_and_doubly_packed_files_are_sentences() {
        for packed in [gzip(b"a,b\n1,2\n"), zstd(b"a,b\n1,2\n")] {
            let cut = unpacked(&packed.slice(..packed.len() - 3)).unwrap_err();
            assert!(cut.message().starts_with("it cannot be unpacked with "), "{cut}");
            let twice = unpacked(&gzip(&packed)).unwrap_err();
            assert_eq!(twice.message(), "it was packed twice: the gzip file holds another packed one");
        }
    }
}
