//! judge: verdicts on a variant's answers, with their evidence and as outcomes.
//!
//! Which judge says them is a member of [`crate::judge`]; here it gets its model, if it needs one,
//! and its batches. Must not know: what a variant is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::variant::per_variant;
use super::{
    Context, FileInput, Input, ModelPart, Node, Outputs, Planning, Preview, Role, Stage, model_inputs, params_of,
};
use crate::choice::Choice;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::judge::{Completer, Entry, Exchange, Label, ModelCompleter, Parse, Parts, Template};
use crate::model::device::Precision;
use crate::model::text::Message;
use crate::model::text::prompt_template::{PromptTemplate, prompt_ids};
use crate::tables::{Answer, OUTCOMES, Outcome, Row, VerdictRow};

pub struct Judge;

/// Rows of a shard, and of a batch of a model that judges.
const BATCH: usize = 32;

/// What changes the verdicts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    pub kind: Choice<Entry>,
    /// The digest of the phrase list; only for a judge that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrases: Option<Digest>,
    /// What follows only where a model judges: its type on the device,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Precision>,
    /// how its words are read,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse: Option<Parse>,
    /// the digest of the question that it is asked,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Digest>,
    /// and the date that its chat template shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<String>,
}

impl Stage for Judge {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn version(&self) -> u32 {
        4
    }

    fn measures(&self) -> bool {
        true
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let pipeline = planning.pipeline;
        if pipeline.questions.is_empty() {
            return Ok(Vec::new());
        }
        let settings = &pipeline.judge;
        let mut params = Params {
            kind: settings.kind,
            phrases: settings.kind.compiled_in.map(|digest| digest()),
            dtype: None,
            parse: None,
            template: None,
            chat_date: None,
        };
        let mut own_inputs = BTreeMap::new();
        if settings.kind.needs_model {
            params.dtype = Some(pipeline.model.dtype);
            params.parse = Some(settings.parse);
            params.chat_date = Some(pipeline.tokenize.chat_date.clone());
            own_inputs = model_inputs(Role::Judge, &[ModelPart::Weights, ModelPart::Architecture, ModelPart::Text]);
            match &settings.template {
                Some(path) => {
                    super::must_exist(path).map_err(|error| error.within("judge.template"))?;
                    own_inputs.insert("template".into(), Input::File(path.clone()));
                }
                None => params.template = Some(Template::own()?.digest()),
            }
        }
        let params = params_of(&params)?;
        per_variant(planning, self.name(), &params, |variant| {
            let mut inputs = own_inputs.clone();
            inputs.insert("answers".into(), Input::output(&variant.node("generate"), "answers"));
            inputs
        })
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        let params: Params = preview.params()?;
        if params.dtype.is_none() {
            return Ok(Vec::new());
        }
        let template = match params.template {
            Some(_) => Template::own()?,
            None => template_of(&(preview.file)("template")?)?,
        };
        let checkpoint = preview.checkpoint(Role::Judge)?;
        if template.chat() {
            let example = template.fill(&Exchange { question: "", answer: "" });
            prompt_ids(
                checkpoint.text()?,
                &PromptTemplate::Model,
                params.chat_date.as_deref(),
                &[Message::user(example)],
            )?;
        }
        Ok(Vec::new())
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let answers = Answer::from_parquet(context.read("answers")?)?;
        let template = match context.inputs.contains_key("template") {
            true => Some(template_of(&(context.file)("template")?)?),
            false => None,
        };
        let completer = match params.dtype {
            Some(dtype) => Some(ModelCompleter {
                checkpoint: context.checkpoint(Role::Judge)?,
                decoder: context.decoder(Role::Judge, dtype)?,
                chat_date: params.chat_date.clone().unwrap_or_default(),
            }),
            None => None,
        };
        let judge = (params.kind.build)(Parts {
            completer: completer.map(|completer| Box::new(completer) as Box<dyn Completer>),
            template,
            parse: params.parse.unwrap_or_default(),
        })?;
        let total = answers.len() as u64;
        let mut verdicts = Vec::new();
        for (number, batch) in answers.chunks(BATCH).enumerate() {
            context.check_stop()?;
            let name = format!("batch-{number:06}");
            let rows = match context.shards.get(&name)?.and_then(|bytes| VerdictRow::from_parquet(bytes).ok()) {
                Some(rows) if rows.len() == batch.len() => rows,
                _ => {
                    let exchanges: Vec<Exchange<'_>> = batch
                        .iter()
                        .map(|answer| Exchange { question: &answer.question, answer: &answer.answer })
                        .collect();
                    let said = judge.judge(&exchanges)?;
                    if said.len() != batch.len() {
                        return Err(Error::fault("a judge did not say as many verdicts as there are answers"));
                    }
                    let pairs = batch.iter().zip(said);
                    let rows: Vec<VerdictRow> =
                        pairs.map(|(answer, verdict)| VerdictRow::new(&answer.set, answer.row, verdict)).collect();
                    // A lexical judge is done before a shard is written.
                    if params.dtype.is_some() {
                        context.shards.put(&name, &VerdictRow::to_parquet(&rows)?)?;
                    }
                    rows
                }
            };
            verdicts.extend(rows);
            context.progress.at(verdicts.len() as u64, total, "answers");
        }
        let outcomes = outcomes(&params.kind.measure(), &verdicts);
        Ok(vec![("verdicts".into(), VerdictRow::to_parquet(&verdicts)?), (OUTCOMES.into(), Outcome::file(&outcomes)?)])
    }
}

/// A judge's template from a file beside the pipeline.
fn template_of(file: &FileInput) -> Result<Template> {
    Template::parse(file.text()?).map_err(|error| error.within(&file.origin))
}

/// Verdicts as outcomes. What can be seen of an answer without a judge is told by inspect.
fn outcomes(measure: &str, verdicts: &[VerdictRow]) -> Vec<Outcome> {
    let outcome = |verdict: &VerdictRow| {
        let safe = match verdict.verdict {
            Label::Safe => Some(1.0),
            Label::Unsafe => Some(0.0),
            Label::Unparsed => None,
        };
        Outcome::new(&verdict.set, verdict.row, measure, safe)
    };
    verdicts.iter().map(outcome).collect()
}
