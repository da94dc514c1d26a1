//! The sections about what must not suffer, as their users see them.

use super::{complaint, try_load, with};

#[test]
fn next_tokens_are_compared_over_a_question_set_that_is_there() {
    let with_questions = |name: &str| with(&format!("[questions.{name}]\npath = \"q.csv\"\n"));
    let set =
        |text: &str, sets: &[&str]| try_load(text, sets).unwrap().divergence.map(|divergence| divergence.questions);
    assert_eq!(set(&with_questions("harmless"), &[]).as_deref(), Some("harmless"));
    assert_eq!(set(&with_questions("other"), &[]), None, "the default may be absent");
    assert_eq!(set(&with_questions("other"), &["divergence.questions=other"]).as_deref(), Some("other"));
    insta::assert_snapshot!(complaint(&with_questions("harmless"), &["divergence.questions=harmles"]), @"
    --set divergence.questions: divergence.questions names the question set `harmles`, which is not there; did you mean `harmless`?
    question sets of this pipeline: harmless; add [questions.harmles] or change divergence.questions
    ");
}
