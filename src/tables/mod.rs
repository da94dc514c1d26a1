//! Parquet tables that stages hand to each other: plain column names, which DuckDB and pandas read.
//!
//! Equal tables give equal bytes: one row group, one compression, no clock, a fixed writer name.
//! Rank tables and masks have their own forms in [`crate::rank`]. Must not know: stages, files.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field};

use crate::columns::{self, Writer};
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
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), optional.contains(name));
    let mut writer = Writer::plain(columns.iter().map(field).collect())?;
    writer.rows(columns.into_iter().map(|(_, array)| array).collect())?;
    writer.finish()
}

/// A Parquet file in memory.
pub(crate) struct Table {
    batches: Vec<RecordBatch>,
    what: &'static str,
}

impl Table {
    /// `what` names the table in messages.
    pub fn read(bytes: Vec<u8>, what: &'static str) -> Result<Self> {
        let batches = columns::batches(&format!("the {what} table"), bytes)?;
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
