//! The JSON Schema of pipeline.toml, derived from [`Settings`]: for editors, which complete and explain keys with it, and
//! for the hints of messages.
//!
//! Must not know: any key by name.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, json_schema};
use serde_json::Value;

use super::settings::Settings;
use crate::model::matrix::{Modules, Projection};

/// The whole schema, in the draft that editors read, without references.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let settings = settings.with_transform(RecursiveTransform(as_toml));
    let mut schema = settings.into_generator().into_root_schema_for::<Settings>();
    schema.insert("title".into(), "pipeline.toml".into());
    let mut schema = schema.to_value();
    // A further judge is a table in the section of the first.
    if let Some(mut judges) = schema["properties"].as_object_mut().and_then(|sections| sections.remove("judges")) {
        schema["properties"]["judge"]["additionalProperties"] = judges["additionalProperties"].take();
    }
    schema
}

/// Drops what does not concern TOML: null, which it does not have; the widths of Rust's numbers; and the defaults of whole
/// tables, because each key states its own.
fn as_toml(schema: &mut Schema) {
    schema.remove("format");
    if schema.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
        schema.remove("default");
    }
    let kinds = schema.get("type").and_then(Value::as_array);
    if let Some([kind, null]) = kinds.map(Vec::as_slice)
        && null == "null"
    {
        let kind = kind.clone();
        schema.insert("type".into(), kind);
    }
}

/// The schema of a key, given as `["data", "fairness", "samples"]`.
pub fn find<'a>(schema: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |section, key| {
        section["properties"].get(key).or_else(|| section.get("additionalProperties")).filter(|found| found.is_object())
    })
}

/// The first paragraph of a key's documentation, in the form that follows a colon.
pub fn meaning(schema: &Value) -> Option<String> {
    let text = schema["description"].as_str()?.split("\n\n").next()?.replace('\n', " ");
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    let first = letters.next()?;
    Some(format!("{}{}", first.to_lowercase(), letters.as_str()))
}

/// The words that a key may be set to, as far as they are a closed list.
pub fn words(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(map) => {
            let here = map.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let here = here.iter().chain(map.get("const")).filter_map(Value::as_str).map(str::to_owned);
            here.chain(["anyOf", "oneOf", "items"].into_iter().filter_map(|key| map.get(key)).flat_map(words)).collect()
        }
        Value::Array(list) => list.iter().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

/// Every key: `score.cap`, `data.NAME.samples`, with what the schema says of it.
pub fn keys(schema: &Value) -> Vec<(String, &Value)> {
    let mut keys = Vec::new();
    for (section, told) in properties(schema) {
        keys.extend(properties(told).map(|(key, told)| (format!("{section}.{key}"), told)));
        // The tables in a section with keys of its own have the same keys.
        let named = properties(&told["additionalProperties"]).filter(|_| properties(told).next().is_none());
        keys.extend(named.map(|(key, told)| (format!("{section}.NAME.{key}"), told)));
    }
    keys
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Where a key lives, for one that was typed in another section.
pub fn homes(schema: &Value, key: &str) -> Vec<String> {
    let ends = |full: &String| full.rsplit('.').next() == Some(key);
    keys(schema).into_iter().map(|(full, _)| full).filter(ends).collect()
}

/// Modules: a word, or a list of words and projections.
pub fn modules(_: &mut schemars::SchemaGenerator) -> Schema {
    let words: Vec<&str> = Modules::NAMES.iter().chain(Projection::NAMES).copied().collect();
    json_schema!({"anyOf": [{"enum": words}, {"type": "array", "items": {"enum": words}, "minItems": 1}]})
}

/// Layers: a word or range, one layer, or a list.
pub fn layers(_: &mut schemars::SchemaGenerator) -> Schema {
    let layer = json_schema!({"type": "integer", "minimum": 0});
    let range = r"^(all|\s*[0-9]*\s*\.\.\s*[0-9]*\s*)$";
    json_schema!({"anyOf": [
        {"type": "string", "pattern": range}, layer, {"type": "array", "items": layer, "minItems": 1},
    ]})
}

/// A budget of memory.
pub fn budget(_: &mut schemars::SchemaGenerator) -> Schema {
    let size = r"^(auto|[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B)$";
    json_schema!({"anyOf": [{"type": "string", "pattern": size}, {"type": "integer", "minimum": 1}]})
}

/// Shares: a number, a list of numbers, or numbers that are evenly spaced.
pub fn shares(_: &mut schemars::SchemaGenerator) -> Schema {
    let share = json_schema!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1});
    let spaced = json_schema!({"type": "string", "pattern": r"^logspace\(.*\)$"});
    json_schema!({"anyOf": [share, {"type": "array", "items": share, "minItems": 1}, spaced]})
}

/// Questions for tuning: a share, or a file.
pub fn tune(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, {"type": "string", "minLength": 1},
    ]})
}

/// A window: a number of tokens, or the word for as many as there can be.
pub fn window(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "integer", "minimum": 2}, {"enum": ["max"]}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that editors read.
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipeline.schema.json");

    #[test]
    fn the_file_for_editors_is_the_schema_of_the_code() {
        let file = crate::files::read_to_string(std::path::Path::new(FILE)).unwrap_or_default();
        let file: Value = serde_json::from_str(&file).unwrap_or_default();
        assert!(file == schema(), "write it again: cargo run --release -- schema > docs/pipeline.schema.json");
    }

    #[test]
    fn every_key_is_explained_in_a_short_sentence() {
        let schema = schema();
        for (key, told) in keys(&schema) {
            let meaning = meaning(told).unwrap_or_default();
            assert!(!meaning.is_empty() && meaning.chars().count() < 90, "{key}: {meaning:?}");
        }
        let about = |path: &[&str]| meaning(find(&schema, path).unwrap()).unwrap();
        assert_eq!(about(&["data", "fairness", "samples"]), "how many rows are drawn");
        assert_eq!(find(&schema, &["data", "fairness", "samples"]).unwrap()["default"], 128);
        assert_eq!(words(find(&schema, &["score", "keep"]).unwrap()), ["ranks", "full"]);
    }

    #[test]
    fn a_key_is_found_in_its_sections() {
        let schema = schema();
        assert_eq!(homes(&schema, "cap"), ["score.cap"]);
        assert_eq!(homes(&schema, "samples"), ["data.NAME.samples"]);
        assert!(homes(&schema, "nothing").is_empty());
    }
}
