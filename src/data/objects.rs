//! Rows that are JSON objects: one a line, or in a list, which may be inside of another object.
//!
//! Values are read one after the other, so that a message can name the line and nothing but one row is held. Must not know:
//! which files end how, what the fields mean.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::lines::{Lines, line_of};
use super::mistaken::utf8;
use super::row::{Column, Holds, Place, Row, Wanted, kind, missing};
use crate::error::{Error, Result};

/// Is shown each row with its place, and says whether to go on.
type Visit<'a> = dyn FnMut(Place, Value) -> Result<bool> + 'a;

/// What JSON text of rows looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One object a line.
    Lines,
    /// A list of objects.
    List,
    /// An object; there may be more behind it.
    Object,
}

/// The shape of a text, as its first character shows it; none if it is no JSON of objects.
pub fn shape(bytes: &[u8]) -> Option<Shape> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match text.trim_ascii_start().first() {
        Some(b'[') => Some(Shape::List),
        Some(b'{') => Some(Shape::Object),
        _ => None,
    }
}

/// The fields of the first row.
pub fn columns(bytes: &[u8], shape: Shape) -> Result<Vec<Column>> {
    let mut found = Vec::new();
    each(utf8(bytes)?, shape, &mut |place, value| {
        let fields = object(place, value)?.into_iter();
        found = fields.map(|(name, value)| Column { name, holds: Holds::of(&value) }).collect();
        Ok(false)
    })?;
    Ok(found)
}

/// Shows every row, in file order.
pub fn rows(bytes: &[u8], shape: Shape, wanted: &[Wanted], visit: &mut dyn FnMut(Row) -> Result<()>) -> Result<()> {
    each(utf8(bytes)?, shape, &mut |place, value| {
        let object = object(place, value)?;
        let cells = wanted.iter().map(|wanted| field(place, wanted, &object)).collect::<Result<_>>()?;
        visit(Row { place, cells })?;
        Ok(true)
    })
}

fn field(place: Place, wanted: &Wanted, object: &Map<String, Value>) -> Result<Value> {
    // Cloned, not taken: one field may be asked for under two roles.
    match object.get(&wanted.name) {
        Some(value) => wanted.cell("field", place, value.clone()),
        None if !wanted.needed => Ok(Value::Null),
        None => {
            Err(missing("field", Some(place), &wanted.name, &object.keys().map(String::as_str).collect::<Vec<_>>()))
        }
    }
}

fn object(place: Place, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Error::user(format!("{place}: {} where an object is expected", kind(&other)))
            .hint("a row is a JSON object, like {\"prompt\": \"…\", \"response\": \"…\"}")),
    }
}

fn each(text: &str, shape: Shape, visit: &mut Visit<'_>) -> Result<()> {
    match shape {
        Shape::Lines => each_line(text, visit),
        Shape::List => each_item(text, 0, visit),
        Shape::Object => match inner_list(text)? {
            Inner::List(begins) => each_item(text, begins, visit),
            Inner::Lines => each_line(text, visit),
            Inner::Row => {
                let mut cursor = Cursor { text, at: 0 };
                let place = Place::Line(line_of(text.as_bytes(), cursor.blanks()));
                visit(place, cursor.value()?).map(|_| ())
            }
        },
    }
}

fn each_line(text: &str, visit: &mut Visit<'_>) -> Result<()> {
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(content).map_err(|cause| {
            malformed(line, cause.column(), &cause).hint("a .jsonl file holds one complete JSON object on every line")
        })?;
        if !visit(Place::Line(line), value)? {
            break;
        }
    }
    Ok(())
}

/// The items of the list that begins at or behind this byte.
fn each_item(text: &str, begins: usize, visit: &mut Visit<'_>) -> Result<()> {
    let (mut cursor, mut lines) = (Cursor { text, at: begins }, Lines::of(text.as_bytes()));
    cursor.expect('[')?;
    if cursor.next_is(']') {
        return Ok(());
    }
    for index in 0.. {
        let line = lines.at(cursor.blanks());
        if !visit(Place::Item { index, line }, cursor.value()?)? {
            return Ok(());
        }
        if !cursor.next_is(',') {
            break;
        }
    }
    cursor.expect(']')?;
    // Behind a list that is a field, its object goes on; that it does was seen when the list was found.
    if begins == 0 { cursor.end() } else { Ok(()) }
}

/// Where the rows of a text are that begins with an object.
enum Inner {
    /// In its one list, which begins at this byte.
    List(usize),
    /// There are more objects behind it.
    Lines,
    /// It has no list of objects, so it is a row itself.
    Row,
}

fn inner_list(text: &str) -> Result<Inner> {
    let mut cursor = Cursor { text, at: 0 };
    let mut lists: Vec<(String, usize)> = Vec::new();
    cursor.expect('{')?;
    if !cursor.next_is('}') {
        loop {
            cursor.blanks();
            let name: String = cursor.value()?;
            cursor.expect(':')?;
            let begins = cursor.blanks();
            cursor.value::<IgnoredAny>()?;
            let value = text.get(begins..cursor.at).unwrap_or_default();
            if value.strip_prefix('[').is_some_and(|items| items.trim_start().starts_with('{')) {
                lists.push((name, begins));
            }
            if !cursor.next_is(',') {
                break;
            }
        }
        cursor.expect('}')?;
    }
    if cursor.blanks() < text.len() {
        return Ok(Inner::Lines);
    }
    match lists.as_slice() {
        [] => Ok(Inner::Row),
        [(_, begins)] => Ok(Inner::List(*begins)),
        several => {
            let names: Vec<String> = several.iter().map(|(name, _)| format!("`{name}`")).collect();
            Err(Error::user(format!("the object has {} lists of objects: {}", several.len(), names.join(", ")))
                .hint("write the one that is meant into a file of its own"))
        }
    }
}

/// A place in a JSON text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes on to what is not blank, and says where it is.
    fn blanks(&mut self) -> usize {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.at
    }

    fn next_is(&mut self, mark: char) -> bool {
        self.blanks();
        let is = self.rest().starts_with(mark);
        self.at += if is { mark.len_utf8() } else { 0 };
        is
    }

    fn expect(&mut self, mark: char) -> Result<()> {
        if self.next_is(mark) { Ok(()) } else { Err(self.wrong(&format!("expected `{mark}`"))) }
    }

    fn end(&mut self) -> Result<()> {
        if self.blanks() == self.text.len() { Ok(()) } else { Err(self.wrong("more text behind the end of the list")) }
    }

    fn value<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<T>();
        let (value, passed) = (values.next(), values.byte_offset());
        match value {
            Some(Ok(value)) => {
                self.at += passed;
                Ok(value)
            }
            Some(Err(cause)) => {
                let line = line_of(self.text.as_bytes(), self.at) + cause.line() - 1;
                let before = self.text.get(..self.at).unwrap_or_default();
                let passed =
                    if cause.line() == 1 { before.len() - before.rfind('\n').map_or(0, |end| end + 1) } else { 0 };
                Err(malformed(line, passed + cause.column(), &cause).hint(WHOLE))
            }
            None => Err(self.wrong("the text ends too early")),
        }
    }

    fn wrong(&self, how: &str) -> Error {
        Error::user(format!("line {}: not JSON: {how}", line_of(self.text.as_bytes(), self.at))).hint(WHOLE)
    }
}

const WHOLE: &str = "a .json file holds one list of JSON objects, or one object a line; was it fetched whole?";

fn malformed(line: usize, column: usize, cause: &serde_json::Error) -> Error {
    let message = cause.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    Error::user(format!("line {line}, column {column}: not JSON: {message}"))
}
