//! Rules as they are written, and what they choose.

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
                format!("{}{}", ["a", "b", "c"][*slot], setting.map_or(String::new(), |setting| format!("@{setting}")))
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
