//! Answers that were made elsewhere: the rows of a file as what they say.
//!
//! Cells of CSV are text, those of JSON and Parquet have types, so a number may be either. Must not know: which questions there
//! are, which variants.

use serde_json::Value;

use super::row::{Place, Row, Wanted, kind};
use crate::choice::choices;
use crate::error::{Error, Result};

choices! {
    /// Who answers.
    #[derive(Default)]
    AnswersOf {
        /// The model of the pipeline and its variants.
        #[default]
        Model = "model",
        /// A file holds the answers.
        File = "file",
    }
}

/// One answer as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenAnswer {
    pub place: Place,
    /// The question set; none where the file does not say.
    pub set: Option<String>,
    /// Which question: its row in the question file, from 0, or its text, or both.
    pub row: Option<u64>,
    pub question: Option<String>,
    pub answer: String,
    /// Who answered: `base`, a point or the beginning of a mask's digest. None is the base, unless there is a q.
    pub variant: Option<String>,
    pub p: Option<f64>,
    pub q: Option<f64>,
    /// Whether it was cut, as far as the file says.
    pub cut: Cut,
}

/// What a file says of where an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Yes,
    No,
    /// It has so many tokens; the limit tells.
    Tokens(u64),
    Unknown,
}

const COLUMNS: [&str; 11] =
    ["set", "row", "question", "answer", "variant", "p", "q", "cut", "stop", "finish_reason", "tokens"];

/// Words for an end at a limit, in dean's own tables and in those of other programs.
const AT_THE_LIMIT: [&str; 3] = ["length", "max_tokens", "thought"];

impl GivenAnswer {
    /// The columns that are looked for. `answer` must be there.
    pub fn wanted() -> Vec<Wanted> {
        let column = |name: &str| if name == "answer" { Wanted::text(name) } else { Wanted::maybe(name) };
        COLUMNS.iter().map(|name| column(name)).collect()
    }

    /// What a row with these columns says.
    ///
    /// # Errors
    /// User: a cell that is something else, or no question.
    pub fn of(row: &Row) -> Result<Self> {
        let cells = Cells(row);
        let found = Self {
            place: row.place,
            set: cells.text("set")?,
            row: cells.number("row")?,
            question: cells.text("question")?,
            answer: cells.text("answer")?.unwrap_or_default(),
            variant: cells.text("variant")?,
            p: cells.number("p")?,
            q: cells.number("q")?,
            cut: cells.cut()?,
        };
        if found.row.is_none() && found.question.is_none() {
            return Err(Error::user(format!("{}: it is not said what was asked", row.place))
                .hint("a row needs `row`, the number of the question in its file from 0, or `question`, its text"));
        }
        if found.variant.is_none() && found.p.is_some() && found.q.is_none() {
            return Err(Error::user(format!("{}: it has a p and no q", row.place))
                .hint("add `q`, or name the `variant`; docs/answers.md says what a file of answers holds"));
        }
        Ok(found)
    }
}

/// The cells of a row by the names of the columns.
struct Cells<'a>(&'a Row);

impl Cells<'_> {
    /// None where there is no such column, and where its cell is null or, but for the answer, empty.
    fn cell(&self, name: &str) -> Option<&Value> {
        let at = COLUMNS.iter().position(|column| *column == name)?;
        let empty = |cell: &Value| cell.is_null() || (name != "answer" && cell.as_str().is_some_and(str::is_empty));
        self.0.cells.get(at).filter(|cell| !empty(cell))
    }

    fn wrong(&self, name: &str, cell: &Value, what: &str) -> Error {
        Error::user(format!("{}: `{name}` is {}, not {what}", self.0.place, kind(cell)))
            .hint("docs/answers.md says what a file of answers holds")
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        let text = |cell: &Value| cell.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, cell, "text"));
        self.cell(name).map(text).transpose()
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>> {
        let number = |cell: &Value| {
            let text = cell.as_str().map_or_else(|| cell.to_string(), |text| text.trim().to_owned());
            text.parse().map_err(|_| self.wrong(name, cell, "one that fits"))
        };
        self.cell(name).map(number).transpose()
    }

    fn cut(&self) -> Result<Cut> {
        if let Some(cell) = self.cell("cut") {
            let word = cell.as_str().map_or_else(|| cell.to_string(), str::to_lowercase);
            return match word.as_str() {
                "true" | "1" => Ok(Cut::Yes),
                "false" | "0" => Ok(Cut::No),
                _ => Err(self.wrong("cut", cell, "true or false")),
            };
        }
        for name in ["stop", "finish_reason"] {
            if let Some(word) = self.text(name)? {
                return Ok(if AT_THE_LIMIT.contains(&word.as_str()) { Cut::Yes } else { Cut::No });
            }
        }
        Ok(self.number("tokens")?.map_or(Cut::Unknown, Cut::Tokens))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::data::{Format, read_rows};

    fn read(format: &str, text: &str) -> Vec<Result<GivenAnswer>> {
        let rows =
            read_rows(&Bytes::from(text.to_owned()), Format::of(format).unwrap(), &GivenAnswer::wanted()).unwrap();
        rows.iter().map(GivenAnswer::of).collect()
    }

    #[test]
    fn a_row_says_the_same_in_every_container() {
        let csv = "set,row,answer,variant,p,q,cut\nfairness,3,No.,,1e-5,3e-5,true\nfairness,4,,base,,,0\n";
        let jsonl = "{\"set\": \"fairness\", \"row\": 3, \"answer\": \"No.\", \"p\": 1e-5, \"q\": 3e-5, \"cut\": true}\n\
                     {\"set\": \"fairness\", \"row\": 4, \"answer\": \"\", \"variant\": \"base\", \"cut\": false}\n";
        let expected = |place, row, answer: &str, variant: Option<&str>, p, q, cut| GivenAnswer {
            place: Place::Line(place),
            set: Some("fairness".into()),
            row: Some(row),
            question: None,
            answer: answer.into(),
            variant: variant.map(str::to_owned),
            p,
            q,
            cut,
        };
        for (format, text, first) in [("csv", csv, 2), ("jsonl", jsonl, 1)] {
            let found: Vec<GivenAnswer> = read(format, text).into_iter().map(Result::unwrap).collect();
            let rows = [
                expected(first, 3, "No.", None, Some(1e-5), Some(3e-5), Cut::Yes),
                expected(first + 1, 4, "", Some("base"), None, None, Cut::No),
            ];
            assert_eq!(found, rows, "{format}");
        }
    }

    #[test]
    fn ends_are_told_in_the_words_of_other_programs() {
        let cut = |fields: &str| {
            let row = format!("{{\"row\": 0, \"answer\": \"No.\"{fields}}}\n");
            read("jsonl", &row).remove(0).unwrap().cut
        };
        assert_eq!(cut(""), Cut::Unknown);
        assert_eq!((cut(", \"finish_reason\": \"length\""), cut(", \"finish_reason\": \"stop\"")), (Cut::Yes, Cut::No));
        assert_eq!((cut(", \"stop\": \"thought\""), cut(", \"stop\": \"eos\"")), (Cut::Yes, Cut::No));
        assert_eq!((cut(", \"tokens\": 64"), cut(", \"tokens\": 64, \"cut\": 0")), (Cut::Tokens(64), Cut::No));
    }

    #[test]
    fn what_is_no_answer_is_placed() {
        let said = |row: &str| read("jsonl", &format!("{row}\n")).remove(0).unwrap_err().message().to_owned();
        insta::assert_snapshot!(said("{\"answer\": \"No.\"}"), @"line 1: it is not said what was asked");
        insta::assert_snapshot!(said("{\"row\": -1, \"answer\": \"No.\"}"), @"line 1: `row` is a number, not one that fits");
        insta::assert_snapshot!(said("{\"row\": 1, \"answer\": \"No.\", \"cut\": \"maybe\"}"), @"line 1: `cut` is text, not true or false");
        insta::assert_snapshot!(said("{\"row\": 1, \"set\": 3, \"answer\": \"No.\"}"), @"line 1: `set` is a number, not text");
    }
}
