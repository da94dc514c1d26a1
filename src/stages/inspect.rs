//! inspect: what can be read off a variant's answers without a judge, as outcomes.
//!
//! What is looked for is the registry of [`crate::inspect`]. Nothing here depends on the model or a judge, so an answer to a set
//! comes to the same outcomes wherever it was made. Must not know: any inspection, what a variant is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::variant::per_variant;
use super::{Context, Input, Node, Outputs, Planning, Stage, params_of};
use crate::error::Result;
use crate::inspect::caution::{Lists, phrases};
use crate::inspect::{Inspected, inspect};
use crate::tables::{Answer, OUTCOMES, Outcome, Row};

pub struct Inspect;

/// What changes the outcomes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// The cautionary phrases that are looked for, by the names of question sets. The phrases themselves enter the key, so that
    /// whoever edits the lists that come with dean needs no new version.
    caution: Lists,
}

impl Stage for Inspect {
    fn name(&self) -> &'static str {
        "inspect"
    }

    fn version(&self) -> u32 {
        1
    }

    fn measures(&self) -> bool {
        true
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        if planning.pipeline.questions.is_empty() {
            return Ok(Vec::new());
        }
        let caution =
            phrases(planning.pipeline.questions.keys().map(String::as_str), &planning.pipeline.inspect.caution);
        per_variant(planning, self.name(), &params_of(&Params { caution })?, |variant| {
            BTreeMap::from([("answers".into(), Input::output(&variant.node("generate"), "answers"))])
        })
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let Params { caution } = context.params()?;
        let answers = Answer::from_parquet(context.read("answers")?)?;
        let phrases = |answer: &Answer| caution.get(&answer.set).map(Vec::as_slice).unwrap_or_default();
        let outcomes: Vec<Outcome> = answers.iter().flat_map(|answer| outcomes(answer, phrases(answer))).collect();
        context.progress.at(answers.len() as u64, answers.len() as u64, "answers");
        Ok(vec![(OUTCOMES.into(), Outcome::file(&outcomes)?)])
    }
}

fn outcomes<'a>(answer: &'a Answer, phrases: &[String]) -> impl Iterator<Item = Outcome> + use<'a> {
    let inspected = Inspected { set: &answer.set, answer: &answer.answer, is_cut: answer.stop.is_cut(), phrases };
    let found = inspect(&inspected).into_iter();
    found.map(|(measure, value)| Outcome::new(&answer.set, answer.row, &measure, Some(value)))
}
