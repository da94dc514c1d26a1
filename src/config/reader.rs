//! The deserializer for settings: the derived [`super::settings::Settings`] take their values from a [`Node`]. A value that
//! does not fit is a [`Problem`], which knows its key and its place.
//!
//! The `toml` crate's own deserializer gives finished sentences about Rust types. Here the parts are kept, so that
//! [`super::complaint`] can make sentences about settings. Values from `--set` have their places too.
//! Must not know: any key, any file.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::node::{Name, Node, Origin, Value};
use crate::spelling::one_of;

/// Why a value does not fit.
#[derive(Debug)]
pub struct Problem {
    pub what: What,
    /// The keys down to the value; for a name that is unknown or missing, to the table that it belongs to.
    pub path: Vec<String>,
    /// The place, unless the whole document is meant.
    pub at: Option<Origin>,
    /// Whether an item of the key's list is meant.
    pub is_item: bool,
}

#[derive(Debug)]
pub enum What {
    /// Something else was expected. `text` is what was typed, if it was text of the right kind.
    Wrong { expected: String, found: String, text: Option<String> },
    /// A name that nothing has; with those that there are.
    Unknown { name: String, known: &'static [&'static str] },
    /// A key that must be typed.
    Missing(&'static str),
    /// Text without a letter.
    Empty,
    /// A sentence of its own, perhaps with a hint in a second line.
    Said(String),
}

impl Problem {
    fn new(what: What) -> Self {
        Self { what, path: Vec::new(), at: None, is_item: false }
    }

    /// The same seen from the table that has the value under this name.
    fn under(mut self, name: &Name, node: &Node) -> Self {
        // A key that is missing in a table is reported at the place of the table's name.
        let missing = matches!(self.what, What::Missing(_));
        self.at.get_or_insert_with(|| if missing { name.at.clone() } else { node.at.clone() });
        self.path.insert(0, name.text.clone());
        self
    }
}

impl Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Said(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a decimal number",
            Unexpected::Str(_) => "a string",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            Unexpected::Other(other) => other,
            _ => "something else",
        };
        let expected = expected.to_string();
        // Rust's names of types in words of pipeline.toml.
        let expected = match expected.as_str() {
            "a boolean" => "true or false",
            "f64" => "a number",
            "usize" | "u64" | "a nonzero usize" => "a whole number",
            "path string" => "a string",
            "a sequence" => "a list",
            "a tuple of size 2" => "a list of 2 numbers",
            "a map" => "a table",
            name if name.starts_with("struct ") => "a table",
            other => other,
        };
        Self::wrong(expected.to_owned(), found.to_owned(), None)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, text) = match found {
            Unexpected::Unsigned(number) => (number.to_string(), None),
            Unexpected::Signed(number) => (number.to_string(), None),
            Unexpected::Str(text) => (format!("\"{text}\""), Some(text.to_owned())),
            other => (other.to_string(), None),
        };
        let expected = match expected.to_string().as_str() {
            "usize" | "u64" => "at least 0".to_owned(),
            "a nonzero usize" => "at least 1".to_owned(),
            other => other.to_owned(),
        };
        Self::wrong(expected, found, text)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let found = if length == 0 { "an empty list".to_owned() } else { format!("a list of {length}") };
        Self::wrong(expected.to_string(), found, None)
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::wrong(one_of(known), format!("\"{found}\""), Some(found.to_owned()))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::Unknown { name: name.to_owned(), known })
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(What::Missing(name))
    }
}

impl Problem {
    fn wrong(expected: String, found: String, text: Option<String>) -> Self {
        Self::new(What::Wrong { expected, found, text })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Problem {}

impl<'de> Deserializer<'de> for &Node {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.value {
            Value::Text(text) if text.trim().is_empty() => Err(Problem::new(What::Empty)),
            Value::Text(text) => visitor.visit_str(text),
            Value::Whole(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Value::TooLarge(digits) => Err(Problem::wrong("less than 2^63".to_owned(), digits.clone(), None)),
            Value::Number(number) => visitor.visit_f64(*number),
            Value::Flag(flag) => visitor.visit_bool(*flag),
            Value::Date => Err(Error::invalid_type(Unexpected::Other("a date"), &visitor)),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Table(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Problem> {
        match &self.value {
            Value::List(items) if items.len() != length => {
                let expected = format!("a list of {length} numbers");
                Err(Error::invalid_length(items.len(), &expected.as_str()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.value {
            Value::Text(text) => visitor.visit_enum::<StrDeserializer<'_, Problem>>(text.as_str().into_deserializer()),
            _ => self.deserialize_any(Word(known)).map(|never| match never {}),
        }
    }

    /// A struct could be read from a list as well; a section cannot.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.value {
            Value::List(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple_struct map
        identifier ignored_any
    }
}

/// Expects one of some words and is given something else.
struct Word(&'static [&'static str]);

impl Visitor<'_> for Word {
    type Value = std::convert::Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_of(self.0))
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some(node) = self.0.next() else { return Ok(None) };
        let place = |mut problem: Problem| {
            problem.is_item = true;
            problem.at.get_or_insert_with(|| node.at.clone());
            problem
        };
        seed.deserialize(node).map(Some).map_err(place)
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Name, Node)>,
    value: Option<&'a (Name, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.value = self.rest.next();
        let Some((name, _)) = self.value else { return Ok(None) };
        let text: StrDeserializer<'_, Problem> = name.text.as_str().into_deserializer();
        let place = |problem: Problem| Problem { at: Some(name.at.clone()), ..problem };
        seed.deserialize(text).map(Some).map_err(place)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (name, node) = self.value.ok_or_else(|| Problem::custom("a value was asked for before its key"))?;
        seed.deserialize(node).map_err(|problem| problem.under(name, node))
    }
}
