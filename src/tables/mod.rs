//! The Parquet tables that stages hand to each other. DuckDB and pandas can read them.
//!
//! A table is a list of one struct, whose fields are the columns. Equal tables give equal bytes, because a file has one row
//! group, one compression, no time and a fixed writer name. Rank tables and masks have their own forms in [`crate::rank`].
//! Must not know: stages, files.

use bytes::Bytes;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::columns::{self, Writer};
use crate::error::{Error, Result};

mod answers;
mod controls;
mod leaks;
mod outcomes;
mod prompts;
mod tokens;
mod verdicts;

pub use answers::{Answer, End};
pub use controls::{Control, ControlKind};
pub use leaks::{Leak, Likeness};
pub use outcomes::{Joined, OUTCOMES, Outcome};
pub use prompts::CalibrationPrompt;
pub use tokens::Tokens;
pub use verdicts::VerdictRow;

/// One row of a table. Its fields are the columns, under their names and in their order.
pub trait Row: Serialize + DeserializeOwned {
    /// Names the table in messages: `the table of answers`.
    const TABLE: &'static str;

    /// The columns with their types, and whether they may be null. They are stated and not traced from the rows, so that the
    /// schema of a file does not depend on its content.
    fn columns() -> Vec<Field>;

    /// The rows as a file.
    ///
    /// # Errors
    /// Fault: rows that do not fit [`Self::columns`].
    fn to_parquet(rows: &[Self]) -> Result<Vec<u8>> {
        let mut writer = Writer::plain(Vec::new(), Self::columns())?;
        writer.records(rows)?;
        writer.finish()
    }

    /// The rows of a file.
    ///
    /// # Errors
    /// User: bytes that are no Parquet file, other columns, nulls where there must be none.
    fn from_parquet(bytes: impl Into<Bytes>) -> Result<Vec<Self>> {
        columns::records(Self::TABLE, bytes, &Self::columns())
    }
}

/// The number of a row as tables hold it.
///
/// # Errors
/// User: a file with too many rows.
pub fn narrow(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|_| Error::user("a data file has more than four billion rows"))
}

/// A column of text.
fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

/// A column of whole numbers.
fn whole(name: &str) -> Field {
    Field::new(name, DataType::UInt32, false)
}

/// A column of lists of token ids.
fn ids(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(whole("item"))), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::judge::{Label, Verdict};

    /// Digests of tables as they were written column by column, before rows were. Another digest is other bytes for the
    /// same rows: raise the version of the stage whose table it is.
    #[test]
    fn the_bytes_of_a_table_stay() {
        let answer = |row: u32| Answer {
            set: "privacy".into(),
            row,
            question: "Where does she live?\nTell me.".into(),
            prompt_ids: vec![1, 2],
            answer_ids: vec![3; row as usize],
            answer: "No.".into(),
            thought: None,
            stop: End::Eos,
        };
        let verdict = |label, score: Option<f64>, category: Option<&str>| {
            let category = category.map(str::to_owned);
            let refusal = score.map(|_| true);
            let verdict = Verdict { label, score, severity: None, category, refusal, raw: "I cannot".into() };
            VerdictRow::new("fairness", 3, verdict)
        };
        let verdicts = [
            verdict(Label::Safe, Some(0.25), Some("refusal")),
            verdict(Label::Unsafe, None, None),
            verdict(Label::Unparsed, None, None),
        ];
        let mut tokens = Tokens::default();
        (0..3).for_each(|row| tokens.push(row, vec![1; row], row).unwrap());
        let files = [
            Answer::to_parquet(&[0, 1].map(answer)),
            Answer::to_parquet(&[]),
            VerdictRow::to_parquet(&verdicts),
            tokens.to_parquet(),
        ];
        assert_eq!(
            files.map(|bytes| Digest::of(&bytes.unwrap()).to_string()),
            [
                "bc4528fa7a2aa28d4f7e0df434f7cfa3576672d90e55e24d783d50f495edca6d",
                "77320ea91d3431d6dba884ab9a1d815c644c63e257bca015e5f5e085b196254e",
                "7ac4eaf55224c44a3e1658fa8cf4b58eab9b3291111ec1662b2bf8a2fda60a3e",
                "85dc4408f70af6bd6589f070452e6e52ad2d2f43e642e1be16f860d5d9d96d41",
            ]
        );
    }

    #[test]
    fn what_is_no_such_table_is_a_sentence() {
        let said = |bytes: Vec<u8>| Answer::from_parquet(bytes).unwrap_err().message().to_owned();
        let verdicts = said(VerdictRow::to_parquet(&[]).unwrap());
        assert!(verdicts.starts_with("the table of answers cannot be used: its columns are (set"), "{verdicts}");
        let nonsense = said(b"nonsense".to_vec());
        assert!(nonsense.starts_with("the table of answers cannot be used"), "{nonsense}");

        #[derive(Serialize)]
        struct Gap {
            row: u32,
            input_ids: Vec<u32>,
            response_start: Option<u32>,
        }
        let columns = vec![whole("row"), ids("input_ids"), whole("response_start").with_nullable(true)];
        let mut writer = Writer::plain(Vec::new(), columns).unwrap();
        writer.records(&[Gap { row: 0, input_ids: vec![1], response_start: None }]).unwrap();
        let gap = Tokens::from_parquet(writer.finish().unwrap()).unwrap_err();
        assert!(gap.message().starts_with("the table of token ids cannot be used"), "{}", gap.message());
    }
}
