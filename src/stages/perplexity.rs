//! perplexity: how surprised a variant is by a plain text, the ordinary measure of damage.
//!
//! The text is tokenised once, with special tokens, and cut into full windows. The tail is dropped. Each window is a row of the
//! outcomes, with two measures: the sum of −log p over the tokens that it predicts, in nats, and the number of these tokens. A
//! window predicts all its tokens but the first. The report computes perplexity = exp(sum of losses / number of tokens).
//! Windows are kept apart, so that variants can be compared window by window. Must not know: what the text is about.

use serde::{Deserialize, Serialize};

use super::variant::per_variant;
use super::{Context, FileInput, Input, Node, Outputs, Planning, Preview, Role, Stage, must_exist, params_of};
use crate::config::Window;
use crate::data::Join;
use crate::error::{Error, Result};
use crate::model::Checkpoint;
use crate::model::device::Precision;
use crate::model::text::Text;
use crate::report::measures::{NLL, TOKENS};
use crate::tables::{OUTCOMES, Outcome};

pub struct Perplexity;

/// Bytes of text for each token that is needed: about 4 bytes a token, x 2 for scripts with longer tokens, x 2 to be sure.
const BEGINNING: usize = 16;

/// Bytes of text for a token, to tell how long a text is before it is read.
const BYTES_OF_TOKEN: usize = 4;

/// Tokens beyond those that are needed, so that the cut behind them changes none of them. What a token is depends on the
/// word that it is in and on what stands next to it.
const MARGIN: usize = 1000;

/// The set of its outcomes.
const SET: &str = "text";

/// What changes the number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// Tokens per window; none for the model's whole context.
    pub window: Option<usize>,
    pub join: Join,
    /// The first so many windows only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    pub dtype: Precision,
}

impl Stage for Perplexity {
    fn name(&self) -> &'static str {
        "perplexity"
    }

    fn version(&self) -> u32 {
        3
    }

    fn measures(&self) -> bool {
        true
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let Some(settings) = &planning.pipeline.perplexity else { return Ok(Vec::new()) };
        must_exist(&settings.path).map_err(|error| error.within("perplexity.path"))?;
        let params = params_of(&Params {
            window: match settings.window {
                Window::Tokens(tokens) => Some(tokens),
                Window::Max => None,
            },
            join: settings.join,
            limit: settings.limit,
            dtype: planning.pipeline.model.dtype,
        })?;
        per_variant(planning, self.name(), &params, |variant| {
            let mut inputs = variant.model_inputs();
            inputs.insert("corpus".into(), Input::File(settings.path.clone()));
            inputs
        })
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        let params: Params = preview.params()?;
        let checkpoint = preview.checkpoint(Role::Subject)?;
        let window = window(&params, &checkpoint)?;
        let corpus = corpus(&(preview.file)("corpus")?, &params)?;
        must_fill(window, beginning(checkpoint.text()?, &corpus, Some(window))?.len()).map(|()| Vec::new())
    }

    /// Tokens that are read, as far as they can be told without reading the text, times the weights.
    #[expect(clippy::cast_precision_loss, reason = "an amount of work")]
    fn work(&self, preview: &Preview<'_>) -> Result<Option<f64>> {
        let params: Params = preview.params()?;
        let checkpoint = preview.checkpoint(Role::Subject)?;
        let window = params.window.unwrap_or(checkpoint.config().context);
        let tokens = match params.limit {
            Some(windows) => window * windows,
            None => (preview.file)("corpus")?.bytes.len() / BYTES_OF_TOKEN,
        };
        Ok(Some(tokens as f64 * checkpoint.config().weights() as f64))
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let checkpoint = context.checkpoint(Role::Subject)?;
        let window = window(&params, &checkpoint)?;
        let needed = params.limit.map(|windows| windows.saturating_mul(window));
        let ids = beginning(checkpoint.text()?, &corpus(&(context.file)("corpus")?, &params)?, needed)?;
        must_fill(window, ids.len())?;
        let windows: Vec<&[u32]> = ids.chunks_exact(window).take(params.limit.unwrap_or(usize::MAX)).collect();
        let decoder = context.variant(params.dtype)?;
        let mut outcomes = Vec::new();
        context.progress.at(0, windows.len() as u64, "windows");
        for (index, ids) in (0..).zip(&windows) {
            context.check_stop()?;
            let loss = decoder.negative_log_likelihood(ids)?;
            #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
            let predicted = (window - 1) as f64;
            outcomes.push(Outcome::new(SET, index, NLL, Some(loss)));
            outcomes.push(Outcome::new(SET, index, TOKENS, Some(predicted)));
            context.progress.at(u64::from(index) + 1, windows.len() as u64, "windows");
        }
        Ok(vec![(OUTCOMES.into(), Outcome::file(&outcomes)?)])
    }
}

/// Tokens in a window.
fn window(params: &Params, checkpoint: &Checkpoint) -> Result<usize> {
    let context = checkpoint.config().context;
    let window = params.window.unwrap_or(context);
    if window > context {
        return Err(Error::user(format!("perplexity.window is {window} tokens, the model's context is {context}"))
            .hint("lower perplexity.window, or set it to \"max\""));
    }
    if window < 2 {
        return Err(Error::user("a window of one token predicts nothing").hint("raise perplexity.window"));
    }
    Ok(window)
}

fn must_fill(window: usize, tokens: usize) -> Result<()> {
    if tokens >= window {
        return Ok(());
    }
    Err(Error::user(format!("the text for perplexity has {tokens} tokens, fewer than one window of {window}"))
        .hint("lower perplexity.window, or bring a longer text"))
}

/// The ids of a text, of which the first `needed` count. A text of gigabytes is not tokenised for a few windows.
fn beginning(text: &Text, corpus: &str, needed: Option<usize>) -> Result<Vec<u32>> {
    let mut tokens = needed.map(|needed| needed.saturating_add(MARGIN));
    while let Some(enough) = tokens {
        let end = corpus.floor_char_boundary(enough.saturating_mul(BEGINNING));
        if end >= corpus.len() {
            break;
        }
        let ids = text.encode(&corpus[..end], true)?;
        if ids.len() >= needed.unwrap_or(0).saturating_add(MARGIN) {
            return Ok(ids);
        }
        tokens = Some(enough.saturating_mul(4));
    }
    text.encode(corpus, true)
}

fn corpus(file: &FileInput, params: &Params) -> Result<String> {
    Ok(params.join.join(file.text()?).into_owned())
}
