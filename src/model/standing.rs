//! What the settings in a model's files mean for its results: which are read, which change nothing and why, and which may only
//! have a value that changes nothing.
//!
//! Each reader of a file has a [`Table`] beside it. A setting that is in no table is unknown, and the user is told of it.
//! Must not know: which files there are, how a setting is read.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// What one setting means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is read.
    Read,
    /// No value of it changes a result. With the reason.
    Harmless(&'static str),
    /// It changes results, unless it is null or has one of these values, written as JSON.
    Neutral(&'static [&'static str]),
}

/// Settings by name.
pub type Table = [(&'static str, Standing)];

impl Standing {
    /// What a table says of a setting.
    pub fn of(table: &Table, key: &str) -> Option<Self> {
        table.iter().find(|(name, _)| *name == key).map(|(_, standing)| *standing)
    }

    /// Whether a result can be relied on with this value of the setting. Null is no value.
    pub fn allows(self, value: &Value) -> bool {
        match self {
            Self::Read | Self::Harmless(_) => true,
            Self::Neutral(values) => value.is_null() || values.contains(&value.to_string().as_str()),
        }
    }
}

/// Looks at every setting of a file, which messages call `file`. Returns what a user should know of them.
///
/// # Errors
/// User: a setting that changes results in a way that is not supported.
pub fn look(file: &str, settings: &Map<String, Value>, table: &Table) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for (key, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        match Standing::of(table, key) {
            Some(standing) if standing.allows(value) => {}
            Some(_) => {
                return Err(Error::user(format!("{file}: {key} is {}, which is not supported", brief(value)))
                    .hint("dean would read the model differently than it is meant; use a model without this setting"));
            }
            None => notes.push(unknown(file, key, value)),
        }
    }
    Ok(notes)
}

/// The sentence about a setting that nobody knows.
pub fn unknown(file: &str, key: &str, value: &Value) -> String {
    let value = brief(value);
    format!("{file} says {key} = {value}, which dean does not know; if it changes what the model does, results differ")
}

/// A JSON value for a message: never longer than a line.
pub fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { format!("{}…", text.chars().take(59).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_told_and_what_would_count_is_refused() {
        let table: &Table = &[
            ("a", Standing::Read),
            ("b", Standing::Harmless("it is a name")),
            ("c", Standing::Neutral(&["0", "false"])),
        ];
        let look = |value: Value| look("m/f.json", value.as_object().unwrap(), table);
        assert_eq!(look(json!({"a": 1, "b": [2], "c": 0, "d": null})).unwrap(), [""; 0]);
        let told = look(json!({"d": "x".repeat(100)})).unwrap();
        let expected = format!(
            "m/f.json says d = \"{}…, which dean does not know; if it changes what the model does, results differ",
            "x".repeat(58)
        );
        assert_eq!(told, [expected]);
        assert_eq!(look(json!({"c": 1})).unwrap_err().message(), "m/f.json: c is 1, which is not supported");
        look(json!({"c": false})).unwrap();
    }
}
