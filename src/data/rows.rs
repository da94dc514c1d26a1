//! Named text columns of a CSV or JSONL file, whichever program wrote it.
//!
//! Byte-order marks, CRLF and quoted line breaks are read; whatever would shift or swallow rows
//! without a word (ragged lines, an open quote, a repeated column name) is an error that names the
//! line. Must not know: what the columns mean, how many rows are wanted.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::spelling;

/// How rows lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Jsonl,
}

impl Format {
    /// The format that a file's name promises.
    ///
    /// # Errors
    /// Any ending but `.csv` and `.jsonl`, in upper or lower case.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(Error::user(format!("{} is neither a .csv nor a .jsonl file, by its name", path.display()))
                .hint("rename it, or convert it: CSV with a line of column names, or one JSON object a line")),
        }
    }
}

/// The values of `columns`, in that order, for every row.
///
/// Result: rows x columns, in file order; never empty.
/// CSV: the first line names the columns. JSONL: one object a line, its fields are text; blank
/// lines are skipped.
///
/// Errors name the line, where there is one (counted from 1).
pub fn read_columns(bytes: &[u8], format: Format, columns: &[&str]) -> Result<Vec<Vec<String>>> {
    let text = utf8(bytes)?;
    let rows = match format {
        Format::Csv => csv_rows(text, columns),
        Format::Jsonl => jsonl_rows(text, columns),
    }?;
    if rows.is_empty() {
        return Err(Error::user("there are no rows")
            .hint("give a file with at least one row, or take the data set out of the pipeline file"));
    }
    Ok(rows)
}

/// The text without its byte-order mark.
fn utf8(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|cause| {
        let before = bytes.get(..cause.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Error::user(format!("line {line}: not UTF-8 text"))
            .hint("save the file as UTF-8 (spreadsheets call it \"CSV UTF-8\")")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn csv_rows(text: &str, columns: &[&str]) -> Result<Vec<Vec<String>>> {
    // `flexible(false)` is the crate's default; it is what makes ragged lines errors.
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text.as_bytes());
    let header: Vec<String> =
        reader.headers().map_err(|cause| csv_error(text, &cause))?.iter().map(str::to_owned).collect();
    if header.is_empty() {
        return Ok(Vec::new());
    }
    let places = columns.iter().map(|column| place_of(column, &header)).collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    let mut last = 0;
    for record in reader.records() {
        let record = record.map_err(|cause| csv_error(text, &cause))?;
        last = record.position().map_or(last, csv::Position::byte);
        rows.push(places.iter().map(|place| record.get(*place).unwrap_or_default().to_owned()).collect());
    }
    refuse_open_quote(text, last)?;
    Ok(rows)
}

/// A quote that is never closed swallows every line after it, and the parser does not mind.
fn refuse_open_quote(text: &str, last_record: u64) -> Result<()> {
    let record = text.as_bytes().get(place(last_record)..).unwrap_or_default();
    let (mut quoted, mut field_start) = (false, true);
    for &byte in record {
        if byte == b'"' {
            // A doubled quote closes and opens again, which ends in the right state; one inside an
            // unquoted value is only a character.
            let counts = quoted || field_start;
            quoted ^= counts;
            field_start = counts;
        } else {
            field_start = !quoted && matches!(byte, b',' | b'\n' | b'\r');
        }
    }
    if quoted {
        let line = line_of(text, last_record);
        return Err(Error::user(format!("line {line}: a quote is opened and never closed"))
            .hint("close it, or write a quote inside a value twice: \"\""));
    }
    Ok(())
}

fn place(byte: u64) -> usize {
    usize::try_from(byte).unwrap_or(usize::MAX)
}

/// The line, from 1, of the record that the parser reports at `byte`.
///
/// Counted here, because the parser leaves the line feed of a CRLF to the next record and is then one line behind.
fn line_of(text: &str, byte: u64) -> usize {
    let (above, record) = text.as_bytes().split_at_checked(place(byte)).unwrap_or((text.as_bytes(), &[]));
    let breaks = record.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    1 + above.iter().chain(breaks).filter(|byte| **byte == b'\n').count()
}

fn place_of(column: &str, header: &[String]) -> Result<usize> {
    let mut found = header.iter().enumerate().filter(|(_, name)| *name == column).map(|(place, _)| place);
    match (found.next(), found.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(Error::user(format!("line 1: two columns are called `{column}`"))
            .hint("rename one of them, so that it is clear which is meant")),
        (None, _) => Err(missing("column", 1, column, header)),
    }
}

/// "no column `prompt`", the names there are, and the nearest of them.
fn missing(what: &str, line: usize, name: &str, found: &[String]) -> Error {
    let list = found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let error = Error::user(format!("line {line}: no {what} `{name}`; found {list}"));
    match spelling::nearest(name, found.iter().map(String::as_str)) {
        Some(candidate) => {
            error.hint(format!("did you mean `{candidate}`? The pipeline file says which {what} is read"))
        }
        None => error.hint(format!("name one of these in the pipeline file, or rename the {what} in the data")),
    }
}

fn csv_error(text: &str, cause: &csv::Error) -> Error {
    let line = cause.position().map_or(1, |position| line_of(text, position.byte()));
    match cause.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let values = if *len == 1 { "value" } else { "values" };
            Error::user(format!("line {line}: {len} {values}, but line 1 names {expected_len} columns"))
                .hint("put a value that holds a comma, a quote or a line break in double quotes")
        }
        _ => Error::user(format!("line {line}: not readable as CSV: {cause}")),
    }
}

fn jsonl_rows(text: &str, columns: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let mut object = json_object(line, content)?;
        rows.push(columns.iter().map(|column| text_field(line, column, &mut object)).collect::<Result<_>>()?);
    }
    Ok(rows)
}

fn json_object(line: usize, content: &str) -> Result<Map<String, Value>> {
    let value = serde_json::from_str(content).map_err(|cause| {
        let message = cause.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        Error::user(format!("line {line}, column {}: not JSON: {message}", cause.column()))
            .hint("a .jsonl file holds one complete JSON object on every line")
    })?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Error::user(format!("line {line}: {} where an object is expected", kind(&other)))
            .hint("a .jsonl file holds one JSON object on every line, like {\"prompt\": \"…\"}")),
    }
}

fn text_field(line: usize, column: &str, object: &mut Map<String, Value>) -> Result<String> {
    // Cloned, not taken: one field may be asked for under two roles.
    match object.get(column) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(Error::user(format!("line {line}: field `{column}` is {}, not text", kind(other)))),
        None => Err(missing("field", line, column, &object.keys().cloned().collect::<Vec<_>>())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(name: &str, content: &[u8], columns: &[&str]) -> Result<Vec<Vec<String>>> {
        read_columns(content, Format::of(Path::new(name))?, columns)
    }

    fn message(name: &str, content: &[u8], columns: &[&str]) -> String {
        let error = read(name, content, columns).unwrap_err();
        match error.hint_text() {
            Some(hint) => format!("{} | {hint}", error.message()),
            None => error.message().to_owned(),
        }
    }

    #[test]
    fn csv_as_spreadsheets_write_it() {
        let content = "\u{feff}id,response,prompt\r\n1,\"a, \"\"b\"\"\",\"two\r\nlines\"\r\n\r\n2,c,d é\r\n";
        assert_eq!(
            read("x.csv", content.as_bytes(), &["prompt", "response"]).unwrap(),
            [["two\r\nlines", "a, \"b\""], ["d é", "c"]]
        );
        assert_eq!(read("x.csv", b"a,b\n6\"\" pipe,\"x\" \"y\n", &["a"]).unwrap(), [["6\"\" pipe"]]);
        assert_eq!(read("x.CSV", b"a\nlast line without end", &["a"]).unwrap(), [["last line without end"]]);
        assert_eq!(
            read("x.csv", b"a,b\n\"5\"\" pipe\",1\n6\" pipe,\"\"\n", &["a", "b"]).unwrap(),
            [["5\" pipe", "1"], ["6\" pipe", ""]]
        );
    }

    #[test]
    fn jsonl_as_programs_write_it() {
        let content = "\u{feff}{\"prompt\": \"a\\nb\", \"n\": 1}\r\n\r\n{\"n\": null, \"prompt\": \"\"}";
        assert_eq!(read("x.jsonl", content.as_bytes(), &["prompt"]).unwrap(), [["a\nb"], [""]]);
        assert_eq!(read("x.jsonl", b"{\"a\":\"1\"}", &["a", "a"]).unwrap(), [["1", "1"]]);
    }

    #[test]
    fn a_missing_column_names_the_nearest() {
        insta::assert_snapshot!(message("x.csv", b"question,label\na,b\n", &["questions"]), @"line 1: no column `questions`; found `question`, `label` | did you mean `question`? The pipeline file says which column is read");
        insta::assert_snapshot!(message("x.csv", b"a,b\n1,2\n", &["prompt"]), @"line 1: no column `prompt`; found `a`, `b` | name one of these in the pipeline file, or rename the column in the data");
        insta::assert_snapshot!(message("x.jsonl", b"{\"Prompt\":\"\"}\n", &["prompt"]), @"line 1: no field `prompt`; found `Prompt` | did you mean `Prompt`? The pipeline file says which field is read");
    }

    #[test]
    fn malformed_csv_names_the_line() {
        insta::assert_snapshot!(message("x.csv", b"a,b\n\"1\n1\",2\n3\n", &["a"]), @"line 4: 1 value, but line 1 names 2 columns | put a value that holds a comma, a quote or a line break in double quotes");
        insta::assert_snapshot!(message("x.csv", b"a\n1\n\"2\n3\n4\n", &["a"]), @r#"line 3: a quote is opened and never closed | close it, or write a quote inside a value twice: """#);
        insta::assert_snapshot!(message("x.csv", b"a,a\n1,2\n", &["a"]), @"line 1: two columns are called `a` | rename one of them, so that it is clear which is meant");
        insta::assert_snapshot!(message("x.csv", b"a\n1\n\xff\n", &["a"]), @r#"line 3: not UTF-8 text | save the file as UTF-8 (spreadsheets call it "CSV UTF-8")"#);
    }

    #[test]
    fn lines_are_counted_the_same_with_crlf() {
        assert!(message("x.csv", b"a,b\r\n1,2\r\n3\r\n", &["a"]).starts_with("line 3: 1 value,"));
        assert!(message("x.csv", b"a\r\n1\r\n\"2\r\n", &["a"]).starts_with("line 3: a quote"));
        assert!(message("x.csv", b"a,b\r\n1,2\r\n1,\"2\"\"\r\n3,4\r\n", &["a"]).starts_with("line 3: a quote"));
    }

    #[test]
    fn malformed_jsonl_names_the_line() {
        insta::assert_snapshot!(message("x.jsonl", b"{\"a\":\"1\"}\n{\"a\":\n", &["a"]), @"line 2, column 5: not JSON: EOF while parsing a value | a .jsonl file holds one complete JSON object on every line");
        insta::assert_snapshot!(message("x.jsonl", b"[\n", &["a"]), @"line 1, column 1: not JSON: EOF while parsing a list | a .jsonl file holds one complete JSON object on every line");
        insta::assert_snapshot!(message("x.jsonl", b"[]\n", &["a"]), @r#"line 1: a list where an object is expected | a .jsonl file holds one JSON object on every line, like {"prompt": "…"}"#);
        insta::assert_snapshot!(message("x.jsonl", b"\n{\"a\":1}\n", &["a"]), @"line 2: field `a` is a number, not text");
    }

    #[test]
    fn empty_and_unknown_files_are_errors() {
        insta::assert_snapshot!(message("x.csv", b"", &["a"]), @"there are no rows | give a file with at least one row, or take the data set out of the pipeline file");
        insta::assert_snapshot!(message("x.csv", b"a,b\n", &["a"]), @"there are no rows | give a file with at least one row, or take the data set out of the pipeline file");
        insta::assert_snapshot!(message("x.jsonl", b"\n\n", &["a"]), @"there are no rows | give a file with at least one row, or take the data set out of the pipeline file");
        insta::assert_snapshot!(message("x.parquet", b"PAR1", &["a"]), @"x.parquet is neither a .csv nor a .jsonl file, by its name | rename it, or convert it: CSV with a line of column names, or one JSON object a line");
    }

    proptest! {
        #[test]
        fn whatever_a_csv_writer_wrote_is_read(cells in prop::collection::vec(("[a\",\r\n é]{1,6}", "[a\",\r\n é]{0,6}"), 1..6)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["x", "y"]).unwrap();
            for (x, y) in &cells {
                writer.write_record([x, y]).unwrap();
            }
            let rows = read("x.csv", &writer.into_inner().unwrap(), &["y", "x"]).unwrap();
            prop_assert_eq!(rows, cells.into_iter().map(|(x, y)| vec![y, x]).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_panic(content: Vec<u8>, csv: bool) {
            let _ = read(if csv { "x.csv" } else { "x.jsonl" }, &content, &["a"]);
        }
    }
}
