//! From a question to prompt ids: raw, through the model's chat template, or through one from a file.
//!
//! Text from a template is tokenised without special tokens, since templates write them themselves;
//! raw text with them, as transformers' tokenisers do by default. Must not know: stages.

use crate::error::Result;
use crate::model::text::{ChatTemplate, Message, Text};

/// The ids of a prompt. `kind` is `none`, `model` or `file`, the last with the template's text.
///
/// # Errors
/// `model` where the model has no chat template, and whatever a template raises.
pub fn prompt_ids(
    text: &Text,
    kind: &str,
    template: Option<&str>,
    date: Option<&str>,
    messages: &[Message],
) -> Result<Vec<u32>> {
    if kind == "none" {
        let raw: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        return text.encode(&raw.join("\n"), true);
    }
    let date = date.unwrap_or_default();
    let rendered = match (kind, template) {
        ("file", Some(source)) => {
            text.render_with(&ChatTemplate::new("the chat template", source), messages, true, date)?
        }
        _ => text.render_chat(messages, true, date)?,
    };
    text.encode(&rendered, false)
}
