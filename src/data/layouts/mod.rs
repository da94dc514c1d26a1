//! Layouts: which columns of a row make a conversation, and how. A layout is one file and one line in [`LAYOUTS`].
//!
//! A file's layout is found by the names of its columns, or named by a setting. Must not know: containers, templates, tokens.

use serde_json::Value;

use super::row::{Column, Holds, Row, Wanted};
use crate::choice::{Choice, Member};
use crate::error::{Error, Result};
use crate::model::Message;

mod alpaca;
mod messages;
mod pairs;
mod sharegpt;
mod turns;

#[cfg(test)]
mod tests;

/// A way in which columns make a conversation.
pub trait Layout: Sync {
    /// The word in `data.NAME.format`.
    fn name(&self) -> &'static str;
    /// The columns that it reads, in the names that are known for them; more common ones come first.
    fn known(&self) -> &'static [Roles<'static>];
    /// Columns that it reads as well where they are there.
    fn beside(&self) -> &'static [&'static str] {
        &[]
    }
    /// Whether its rows are conversations of any number of turns, which only a chat template can write.
    fn converses(&self) -> bool {
        false
    }
    /// The turns of a row: the cells of the prompt, of the response if there is such a column, and of those beside.
    ///
    /// # Errors
    /// User: what of it is no conversation.
    fn turns(&self, cells: &Cells<'_>) -> Result<Vec<Message>>;
}

/// The layout of pairs of texts.
pub const PAIRS: Choice<dyn Layout> = Choice(&pairs::Pairs);

/// The columns with the two parts of a row. Where one column holds all turns there is no second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles<'a> {
    pub prompt: &'a str,
    pub response: Option<&'a str>,
}

/// The names where a pipeline names none.
pub const USUAL: Roles<'static> = Roles { prompt: "prompt", response: Some("response") };

/// Every layout. Where a file's columns fit several, the first is taken, but for [`USUAL`] names. The names of pairs are general
/// words, so that they come last.
pub const LAYOUTS: &[&dyn Layout] = &[&messages::Messages, &sharegpt::ShareGpt, &alpaca::Alpaca, &pairs::Pairs];

impl Member for dyn Layout {
    fn name(&self) -> &'static str {
        Layout::name(self)
    }

    fn members() -> &'static [&'static Self] {
        LAYOUTS
    }
}

/// How a file is read: its layout, and the columns that it has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub layout: Choice<dyn Layout>,
    pub prompt: String,
    pub response: Option<String>,
    /// Whether the columns hold conversations, and not one text each.
    pub converses: bool,
}

impl Reading {
    /// How to read a file with these columns. `typed` are the columns that a pipeline names, `layout` the one that it names.
    ///
    /// Columns that were named are taken as they are. Otherwise the first names are taken that the file has. If it has none,
    /// the usual ones are: reading the rows then says what is missing.
    pub fn find(columns: &[Column], layout: Option<Choice<dyn Layout>>, typed: Roles<'_>) -> Self {
        let named = typed != USUAL;
        let has = |roles: &Roles<'_>| {
            let has = |name: &str| columns.iter().any(|column| column.name == name);
            has(roles.prompt) && roles.response.is_none_or(has)
        };
        let (layout, roles) = match layout {
            Some(layout) if named => {
                let response = layout.known().first().and_then(|roles| roles.response);
                (layout, Roles { response: response.and(typed.response), ..typed })
            }
            Some(layout) => {
                let known = layout.known().iter();
                (layout, known.copied().find(has).or(layout.known().first().copied()).unwrap_or(USUAL))
            }
            None if named => (PAIRS, typed),
            None => {
                let usual = has(&USUAL).then_some((PAIRS, USUAL));
                let known =
                    |layout: &&'static dyn Layout| Some((Choice(*layout), layout.known().iter().copied().find(has)?));
                usual.or_else(|| LAYOUTS.iter().find_map(known)).unwrap_or((PAIRS, USUAL))
            }
        };
        let lists = |name: &str| columns.iter().any(|column| column.name == name && column.holds == Holds::List);
        let converses = layout.converses() || lists(roles.prompt) || roles.response.is_some_and(lists);
        Self { layout, prompt: roles.prompt.to_owned(), response: roles.response.map(str::to_owned), converses }
    }
}

/// The columns to ask a file for.
pub fn wanted(layout: Choice<dyn Layout>, prompt: &str, response: Option<&str>, converses: bool) -> Vec<Wanted> {
    let needed = |name: &str| if converses { Wanted::any(name) } else { Wanted::text(name) };
    let roles = std::iter::once(prompt).chain(response).map(needed);
    roles.chain(layout.beside().iter().map(|name| Wanted::maybe(*name))).collect()
}

/// The cells of a row by what they are for.
pub struct Cells<'a> {
    pub prompt: &'a Value,
    pub response: &'a Value,
    pub beside: &'a [Value],
}

/// The turns of a row that [`wanted`] was asked of.
///
/// # Errors
/// User: what of it is no conversation.
pub fn turns_of(layout: Choice<dyn Layout>, response: bool, row: &Row) -> Result<Vec<Message>> {
    let short = || Error::fault("a row has fewer cells than were asked for");
    let (prompt, rest) = row.cells.split_first().ok_or_else(short)?;
    let (response, beside) = if response { rest.split_first().ok_or_else(short)? } else { (&Value::Null, rest) };
    layout.turns(&Cells { prompt, response, beside }).map_err(|error| error.within(row.place))
}

/// The turns that a cell holds: a text is what a user says.
///
/// # Errors
/// User: neither text nor a list of turns.
fn prompt_turns(cell: &Value) -> Result<Vec<Message>> {
    match cell {
        Value::String(text) => Ok(vec![Message::user(turns::plain(text)?)]),
        other => turns::of(other),
    }
}

/// The turns that a question is asked in: a text is one turn, and a list of turns ends with the last of the user.
///
/// # Errors
/// User: neither text nor a list of turns, or no turn of a user.
pub fn question_turns(cell: &Value) -> Result<Vec<Message>> {
    let mut turns = prompt_turns(cell)?;
    let end = turns.iter().rposition(|turn| turn.role == "user").map_or(0, |last| last + 1);
    if end == 0 {
        return Err(
            Error::user("nobody asks anything: no turn is a user's").hint("remove the row, or ask something in it")
        );
    }
    turns.truncate(end);
    Ok(turns)
}
