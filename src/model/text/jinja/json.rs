//! The filter `tojson`: what Python's json module writes.
//!
//! Must not know: chat templates.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::functions::float;

/// The most bytes of one `tojson`, give or take one value.
const LONGEST_JSON: usize = 16 << 20;
/// The deepest nesting.
const DEEPEST: usize = 64;

/// How the text is laid out.
struct Style {
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sorted: bool,
}

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`; the engine's own filter escapes for HTML. The last
/// one is taken by its name only.
pub(super) fn to_json(
    value: &Value,
    ascii: Option<Value>,
    indent: Option<Value>,
    separators: Option<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    let given = |indent: Option<Value>| indent.filter(|value| !value.is_none() && !value.is_undefined());
    let indent = given(indent).or(given(named.get("indent")?));
    let indent = match indent {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(DEEPEST)),
        }),
    };
    let separators = given(separators).or(given(named.get("separators")?));
    let (item, key) = match separators {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some(two) => (two.get_item_by_index(0)?.to_string(), two.get_item_by_index(1)?.to_string()),
    };
    let ascii = ascii.or(named.get("ensure_ascii")?).is_some_and(|on| on.is_true());
    let sorted = named.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    named.assert_all_used()?;
    let mut out = String::new();
    Style { indent, item, key, ascii, sorted }.write(value, 0, &mut out)?;
    Ok(out)
}

fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {}", what.into()))
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if out.len() > LONGEST_JSON {
            return Err(refused("the text is too long"));
        }
        if depth > DEEPEST {
            return Err(refused("nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.string(&value.to_string(), out),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.bracketed(['{', '}'], &keys, depth, out, |style, key, out| {
                    style.string(&name(key)?, out);
                    out.push_str(&style.key);
                    style.write(&value.get_item(key)?, depth + 1, out)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.bracketed(['[', ']'], &items, depth, out, |style, item, out| style.write(item, depth + 1, out))?;
            }
            ValueKind::Undefined => return Err(refused("the value is not defined")),
            kind => return Err(refused(format!("a value of the type {kind} has no form in JSON"))),
        }
        Ok(())
    }

    fn bracketed(
        &self,
        [open, close]: [char; 2],
        parts: &[Value],
        depth: usize,
        out: &mut String,
        write: impl Fn(&Self, &Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        out.push(open);
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                out.push_str(&self.item);
            }
            line(out, depth + 1);
            write(self, part, out)?;
        }
        if !parts.is_empty() {
            line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for char in text.chars() {
            match char {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                char if u32::from(char) < 0x20 || self.ascii && !(' '..='~').contains(&char) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        // a String takes all that is written to it
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                char => out.push(char),
            }
        }
        out.push('"');
    }
}

fn number(value: &Value) -> String {
    match float(value) {
        Some(number) => number.replace("inf", "Infinity").replace("nan", "NaN"),
        None => value.to_string(),
    }
}

/// A key, which is a text in JSON.
fn name(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.to_string(),
        ValueKind::Number => number(key),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::None => "null".to_owned(),
        kind => return Err(refused(format!("a key of the type {kind} has no form in JSON"))),
    })
}
