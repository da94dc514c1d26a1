//! A language model for judges. It continues prompts greedily, and says how likely some first words were.
//!
//! This is the only file of the room that knows a model. Judges see it as a [`Completer`]. Must not know: what is judged,
//! verdicts.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::{Completer, Completion};
use crate::error::Result;
use crate::model::checkpoint::Checkpoint;
use crate::model::decoder::Decoder;
use crate::model::decoder::generate::Watch;
use crate::model::text::Message;
use crate::model::text::prompt_template::{PromptTemplate, prompt_ids};

/// A loaded model that judges may ask.
pub struct ModelCompleter {
    pub checkpoint: Arc<Checkpoint>,
    pub decoder: Arc<Decoder>,
    /// The date that the chat template is given as today.
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

        let views: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let order: Vec<usize> = (0..views.len()).collect();
        let mut firsts = Firsts { candidates: firsts, probabilities: vec![Vec::new(); views.len()] };
        let answers = self.decoder.generate(&views, &order, max_new_tokens, text.greedy(), &mut firsts)?;
        answers
            .iter()
            .zip(firsts.probabilities)
            .map(|(answer, candidate_probabilities)| {
                Ok(Completion { text: text.decode(&answer.ids, true)?, candidate_probabilities })
            })
            .collect()
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
