//! Sentences about what does not fit: the place, what was expected and found, and the nearest known key.
//!
//! What a key means, and where else a key of that name is, comes from the schema that the settings are derived to.
//! Must not know: any key by name.

use serde_json::Value as Schema;

use super::node::{Node, Origin, Value};
use super::reader::{Problem, What};
use super::schema;
use crate::error::Error;
use crate::spelling::{did_you_mean, nearest};

/// The sentence and its hint. `absent` is the place of what is nowhere.
pub fn sentence(problem: Problem, root: &Node, absent: Origin) -> Error {
    let Problem { what, path, at, is_item } = problem;
    let at = at.unwrap_or(absent);
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    let schema = schema::schema();
    let name = keys.last().copied().unwrap_or_default();
    let told = schema::find(&schema, &keys);
    let with_meaning = |error: Error| match told.and_then(schema::meaning) {
        Some(meaning) => error.hint(format!("{name}: {meaning}")),
        None => error,
    };
    match what {
        What::Unknown { name, known } if keys.is_empty() => unknown_section(&at, &name, known, root, &schema),
        What::Unknown { name, known } => {
            let section = keys.join(".");
            let nearest = did_you_mean(&name, known.iter().copied());
            let elsewhere = match schema::homes(&schema, &name).as_slice() {
                [] => String::new(),
                homes => format!("; elsewhere there is {}", homes.join(", ")),
            };
            Error::user(format!("{at}: unknown key `{name}` in [{section}]{nearest}"))
                .hint(format!("known keys of [{section}]: {}{elsewhere}", known.join(", ")))
        }
        What::Missing(section) if keys.is_empty() => {
            // A section that must be there is missed with what it must say.
            let key =
                schema::find(&schema, &[section]).and_then(|told| told["required"][0].as_str()).unwrap_or_default();
            missing(&at, &[section], key, root, &schema)
        }
        What::Missing(key) => missing(&at, &keys, key, root, &schema),
        What::Wrong { expected, found, .. } if expected == "a table" => match keys.as_slice() {
            [section, name] if told.is_some_and(|told| !told["properties"][name].is_null()) => {
                Error::user(format!("{at}: `{name}` stands in [{section}] itself"))
                    .hint(format!("give the section a name: [{section}.NAME]"))
            }
            _ => Error::user(format!("{at}: `{name}` must be a table, found {found}"))
                .hint(format!("write [{}]", keys.join("."))),
        },
        What::Wrong { expected, found, text } => {
            let known = told.map(schema::words).unwrap_or_default();
            let nearest = text.map_or(String::new(), |text| did_you_mean(&text, known.iter().map(String::as_str)));
            let item = if is_item { "an item of " } else { "" };
            with_meaning(Error::user(format!("{at}: {item}`{name}` must be {expected}, found {found}{nearest}")))
        }
        What::Empty => with_meaning(Error::user(format!("{at}: `{name}` is empty"))),
        What::Said(text) => match text.split_once('\n') {
            Some((message, hint)) => Error::user(format!("{at}: {message}")).hint(hint),
            None => with_meaning(Error::user(format!("{at}: {text}"))),
        },
    }
}

/// A key that must be typed. `--set data.privcy.samples=4` does not found a data set, which would need more than
/// that: it is a slip.
fn missing(at: &Origin, section: &[&str], key: &str, root: &Node, schema: &Schema) -> Error {
    if let (Origin::Set(_), [kind, name]) = (at, section) {
        let siblings = root.find(&[kind]).map(Node::entries).unwrap_or_default();
        let siblings: Vec<&str> =
            siblings.iter().map(|(sibling, _)| sibling.text.as_str()).filter(|sibling| sibling != name).collect();
        if let Some(nearest) = nearest(name, siblings.iter().copied()) {
            let mut siblings = siblings;
            siblings.sort_unstable();
            return Error::user(format!("{at}: there is no [{kind}.{name}]; did you mean `{nearest}`?"))
                .hint(format!("known names of [{kind}.*]: {}", siblings.join(", ")));
        }
    }
    let error = Error::user(format!("{at}: [{}] needs `{key}`", section.join(".")));
    match schema::find(schema, &[section, &[key]].concat()).and_then(schema::meaning) {
        Some(meaning) => error.hint(format!("{key}: {meaning}")),
        None => error,
    }
}

fn unknown_section(at: &Origin, name: &str, known: &[&str], root: &Node, schema: &Schema) -> Error {
    let homes = schema::homes(schema, name);
    let is_table = root.find(&[name]).is_some_and(|node| matches!(node.value, Value::Table(_)));
    if !is_table && !homes.is_empty() {
        return Error::user(format!("{at}: unknown key `{name}` outside of any section"))
            .hint(format!("did you mean {}?", homes.join(" or ")));
    }
    let nearest = did_you_mean(name, known.iter().copied());
    Error::user(format!("{at}: unknown section [{name}]{nearest}"))
        .hint(format!("known sections: {}", known.join(", ")))
}
