//! Every construct of tests/jinja against what transformers made of it.

use serde::Deserialize;

use crate::model::text::chat_template::{ChatTemplate, Message};
use crate::model::text::thoughts::Think;

#[derive(Deserialize)]
struct Reference {
    messages: Vec<Turn>,
    specials: std::collections::BTreeMap<String, String>,
    rendered: Vec<Rendered>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Rendered {
    template: String,
    /// None where transformers fails.
    text: Option<String>,
}

/// Where the engine and Jinja2 differ and go on differing: the template, and why. Where nothing is made here, the template is
/// refused with a sentence.
const KNOWN: &[(&str, &str)] = &[
    ("{{ -true }}", "refused: truth is no number"),
    ("{{ range(3) }}", "a range is shown as the list that it is"),
    ("{{ 'é'.encode('utf-8') }}", "refused: there are no bytes"),
    ("{{ '%s and %d' % ('a', 3) }}", "refused: the filter `format` does it"),
    ("{{ '%.2f' % 1.5 }}", "as above"),
    ("{{ '%s' % none }}", "as above"),
    ("{{ '%05d' % 42 }}", "as above"),
    ("{%- set fmt = '%s: %s' -%}{{ fmt | format('a', 'b') }}{{ fmt % ('c', 'd') }}", "as above"),
    ("{{ 'one two three'|wordwrap(7) }}", "refused: no template lays text out in columns"),
    ("{{ 12345|filesizeformat }}", "refused: no template shows sizes of files"),
    ("{{ 1000000|filesizeformat(true) }}", "as above"),
    ("{{ [1, 'a']|pprint }}", "refused: it is for debugging"),
    ("{{ {'b': 1, 'a': 'x'}|pprint }}", "as above"),
    ("{{ {'class': 'x', 'b': none}|xmlattr }}", "refused: no template writes HTML"),
    ("{{ lipsum(n=1)|length > 0 }}", "refused: it draws"),
    ("{{ messages|map(attribute='nothing')|list }}", "what is not there is spelled otherwise in a list that is shown"),
    ("{{ messages|map(attribute='role')|tojson }}", "a list in the making is a list here, and an error in Python"),
    ("{{ range(3)|tojson }}", "as above"),
    ("{{ nothing in 'abc' }}", "what is not there is an empty text here, and an error in Python"),
    ("{{ self is defined }}", "there is no `self`"),
    (
        "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, c=3) }}",
        "refused: macros take what they name",
    ),
];

#[test]
fn each_construct_gives_what_it_gives_in_transformers() {
    let reference: Reference =
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/jinja/rendered.json"))).unwrap();
    let turn = |turn: &Turn| Message { role: turn.role.clone(), content: turn.content.clone() };
    let messages: Vec<Message> = reference.messages.iter().map(turn).collect();
    let specials = ["bos_token", "eos_token"].map(|name| (name, reference.specials[name].clone()));
    let (mut differ, mut known) = (Vec::new(), 0);
    for Rendered { template, text } in &reference.rendered {
        let made =
            ChatTemplate::new("t", template.as_str()).render(&messages, &specials, true, Think::Model, "26 Jul 2024");
        if KNOWN.iter().any(|(one, _)| one == template) {
            assert_ne!(made.as_ref().ok(), text.as_ref(), "{template} is known to differ, and no longer does");
            known += 1;
        } else if made.as_ref().ok() != text.as_ref() {
            let made = made.map_err(|error| error.message().to_owned());
            differ.push(format!("{template:?}: {made:?} in place of {text:?}"));
        }
    }
    assert!(reference.rendered.len() > 400 && known == KNOWN.len(), "{known} of {} are there", KNOWN.len());
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
