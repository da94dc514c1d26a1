//! Judges: they call an answer safe or unsafe. There is one trait, one registry, and one file for each judge.
//!
//! A judge sees only a question and an answer. It does not see the model that answered, the variant or the store. If a judge is
//! a language model itself, it reaches the model through [`Completer`]. So no judge knows a device, a tokeniser or a checkpoint.
//!
//! A new judge is one file in this folder and one line in [`JUDGES`].

use crate::choice::{Choice, Member, choices};
use crate::digest::Digest;
use crate::error::{Error, Result};

mod asked;
pub mod controls;
mod endpoint;
mod form;
mod http;
mod llama_guard;
mod md_judge;
mod md_judge_v0_2;
mod model_completer;
mod phrases;
mod qwen3guard;
mod refusal;
mod template;
mod wildguard;
mod words;

pub use asked::AskedJudge;
pub use endpoint::{Access, Endpoint, checked as checked_endpoint};
pub use form::{Candidate, Form, Prompt, Space, Wording};
pub use md_judge::Parse;
pub use model_completer::{ModelCompleter, candidates, prompt_of};
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
    /// How unsafe the judge holds the answer, in [0, 1], by the likelihood of its verdict's words; `None` from a judge that
    /// has no probability to offer.
    pub score: Option<f64>,
    /// How unsafe the answer is by the judge's own scale, in [0, 1]: 0.5 is what Qwen3Guard calls controversial.
    pub severity: Option<f64>,
    /// The judge's own finer word: "refusal", "partial", "caution", "empty", "none", or a category such as "O5".
    pub category: Option<String>,
    /// Whether the answer refuses what was asked, where the judge says so.
    pub refusal: Option<bool>,
    /// The evidence as found: the phrase, or what the judging model wrote.
    pub raw: String,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub label: Label,
    pub severity: Option<f64>,
    pub category: Option<String>,
    pub refusal: Option<bool>,
}

impl Reading {
    /// A reply that says nothing which could be counted.
    pub const UNPARSED: Self = Self { label: Label::Unparsed, severity: None, category: None, refusal: None };

    /// A label and what kind of harm it is.
    pub fn new(label: Label, category: Option<String>) -> Self {
        let severity = match label {
            Label::Safe => Some(0.0),
            Label::Unsafe => Some(1.0),
            Label::Unparsed => None,
        };
        Self { label, severity, category, refusal: None }
    }
}

/// Hears what comes for each row, in any order, as soon as it is there.
pub trait Listener<T> {
    /// # Errors
    /// Whatever ends the work.
    fn hear(&mut self, row: usize, said: T) -> Result<()>;

    /// Is asked often while nothing has come yet.
    ///
    /// # Errors
    /// The work is to be stopped.
    fn go_on(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Judges answers. A verdict depends on its own row alone, so rows may be judged in any grouping.
pub trait Judge {
    /// Says one verdict for each row.
    ///
    /// # Errors
    /// When a judging model fails, or what the listener says; a reply that cannot be read is no error but
    /// [`Label::Unparsed`].
    fn each(&self, rows: &[Exchange<'_>], listener: &mut dyn Listener<Verdict>) -> Result<()>;

    /// One verdict per row, in the order of the rows.
    ///
    /// # Errors
    /// Those of [`Judge::each`].
    fn judge(&self, rows: &[Exchange<'_>]) -> Result<Vec<Verdict>> {
        let mut all = All(vec![None; rows.len()]);
        self.each(rows, &mut all)?;
        let verdicts: Option<Vec<Verdict>> = all.0.into_iter().collect();
        verdicts.ok_or_else(|| Error::fault("a judge did not say as many verdicts as there are answers"))
    }
}

/// Everything that was said, by row.
struct All<T>(Vec<Option<T>>);

impl<T> Listener<T> for All<T> {
    fn hear(&mut self, row: usize, said: T) -> Result<()> {
        match self.0.get_mut(row) {
            Some(place) => *place = Some(said),
            None => return Err(Error::fault(format!("something was said of row {row}, which is not there"))),
        }
        Ok(())
    }
}

/// A language model that continues prompts greedily: all that a judge knows of one.
pub trait Completer {
    /// One completion for each prompt. What `form` says of lengths and candidates holds for all of them.
    ///
    /// # Errors
    /// A model that cannot be asked, or what the listener says.
    fn complete(&self, prompts: &[Prompt], form: &Form, listener: &mut dyn Listener<Completion>) -> Result<()>;
}

/// What a [`Completer`] wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// What was said, without a thought; empty if the thought was never ended.
    pub text: String,
    /// Everything that was written, with the thought.
    pub raw: String,
    /// One per candidate of the form, in order: the probability of its first token where the verdict's word stands. All 0,
    /// or none, where that place was not found.
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
    /// How a language model is asked, if one is: `judge.source` or `judge.url` must name it, and [`Parts::completer`] must
    /// be there.
    pub form: Option<&'static Form>,
    /// Whether `judge.parse` says how its replies are read.
    pub parses: bool,
    /// Why it works through an endpoint (`judge.url`) alone, if it does.
    pub only_endpoint: Option<&'static str>,
    /// The title of its column in reports.
    pub column: &'static str,
    /// What its verdicts do not say; printed under every report that shows them.
    pub limits: &'static str,
    /// The digest of what is compiled in and changes verdicts, if there is such a thing; it enters the key.
    pub compiled_in: Option<fn() -> Digest>,
    pub build: for<'a> fn(Parts<'a>) -> Result<Box<dyn Judge + 'a>>,
}

impl Entry {
    /// Whether it asks a language model.
    pub fn asks(&self) -> bool {
        self.form.is_some()
    }

    /// Whether the user must bring a template, since only its publisher's words make this model judge.
    pub fn needs_template(&self) -> bool {
        self.form.is_some_and(|form| form.wording == Wording::File)
    }

    /// What its verdicts are called in tables of outcomes: 1 where it calls an answer safe. Each judge has its own
    /// name there, because what one calls safe is not what another does.
    pub fn measure(&self) -> String {
        measure_of(self.name)
    }
}

/// What the verdicts of the judge with this name are called in tables of outcomes.
pub fn measure_of(name: &str) -> String {
    format!("{name}/safe")
}

/// What its probabilities of "unsafe" are called there.
pub fn p_unsafe_of(name: &str) -> String {
    format!("{name}/p_unsafe")
}

/// Every judge there is.
pub const JUDGES: &[&Entry] = &[
    &refusal::ENTRY,
    &md_judge::ENTRY,
    &md_judge_v0_2::ENTRY,
    &llama_guard::ENTRY,
    &wildguard::ENTRY,
    &qwen3guard::ENTRY,
    &http::ENTRY,
];

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
        const SHARED: [&str; 9] = [
            "asked.rs",
            "controls.rs",
            "endpoint.rs",
            "form.rs",
            "mod.rs",
            "model_completer.rs",
            "phrases.rs",
            "template.rs",
            "words.rs",
        ];
        let files = crate::files::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/judge")).unwrap();
        let mut judges: Vec<String> = files
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".rs") && !SHARED.contains(&name.as_str()))
            .collect();
        let file = |entry: &&Entry| format!("{}.rs", entry.name.replace(['-', '.'], "_"));
        let mut listed: Vec<_> = JUDGES.iter().map(file).collect();
        judges.sort();
        listed.sort();
        assert_eq!(judges, listed);
    }

    #[test]
    fn a_judge_that_asks_a_model_says_so() {
        for entry in JUDGES {
            assert_eq!((entry.build)(Parts::default()).is_err(), entry.asks(), "{}", entry.name);
        }
    }

    #[test]
    fn a_judge_that_forgets_a_row_is_a_fault_of_ours() {
        struct Forgetful;
        impl Judge for Forgetful {
            fn each(&self, _: &[Exchange<'_>], _: &mut dyn Listener<Verdict>) -> Result<()> {
                Ok(())
            }
        }
        let error = Forgetful.judge(&[Exchange { question: "", answer: "" }]).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Fault);
    }
}
