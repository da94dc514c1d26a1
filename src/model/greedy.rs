//! How an answer goes on and where it ends: the tokens that end it, and what a model's makers ask for beyond the most likely
//! token (`generation_config.json`), as transformers heeds it in greedy generation too.
//!
//! Must not know: devices, files, how logits are computed.

use serde::Serialize;

/// The rules by which the next token is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Greedy {
    /// The ids that end an answer, ascending.
    pub stops: Vec<u32>,
    pub adjustments: Adjustments,
}

/// What is done to the logits before the highest is taken. The default does nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(default)]
pub struct Adjustments {
    /// With `Some(p)` the logit of every token that is in prompt or answer is divided by p if it is positive, and multiplied by
    /// it if it is negative (Keskar et al. 2019).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// With n above 0, no n tokens come a second time in the same order.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_repeat_ngram_size: usize,
    /// An answer does not end before prompt and answer have so many tokens together.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_length: usize,
    /// An answer does not end before it has so many tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_new_tokens: usize,
    /// Sequences that do not occur: the last token never comes after the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bad_words: Vec<Vec<u32>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<u32>,
    /// Suppressed as the first token of an answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suppressed_first: Vec<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Greedy {
    /// Ends of an answer, and no adjustments.
    pub fn until(stops: &[u32]) -> Self {
        Self { stops: stops.to_vec(), adjustments: Adjustments::default() }
    }

    /// Changes the logits `[vocabulary]` of the token that follows `prompt` and `answer`. Follows the logits processors of
    /// transformers, in their order.
    pub fn adjust(&self, logits: &mut [f32], prompt: &[u32], answer: &[u32]) {
        let rules = &self.adjustments;
        let text: Vec<u32> = prompt.iter().chain(answer).copied().collect();
        if let Some(penalty) = rules.repetition_penalty {
            let mut seen = text.clone();
            seen.sort_unstable();
            seen.dedup();
            for id in seen {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
                }
            }
        }
        let mut banned = Vec::new();
        let size = rules.no_repeat_ngram_size;
        if size > 0 && text.len() + 1 >= size {
            let last = &text[text.len() + 1 - size..];
            banned
                .extend(text.windows(size).filter(|window| window[..size - 1] == *last).map(|window| window[size - 1]));
        }
        for word in rules.bad_words.iter().filter(|word| !word.is_empty()) {
            let (last, before) = (word[word.len() - 1], &word[..word.len() - 1]);
            if text.ends_with(before) && !(before.is_empty() && self.stops.contains(&last)) {
                banned.push(last);
            }
        }
        if text.len() < rules.min_length || answer.len() < rules.min_new_tokens {
            banned.extend(&self.stops);
        }
        banned.extend(&rules.suppressed);
        if answer.is_empty() {
            banned.extend(&rules.suppressed_first);
        }
        for id in banned {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

impl Adjustments {
    /// Whether the most likely token is taken as it is.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(adjustments: Adjustments, prompt: &[u32], answer: &[u32]) -> Vec<f32> {
        let mut logits = vec![1.0, -1.0, 3.0, -3.0, 0.5];
        Greedy { stops: vec![4], adjustments }.adjust(&mut logits, prompt, answer);
        logits
    }

    const NEVER: f32 = f32::NEG_INFINITY;

    #[test]
    fn what_was_there_is_less_likely() {
        let rules = Adjustments { repetition_penalty: Some(2.0), ..Adjustments::default() };
        assert_eq!(adjusted(rules, &[0, 3, 3, 99], &[1]), [0.5, -2.0, 3.0, -6.0, 0.5]);
        assert_eq!(adjusted(Adjustments::default(), &[0], &[1]), [1.0, -1.0, 3.0, -3.0, 0.5]);
    }

    #[test]
    fn sequences_do_not_come_again() {
        let rules = |size| Adjustments { no_repeat_ngram_size: size, ..Adjustments::default() };
        assert_eq!(adjusted(rules(2), &[0, 2, 0, 1], &[0]), [1.0, NEVER, NEVER, -3.0, 0.5]);
        assert_eq!(adjusted(rules(3), &[0, 2, 1], &[0, 2]), [1.0, NEVER, 3.0, -3.0, 0.5]);
        assert_eq!(adjusted(rules(1), &[3], &[]), [1.0, -1.0, 3.0, NEVER, 0.5]);
        assert_eq!(adjusted(rules(9), &[3], &[]), [1.0, -1.0, 3.0, -3.0, 0.5]);
        let bad =
            Adjustments { bad_words: vec![vec![1], vec![0, 2], vec![1, 3], vec![4], vec![]], ..Adjustments::default() };
        assert_eq!(adjusted(bad, &[1], &[0]), [1.0, NEVER, NEVER, -3.0, 0.5], "an end of the answer is no bad word");
    }

    #[test]
    fn an_answer_may_have_to_be_long_or_to_begin_otherwise() {
        let long = Adjustments { min_length: 3, ..Adjustments::default() };
        assert_eq!(adjusted(long.clone(), &[0], &[1])[4], NEVER);
        assert_eq!(adjusted(long, &[0, 0], &[1])[4], 0.5);
        let new = Adjustments { min_new_tokens: 2, ..Adjustments::default() };
        assert_eq!((adjusted(new.clone(), &[0, 0], &[1])[4], adjusted(new, &[0], &[1, 1])[4]), (NEVER, 0.5));
        let first = Adjustments { suppressed: vec![0], suppressed_first: vec![2], ..Adjustments::default() };
        assert_eq!(adjusted(first.clone(), &[0], &[]), [NEVER, -1.0, NEVER, -3.0, 0.5]);
        assert_eq!(adjusted(first, &[0], &[1]), [NEVER, -1.0, 3.0, -3.0, 0.5]);
    }
}
