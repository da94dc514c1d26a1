//! The table of leaks that report writes: each question that is also a prompt of the calibration rows.
//!
//! Columns: set, row, question, data, data_row, prompt, alike (exact, normalised or near), share. Must not know: how texts are
//! compared.

use arrow::datatypes::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, text, whole};
use crate::choice::choices;

choices! {
    /// How much alike a question and a calibration prompt are.
    Likeness {
        /// Character for character.
        Exact = "exact",
        /// But for case, white space and punctuation.
        Normalised = "normalised",
        /// Nearly.
        Near = "near",
    }
}

/// A question and the calibration prompt that is closest to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Leak {
    /// The question set's name.
    pub set: String,
    /// The row of the question file, from 0.
    pub row: u32,
    pub question: String,
    /// The data set's name.
    pub data: String,
    /// The row of the data file, from 0.
    pub data_row: u32,
    pub prompt: String,
    pub alike: Likeness,
    /// The share of their pieces of text that the two have in common: 1 unless they are only near.
    pub share: f64,
}

impl Row for Leak {
    const TABLE: &'static str = "the table of leaks";

    fn columns() -> Vec<Field> {
        vec![
            text("set"),
            whole("row"),
            text("question"),
            text("data"),
            whole("data_row"),
            text("prompt"),
            text("alike"),
            Field::new("share", DataType::Float64, false),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaks_survive_the_file() {
        let leak = |alike, share| Leak {
            set: "fairness".into(),
            row: 3,
            question: "Why so, \"Jo\"?".into(),
            data: "privacy".into(),
            data_row: 7,
            prompt: "why so, Jo".into(),
            alike,
            share,
        };
        let leaks = [leak(Likeness::Exact, 1.0), leak(Likeness::Normalised, 1.0), leak(Likeness::Near, 0.8)];
        assert_eq!(Leak::from_parquet(Leak::to_parquet(&leaks).unwrap()).unwrap(), leaks);
        assert_eq!(Leak::from_parquet(Leak::to_parquet(&[]).unwrap()).unwrap(), []);
    }
}
