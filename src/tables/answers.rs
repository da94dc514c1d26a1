//! The table of answers that generate writes and judge reads.
//!
//! Columns: set, row, question, prompt_ids, answer_ids (with the stop id), answer, stop (eos or length).
//! Must not know: judges.

use std::sync::Arc;

use arrow::array::{StringArray, UInt32Array};
use arrow::datatypes::UInt32Type;

use super::{Table, id_lists, write};
use crate::error::Result;

/// What a variant said to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `eos` or `length`
    pub stop: String,
}

/// All answers of one variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(pub Vec<Answer>);

impl Answers {
    pub fn to_parquet(&self) -> Result<Vec<u8>> {
        let text = |field: fn(&Answer) -> &str| Arc::new(StringArray::from_iter_values(self.0.iter().map(field)));
        write(
            vec![
                ("set", text(|answer| &answer.set)),
                ("row", Arc::new(UInt32Array::from_iter_values(self.0.iter().map(|answer| answer.row)))),
                ("question", text(|answer| &answer.question)),
                ("prompt_ids", id_lists(self.0.iter().map(|answer| answer.prompt_ids.as_slice()))),
                ("answer_ids", id_lists(self.0.iter().map(|answer| answer.answer_ids.as_slice()))),
                ("answer", text(|answer| &answer.answer)),
                ("stop", text(|answer| &answer.stop)),
            ],
            &[],
        )
    }

    pub fn from_parquet(bytes: Vec<u8>) -> Result<Self> {
        let table = Table::read(bytes, "answers")?;
        let rows = table.whole_numbers::<UInt32Type>("row")?;
        let text = |name: &str| table.whole_text(name).map(Vec::into_iter);
        let lists = |name: &str| table.lists::<UInt32Type>(name).map(Vec::into_iter);
        let (sets, questions, texts, stops) = (text("set")?, text("question")?, text("answer")?, text("stop")?);
        let columns = rows.into_iter().zip(sets).zip(questions).zip(lists("prompt_ids")?);
        let columns = columns.zip(lists("answer_ids")?).zip(texts).zip(stops);
        let answers = columns.map(|((((((row, set), question), prompt_ids), answer_ids), answer), stop)| Answer {
            set,
            row,
            question,
            prompt_ids,
            answer_ids,
            answer,
            stop,
        });
        Ok(Self(answers.collect()))
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
            stop: "eos".into(),
        };
        let answers = Answers(vec![answer(0, "No."), answer(1, "")]);
        assert_eq!(Answers::from_parquet(answers.to_parquet().unwrap()).unwrap(), answers);
        assert_eq!(Answers::from_parquet(Answers::default().to_parquet().unwrap()).unwrap(), Answers::default());
    }
}
