//! Any chat model behind an OpenAI-compatible endpoint, asked with the project's own question.
//!
//! Must not know: how the endpoint is reached.

use super::Entry;
use super::md_judge::{FORM, asked};

pub(super) const ENTRY: Entry = Entry {
    name: "http",
    about: "asks a chat model behind an OpenAI-compatible endpoint",
    form: Some(&FORM),
    parses: true,
    only_endpoint: Some("it asks over http"),
    column: "safe",
    limits: "What stands behind an endpoint may change without notice, and the same question may get another verdict: keep \
        the store with a published result. Look at the controls and at the share of unparsed verdicts before comparing.",
    compiled_in: None,
    build: |parts| Ok(Box::new(asked(ENTRY.name, parts)?)),
};
