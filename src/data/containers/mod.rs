//! Containers: how rows lie in a file. A container is one file and one line in [`CONTAINERS`].
//!
//! Which one a file has is told by the end of its name, and where that says nothing, by its content. Packing (gzip, Zstandard)
//! is taken off before a container sees the bytes. Must not know: what the columns mean, how many rows are wanted.

use std::path::Path;

use bytes::Bytes;

use super::mistaken;
use super::packing::{ENDINGS, unpacked};
use super::row::{Column, Row, Wanted};
use crate::bounded::{self, Excess, Limits};
use crate::choice::{Choice, Member};
use crate::error::{Error, Result};

mod csv;
mod json;
mod jsonl;
mod parquet;
mod tsv;

/// A way of laying rows down in a file.
pub trait Container: Sync {
    /// The word in keys.
    fn name(&self) -> &'static str;
    /// How names of such files end, in small letters.
    fn endings(&self) -> &'static [&'static str];
    /// Whether a file with this content is one.
    fn recognises(&self, _: &[u8]) -> Sure {
        Sure::No
    }
    /// The columns, as far as the beginning of the file shows them.
    ///
    /// # Errors
    /// User: what is wrong there, with the line.
    fn columns(&self, bytes: &Bytes) -> Result<Vec<Column>>;
    /// Shows every row in file order, each with the cells of the wanted columns in their order.
    ///
    /// # Errors
    /// User: what is wrong, with the line or row; and what `visit` says.
    fn rows(&self, bytes: &Bytes, wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()>;
}

/// How sure it is what a file is, by its content alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sure {
    /// It may be anything.
    No,
    /// It is, unless its name says something else.
    Likely,
    /// It can be nothing else, whatever its name says.
    Yes,
}

/// Every container.
pub const CONTAINERS: &[&dyn Container] = &[&csv::Csv, &json::Json, &jsonl::Jsonl, &parquet::Parquet, &tsv::Tsv];

/// A container, by its word in keys.
pub type Format = Choice<dyn Container>;

impl Member for dyn Container {
    fn name(&self) -> &'static str {
        Container::name(self)
    }

    fn members() -> &'static [&'static Self] {
        CONTAINERS
    }
}

/// What a look at a file shows, before its rows are read.
#[derive(Clone, Debug)]
pub struct Glance {
    pub format: Format,
    /// None if the beginning cannot be read. Reading the rows says why.
    pub columns: Vec<Column>,
}

/// Looks at a file.
///
/// # Errors
/// User: neither name nor content say what it is.
pub fn glance(path: &Path, bytes: &Bytes) -> Result<Glance> {
    let content = content(bytes);
    let format = by_name(path).map(Ok).unwrap_or_else(|| match &content {
        Ok(content) => by_content(content, Sure::Likely).ok_or_else(|| unknown(path)),
        Err(error) => Err(error.clone().within(path.display())),
    })?;
    let columns =
        content.and_then(|content| metered(content.len(), move || actual(format, &content).columns(&content)));
    let columns = columns.unwrap_or_default();
    Ok(Glance { format, columns })
}

/// Memory that a byte of a file may take as rows. Honest text takes a few times its size, and what Parquet has packed more. A few
/// bytes can also stand for millions of empty values.
const BYTES_OF_BYTE: usize = 32;

/// What reading gives, if it takes no more than so many bytes of content warrant.
fn metered<R: Send + 'static>(bytes: usize, read: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    let costly = |excess: Excess| {
        Error::user(format!("the rows cannot be read: {excess}"))
            .hint("give a smaller part of the data, or check where the file comes from: a small file that takes so much is often an attack")
    };
    bounded::within(Limits::of_input(bytes, BYTES_OF_BYTE), read).unwrap_or_else(|excess| Err(costly(excess)))
}

/// Every row of a file, with the cells of the wanted columns in their order.
///
/// Never empty. CSV and TSV: the first line names the columns. JSON: a row is an object.
///
/// # Errors
/// User: what is wrong, with the line or row.
pub fn read_rows(bytes: &Bytes, format: Format, wanted: &[Wanted]) -> Result<Vec<Row>> {
    let content = content(bytes)?;
    let wanted = wanted.to_vec();
    let rows = metered(content.len(), move || {
        let mut rows = Vec::new();
        actual(format, &content).rows(&content, &wanted, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    })?;
    if rows.is_empty() {
        return Err(Error::user("there are no rows")
            .hint("give a file with at least one row, or take the data set out of the pipeline file"));
    }
    Ok(rows)
}

/// The unpacked content, if it can be rows at all.
fn content(bytes: &Bytes) -> Result<Bytes> {
    let content = unpacked(bytes)?;
    if by_content(&content, Sure::Likely).is_none() {
        mistaken::refuse(&content)?;
    }
    Ok(content)
}

/// The container that a file's name promises; its end may be that of a packer behind another one.
fn by_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(&format!(".{ending}"))).unwrap_or(&name);
    let (_, ending) = name.rsplit_once('.')?;
    CONTAINERS.iter().find(|container| container.endings().contains(&ending)).map(|container| Choice(*container))
}

/// The container that the content shows, at least so surely.
fn by_content(content: &[u8], least: Sure) -> Option<Format> {
    let seen = CONTAINERS.iter().map(|container| (container.recognises(content), *container));
    let sure = seen.filter(|(sure, _)| *sure >= least);
    sure.max_by_key(|(sure, _)| *sure).map(|(_, container)| Choice(container))
}

/// The container to read with: the one that was named, unless the content can only be another one's.
fn actual(format: Format, content: &[u8]) -> Format {
    by_content(content, Sure::Yes).unwrap_or(format)
}

fn unknown(path: &Path) -> Error {
    let endings: Vec<String> =
        CONTAINERS.iter().flat_map(|container| container.endings()).map(|ending| format!(".{ending}")).collect();
    Error::user(format!("{} is no data file, by its name and content", path.display()))
        .hint(format!("names of data files end in {}, each also with .gz or .zst behind it", endings.join(", ")))
}
