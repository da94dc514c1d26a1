//! Greedy generation in batches, with a cache of keys and values.
//!
//! Prompts are padded on the left, so that every sequence writes its next key at the same slot.
//! Which prompts share a batch is a function of the prompts alone: order by length, then by row.
//! Sequences that have ended leave the batch. Must not know: text, templates, judges.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::decoder::cache::LayerCache;

/// How many sequences are generated at once: fixed, because a batch's composition may change the last bits. On a CPU
/// every step reads all weights once, so a large batch is what makes it quick.
pub const BATCH: usize = 96;

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model wrote one of its end-of-sequence tokens.
    Eos,
    /// The limit of new tokens, or the end of the context.
    Length,
}

/// What the model wrote after one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// New tokens, with the end-of-sequence token if it was reached.
    pub ids: Vec<u32>,
    pub stop: Stop,
}

/// The order in which rows are generated, cut into batches: by length, then by row.
pub fn batches(prompts: &[Vec<u32>]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|row| (prompts[*row].len(), *row));
    order.chunks(BATCH).map(<[usize]>::to_vec).collect()
}

/// A batch of prompts that were read once, ready for the next token.
struct Reading<'a> {
    decoder: &'a Decoder,
    cache: Vec<LayerCache>,
    /// Slots of padding before each active sequence.
    starts: Vec<usize>,
    /// The slot of the next token.
    slot: usize,
}

impl<'a> Reading<'a> {
    /// Reads the prompts and returns the logits [B, vocabulary] after each one's last token.
    fn begin(decoder: &'a Decoder, prompts: &[&[u32]], slots: usize) -> Result<(Self, Tensor<2>)> {
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let starts: Vec<usize> = prompts.iter().map(|prompt| longest - prompt.len()).collect();
        let ids: Vec<u32> = prompts
            .iter()
            .zip(&starts)
            .flat_map(|(prompt, pad)| std::iter::repeat_n(0, *pad).chain(prompt.iter().copied()))
            .collect();
        let mut cache =
            LayerCache::for_model(&decoder.config, prompts.len(), longest + slots, &decoder.device, decoder.dtype);
        let batch = decoder.batch(starts.clone(), 0, longest);
        let x = decoder.embed(&ids)?;
        let logits = decoder.ops.run(|| decoder.logits(decoder.hidden(x, &batch, Some(&mut cache), true)));
        Ok((Self { decoder, cache, starts, slot: longest }, logits))
    }

    /// Reads one more token of every active sequence.
    fn step(&mut self, ids: &[u32]) -> Result<Tensor<2>> {
        let decoder = self.decoder;
        let batch = decoder.batch(self.starts.clone(), self.slot, 1);
        self.slot += 1;
        let x = decoder.embed(ids)?;
        Ok(decoder.ops.run(|| decoder.logits(decoder.hidden(x, &batch, Some(&mut self.cache), false))))
    }

    /// Goes on with only some of the active sequences.
    fn keep(&mut self, rows: &[usize]) {
        self.starts = rows.iter().map(|row| self.starts[*row]).collect();
        for layer in &mut self.cache {
            layer.keep(rows, &self.decoder.device);
        }
    }
}

impl Decoder {
    /// Continues one batch of prompts greedily. `step` is told after every step how many sequences were still active
    /// and may stop the work.
    ///
    /// # Errors
    /// An empty prompt, one that fills the context, or a token outside the vocabulary.
    pub fn continue_greedily(
        &self,
        prompts: &[&[u32]],
        max_new_tokens: usize,
        stops: &[u32],
        step: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Continuation>> {
        let context = self.config.context;
        for (row, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() || prompt.len() >= context {
                return Err(Error::user(format!(
                    "prompt {row} has {} tokens; the model reads between 1 and {} and needs room for an answer",
                    prompt.len(),
                    context - 1
                ))
                .hint("shorten the question, or choose a model with a longer context"));
            }
        }
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers = vec![Continuation { ids: Vec::new(), stop: Stop::Length }; prompts.len()];
        let mut active: Vec<usize> = (0..prompts.len()).collect();
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        // A sequence may use the context that its own prompt leaves, whatever its neighbours need.
        let limit = |row: usize| max_new_tokens.min(context - prompts[row].len());
        let steps = active.iter().map(|row| limit(*row)).max().unwrap_or(0);
        debug_assert!(longest < context);
        let (mut reading, mut logits) = Reading::begin(self, prompts, steps)?;
        loop {
            let next = self.ops.argmax(logits);
            let mut staying = Vec::new();
            let mut ids = Vec::new();
            for (place, (row, id)) in active.iter().zip(&next).enumerate() {
                let answer = &mut answers[*row];
                answer.ids.push(*id);
                if stops.contains(id) {
                    answer.stop = Stop::Eos;
                } else if answer.ids.len() < limit(*row) {
                    staying.push(place);
                    ids.push(*id);
                }
            }
            step(active.len())?;
            if staying.is_empty() {
                return Ok(answers);
            }
            if staying.len() < active.len() {
                reading.keep(&staying);
                active = staying.iter().map(|place| active[*place]).collect();
            }
            logits = reading.step(&ids)?;
        }
    }

    /// Logits [B, vocabulary] of the token that would follow each prompt.
    pub fn next_logits(&self, prompts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        if prompts.is_empty() {
            return Ok(Vec::new());
        }
        let (_, logits) = Reading::begin(self, prompts, 0)?;
        let values: Vec<f32> = logits.into_data().iter::<f32>().collect();
        Ok(values.chunks(self.config.vocab_size).map(<[f32]>::to_vec).collect())
    }
}
