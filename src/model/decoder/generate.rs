//! Greedy generation of many answers at once, with a cache of keys and values.
//!
//! A sequence is read, then continued token by token. When it has ended, its slot in the cache goes to the next prompt. That
//! prompt is read in the same pass in which the other sequences take their next step. The bits of a row do not depend on the
//! other rows of its batch (`ops/rows.rs`). So on a CPU an answer depends neither on the other prompts nor on
//! the number of slots. Must not know: text, templates, judges.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::Decoder;
use super::batch::Products;
use super::cache::LayerCache;
use super::tap::Closed;
use crate::choice::choices;
use crate::error::{Error, Result};
use crate::model::ops;
use crate::model::ops::rows::Rows;

/// The most sequences that are continued at once. Every step reads all weights, so a step is cheaper for each sequence when
/// there are many.
const SLOTS: usize = 96;

/// The most positions of all slots of the cache together. If sequences are long, there are fewer slots.
const POSITIONS: usize = 1 << 16;

/// The most rows of prompts that are read in one pass. One prompt is always read, however long.
const PROMPT_ROWS: usize = 512;

choices! {
    /// Why generation ended.
    Stop {
        /// The model wrote one of its end-of-sequence tokens.
        Eos = "eos",
        /// The limit of new tokens, or the end of the context.
        Length = "length",
    }
}

/// What the model wrote after one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// New tokens, with the end-of-sequence token if it was reached.
    pub ids: Vec<u32>,
    pub stop: Stop,
}

/// Is told how generation proceeds. Every method may stop it with an error.
pub trait Watch {
    /// The logits `[vocabulary]` of the token that would follow a prompt.
    fn first(&mut self, _prompt: usize, _logits: &Tensor<1>) -> Result<()> {
        Ok(())
    }

    /// One step was taken, in which `tokens` sequences got a token each.
    fn step(&mut self, _tokens: usize) -> Result<()> {
        Ok(())
    }

    /// An answer is complete.
    fn done(&mut self, _prompt: usize, _answer: &Continuation) -> Result<()> {
        Ok(())
    }
}

/// Watches nothing.
impl Watch for () {}

/// One sequence that is being continued.
struct Active {
    prompt: usize,
    slot: usize,
    /// How many of its tokens are in the cache.
    read: usize,
    /// The most new tokens.
    limit: usize,
    ids: Vec<u32>,
}

/// Sequences in the slots of a cache.
struct Generation<'a> {
    decoder: &'a Decoder,
    prompts: &'a [&'a [u32]],
    max_new_tokens: usize,
    cache: Vec<LayerCache>,
    waiting: VecDeque<usize>,
    /// Slots without a sequence.
    free: Vec<usize>,
    active: Vec<Active>,
}

impl<'a> Generation<'a> {
    /// `order` are the prompts that are continued, in the order in which they begin.
    fn new(
        decoder: &'a Decoder,
        prompts: &'a [&'a [u32]],
        order: &[usize],
        max_new_tokens: usize,
        slots: usize,
    ) -> Self {
        let room = |prompt: &usize| prompts[*prompt].len() + max_new_tokens;
        let positions = order.iter().map(room).max().unwrap_or(1).min(decoder.config.context);
        let slots = slots.min(POSITIONS / positions.max(1)).min(order.len()).max(1);
        let cache = LayerCache::for_model(&decoder.config, slots, positions, &decoder.device, decoder.dtype);
        Self {
            decoder,
            prompts,
            max_new_tokens,
            cache,
            waiting: order.iter().copied().collect(),
            free: (0..slots).rev().collect(),
            active: Vec::new(),
        }
    }

    /// Gives free slots to waiting prompts, as many as one pass may read. They come after the sequences that are continued.
    fn admit(&mut self) {
        let mut rows = 0;
        while let Some(prompt) = self.waiting.front().copied()
            && (rows == 0 || rows + self.prompts[prompt].len() <= PROMPT_ROWS)
            && let Some(slot) = self.free.pop()
        {
            self.waiting.pop_front();
            rows += self.prompts[prompt].len();
            // The limit depends on the sequence's own prompt only, not on those beside it.
            let limit = self.max_new_tokens.min(self.decoder.config.context - self.prompts[prompt].len());
            self.active.push(Active { prompt, slot, read: 0, limit, ids: Vec::new() });
        }
    }

    /// Reads what every active sequence has not read yet, and returns the logits [sequences, vocabulary] after it.
    fn pass(&mut self) -> Result<Tensor<2>> {
        let decoder = self.decoder;
        let unread = |active: &Active| match active.ids.last() {
            None => self.prompts[active.prompt].to_vec(),
            Some(last) => vec![*last],
        };
        let ids: Vec<Vec<u32>> = self.active.iter().map(unread).collect();
        let sequences = self.active.iter().zip(&ids).map(|(active, ids)| (ids.len(), active.read, active.slot));
        let batch = decoder.batch_of(Rows::new(sequences, 0), Products::ByRow);
        let x = decoder.embedded(&ids.concat(), &batch)?;
        for (active, ids) in self.active.iter_mut().zip(&ids) {
            active.read += ids.len();
        }
        let cache = &mut self.cache;
        ops::run(decoder.ops, || {
            let y = decoder.forward(0..decoder.layers.len(), x, &batch, Some(cache), &mut Closed)?;
            let last = batch.rows.sequences.iter().map(|sequence| y.clone().narrow(0, sequence.rows.end - 1, 1));
            Ok(decoder.logits_by_row(batch.rows.join(last.collect())))
        })
    }

    fn run(&mut self, stops: &[u32], watch: &mut dyn Watch, answers: &mut [Continuation]) -> Result<()> {
        loop {
            self.admit();
            if self.active.is_empty() {
                return Ok(());
            }
            let logits = self.pass()?;
            for (row, active) in self.active.iter().enumerate().filter(|(_, active)| active.ids.is_empty()) {
                watch.first(active.prompt, &logits.clone().narrow(0, row, 1).squeeze_dim::<1>(0))?;
            }
            let next = self.decoder.ops.argmax(logits);
            watch.step(next.len())?;
            let mut staying = Vec::new();
            for (mut active, id) in std::mem::take(&mut self.active).into_iter().zip(next) {
                // With a limit of 0, the prompt was read for its logits alone.
                if active.limit > 0 {
                    active.ids.push(id);
                }
                let ended = active.limit > 0 && stops.contains(&id);
                if !ended && active.ids.len() < active.limit {
                    staying.push(active);
                    continue;
                }
                let stop = if ended { Stop::Eos } else { Stop::Length };
                let answer = Continuation { ids: active.ids, stop };
                self.free.push(active.slot);
                watch.done(active.prompt, &answer)?;
                answers[active.prompt] = answer;
            }
            self.active = staying;
        }
    }
}

impl Decoder {
    /// Continues the prompts that `order` names greedily, each until it ends. They begin in that order. The continuations of all
    /// other prompts are empty. If `max_new_tokens` is 0, prompts are only read.
    ///
    /// # Errors
    /// An empty prompt, one that fills the context, a token outside the vocabulary, or what `watch` returns.
    pub fn generate(
        &self,
        prompts: &[&[u32]],
        order: &[usize],
        max_new_tokens: usize,
        stops: &[u32],
        watch: &mut dyn Watch,
    ) -> Result<Vec<Continuation>> {
        self.generate_in_slots(prompts, order, max_new_tokens, stops, SLOTS, watch)
    }

    /// The same with at most so many sequences at once.
    fn generate_in_slots(
        &self,
        prompts: &[&[u32]],
        order: &[usize],
        max_new_tokens: usize,
        stops: &[u32],
        slots: usize,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Continuation>> {
        let context = self.config.context;
        for prompt in order {
            let length = prompts[*prompt].len();
            if length == 0 || length >= context {
                return Err(Error::user(format!(
                    "prompt {prompt} has {length} tokens; the model reads between 1 and {} and needs room for an answer",
                    context - 1
                ))
                .hint("shorten the question, or choose a model with a longer context"));
            }
        }
        let mut answers = vec![Continuation { ids: Vec::new(), stop: Stop::Length }; prompts.len()];
        let mut generation = Generation::new(self, prompts, order, max_new_tokens, slots);
        generation.run(stops, watch, &mut answers)?;
        Ok(answers)
    }

    /// [`Decoder::generate`] for all prompts in their order, watched by nobody.
    ///
    /// # Errors
    /// As there.
    pub fn continue_greedily(
        &self,
        prompts: &[&[u32]],
        max_new_tokens: usize,
        stops: &[u32],
    ) -> Result<Vec<Continuation>> {
        let order: Vec<usize> = (0..prompts.len()).collect();
        self.generate(prompts, &order, max_new_tokens, stops, &mut ())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::tensor::Device;

    use super::*;
    use crate::model::arch::config::DecoderConfig;
    use crate::model::testing::{kinds, random, small};

    /// Bits of the logits after every prompt, and the answers.
    #[derive(Default, PartialEq, Debug)]
    struct Seen {
        first: Vec<(usize, Vec<u32>)>,
        done: Vec<usize>,
    }

    impl Watch for Seen {
        fn first(&mut self, prompt: usize, logits: &Tensor<1>) -> Result<()> {
            self.first.push((prompt, logits.to_data().iter::<f32>().map(f32::to_bits).collect()));
            Ok(())
        }

        fn done(&mut self, prompt: usize, _: &Continuation) -> Result<()> {
            self.done.push(prompt);
            Ok(())
        }
    }

    fn prompts(config: &DecoderConfig, count: usize) -> Vec<Vec<u32>> {
        let id = |prompt: usize, at: usize| u32::try_from((prompt * 31 + at * 7 + 3) % config.vocab_size).unwrap();
        (0..count).map(|prompt| (0..1 + prompt * 5 % 17).map(|at| id(prompt, at)).collect()).collect()
    }

    fn generated(
        decoder: &Decoder,
        prompts: &[Vec<u32>],
        order: &[usize],
        slots: usize,
    ) -> (Vec<Continuation>, Vec<(usize, Vec<u32>)>) {
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut seen = Seen::default();
        let answers = decoder.generate_in_slots(&views, order, 9, &[5, 11, 17, 23], slots, &mut seen).unwrap();
        assert_eq!(seen.done.len(), order.len());
        seen.first.sort();
        (answers, seen.first)
    }

    #[test]
    fn answers_and_logits_have_the_same_bits_whatever_shares_their_batch() {
        let mut ends = BTreeSet::new();
        for config in kinds() {
            let decoder = random(&config, &Device::flex(), 3);
            let prompts = prompts(&config, 160);
            let order: Vec<usize> = (0..prompts.len()).collect();
            let alone = generated(&decoder, &prompts, &order, 1);
            ends.extend(alone.0.iter().map(|answer| (answer.ids.len(), answer.stop == Stop::Eos)));
            for slots in [7, 32, 96] {
                assert!(generated(&decoder, &prompts, &order, slots) == alone, "{slots} slots, {config:?}");
            }
            let mut shuffled = order.clone();
            shuffled.sort_by_key(|prompt| (prompt * 7919) % 163);
            assert!(generated(&decoder, &prompts, &shuffled, 32) == alone, "shuffled, {config:?}");
        }
        assert!(ends.len() > 5 && ends.contains(&(9, false)), "sequences leave at many steps: {ends:?}");
    }

    #[test]
    fn only_what_is_asked_for_is_continued() {
        let decoder = random(&small(), &Device::flex(), 3);
        let prompts = prompts(&small(), 5);
        let all = generated(&decoder, &prompts, &[0, 1, 2, 3, 4], 2).0;
        let some = generated(&decoder, &prompts, &[4, 1], 2).0;
        assert_eq!((&some[1], &some[4]), (&all[1], &all[4]));
        assert!(some[0].ids.is_empty());
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut seen = Seen::default();
        let read = decoder.generate(&views, &[0, 3], 0, &[], &mut seen).unwrap();
        assert!(read.iter().all(|answer| answer.ids.is_empty()) && seen.first.len() == 2);
    }

    #[test]
    fn who_watches_may_stop_it() {
        struct Stopper;
        impl Watch for Stopper {
            fn step(&mut self, _: usize) -> Result<()> {
                Err(Error::user("enough"))
            }
        }
        let decoder = random(&small(), &Device::flex(), 3);
        assert!(decoder.generate(&[&[1, 2]], &[0], 4, &[], &mut Stopper).is_err());
    }
}
