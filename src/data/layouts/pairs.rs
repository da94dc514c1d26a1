//! Pairs: a column of prompts and one of responses. Each may hold a list of turns in place of a text.
//!
//! Must not know: other layouts.

use serde_json::Value;

use super::turns;
use super::{Cells, Layout, Roles, USUAL, prompt_turns};
use crate::error::Result;
use crate::model::Message;

pub struct Pairs;

impl Layout for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn known(&self) -> &'static [Roles<'static>] {
        &[
            USUAL,
            Roles { prompt: "prompt", response: Some("completion") },
            Roles { prompt: "prompt", response: Some("chosen") },
        ]
    }

    fn turns(&self, cells: &Cells<'_>) -> Result<Vec<Message>> {
        let response = match cells.response {
            Value::String(text) => vec![Message::assistant(turns::plain(text)?)],
            other => turns::of(other)?,
        };
        let prompt = prompt_turns(cells.prompt)?;
        // Lists of preferred answers repeat the prompt.
        let again = !cells.response.is_string() && response.starts_with(&prompt);
        Ok(if again { response } else { prompt.into_iter().chain(response).collect() })
    }
}
