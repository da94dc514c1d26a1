//! The table of verdicts: what a judge said of each answer, with its evidence.
//!
//! Columns: set, row, verdict (safe, unsafe or unparsed), score, severity, category, refusal, raw. The table is for people who want to see the
//! reasons. Reports count the outcomes, which are another table. Must not know: how a verdict was reached.

use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};

use super::{Row, text, whole};
use crate::judge::{Label, Verdict};

/// What a judge said of one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    pub set: String,
    pub row: u32,
    pub verdict: Label,
    pub score: Option<f64>,
    pub severity: Option<f64>,
    pub category: Option<String>,
    pub refusal: Option<bool>,
    pub raw: String,
}

impl VerdictRow {
    /// A verdict with the question set and the row that it is about.
    pub fn new(set: &str, row: u32, verdict: Verdict) -> Self {
        let Verdict { label, score, severity, category, refusal, raw } = verdict;
        Self { set: set.to_owned(), row, verdict: label, score, severity, category, refusal, raw }
    }

    /// The verdict alone.
    pub fn into_verdict(self) -> Verdict {
        let Self { verdict: label, score, severity, category, refusal, raw, .. } = self;
        Verdict { label, score, severity, category, refusal, raw }
    }
}

impl Row for VerdictRow {
    const TABLE: &'static str = "the table of verdicts";

    fn columns() -> Vec<Field> {
        vec![
            text("set"),
            whole("row"),
            text("verdict"),
            Field::new("score", DataType::Float64, true),
            Field::new("severity", DataType::Float64, true),
            text("category").with_nullable(true),
            Field::new("refusal", DataType::Boolean, true),
            text("raw"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_survive_the_file() {
        let row = |label, score, category: Option<&str>| {
            let category = category.map(str::to_owned);
            let refusal = category.as_ref().map(|category| category == "refusal");
            let verdict = Verdict { label, score, severity: score, category, refusal, raw: "I cannot".into() };
            assert_eq!(VerdictRow::new("fairness", 3, verdict.clone()).into_verdict(), verdict);
            VerdictRow::new("fairness", 3, verdict)
        };
        let verdicts = [
            row(Label::Safe, Some(0.25), Some("refusal")),
            row(Label::Unsafe, None, None),
            row(Label::Unparsed, None, None),
        ];
        let bytes = VerdictRow::to_parquet(&verdicts).unwrap();
        assert_eq!(VerdictRow::from_parquet(bytes).unwrap(), verdicts);
    }
}
