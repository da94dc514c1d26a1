//! tokenize: rows of a calibration file to token ids, once per data set.
//!
//! Draws the rows (as numpy's `default_rng(seed).permutation(rows)[:n]` does, the authors' way),
//! joins prompt and response, and remembers where the response begins. A conversation is a prompt (all turns before) and a
//! response (a turn of the assistant); the chat template writes the prompt. What users say in the drawn rows is put out as text
//! too, so that questions can be looked for among it.
//! Must not know: scores, the model's weights.

use serde::{Deserialize, Serialize};

use super::{Context, Input, ModelPart, Node, Outputs, Planning, Preview, Role, Stage, model_inputs, params_of};
use crate::choice::Choice;
use crate::data::{Format, Layout, PAIRS, Reading, Roles, TooLong, Turns, Wanted, permutation, turns_of, wanted};
use crate::error::{Error, Result};
use crate::model::Message;
use crate::model::decoder::sample::Sample;
use crate::model::text::prompt_template::{PromptTemplate, prompt_ids};
use crate::model::text::{ChatTemplate, Text};
use crate::stages::must_exist;
use crate::tables::{CalibrationPrompt, Row, Tokens, narrow};

pub struct Tokenize;

/// What changes the token ids.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// The column of prompts or of conversations.
    pub prompt: String,
    /// The column of responses; none where a column holds all turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// How columns make a conversation; left out while they are pairs of texts.
    #[serde(default = "pairs", skip_serializing_if = "is_pairs")]
    pub layout: Choice<dyn Layout>,
    /// Whether a column holds lists of turns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub converses: bool,
    /// Which turns are responses, and what becomes of rows that are too long; left out while they are the default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub turns: Turns,
    #[serde(default, skip_serializing_if = "is_default")]
    pub too_long: TooLong,
    /// How many rows are drawn, and with which seed.
    pub samples: usize,
    pub seed: u64,
    /// How many drawn rows are passed over first; left out while none is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skip: usize,
    /// The same bytes are other rows in another format.
    pub format: Format,
    pub chat_template: PromptTemplate<()>,
    /// The date that a template's clock shows; only where a template is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<String>,
    /// The released code's quirk; left out while it is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_first_response_token: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn pairs() -> Choice<dyn Layout> {
    PAIRS
}

fn is_pairs(layout: &Choice<dyn Layout>) -> bool {
    *layout == PAIRS
}

impl Params {
    fn wanted(&self) -> Vec<Wanted> {
        wanted(self.layout, &self.prompt, self.response.as_deref(), self.converses)
    }
}

impl Stage for Tokenize {
    fn name(&self) -> &'static str {
        "tokenize"
    }

    fn version(&self) -> u32 {
        2
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let settings = &planning.pipeline.tokenize;
        planning
            .pipeline
            .data
            .iter()
            .map(|(name, data)| {
                let seen = planning.glance(&data.path).map_err(|error| error.within(format!("data.{name}.path")))?;
                let typed = Roles { prompt: &data.prompt, response: Some(&data.response) };
                let Reading { layout, prompt, response, converses } = Reading::find(&seen.columns, data.format, typed);
                // Texts are joined bare, as the authors joined them. Turns have no bare form.
                let unset = if converses { PromptTemplate::Model } else { PromptTemplate::None };
                let chat_template = settings.chat_template.as_ref().unwrap_or(&unset);
                let params = Params {
                    prompt,
                    response,
                    layout,
                    converses,
                    turns: data.turns,
                    too_long: data.too_long,
                    samples: data.samples,
                    seed: data.seed,
                    skip: data.skip,
                    format: seen.format,
                    chat_template: chat_template.kind(),
                    chat_date: (*chat_template != PromptTemplate::None).then(|| settings.chat_date.clone()),
                    drop_first_response_token: settings.drop_first_response_token,
                };
                let mut inputs = model_inputs(Role::Subject, &[ModelPart::Text, ModelPart::Architecture]);
                inputs.insert("rows".into(), Input::File(data.path.clone()));
                if let PromptTemplate::File(path) = chat_template {
                    must_exist(path).map_err(|error| error.within("tokenize.chat_template"))?;
                    inputs.insert("template".into(), Input::File(path.clone()));
                }
                Ok(Node { name: format!("tokenize[{name}]"), params: params_of(&params)?, inputs, ..Node::default() })
            })
            .collect()
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        drawn(preview).map(|_| Vec::new())
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let Drawn { tokens, prompts, cut, passed_over } = drawn(&context.preview())?;
        for (count, fate) in [(cut, "was cut at its end"), (passed_over, "was passed over")] {
            if count > 0 {
                let rows =
                    if count == 1 { "1 row that is".to_owned() } else { format!("each of {count} rows that are") };
                context.progress.note(&format!("{rows} longer than the model's context {fate}"));
            }
        }
        let repeated = tokens.repeated();
        if repeated > 0 {
            context.progress.note(&format!(
                "{repeated} of {} drawn rows repeat an earlier one, token for token; each counts as often as it is drawn",
                tokens.rows().len()
            ));
        }
        Ok(vec![("tokens".into(), tokens.to_parquet()?), ("prompts".into(), CalibrationPrompt::to_parquet(&prompts)?)])
    }
}

/// What is drawn, and what a person should know of how.
#[derive(Default)]
struct Drawn {
    tokens: Tokens,
    prompts: Vec<CalibrationPrompt>,
    /// Rows that were too long and had their ends cut off, and rows that were too long and passed over.
    cut: usize,
    passed_over: usize,
}

/// The rows that are drawn, as ids.
fn drawn(preview: &Preview<'_>) -> Result<Drawn> {
    let params: Params = preview.params()?;
    let checkpoint = preview.checkpoint(Role::Subject)?;
    let longest = checkpoint.config().context;
    let text = checkpoint.text()?;
    let template = preview.template(&params.chat_template)?;
    let file = (preview.file)("rows")?;
    let rows = file.rows(params.format, &params.wanted())?;
    must_have(&params, rows.len(), 0)?;

    let dresser = Dresser { params: &params, text, template: &template };
    let mut drawn = Drawn::default();
    let (mut skip, mut left) = (params.skip, params.samples);
    for number in permutation(params.seed, rows.len()) {
        if left == 0 {
            break;
        }
        // Where rows that are too long do not count, they must be looked at before rows are counted.
        if skip > 0 && params.too_long != TooLong::Skip {
            skip -= 1;
            continue;
        }
        let row = &rows[number];
        let place = |error: Error| error.within(row.place).within(&file.origin);
        let turns =
            turns_of(params.layout, params.response.is_some(), row).map_err(|error| error.within(&file.origin))?;
        let mut samples = dresser.samples(&turns).map_err(place)?;
        if let Some(sample) = samples.iter().find(|sample| sample.ids.len() > longest) {
            match params.too_long {
                TooLong::Error => return Err(place(too_long(sample.ids.len(), longest))),
                TooLong::Skip => {
                    drawn.passed_over += 1;
                    continue;
                }
                TooLong::Truncate => {
                    let prompt = sample.response;
                    // A turn whose prompt fills the context lies behind the cut.
                    samples.retain_mut(|sample| {
                        sample.ids.truncate(longest);
                        sample.response < longest
                    });
                    if samples.is_empty() {
                        return Err(place(no_room(prompt, longest)));
                    }
                    drawn.cut += 1;
                }
            }
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        left -= 1;
        for sample in samples {
            drawn.tokens.push(number, sample.ids, sample.response)?;
        }
        drawn.prompts.extend(prompts_of(number, turns)?);
    }
    if left > 0 {
        must_have(&params, rows.len(), drawn.passed_over)?;
    }
    Ok(drawn)
}

/// What users say in a row before its last response.
fn prompts_of(row: usize, mut turns: Vec<Message>) -> Result<impl Iterator<Item = CalibrationPrompt>> {
    let row = narrow(row)?;
    turns.truncate(turns.iter().rposition(|turn| turn.role == "assistant").unwrap_or_default());
    let said = turns.into_iter().filter(|turn| turn.role == "user");
    Ok(said.map(move |turn| CalibrationPrompt { row, prompt: turn.content }))
}

/// Refuses a file with too few rows. Of its rows so many are too long to be drawn.
fn must_have(params: &Params, rows: usize, too_long: usize) -> Result<()> {
    if rows - too_long >= params.skip.saturating_add(params.samples) {
        return Ok(());
    }
    let skip = if params.skip > 0 { format!(" after {} that are skipped", params.skip) } else { String::new() };
    let fit = match too_long {
        0 => String::new(),
        _ => format!(", of which {too_long} are longer than the model's context"),
    };
    Err(Error::user(format!("{} samples were asked for{skip}, but the file has {rows} rows{fit}", params.samples))
        .hint("lower `samples` of this data set, or give it more rows"))
}

fn too_long(tokens: usize, longest: usize) -> Error {
    Error::user(format!("the row has {tokens} tokens, the model's context is {longest}")).hint(
        "remove or shorten the row, set too_long = \"skip\" or \"truncate\" for this data set, or choose a model with a longer context",
    )
}

fn no_room(prompt: usize, longest: usize) -> Error {
    Error::user(format!(
        "the prompt alone has {prompt} tokens, the model's context is {longest}: truncated, no response is left"
    ))
    .hint("remove or shorten the row, or set too_long = \"skip\" for this data set")
}

/// How turns become ids.
struct Dresser<'a> {
    params: &'a Params,
    text: &'a Text,
    template: &'a PromptTemplate<ChatTemplate>,
}

impl Dresser<'_> {
    /// A sample for each turn that is a response: all turns before it are its prompt.
    fn samples(&self, turns: &[Message]) -> Result<Vec<Sample>> {
        let said = |(_, turn): &(usize, &Message)| turn.role == "assistant";
        let mut responses: Vec<(usize, &Message)> = turns.iter().enumerate().filter(said).collect();
        if self.params.turns == Turns::Last {
            responses.drain(..responses.len().saturating_sub(1));
        }
        if responses.is_empty() {
            return Err(Error::user("there is no response: no turn is the assistant's")
                .hint("every row needs a response; remove the row or complete it"));
        }
        responses.into_iter().map(|(at, response)| self.sample(turns.get(..at).unwrap_or_default(), response)).collect()
    }

    fn sample(&self, before: &[Message], response: &Message) -> Result<Sample> {
        let quirk = self.params.drop_first_response_token;
        let mut ids = self.prompt(before)?;
        let response_start = ids.len();
        let mut answer = self.text.encode(&response.content, quirk)?;
        if quirk && !answer.is_empty() {
            answer.remove(0);
        }
        if answer.is_empty() || response_start + answer.len() < 2 {
            let column = self.params.response.as_ref().unwrap_or(&self.params.prompt);
            return Err(Error::user(format!("the response is empty (column `{column}`)"))
                .hint("every calibration pair needs a response; remove the row or fill it in"));
        }
        ids.extend(answer);
        Ok(Sample { ids, response: response_start })
    }

    fn prompt(&self, before: &[Message]) -> Result<Vec<u32>> {
        let bare = self.template.kind() == PromptTemplate::None;
        if bare && !matches!(before, [only] if only.role == "user") {
            let roles: Vec<&str> = before.iter().map(|turn| turn.role.as_str()).collect();
            let said = if roles.is_empty() { "no turn".to_owned() } else { roles.join(", ") };
            return Err(Error::user(format!("before the response there is {said}, and prompts are not dressed"))
                .hint("only a chat template can write a conversation: set tokenize.chat_template = \"model\", or to a template file"));
        }
        if self.params.converses && self.template.kind() == PromptTemplate::Model && !self.text.has_chat_template() {
            return Err(Error::user("this model has no chat template, and only one can write a conversation")
                .hint("set tokenize.chat_template to a template file, or choose a model that has one"));
        }
        prompt_ids(self.text, self.template, self.params.chat_date.as_deref(), before)
    }
}
