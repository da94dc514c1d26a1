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
use super::{Cut, Expression, Kind, Operand, Setting, top_of};
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
}

impl Node {
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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::Rule;
    use super::*;

    fn canonical(text: &str) -> String {
        parse(text).unwrap().to_string()
    }

    fn settings(text: &str) -> String {
        let algebra = parse(text).unwrap();
        algebra.operands().iter().map(|operand| format!("{}@{} ", operand.name, operand.setting)).collect()
    }

    #[test]
    fn spelling_is_canonical() {
        assert_eq!(canonical(" fairness&privacy-general "), "fairness & privacy - general");
        assert_eq!(canonical("((a)) & (b & c) | (d & e)"), "a & (b & c) | d & e");
        assert_eq!(canonical("(a | b) & c - (d | e) - f"), "(a | b) & c - (d | e) - f");
        assert_eq!(canonical("a - (b - c)"), "a - (b - c)");
        assert_eq!(canonical("a @ q - b@p - c@q"), "a - b - c@q");
    }

    #[test]
    fn whatever_stands_right_of_a_minus_takes_p() {
        assert_eq!(settings("a & b - c"), "a@q b@q c@p ");
        assert_eq!(settings("a - b | c"), "a@q b@p c@q ");
        assert_eq!(settings("a - (b - c & d@q)"), "a@q b@p c@p d@q ");
        assert_eq!(settings("a@p | a - a"), "a@p a@q ");
        assert!(!Rule::parse("a & b").unwrap().uses_p() && Rule::parse("a@p").unwrap().uses_p());
    }

    #[test]
    fn errors_name_the_character() {
        let message = |text: &str| Rule::parse(text).unwrap_err().message().to_owned();
        insta::assert_snapshot!(message("a & | b"), @"the rule `a & | b` cannot be read at character 5: `|` stands where the name of a data set or `(` is expected");
        insta::assert_snapshot!(message("a &"), @"the rule `a &` cannot be read at character 4: the end stands where the name of a data set or `(` is expected");
        insta::assert_snapshot!(message(""), @"the rule `` cannot be read at character 1: the end stands where the name of a data set or `(` is expected");
        insta::assert_snapshot!(message("(a - b"), @"the rule `(a - b` cannot be read at character 7: the end stands where `)` to close a parenthesis, or an operator, is expected");
        insta::assert_snapshot!(message("a b"), @"the rule `a b` cannot be read at character 3: `b` stands where `&`, `|`, `-` or the end of the rule is expected");
        insta::assert_snapshot!(message("é"), @"the rule `é` cannot be read at character 1: `é` stands where the name of a data set or `(` is expected");
        insta::assert_snapshot!(message("a@r"), @"the rule `a@r` cannot be read at character 3: `r` stands where `p` or `q` after the `@` is expected");
        insta::assert_snapshot!(message("a@pq"), @"the rule `a@pq` cannot be read at character 5: `@pq` comes before it, where only `@p` and `@q` exist");
        assert!(message(&format!("{}a{}", "(".repeat(65), ")".repeat(65))).contains("nested"));
        assert!(Rule::parse(&format!("{}a{}", "(".repeat(64), ")".repeat(64))).is_ok());
    }

    /// Any expression over a, b and c, in its own words.
    #[derive(Clone, Debug)]
    enum Naive {
        Top(usize, Option<Setting>),
        Joined(char, Box<Naive>, Box<Naive>),
    }

    impl Naive {
        fn text(&self) -> String {
            match self {
                Self::Top(slot, setting) => {
                    format!(
                        "{}{}",
                        ["a", "b", "c"][*slot],
                        setting.map_or(String::new(), |setting| format!("@{setting}"))
                    )
                }
                Self::Joined(operator, left, right) => format!("({} {operator} {})", left.text(), right.text()),
            }
        }

        fn set(&self, lists: &[Vec<u32>], cut: &Cut, subtracted: bool) -> BTreeSet<u32> {
            match self {
                Self::Top(slot, setting) => {
                    let size = match (setting, subtracted) {
                        (Some(Setting::P), _) | (None, true) => cut.p,
                        _ => cut.q,
                    };
                    lists[*slot][..size as usize].iter().copied().collect()
                }
                Self::Joined(operator, left, right) => {
                    let left = left.set(lists, cut, subtracted);
                    let right = right.set(lists, cut, subtracted || *operator == '-');
                    match operator {
                        '&' => &left & &right,
                        '|' => &left | &right,
                        _ => &left - &right,
                    }
                }
            }
        }
    }

    fn naive() -> impl Strategy<Value = Naive> {
        let setting = prop_oneof![3 => Just(None), 1 => Just(Some(Setting::P)), 1 => Just(Some(Setting::Q))];
        let leaf = (0_usize..3, setting).prop_map(|(slot, setting)| Naive::Top(slot, setting));
        leaf.prop_recursive(4, 24, 2, |inner| {
            (prop_oneof![Just('&'), Just('|'), Just('-')], inner.clone(), inner)
                .prop_map(|(operator, left, right)| Naive::Joined(operator, left.into(), right.into()))
        })
    }

    proptest! {
        #[test]
        fn the_grid_is_what_sets_would_give_point_by_point(
            naive in naive(),
            lists in prop::collection::vec(Just((0_u32..40).collect::<Vec<_>>()).prop_shuffle(), 3),
            cuts in prop::collection::vec((0_u64..=30, 0_u64..=30), 1..6),
        ) {
            // Lists hold 30 of 40 weights: the rest is below the cap.
            let lists: Vec<Vec<u32>> = lists.into_iter().map(|list| list[..30].to_vec()).collect();
            let cuts: Vec<Cut> = cuts.into_iter().map(|(p, q)| Cut { p, q }).collect();
            let algebra = parse(&naive.text()).unwrap();
            let by_name: Vec<&[u32]> = algebra.names().iter().map(|name| lists[(name.as_bytes()[0] - b'a') as usize].as_slice()).collect();
            let expected: Vec<Vec<u32>> = cuts.iter().map(|cut| naive.set(&lists, cut, false).into_iter().collect()).collect();
            prop_assert_eq!(algebra.evaluate(&by_name, &cuts), expected);

            let spelled = algebra.to_string();
            let again = parse(&spelled).unwrap();
            prop_assert_eq!(format!("{:?}", &again), format!("{:?}", &algebra));
            prop_assert_eq!(again.to_string(), spelled);
        }
    }
}
