//! A language model for judges: continues prompts greedily and tells how likely some first words were.
//!
//! The only file of the room that knows a model; judges see it as a [`Completer`]. Must not know: what is judged,
//! verdicts.

use std::sync::Arc;

use super::{Completer, Completion};
use crate::error::Result;
use crate::model::checkpoint::Checkpoint;
use crate::model::decoder::Decoder;
use crate::model::decoder::generate::batches;
use crate::model::text::Message;
use crate::model::text::chat::{PromptTemplate, prompt_ids};

/// A loaded model that judges may ask.
pub struct ModelCompleter {
    pub checkpoint: Arc<Checkpoint>,
    pub decoder: Arc<Decoder>,
    /// What the chat template's clock shows.
    pub chat_date: String,
}

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
        let ids = prompts
            .iter()
            .map(|prompt| prompt_ids(text, &template, Some(&self.chat_date), &[Message::user(prompt)]))
            .collect::<Result<Vec<_>>>()?;
        let firsts = candidates
            .iter()
            .map(|candidate| Ok(text.encode(candidate, false)?.first().copied()))
            .collect::<Result<Vec<Option<u32>>>>()?;

        let mut completions =
            vec![Completion { text: String::new(), candidate_probabilities: Vec::new() }; prompts.len()];
        for rows in batches(&ids) {
            let batch: Vec<&[u32]> = rows.iter().map(|row| ids[*row].as_slice()).collect();
            let logits = self.decoder.next_logits(&batch)?;
            let answers = self.decoder.continue_greedily(&batch, max_new_tokens, text.stop_ids(), &mut |_| Ok(()))?;
            for ((row, logits), answer) in rows.into_iter().zip(logits).zip(answers) {
                completions[row] = Completion {
                    text: text.decode(&answer.ids, true)?,
                    candidate_probabilities: firsts.iter().map(|first| probability(&logits, *first)).collect(),
                };
            }
        }
        Ok(completions)
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
