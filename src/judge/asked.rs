//! The judge that asks a language model, whatever its form: it fills prompts in and reads replies.
//!
//! Must not know: any form, how the model is loaded, batched or reached; that is behind [`Completer`].

use super::form::{Form, Prompt, Wording};
use super::{Completer, Completion, Exchange, Judge, Listener, Parts, Template, Verdict};
use crate::error::{Error, Result};

/// A language model as judge.
pub struct AskedJudge<'a> {
    completer: Box<dyn Completer + 'a>,
    template: Option<Template>,
    form: Form,
}

impl<'a> AskedJudge<'a> {
    /// A judge of this form.
    ///
    /// # Errors
    /// User: no model, or no template where the form needs one.
    pub fn new(name: &str, form: Form, parts: Parts<'a>) -> Result<Self> {
        let completer = parts.completer.ok_or_else(|| {
            Error::user(format!("the judge {name} needs a model")).hint("set judge.source to the model that judges")
        })?;
        let template = match (form.wording, parts.template) {
            (Wording::Model, _) => None,
            (_, Some(template)) => Some(template),
            (Wording::Own, None) => Some(Template::own()?),
            (Wording::File, None) => {
                return Err(Error::user(format!("the judge {name} needs the text that it was trained on"))
                    .hint("set judge.template to a file with it; docs/judges.md says where its publisher has it"));
            }
        };
        Ok(Self { completer, template, form })
    }

    fn verdict(&self, completion: Completion) -> Verdict {
        let reading = (self.form.read)(&completion.text);
        Verdict {
            label: reading.label,
            score: self.form.score(&completion.candidate_probabilities),
            severity: reading.severity,
            category: reading.category,
            refusal: reading.refusal,
            raw: completion.raw,
        }
    }
}

impl Judge for AskedJudge<'_> {
    fn each(&self, rows: &[Exchange<'_>], listener: &mut dyn Listener<Verdict>) -> Result<()> {
        let prompts: Vec<Prompt> = rows.iter().map(|row| self.form.prompt(self.template.as_ref(), row)).collect();
        let mut reader = Reader { judge: self, listener };
        self.completer.complete(&prompts, &self.form, &mut reader)
    }
}

/// Makes verdicts of completions.
struct Reader<'a> {
    judge: &'a AskedJudge<'a>,
    listener: &'a mut dyn Listener<Verdict>,
}

impl Listener<Completion> for Reader<'_> {
    fn hear(&mut self, row: usize, said: Completion) -> Result<()> {
        self.listener.hear(row, self.judge.verdict(said))
    }

    fn go_on(&mut self) -> Result<()> {
        self.listener.go_on()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::judge::{JUDGES, Label};

    /// Replies in order, and remembers what it was asked.
    struct Script<'a> {
        replies: Vec<(&'a str, Vec<f64>)>,
        asked: &'a RefCell<Vec<Prompt>>,
    }

    impl Completer for Script<'_> {
        fn complete(&self, prompts: &[Prompt], _: &Form, listener: &mut dyn Listener<Completion>) -> Result<()> {
            self.asked.borrow_mut().extend_from_slice(prompts);
            // In another order than that of the rows.
            for (row, (text, probabilities)) in self.replies.iter().enumerate().rev() {
                let (text, raw) = ((*text).to_owned(), format!("<think>{text}</think>{text}"));
                listener.hear(row, Completion { text, raw, candidate_probabilities: probabilities.clone() })?;
            }
            Ok(())
        }
    }

    fn asked_by(name: &str, template: Option<&str>, replies: &[(&str, Vec<f64>)]) -> (Vec<Verdict>, Vec<Prompt>) {
        let asked = RefCell::default();
        let entry = JUDGES.iter().find(|entry| entry.name == name).unwrap();
        let completer = Box::new(Script { replies: replies.to_vec(), asked: &asked });
        let template = template.map(|text| Template::of(text, entry.form.unwrap().space).unwrap());
        let judge = (entry.build)(Parts { completer: Some(completer), template, ..Parts::default() }).unwrap();
        let rows = [Exchange { question: "a %s b", answer: "c" }, Exchange { question: "d", answer: "" }];
        let verdicts = judge.judge(&rows[..replies.len()]).unwrap();
        drop(judge);
        (verdicts, asked.into_inner())
    }

    #[test]
    fn a_template_is_filled_and_the_reply_read() {
        let replies = [("unsafe\nO5", vec![0.1, 0.1, 0.5, 0.1]), ("Perhaps.", vec![0.0; 4])];
        let (verdicts, prompts) = asked_by("md-judge", Some("User: %s\nAgent: %s"), &replies);
        let raw = |text: &str| Prompt::Raw(text.into());
        assert_eq!(prompts, [raw("User: a %s b\nAgent: c"), raw("User: d\nAgent: ")]);
        assert_eq!((verdicts[0].label, verdicts[0].category.as_deref()), (Label::Unsafe, Some("O5")));
        assert!((verdicts[0].score.unwrap() - 0.75).abs() < 1e-12);
        assert_eq!(verdicts[0].raw, "<think>unsafe\nO5</think>unsafe\nO5", "the evidence is all that was written");
        assert_eq!((verdicts[1].label, verdicts[1].score), (Label::Unparsed, None));
        let (_, own) = asked_by("md-judge", None, &replies[..1]);
        assert!(matches!(&own[..], [Prompt::Message(text)] if text.contains("a %s b")), "{own:?}");
    }

    #[test]
    fn a_model_with_words_of_its_own_is_shown_the_pair() {
        let pair = [Prompt::Pair { question: "a %s b".into(), answer: "c".into() }];
        let (verdicts, prompts) = asked_by("llama-guard", None, &[("\n\nunsafe\nS7,S10", vec![0.2, 0.6])]);
        assert_eq!((verdicts[0].label, verdicts[0].category.as_deref()), (Label::Unsafe, Some("S7,S10")));
        assert!((verdicts[0].score.unwrap() - 0.75).abs() < 1e-12);
        assert_eq!(prompts, pair);
        let said = "Safety: Controversial\nCategories: PII\nRefusal: No";
        let (verdicts, prompts) = asked_by("qwen3guard", None, &[(said, vec![0.2, 0.6, 0.2])]);
        assert_eq!((verdicts[0].severity, verdicts[0].refusal), (Some(0.5), Some(false)));
        assert_eq!(prompts, pair);
    }

    #[test]
    fn a_judge_without_the_words_that_it_was_trained_on_says_so() {
        let asked = RefCell::default();
        let entry = JUDGES.iter().find(|entry| entry.name == "wildguard").unwrap();
        let completer = Box::new(Script { replies: vec![], asked: &asked });
        let error = (entry.build)(Parts { completer: Some(completer), ..Parts::default() }).err().unwrap();
        assert_eq!(error.message(), "the judge wildguard needs the text that it was trained on");
    }

    #[test]
    fn a_model_that_answers_too_little_is_a_fault_of_ours() {
        let asked = RefCell::default();
        let completer = Box::new(Script { replies: vec![], asked: &asked });
        let parts = Parts { completer: Some(completer), ..Parts::default() };
        let judge = (JUDGES[1].build)(parts).unwrap();
        let error = judge.judge(&[Exchange { question: "", answer: "" }]).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Fault);
    }
}
