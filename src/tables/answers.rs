//! The table of answers that generate writes and judge reads.
//!
//! Columns: set, row, question, prompt_ids, answer_ids (with the stop id), answer, thought, stop ([`End`]). What is judged is
//! `answer`. A thought before it is kept apart, and is null where there is none.
//! Must not know: judges.

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};

use super::{Row, ids, text, whole};
use crate::choice::choices;
use crate::model::decoder::generate::Stop;
use crate::model::text::thoughts::Said;

choices! {
    /// Why an answer ends where it does.
    End {
        /// The model ended it.
        Eos = "eos",
        /// One of the texts that end answers.
        Text = "text",
        /// The limit of new tokens, or the end of the context.
        Length = "length",
        /// The model ended its turn inside a thought, before any answer.
        Thought = "thought",
    }
}

impl End {
    /// The end of a text that was taken apart, of which generation ended so.
    pub fn of(stop: Stop, said: &Said) -> Self {
        match stop {
            _ if said.stopped => Self::Text,
            Stop::Length => Self::Length,
            Stop::Eos | Stop::Text if said.open => Self::Thought,
            Stop::Eos => Self::Eos,
            Stop::Text => Self::Text,
        }
    }

    /// Whether more would have come, or no answer came at all.
    pub fn is_cut(self) -> bool {
        matches!(self, Self::Length | Self::Thought)
    }
}

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
    /// What the model thought before, stripped of white space and tags.
    pub thought: Option<String>,
    pub stop: End,
}

impl Answer {
    /// An answer of which the text alone is known.
    pub fn of_text(set: &str, row: u32, question: &str, answer: &str) -> Self {
        Self {
            set: set.to_owned(),
            row,
            question: question.to_owned(),
            prompt_ids: Vec::new(),
            answer_ids: Vec::new(),
            answer: answer.to_owned(),
            thought: None,
            stop: End::Eos,
        }
    }
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
            text("thought").with_nullable(true),
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
            thought: (row > 0).then(String::new),
            stop: End::Eos,
        };
        let answers = [answer(0, "No."), answer(1, "")];
        let bytes = Answer::to_parquet(&answers).unwrap();
        assert_eq!(Answer::from_parquet(bytes).unwrap(), answers);
        assert_eq!(Answer::from_parquet(Answer::to_parquet(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn an_answer_that_does_not_come_or_stops_short_is_cut() {
        let said = |open, stopped| Said { open, stopped, ..Said::default() };
        for (stop, open, stopped, end, cut) in [
            (Stop::Eos, false, false, End::Eos, false),
            (Stop::Eos, true, false, End::Thought, true),
            (Stop::Length, true, false, End::Length, true),
            (Stop::Length, false, false, End::Length, true),
            (Stop::Length, false, true, End::Text, false),
            (Stop::Text, false, true, End::Text, false),
        ] {
            let found = End::of(stop, &said(open, stopped));
            assert_eq!((found, found.is_cut()), (end, cut));
        }
    }
}
