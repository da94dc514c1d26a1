//! generate: a variant's answers to every question.
//!
//! A shard has some answers that are done. Answers do not depend on each other, so a resumed run gives the same bytes as one that
//! was never stopped. The answers of a variant that is done are drafts for those of the next (`generate/drafts.rs`).
//! Answers may also come from a file (`generate/given.rs`). Must not know: how answers are judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod drafts;
mod earlier;
mod ending;
mod finished;
mod given;

use self::earlier::known;
use self::ending::Ending;
use self::finished::Finished;
use self::given::Given;
use super::variant::{Variants, per_variant, selection, unknown_node, variants};
use super::{
    Context, FileInput, Input, ModelPart, Node, Outputs, Planning, Preview, Role, Stage, Variant, model_inputs,
    must_exist, params_of,
};
use crate::config::Questions;
use crate::data::{self, AnswersOf, Format, Wanted, question_turns};
use crate::error::{Error, Result};
use crate::model::decoder::draw::{Draws, Sampling};
use crate::model::decoder::generate::Continuation;
use crate::model::device::Precision;
use crate::model::greedy::Greedy;
use crate::model::text::prompt_template::{Prompt, PromptTemplate, prompt};
use crate::model::text::thoughts::{Said, Think};
use crate::tables::{Answer, End, Row};

pub struct Generate;

/// What changes the answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// Question sets by name.
    pub sets: BTreeMap<String, Set>,
    pub max_new_tokens: usize,
    pub chat_template: PromptTemplate<()>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<String>,
    pub dtype: Precision,
    /// Only where the template's switch is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Think>,
    /// The texts that end answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// How tokens are drawn; without it, each is the likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// Which answers of a file are the variant's; only where a file holds the answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
}

/// How one question file is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Set {
    pub column: String,
    pub format: Format,
    /// A column and the value that the rows must have there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Set {
    /// The rows that are asked, with their numbers in the file.
    fn rows(&self, file: &FileInput) -> Result<Vec<(usize, data::Row)>> {
        let columns = std::iter::once(&self.column).chain(self.only.iter().map(|(column, _)| column));
        let rows = file.rows(self.format, &columns.map(Wanted::any).collect::<Vec<_>>())?;
        let is_wanted = |row: &data::Row| {
            let cell = row.cells.get(1);
            let cell = cell.map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned));
            self.only.as_ref().is_none_or(|(_, value)| cell.as_ref() == Some(value))
        };
        let rows: Vec<_> = rows.into_iter().enumerate().filter(|(_, row)| is_wanted(row)).collect();
        if let (Some((column, value)), true) = (&self.only, rows.is_empty()) {
            return Err(Error::user(format!("no row of {} has `{value}` in the column `{column}`", file.origin))
                .hint("look into the column for the values that there are, or leave `only` out"));
        }
        Ok(rows.into_iter().take(self.limit.unwrap_or(usize::MAX)).collect())
    }
}

impl Stage for Generate {
    fn name(&self) -> &'static str {
        "generate"
    }

    fn version(&self) -> u32 {
        5
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
            let Questions { column, only, limit, .. } = questions.clone();
            sets.insert(name.clone(), Set { column, format, only, limit });
            files.insert(format!("questions.{name}"), Input::File(questions.path.clone()));
        }
        if let PromptTemplate::File(path) = &settings.chat_template {
            must_exist(path).map_err(|error| error.within("generate.chat_template"))?;
            files.insert("template".into(), Input::File(path.clone()));
        }
        let params = Params {
            sets,
            max_new_tokens: settings.max_new_tokens,
            chat_template: settings.chat_template.kind(),
            chat_date: (settings.chat_template != PromptTemplate::None).then(|| pipeline.tokenize.chat_date.clone()),
            dtype: pipeline.model.dtype,
            think: Some(settings.think).filter(|think| *think != Think::Model),
            stop: settings.stop.clone(),
            sampling: settings.sampling(),
            given: None,
        };
        if let (AnswersOf::File, Some(path)) = (settings.kind, &settings.path) {
            let format = planning.glance(path).map(|seen| seen.format);
            let format = format.map_err(|error| error.within("generate.path"))?;
            files.insert(given::FILE.into(), Input::File(path.clone()));
            return nodes_of_file(planning, &Params { stop: Vec::new(), sampling: None, ..params }, format, files);
        }
        per_variant(planning, self.name(), &params_of(&params)?, |variant| {
            let mut inputs = variant.model_inputs();
            inputs.extend(files.clone());
            inputs
        })
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        let params: Params = preview.params()?;
        let asked = questions(preview)?;
        match &params.given {
            Some(given) => {
                let file = (preview.file)(given::FILE)?;
                Ok(given::answers(given, &file, &asked, params.max_new_tokens)?.1.into_iter().collect())
            }
            None => Ok(Vec::new()),
        }
    }

    /// New tokens at most, times the weights that each of them is multiplied with. Reading a file is no work.
    #[expect(clippy::cast_precision_loss, reason = "an amount of work")]
    fn work(&self, preview: &Preview<'_>) -> Result<Option<f64>> {
        let params: Params = preview.params()?;
        if params.given.is_some() {
            return Ok(None);
        }
        let mut asked = 0;
        for (set, how) in &params.sets {
            asked += how.rows(&(preview.file)(&format!("questions.{set}"))?)?.len();
        }
        let weights = preview.checkpoint(Role::Subject)?.config().weights();
        Ok(Some(asked as f64 * params.max_new_tokens as f64 * weights as f64))
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let checkpoint = context.checkpoint(Role::Subject)?;
        let text = checkpoint.text()?;
        let asked = questions(&context.preview())?;
        if let Some(given) = &params.given {
            let (found, note) = given::answers(given, &(context.file)(given::FILE)?, &asked, params.max_new_tokens)?;
            note.iter().for_each(|note| context.progress.note(note));
            let answers = asked.into_iter().zip(found).map(|(asked, found)| given::answer(asked, found, text));
            return Ok(vec![("answers".into(), Answer::to_parquet(&answers.collect::<Result<Vec<_>>>()?)?)]);
        }
        let decoder = context.variant(params.dtype)?;
        let prompts: Vec<&[u32]> = asked.iter().map(|asked| asked.prompt.ids.as_slice()).collect();
        let ending = Ending::new(text, asked.iter().map(|asked| asked.prompt.inside).collect(), &params.stop);
        let draws = params.sampling.clone().map(|sampling| Draws::new(sampling, &prompts));
        let known = known(context, &params, &asked)?;
        let mut finished = Finished::resume(context, &prompts, known, params.max_new_tokens, &ending, draws)?;
        let missing: Vec<usize> = (0..prompts.len()).filter(|row| finished.rows[*row].is_none()).collect();
        if !missing.is_empty() && decoder.uses_drafts() {
            finished.drafts = drafts::of_nearest(context)?;
        }
        let greedy = Greedy { stops: ending.ids.clone(), ..text.greedy().clone() };
        let made = decoder.generate(&prompts, &missing, params.max_new_tokens, &greedy, &mut finished);
        // What is done is kept, whatever ended the work.
        finished.keep()?;
        made?;
        finished.tell_of_drafts();
        let (rows, mut answers) = (finished.rows, Vec::new());
        for (row, (asked, continuation)) in asked.into_iter().zip(rows).enumerate() {
            let Continuation { ids, stop } =
                continuation.ok_or_else(|| Error::fault("a question was left without an answer"))?;
            let said = ending.said(row, &ids)?;
            let stop = End::of(stop, &said);
            let Said { answer, thought, .. } = said;
            let Asked { set, row, question, prompt } = asked;
            answers.push(Answer { set, row, question, prompt_ids: prompt.ids, answer_ids: ids, answer, thought, stop });
        }
        Ok(vec![("answers".into(), Answer::to_parquet(&answers)?)])
    }
}

/// One node for each variant, which takes its answers from the file. No weights are read.
fn nodes_of_file(
    planning: &Planning<'_>,
    params: &Params,
    format: Format,
    files: BTreeMap<String, Input>,
) -> Result<Vec<Node>> {
    let selection = selection(planning)?;
    let points: Vec<_> =
        selection.iter().flat_map(|selection| &selection.points).map(|point| (point.mask, point.p, point.q)).collect();
    let Variants { all, unknown } = variants(planning)?;
    let node = |variant: &Variant| {
        let given = Some(Given::new(format, variant, &points));
        let mut inputs = model_inputs(Role::Subject, &[ModelPart::Architecture, ModelPart::Text]);
        inputs.extend(files.clone());
        let params = params_of(&Params { given, ..params.clone() })?;
        let name = variant.node(Generate.name());
        Ok(Node { name, params, inputs, turn: variant.turn, ..Node::default() })
    };
    let nodes = all.iter().map(node).collect::<Result<Vec<Node>>>()?;
    Ok(nodes.into_iter().chain(unknown.map(|of| unknown_node(Generate.name(), of))).collect())
}

/// One question as it is put to the model.
struct Asked {
    set: String,
    row: u32,
    question: String,
    prompt: Prompt,
}

/// Every question with its prompt.
fn questions(preview: &Preview<'_>) -> Result<Vec<Asked>> {
    let params: Params = preview.params()?;
    let checkpoint = preview.checkpoint(Role::Subject)?;
    let (text, longest) = (checkpoint.text()?, checkpoint.config().context);
    let template = preview.template(&params.chat_template)?;
    let think = params.think.unwrap_or_default();

    let mut asked = Vec::new();
    for (set, how) in &params.sets {
        let file = (preview.file)(&format!("questions.{set}"))?;
        for (row, found) in &how.rows(&file)? {
            let place = |error: Error| error.within(found.place).within(&file.origin);
            let messages = question_turns(found.cells.first().unwrap_or(&Value::Null)).map_err(place)?;
            let question = messages.last().map(|message| message.content.clone()).unwrap_or_default();
            let prompt = prompt(text, &template, think, params.chat_date.as_deref(), &messages).map_err(place)?;
            if prompt.ids.is_empty() {
                let empty = Error::user(format!("the question (column `{}`) is empty", how.column));
                return Err(place(empty).hint("remove the row, or ask something in it"));
            }
            if prompt.ids.len() >= longest {
                let long = format!("the question has {} tokens, the model's context is {longest}", prompt.ids.len());
                return Err(
                    place(Error::user(long)).hint("shorten the question, or choose a model with a longer context")
                );
            }
            let row = u32::try_from(*row).map_err(|_| Error::user("a question file has too many rows"))?;
            asked.push(Asked { set: set.clone(), row, question, prompt });
        }
    }
    Ok(asked)
}
