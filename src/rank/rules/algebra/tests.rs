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
    assert_eq!(canonical("stable ( a,3 of 5 )@q&stable-stable(c, 1 of 1)"), "stable(a, 3 of 5) & stable - c");
    assert_eq!(canonical("a - stable(b, 2 of 2) & stable(b, 1 of 3)@q"), "a - stable(b, 2 of 2) & stable(b, 1 of 3)@q");
}

#[test]
fn whatever_stands_right_of_a_minus_takes_p() {
    assert_eq!(settings("a & b - c"), "a@q b@q c@p ");
    assert_eq!(settings("a - b | c"), "a@q b@p c@q ");
    assert_eq!(settings("a - (b - c & d@q)"), "a@q b@p c@p d@q ");
    assert_eq!(settings("a@p | a - a"), "a@p a@q ");
    assert_eq!(settings("stable(a, 2 of 3) - a"), "a@q a~1@q a~2@q a@p ");
    assert_eq!(Rule::parse("b & stable(a, 1 of 4) - stable(b, 2 of 2)").unwrap().draws(), 4);
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
    insta::assert_snapshot!(message("stable(a)"), @"the rule `stable(a)` cannot be read at character 9: `)` stands where `,` and how many draws agree, such as `3 of 5`, is expected");
    insta::assert_snapshot!(message("stable(a, b)"), @"the rule `stable(a, b)` cannot be read at character 11: `b` stands where how many draws must agree, such as `3 of 5`, is expected");
    insta::assert_snapshot!(message("stable(a, 3 off 5)"), @"the rule `stable(a, 3 off 5)` cannot be read at character 17: the number of all draws comes after `of`: `3 of 5`");
    insta::assert_snapshot!(message("stable(a, 6 of 5)"), @"the rule `stable(a, 6 of 5)` cannot be read at character 17: `6 of 5` comes before it: at least 1 and at most all of up to 100 draws can agree");
    assert!(Rule::parse("stable(a, 0 of 5)").is_err() && Rule::parse("stable(a, 1 of 101)").is_err());
    assert!(Rule::parse("stable(a, 99999999999999999999 of 5)").is_err());
    assert!(message(&format!("{}a{}", "(".repeat(65), ")".repeat(65))).contains("nested"));
    assert!(Rule::parse(&format!("{}a{}", "(".repeat(64), ")".repeat(64))).is_ok());
}

/// The draws of each data set that there are lists of.
const DRAWS: usize = 4;

/// Any expression over a, b and c, in its own words.
#[derive(Clone, Debug)]
enum Naive {
    Top(usize, Option<Setting>),
    /// In the tops of at least so many of so many draws.
    Stable(usize, usize, usize, Option<Setting>),
    Joined(char, Box<Naive>, Box<Naive>),
}

impl Naive {
    fn text(&self) -> String {
        match self {
            Self::Top(set, setting) => {
                format!("{}{}", ["a", "b", "c"][*set], setting.map_or(String::new(), |setting| format!("@{setting}")))
            }
            Self::Stable(set, least, draws, setting) => {
                let at = setting.map_or(String::new(), |setting| format!("@{setting}"));
                format!("stable({}, {least} of {draws}){at}", ["a", "b", "c"][*set])
            }
            Self::Joined(operator, left, right) => format!("({} {operator} {})", left.text(), right.text()),
        }
    }

    fn set(&self, lists: &[[Vec<u32>; DRAWS]], cut: &Cut, subtracted: bool) -> BTreeSet<u32> {
        let size = |setting: &Option<Setting>| match (setting, subtracted) {
            (Some(Setting::P), _) | (None, true) => cut.p as usize,
            _ => cut.q as usize,
        };
        match self {
            Self::Top(set, setting) => lists[*set][0][..size(setting)].iter().copied().collect(),
            Self::Stable(set, least, draws, setting) => {
                let tops: Vec<&[u32]> = lists[*set][..*draws].iter().map(|list| &list[..size(setting)]).collect();
                let agree = |index: &u32| tops.iter().filter(|top| top.contains(index)).count() >= *least;
                (0..40).filter(agree).collect()
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
    let top = (0_usize..3, setting.clone()).prop_map(|(set, setting)| Naive::Top(set, setting));
    let stable = (0_usize..3, 1..=DRAWS, 1..=DRAWS, setting)
        .prop_map(|(set, one, other, setting)| Naive::Stable(set, one.min(other), one.max(other), setting));
    let leaf = prop_oneof![top, stable];
    leaf.prop_recursive(4, 24, 2, |inner| {
        (prop_oneof![Just('&'), Just('|'), Just('-')], inner.clone(), inner)
            .prop_map(|(operator, left, right)| Naive::Joined(operator, left.into(), right.into()))
    })
}

proptest! {
    #[test]
    fn the_grid_is_what_sets_would_give_point_by_point(
        naive in naive(),
        lists in prop::collection::vec(Just((0_u32..40).collect::<Vec<_>>()).prop_shuffle(), 3 * DRAWS),
        cuts in prop::collection::vec((0_u64..=30, 0_u64..=30), 1..6),
    ) {
        // Lists hold 30 of 40 weights: the rest is below the cap.
        let lists: Vec<[Vec<u32>; DRAWS]> =
            lists.chunks(DRAWS).map(|draws| std::array::from_fn(|draw| draws[draw][..30].to_vec())).collect();
        let cuts: Vec<Cut> = cuts.into_iter().map(|(p, q)| Cut { p, q }).collect();
        let algebra = parse(&naive.text()).unwrap();
        let list = |name: &String| {
            let (set, draw) = draw_of(name);
            lists[(set.as_bytes()[0] - b'a') as usize][draw as usize].as_slice()
        };
        let by_name: Vec<&[u32]> = algebra.names().iter().map(list).collect();
        let expected: Vec<Vec<u32>> = cuts.iter().map(|cut| naive.set(&lists, cut, false).into_iter().collect()).collect();
        prop_assert_eq!(algebra.evaluate(&by_name, &cuts), expected);

        let spelled = algebra.to_string();
        let again = parse(&spelled).unwrap();
        prop_assert_eq!(format!("{:?}", &again), format!("{:?}", &algebra));
        prop_assert_eq!(again.to_string(), spelled);
    }
}
