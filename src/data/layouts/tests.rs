//! Layouts: which one a file has, and the turns that rows of each are.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::containers::{glance, read_rows};
use super::*;

/// What a file of these columns is taken for: layout, columns, and whether it holds conversations.
fn taken(columns: &[(&str, &str)], layout: Option<&str>, typed: Option<(&str, &str)>) -> String {
    let holds = |kind: &str| {
        Holds::of(&match kind {
            "list" => json!([]),
            "text" => json!(""),
            _ => json!(1),
        })
    };
    let columns: Vec<_> =
        columns.iter().map(|(name, kind)| Column { name: (*name).into(), holds: holds(kind) }).collect();
    let typed = typed.map_or(USUAL, |(prompt, response)| Roles { prompt, response: Some(response) });
    let found = Reading::find(&columns, layout.map(|name| Choice::of(name).unwrap()), typed);
    format!("{} {} {:?} {}", found.layout, found.prompt, found.response.unwrap_or_default(), found.converses)
}

#[test]
fn a_layout_is_found_by_its_columns() {
    let text = |names: &[&'static str]| -> Vec<(&str, &str)> { names.iter().map(|name| (*name, "text")).collect() };
    let by_itself = |columns: &[(&str, &str)]| taken(columns, None, None);
    assert_eq!(by_itself(&text(&["id", "prompt", "response"])), "pairs prompt \"response\" false");
    assert_eq!(by_itself(&text(&["prompt", "completion"])), "pairs prompt \"completion\" false");
    assert_eq!(by_itself(&[("prompt", "list"), ("completion", "list")]), "pairs prompt \"completion\" true");
    assert_eq!(
        by_itself(&[("prompt", "text"), ("prompt_id", "text"), ("messages", "list")]),
        "messages messages \"\" true"
    );
    assert_eq!(by_itself(&[("id", "text"), ("conversations", "list")]), "sharegpt conversations \"\" true");
    assert_eq!(by_itself(&text(&["messages"])), "messages messages \"\" true");
    assert_eq!(by_itself(&text(&["instruction", "input", "output", "text"])), "alpaca instruction \"output\" false");
    assert_eq!(by_itself(&text(&["a", "b"])), "pairs prompt \"response\" false");
    assert_eq!(
        by_itself(&[("prompt", "text"), ("response", "text"), ("messages", "list")]),
        "pairs prompt \"response\" false"
    );
    assert_eq!(
        taken(&text(&["prompt", "response", "messages"]), Some("messages"), None),
        "messages messages \"\" true"
    );
    assert_eq!(taken(&text(&["dialog"]), Some("sharegpt"), Some(("dialog", "response"))), "sharegpt dialog \"\" true");
    assert_eq!(taken(&text(&["conversation"]), Some("sharegpt"), None), "sharegpt conversation \"\" true");
    assert_eq!(taken(&text(&["messages", "q", "a"]), None, Some(("q", "a"))), "pairs q \"a\" false");
    assert_eq!(taken(&text(&["q", "a"]), Some("alpaca"), Some(("q", "a"))), "alpaca q \"a\" false");
}

fn turns_in(layout: &str, file: Value) -> Result<Vec<Message>> {
    let bytes = Bytes::from(file.to_string());
    let seen = glance(Path::new("x.json"), &bytes)?;
    let found = Reading::find(&seen.columns, Some(Choice::of(layout).unwrap()), USUAL);
    let response = found.response.as_deref();
    let rows = read_rows(&bytes, seen.format, &wanted(found.layout, &found.prompt, response, found.converses))?;
    turns_of(found.layout, response.is_some(), &rows[0])
}

#[test]
fn every_layout_gives_turns() {
    let (ask, say) = (Message::user("a"), Message::assistant("b"));
    let list = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let sharegpt = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
    let pair = vec![ask.clone(), say.clone()];
    assert_eq!(turns_in("pairs", json!([{"prompt": "a", "response": "b"}])).unwrap(), pair);
    assert_eq!(turns_in("pairs", json!([{"prompt": [list[0]], "completion": [list[1]]}])).unwrap(), pair);
    assert_eq!(turns_in("pairs", json!([{"prompt": "a", "chosen": list, "rejected": []}])).unwrap(), pair);
    assert_eq!(turns_in("messages", json!([{"messages": list}])).unwrap(), pair);
    assert_eq!(turns_in("sharegpt", json!([{"conversations": sharegpt}])).unwrap(), pair);
    let with_system = turns_in("sharegpt", json!([{"conversations": sharegpt, "system": "S"}])).unwrap();
    assert_eq!(with_system[0], Message::system("S"));
    assert_eq!(turns_in("alpaca", json!([{"instruction": "a", "input": "", "output": "b"}])).unwrap(), pair);
    assert_eq!(turns_in("alpaca", json!([{"instruction": "a", "output": "b"}])).unwrap(), pair);
    let whole = json!([{"instruction": "a", "input": "i", "output": "b", "system": "S", "history": [["c", "d"]]}]);
    let turns = [Message::system("S"), Message::user("c"), Message::assistant("d"), Message::user("a\ni"), say];
    assert_eq!(turns_in("alpaca", whole).unwrap(), turns);
    let error = turns_in("alpaca", json!([{"instruction": "a", "output": "b", "history": ["c"]}])).unwrap_err();
    assert_eq!(error.message(), "item [0], line 1: `history` is not a list of pairs of texts");
    assert_eq!(
        turns_in("messages", json!([{"messages": 3}])).unwrap_err().message(),
        "item [0], line 1: a number where a list of turns is expected"
    );
}

#[test]
fn turns_that_were_written_as_text_are_not_taken_for_what_is_said() {
    for text in [r#" [{"role": "user", "content": "a"}]"#, "[{'from': 'human', 'value': 'a'}]\n"] {
        for row in [json!({"prompt": text, "response": "b"}), json!({"prompt": "a", "response": text})] {
            let error = turns_in("pairs", json!([row])).unwrap_err();
            assert!(error.message().ends_with("where a text is expected"), "{error}");
            assert!(error.hint_text().unwrap().contains("JSON lines"));
        }
        assert!(prompt_turns(&json!(text)).is_err());
    }
    let said = "What does [{\"role\": \"user\"}] mean?";
    assert_eq!(prompt_turns(&json!(said)).unwrap(), [Message::user(said)]);
}
