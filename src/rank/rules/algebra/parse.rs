//! From the text of a rule to its tree.
//!
//! Must not know: what a tree chooses.

use super::super::super::draws::draw_name;
use super::super::super::scan::Scanner;
use super::super::Setting;
use super::{Algebra, Node, Operator, Top, default_setting};
use crate::error::Result;

/// How deep parentheses may be nested.
const DEEPEST: usize = 64;
/// The most draws of one data set: each is scored.
const MOST_DRAWS: u64 = 100;
/// In place of a name: what several draws of a data set agree on. A data set may be called so too.
const STABLE: &str = "stable";

pub(super) fn parse(text: &str) -> Result<Algebra> {
    let mut parser = Parser { scanner: Scanner::new(text), names: vec![], depth: 0 };
    let root = parser.rule(false)?;
    parser.scanner.end("`&`, `|`, `-` or the end of the rule")?;
    Ok(Algebra { names: parser.names, root })
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    names: Vec<String>,
    depth: usize,
}

impl Parser<'_> {
    fn rule(&mut self, subtracted: bool) -> Result<Node> {
        let mut left = self.group(subtracted)?;
        loop {
            let operator = match self.scanner.peek() {
                Some('|') => Operator::Or,
                Some('-') => Operator::Minus,
                _ => return Ok(left),
            };
            self.scanner.eat(operator.symbol());
            let right = self.group(subtracted || operator == Operator::Minus)?;
            left = Node::Joined { operator, left: left.into(), right: right.into() };
        }
    }

    fn group(&mut self, subtracted: bool) -> Result<Node> {
        let mut left = self.atom(subtracted)?;
        while self.scanner.eat('&') {
            let right = self.atom(subtracted)?;
            left = Node::Joined { operator: Operator::And, left: left.into(), right: right.into() };
        }
        Ok(left)
    }

    fn atom(&mut self, subtracted: bool) -> Result<Node> {
        if self.scanner.peek() == Some('(') {
            if self.depth == DEEPEST {
                return Err(self.scanner.error(&format!("parentheses are nested more than {DEEPEST} deep")));
            }
            self.scanner.eat('(');
            self.depth += 1;
            let inner = self.rule(subtracted)?;
            self.scanner.require(')', "to close a parenthesis, or an operator,")?;
            self.depth -= 1;
            return Ok(inner);
        }
        let name = self.scanner.name("the name of a data set or `(`")?;
        let (slots, least) = match name == STABLE && self.scanner.eat('(') {
            true => self.stable()?,
            false => (vec![self.slot(name)], 1),
        };
        let setting = if self.scanner.eat('@') { self.setting()? } else { default_setting(subtracted) };
        Ok(Node::Top(Top { slots, least, setting }))
    }

    /// The rest of `stable(fairness, 3 of 5)`: the draws, and how many of them must agree.
    fn stable(&mut self) -> Result<(Vec<usize>, usize)> {
        let name = self.scanner.name("the name of a data set")?;
        self.scanner.require(',', "and how many draws agree, such as `3 of 5`,")?;
        let least = self.scanner.number("how many draws must agree, such as `3 of 5`,")?;
        if self.scanner.name("`of`")? != "of" {
            return Err(self.scanner.error("the number of all draws comes after `of`: `3 of 5`"));
        }
        let draws = self.scanner.number("the number of all draws")?;
        if !(1..=draws).contains(&least) || draws > MOST_DRAWS {
            return Err(self.scanner.error(&format!(
                "`{least} of {draws}` comes before it: at least 1 and at most all of up to {MOST_DRAWS} draws can agree"
            )));
        }
        self.scanner.require(')', "at the end of `stable(`")?;
        let slots = (0..draws).map(|draw| self.slot(&draw_name(name, draw))).collect();
        Ok((slots, usize::try_from(least).unwrap_or(usize::MAX)))
    }

    /// The place of a name among the names of the rule.
    fn slot(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// What comes after an `@`.
    fn setting(&mut self) -> Result<Setting> {
        if self.scanner.peek().is_none_or(|first| !"pq".contains(first)) {
            return Err(self.scanner.expected("`p` or `q` after the `@`"));
        }
        match self.scanner.name("`p` or `q` after the `@`")? {
            "p" => Ok(Setting::P),
            "q" => Ok(Setting::Q),
            other => Err(self.scanner.error(&format!("`@{other}` comes before it, where only `@p` and `@q` exist"))),
        }
    }
}
