//! Jinja as transformers renders chat templates, without Python and without a clock.
//!
//! minijinja is the engine. What differs in Jinja2 and in transformers' environment is in this folder: `source.rs` rewrites what the engine
//! reads otherwise, `functions.rs`, `filters.rs` and `methods.rs` have what it lacks or does otherwise, `json.rs` writes what Python's json
//! writes. `tests/jinja` has a template for each construct, and what transformers makes of it. `strftime_now` returns the pipeline's
//! `chat_date`, whatever format it is asked for, so that a prompt is a function of its inputs; so there is nothing that draws either
//! (`random`, `lipsum`). Must not know: conversations, models.

mod filters;
mod functions;
mod json;
mod methods;
mod source;

use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;

pub(super) use self::source::prepared;
use crate::error::{Error, Result};

/// An environment without any variables. Its templates are those that [`prepared`] returns.
///
/// # Errors
/// Fault: the library refuses a syntax that it should accept.
pub(super) fn environment(date: &str) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|cause| Error::fault(format!("template syntax: {cause}")))?);
    environment.set_unknown_method_callback(methods::call);
    functions::add(&mut environment, date);
    filters::add(&mut environment);
    environment.add_filter("tojson", json::to_json);
    Ok(environment)
}

#[cfg(test)]
mod tests;
