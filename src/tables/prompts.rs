//! The table of calibration prompts that tokenize writes, as texts: what the users of the drawn rows say.
//!
//! Columns: row, prompt. A conversation has a row for each turn of a user that comes before a response. Nothing is computed
//! from these texts; report looks for questions among them. Must not know: tokens, templates, questions.

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};

use super::{Row, text, whole};

/// What a user says in a calibration row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationPrompt {
    /// The row of the data file, from 0.
    pub row: u32,
    pub prompt: String,
}

impl Row for CalibrationPrompt {
    const TABLE: &'static str = "the table of calibration prompts";

    fn columns() -> Vec<Field> {
        vec![whole("row"), text("prompt")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_survive_the_file() {
        let prompts = [(7, "How are you?\nAnd she?"), (7, "Where?"), (2, "")]
            .map(|(row, prompt)| CalibrationPrompt { row, prompt: prompt.into() });
        let bytes = CalibrationPrompt::to_parquet(&prompts).unwrap();
        assert_eq!(CalibrationPrompt::from_parquet(bytes).unwrap(), prompts);
    }
}
