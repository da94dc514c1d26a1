//! What was typed, as a tree. Every name and every value in it has its place.
//!
//! The file and all `--set` options become one tree. Options replace what the file says. Must not know: any key.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something was typed. Every complaint about it begins with this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Line and column count from 1, columns in characters.
    File { file: String, line: usize, column: usize },
    /// The key of a `--set`.
    Set(String),
    /// The key of a value in the file's `[sweep]`.
    Sweep(String),
    /// Nowhere: a default. Only the file can be named.
    Absent { file: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Set(key) => write!(f, "--set {key}"),
            Self::Sweep(key) => write!(f, "[sweep] {key}"),
            Self::Absent { file } => f.write_str(file),
        }
    }
}

/// The place of a part of the text.
pub type PlaceOf<'a> = dyn Fn(Range<usize>) -> Origin + 'a;

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub at: Origin,
    pub value: Value,
}

/// The name of a value in its table.
#[derive(Clone, Debug)]
pub struct Name {
    pub at: Origin,
    pub text: String,
}

#[derive(Clone, Debug)]
pub enum Value {
    Text(String),
    Whole(i64),
    /// A whole number that TOML does not promise to hold.
    TooLarge(String),
    Number(f64),
    Flag(bool),
    Date,
    List(Vec<Node>),
    /// In the order of the text, so that the first mistake is met first.
    Table(Vec<(Name, Node)>),
}

impl Node {
    pub fn table(at: Origin) -> Self {
        Self { at, value: Value::Table(Vec::new()) }
    }

    pub fn of(value: &Spanned<DeValue<'_>>, place: &PlaceOf<'_>) -> Self {
        let at = place(value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.as_ref().to_owned()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Value::Whole(number),
                Err(_) => Value::TooLarge(digits.to_string()),
            },
            // The parser has seen that it is a number; of more than a float holds it makes an infinity.
            DeValue::Float(digits) => Value::Number(digits.as_str().parse().unwrap_or(f64::INFINITY)),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => Value::List(items.iter().map(|item| Self::of(item, place)).collect()),
            DeValue::Table(table) => return Self::of_table(table, at, place),
        };
        Self { at, value }
    }

    pub fn of_table(table: &DeTable<'_>, at: Origin, place: &PlaceOf<'_>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let entry = |(name, value): (&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let name = Name { at: place(name.span()), text: name.get_ref().as_ref().to_owned() };
            (name, Self::of(value, place))
        };
        Self { at, value: Value::Table(entries.into_iter().map(entry).collect()) }
    }

    /// The entries of a table; none of anything else.
    pub fn entries(&self) -> &[(Name, Node)] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The node under a path of names.
    pub fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| {
            node.entries().iter().find(|(name, _)| name.text == *key).map(|(_, inner)| inner)
        })
    }

    /// Puts `over` under a path of names. Tables are merged, and everything else is replaced.
    pub fn lay(&mut self, path: &[&str], over: Self) {
        let Some((key, rest)) = path.split_first() else {
            match over {
                Self { value: Value::Table(entries), .. } if matches!(self.value, Value::Table(_)) => {
                    entries.into_iter().for_each(|(name, node)| self.lay(&[&name.text], node));
                }
                over => *self = over,
            }
            return;
        };
        if !matches!(self.value, Value::Table(_)) {
            *self = Self::table(over.at.clone());
        }
        let Value::Table(entries) = &mut self.value else { return };
        match entries.iter_mut().find(|(name, _)| name.text == *key) {
            Some((_, node)) => node.lay(rest, over),
            None => {
                let at = over.at.clone();
                let mut node = Self::table(at.clone());
                node.lay(rest, over);
                entries.push((Name { at, text: (*key).to_owned() }, node));
            }
        }
    }

    /// Removes some entries of a table.
    pub fn remove(&mut self, keys: &[&str]) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|(name, _)| !keys.contains(&name.text.as_str()));
        }
    }

    /// The node under a name, mutable.
    pub fn find_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Table(entries) => entries.iter_mut().find(|(name, _)| name.text == key).map(|(_, node)| node),
            _ => None,
        }
    }
}
