//! inspect: what can be read off a variant's answers without a judge, as outcomes.
//!
//! What is looked for is the registry of [`crate::inspect`]. Nothing here depends on the questions, the model or a judge, so an
//! answer comes to the same outcomes wherever it was made. Must not know: any inspection, what a variant is made of.

use std::collections::BTreeMap;

use serde_json::json;

use super::variant::per_variant;
use super::{Context, Input, Node, Outputs, Planning, Stage};
use crate::error::Result;
use crate::inspect::{Inspected, inspect};
use crate::tables::{Answer, OUTCOMES, Outcome, Row};

pub struct Inspect;

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
        per_variant(planning, self.name(), &json!({}), |variant| {
            BTreeMap::from([("answers".into(), Input::output(&variant.node("generate"), "answers"))])
        })
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let answers = Answer::from_parquet(context.read("answers")?)?;
        let outcomes: Vec<Outcome> = answers.iter().flat_map(outcomes).collect();
        context.progress.at(answers.len() as u64, answers.len() as u64, "answers");
        Ok(vec![(OUTCOMES.into(), Outcome::file(&outcomes)?)])
    }
}

fn outcomes(answer: &Answer) -> impl Iterator<Item = Outcome> {
    let inspected = Inspected { set: &answer.set, answer: &answer.answer, is_cut: answer.stop.is_cut() };
    let found = inspect(&inspected).into_iter();
    found.map(|(measure, value)| Outcome::new(&answer.set, answer.row, &measure, Some(value)))
}
