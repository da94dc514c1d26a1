//! What people have in the place of a text file of rows, told by its content: what it is, and what to do with it.
//!
//! Must not know: containers, columns.

use super::lines::line_of;
use crate::error::{Error, Result};

/// The beginnings of files that are no data files: what it is, and what to do.
const STRANGERS: &[(&[u8], &str, &str)] = &[
    (
        b"version https://git-lfs.github.com",
        "this is a Git LFS pointer, not the file itself",
        "fetch the file with `git lfs pull`",
    ),
    (b"\xd0\xcf\x11\xe0", "this is an old Excel workbook", "save the sheet as \"CSV UTF-8\""),
    (
        b"ARROW1",
        "this is an Arrow IPC file",
        "write it as Parquet: pyarrow.parquet.write_table(pyarrow.feather.read_table(FILE), \"data.parquet\")",
    ),
    (
        b"\xff\xff\xff\xff",
        "this is an Arrow stream",
        "write it as Parquet: datasets.load_from_disk(DIR).to_parquet(\"data.parquet\")",
    ),
    (b"SQLite format 3", "this is an SQLite database", "export the table as CSV"),
    (
        b"<?xml",
        "this is an XML document",
        "convert it to CSV or JSON Lines; if it is a web page, fetch the file itself",
    ),
    (b"%PDF", "this is a PDF document", "give a file of rows"),
    (b"BZh", "this was packed with bzip2", "unpack it with `bunzip2`, or pack it with gzip or Zstandard"),
    (b"\xfd7zXZ", "this was packed with xz", "unpack it with `unxz`, or pack it with gzip or Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "this is a 7-Zip archive", "unpack it, and give the file that is inside"),
    (b"\x89HDF", "this is an HDF5 file", "convert it to Parquet or CSV"),
    (
        b"\x80\x04\x95",
        "this is a Python pickle, which can run code",
        "write the data as Parquet or JSON Lines where it was made",
    ),
    (b"Obj\x01", "this is an Avro file", "convert it to Parquet"),
    (
        b"Entry not found",
        "this is the Hub's answer that there is no such file",
        "check the address that it was fetched from",
    ),
];

/// Refuses what is known to be something else than rows.
///
/// # Errors
/// User: says what it is.
pub fn refuse(bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(b"PK\x03\x04") {
        let workbook = bytes.windows(11).any(|name| name == b"xl/workbook");
        return Err(if workbook {
            Error::user("this is an Excel workbook").hint("save the sheet as \"CSV UTF-8\"")
        } else {
            Error::user("this is a ZIP archive").hint("unpack it, and give the file that is inside")
        });
    }
    if let Some((_, what, hint)) = STRANGERS.iter().find(|(begins, ..)| bytes.starts_with(begins)) {
        return Err(Error::user(*what).hint(*hint));
    }
    if is_utf16(bytes) {
        return Err(Error::user("this is UTF-16 text, not UTF-8")
            .hint("save it as UTF-8 (spreadsheets call it \"CSV UTF-8\"), or: iconv -f UTF-16 -t UTF-8 OLD > NEW"));
    }
    if is_web_page(bytes) {
        return Err(Error::user("this is an HTML page, not a data file").hint(
            "the address led to a page about the file: fetch the file itself (on the Hugging Face Hub `resolve` in place of `blob`, on GitHub \"Raw\")",
        ));
    }
    Ok(())
}

/// A byte order mark, or zeros in every second place of the beginning.
fn is_utf16(bytes: &[u8]) -> bool {
    let head = bytes.get(..64.min(bytes.len() & !1)).unwrap_or_default();
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let half = head.len() / 2;
    bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || (half > 2 && (zeros(0).max(zeros(1)) * 4 > half * 3))
}

fn is_web_page(bytes: &[u8]) -> bool {
    let head = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let begins = |tag: &[u8]| head.get(..tag.len()).is_some_and(|found| found.eq_ignore_ascii_case(tag));
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") || begins(b"<!--")
}

/// The text without its byte order mark.
///
/// # Errors
/// User: bytes that are not UTF-8, with the line of the first.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|cause| {
        let at = cause.valid_up_to();
        let line = line_of(bytes, at);
        let byte = bytes.get(at).copied().unwrap_or_default();
        // One byte a letter: in Windows-1252 and Latin-1 a letter with an accent or a typographic mark is above 0x7f, and
        // its neighbours are mostly plain letters.
        let plain = |place: Option<usize>| place.and_then(|place| bytes.get(place)).is_none_or(u8::is_ascii);
        if plain(at.checked_sub(1)) && plain(Some(at + 1)) {
            Error::user(format!("line {line}: not UTF-8 text, but probably Latin-1 or Windows-1252 (byte 0x{byte:02x})"))
                .hint("save the file as UTF-8 (spreadsheets call it \"CSV UTF-8\"), or: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW")
        } else {
            Error::user(format!("line {line}: not UTF-8 text"))
                .hint("save the file as UTF-8 (spreadsheets call it \"CSV UTF-8\")")
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> String {
        refuse(bytes).unwrap_err().message().to_owned()
    }

    #[test]
    fn strangers_are_called_by_their_names() {
        assert_eq!(
            said(b"version https://git-lfs.github.com/spec/v1\noid"),
            "this is a Git LFS pointer, not the file itself"
        );
        assert_eq!(said(b"PK\x03\x04....xl/workbook.xml"), "this is an Excel workbook");
        assert_eq!(said(b"PK\x03\x04....data.csv"), "this is a ZIP archive");
        assert_eq!(said(b"\n <!DOCTYPE html><html>"), "this is an HTML page, not a data file");
        assert_eq!(said(b"\xef\xbb\xbf<HTML lang=\"en\">"), "this is an HTML page, not a data file");
        for (encode, mark) in
            [(u16::to_le_bytes as fn(u16) -> [u8; 2], true), (u16::to_le_bytes, false), (u16::to_be_bytes, false)]
        {
            let text = format!("{}prompt,response\nIs A bad?,Né.\n", if mark { "\u{feff}" } else { "" });
            let bytes: Vec<u8> = text.encode_utf16().flat_map(encode).collect();
            assert_eq!(said(&bytes), "this is UTF-16 text, not UTF-8");
        }
        for rows in [&b""[..], b"a", b"prompt,response\n", b"{\"a\": 1}", b"<b>,c\n"] {
            refuse(rows).unwrap();
        }
    }

    #[test]
    fn other_encodings_are_told_with_the_line() {
        let said = |bytes: &[u8]| utf8(bytes).unwrap_err().message().to_owned();
        assert_eq!(said(b"a\nM\xfcller\n"), "line 2: not UTF-8 text, but probably Latin-1 or Windows-1252 (byte 0xfc)");
        assert_eq!(said(b"a\n\xff\xfe\xfd\n"), "line 2: not UTF-8 text");
        assert_eq!(utf8(b"\xef\xbb\xbfa").unwrap(), "a");
    }
}
