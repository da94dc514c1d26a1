//! What the released Python code of the paper really chooses: `released-code`, or in full
//! `released-code(privacy, fairness; general)`. Dataset1 comes first.
//!
//! The code lists the flat indices of dataset1's and of dataset2's top in ascending order. In each list it marks the indices
//! that the general set does not protect. Then it ANDs the two lists of marks *position by position*, and applies the result
//! to dataset1's indices. It never looks for dataset2's weights in dataset1. The rule exists so that published numbers can be
//! reproduced. Must not know: points, tables, files.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::super::scan::Scanner;
use super::{Cut, Expression, Kind, Operand, Parsed, Setting};
use crate::error::Result;

const NAME: &str = "released-code";

pub(super) const KIND: Kind = Kind {
    name: NAME,
    syntax: "released-code, or released-code(dataset1, dataset2; general)",
    summary: "the released code's pairing by position; dataset1's top q minus general's top p, minus a few at random",
    parse,
};

#[derive(Debug)]
struct ReleasedCode {
    /// dataset1, dataset2 and the general set.
    names: [String; 3],
}

fn parse(text: &str) -> Parsed {
    let rest = text.trim_start().strip_prefix(NAME)?.trim();
    let rule = match rest {
        "" => Ok(ReleasedCode { names: ["privacy".into(), "fairness".into(), "general".into()] }),
        _ if rest.starts_with('(') => parse_names(text),
        // `released-code` is also a difference of two data sets of these names.
        _ => return None,
    };
    Some(rule.map(|rule| Arc::new(rule) as Arc<dyn Expression>))
}

fn parse_names(text: &str) -> Result<ReleasedCode> {
    let mut scanner = Scanner::new(text);
    // Known to be there: read it as `released`, `-`, `code`.
    scanner.name(NAME)?;
    scanner.require('-', "")?;
    scanner.name(NAME)?;
    scanner.require('(', "")?;
    let mut names: Vec<String> = vec![];
    for (what, then, why) in [
        ("the name of dataset1", ',', "before dataset2"),
        ("the name of dataset2", ';', "before the general set"),
        ("the name of the general set", ')', "at the end"),
    ] {
        let name = scanner.name(what)?;
        if names.iter().any(|known| known == name) {
            return Err(
                scanner.error(&format!("`{name}` comes twice before it, but released-code takes three data sets"))
            );
        }
        names.push(name.to_owned());
        scanner.require(then, why)?;
    }
    scanner.end("the end of the rule")?;
    let names = names.try_into().map_err(|_| scanner.expected("a rule of three data sets"))?;
    Ok(ReleasedCode { names })
}

impl Expression for ReleasedCode {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        let settings = [Setting::Q, Setting::Q, Setting::P];
        self.names.iter().zip(settings).map(|(name, setting)| Operand { name, setting }).collect()
    }

    fn evaluate(&self, lists: &[&[u32]], cuts: &[Cut]) -> Vec<Vec<u32>> {
        let list = |slot: usize| lists.get(slot).copied().unwrap_or_default();
        let general: HashMap<u32, usize> = list(2).iter().enumerate().map(|(rank, &index)| (index, rank)).collect();
        let (dataset1, dataset2) = (by_index(list(0), &general), by_index(list(1), &general));
        let at = |cut: &Cut| {
            // Filtering keeps the order, so these are the tops in the order of their indices.
            let in_top = |entry: &&Entry| (entry.rank as u64) < cut.q;
            let (top1, top2) = (dataset1.iter().filter(in_top), dataset2.iter().filter(in_top));
            let free = |entry: &Entry| entry.general.is_none_or(|rank| rank as u64 >= cut.p);
            top1.zip(top2).filter(|(one, two)| free(one) && free(two)).map(|(one, _)| one.index).collect()
        };
        cuts.iter().map(at).collect()
    }
}

/// A weight of dataset1 or dataset2.
#[derive(Clone, Copy)]
struct Entry {
    index: u32,
    rank: usize,
    /// Its rank in the general set, if it has one.
    general: Option<usize>,
}

/// The entries of a list in ascending order of their indices.
fn by_index(list: &[u32], general: &HashMap<u32, usize>) -> Vec<Entry> {
    let entry = |(rank, &index): (usize, &u32)| Entry { index, rank, general: general.get(&index).copied() };
    let mut entries: Vec<Entry> = list.iter().enumerate().map(entry).collect();
    entries.sort_unstable_by_key(|entry| entry.index);
    entries
}

impl fmt::Display for ReleasedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [dataset1, dataset2, general] = &self.names;
        write!(f, "{NAME}({dataset1}, {dataset2}; {general})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Rule;
    use super::*;

    #[test]
    fn the_example_of_the_method() {
        let rule = Rule::parse(NAME).unwrap();
        let (a, b) = ([9, 1, 5, 7], [8, 2, 6, 0]);
        let cut = |p| [Cut { p, q: 3 }];
        assert_eq!(rule.evaluate(&[&a, &b, &[]], &cut(0)), [[1, 5, 9]]);
        // 6 is dataset2's second index, so dataset1's second index goes; 9 is protected itself.
        assert_eq!(rule.evaluate(&[&a, &b, &[6, 9]], &cut(1)), [[1, 9]]);
        assert_eq!(rule.evaluate(&[&a, &b, &[6, 9]], &cut(2)), [[1]]);
        assert_eq!(Rule::parse("privacy & fairness - general").unwrap().evaluate(&[&a, &b, &[]], &cut(0)), [[0; 0]]);
    }

    /// The released procedure, step by step: two sorted lists, two lists of marks, an AND by position.
    fn literally(a: &[u32], b: &[u32], general: &[u32]) -> Vec<u32> {
        let (mut a, mut b) = (a.to_vec(), b.to_vec());
        a.sort_unstable();
        b.sort_unstable();
        let marks = |list: &[u32]| list.iter().map(|index| !general.contains(index)).collect::<Vec<bool>>();
        let both: Vec<bool> = marks(&a).into_iter().zip(marks(&b)).map(|(one, two)| one && two).collect();
        a.into_iter().zip(both).filter(|(_, both)| *both).map(|(index, _)| index).collect()
    }

    proptest! {
        #[test]
        fn the_grid_is_the_procedure_point_by_point(
            lists in prop::collection::vec(Just((0_u32..40).collect::<Vec<_>>()).prop_shuffle(), 3),
            cuts in prop::collection::vec((0_usize..=30, 0_usize..=30), 1..6),
        ) {
            let lists: Vec<&[u32]> = lists.iter().map(|list| &list[..30]).collect();
            let expected: Vec<Vec<u32>> =
                cuts.iter().map(|&(p, q)| literally(&lists[0][..q], &lists[1][..q], &lists[2][..p])).collect();
            let cuts: Vec<Cut> = cuts.into_iter().map(|(p, q)| Cut { p: p as u64, q: q as u64 }).collect();
            prop_assert_eq!(Rule::parse(NAME).unwrap().evaluate(&lists, &cuts), expected);
        }
    }

    #[test]
    fn the_short_form_means_privacy_first() {
        let rule = Rule::parse(" released-code ").unwrap();
        assert_eq!(rule.to_string(), "released-code(privacy, fairness; general)");
        assert_eq!(rule, Rule::parse("released-code ( privacy,fairness ;general)").unwrap());
        assert_eq!(rule.names(), ["privacy", "fairness", "general"]);
        assert!(rule.uses_p());
        assert_ne!(rule, Rule::parse("released-code(fairness, privacy; general)").unwrap());
        assert_eq!(Rule::parse("released-code & x").unwrap().to_string(), "released - code & x");
    }

    #[test]
    fn errors_name_the_character() {
        let message = |text: &str| Rule::parse(text).unwrap_err().message().to_owned();
        insta::assert_snapshot!(message("released-code(a, b, c)"), @"the rule `released-code(a, b, c)` cannot be read at character 19: `,` stands where `;` before the general set is expected");
        insta::assert_snapshot!(message("released-code(a, b; a)"), @"the rule `released-code(a, b; a)` cannot be read at character 22: `a` comes twice before it, but released-code takes three data sets");
        insta::assert_snapshot!(message("released-code()"), @"the rule `released-code()` cannot be read at character 15: `)` stands where the name of dataset1 is expected");
    }
}
