//! Writing and reading Parquet, for rank tables, masks and the tables between stages. Writer properties are fixed, so that equal
//! tables give equal bytes. Readers turn anything malformed into an error.
//!
//! Must not know: any room of the crate, what the columns mean.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Rows handed over at once: bounds the memory of repeated names, and decides page boundaries.
pub(crate) const BATCH: usize = 1 << 16;

/// A Parquet file that is being written. The caller ends row groups. One row group at a time is in memory.
pub(crate) struct Writer<W: Write + Send> {
    schema: Arc<Schema>,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> Writer<W> {
    /// `metadata` is a key and its text. Columns of text and those in `repeated` are dictionary-encoded,
    /// those in `ascending` are stored as differences.
    pub(crate) fn new(
        out: W,
        fields: Vec<Field>,
        metadata: Option<(&str, String)>,
        repeated: &[&str],
        ascending: &[&str],
    ) -> Result<Self> {
        let schema = Arc::new(Schema::new(fields));
        let mut properties = WriterProperties::builder()
            .set_created_by("dean".into())
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(None)
            .set_dictionary_enabled(false)
            .set_key_value_metadata(metadata.map(|(key, text)| vec![KeyValue::new(key.to_owned(), text)]));
        for name in repeated {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(*name), true);
        }
        for name in ascending {
            properties = properties.set_column_encoding(ColumnPath::from(*name), Encoding::DELTA_BINARY_PACKED);
        }
        // Without Arrow's own schema in the metadata the file says nothing that Parquet does not say.
        let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
        Self::with(out, schema, options)
    }

    /// A writer for a table of one row group, with Arrow's defaults. Lists keep their Arrow names.
    pub(crate) fn plain(out: W, fields: Vec<Field>) -> Result<Self> {
        let properties = WriterProperties::builder().set_created_by("dean".into()).set_compression(Compression::SNAPPY);
        Self::with(out, Arc::new(Schema::new(fields)), ArrowWriterOptions::new().with_properties(properties.build()))
    }

    fn with(out: W, schema: Arc<Schema>, options: ArrowWriterOptions) -> Result<Self> {
        let writer = ArrowWriter::try_new_with_options(out, schema.clone(), options).map_err(unwritten)?;
        Ok(Self { schema, writer })
    }

    /// Adds rows to the present row group.
    pub(crate) fn rows(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(unwritten)?;
        self.writer.write(&batch).map_err(unwritten)
    }

    /// Adds rows to the present row group: structs whose fields are the columns.
    pub(crate) fn records<R: Serialize>(&mut self, rows: &[R]) -> Result<()> {
        let batch = serde_arrow::to_record_batch(self.schema.fields(), &rows).map_err(unwritten)?;
        self.writer.write(&batch).map_err(unwritten)
    }

    /// Ends the row group. A group without rows is not written.
    pub(crate) fn end_group(&mut self) -> Result<()> {
        self.writer.flush().map_err(unwritten)
    }

    pub(crate) fn finish(self) -> Result<W> {
        self.writer.into_inner().map_err(unwritten)
    }
}

fn unwritten(cause: impl std::fmt::Display) -> Error {
    Error::fault(format!("a Parquet table could not be written: {cause}"))
}

/// An error about the content of the file that `what` names ("the rank table").
pub(crate) fn damaged(what: &str, how: impl std::fmt::Display) -> Error {
    Error::user(format!("{what} cannot be used: {how}"))
        .hint("the file is damaged or was not written by dean; `dean cache fsck` finds damaged artifacts, and running again makes them anew")
}

/// Reads a file whose columns must be exactly `fields`. `begin` sees the text under `key` in the
/// metadata, then `each` sees all rows in order, a batch at a time. Nothing is allocated by what a header claims.
pub(crate) fn read<T>(
    what: &str,
    bytes: impl Into<Bytes>,
    fields: &[Field],
    key: &str,
    begin: impl FnOnce(Option<&str>) -> Result<T>,
    each: impl FnMut(&mut T, &RecordBatch) -> Result<()>,
) -> Result<T> {
    read_groups(what, bytes, fields, key, |_| true, begin, each)
}

/// As [`read`], but reads only the wanted row groups.
pub(crate) fn read_groups<T>(
    what: &str,
    bytes: impl Into<Bytes>,
    fields: &[Field],
    key: &str,
    wanted: impl Fn(&RowGroupMetaData) -> bool,
    begin: impl FnOnce(Option<&str>) -> Result<T>,
    mut each: impl FnMut(&mut T, &RecordBatch) -> Result<()>,
) -> Result<T> {
    let bytes = bytes.into();
    let attempt = || {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options);
        let builder = builder.map_err(|cause| damaged(what, cause))?;
        check_fields(builder.schema(), fields).map_err(|how| damaged(what, how))?;
        let pairs = builder.metadata().file_metadata().key_value_metadata();
        let pair = pairs.into_iter().flatten().find(|pair| pair.key == key);
        let mut state = begin(pair.and_then(|pair| pair.value.as_deref()))?;
        let groups = builder.metadata().row_groups().iter().enumerate();
        let groups = groups.filter(|(_, group)| wanted(group)).map(|(number, _)| number).collect();
        let builder = builder.with_row_groups(groups);
        for batch in builder.with_batch_size(BATCH).build().map_err(|cause| damaged(what, cause))? {
            each(&mut state, &batch.map_err(|cause| damaged(what, cause))?)?;
        }
        Ok(state)
    };
    guarded(what, attempt)
}

/// Whether a row group may have a row with this text in a column, by the statistics in the file (least and greatest value).
pub(crate) fn may_hold(group: &RowGroupMetaData, name: &str, text: &str) -> bool {
    let column = group.columns().iter().find(|column| column.column_path().string() == name);
    let bounds = column
        .and_then(|column| column.statistics())
        .and_then(|statistics| Some((statistics.min_bytes_opt()?, statistics.max_bytes_opt()?)));
    bounds.is_none_or(|(least, greatest)| (least..=greatest).contains(&text.as_bytes()))
}

/// All rows of a file as structs. Its columns must be exactly `fields`, which are the structs' own.
pub(crate) fn records<R: DeserializeOwned>(what: &str, bytes: impl Into<Bytes>, fields: &[Field]) -> Result<Vec<R>> {
    let each = |rows: &mut Vec<R>, batch: &RecordBatch| {
        let more: Vec<R> = serde_arrow::from_record_batch(batch).map_err(|cause| damaged(what, cause))?;
        rows.extend(more);
        Ok(())
    };
    read(what, bytes, fields, "", |_| Ok(Vec::new()), each)
}

/// The Parquet crate returns errors for most malformed input, but not for all of it.
fn guarded<T>(what: &str, attempt: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| Err(damaged(what, "it is not well-formed Parquet")))
}

fn check_fields(found: &Schema, expected: &[Field]) -> Result<(), String> {
    let line = |fields: &mut dyn Iterator<Item = &Field>| {
        fields.map(|field| format!("{}: {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
    };
    let (found, expected) = (line(&mut found.fields().iter().map(Arc::as_ref)), line(&mut expected.iter()));
    if found == expected { Ok(()) } else { Err(format!("its columns are ({found}), not ({expected})")) }
}

/// A column of text without gaps.
pub(crate) fn text<'a>(what: &str, batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<StringArray>());
    column.filter(|column| column.null_count() == 0).ok_or_else(|| damaged(what, format!("column {name} has gaps")))
}

/// A column of numbers without gaps.
pub(crate) fn numbers<'a, T: ArrowPrimitiveType>(
    what: &str,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a [T::Native]> {
    let column = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<PrimitiveArray<T>>());
    let column = column.ok_or_else(|| damaged(what, format!("column {name} has another type")))?;
    if column.null_count() == 0 { Ok(column.values()) } else { Err(damaged(what, format!("column {name} has gaps"))) }
}
