//! Questions as a report sees them, and rows of question sets: which of them count where.
//!
//! Must not know: why a row is left out, what was measured.

use std::collections::{BTreeMap, BTreeSet};

use super::measures::{Summary, TOKENS, find};
use crate::tables::{Answer, Outcome};

/// A question that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The question set's name.
    pub set: &'a str,
    /// The row of the question file, from 0.
    pub row: u32,
    pub text: &'a str,
}

/// The questions that a variant answered.
pub fn asked(answers: &[Answer]) -> Vec<Question<'_>> {
    answers.iter().map(|Answer { set, row, question, .. }| Question { set, row: *row, text: question }).collect()
}

/// The questions by their sets, in the order of the sets' names.
pub fn by_set<'a>(questions: &[Question<'a>]) -> BTreeMap<&'a str, Vec<Question<'a>>> {
    let mut sets: BTreeMap<&str, Vec<Question<'_>>> = BTreeMap::new();
    questions.iter().for_each(|question| sets.entry(question.set).or_default().push(*question));
    sets
}

/// Some rows of question sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(BTreeMap<String, BTreeSet<u32>>);

impl Rows {
    pub fn add(&mut self, set: &str, row: u32) {
        match self.0.get_mut(set) {
            Some(rows) => _ = rows.insert(row),
            None => _ = self.0.insert(set.to_owned(), [row].into()),
        }
    }

    pub fn contains(&self, set: &str, row: u32) -> bool {
        self.0.get(set).is_some_and(|rows| rows.contains(&row))
    }

    /// How many rows of a set there are.
    pub fn count(&self, set: &str) -> usize {
        self.0.get(set).map_or(0, BTreeSet::len)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parts outcomes: those of these rows, and all others. A text for perplexity has rows too, its windows, and may have the
    /// name of a question set; it is among the others.
    pub fn part(&self, outcomes: Vec<Outcome>) -> (Vec<Outcome>, Vec<Outcome>) {
        if self.is_empty() {
            return (Vec::new(), outcomes);
        }
        let here = |Outcome { set, row, measure, .. }: &Outcome| self.contains(set, *row) && !is_of_windows(measure);
        outcomes.into_iter().partition(here)
    }
}

impl<'a> FromIterator<(&'a str, u32)> for Rows {
    fn from_iter<I: IntoIterator<Item = (&'a str, u32)>>(rows: I) -> Self {
        let mut all = Self::default();
        rows.into_iter().for_each(|(set, row)| all.add(set, row));
        all
    }
}

fn is_of_windows(measure: &str) -> bool {
    measure == TOKENS || matches!(find(measure).summary, Summary::ExpMean { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::measures::{EMPTY, NLL};

    #[test]
    fn outcomes_of_some_rows_are_parted_from_the_others_and_from_windows() {
        let rows: Rows = [("text", 1), ("text", 1), ("text", 5), ("other", 0)].into_iter().collect();
        assert_eq!((rows.count("text"), rows.count("other"), rows.count("third")), (2, 1, 0));
        let all = [("text", 0, EMPTY), ("text", 1, EMPTY), ("text", 1, NLL), ("text", 1, TOKENS), ("third", 1, EMPTY)];
        let all = all.map(|(set, row, measure)| Outcome::new(set, row, measure, Some(0.0)));
        let (here, others) = rows.part(all.to_vec());
        assert_eq!((here, others.len()), (vec![all[1].clone()], 4));
        assert_eq!(Rows::default().part(all.to_vec()), (Vec::new(), all.to_vec()));
    }
}
