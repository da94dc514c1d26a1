//! Text with a row of column names and one character between values: what CSV and TSV have in common.
//!
//! Byte order marks, CRLF and quoted line breaks are read. Whatever would shift or swallow rows without a word (ragged lines,
//! an open quote, a repeated column name) is an error that names the line. Must not know: which files end how, what the
//! columns mean.

use serde_json::Value;

use super::lines::Lines;
use super::mistaken;
use super::row::{Column, Holds, Place, Row, Wanted, missing};
use crate::error::{Error, Result};

/// Characters that stand between values, and what a person calls them.
const SEPARATORS: [(char, &str); 4] = [(',', "commas"), (';', "semicolons"), ('\t', "tabs"), ('|', "bars")];

/// A file whose values have this character between them.
#[derive(Clone, Copy)]
pub struct Delimited(pub char);

impl Delimited {
    /// The columns that the first line names.
    pub fn columns(self, bytes: &[u8]) -> Result<Vec<Column>> {
        let (_, header) = self.open(mistaken::utf8(bytes)?)?;
        Ok(header.into_iter().map(|name| Column { name, holds: Holds::Text }).collect())
    }

    /// Shows every row, in file order.
    pub fn rows(self, bytes: &[u8], wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
        let text = mistaken::utf8(bytes)?;
        let (mut reader, header) = self.open(text)?;
        if header.is_empty() {
            return Ok(());
        }
        let places = wanted.iter().map(|wanted| self.place_of(wanted, &header)).collect::<Result<Vec<_>>>()?;
        let (mut lines, mut last) = (Lines::of(text.as_bytes()), 0);
        for record in reader.records() {
            let record = record.map_err(|cause| self.malformed(text, &cause))?;
            let begins = record.position().map_or(last, |position| start(text, position.byte()));
            last = begins;
            let cell = |place: &Option<usize>| match place.and_then(|place| record.get(place)) {
                Some(text) => Value::String(text.to_owned()),
                None => Value::Null,
            };
            visit(Row { place: Place::Line(lines.at(begins)), cells: places.iter().map(cell).collect() })?;
        }
        self.refuse_open_quote(text, last)
    }

    fn open(self, text: &str) -> Result<(csv::Reader<&[u8]>, Vec<String>)> {
        // `flexible(false)` is the crate's default; it is what makes ragged lines errors.
        let delimiter = u8::try_from(self.0).map_err(|_| Error::fault("a separator is not one byte"))?;
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(false).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|cause| self.malformed(text, &cause))?;
        let header = header.iter().map(str::to_owned).collect();
        Ok((reader, header))
    }

    fn place_of(self, wanted: &Wanted, header: &[String]) -> Result<Option<usize>> {
        let column = &wanted.name;
        let mut found = header.iter().enumerate().filter(|(_, name)| *name == column).map(|(place, _)| place);
        match (found.next(), found.next()) {
            (Some(place), None) => Ok(Some(place)),
            (Some(_), Some(_)) => Err(Error::user(format!("line 1: two columns are called `{column}`"))
                .hint("rename one of them, so that it is clear which is meant")),
            (None, _) if !wanted.needed => Ok(None),
            (None, _) => match self.other_separator(column, header) {
                Some(error) => Err(error),
                None => {
                    let found: Vec<&str> = header.iter().map(String::as_str).collect();
                    Err(missing("column", Some(Place::Line(1)), column, &found))
                }
            },
        }
    }

    /// That the first line would name the column, or several columns, if another character stood between names.
    fn other_separator(self, column: &str, header: &[String]) -> Option<Error> {
        let line = header.join(&self.0.to_string());
        let called = |separator: char| {
            SEPARATORS.iter().find(|(known, _)| *known == separator).map_or("blanks", |(_, name)| name)
        };
        let names = |separator: char| -> Vec<&str> {
            line.split(separator)
                .map(|name| name.trim_matches(|char: char| char == '"' || char.is_whitespace()))
                .collect()
        };
        let others = SEPARATORS.iter().map(|(separator, _)| *separator).filter(|separator| *separator != self.0);
        let found = others.filter(|separator| {
            let names = names(*separator);
            let told = line.trim().eq_ignore_ascii_case(&format!("sep={separator}"));
            names.contains(&column) && names.len() > 1 || (header.len() == 1 && names.len() > 1) || told
        });
        let found = found.max_by_key(|separator| (names(*separator).contains(&column), names(*separator).len()))?;
        let error =
            Error::user(format!("line 1: the columns are separated by {}, not by {}", called(found), called(self.0)));
        Some(match found {
            '\t' => error.hint("rename the file so that it ends in .tsv"),
            ',' => error.hint("rename the file so that it ends in .csv"),
            _ => error.hint(format!(
                "save it with commas (spreadsheets call it \"CSV UTF-8\"), or: python3 -c 'import pandas; pandas.read_csv(\"OLD\", sep=\"{found}\").to_csv(\"NEW\", index=False)'"
            )),
        })
    }

    /// A quote that is never closed swallows every line after it, and the parser does not mind.
    fn refuse_open_quote(self, text: &str, last_record: usize) -> Result<()> {
        let record = text.get(last_record..).unwrap_or_default();
        let (mut quoted, mut field_start) = (false, true);
        for char in record.chars() {
            if char == '"' {
                // A doubled quote closes and opens again, which ends in the right state; one inside an
                // unquoted value is only a character.
                let counts = quoted || field_start;
                quoted ^= counts;
                field_start = counts;
            } else {
                field_start = !quoted && (char == self.0 || matches!(char, '\n' | '\r'));
            }
        }
        if quoted {
            let line = Lines::of(text.as_bytes()).at(last_record);
            return Err(Error::user(format!("line {line}: a quote is opened and never closed"))
                .hint("close it, or write a quote inside a value twice: \"\""));
        }
        Ok(())
    }

    fn malformed(self, text: &str, cause: &csv::Error) -> Error {
        let line = cause.position().map_or(1, |position| Lines::of(text.as_bytes()).at(start(text, position.byte())));
        match cause.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Error::user(format!(
                "line {line}: {len} value{}, but line 1 names {expected_len} columns",
                if *len == 1 { "" } else { "s" }
            ))
            .hint(if self.0 == ',' {
                "put a value that holds a comma, a quote or a line break in double quotes"
            } else {
                "put a value that holds a tab, a quote or a line break in double quotes"
            }),
            _ => Error::user(format!("line {line}: not readable as rows of values: {cause}")),
        }
    }
}

/// Where the record begins that the parser reports at `byte`: it leaves the line feed of a CRLF, and empty lines, to the next
/// record.
fn start(text: &str, byte: u64) -> usize {
    let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(text.len());
    let rest = text.as_bytes().get(byte..).unwrap_or_default();
    byte + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}
