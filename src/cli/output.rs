//! The form of what commands answer to `--json`, as a JSON Schema with one definition for each command.
//!
//! The schema is made of the structs that are written, and objects are closed: an answer with a field that is not documented
//! does not fit. docs/output.schema.json holds it. Must not know: how answers come about.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{apply, cache, diff, doctor, export, judge, plan, report, run, runs, show, sweep, verify};
use crate::engine::explain::Explanation;
use crate::store::{DiskUse, FsckReport, GcReport, Listed};
use crate::sweep::grid::GridPoint;
use crate::sweep::search::SearchReport;
use crate::sweep::stability::Stability;

type Form = fn(&mut SchemaGenerator) -> Schema;

/// Commands, as they are typed, and what they answer.
const ANSWERS: &[(&str, Form)] = &[
    ("run", of::<run::Told>),
    ("run --lengths", of::<run::ToldLengths>),
    ("run --sweep", of::<sweep::run::Told>),
    ("plan", of::<Vec<plan::Row>>),
    ("plan --sweep", of::<sweep::plan::Told>),
    ("plan --check", of::<Vec<plan::Told<'_>>>),
    ("status", of::<Vec<plan::Row>>),
    ("explain", of::<Vec<Explanation>>),
    ("grid", of::<Vec<GridPoint>>),
    ("search", of::<SearchReport>),
    ("front", of::<SearchReport>),
    ("stability", of::<Stability>),
    ("show", line_of::<show::Shown<'_>>),
    ("report", of::<report::Told>),
    ("report --sweep", of::<sweep::report::Told>),
    ("report --leaks", of::<report::ToldLeaks>),
    ("runs", of::<Vec<runs::Row>>),
    ("runs describe", of::<runs::Row>),
    ("diff", of::<diff::Told>),
    ("export", of::<export::Told<'_>>),
    ("apply", of::<apply::Told>),
    ("undo", of::<apply::Told>),
    ("judge", of::<judge::Told<'_>>),
    ("verify", of::<verify::Told<'_>>),
    ("cache ls", of::<Vec<Listed>>),
    ("cache du", of::<DiskUse>),
    ("cache gc", of::<GcReport>),
    ("cache fsck", of::<FsckReport>),
    ("cache pin", of::<cache::Pinned>),
    ("cache pin --list", of::<Vec<cache::RunLine>>),
    ("doctor", of::<doctor::Findings>),
];

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Of an answer that is a line for each value.
fn line_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Schema::default();
    schema.insert("description".into(), "One line of the answer: each is a JSON value.".into());
    schema.insert("allOf".into(), json!([generator.subschema_for::<T>()]));
    schema
}

/// The whole schema: under `$defs`, each command, and what their answers share.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut defs: Map<String, Value> =
        ANSWERS.iter().map(|(command, form)| ((*command).to_owned(), form(&mut generator).to_value())).collect();
    defs.extend(generator.take_definitions(true));
    defs.values_mut().for_each(|form| close(form, true));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dean --json",
        "description": "What the commands of dean answer to --json, by the command under $defs.",
        "$defs": defs,
    })
}

/// Says of every object with named properties that it has no others. Where such an object has alternatives, it says so for
/// them, because they share its properties.
fn close(form: &mut Value, is_whole: bool) {
    let Value::Object(map) = form else { return };
    // The widths of Rust's numbers concern nobody.
    map.remove("format");
    let has_properties = map.contains_key("properties");
    let has_alternatives = ["oneOf", "anyOf", "allOf"].iter().any(|key| map.contains_key(*key));
    if has_properties && is_whole {
        let key = if has_alternatives { "unevaluatedProperties" } else { "additionalProperties" };
        map.insert(key.into(), false.into());
    }
    for (key, value) in map {
        match (key.as_str(), value) {
            ("oneOf" | "anyOf" | "allOf", Value::Array(forms)) => {
                forms.iter_mut().for_each(|form| close(form, is_whole && !has_properties));
            }
            ("prefixItems", Value::Array(forms)) => forms.iter_mut().for_each(|form| close(form, true)),
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(|form| close(form, true)),
            ("items" | "additionalProperties", form) => close(form, true),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::files;

    /// Every command that takes `--json`, as it is typed.
    fn commands(command: &clap::Command, typed: &str, found: &mut BTreeSet<String>) {
        if command.get_arguments().any(|argument| argument.get_id() == "json") {
            found.insert(typed.trim().to_owned());
        }
        command.get_subcommands().for_each(|inner| commands(inner, &format!("{typed} {}", inner.get_name()), found));
    }

    #[test]
    fn every_command_with_json_has_a_form() {
        let mut typed = BTreeSet::new();
        commands(&super::super::Cli::command(), "", &mut typed);
        let without_flags = |command: &str| command.split(" --").next().unwrap_or_default().to_owned();
        let listed: BTreeSet<String> = ANSWERS.iter().map(|(command, _)| without_flags(command)).collect();
        assert_eq!(typed, listed);
    }

    #[test]
    fn the_published_schema_is_the_one_of_the_code() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/output.schema.json");
        let published: Value = serde_json::from_slice(&files::read(&file).unwrap()).unwrap();
        assert!(
            published == schema(),
            "make it anew: cargo run --release -- schema --output > docs/output.schema.json"
        );
    }
}
