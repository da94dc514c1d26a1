//! The table of outcomes: everything that any stage measured, one number a row.
//!
//! The columns are set, row, measure and value. A *set* is a question set or a text. A *row* is its smallest unit that can be
//! paired between variants: a question, or a window of a text. A *measure* says what was measured there
//! ([`crate::report::measures`]). A value is null if there was no reading, for example a verdict that cannot be parsed. Infinity
//! and NaN are values.
//!
//! The table does not name the variant. So two equal sets of answers lead to one table under one key, whatever masks the
//! answers come from. The report joins the name of the node to each row. Its columns are variant, by, set, row, measure and
//! value. Must not know: stages, what a measure means.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};

use super::{Row, text, whole};
use crate::error::{Error, Result};

/// The output that every stage which measures gives its table, and report the joined one.
pub const OUTCOMES: &str = "outcomes";

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub set: String,
    /// From 0.
    pub row: u32,
    pub measure: String,
    /// None where nothing could be read.
    pub value: Option<f64>,
}

impl Outcome {
    pub fn new(set: &str, row: u32, measure: &str, value: Option<f64>) -> Self {
        Self { set: set.to_owned(), row, measure: measure.to_owned(), value }
    }

    /// The file of a node that measured.
    ///
    /// # Errors
    /// Fault: a row was measured twice by one measure, so that nobody could tell which value counts.
    pub fn file(outcomes: &[Self]) -> Result<Vec<u8>> {
        let mut seen = BTreeSet::new();
        let again = outcomes.iter().find(|found| !seen.insert((&found.set, found.row, &found.measure)));
        match again {
            Some(Self { set, row, measure, .. }) => {
                Err(Error::fault(format!("row {row} of {set} has two outcomes of {measure}")))
            }
            None => Self::to_parquet(outcomes),
        }
    }
}

impl Row for Outcome {
    const TABLE: &'static str = "the table of outcomes";

    fn columns() -> Vec<Field> {
        vec![text("set"), whole("row"), text("measure"), Field::new("value", DataType::Float64, true)]
    }
}

/// An outcome and what it is an outcome of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// `base`, or the beginning of the mask's digest.
    pub variant: String,
    /// Who measured: the node's name without the variant.
    pub by: String,
    pub set: String,
    pub row: u32,
    pub measure: String,
    pub value: Option<f64>,
}

impl Joined {
    pub fn new(variant: &str, by: &str, outcome: Outcome) -> Self {
        let Outcome { set, row, measure, value } = outcome;
        Self { variant: variant.to_owned(), by: by.to_owned(), set, row, measure, value }
    }
}

impl Row for Joined {
    const TABLE: &'static str = "the table of all outcomes";

    fn columns() -> Vec<Field> {
        [vec![text("variant"), text("by")], Outcome::columns()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_file_and_infinity_is_a_value() {
        let outcomes = [
            Outcome::new("fairness", 0, "refusal/safe", Some(1.0)),
            Outcome::new("fairness", 0, "empty", Some(0.0)),
            Outcome::new("fairness", 1, "refusal/safe", None),
            Outcome::new("text", 0, "nll", Some(f64::INFINITY)),
        ];
        let bytes = Outcome::file(&outcomes).unwrap();
        assert_eq!(Outcome::from_parquet(bytes).unwrap(), outcomes);
        let nan = Outcome::from_parquet(Outcome::file(&[Outcome::new("text", 0, "nll", Some(f64::NAN))]).unwrap());
        assert!(nan.unwrap()[0].value.unwrap().is_nan(), "not a number is no gap");

        let joined = outcomes.map(|outcome| Joined::new("base", "judge", outcome));
        assert_eq!(Joined::from_parquet(Joined::to_parquet(&joined).unwrap()).unwrap(), joined);
    }

    #[test]
    fn no_row_is_measured_twice() {
        let twice = [1.0, 0.0].map(|value| Outcome::new("fairness", 7, "refusal/safe", Some(value)));
        let error = Outcome::file(&twice).unwrap_err();
        assert_eq!(error.message(), "row 7 of fairness has two outcomes of refusal/safe");
    }
}
