//! A language model for judges. It continues prompts greedily, and says how likely the words of a verdict were in its place.
//!
//! What all prompts begin with is read once, so a judge's question costs little however long it is.
//!
//! This is the only file of the room that knows a model. Judges see it as a [`Completer`]. Must not know: what is judged,
//! verdicts.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::form::{Candidate, Form, Prompt as Asked};
use super::{Completer, Completion, Listener};
use crate::error::{Error, Result};
use crate::model::checkpoint::Checkpoint;
use crate::model::decoder::Decoder;
use crate::model::decoder::generate::{Continuation, Stop, Watch};
use crate::model::text::prompt_template::{Prompt, PromptTemplate, prompt};
use crate::model::text::thoughts::{Said, Think, may_begin, opened_by, split};
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

/// The last tokens of a text hold what was just written: the closing tag of a thought has at most 11 bytes, the words before a
/// verdict have at most 17.
const WINDOW: usize = 24;

impl Completer for ModelCompleter {
    fn complete(&self, prompts: &[Asked], form: &Form, listener: &mut dyn Listener<Completion>) -> Result<()> {
        let text = self.checkpoint.text()?;
        let prompts = prompts
            .iter()
            .map(|asked| prompt_of(text, asked, form, Some(&self.chat_date)))
            .collect::<Result<Vec<_>>>()?;
        let candidates = candidates(text, form)?;
        let views: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        // Where the prompt opens a thought, what comes first is no verdict.
        let (order, mut thinking): (Vec<usize>, Vec<usize>) =
            (0..views.len()).partition(|row| prompts[*row].inside.is_none());
        let mut watch = Verdicts {
            text,
            after: form.after,
            candidates: &candidates,
            places: vec![Place::default(); views.len()],
            thinking: Vec::new(),
            listener,
        };
        self.decoder.generate(&views, &order, form.max_new_tokens, text.greedy(), &mut watch)?;
        // Most models say their verdict at once. Those that think first begin anew, with room for the thought.
        thinking.append(&mut watch.thinking);
        thinking.sort_unstable();
        // What a part of them came to is kept, whatever becomes of the next part.
        thinking.chunks(THINKING).try_for_each(|rows| self.think(&prompts, rows, form, &candidates, listener))
    }
}

/// How many rows that begin with a thought are continued together.
const THINKING: usize = 32;

impl ModelCompleter {
    /// Completes the prompts of some rows that a thought comes first in.
    fn think(
        &self,
        prompts: &[Prompt],
        rows: &[usize],
        form: &Form,
        candidates: &[Option<u32>],
        listener: &mut dyn Listener<Completion>,
    ) -> Result<()> {
        let text = self.checkpoint.text()?;
        let views: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        let said = vec![None; prompts.len()];
        let mut thoughts = Thoughts { text, prompts, max_new_tokens: form.max_new_tokens, said, listener };
        let most = THOUGHT_TOKENS + form.max_new_tokens;
        let answers = self.decoder.generate(&views, rows, most, text.greedy(), &mut thoughts)?;
        let said = thoughts.said;

        // The distribution of the verdict's word is read once more, after the prompt and the thought together.
        let mut begun: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
        for row in rows {
            // A token that ends the thought and begins the verdict has no distribution of the verdict before it.
            let before = said[*row].map(|at| &answers[*row].ids[..at]);
            if let Some(before) = before
                && is_ended(&split(prompts[*row].inside, &text.decode_answer(before)?, &[]))
            {
                begun[*row] = [views[*row], before].concat();
            }
        }
        let order: Vec<usize> = (0..begun.len()).filter(|row| !begun[*row].is_empty()).collect();
        let views: Vec<&[u32]> = begun.iter().map(Vec::as_slice).collect();
        let places = vec![Place::default(); views.len()];
        let mut again =
            Verdicts { text, after: form.after, candidates, places, thinking: Vec::new(), listener: &mut Nobody };
        // Where the reply begins with the verdict, there is nothing to write again.
        let most = if form.after.is_empty() { 0 } else { form.max_new_tokens };
        self.decoder.generate(&views, &order, most, text.greedy(), &mut again)?;
        for row in rows {
            let raw = text.decode_answer(&answers[*row].ids)?;
            let said = split(prompts[*row].inside, &raw, &[]).answer;
            let candidate_probabilities = std::mem::take(&mut again.places[*row].probabilities);
            listener.hear(*row, Completion { text: said, raw, candidate_probabilities })?;
        }
        Ok(())
    }
}

/// What the model reads.
///
/// # Errors
/// A pair or a message where the model has no chat template; whatever the template raises.
pub fn prompt_of(text: &Text, asked: &Asked, form: &Form, date: Option<&str>) -> Result<Prompt> {
    let messages = match asked {
        Asked::Raw(whole) => {
            return prompt(text, &PromptTemplate::None, Think::Model, date, &[Message::user(whole)]);
        }
        Asked::Message(content) => vec![Message::user(content)],
        Asked::Pair { question, answer } => vec![Message::user(question), Message::assistant(answer)],
    };
    if form.generation_prompt {
        return prompt(text, &PromptTemplate::Model, Think::Model, date, &messages);
    }
    let rendered = text.render_chat(&messages, false, Think::Model, date.unwrap_or_default())?;
    Ok(Prompt { ids: text.encode(&rendered, false)?, inside: opened_by(&rendered) })
}

/// The first token of each candidate where it follows on the words before it; none where these end within a token.
///
/// # Errors
/// The tokeniser's.
pub fn candidates(text: &Text, form: &Form) -> Result<Vec<Option<u32>>> {
    let before = text.encode(form.after, false)?;
    let first = |candidate: &Candidate| {
        let ids = text.encode(&format!("{}{}", form.after, candidate.text), false)?;
        Ok(ids.strip_prefix(before.as_slice()).and_then(|rest| rest.first().copied()))
    };
    form.candidates.iter().map(first).collect()
}

/// Hears of nothing.
struct Nobody;

impl Listener<Completion> for Nobody {
    fn hear(&mut self, _: usize, _: Completion) -> Result<()> {
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
struct Thoughts<'a, 'l> {
    text: &'a Text,
    prompts: &'a [Prompt],
    max_new_tokens: usize,
    /// How many tokens came before the one with which the text begins, once it has begun.
    said: Vec<Option<usize>>,
    listener: &'l mut dyn Listener<Completion>,
}

impl Watch for Thoughts<'_, '_> {
    fn step(&mut self, _: usize) -> Result<()> {
        self.listener.go_on()
    }

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

impl Thoughts<'_, '_> {
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

/// Where a row's verdict has its word.
#[derive(Clone, Default)]
struct Place {
    /// How likely each candidate's first token is there.
    probabilities: Vec<f64>,
    /// Whether the word was written: no later place is looked for.
    passed: bool,
}

/// Looks for the place of every verdict's word, and passes completions on as they end.
struct Verdicts<'a, 'l> {
    text: &'a Text,
    after: &'static str,
    candidates: &'a [Option<u32>],
    places: Vec<Place>,
    /// Rows that turned out to begin with a thought.
    thinking: Vec<usize>,
    listener: &'l mut dyn Listener<Completion>,
}

impl Watch for Verdicts<'_, '_> {
    fn wants(&mut self, row: usize, ids: &[u32]) -> Result<bool> {
        if self.places[row].passed {
            return Ok(false);
        }
        if ids.is_empty() {
            return Ok(self.after.is_empty());
        }
        let tail = self.text.decode(&ids[ids.len().saturating_sub(WINDOW)..], true)?;
        let tail = tail.trim();
        let here = if self.after.is_empty() { tail.is_empty() } else { tail.ends_with(self.after) };
        let place = &mut self.places[row];
        place.passed = !here && (self.after.is_empty() || !place.probabilities.is_empty());
        Ok(here)
    }

    fn shown(&mut self, row: usize, logits: &Tensor<1>) -> Result<()> {
        let logits: Vec<f32> = logits.to_data().iter().collect();
        self.places[row].probabilities = self.candidates.iter().map(|first| probability(&logits, *first)).collect();
        Ok(())
    }

    fn step(&mut self, _: usize) -> Result<()> {
        self.listener.go_on()
    }

    fn done(&mut self, row: usize, answer: &Continuation) -> Result<()> {
        if begins(&self.text.decode_answer(&answer.ids)?) {
            self.thinking.push(row);
            return Ok(());
        }
        let said = self.text.decode(&answer.ids, true)?;
        let candidate_probabilities = std::mem::take(&mut self.places[row].probabilities);
        self.listener.hear(row, Completion { text: said.clone(), raw: said, candidate_probabilities })
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
