//! A row of a data file: its cells, and where a person finds it.
//!
//! Must not know: containers, what the columns mean.

use std::fmt;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::spelling;

/// Where a row stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The line, from 1, on which it begins.
    Line(usize),
    /// The place in a list, from 0 as programs count it, and the line on which it begins.
    Item { index: usize, line: usize },
    /// The number of the row, from 0, where a file has no lines.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Item { index, line } => write!(f, "item [{index}], line {line}"),
            Self::Row(row) => write!(f, "row {row} (counted from 0)"),
        }
    }
}

/// One row: a cell for each column that was asked for. A cell is null where the row has no such field.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub place: Place,
    pub cells: Vec<Value>,
}

/// A column that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// Whether each row must have it.
    pub needed: bool,
    /// Whether it may hold nothing but text.
    pub text: bool,
}

impl Wanted {
    /// A column that every row must have, with text.
    pub fn text(name: impl Into<String>) -> Self {
        Self { name: name.into(), needed: true, text: true }
    }

    /// A column that every row must have, with text or lists.
    pub fn any(name: impl Into<String>) -> Self {
        Self { name: name.into(), needed: true, text: false }
    }

    /// A column that need not be there.
    pub fn maybe(name: impl Into<String>) -> Self {
        Self { name: name.into(), needed: false, text: false }
    }

    /// The cell of this column, if it is what was asked for. `what` is the container's word for a column.
    ///
    /// # Errors
    /// User: something other than text where only text may be.
    pub fn cell(&self, what: &str, place: Place, value: Value) -> Result<Value> {
        if self.text && !value.is_string() {
            let found = kind(&value);
            return Err(Error::user(format!("{place}: {what} `{}` is {found}, not text", self.name))
                .hint(format!("write text there, leave the row out, or name another {what} in the pipeline file")));
        }
        Ok(value)
    }
}

/// A column that a file has, as far as a look at its beginning shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub holds: Holds,
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Text,
    List,
    Other,
}

impl Holds {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::List,
            _ => Self::Other,
        }
    }
}

/// "no column `prompt`", the names there are, and the nearest of them. `what` is the container's word for a column.
pub fn missing(what: &str, place: Option<Place>, name: &str, found: &[&str]) -> Error {
    let list = found.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let place = place.map_or_else(String::new, |place| format!("{place}: "));
    let error = Error::user(format!("{place}no {what} `{name}`; found {list}"));
    match spelling::nearest(name, found.iter().copied()) {
        Some(candidate) => {
            error.hint(format!("did you mean `{candidate}`? The pipeline file says which {what} is read"))
        }
        None => error.hint(format!("name one of these in the pipeline file, or rename the {what} in the data")),
    }
}

/// What a person calls a value.
pub fn kind(value: &Value) -> &'static str {
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

    #[test]
    fn places_read_as_a_person_looks_for_them() {
        let shown = [Place::Line(6), Place::Item { index: 4, line: 12 }, Place::Row(4)].map(|place| place.to_string());
        assert_eq!(shown, ["line 6", "item [4], line 12", "row 4 (counted from 0)"]);
    }
}
