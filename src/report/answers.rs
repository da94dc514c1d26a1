//! What the answers themselves say: which of a variant's are not the base's, and which questions are one question.
//!
//! Must not know: stages, judges, what is measured on answers.

use std::collections::BTreeMap;

use super::measures::CHANGED;
use super::paired::Groups;
use crate::data::alike;
use crate::tables::{Answer, Outcome};

/// One outcome for each row that both have: 1 where the answer is not the base's, to the letter.
pub fn changed(base: &[Answer], variant: &[Answer]) -> Vec<Outcome> {
    let before: BTreeMap<(&str, u32), &str> =
        base.iter().map(|answer| (place(answer), answer.answer.as_str())).collect();
    let outcome = |answer: &Answer| {
        let is_new = *before.get(&place(answer))? != answer.answer;
        Some(Outcome::new(&answer.set, answer.row, CHANGED, Some(f64::from(u8::from(is_new)))))
    };
    variant.iter().filter_map(outcome).collect()
}

/// The questions of each set, in groups: equal questions have equal answers, nearly equal ones much the same, and they are one
/// witness.
pub fn groups(answers: &[Answer]) -> Groups {
    let mut sets: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
    answers.iter().for_each(|answer| sets.entry(&answer.set).or_default().push(answer));
    let mut groups = Groups::default();
    for (set, answers) in sets {
        let questions: Vec<&str> = answers.iter().map(|answer| answer.question.as_str()).collect();
        for (answer, group) in answers.iter().zip(alike::groups(&questions)) {
            groups.put(set, answer.row, group);
        }
    }
    groups
}

fn place(answer: &Answer) -> (&str, u32) {
    (&answer.set, answer.row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_changed_if_a_letter_is() {
        let base = [
            Answer::of_text("a", 0, "?", "Yes."),
            Answer::of_text("a", 2, "?", "No."),
            Answer::of_text("b", 0, "?", "Well."),
        ];
        let variant = [
            Answer::of_text("b", 0, "?", "Well."),
            Answer::of_text("a", 2, "?", "No!"),
            Answer::of_text("a", 1, "?", "New."),
        ];
        let found = changed(&base, &variant);
        let expected = [Outcome::new("b", 0, CHANGED, Some(0.0)), Outcome::new("a", 2, CHANGED, Some(1.0))];
        assert_eq!(found, expected, "row 1 has no answer before");
    }

    #[test]
    fn equal_and_nearly_equal_questions_of_a_set_are_one_group() {
        let answers = [
            Answer::of_text("a", 0, "Who?", ""),
            Answer::of_text("a", 1, "Why?", ""),
            Answer::of_text("a", 4, "who", ""),
        ];
        let found = groups(&[answers.to_vec(), vec![Answer::of_text("b", 0, "Who?", "")]].concat());
        assert_eq!(found.of("a", 0), found.of("a", 4));
        assert_ne!(found.of("a", 0), found.of("a", 1));
        assert_eq!((found.of("b", 0), found.of("b", 1), found.of("c", 0)), (Some(0), None, None));
    }
}
