//! A strict reader of JSON Schemas: whether a value fits a definition of a schema.
//!
//! It knows the keywords that schemars writes, and no other: what it does not know is a failure, so that no rule goes unseen.
//! Must not know: any schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What says nothing about a value.
const REMARKS: [&str; 6] = ["$schema", "title", "description", "default", "examples", "$comment"];

/// Checks a value against `$defs/<name>` of a schema.
///
/// # Errors
/// Where the value does not fit, and why.
pub fn check(schema: &Value, name: &str, value: &Value) -> Result<(), String> {
    let form = schema["$defs"].get(name).ok_or_else(|| format!("the schema has no definition `{name}`"))?;
    Checker { schema }.fits(form, value, name).map(drop)
}

/// The names of an object's properties that some rule spoke of.
type Seen = BTreeSet<String>;

struct Checker<'a> {
    schema: &'a Value,
}

impl Checker<'_> {
    fn fits(&self, form: &Value, value: &Value, place: &str) -> Result<Seen, String> {
        let rules = match form {
            Value::Bool(true) => {
                return Ok(value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default());
            }
            Value::Bool(false) => return Err(format!("{place} may not be there")),
            Value::Object(rules) => rules,
            other => return Err(format!("{place}: {other} is no schema")),
        };
        let mut seen = Seen::new();
        for (rule, said) in rules {
            match rule.as_str() {
                "$ref" => {
                    let name = said.as_str().and_then(|path| path.strip_prefix("#/$defs/")).unwrap_or_default();
                    let form =
                        self.schema["$defs"].get(name).ok_or_else(|| format!("{place}: {said} leads nowhere"))?;
                    seen.extend(self.fits(form, value, place)?);
                }
                "allOf" => {
                    for form in list(said, place)? {
                        seen.extend(self.fits(form, value, place)?);
                    }
                }
                "anyOf" | "oneOf" => {
                    let tried: Vec<_> = list(said, place)?.iter().map(|form| self.fits(form, value, place)).collect();
                    let failures: Vec<String> = tried.iter().filter_map(|tried| tried.clone().err()).collect();
                    let fitting: Vec<Seen> = tried.into_iter().filter_map(Result::ok).collect();
                    if fitting.is_empty() || (rule == "oneOf" && fitting.len() > 1) {
                        return Err(format!("{place} fits {} of {rule}: {}", fitting.len(), failures.join("; ")));
                    }
                    seen.extend(fitting.into_iter().flatten());
                }
                // These look at what the others saw, or belong to them.
                "unevaluatedProperties" | "additionalProperties" | "properties" => {}
                _ => simple(rule, said, value, place)?,
            }
            self.inside(rule, said, value, place)?;
        }
        if let Value::Object(map) = value {
            seen.extend(self.properties(rules, map, &seen, place)?);
        }
        Ok(seen)
    }

    /// The values of a list.
    fn inside(&self, rule: &str, said: &Value, value: &Value, place: &str) -> Result<(), String> {
        let Value::Array(values) = value else { return Ok(()) };
        match rule {
            "items" => values
                .iter()
                .enumerate()
                .try_for_each(|(at, value)| self.fits(said, value, &format!("{place}[{at}]")).map(drop)),
            "prefixItems" => list(said, place)?
                .iter()
                .zip(values)
                .enumerate()
                .try_for_each(|(at, (form, value))| self.fits(form, value, &format!("{place}[{at}]")).map(drop)),
            _ => Ok(()),
        }
    }

    /// The values of an object; which of them were spoken of.
    fn properties(
        &self,
        rules: &Map<String, Value>,
        map: &Map<String, Value>,
        before: &Seen,
        place: &str,
    ) -> Result<Seen, String> {
        let named = rules.get("properties").and_then(Value::as_object);
        let mut seen = Seen::new();
        for (name, value) in map {
            let place = format!("{place}.{name}");
            if let Some(form) = named.and_then(|named| named.get(name)) {
                self.fits(form, value, &place)?;
                seen.insert(name.clone());
            } else if let Some(form) = rules.get("additionalProperties") {
                self.fits(form, value, &place)?;
                seen.insert(name.clone());
            } else if let Some(form) = rules.get("unevaluatedProperties").filter(|_| !before.contains(name)) {
                self.fits(form, value, &place)?;
            }
        }
        Ok(seen)
    }
}

fn list<'a>(said: &'a Value, place: &str) -> Result<&'a Vec<Value>, String> {
    said.as_array().ok_or_else(|| format!("{place}: {said} is no list"))
}

/// A rule about the value itself.
fn simple(rule: &str, said: &Value, value: &Value, place: &str) -> Result<(), String> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let length = value.as_array().map(Vec::len).map_or(f64::NAN, |length| length as f64);
    let fits = match rule {
        "type" => match said {
            Value::Array(kinds) => kinds.iter().any(|kind| is_a(value, kind)),
            kind => is_a(value, kind),
        },
        "const" => value == said,
        "enum" => list(said, place)?.contains(value),
        "required" => {
            let missing = |map: &Map<String, Value>| {
                said.as_array()
                    .into_iter()
                    .flatten()
                    .find(|name| !map.contains_key(name.as_str().unwrap_or_default()))
                    .cloned()
            };
            match value.as_object().and_then(missing) {
                Some(name) => return Err(format!("{place} has no {name}")),
                None => true,
            }
        }
        "minimum" => !value.is_number() || number(value) >= number(said),
        "maximum" => !value.is_number() || number(value) <= number(said),
        "minItems" => !value.is_array() || length >= number(said),
        "maxItems" => !value.is_array() || length <= number(said),
        "uniqueItems" => {
            !value.as_array().is_some_and(|items| (1..items.len()).any(|at| items[..at].contains(&items[at])))
        }
        "pattern" if said == "^[0-9a-f]{64}$" => {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            value.as_str().is_none_or(|text| text.len() == 64 && text.bytes().all(is_digit))
        }
        "items" | "prefixItems" => true,
        _ if REMARKS.contains(&rule) => true,
        _ => return Err(format!("{place}: the keyword `{rule}` ({said}) is not known here")),
    };
    if fits { Ok(()) } else { Err(format!("{place} is {value}, against {rule} {said}")) }
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_fits_or_is_told_why_not() {
        let schema = json!({ "$defs": {
            "thing": {
                "type": "object",
                "properties": {
                    "name": { "type": "string" },
                    "number": { "type": ["integer", "null"], "minimum": 0 },
                    "pair": { "type": "array", "prefixItems": [{ "type": "number" }, { "const": "x" }], "minItems": 2, "maxItems": 2 },
                    "more": { "type": "array", "items": { "$ref": "#/$defs/thing" } },
                    "any": true,
                },
                "required": ["name"],
                "additionalProperties": false,
            },
            "kind": {
                "type": "object",
                "properties": { "file": { "type": "string" } },
                "required": ["file"],
                "oneOf": [
                    { "type": "object", "properties": { "how": { "const": "short" } }, "required": ["how"] },
                    { "type": "object", "properties": { "how": { "const": "byte" }, "at": { "type": "integer" } }, "required": ["how", "at"] },
                ],
                "unevaluatedProperties": false,
            },
            "map": { "type": "object", "additionalProperties": { "enum": ["a", "b"] } },
            "strange": { "multipleOf": 2 },
        } });
        let fits = |name: &str, value: Value| check(&schema, name, &value);
        for (name, value) in [
            (
                "thing",
                json!({ "name": "a", "number": null, "pair": [1.5, "x"], "more": [{ "name": "b" }], "any": { "x": 1 } }),
            ),
            ("kind", json!({ "file": "f", "how": "short" })),
            ("kind", json!({ "file": "f", "how": "byte", "at": 3 })),
            ("map", json!({ "x": "a", "y": "b" })),
        ] {
            assert_eq!(fits(name, value.clone()), Ok(()), "{value}");
        }
        for (name, value, told) in [
            ("thing", json!({}), "has no \"name\""),
            ("thing", json!({ "name": "a", "undocumented": 1 }), "thing.undocumented may not be there"),
            ("thing", json!({ "name": "a", "number": -1 }), "minimum"),
            ("thing", json!({ "name": "a", "number": 1.5 }), "type"),
            ("thing", json!({ "name": "a", "pair": [1, "y"] }), "thing.pair[1]"),
            ("thing", json!({ "name": "a", "pair": [1] }), "minItems"),
            ("thing", json!({ "name": "a", "more": [{ "name": 1 }] }), "thing.more[0].name"),
            ("kind", json!({ "file": "f", "how": "short", "at": 3 }), "kind.at may not be there"),
            ("kind", json!({ "file": "f", "how": "byte" }), "fits 0 of oneOf"),
            ("kind", json!({ "how": "short" }), "has no \"file\""),
            ("map", json!({ "x": "c" }), "map.x"),
            ("strange", json!(2), "is not known here"),
            ("nothing", json!(2), "no definition"),
        ] {
            let error = fits(name, value.clone()).expect_err(&value.to_string());
            assert!(error.contains(told), "{value}: {error}");
        }
    }
}
