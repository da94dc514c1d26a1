//! Set algebra over any number of data sets: `fairness & privacy - general`.
//!
//! ```text
//! rule  = group { ("|" | "-") group }        left-associative, equal among themselves
//! group = atom { "&" atom }                  binds tighter, left-associative
//! atom  = "(" rule ")" | top [ "@p" | "@q" ]
//! top   = NAME | "stable" "(" NAME "," NUMBER "of" NUMBER ")"
//! ```
//! A name means the top of its data set. The size of the top is p if the name is subtracted, which means that it is anywhere
//! within the right side of a minus, and q otherwise. So in `a - (b - c)` both b and c have size p: the whole of `(b - c)`
//! protects, although c gives entries back. `@p` and `@q` override this.
//!
//! `stable(a, 3 of 5)` has the weights that are in the top of at least 3 of 5 draws of a's rows ([`super::super::draws`]). The top
//! of each draw has the size that the name alone would have. A weight is in it exactly if the third best of its five ranks is
//! below that size. So a consensus has ranks as a data set has, and all that holds for tops of one draw holds for it.
//! Must not know: points, tables, files.

use std::fmt;
use std::sync::Arc;

use self::join::{ABSENT, Bounds, Join};
use self::parse::parse;
use super::super::draws::draw_of;
use super::{Cut, Expression, Kind, Operand, Setting, Threshold, top_of};

mod join;
mod parse;

pub(super) const KIND: Kind = Kind {
    name: "algebra",
    syntax: "a & b | c - d, with parentheses; name@p and name@q override; stable(a, 3 of 5) in place of a name",
    summary: "set algebra over the tops of data sets, or what several draws of one agree on; what is subtracted takes p, the rest takes q",
    parse: |text| Some(parse(text).map(|algebra| Arc::new(algebra) as Arc<dyn Expression>)),
};

#[derive(Debug)]
struct Algebra {
    names: Vec<String>,
    root: Node,
}

#[derive(Debug)]
enum Node {
    Top(Top),
    Joined { operator: Operator, left: Box<Node>, right: Box<Node> },
}

/// What is in the tops of at least so many of a data set's draws: of the one that there is, or of several.
#[derive(Debug)]
struct Top {
    /// The draws, as places in `names`.
    slots: Vec<usize>,
    least: usize,
    setting: Setting,
}

impl Top {
    /// Whether a weight with these ranks (by slot) is in it, if the top of each draw has this size.
    fn holds(&self, ranks: &[u32], size: u64) -> bool {
        let is_in = |slot: &&usize| ranks.get(**slot).is_some_and(|&rank| u64::from(rank) < size);
        self.slots.iter().filter(is_in).count() >= self.least
    }

    /// The smallest rank that is not below the sizes at which it holds the weight: the `least`-th best of its ranks.
    fn rank(&self, ranks: &[u32]) -> u32 {
        let mut ranks: Vec<u32> = self.slots.iter().map(|slot| ranks.get(*slot).copied().unwrap_or(ABSENT)).collect();
        ranks.sort_unstable();
        ranks.get(self.least.saturating_sub(1)).copied().unwrap_or(ABSENT)
    }
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
        let threshold = |(index, ranks): (u32, &[u32])| {
            let beyond = wanted.iter().map(|top| top.rank(ranks)).max()?;
            let until = protected.iter().map(|top| top.rank(ranks)).min().filter(|rank| *rank != ABSENT);
            (beyond != ABSENT).then_some(Threshold { index, beyond, until })
        };
        Some(join.rows().filter_map(threshold).collect())
    }
}

impl Node {
    /// Whether the rule is `a & b & … - g - h - …`, with q for what is wanted and p for what protects. Their tops are added.
    fn is_conjunction<'a>(&'a self, wanted: &mut Vec<&'a Top>, protected: &mut Vec<&'a Top>) -> bool {
        match self {
            Self::Top(top) => {
                wanted.push(top);
                top.setting == Setting::Q
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
    fn is_union<'a>(&'a self, protected: &mut Vec<&'a Top>) -> bool {
        match self {
            Self::Top(top) => {
                protected.push(top);
                top.setting == Setting::P
            }
            Self::Joined { operator: Operator::Or, left, right } => {
                left.is_union(protected) && right.is_union(protected)
            }
            Self::Joined { .. } => false,
        }
    }

    fn visit(&self, each: &mut dyn FnMut(usize, Setting)) {
        match self {
            Self::Top(top) => top.slots.iter().for_each(|slot| each(*slot, top.setting)),
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
            Self::Top(top) => top.holds(ranks, size(top.setting, adds)),
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

impl fmt::Display for Algebra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spell(&self.root, false, f)
    }
}

impl Algebra {
    /// One space around operators, only the parentheses and the `@` that change the meaning.
    fn spell(&self, node: &Node, subtracted: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match node {
            Node::Top(Top { slots, least, setting }) => {
                let name = slots.first().and_then(|slot| self.names.get(*slot)).map_or("", |name| draw_of(name).0);
                match slots.len() {
                    1 => f.write_str(name)?,
                    draws => write!(f, "stable({name}, {least} of {draws})")?,
                }
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
