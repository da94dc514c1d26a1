//! generate: a variant's greedy answers to every question.
//!
//! A shard has some answers that are done. Answers do not depend on each other, so a resumed run gives the same bytes as one that
//! was never stopped. The answers of a variant that is done are drafts for those of the next (`generate/drafts.rs`).
//! Must not know: how answers are judged.

mod drafts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::drafts::Drafts;
use super::variant::per_variant;
use super::{Context, Input, Node, Outputs, Planning, Preview, Role, Stage, must_exist, params_of};
use crate::data::{Format, Wanted, prompt_turns};
use crate::error::{Error, Result};
use crate::model::Message;
use crate::model::decoder::generate::{Continuation, Stop, Watch};
use crate::model::device::Precision;
use crate::model::text::prompt_template::{PromptTemplate, prompt_ids};
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
        4
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
            let format = planning.glance(&questions.path).map(|seen| seen.format);
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
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut finished = Finished::resume(context, &prompts, params.max_new_tokens)?;
        finished.drafts = drafts::of_nearest(context)?;
        let missing: Vec<usize> = (0..prompts.len()).filter(|row| finished.rows[*row].is_none()).collect();
        let made = decoder.generate(&prompts, &missing, params.max_new_tokens, text.greedy(), &mut finished);
        // What is done is kept, whatever ended the work.
        finished.keep()?;
        made?;
        finished.tell_of_drafts();
        for (answer, continuation) in answers.iter_mut().zip(finished.rows) {
            let continuation = continuation.ok_or_else(|| Error::fault("a question was left without an answer"))?;
            answer.answer = text.decode(&continuation.ids, true)?.trim().to_owned();
            answer.stop = continuation.stop;
            answer.answer_ids = continuation.ids;
        }
        Ok(vec![("answers".into(), Answer::to_parquet(&answers)?)])
    }
}

/// Answers that one shard holds, so that little is lost with a killed process.
const SHARD: usize = 16;

/// The answers that are done, by row, and the shards that hold them.
struct Finished<'a> {
    context: &'a Context<'a>,
    prompts: &'a [&'a [u32]],
    drafts: Drafts,
    /// Tokens of drafts that were read, and those that were right.
    drafted: (usize, usize),
    rows: Vec<Option<Continuation>>,
    /// Rows that no shard holds yet.
    pending: Vec<usize>,
    max_new_tokens: usize,
    /// New tokens so far; an answer that ended early counts in full.
    tokens: u64,
}

impl<'a> Finished<'a> {
    /// Starts with the answers in the shards of an earlier run. Which answers share a shard does not matter, because an answer
    /// does not depend on the others.
    fn resume(context: &'a Context<'a>, prompts: &'a [&'a [u32]], max_new_tokens: usize) -> Result<Self> {
        let mut rows: Vec<Option<Continuation>> = vec![None; prompts.len()];
        for name in context.shards.names()? {
            let shard = context.shards.get(&name)?.and_then(|bytes| read_shard(&bytes)).unwrap_or_default();
            for (row, continuation) in shard {
                if let Some(place) = rows.get_mut(row) {
                    *place = Some(continuation);
                }
            }
        }
        let tokens = (rows.iter().flatten().count() * max_new_tokens) as u64;
        let (drafts, drafted) = (Drafts::new(), (0, 0));
        let finished = Self { context, prompts, drafts, drafted, rows, pending: Vec::new(), max_new_tokens, tokens };
        finished.tell();
        Ok(finished)
    }

    fn tell(&self) {
        self.context.progress.at(self.tokens, (self.rows.len() * self.max_new_tokens) as u64, "tokens");
    }

    fn tell_of_drafts(&self) {
        let (read, right) = self.drafted;
        if read > 0 {
            let text = format!("{right} of {read} tokens that the nearest variant had written were right here too");
            self.context.progress.note(&text);
        }
    }

    /// Puts what is done and not kept yet into a shard.
    fn keep(&mut self) -> Result<()> {
        let Some(first) = self.pending.first() else { return Ok(()) };
        let name = format!("rows-{first:06}");
        let rows = self.pending.iter().filter_map(|row| Some((*row, self.rows[*row].as_ref()?)));
        self.context.shards.put(&name, &write_shard(rows)?)?;
        self.pending.clear();
        Ok(())
    }
}

impl Watch for Finished<'_> {
    fn step(&mut self, tokens: usize) -> Result<()> {
        self.tokens += tokens as u64;
        self.tell();
        self.context.check_stop()
    }

    fn draft(&mut self, row: usize) -> Vec<u32> {
        self.drafts.get(self.prompts[row]).cloned().unwrap_or_default()
    }

    fn supposed(&mut self, read: usize, right: usize) {
        self.drafted = (self.drafted.0 + read, self.drafted.1 + right);
    }

    fn done(&mut self, row: usize, answer: &Continuation) -> Result<()> {
        self.tokens += (self.max_new_tokens - answer.ids.len()) as u64;
        self.rows[row] = Some(answer.clone());
        self.pending.push(row);
        if self.pending.len() >= SHARD { self.keep() } else { Ok(()) }
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
        let file = (preview.file)(&format!("questions.{set}"))?;
        let rows = file.rows(how.format, &[Wanted::any(&how.column)])?;
        for (row, found) in rows.iter().enumerate().take(how.limit.unwrap_or(usize::MAX)) {
            let place = |error: Error| error.within(found.place).within(&file.origin);
            let messages = asked(found.cells.first().unwrap_or(&Value::Null)).map_err(place)?;
            let question = messages.last().map(|message| message.content.clone()).unwrap_or_default();
            let ids = prompt_ids(text, &template, params.chat_date.as_deref(), &messages).map_err(place)?;
            if ids.is_empty() {
                let empty = Error::user(format!("the question (column `{}`) is empty", how.column));
                return Err(place(empty).hint("remove the row, or ask something in it"));
            }
            if ids.len() >= longest {
                let long = format!("the question has {} tokens, the model's context is {longest}", ids.len());
                return Err(
                    place(Error::user(long)).hint("shorten the question, or choose a model with a longer context")
                );
            }
            answers.push(Answer {
                set: set.clone(),
                row: u32::try_from(row).map_err(|_| Error::user("a question file has too many rows"))?,
                question,
                prompt_ids: ids,
                answer_ids: Vec::new(),
                answer: String::new(),
                stop: Stop::Length,
            });
        }
    }
    Ok(answers)
}

/// The turns that a question is asked in: a text is one turn, and a list of turns ends with the last of the user.
fn asked(cell: &Value) -> Result<Vec<Message>> {
    let mut turns = prompt_turns(cell)?;
    let end = turns.iter().rposition(|turn| turn.role == "user").map_or(0, |last| last + 1);
    if end == 0 {
        return Err(
            Error::user("nobody asks anything: no turn is a user's").hint("remove the row, or ask something in it")
        );
    }
    turns.truncate(end);
    Ok(turns)
}

fn write_shard<'a>(rows: impl Iterator<Item = (usize, &'a Continuation)>) -> Result<Vec<u8>> {
    let rows: Vec<(usize, &[u32], bool)> =
        rows.map(|(row, answer)| (row, answer.ids.as_slice(), answer.stop == Stop::Eos)).collect();
    serde_json::to_vec(&rows).map_err(|error| Error::fault(format!("a shard of answers cannot be written: {error}")))
}

/// Rows and their answers; none if the shard is something else. They are then generated again.
fn read_shard(bytes: &[u8]) -> Option<Vec<(usize, Continuation)>> {
    let read: Vec<(usize, Vec<u32>, bool)> = serde_json::from_slice(bytes).ok()?;
    let row = |(row, ids, eos)| (row, Continuation { ids, stop: if eos { Stop::Eos } else { Stop::Length } });
    Some(read.into_iter().map(row).collect())
}
