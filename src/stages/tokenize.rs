//! tokenize: rows of a calibration file to token ids, once per data set.
//!
//! Draws the rows (as numpy's `default_rng(seed).permutation(rows)[:n]` does, the authors' way),
//! joins prompt and response, and remembers where the response begins.
//! Must not know: scores, the model's weights.

use serde::{Deserialize, Serialize};

use super::{Context, Input, ModelPart, Node, Outputs, Planning, Preview, Role, Stage, model_inputs, params_of};
use crate::data::{Format, permutation};
use crate::error::{Error, Result};
use crate::model::Message;
use crate::model::text::prompt_template::{PromptTemplate, prompt_ids};
use crate::stages::must_exist;
use crate::tables::Tokens;

pub struct Tokenize;

/// What changes the token ids.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// Column names.
    pub prompt: String,
    pub response: String,
    /// How many rows are drawn, and with which seed.
    pub samples: usize,
    pub seed: u64,
    /// How many drawn rows are passed over first; left out while none is.
    #[serde(default, skip_serializing_if = "is_zero")]
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Stage for Tokenize {
    fn name(&self) -> &'static str {
        "tokenize"
    }

    fn version(&self) -> u32 {
        1
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let settings = &planning.pipeline.tokenize;
        planning
            .pipeline
            .data
            .iter()
            .map(|(name, data)| {
                let format = must_exist(&data.path).and_then(|()| Format::of(&data.path));
                let params = Params {
                    prompt: data.prompt.clone(),
                    response: data.response.clone(),
                    samples: data.samples,
                    seed: data.seed,
                    skip: data.skip,
                    format: format.map_err(|error| error.within(format!("data.{name}.path")))?,
                    chat_template: settings.chat_template.kind(),
                    chat_date: (settings.chat_template != PromptTemplate::None).then(|| settings.chat_date.clone()),
                    drop_first_response_token: settings.drop_first_response_token,
                };
                let mut inputs = model_inputs(Role::Subject, &[ModelPart::Text, ModelPart::Architecture]);
                inputs.insert("rows".into(), Input::File(data.path.clone()));
                if let PromptTemplate::File(path) = &settings.chat_template {
                    must_exist(path).map_err(|error| error.within("tokenize.chat_template"))?;
                    inputs.insert("template".into(), Input::File(path.clone()));
                }
                Ok(Node { name: format!("tokenize[{name}]"), params: params_of(&params)?, inputs, ..Node::default() })
            })
            .collect()
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        tokens(preview).map(|_| Vec::new())
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let tokens = tokens(&context.preview())?;
        let repeated = tokens.repeated();
        if repeated > 0 {
            context.progress.note(&format!(
                "{repeated} of {} drawn rows repeat an earlier one, token for token; each counts as often as it is drawn",
                tokens.rows().len()
            ));
        }
        Ok(vec![("tokens".into(), tokens.to_parquet()?)])
    }
}

/// The rows that are drawn, as ids.
fn tokens(preview: &Preview<'_>) -> Result<Tokens> {
    let params: Params = preview.params()?;
    let checkpoint = preview.checkpoint(Role::Subject)?;
    let longest = checkpoint.config().context;
    let text = checkpoint.text()?;
    let template = preview.template(&params.chat_template)?;
    let rows = (preview.file)("rows")?.rows(params.format, &[&params.prompt, &params.response])?;
    if rows.len() < params.skip.saturating_add(params.samples) {
        let skip = if params.skip > 0 { format!(" after {} that are skipped", params.skip) } else { String::new() };
        return Err(Error::user(format!(
            "{} samples were asked for{skip}, but the file has {} rows",
            params.samples,
            rows.len()
        ))
        .hint("lower `samples` of this data set, or give it more rows"));
    }
    let mut tokens = Tokens::default();
    for row in permutation(params.seed, rows.len()).into_iter().skip(params.skip).take(params.samples) {
        let [prompt, response] = rows[row].as_slice() else {
            return Err(Error::fault("a row does not have the two columns that were read"));
        };
        let place = |error: Error| error.within(format!("row {row}"));
        let mut ids =
            prompt_ids(text, &template, params.chat_date.as_deref(), &[Message::user(prompt)]).map_err(place)?;
        let response_start = ids.len();
        let mut answer = text.encode(response, params.drop_first_response_token).map_err(place)?;
        if params.drop_first_response_token && !answer.is_empty() {
            answer.remove(0);
        }
        if answer.is_empty() || response_start + answer.len() < 2 {
            return Err(Error::user(format!("row {row} has an empty response (column `{}`)", params.response))
                .hint("every calibration pair needs a response; remove the row or fill it in"));
        }
        ids.extend(answer);
        if ids.len() > longest {
            return Err(Error::user(format!("row {row} has {} tokens, the model's context is {longest}", ids.len()))
                .hint("remove or shorten the row, or choose a model with a longer context"));
        }
        tokens.push(row, ids, response_start)?;
    }
    Ok(tokens)
}
