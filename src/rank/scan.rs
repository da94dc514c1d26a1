//! Reading a rule's text character by character, with errors that say at which one.
//!
//! Must not know: any kind of rule.

use crate::error::{Error, Result};

/// A text and how far it has been read. White space separates and is otherwise ignored.
pub(super) struct Scanner<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    /// The next character that is not white space; it is not consumed.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    /// Consumes the character if it comes next.
    pub(super) fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = self.rest.get(wanted.len_utf8()..).unwrap_or_default();
        }
        found
    }

    pub(super) fn require(&mut self, wanted: char, why: &str) -> Result<()> {
        if self.eat(wanted) { Ok(()) } else { Err(self.expected(&format!("`{wanted}` {why}"))) }
    }

    /// A name: a letter, then letters, digits and underscores.
    pub(super) fn name(&mut self, what: &str) -> Result<&'a str> {
        if !self.peek().is_some_and(|first| first.is_ascii_alphabetic()) {
            return Err(self.expected(what));
        }
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name)
    }

    /// A whole number.
    pub(super) fn number(&mut self, what: &str) -> Result<u64> {
        self.peek();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let Ok(number) = digits.parse() else { return Err(self.expected(what)) };
        self.rest = rest;
        Ok(number)
    }

    pub(super) fn end(&mut self, what: &str) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected(what)) }
    }

    /// The sentence for something else standing where `what` is expected.
    pub(super) fn expected(&mut self, what: &str) -> Error {
        let found = self.peek().map_or("the end".to_owned(), |found| format!("`{found}`"));
        self.error(&format!("{found} stands where {what} is expected"))
    }

    /// A sentence about what comes next.
    pub(super) fn error(&mut self, how: &str) -> Error {
        self.peek();
        let before = self.text.len() - self.rest.len();
        let position = self.text.get(..before).unwrap_or_default().chars().count() + 1;
        Error::user(format!("the rule `{}` cannot be read at character {position}: {how}", self.text))
            .hint("a rule is like select.rule = \"fairness & privacy - general\" (names are those of [data.NAME]) or \"released-code\"")
    }
}
