//! Messages: one column with the turns of a conversation, `role` and `content` each.
//!
//! Must not know: other layouts.

use super::{Cells, Layout, Roles, turns};
use crate::error::Result;
use crate::model::Message;

pub struct Messages;

impl Layout for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn known(&self) -> &'static [Roles<'static>] {
        &[Roles { prompt: "messages", response: None }]
    }

    fn converses(&self) -> bool {
        true
    }

    fn turns(&self, cells: &Cells<'_>) -> Result<Vec<Message>> {
        turns::of(cells.prompt)
    }
}
