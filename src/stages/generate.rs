//! generate: a variant's greedy answers to every question.
//!
//! Shards are finished batches; which questions share a batch is a function of the questions alone.
//! Must not know: how answers are judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::variant::per_variant;
use super::{Context, Input, Node, Outputs, Planning, Preview, Role, Stage, must_exist, params_of};
use crate::data::Format;
use crate::error::{Error, Result};
use crate::model::Message;
use crate::model::decoder::generate::{Continuation, Stop, batches};
use crate::model::device::Precision;
use crate::model::text::chat::{PromptTemplate, prompt_ids};
use crate::tables::{Answer, Row};

pub struct Generate;

/// What changes the answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// Question sets by name.
    pub sets: BTreeMap<String, Set>,
    pub max_new_tokens: usize,
    pub chat_template: PromptTemplate<()>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<String>,
    pub dtype: Precision,
}

/// How one question file is read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Set {
    pub column: String,
    pub format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Stage for Generate {
    fn name(&self) -> &'static str {
        "generate"
    }

    fn version(&self) -> u32 {
        2
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let pipeline = planning.pipeline;
        if pipeline.questions.is_empty() {
            return Ok(Vec::new());
        }
        let settings = &pipeline.generate;
        let mut sets = BTreeMap::new();
        let mut files = BTreeMap::new();
        for (name, questions) in &pipeline.questions {
            let format = must_exist(&questions.path).and_then(|()| Format::of(&questions.path));
            let format = format.map_err(|error| error.within(format!("questions.{name}.path")))?;
            sets.insert(name.clone(), Set { column: questions.column.clone(), format, limit: questions.limit });
            files.insert(format!("questions.{name}"), Input::File(questions.path.clone()));
        }
        if let PromptTemplate::File(path) = &settings.chat_template {
            must_exist(path).map_err(|error| error.within("generate.chat_template"))?;
            files.insert("template".into(), Input::File(path.clone()));
        }
        let params = params_of(&Params {
            sets,
            max_new_tokens: settings.max_new_tokens,
            chat_template: settings.chat_template.kind(),
            chat_date: (settings.chat_template != PromptTemplate::None).then(|| pipeline.tokenize.chat_date.clone()),
            dtype: pipeline.model.dtype,
        })?;
        per_variant(planning, self.name(), &params, |variant| {
            let mut inputs = variant.model_inputs();
            inputs.extend(files.clone());
            inputs
        })
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        questions(preview).map(|_| Vec::new())
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let checkpoint = context.checkpoint(Role::Subject)?;
        let text = checkpoint.text()?;
        let mut answers = questions(&context.preview())?;
        let decoder = context.variant(params.dtype)?;
        let prompts: Vec<Vec<u32>> = answers.iter().map(|answer| answer.prompt_ids.clone()).collect();
        let total = (prompts.len() * params.max_new_tokens) as u64;
        let mut done = 0;
        context.progress.at(done, total, "tokens");
        for (number, rows) in batches(&prompts).into_iter().enumerate() {
            let name = format!("batch-{number:06}");
            let continuations = match context.shards.get(&name)?.and_then(|bytes| read_shard(&bytes, rows.len())) {
                Some(continuations) => continuations,
                None => {
                    let batch: Vec<&[u32]> = rows.iter().map(|row| prompts[*row].as_slice()).collect();
                    let mut steps = 0;
                    let continuations =
                        decoder.continue_greedily(&batch, params.max_new_tokens, text.stop_ids(), &mut |_| {
                            steps += 1;
                            context.progress.at(done + (steps * rows.len()) as u64, total, "tokens");
                            context.check_stop()
                        })?;
                    context.shards.put(&name, &write_shard(&continuations)?)?;
                    continuations
                }
            };
            done += (rows.len() * params.max_new_tokens) as u64;
            context.progress.at(done, total, "tokens");
            for (row, continuation) in rows.into_iter().zip(continuations) {
                let answer = &mut answers[row];
                answer.answer = text.decode(&continuation.ids, true)?.trim().to_owned();
                answer.stop = if continuation.stop == Stop::Eos { "eos" } else { "length" }.to_owned();
                answer.answer_ids = continuation.ids;
            }
        }
        Ok(vec![("answers".into(), Answer::to_parquet(&answers)?)])
    }
}

/// Every question with its prompt's ids, and room for an answer.
fn questions(preview: &Preview<'_>) -> Result<Vec<Answer>> {
    let params: Params = preview.params()?;
    let checkpoint = preview.checkpoint(Role::Subject)?;
    let (text, longest) = (checkpoint.text()?, checkpoint.config().context);
    let template = preview.template(&params.chat_template)?;

    let mut answers = Vec::new();
    for (set, how) in &params.sets {
        let rows = (preview.file)(&format!("questions.{set}"))?.rows(how.format, &[&how.column])?;
        for (row, mut cells) in rows.into_iter().enumerate().take(how.limit.unwrap_or(usize::MAX)) {
            let question = cells.pop().unwrap_or_default();
            let place = |error: Error| error.within(format!("questions.{set}, row {row}"));
            let messages = [Message::user(&question)];
            let ids = prompt_ids(text, &template, params.chat_date.as_deref(), &messages).map_err(place)?;
            if ids.is_empty() {
                return Err(Error::user(format!("questions.{set}, row {row} is empty"))
                    .hint("remove the row, or ask something in it"));
            }
            if ids.len() >= longest {
                return Err(Error::user(format!(
                    "questions.{set}, row {row} has {} tokens, the model's context is {longest}",
                    ids.len()
                ))
                .hint("shorten the question, or choose a model with a longer context"));
            }
            answers.push(Answer {
                set: set.clone(),
                row: u32::try_from(row).map_err(|_| Error::user("a question file has too many rows"))?,
                question,
                prompt_ids: ids,
                answer_ids: Vec::new(),
                answer: String::new(),
                stop: String::new(),
            });
        }
    }
    Ok(answers)
}

fn write_shard(continuations: &[Continuation]) -> Result<Vec<u8>> {
    let rows: Vec<(&[u32], bool)> = continuations
        .iter()
        .map(|continuation| (continuation.ids.as_slice(), continuation.stop == Stop::Eos))
        .collect();
    serde_json::to_vec(&rows).map_err(|error| Error::fault(format!("a shard of answers cannot be written: {error}")))
}

/// None if the shard is not one of `rows` answers; they are then generated again.
fn read_shard(bytes: &[u8], rows: usize) -> Option<Vec<Continuation>> {
    let read: Vec<(Vec<u32>, bool)> = serde_json::from_slice(bytes).ok()?;
    let continuation = |(ids, eos)| Continuation { ids, stop: if eos { Stop::Eos } else { Stop::Length } };
    (read.len() == rows).then(|| read.into_iter().map(continuation).collect())
}
