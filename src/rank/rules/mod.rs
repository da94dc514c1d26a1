//! The rules of selection, and the table of their kinds. A new kind is one file here and one line in [`KINDS`].
//!
//! A kind turns text into an [`Expression`]. An expression says which data sets it needs, whether each of them takes p or q,
//! and which weights of a matrix it chooses. Must not know: rank tables as files, masks, where points come from.

mod algebra;
mod released_code;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::draws::draw_of;
use crate::error::{Error, Result};

/// Every kind of rule; the first that recognises a text reads it. The algebra claims whatever is left.
pub static KINDS: &[Kind] = &[released_code::KIND, algebra::KIND];

/// The longest rule that is read; it bounds how deep an expression can be.
const LONGEST: usize = 2000;

/// One member of the table of rules.
pub struct Kind {
    pub name: &'static str,
    /// For help texts: how such a rule is written.
    pub syntax: &'static str,
    /// For help texts: what it chooses.
    pub summary: &'static str,
    pub parse: fn(&str) -> Parsed,
}

/// What a kind makes of a text: `None` if the text is not of this kind.
pub type Parsed = Option<Result<Arc<dyn Expression>>>;

/// What a rule of any kind can do. `Display` is the canonical spelling, which parses to an equal rule.
pub trait Expression: fmt::Debug + fmt::Display + Send + Sync {
    /// The names of the data sets or of their draws, each once, in the order in which [`Expression::evaluate`] wants their lists.
    fn names(&self) -> &[String];

    /// Which setting each use of a name takes; a name may occur with both.
    fn operands(&self) -> Vec<Operand<'_>>;

    /// The weights that one matrix loses at each point of the grid: flat indices, ascending.
    ///
    /// `lists` has, for each of [`Expression::names`], the flat indices of the matrix' best weights in the order of their
    /// ranks. Weights that are not in a list rank below it. `cuts` has the sizes of the tops for each point; no size exceeds
    /// the list that it is used on.
    fn evaluate(&self, lists: &[&[u32]], cuts: &[Cut]) -> Vec<Vec<u32>>;

    /// Where in the plane of p and q each weight of one matrix is chosen, if that is a rectangle for all of them: above some q
    /// and up to some p. Only weights that are chosen somewhere within the lists, which are as for [`Expression::evaluate`].
    fn thresholds(&self, _lists: &[&[u32]]) -> Option<Vec<Threshold>> {
        None
    }
}

/// A weight is chosen where the top of q is larger than `beyond` and that of p is not larger than `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The flat index in its matrix.
    pub index: u32,
    pub beyond: u32,
    /// `None` if no top within the tables protects it.
    pub until: Option<u32>,
}

/// A use of a data set in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand<'a> {
    pub name: &'a str,
    pub setting: Setting,
}

/// The two fractions of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    P,
    Q,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P => "p",
            Self::Q => "q",
        })
    }
}

/// A point seen from one matrix: p and q as numbers of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// 0 for a rule that does not use p.
    pub p: u64,
    pub q: u64,
}

impl Cut {
    pub fn of(&self, setting: Setting) -> u64 {
        match setting {
            Setting::P => self.p,
            Setting::Q => self.q,
        }
    }
}

/// A rule as read from the text of `select.rule`. Two rules are equal if their canonical spellings are.
#[derive(Clone)]
pub struct Rule {
    kind: &'static str,
    expression: Arc<dyn Expression>,
}

impl Rule {
    /// # Errors
    /// A text that no kind can read: the sentence has the text and the position of the character.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > LONGEST {
            return Err(Error::user(format!("the rule has {} bytes, more than {LONGEST}", text.len())));
        }
        for kind in KINDS {
            if let Some(expression) = (kind.parse)(text) {
                return Ok(Self { kind: kind.name, expression: expression? });
            }
        }
        Err(Error::fault(format!("no kind of rule claims `{text}`")))
    }

    /// The name of its kind in [`KINDS`].
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The data sets it needs, and further draws of them (`fairness~1`), each once, in the order of their first appearance.
    pub fn names(&self) -> &[String] {
        self.expression.names()
    }

    /// Of how many draws of a data set it speaks, at most.
    pub fn draws(&self) -> u64 {
        self.names().iter().map(|name| draw_of(name).1 + 1).max().unwrap_or(1)
    }

    /// Whether a point must have a p for this rule.
    pub fn uses_p(&self) -> bool {
        self.expression.operands().iter().any(|operand| operand.setting == Setting::P)
    }

    /// Which setting each use of a name takes.
    pub fn operands(&self) -> Vec<Operand<'_>> {
        self.expression.operands()
    }

    /// See [`Expression::evaluate`].
    pub fn evaluate(&self, lists: &[&[u32]], cuts: &[Cut]) -> Vec<Vec<u32>> {
        self.expression.evaluate(lists, cuts)
    }

    /// See [`Expression::thresholds`].
    pub fn thresholds(&self, lists: &[&[u32]]) -> Option<Vec<Threshold>> {
        self.expression.thresholds(lists)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({self})")
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Rule {}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// The first `size` entries of a list: one data set's top.
fn top_of(list: &[u32], size: u64) -> &[u32] {
    usize::try_from(size).ok().and_then(|size| list.get(..size)).unwrap_or(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_one_file_and_one_line() {
        let room = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rank/rules");
        let mut files: Vec<String> = crate::files::list(&room)
            .unwrap()
            .iter()
            .map(|path| path.file_stem().unwrap().to_str().unwrap().replace('_', "-"))
            .filter(|stem| stem != "mod")
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        files.sort();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn every_kind_reads_back_its_own_spelling() {
        for text in
            ["a&b-c", "released-code", "released-code(x, y; z)", "released - code", "stable(a, 2 of 3)@p | stable"]
        {
            let rule = Rule::parse(text).unwrap();
            let again: Rule = rule.to_string().parse().unwrap();
            assert_eq!((again.kind(), again.to_string()), (rule.kind(), rule.to_string()));
            assert_eq!(again, rule);
        }
        assert_ne!(Rule::parse("a").unwrap(), Rule::parse("b").unwrap());
        assert!(Rule::parse(&"(".repeat(LONGEST + 1)).is_err());
    }
}
