//! The text that a judging model reads: a template with a place for the question and one for the answer.
//!
//! One convention, two spellings, and the spelling says how the text is sent:
//!
//! | places | sent as | for |
//! | --- | --- | --- |
//! | `{question}` and `{answer}`, each at least once | one user message, in the model's own chat template | any chat model |
//! | `%s` exactly twice: question, then answer | the whole prompt, as it stands | a model trained on one fixed text, such as MD-Judge |
//!
//! White space around the template is dropped, unless the judge was trained with it; everything else is literal (`%d`, `%%` and `{other}` are text). The
//! places are found once, when the template is read, so a question that contains `%s` or `{answer}` stays a question.
//!
//! Must not know: what the model replies, how it is tokenised.

use super::{Exchange, Space};
use crate::digest::Digest;
use crate::error::{Error, Result};

const OWN: &str = include_str!("judge_template.txt");

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Question,
    Answer,
}

/// A judge's template, read and checked: `{question}` and `{answer}` make a message for a chat model, two `%s`
/// (question, then answer) a whole prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    chat: bool,
    digest: Digest,
}

impl Template {
    /// The project's own template, for any chat model.
    ///
    /// # Errors
    /// Never in a correct build.
    pub fn own() -> Result<Self> {
        Self::parse(OWN)
    }

    /// Reads a template from text, without the white space around it.
    ///
    /// # Errors
    /// A text that has neither or both of the two spellings.
    pub fn parse(text: &str) -> Result<Self> {
        Self::of(text, Space::Trimmed)
    }

    /// Reads a template from text.
    ///
    /// # Errors
    /// Those of [`Template::parse`].
    pub fn of(text: &str, space: Space) -> Result<Self> {
        let text = match space {
            Space::Trimmed => text.trim(),
            Space::Kept => text,
        };
        let (questions, answers) = (text.matches("{question}").count(), text.matches("{answer}").count());
        let slots = text.matches("%s").count();
        let pieces = match (questions, answers, slots) {
            (0, 0, 2) => positional(text),
            (1.., 1.., 0) => named(text),
            _ => {
                return Err(Error::user(format!(
                    "the judge template has {questions} x {{question}}, {answers} x {{answer}} and {slots} x %s"
                ))
                .hint(
                    "write {question} and {answer} for a chat model, or %s twice (question, answer) for a raw prompt",
                ));
            }
        };
        Ok(Self { pieces, chat: slots == 0, digest: Digest::of(text.as_bytes()) })
    }

    /// Whether the filled text is a user message for the model's chat template, rather than the whole prompt.
    pub fn chat(&self) -> bool {
        self.chat
    }

    /// The digest of the trimmed text: what a cache key needs to know of it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The template with both places filled.
    pub fn fill(&self, row: &Exchange<'_>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Question => row.question.to_owned(),
            Piece::Answer => row.answer.to_owned(),
        };
        self.pieces.iter().map(piece).collect()
    }
}

fn positional(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, part) in text.split("%s").enumerate() {
        match number {
            0 => {}
            1 => pieces.push(Piece::Question),
            _ => pieces.push(Piece::Answer),
        }
        pieces.push(Piece::Text(part.to_owned()));
    }
    pieces
}

fn named(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, part) in text.split("{question}").enumerate() {
        if number > 0 {
            pieces.push(Piece::Question);
        }
        for (number, part) in part.split("{answer}").enumerate() {
            if number > 0 {
                pieces.push(Piece::Answer);
            }
            pieces.push(Piece::Text(part.to_owned()));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str, question: &str, answer: &str) -> String {
        Template::parse(template).unwrap().fill(&Exchange { question, answer })
    }

    #[test]
    fn both_spellings_fill_and_say_how_they_are_sent() {
        assert_eq!(filled("\nQ: {question}\nA: {answer} 100%\n", "why", "so"), "Q: why\nA: so 100%");
        assert_eq!(filled("[INST] User: %s\nAgent: %s [/INST]\n", "why", "so"), "[INST] User: why\nAgent: so [/INST]");
        assert_eq!(filled("{answer} to {question} ({answer})", "why", "so"), "so to why (so)");
        assert!(Template::parse("{question}{answer}").unwrap().chat());
        assert!(!Template::parse("%s %s").unwrap().chat());
    }

    #[test]
    fn white_space_around_a_template_may_belong_to_it() {
        let filled = |space| Template::of(" %s\n%s:\n", space).unwrap().fill(&Exchange { question: "q", answer: "a" });
        assert_eq!((filled(Space::Trimmed), filled(Space::Kept)), ("q\na:".to_owned(), " q\na:\n".to_owned()));
    }

    #[test]
    fn missing_or_mixed_places_are_an_error_with_the_way_out() {
        for bad in ["", "%s", "%s %s %s", "{question}", "{answer}", "{question} {answer} %s", "{question} %s %s"] {
            let error = Template::parse(bad).unwrap_err();
            assert!(error.hint_text().unwrap().contains("{question} and {answer}"), "{bad}");
        }
        let error = Template::parse("{question} %s").unwrap_err();
        insta::assert_snapshot!(error.message(), @"the judge template has 1 x {question}, 0 x {answer} and 1 x %s");
    }

    #[test]
    fn the_own_template_is_for_chat_and_asks_for_one_of_two_words() {
        let own = Template::own().unwrap();
        assert!(own.chat());
        let text = own.fill(&Exchange { question: "QUESTION", answer: "ANSWER" });
        assert!(text.find("QUESTION") < text.find("ANSWER"));
        assert!(text.contains("first line") && text.contains("safe") && text.contains("unsafe"));
        // What the controls ask about: a judge that is not told may call senseless answers safe.
        let (harmful, harmless) = text.split_once("An answer is safe if").unwrap();
        assert!(["is empty", "repeats the question", "words without sense"].iter().all(|kind| harmful.contains(kind)));
        assert!(harmless.starts_with(" it makes sense and"));
    }

    proptest! {
        #[test]
        fn places_inside_the_question_or_the_answer_are_left_alone(
            question in r"(%s|\{answer\}|\{question\}|[a-z ]){0,6}",
            answer in r"(%s|\{answer\}|\{question\}|[a-z ]){0,6}",
        ) {
            let expected = format!("<{question}|{answer}>");
            prop_assert_eq!(filled("<%s|%s>", &question, &answer), expected.clone());
            prop_assert_eq!(filled("<{question}|{answer}>", &question, &answer), expected);
        }
    }
}
