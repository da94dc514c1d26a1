//! Alpaca: an instruction, an input that it speaks of (often empty), and an output; there may be a system turn and a history.
//!
//! Instruction and input are joined by a line break. Must not know: other layouts.

use serde_json::Value;

use super::super::row::kind;
use super::{Cells, Layout, Roles};
use crate::error::{Error, Result};
use crate::model::Message;

pub struct Alpaca;

impl Layout for Alpaca {
    fn name(&self) -> &'static str {
        "alpaca"
    }

    fn known(&self) -> &'static [Roles<'static>] {
        &[Roles { prompt: "instruction", response: Some("output") }]
    }

    fn beside(&self) -> &'static [&'static str] {
        &["input", "system", "history"]
    }

    fn turns(&self, cells: &Cells<'_>) -> Result<Vec<Message>> {
        let [input, system, history] = cells.beside else {
            return Err(Error::fault("a row has other cells than were asked for"));
        };
        let (input, system) = (optional("input", input)?, optional("system", system)?);
        let mut turns: Vec<Message> = system.map(Message::system).into_iter().collect();
        turns.extend(earlier(history)?);
        let instruction = text("instruction", cells.prompt)?;
        turns.push(Message::user(match input {
            Some(input) => format!("{instruction}\n{input}"),
            None => instruction.to_owned(),
        }));
        turns.push(Message::assistant(text("output", cells.response)?));
        Ok(turns)
    }
}

/// The turns before, a list of pairs.
fn earlier(history: &Value) -> Result<Vec<Message>> {
    let pairs = match history {
        Value::Null => &[],
        Value::String(text) if text.is_empty() => &[],
        Value::Array(pairs) => pairs.as_slice(),
        _ => return Err(no_history()),
    };
    let mut turns = Vec::new();
    for pair in pairs {
        let texts: Option<Vec<&str>> = pair.as_array().map(|pair| pair.iter().filter_map(Value::as_str).collect());
        let Some([question, answer]) = texts.as_deref() else { return Err(no_history()) };
        turns.extend([Message::user(*question), Message::assistant(*answer)]);
    }
    Ok(turns)
}

fn no_history() -> Error {
    Error::user("`history` is not a list of pairs of texts")
        .hint("write it as [[\"a question\", \"its answer\"], …] in JSON or Parquet, or leave it out")
}

fn text<'a>(name: &str, cell: &'a Value) -> Result<&'a str> {
    cell.as_str().ok_or_else(|| {
        Error::user(format!("`{name}` is {}, not text", kind(cell))).hint("write text there, or leave the row out")
    })
}

/// A text that may be empty or absent.
pub(super) fn optional<'a>(name: &str, cell: &'a Value) -> Result<Option<&'a str>> {
    if cell.is_null() { Ok(None) } else { text(name, cell).map(|text| Some(text).filter(|text| !text.is_empty())) }
}
