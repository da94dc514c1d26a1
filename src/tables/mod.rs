//! Parquet tables that stages hand to each other: plain column names, which DuckDB and pandas read.
//!
//! Equal tables give equal bytes: one row group, one compression, no clock, a fixed writer name.
//! Rank tables and masks have their own forms in [`crate::rank`]. Must not know: stages, files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};

mod answers;
mod tokens;
mod verdicts;

pub use answers::{Answer, Answers};
pub use tokens::Tokens;
pub use verdicts::{VerdictRow, Verdicts};

/// Named columns of equal length as a Parquet file. `optional` names those that may hold nulls, so that the schema
/// does not depend on the rows.
pub(crate) fn write(columns: Vec<(&str, ArrayRef)>, optional: &[&str]) -> Result<Vec<u8>> {
    let fault = |error: &dyn std::fmt::Display| Error::fault(format!("a table cannot be written: {error}"));
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), optional.contains(name));
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect())
        .map_err(|error| fault(&error))?;
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_created_by("dean".into()).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(|error| fault(&error))?;
    writer.write(&batch).map_err(|error| fault(&error))?;
    writer.close().map_err(|error| fault(&error))?;
    Ok(bytes)
}

/// A Parquet file in memory.
pub(crate) struct Table {
    batches: Vec<RecordBatch>,
    what: &'static str,
}

impl Table {
    /// `what` names the table in messages.
    pub fn read(bytes: Vec<u8>, what: &'static str) -> Result<Self> {
        let bad = |error: &dyn std::fmt::Display| Error::user(format!("this is not a {what} table: {error}"));
        let read = || {
            let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))?;
            let reader = builder.with_batch_size(1 << 16).build()?;
            reader.collect::<Result<Vec<_>, _>>().map_err(parquet::errors::ParquetError::from)
        };
        // The Parquet crate panics on some damaged headers.
        let batches = catch_unwind(AssertUnwindSafe(read))
            .map_err(|_| bad(&"it is not well-formed Parquet"))?
            .map_err(|error| bad(&error))?;
        Ok(Self { batches, what })
    }

    fn column(&self, name: &str) -> Result<Vec<&ArrayRef>> {
        self.batches
            .iter()
            .map(|batch| batch.column_by_name(name))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::user(format!("the {} table has no column `{name}`", self.what)))
    }

    fn mismatch(&self, name: &str) -> Error {
        Error::user(format!("column `{name}` of the {} table has another type", self.what))
    }

    /// A column of numbers.
    pub fn numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Result<Vec<Option<T::Native>>> {
        let mut values = Vec::new();
        for array in self.column(name)? {
            let array = array.as_primitive_opt::<T>().ok_or_else(|| self.mismatch(name))?;
            values.extend(array.iter());
        }
        Ok(values)
    }

    /// A column of numbers without nulls.
    pub fn whole_numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Result<Vec<T::Native>> {
        self.numbers::<T>(name)?.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| self.mismatch(name))
    }

    /// A column of text.
    pub fn text(&self, name: &str) -> Result<Vec<Option<String>>> {
        let mut values = Vec::new();
        for array in self.column(name)? {
            let array = array.as_string_opt::<i32>().ok_or_else(|| self.mismatch(name))?;
            values.extend(array.iter().map(|value| value.map(str::to_owned)));
        }
        Ok(values)
    }

    /// A column of text without nulls.
    pub fn whole_text(&self, name: &str) -> Result<Vec<String>> {
        self.text(name)?.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| self.mismatch(name))
    }

    /// A column of lists of numbers.
    pub fn lists<T: ArrowPrimitiveType>(&self, name: &str) -> Result<Vec<Vec<T::Native>>> {
        let mut values = Vec::new();
        for array in self.column(name)? {
            let lists = array.as_list_opt::<i32>().ok_or_else(|| self.mismatch(name))?;
            for list in lists.iter() {
                let list = list.ok_or_else(|| self.mismatch(name))?;
                let list = list.as_primitive_opt::<T>().ok_or_else(|| self.mismatch(name))?;
                values.push(list.values().to_vec());
            }
        }
        Ok(values)
    }
}

/// A column of lists of token ids.
pub(crate) fn id_lists<'a>(rows: impl Iterator<Item = &'a [u32]>) -> ArrayRef {
    let mut builder = arrow::array::ListBuilder::new(arrow::array::UInt32Builder::new()).with_field(Field::new(
        "item",
        DataType::UInt32,
        false,
    ));
    for ids in rows {
        builder.values().append_slice(ids);
        builder.append(true);
    }
    Arc::new(builder.finish())
}
