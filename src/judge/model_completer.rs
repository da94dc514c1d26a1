//! A language model for judges. It continues prompts greedily, and says how likely some first words were.
//!
//! This is the only file of the room that knows a model. Judges see it as a [`Completer`]. Must not know: what is judged,
//! verdicts.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::{Completer, Completion};
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::decoder::Decoder;
use crate::model::decoder::generate::{Stop, Watch};
use crate::model::text::prompt_template::{Prompt, PromptTemplate, prompt};
use crate::model::text::thoughts::{Said, Think, may_begin, split};
use crate::model::text::{Message, Text};

/// A loaded model that judges may ask.
pub struct ModelCompleter {
    pub checkpoint: Arc<Checkpoint>,
    pub decoder: Arc<Decoder>,
    /// The date that the chat template is given as today.
    pub chat_date: String,
}

/// The most tokens of a thought before a verdict. Thoughts of reasoning models about one answer have a few hundred.
const THOUGHT_TOKENS: usize = 2048;

/// The last tokens of a text hold the closing tag of a thought if it was just written: the longest has 11 bytes.
const WINDOW: usize = 16;

impl Completer for ModelCompleter {
    fn complete(
        &self,
        prompts: &[String],
        chat: bool,
        max_new_tokens: usize,
        candidates: &[&str],
    ) -> Result<Vec<Completion>> {
        let text = self.checkpoint.text()?;
        let template = if chat { PromptTemplate::Model } else { PromptTemplate::None };
        let prompts = prompts
            .iter()
            .map(|content| {
                let messages = [Message::user(content)];
                prompt(text, &template, Think::Model, Some(&self.chat_date), &messages)
            })
            .collect::<Result<Vec<_>>>()?;
        let firsts = candidates
            .iter()
            .map(|candidate| Ok(text.encode(candidate, false)?.first().copied()))
            .collect::<Result<Vec<Option<u32>>>>()?;

        let views: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        // Where the prompt opens a thought, what comes first is no verdict.
        let order: Vec<usize> = (0..views.len()).filter(|row| prompts[*row].inside.is_none()).collect();
        let mut first = Firsts { candidates: firsts, probabilities: vec![Vec::new(); views.len()] };
        let answers = self.decoder.generate(&views, &order, max_new_tokens, text.greedy(), &mut first)?;
        let mut completions = Vec::new();
        for (answer, candidate_probabilities) in answers.iter().zip(first.probabilities) {
            let written = text.decode(&answer.ids, true)?;
            completions.push(Completion { text: written.clone(), raw: written, candidate_probabilities });
        }
        // Most models say their verdict at once. Those that think first begin anew, with room for the thought.
        let mut thinking = Vec::new();
        for (row, (prompt, answer)) in prompts.iter().zip(&answers).enumerate() {
            if prompt.inside.is_some() || begins(&text.decode_answer(&answer.ids)?) {
                thinking.push(row);
            }
        }
        self.think(&prompts, &thinking, max_new_tokens, &first.candidates, &mut completions)?;
        Ok(completions)
    }
}

impl ModelCompleter {
    /// Completes the prompts of some rows that a thought comes first in.
    fn think(
        &self,
        prompts: &[Prompt],
        rows: &[usize],
        max_new_tokens: usize,
        candidates: &[Option<u32>],
        completions: &mut [Completion],
    ) -> Result<()> {
        let text = self.checkpoint.text()?;
        let views: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        let mut thoughts = Thoughts { text, prompts, max_new_tokens, said: vec![None; prompts.len()] };
        let most = THOUGHT_TOKENS + max_new_tokens;
        let answers = self.decoder.generate(&views, rows, most, text.greedy(), &mut thoughts)?;

        // The distribution where the verdict begins is read once more, after the prompt and the thought together.
        let mut begun: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
        for row in rows {
            let (answer, completion) = (&answers[*row], &mut completions[*row]);
            completion.raw = text.decode_answer(&answer.ids)?;
            completion.text = split(prompts[*row].inside, &completion.raw, &[]).answer;
            completion.candidate_probabilities = vec![0.0; candidates.len()];
            // A token that ends the thought and begins the verdict has no distribution of the verdict before it.
            let before = thoughts.said[*row].map(|at| &answer.ids[..at]);
            if let Some(before) = before
                && is_ended(&split(prompts[*row].inside, &text.decode_answer(before)?, &[]))
            {
                begun[*row] = [views[*row], before].concat();
            }
        }
        let order: Vec<usize> = (0..begun.len()).filter(|row| !begun[*row].is_empty()).collect();
        let views: Vec<&[u32]> = begun.iter().map(Vec::as_slice).collect();
        let mut first = Firsts { candidates: candidates.to_vec(), probabilities: vec![Vec::new(); views.len()] };
        self.decoder.generate(&views, &order, 0, text.greedy(), &mut first)?;
        for row in order {
            completions[row].candidate_probabilities = std::mem::take(&mut first.probabilities[row]);
        }
        Ok(())
    }
}

/// Whether a text begins with a thought.
fn begins(text: &str) -> bool {
    let Said { thought, .. } = split(None, text, &[]);
    thought.is_some() && may_begin(text)
}

/// Whether there was a thought, and it is over.
fn is_ended(said: &Said) -> bool {
    said.thought.is_some() && !said.open
}

/// Ends a completion so many tokens after its text has begun, or where its thought is too long.
struct Thoughts<'a> {
    text: &'a Text,
    prompts: &'a [Prompt],
    max_new_tokens: usize,
    /// How many tokens came before the one with which the text begins, once it has begun.
    said: Vec<Option<usize>>,
}

impl Watch for Thoughts<'_> {
    fn ends(&mut self, row: usize, ids: &[u32]) -> Result<Option<Stop>> {
        let begun = match self.said[row] {
            Some(at) => Some(at),
            None => self.begun(row, ids)?,
        };
        self.said[row] = begun;
        let end = match begun {
            Some(at) => ids.len() - at >= self.max_new_tokens,
            None => ids.len() >= THOUGHT_TOKENS,
        };
        Ok(end.then_some(Stop::Length))
    }
}

impl Thoughts<'_> {
    /// How many tokens came before the last one, if the text begins with it.
    fn begun(&self, row: usize, ids: &[u32]) -> Result<Option<usize>> {
        let apart = |ids: &[u32], inside| Ok::<_, Error>(split(inside, &self.text.decode_answer(ids)?, &[]));
        // Taking apart the whole at each token would take the square of its length.
        let tail = &ids[ids.len().saturating_sub(WINDOW)..];
        let is_blank = |ids: &[u32]| Ok::<_, Error>(self.text.decode_answer(ids)?.trim().is_empty());
        if tail.len() < ids.len() && !is_ended(&apart(tail, None)?) && !is_blank(&tail[..tail.len() - 1])? {
            return Ok(None);
        }
        let said = apart(ids, self.prompts[row].inside)?;
        Ok((is_ended(&said) && !said.answer.is_empty()).then(|| ids.len() - 1))
    }
}

/// How likely each candidate's first token is as the first of every answer.
struct Firsts {
    candidates: Vec<Option<u32>>,
    probabilities: Vec<Vec<f64>>,
}

impl Watch for Firsts {
    fn first(&mut self, prompt: usize, logits: &Tensor<1>) -> Result<()> {
        let logits: Vec<f32> = logits.to_data().iter().collect();
        self.probabilities[prompt] = self.candidates.iter().map(|first| probability(&logits, *first)).collect();
        Ok(())
    }
}

/// softmax(logits)[id], 0 for a candidate that has no token.
fn probability(logits: &[f32], id: Option<u32>) -> f64 {
    let high = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - high).exp();
    let total: f64 = logits.iter().map(|logit| weight(*logit)).sum();
    id.and_then(|id| logits.get(id as usize)).map_or(0.0, |logit| weight(*logit) / total)
}

#[cfg(test)]
mod tests {
    use super::probability;

    #[test]
    fn probabilities_are_a_softmax() {
        let logits = [0.0, 0.0, f32::NEG_INFINITY];
        assert!((probability(&logits, Some(1)) - 0.5).abs() < 1e-12);
        assert!(
            probability(&logits, Some(2)) == 0.0
                && probability(&logits, Some(9)) == 0.0
                && probability(&logits, None) == 0.0
        );
    }
}
