//! The questions of a set in two parts: one for tuning, on which a point is chosen, and one for testing, on which it is reported.
//!
//! Questions that say the same are in one part, since an answer to one foretells the answer to the other. Which part it is
//! depends on what the questions say, and not on the order of their rows. Must not know: points, outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::questions::Question;
use crate::data::alike::{closest, groups, normal};
use crate::digest::Digest;

/// What the questions for tuning are. Spelled as a number, or as the path of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Tune<F> {
    /// This share of the set, above 0 and below 1.
    Share(f64),
    /// Those of the set that are in a file, too: as they are, or nearly.
    Listed(F),
}

impl<'de> Deserialize<'de> for Tune<PathBuf> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Typed)
    }
}

struct Typed;

impl Visitor<'_> for Typed {
    type Value = Tune<PathBuf>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share or the path of a file")
    }

    fn visit_f64<E: Error>(self, share: f64) -> Result<Self::Value, E> {
        let wrong = || E::invalid_value(Unexpected::Float(share), &"above 0 and below 1");
        Some(share).filter(|share| *share > 0.0 && *share < 1.0).map(Tune::Share).ok_or_else(wrong)
    }

    #[expect(clippy::cast_precision_loss, reason = "no whole number is a share")]
    fn visit_u64<E: Error>(self, share: u64) -> Result<Self::Value, E> {
        self.visit_f64(share as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "no whole number is a share")]
    fn visit_i64<E: Error>(self, share: i64) -> Result<Self::Value, E> {
        self.visit_f64(share as f64)
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<Self::Value, E> {
        if path.is_empty() {
            Err(E::invalid_value(Unexpected::Str(path), &self))
        } else {
            Ok(Tune::Listed(path.into()))
        }
    }
}

/// The rows of a set that are for tuning.
///
/// Of a share, groups of questions that say the same are taken in the order of the digests of their texts, as long as they fit.
/// So the part is as large as was asked for, but for a group that is too large. Each part has a group, if there are two.
pub fn tuning_rows(set: &[Question<'_>], how: &Tune<Vec<String>>) -> BTreeSet<u32> {
    let texts: Vec<&str> = set.iter().map(|question| question.text).collect();
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    groups(&texts).into_iter().zip(0..).for_each(|(group, at)| members.entry(group).or_default().push(at));
    let members: Vec<Vec<usize>> = members.into_values().collect();
    let chosen = match how {
        Tune::Share(share) => of_share(members, &texts, *share),
        Tune::Listed(listed) => {
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            let found = closest(&texts, &listed);
            let is_listed = |at: &usize| found.get(*at).is_some_and(Option::is_some);
            members.into_iter().filter(|group| group.iter().any(is_listed)).collect()
        }
    };
    chosen.into_iter().flatten().filter_map(|at| set.get(at)).map(|question| question.row).collect()
}

fn of_share(groups: Vec<Vec<usize>>, texts: &[&str], share: f64) -> Vec<Vec<usize>> {
    let name = |group: &Vec<usize>| {
        group.iter().filter_map(|at| texts.get(*at)).map(|text| Digest::of(normal(text).as_bytes())).min()
    };
    let mut order: Vec<_> = groups.into_iter().map(|group| (name(&group), group)).collect();
    order.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "counts of questions")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is a count")]
    let wanted = (share * texts.len() as f64).round() as usize;
    let (mut chosen, mut taken, total) = (Vec::new(), 0, order.len());
    for (number, (_, group)) in order.into_iter().enumerate() {
        // The last group is left for testing if nothing else is, and the one before it is taken if none fits.
        let fits = taken + group.len() <= wanted && (number + 1 < total || chosen.len() < number);
        if fits || (number + 2 == total && chosen.is_empty()) {
            taken += group.len();
            chosen.push(group);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set<'a>(texts: &[&'a str]) -> Vec<Question<'a>> {
        (0..).zip(texts).map(|(row, text)| Question { set: "fairness", row, text }).collect()
    }

    fn texts(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("{at}, or {} of {}", at * at + 7, Digest::of(&at.to_le_bytes()))).collect()
    }

    fn tuned(texts: &[&str], share: f64) -> BTreeSet<String> {
        let rows = tuning_rows(&set(texts), &Tune::Share(share));
        rows.into_iter().map(|row| texts[row as usize].to_owned()).collect()
    }

    #[test]
    fn a_part_is_as_large_as_was_asked_for() {
        for (questions, share, expected) in
            [(48, 0.3, 14), (10, 0.5, 5), (10, 0.001, 1), (10, 0.999, 9), (2, 0.5, 1), (1, 0.5, 0), (0, 0.5, 0)]
        {
            let texts = texts(questions);
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            assert_eq!(tuned(&texts, share).len(), expected, "{share} of {questions}");
        }
    }

    #[test]
    fn what_is_in_the_file_is_for_tuning_and_what_says_the_same() {
        let asked =
            set(&["Who is old?", "Where does she live?", "who is old", "What is her name?", "Why so, my dear?"]);
        let listed = ["WHERE does she live", "Who is old?", "Is that so?"].map(str::to_owned).to_vec();
        assert_eq!(tuning_rows(&asked, &Tune::Listed(listed)), [0, 1, 2].into());
        assert_eq!(tuning_rows(&asked, &Tune::Listed(Vec::new())), [].into());
    }

    #[test]
    fn a_share_is_a_number_and_a_file_is_a_text() {
        let read = |text: &str| serde_json::from_str::<Tune<PathBuf>>(text);
        assert_eq!(read("0.3").unwrap(), Tune::Share(0.3));
        assert_eq!(read("\"tune.csv\"").unwrap(), Tune::Listed("tune.csv".into()));
        for bad in ["0", "1", "1.5", "-0.1", "\"\"", "true", "[0.3]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn the_part_of_a_question_depends_on_texts_alone(
            doubled in prop::collection::vec(0_usize..40, 0..20), share in 0.05..0.95, seed in any::<u64>()
        ) {
            let mut all = texts(40);
            all.extend(doubled.iter().map(|at| all[*at].to_uppercase()).collect::<Vec<_>>());
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let turned: Vec<&str> = crate::data::permutation(seed, all.len()).iter().map(|at| all[*at]).collect();
            let chosen = tuned(&all, share);
            prop_assert_eq!(&chosen, &tuned(&turned, share));
            for at in doubled {
                prop_assert_eq!(chosen.contains(all[at]), chosen.contains(&all[at].to_uppercase()), "{}", all[at]);
            }
        }
    }
}
