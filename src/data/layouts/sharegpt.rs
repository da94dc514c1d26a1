//! ShareGPT: one column with the turns of a conversation, `from` and `value` each; there may be a column with a system turn.
//!
//! Must not know: other layouts.

use serde_json::Value;

use super::alpaca::optional;
use super::{Cells, Layout, Roles, turns};
use crate::error::Result;
use crate::model::Message;

pub struct ShareGpt;

impl Layout for ShareGpt {
    fn name(&self) -> &'static str {
        "sharegpt"
    }

    fn known(&self) -> &'static [Roles<'static>] {
        &[Roles { prompt: "conversations", response: None }, Roles { prompt: "conversation", response: None }]
    }

    fn beside(&self) -> &'static [&'static str] {
        &["system"]
    }

    fn converses(&self) -> bool {
        true
    }

    fn turns(&self, cells: &Cells<'_>) -> Result<Vec<Message>> {
        let turns = turns::of(cells.prompt)?;
        let system = optional("system", cells.beside.first().unwrap_or(&Value::Null))?;
        Ok(system.map(Message::system).into_iter().chain(turns).collect())
    }
}
