//! Parquet: columns of text, and lists of structs for conversations, with every codec.
//!
//! Only the columns that are asked for are read, a few rows at a time. What a file claims of itself is not believed: how many
//! values its pages hold is counted before they are read, and the text that is taken from it is counted too, because a few
//! bytes of runs can stand for any number of values. Must not know: other containers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::column::page::PageReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use serde_json::{Map, Value};

use super::super::packing::{self, LIMIT};
use super::super::row::{Column, Holds, Place, Row, Wanted, missing};
use super::{Container, Sure};
use crate::error::{Error, Result};

pub struct Parquet;

const MAGIC: &[u8] = b"PAR1";
const ENCRYPTED: &[u8] = b"PARE";
/// Rows that are taken from the file at once.
const BATCH: usize = 256;
/// What a value takes while it is read, apart from its text: where it is, and how it is nested.
const VALUE: usize = 24;

impl Container for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn endings(&self) -> &'static [&'static str] {
        &["parquet", "pq"]
    }

    fn recognises(&self, bytes: &[u8]) -> Sure {
        // A text may begin with these letters too, but has nothing but text behind them.
        if bytes.starts_with(MAGIC) && std::str::from_utf8(bytes).is_err() { Sure::Yes } else { Sure::No }
    }

    fn columns(&self, bytes: &Bytes) -> Result<Vec<Column>> {
        guarded(|| {
            let holds = |field: &Field| match field.data_type() {
                DataType::Utf8View | DataType::BinaryView => Holds::Text,
                DataType::List(_) => Holds::List,
                _ => Holds::Other,
            };
            let metadata = open(bytes)?;
            let fields = metadata.schema().fields().iter();
            Ok(fields.map(|field| Column { name: field.name().clone(), holds: holds(field) }).collect())
        })
    }

    fn rows(&self, bytes: &Bytes, wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        guarded(|| {
            let metadata = open(bytes)?;
            let places = wanted.iter().map(|wanted| place_of(wanted, metadata.schema())).collect::<Result<Vec<_>>>()?;
            let roots = ProjectionMask::roots(metadata.parquet_schema(), places.iter().flatten().copied());
            let mut room = LIMIT;
            for group in metadata.metadata().row_groups() {
                must_fit(bytes, group, &roots, &mut room)?;
            }
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), metadata);
            let (mut row, mut taken) = (0, 0);
            for batch in builder.with_projection(roots).with_batch_size(BATCH).build().map_err(malformed)? {
                let batch = batch.map_err(malformed)?;
                for at in 0..batch.num_rows() {
                    let place = Place::Row(row);
                    let mut cell = |wanted: &Wanted| {
                        let value =
                            column(&batch, &wanted.name, at, &mut taken).map_err(|error| error.within(place))?;
                        wanted.cell("column", place, value)
                    };
                    let cells = wanted.iter().map(&mut cell).collect::<Result<_>>()?;
                    visit(Row { place, cells })?;
                    row += 1;
                }
            }
            Ok(())
        })
    }
}

/// The file's footer, with all text to be read as views of the pages, which copies nothing.
fn open(bytes: &Bytes) -> Result<ArrowReaderMetadata> {
    if !bytes.starts_with(MAGIC) {
        let encrypted = bytes.starts_with(ENCRYPTED) || bytes.ends_with(ENCRYPTED);
        let what = if encrypted { "this is an encrypted Parquet file" } else { "this is not a Parquet file" };
        return Err(Error::user(what).hint(if encrypted {
            "decrypt it"
        } else {
            "its name ends as such a file's; name it as what it is, or fetch it again"
        }));
    }
    // Without the schema that Arrow's writers put beside Parquet's own, large strings, string views and dictionaries are what
    // they are in the file: strings.
    let plain = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load(bytes, plain.clone()).map_err(malformed)?;
    let fields: Vec<_> = metadata.schema().fields().iter().map(viewed).collect();
    let schema = Schema::new_with_metadata(fields, metadata.schema().metadata().clone());
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), plain.with_schema(Arc::new(schema))).map_err(malformed)
}

fn viewed(field: &Arc<Field>) -> Arc<Field> {
    let kind = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(viewed(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(viewed).collect()),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

fn place_of(wanted: &Wanted, schema: &Schema) -> Result<Option<usize>> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut found = names.iter().enumerate().filter(|(_, name)| **name == wanted.name).map(|(place, _)| place);
    match (found.next(), found.next()) {
        (Some(place), None) => Ok(Some(place)),
        (Some(_), Some(_)) => Err(Error::user(format!("two columns are called `{}`", wanted.name))
            .hint("rename one of them, so that it is clear which is meant")),
        (None, _) if !wanted.needed => Ok(None),
        (None, _) => Err(missing("column", None, &wanted.name, &names)),
    }
}

/// Refuses a row group whose pages hold more values than there is room for, and takes from the room what they need. Only the
/// pages' headers are looked at.
fn must_fit(bytes: &Bytes, group: &RowGroupMetaData, roots: &ProjectionMask, room: &mut usize) -> Result<()> {
    let rows = usize::try_from(group.num_rows()).unwrap_or_default();
    let columns = group.columns().iter().enumerate();
    for (_, chunk) in columns.filter(|(leaf, _)| roots.leaf_included(*leaf)) {
        let expanded = usize::try_from(chunk.uncompressed_size()).unwrap_or(usize::MAX);
        *room = room.checked_sub(expanded).ok_or_else(packing::too_large)?;
        let mut pages = SerializedPageReader::new(Arc::new(bytes.clone()), chunk, rows, None).map_err(malformed)?;
        while let Some(page) = pages.peek_next_page().map_err(malformed)? {
            let values = page.num_levels.or(page.num_rows).unwrap_or_default();
            *room = room.checked_sub(values.saturating_mul(VALUE)).ok_or_else(packing::too_large)?;
            pages.skip_next_page().map_err(malformed)?;
        }
    }
    Ok(())
}

fn column(batch: &RecordBatch, name: &str, row: usize, taken: &mut usize) -> Result<Value> {
    batch.column_by_name(name).map_or(Ok(Value::Null), |column| value(column, row, taken))
}

/// A cell as JSON has it. Only text, lists and structs are looked into. Of other types only their kind is ever told, so any
/// number stands for all.
fn value(array: &dyn Array, row: usize, taken: &mut usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Utf8View => Value::String(counted(array.as_string_view().value(row), taken)?),
        DataType::BinaryView => {
            let bytes = array.as_binary_view().value(row);
            let text = std::str::from_utf8(bytes).map_err(|_| {
                Error::user("a column holds bytes that are not text")
                    .hint("write it as UTF-8 text, or name another column in the pipeline file")
            })?;
            Value::String(counted(text, taken)?)
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| value(&items, item, taken)).collect::<Result<_>>()?)
        }
        DataType::Struct(fields) => {
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                object.insert(field.name().clone(), value(column, row, taken)?);
            }
            Value::Object(object)
        }
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        _ => Value::from(0),
    })
}

fn counted(text: &str, taken: &mut usize) -> Result<String> {
    *taken += text.len();
    if *taken > LIMIT { Err(packing::too_large()) } else { Ok(text.to_owned()) }
}

fn malformed(cause: impl Into<ParquetError>) -> Error {
    let cause = match cause.into() {
        ParquetError::General(cause) | ParquetError::ArrowError(cause) => cause,
        other => other.to_string(),
    };
    Error::user(format!("not readable as Parquet: {cause}"))
        .hint("the file is damaged or was not fetched whole: fetch it again")
}

/// The Parquet crate returns errors for most malformed input, but not for all of it.
fn guarded<T>(attempt: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(attempt))
        .unwrap_or_else(|_| Err(malformed(ParquetError::General("it is not well-formed".into()))))
}
