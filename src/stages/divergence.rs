//! divergence: how far a variant's next tokens are from the base's, where both read the base's own answers.
//!
//! The base's answers to one question set, the harmless one, are read by both (teacher forcing), and the distributions of the
//! next token are compared at the first tokens of each answer. A question's outcome is the mean of KL(base || variant) over
//! them, in nats. So damage is seen on ordinary questions, also where the likeliest token stays the same.
//!
//! The base's distributions are not kept: 48 questions, 16 tokens and a vocabulary of 150,000 entries are 460 MB. What is kept of
//! the base is the output of its last layer, of which the distributions follow. Patches change weights of layers alone.
//! Must not know: how answers were made, what a report says of them.

use serde::{Deserialize, Serialize};

use super::variant::per_variant;
use super::{Context, Input, ModelPart, Node, Outputs, Planning, Role, Stage, Variant, model_inputs, params_of};
use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::decoder::sample::{Sample, together};
use crate::model::device::Precision;
use crate::report::measures::KL;
use crate::tables::{Answer, OUTCOMES, Outcome, Row};
use crate::tensors;

pub struct Divergence;

/// The output of the base's node: what its last layer put out at the tokens that are compared.
const STATES: &str = "states";

/// The input with the base's answers. It is not called answers, because these are not the variant's own.
const READ: &str = "the base's answers";

/// Tokens that are read at once.
const BATCH: usize = 512;

/// What changes the numbers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// The question set whose answers are read.
    pub questions: String,
    /// So many tokens of each answer count.
    pub tokens: usize,
    pub dtype: Precision,
}

impl Stage for Divergence {
    fn name(&self) -> &'static str {
        "divergence"
    }

    fn version(&self) -> u32 {
        1
    }

    fn measures(&self) -> bool {
        true
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let Some(settings) = &planning.pipeline.divergence else { return Ok(Vec::new()) };
        let params = params_of(&Params {
            questions: settings.questions.clone(),
            tokens: settings.tokens,
            dtype: planning.pipeline.model.dtype,
        })?;
        let base = Variant::base(&[]);
        per_variant(planning, self.name(), &params, |variant| {
            let mut inputs = model_inputs(Role::Subject, &[ModelPart::Weights, ModelPart::Architecture]);
            inputs.insert(READ.into(), Input::output(&base.node("generate"), "answers"));
            if variant.mask.is_some() {
                inputs.insert("patch".into(), Input::output(&variant.node("patch"), "patch"));
                inputs.insert(STATES.into(), Input::output(&base.node(self.name()), STATES));
            }
            inputs
        })
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let decoder = context.variant(params.dtype)?;
        let answers = Answer::from_parquet(context.read(READ)?)?;
        let answers: Vec<&Answer> = answers.iter().filter(|answer| answer.set == params.questions).collect();
        let samples: Vec<Sample> =
            answers.iter().map(|answer| forced(answer, params.tokens, decoder.config.context)).collect();
        let states = states(context, &decoder, &samples)?;
        let base = match context.inputs.contains_key(STATES) {
            true => Some(read(&context.read(STATES)?)?),
            false => None,
        };
        let tokens = samples.iter().map(|sample| sample.labels().len());
        let found = match &base {
            Some(base) => decoder.divergences(base, &states)?,
            // The base is not far from itself.
            None => vec![0.0; tokens.clone().sum()],
        };
        let mut outcomes = Vec::new();
        let mut rest = found.as_slice();
        for (answer, tokens) in answers.iter().zip(tokens) {
            let (own, others) =
                rest.split_at_checked(tokens).ok_or_else(|| Error::fault("a token was not compared"))?;
            rest = others;
            #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
            let mean = own.iter().sum::<f64>() / tokens as f64;
            outcomes.push(Outcome::new(&answer.set, answer.row, KL, (tokens > 0).then_some(mean)));
        }
        let mut outputs = vec![(OUTCOMES.into(), Outcome::file(&outcomes)?)];
        if base.is_none() {
            outputs.push((STATES.into(), write(states, decoder.config.hidden_size)?));
        }
        Ok(outputs)
    }
}

/// A question with the beginning of the base's answer, whose tokens are the labels. Nothing is read beyond the context, whose
/// last token may still be predicted.
fn forced(answer: &Answer, tokens: usize, context: usize) -> Sample {
    let room = (context + 1).saturating_sub(answer.prompt_ids.len());
    let ids = answer.prompt_ids.iter().chain(answer.answer_ids.iter().take(tokens.min(room)));
    Sample { ids: ids.copied().collect(), response: answer.prompt_ids.len() }
}

/// The outputs of the last layer that predict the labels, a row for each of them.
fn states(context: &Context<'_>, decoder: &Decoder, samples: &[Sample]) -> Result<Vec<f32>> {
    // An empty answer predicts nothing.
    let wanted: Vec<&Sample> = samples.iter().filter(|sample| !sample.labels().is_empty()).collect();
    let (mut states, mut done) = (Vec::new(), 0);
    context.progress.at(0, wanted.len() as u64, "answers");
    while let Some(rest) = wanted.get(done..).filter(|rest| !rest.is_empty()) {
        context.check_stop()?;
        let count = together(rest.iter().map(|sample| sample.inputs()), BATCH);
        states.extend(decoder.predicting(&rest[..count])?);
        done += count;
        context.progress.at(done as u64, wanted.len() as u64, "answers");
    }
    Ok(states)
}

fn write(states: Vec<f32>, hidden: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let shape = vec![states.len() / hidden, hidden];
    tensors::write(vec![(STATES.into(), shape)], &mut bytes, |_| Ok(states.clone()))?;
    Ok(bytes)
}

fn read(bytes: &[u8]) -> Result<Vec<f32>> {
    let mut states = None;
    tensors::each(bytes, |(name, _, values)| {
        states = (name == STATES).then_some(values);
        Ok(())
    })?;
    states.ok_or_else(|| Error::fault("the base's node put out no states"))
}
