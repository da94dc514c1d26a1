//! Lists of turns, as chat data has them: who speaks, and what is said.
//!
//! Two spellings are known, `role` with `content` and ShareGPT's `from` with `value`. What cannot be shown to a chat template as
//! a turn of text (tools, pictures) is refused: a conversation without it would be another one. Must not know: columns.

use serde_json::{Map, Value};

use super::super::row::kind;
use crate::error::{Error, Result};
use crate::model::Message;

/// Who speaks, in the words of data sets, and in those of chat templates.
const SPEAKERS: [(&str, &[&str]); 3] = [
    ("system", &["system"]),
    ("user", &["user", "human", "prompter"]),
    ("assistant", &["assistant", "gpt", "model", "chatgpt", "bot", "bing", "bard"]),
];

/// The turns of a list, which may be written as JSON in a text.
///
/// # Errors
/// User: what is not a list of turns, with the number of the turn.
pub fn of(cell: &Value) -> Result<Vec<Message>> {
    match cell {
        Value::Array(items) => {
            let turn = |(number, item): (usize, &Value)| turn(item).map_err(|error| error.within(format!("turn {number}")));
            (1..).zip(items).map(turn).collect()
        }
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(list @ Value::Array(_)) => of(&list),
            _ => Err(Error::user("a text where a list of turns is expected").hint(
                "in CSV and TSV a conversation is the JSON of its turns: [{\"role\": \"user\", \"content\": \"…\"}, …] (in Python json.dumps, not str)",
            )),
        },
        other => Err(Error::user(format!("{} where a list of turns is expected", kind(other)))
            .hint("a conversation is a list of turns: [{\"role\": \"user\", \"content\": \"…\"}, …]")),
    }
}

/// A text that is not a whole list of turns, written as JSON or as Python shows it.
///
/// # Errors
/// User: it is one, so that its brackets and names would be read as what is said.
pub fn plain(text: &str) -> Result<&str> {
    let list = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let first = list.and_then(|list| list.trim_start().strip_prefix('{')).map(str::trim_start);
    let speaks = |first: &str| ["\"role\"", "'role'", "\"from\"", "'from'"].iter().any(|name| first.starts_with(name));
    if first.is_some_and(speaks) {
        return Err(Error::user("a list of turns that is written as text, where a text is expected").hint(
            "in CSV and TSV, `messages` and `conversations` hold the JSON of turns, and other columns a text each; or write the data as JSON lines",
        ));
    }
    Ok(text)
}

fn turn(item: &Value) -> Result<Message> {
    let Value::Object(fields) = item else {
        return Err(Error::user(format!("{} where an object is expected", kind(item)))
            .hint("a turn is an object such as {\"role\": \"user\", \"content\": \"…\"}"));
    };
    let field = |names: [&str; 2]| names.into_iter().find_map(|name| fields.get(name)).filter(|value| !value.is_null());
    let speaker = field(["role", "from"]).and_then(Value::as_str);
    let Some(speaker) = speaker else {
        return Err(Error::user(format!("it does not say who speaks; its fields are {}", names(fields)))
            .hint("a turn has `role` and `content`, or `from` and `value`"));
    };
    if let Some(tool) =
        ["tool_calls", "function_call"].into_iter().find(|name| fields.get(*name).is_some_and(is_something))
    {
        return Err(Error::user(format!("it has {tool}, which are not read")).hint(WITHOUT));
    }
    let Some((role, _)) = SPEAKERS.iter().find(|(_, spellings)| spellings.contains(&speaker)) else {
        return Err(Error::user(format!("`{speaker}` speaks, who is neither system, user nor assistant")).hint(WITHOUT));
    };
    let content = match field(["content", "value"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<Vec<_>>>()?.concat(),
        Some(other) => return Err(Error::user(format!("what is said is {}, not text", kind(other)))),
        None => {
            return Err(Error::user(format!("it does not say anything; its fields are {}", names(fields)))
                .hint("a turn has `role` and `content`, or `from` and `value`"));
        }
    };
    Ok(Message { role: (*role).to_owned(), content })
}

const WITHOUT: &str = "leave such rows out of the data: only turns of text by system, user and assistant are read";

/// A part of a turn that is told in several.
fn part(part: &Value) -> Result<&str> {
    let kind = part.get("type").and_then(Value::as_str);
    match (kind, part.get("text").and_then(Value::as_str)) {
        (None | Some("text"), Some(text)) => Ok(text),
        (kind, _) => {
            Err(Error::user(format!("a part of it is of the type `{}`, not text", kind.unwrap_or("unknown")))
                .hint(WITHOUT))
        }
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

fn names(fields: &Map<String, Value>) -> String {
    fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(cell: Value) -> String {
        of(&cell).unwrap_err().message().to_owned()
    }

    #[test]
    fn both_spellings_are_read() {
        let turns = vec![Message::system("S"), Message::user("a"), Message::assistant("b")];
        let openai = json!([{"role": "system", "content": "S"}, {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}], "tool_calls": null}]);
        let sharegpt = json!([{"from": "system", "value": "S"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 1}]);
        assert_eq!(of(&openai).unwrap(), turns);
        assert_eq!(of(&sharegpt).unwrap(), turns);
        assert_eq!(of(&Value::String(openai.to_string())).unwrap(), turns);
    }

    #[test]
    fn what_is_no_turn_of_text_is_told_with_its_number() {
        assert_eq!(said(json!("Hello.")), "a text where a list of turns is expected");
        assert_eq!(said(json!("[{'role': 'user'}]")), "a text where a list of turns is expected");
        assert_eq!(said(json!({"role": "user"})), "an object where a list of turns is expected");
        assert_eq!(said(json!(["Hello."])), "turn 1: text where an object is expected");
        assert_eq!(
            said(json!([{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}])),
            "turn 2: `tool` speaks, who is neither system, user nor assistant"
        );
        assert_eq!(
            said(json!([{"role": "assistant", "content": "", "tool_calls": [{}]}])),
            "turn 1: it has tool_calls, which are not read"
        );
        assert_eq!(
            said(json!([{"role": "user", "text": "b"}])),
            "turn 1: it does not say anything; its fields are `role`, `text`"
        );
        assert_eq!(
            said(json!([{"speaker": "user", "content": "b"}])),
            "turn 1: it does not say who speaks; its fields are `content`, `speaker`"
        );
        assert_eq!(
            said(json!([{"role": "user", "content": [{"type": "image"}]}])),
            "turn 1: a part of it is of the type `image`, not text"
        );
        assert_eq!(said(json!([{"role": "user", "content": 3}])), "turn 1: what is said is a number, not text");
    }
}
