//! The table of answers that generate writes and judge reads.
//!
//! Columns: set, row, question, prompt_ids, answer_ids (with the stop id), answer, stop (eos or length).
//! Must not know: judges.

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};

use super::{Row, ids, text, whole};
use crate::model::decoder::generate::Stop;

/// What a variant said to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question set's name.
    pub set: String,
    /// The row of the question file, from 0.
    pub row: u32,
    pub question: String,
    pub prompt_ids: Vec<u32>,
    /// With the end-of-sequence token where one was reached.
    pub answer_ids: Vec<u32>,
    /// Stripped of white space.
    pub answer: String,
    pub stop: Stop,
}

impl Row for Answer {
    const TABLE: &'static str = "the table of answers";

    fn columns() -> Vec<Field> {
        vec![
            text("set"),
            whole("row"),
            text("question"),
            ids("prompt_ids"),
            ids("answer_ids"),
            text("answer"),
            text("stop"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_file() {
        let answer = |row: u32, text: &str| Answer {
            set: "privacy".into(),
            row,
            question: "Where does she live?\nTell me.".into(),
            prompt_ids: vec![1, 2],
            answer_ids: vec![3],
            answer: text.into(),
            stop: Stop::Eos,
        };
        let answers = [answer(0, "No."), answer(1, "")];
        let bytes = Answer::to_parquet(&answers).unwrap();
        assert_eq!(Answer::from_parquet(bytes).unwrap(), answers);
        assert_eq!(Answer::from_parquet(Answer::to_parquet(&[]).unwrap()).unwrap(), []);
    }
}
