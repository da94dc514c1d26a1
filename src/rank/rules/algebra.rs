//! Set algebra over any number of data sets: `fairness & privacy - general`.
//!
//! ```text
//! rule  = group { ("|" | "-") group }        left-associative, equal among themselves
//! group = atom { "&" atom }                  binds tighter, left-associative
//! atom  = "(" rule ")" | NAME [ "@p" | "@q" ]
//! ```
//! A name means the top of its data set. The size of the top is p if the name is subtracted, which means that it is anywhere
//! within the right side of a minus, and q otherwise. So in `a - (b - c)` both b and c have size p: the whole of `(b - c)`
//! protects, although c gives entries back. `@p` and `@q` override this.
//! Must not know: points, tables, files.

use std::fmt;
use std::sync::Arc;

use super::super::scan::Scanner;
use super::{Cut, Expression, Kind, Operand, Setting, Threshold, top_of};
use crate::error::Result;

pub(super) const KIND: Kind = Kind {
    name: "algebra",
    syntax: "a & b | c - d, with parentheses; name@p and name@q override",
    summary: "set algebra over the tops of data sets; what is subtracted takes p, the rest takes q",
    parse: |text| Some(parse(text).map(|algebra| Arc::new(algebra) as Arc<dyn Expression>)),
};

/// How deep parentheses may be nested.
const DEEPEST: usize = 64;

/// The rank of a weight that a table does not hold. It is below every cut, since a matrix has at most `u32::MAX` weights.
const ABSENT: u32 = u32::MAX;

#[derive(Debug)]
struct Algebra {
    names: Vec<String>,
    root: Node,
}

#[derive(Debug)]
enum Node {
    /// The top of the data set `names[slot]`.
    Top {
        slot: usize,
        setting: Setting,
    },
    Joined {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    And,
    Or,
    Minus,
}

impl Operator {
    fn symbol(self) -> char {
        match self {
            Self::And => '&',
            Self::Or => '|',
            Self::Minus => '-',
        }
    }

    fn binds_tighter(self) -> bool {
        self == Self::And
    }
}

/// The setting of a name that has no `@`.
fn default_setting(subtracted: bool) -> Setting {
    if subtracted { Setting::P } else { Setting::Q }
}

fn parse(text: &str) -> Result<Algebra> {
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
        let slot = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        let setting = if self.scanner.eat('@') {
            if self.scanner.peek().is_none_or(|first| !"pq".contains(first)) {
                return Err(self.scanner.expected("`p` or `q` after the `@`"));
            }
            match self.scanner.name("`p` or `q` after the `@`")? {
                "p" => Setting::P,
                "q" => Setting::Q,
                other => {
                    return Err(self
                        .scanner
                        .error(&format!("`@{other}` comes before it, where only `@p` and `@q` exist")));
                }
            }
        } else {
            default_setting(subtracted)
        };
        Ok(Node::Top { slot, setting })
    }
}

impl Expression for Algebra {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let mut found = vec![];
        self.root.visit(&mut |slot, setting| {
            let operand = self.names.get(slot).map(|name| Operand { name, setting });
            found.extend(operand.filter(|operand| !found.contains(operand)));
        });
        found
    }

    /// One join serves the whole grid: it has every weight that is in any of the tops, with its ranks. The set at a point is
    /// then found by comparing these ranks with two numbers.
    fn evaluate(&self, lists: &[&[u32]], cuts: &[Cut]) -> Vec<Vec<u32>> {
        let bounds = Bounds::of(cuts);
        let mut deepest = vec![0; lists.len()];
        self.root.visit(&mut |slot, setting| {
            if let Some(deepest) = deepest.get_mut(slot) {
                *deepest = bounds.highest.of(setting).max(*deepest);
            }
        });
        let mut join = Join::of(lists.iter().zip(deepest).map(|(list, size)| top_of(list, size)).collect());
        // Most weights are in no set of the grid. A set grows with the tops that are added and shrinks with those that are
        // taken away. So the set with the largest added and the smallest subtracted tops contains all others; weights
        // outside it are dropped.
        join.retain(|ranks| self.root.holds(ranks, true, &|setting, adds| bounds.side(adds).of(setting)));
        let at = |cut: &Cut| join.filter(|ranks| self.root.holds(ranks, true, &|setting, _| cut.of(setting)));
        cuts.iter().map(at).collect()
    }

    fn thresholds(&self, lists: &[&[u32]]) -> Option<Vec<Threshold>> {
        let (mut wanted, mut protected) = (Vec::new(), Vec::new());
        self.root.is_conjunction(&mut wanted, &mut protected).then_some(())?;
        let join = Join::of(lists.to_vec());
        let rank = |ranks: &[u32], slot: &usize| ranks.get(*slot).copied().unwrap_or(ABSENT);
        let threshold = |(index, ranks): (u32, &[u32])| {
            let beyond = wanted.iter().map(|slot| rank(ranks, slot)).max()?;
            let until = protected.iter().map(|slot| rank(ranks, slot)).min().filter(|rank| *rank != ABSENT);
            (beyond != ABSENT).then_some(Threshold { index, beyond, until })
        };
        Some(join.rows().filter_map(threshold).collect())
    }
}

impl Node {
    /// Whether the rule is `a & b & … - g - h - …`, with q for what is wanted and p for what protects. Their slots are added.
    fn is_conjunction(&self, wanted: &mut Vec<usize>, protected: &mut Vec<usize>) -> bool {
        match self {
            Self::Top { slot, setting } => {
                wanted.push(*slot);
                *setting == Setting::Q
            }
            Self::Joined { operator: Operator::And, left, right } => {
                left.is_conjunction(wanted, protected) && right.is_conjunction(wanted, protected)
            }
            Self::Joined { operator: Operator::Minus, left, right } => {
                left.is_conjunction(wanted, protected) && right.is_union(protected)
            }
            Self::Joined { operator: Operator::Or, .. } => false,
        }
    }

    /// Whether it is `g | h | …` with p.
    fn is_union(&self, protected: &mut Vec<usize>) -> bool {
        match self {
            Self::Top { slot, setting } => {
                protected.push(*slot);
                *setting == Setting::P
            }
            Self::Joined { operator: Operator::Or, left, right } => {
                left.is_union(protected) && right.is_union(protected)
            }
            Self::Joined { .. } => false,
        }
    }

    fn visit(&self, each: &mut dyn FnMut(usize, Setting)) {
        match self {
            Self::Top { slot, setting } => each(*slot, *setting),
            Self::Joined { left, right, .. } => {
                left.visit(each);
                right.visit(each);
            }
        }
    }

    /// Whether a weight with these ranks (by slot) is in the set. `size` gives the size of a top from its setting and from
    /// `adds`: whether a larger top makes the set larger. At the root, `adds` is true.
    fn holds(&self, ranks: &[u32], adds: bool, size: &impl Fn(Setting, bool) -> u64) -> bool {
        match self {
            Self::Top { slot, setting } => ranks.get(*slot).is_some_and(|&rank| u64::from(rank) < size(*setting, adds)),
            Self::Joined { operator, left, right } => {
                let left = left.holds(ranks, adds, size);
                match operator {
                    Operator::And => left && right.holds(ranks, adds, size),
                    Operator::Or => left || right.holds(ranks, adds, size),
                    Operator::Minus => left && !right.holds(ranks, !adds, size),
                }
            }
        }
    }
}

/// The smallest and the largest tops of a grid.
struct Bounds {
    lowest: Cut,
    highest: Cut,
}

impl Bounds {
    fn of(cuts: &[Cut]) -> Self {
        let fold =
            |setting, better: fn(u64, u64) -> u64| cuts.iter().map(|cut| cut.of(setting)).reduce(better).unwrap_or(0);
        Self {
            lowest: Cut { p: fold(Setting::P, u64::min), q: fold(Setting::Q, u64::min) },
            highest: Cut { p: fold(Setting::P, u64::max), q: fold(Setting::Q, u64::max) },
        }
    }

    fn side(&self, adds: bool) -> &Cut {
        if adds { &self.highest } else { &self.lowest }
    }
}

/// The weights of one matrix that are in any of the lists, ascending, each with its rank in every list.
struct Join {
    index: Vec<u32>,
    /// One row of `slots` ranks for each index.
    ranks: Vec<u32>,
    slots: usize,
}

impl Join {
    fn of(lists: Vec<&[u32]>) -> Self {
        let slots = lists.len().max(1);
        let mut index: Vec<u32> = lists.iter().flat_map(|list| list.iter().copied()).collect();
        index.sort_unstable();
        index.dedup();
        let mut ranks = vec![ABSENT; index.len() * slots];
        for (slot, list) in lists.iter().enumerate() {
            for (rank, wanted) in list.iter().enumerate() {
                if let Some(place) = index.binary_search(wanted).ok().and_then(|at| ranks.get_mut(at * slots + slot)) {
                    *place = rank as u32;
                }
            }
        }
        Self { index, ranks, slots }
    }

    fn rows(&self) -> impl Iterator<Item = (u32, &[u32])> {
        self.index.iter().copied().zip(self.ranks.chunks_exact(self.slots))
    }

    fn retain(&mut self, keep: impl Fn(&[u32]) -> bool) {
        let (mut index, mut ranks) = (vec![], vec![]);
        for (at, row) in self.rows().filter(|(_, row)| keep(row)) {
            index.push(at);
            ranks.extend_from_slice(row);
        }
        (self.index, self.ranks) = (index, ranks);
    }

    fn filter(&self, keep: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        self.rows().filter(|(_, row)| keep(row)).map(|(index, _)| index).collect()
    }
}

impl fmt::Display for Algebra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spell(&self.root, false, f)
    }
}

impl Algebra {
    /// One space around operators, only the parentheses and the `@` that change the meaning.
    fn spell(&self, node: &Node, subtracted: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match node {
            Node::Top { slot, setting } => {
                f.write_str(self.names.get(*slot).map_or("", String::as_str))?;
                if *setting == default_setting(subtracted) { Ok(()) } else { write!(f, "@{setting}") }
            }
            Node::Joined { operator, left, right } => {
                let tight = operator.binds_tighter();
                let looser =
                    |node: &Node| matches!(node, Node::Joined { operator, .. } if tight && !operator.binds_tighter());
                let not_tighter =
                    |node: &Node| matches!(node, Node::Joined { operator, .. } if tight || !operator.binds_tighter());
                self.spell_within(looser(left), left, subtracted, f)?;
                write!(f, " {} ", operator.symbol())?;
                self.spell_within(not_tighter(right), right, subtracted || *operator == Operator::Minus, f)
            }
        }
    }

    fn spell_within(
        &self,
        parentheses: bool,
        node: &Node,
        subtracted: bool,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        if !parentheses {
            return self.spell(node, subtracted, f);
        }
        f.write_str("(")?;
        self.spell(node, subtracted, f)?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests;
