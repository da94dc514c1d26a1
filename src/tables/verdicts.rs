//! The table of verdicts that judge writes and report reads.
//!
//! Columns: set, row, verdict (safe, unsafe or unparsed), score, category, raw. Must not know: how a
//! verdict came about.

use std::sync::Arc;

use arrow::array::{Float64Array, StringArray, UInt32Array};
use arrow::datatypes::{Float64Type, UInt32Type};

use super::{Table, write};
use crate::error::{Error, Result};
use crate::judge::{Label, Verdict};

/// What a judge said of one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictRow {
    pub set: String,
    pub row: u32,
    pub verdict: Verdict,
}

/// All verdicts on one variant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdicts(pub Vec<VerdictRow>);

impl Verdicts {
    pub fn to_parquet(&self) -> Result<Vec<u8>> {
        let rows = &self.0;
        write(
            vec![
                ("set", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.set)))),
                ("row", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.row)))),
                ("verdict", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.verdict.label.name())))),
                ("score", Arc::new(rows.iter().map(|row| row.verdict.score).collect::<Float64Array>())),
                ("category", Arc::new(rows.iter().map(|row| row.verdict.category.as_deref()).collect::<StringArray>())),
                ("raw", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.verdict.raw)))),
            ],
            &["score", "category"],
        )
    }

    pub fn from_parquet(bytes: Vec<u8>) -> Result<Self> {
        let table = Table::read(bytes, "verdicts")?;
        let label = |word: &str| {
            let found = Label::ALL.iter().find(|label| label.name() == word).copied();
            found.ok_or_else(|| Error::user(format!("`{word}` is not a verdict")))
        };
        let labels = table.whole_text("verdict")?.iter().map(|text| label(text)).collect::<Result<Vec<_>>>()?;
        let columns = table.whole_text("set")?.into_iter().zip(table.whole_numbers::<UInt32Type>("row")?).zip(labels);
        let columns = columns.zip(table.numbers::<Float64Type>("score")?).zip(table.text("category")?);
        let rows = columns.zip(table.whole_text("raw")?).map(|(((((set, row), label), score), category), raw)| {
            VerdictRow { set, row, verdict: Verdict { label, score, category, raw } }
        });
        Ok(Self(rows.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_survive_the_file() {
        let row = |label, score, category: Option<&str>| VerdictRow {
            set: "fairness".into(),
            row: 3,
            verdict: Verdict { label, score, category: category.map(str::to_owned), raw: "I cannot".into() },
        };
        let verdicts = Verdicts(vec![
            row(Label::Safe, Some(0.25), Some("refusal")),
            row(Label::Unsafe, None, None),
            row(Label::Unparsed, None, None),
        ]);
        assert_eq!(Verdicts::from_parquet(verdicts.to_parquet().unwrap()).unwrap(), verdicts);
    }
}
