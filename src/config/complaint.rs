//! Sentences about settings that do not fit: the place, what was expected and found, and the nearest known key.
//!
//! The meaning of a key, and the other sections that have a key of that name, come from the derived schema.
//! Must not know: any key by name.

use serde_json::Value as Schema;

use super::node::{Node, Origin, Value};
use super::reader::{Problem, What};
use super::schema;
use crate::error::Error;
use crate::spelling::{did_you_mean, nearest};

/// The sentence and its hint. `absent` is the place to report for a value that was not typed.
pub fn sentence(problem: Problem, root: &Node, absent: Origin) -> Error {
    let Problem { what, mut path, at, is_item } = problem;
    if let Some(section) = path.first_mut().filter(|section| *section == "judges") {
        // As it is typed.
        *section = "judge".into();
    }
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
    if let (Origin::Set(_) | Origin::Sweep(_), [kind, name]) = (at, section) {
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
    let known: Vec<&str> = known.iter().copied().filter(|name| *name != "judges").collect();
    let nearest = did_you_mean(name, known.iter().copied());
    Error::user(format!("{at}: unknown section [{name}]{nearest}"))
        .hint(format!("known sections: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SMALL, complaint, with};

    /// The message about one setting, typed as an option, without its hint and its place.
    fn said(set: &str) -> String {
        let text = complaint(SMALL, &[set]);
        let line = text.lines().next().unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_with_what_would() {
        insta::assert_snapshot!(said("score.method=snipp"), @r#"`method` must be "magnitude", "random", "snip" or "wanda", found "snipp"; did you mean `snip`?"#);
        insta::assert_snapshot!(said("score.method=3"), @r#"`method` must be "magnitude", "random", "snip" or "wanda", found a whole number"#);
        insta::assert_snapshot!(said("score.keep=all"), @r#"`keep` must be "ranks" or "full", found "all""#);
        insta::assert_snapshot!(said("score.keep=true"), @r#"`keep` must be "ranks" or "full", found true or false"#);
        insta::assert_snapshot!(said("score.modules=[\"all\", \"q_porj\"]"), @r#"an item of `modules` must be "mlp", "self_attn" or "all", or "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj" or "down_proj", found "q_porj"; did you mean `q_proj`?"#);
        insta::assert_snapshot!(said("score.modules=[\"all\", 1]"), @r#"an item of `modules` must be "mlp", "self_attn" or "all", or "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj" or "down_proj", found a whole number"#);
        insta::assert_snapshot!(said("score.modules=[]"), @r#"`modules` must be "mlp", "self_attn" or "all", or a list of "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj" or "down_proj", found an empty list"#);
        insta::assert_snapshot!(said("score.layers=5..5"), @r#"`layers` must be "all", a range "first..end" or a list of layers, counted from 0, found "5..5""#);
        insta::assert_snapshot!(said("score.layers=[0, -1]"), @"an item of `layers` must be at least 0, found -1");
        insta::assert_snapshot!(said("score.layers=[]"), @r#"`layers` must be "all", a range "first..end" or a list of layers, counted from 0, found an empty list"#);
        insta::assert_snapshot!(said("score.layers=1.5"), @r#"`layers` must be "all", a range "first..end" or a list of layers, counted from 0, found a decimal number"#);
        insta::assert_snapshot!(said("score.memory=0"), @"`memory` must be at least 1, found 0");
        insta::assert_snapshot!(said("score.memory=1.5"), @r#"`memory` must be "auto", a size such as "8 GiB" or "500 MB", or a whole number of bytes, found a decimal number"#);
        insta::assert_snapshot!(said("score.seed=-1"), @"`seed` must be at least 0, found -1");
        insta::assert_snapshot!(said("score.seed=99999999999999999999"), @"`seed` must be less than 2^63, found 99999999999999999999");
        insta::assert_snapshot!(said("score.cap=2024-01-01"), @"`cap` must be a number, found a date");
        insta::assert_snapshot!(said("generate.max_new_tokens=0"), @"`max_new_tokens` must be at least 1, found 0");
        insta::assert_snapshot!(said("tokenize.drop_first_response_token=yes"), @"`drop_first_response_token` must be true or false, found a string");
        insta::assert_snapshot!(said("tokenize.chat_date=' '"), @"`chat_date` is empty");
        insta::assert_snapshot!(said("select.q=[1e-5, true]"), @"an item of `q` must be a number, found true or false");
        insta::assert_snapshot!(said("select.points=[[1e-5, 1e-5], 1e-5]"), @"an item of `points` must be a list of 2 numbers, found a decimal number");
        insta::assert_snapshot!(said("select.points=[[1e-5, 1e-5], [1e-5]]"), @"an item of `points` must be a list of 2 numbers, found a list of 1");
        insta::assert_snapshot!(said("perplexity={path = \"x\", window = 1}"), @"`window` must be at least 2, found 1");
        insta::assert_snapshot!(said("data.more.samples=4"), @"[data.more] needs `path`");
    }

    #[test]
    fn a_mistake_in_a_list_has_its_own_place() {
        let place = |text: &str| complaint(&with(text), &[]).split(": ").next().unwrap().to_owned();
        assert_eq!(place("[score]\nmodules = [\"all\", \"q_porj\"]\n"), "job/pipeline.toml:11:19");
        assert_eq!(place("[select]\npoints = [[1e-5, 1e-5],\n  [1e-5]]\n"), "job/pipeline.toml:12:3");
    }
}
