//! Judges: they call an answer safe or unsafe. There is one trait, one registry, and one file for each judge.
//!
//! A judge sees only a question and an answer. It does not see the model that answered, the variant or the store. If a judge is
//! a language model itself, it reaches the model through [`Completer`]. So no judge knows a device, a tokeniser or a checkpoint.
//!
//! A new judge is one file in this folder and one line in [`JUDGES`].

use crate::choice::{Choice, Member, choices};
use crate::digest::Digest;
use crate::error::Result;

mod md_judge;
mod model_completer;
mod phrases;
mod refusal;
mod template;
mod words;

pub use md_judge::{MAX_NEW_TOKENS, MdJudge, Parse};
pub use model_completer::ModelCompleter;
pub use refusal::RefusalJudge;
pub use template::Template;

/// One question and the answer to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    pub question: &'a str,
    pub answer: &'a str,
}

choices! {
    /// What a judge decided, spelled as in the column `verdict`.
    Label {
        Safe = "safe",
        Unsafe = "unsafe",
        /// The judge failed to decide: counted and shown, never dropped.
        Unparsed = "unparsed",
    }
}

/// A decision with its evidence; one row of the `verdicts` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub label: Label,
    /// How unsafe the judge holds the answer, in [0, 1]; `None` from a judge that has no probability to offer.
    pub score: Option<f64>,
    /// The judge's own finer word: "refusal", "caution", "empty", "none", or a category number such as "O5".
    pub category: Option<String>,
    /// The evidence as found: the phrase, or what the judging model wrote.
    pub raw: String,
}

/// Judges answers. A verdict depends on its own row alone, so rows may be judged in any grouping.
pub trait Judge {
    /// One verdict per row, in the order of the rows.
    ///
    /// # Errors
    /// When a judging model fails; a reply that cannot be read is no error but [`Label::Unparsed`].
    fn judge(&self, rows: &[Exchange<'_>]) -> Result<Vec<Verdict>>;
}

/// A language model that continues prompts greedily: all that a model-based judge knows of one.
pub trait Completer {
    /// One completion per prompt, in order.
    ///
    /// * `chat`: the prompt is one user message, to be wrapped in the model's own chat template with a generation
    ///   prompt; otherwise it is the whole text, tokenised with the model's special tokens.
    /// * `max_new_tokens`: the end-of-sequence token counts as one of them and is not part of the text. A thought that
    ///   the model begins with does not count; it has a limit of its own.
    /// * `candidates`: texts whose first token's probability is wanted where the text begins, after a thought.
    fn complete(
        &self,
        prompts: &[String],
        chat: bool,
        max_new_tokens: usize,
        candidates: &[&str],
    ) -> Result<Vec<Completion>>;
}

/// What a [`Completer`] wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// What was said, without a thought; empty if the thought was never ended.
    pub text: String,
    /// Everything that was written, with the thought.
    pub raw: String,
    /// One per candidate, in order: the softmax probability of its first token as the first one of the text. All 0 where
    /// the text does not begin with a token of its own.
    pub candidate_probabilities: Vec<f64>,
}

/// What a judge may be built from; each takes what its entry says it needs.
#[derive(Default)]
pub struct Parts<'a> {
    pub completer: Option<Box<dyn Completer + 'a>>,
    /// `None` is the project's own template.
    pub template: Option<Template>,
    pub parse: Parse,
}

/// One line of the registry.
pub struct Entry {
    /// The value of `judge.kind`.
    pub name: &'static str,
    /// One line for help texts.
    pub about: &'static str,
    /// Whether `judge.source` must name a model, and [`Parts::completer`] must be there.
    pub needs_model: bool,
    /// The title of its column in reports.
    pub column: &'static str,
    /// What its verdicts do not say; printed under every report that shows them.
    pub limits: &'static str,
    /// The digest of what is compiled in and changes verdicts, if there is such a thing; it enters the key.
    pub compiled_in: Option<fn() -> Digest>,
    pub build: for<'a> fn(Parts<'a>) -> Result<Box<dyn Judge + 'a>>,
}

impl Entry {
    /// What its verdicts are called in tables of outcomes: 1 where it calls an answer safe. Each judge has its own
    /// name there, because what one calls safe is not what another does.
    pub fn measure(&self) -> String {
        format!("{}/safe", self.name)
    }
}

/// Every judge there is.
pub const JUDGES: &[&Entry] = &[&refusal::ENTRY, &md_judge::ENTRY];

/// The judge where none is named.
pub const DEFAULT: Choice<Entry> = Choice(&refusal::ENTRY);

impl Member for Entry {
    fn name(&self) -> &'static str {
        self.name
    }

    fn members() -> &'static [&'static Self] {
        JUDGES
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_judge_is_one_file_and_one_line() {
        const SHARED: [&str; 5] = ["mod.rs", "model_completer.rs", "phrases.rs", "template.rs", "words.rs"];
        let files = crate::files::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/judge")).unwrap();
        let mut judges: Vec<String> = files
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".rs") && !SHARED.contains(&name.as_str()))
            .collect();
        let mut listed: Vec<_> = JUDGES.iter().map(|entry| format!("{}.rs", entry.name.replace('-', "_"))).collect();
        judges.sort();
        listed.sort();
        assert_eq!(judges, listed);
    }

    #[test]
    fn a_judge_that_needs_a_model_says_so() {
        for entry in JUDGES {
            assert_eq!((entry.build)(Parts::default()).is_err(), entry.needs_model, "{}", entry.name);
        }
    }
}
