//! Generation of many answers at once, with a cache of keys and values. Tokens are the likeliest ones, or drawn.
//!
//! A sequence is read, then continued token by token. When it has ended, its slot in the cache goes to the next prompt. That
//! prompt is read in the same pass in which the other sequences take their next step. The bits of a row do not depend on the
//! other rows of its batch (`ops/rows.rs`). So on a CPU an answer depends neither on the other prompts nor on
//! the number of slots.
//!
//! What all prompts begin with is read once, and its keys are shared by all sequences.
//!
//! Where a similar model's answer is known, its tokens may be read before it is certain that they follow (`draft.rs`).
//! Those that do not follow are forgotten: a pass that goes on behind the last right one writes over their keys. Must not know:
//! text, templates, judges.

mod choose;

use std::collections::VecDeque;

use burn::tensor::Tensor;

use self::choose::choose;
use super::Decoder;
use super::batch::{Batch, Products};
use super::cache::LayerCache;
use super::draft::{Draft, Record};
use super::draw::Draws;
use super::tap::Closed;
use crate::choice::choices;
use crate::error::{Error, Result};
use crate::machine::memory;
use crate::model::greedy::Greedy;
use crate::model::ops;
use crate::model::ops::rows::{Piece, Prefix, Rows};

/// The share of the memory that is left which slots may take.
const MEMORY: u64 = 4;

/// Where the system does not tell how much memory is left, as much as this.
const UNKNOWN_MEMORY: u64 = 4 << 30;

/// On a GPU, whose memory is not known here: the most sequences at once, and the most positions of all their slots together.
const GPU: (usize, usize) = (96, 1 << 16);

/// The most rows that are read in one pass: of prompts, and of tokens that are only supposed. One prompt is always read,
/// however long.
const ROWS: usize = 512;

/// The fewest tokens that all prompts must begin with if these are to be read once.
const SHARED: usize = 8;

/// The most rows whose logits are in memory at once.
const LOGITS: usize = 128;

choices! {
    /// Why generation ended.
    Stop {
        /// The model wrote one of its end-of-sequence tokens.
        Eos = "eos",
        /// The limit of new tokens, or the end of the context.
        Length = "length",
        /// A text that ends answers was written.
        Text = "text",
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
    /// Whether the logits of the token behind these new ones are wanted. Where there are drafts, not every place is asked.
    fn wants(&mut self, _prompt: usize, ids: &[u32]) -> Result<bool> {
        Ok(ids.is_empty())
    }

    /// The logits `[vocabulary]` of the token that would follow a prompt and its new tokens, where they are wanted.
    fn shown(&mut self, _prompt: usize, _logits: &Tensor<1>) -> Result<()> {
        Ok(())
    }

    /// The draws that choose the tokens. Without them, the likeliest token is taken.
    fn draws(&self) -> Option<&Draws> {
        None
    }

    /// Why an answer ends with the last of its new tokens, if it does. It is told of each token, in their order, unless the
    /// token ends the sequence anyway.
    fn ends(&mut self, _prompt: usize, _ids: &[u32]) -> Result<Option<Stop>> {
        Ok(None)
    }

    /// One step was taken, in which `tokens` sequences got a token each.
    fn step(&mut self, _tokens: usize) -> Result<()> {
        Ok(())
    }

    /// What a similar model said after a prompt, if that is known. Answers do not depend on it, but the time they take does.
    fn draft(&mut self, _prompt: usize) -> Vec<u32> {
        Vec::new()
    }

    /// So many tokens of drafts were read in a pass, and so many of them were right.
    fn supposed(&mut self, _read: usize, _right: usize) {}

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
    draft: Draft,
    /// What is read in this pass though it may not follow.
    supposed: Vec<u32>,
}

/// Sequences in the slots of a cache.
struct Generation<'a> {
    decoder: &'a Decoder,
    prompts: &'a [&'a [u32]],
    max_new_tokens: usize,
    cache: Vec<LayerCache>,
    waiting: VecDeque<usize>,
    /// What all prompts begin with, read already.
    shared: Option<Prefix>,
    /// Slots without a sequence.
    free: Vec<usize>,
    active: Vec<Active>,
    /// What all drafts showed so far.
    record: Record,
}

impl<'a> Generation<'a> {
    /// `order` are the prompts that are continued, in the order in which they begin.
    fn new(
        decoder: &'a Decoder,
        prompts: &'a [&'a [u32]],
        order: &[usize],
        max_new_tokens: usize,
        slots: Option<usize>,
    ) -> Self {
        let shared = if decoder.ops.rows_are_alone() { shared_tokens(prompts, order) } else { 0 };
        let room = |prompt: &usize| (prompts[*prompt].len() + max_new_tokens).min(decoder.config.context) - shared;
        let positions = order.iter().map(room).max().unwrap_or(1).max(1);
        let slots = slots.unwrap_or_else(|| self::slots(decoder, positions)).min(order.len()).max(1);
        let pages = shared.div_ceil(positions);
        let cache = LayerCache::for_model(&decoder.config, slots + pages, positions, &decoder.device, decoder.dtype);
        Self {
            decoder,
            prompts,
            max_new_tokens,
            cache,
            waiting: order.iter().copied().collect(),
            shared: (shared > 0).then_some(Prefix { slot: slots, page: positions, tokens: shared }),
            free: (0..slots).rev().collect(),
            active: Vec::new(),
            record: Record::UNKNOWN,
        }
    }

    /// Reads what all prompts begin with.
    fn read_shared(&mut self) -> Result<()> {
        let (Some(prefix), Some(any)) = (self.shared, self.waiting.front()) else { return Ok(()) };
        let ids = &self.prompts[*any][..prefix.tokens];
        for first in (0..ids.len()).step_by(ROWS) {
            let ids = &ids[first..ids.len().min(first + ROWS)];
            let piece = Piece { tokens: ids.len(), first, prefix: Some(prefix), ..Piece::default() };
            self.forward(vec![piece], ids)?;
        }
        Ok(())
    }

    /// Takes the ids of some pieces through all layers, and their keys and values into the cache.
    fn forward(&mut self, pieces: Vec<Piece>, ids: &[u32]) -> Result<(Batch, Tensor<2>)> {
        let decoder = self.decoder;
        let batch = decoder.batch_of(Rows::new(pieces, 0), Products::ByRow);
        let x = decoder.embedded(ids, &batch)?;
        let cache = &mut self.cache;
        let y =
            ops::run(decoder.ops, || decoder.forward(0..decoder.layers.len(), x, &batch, Some(cache), &mut Closed))?;
        Ok((batch, y))
    }

    /// How many tokens of every prompt were read before the prompt begins.
    fn shared_tokens(&self) -> usize {
        self.shared.map_or(0, |prefix| prefix.tokens)
    }

    /// Gives free slots to waiting prompts, as many as one pass may read. They come after the sequences that are continued.
    fn admit(&mut self, watch: &mut dyn Watch) {
        let (shared, mut rows) = (self.shared_tokens(), 0);
        while let Some(prompt) = self.waiting.front().copied()
            && (rows == 0 || rows + self.prompts[prompt].len() - shared <= ROWS)
            && let Some(slot) = self.free.pop()
        {
            self.waiting.pop_front();
            rows += self.prompts[prompt].len() - shared;
            // The limit depends on the sequence's own prompt only, not on those beside it.
            let limit = self.max_new_tokens.min(self.decoder.config.context - self.prompts[prompt].len());
            let draft = if self.decoder.uses_drafts() { watch.draft(prompt) } else { Vec::new() };
            let draft = Draft::new(draft);
            self.active.push(Active {
                prompt,
                slot,
                read: shared,
                limit,
                ids: Vec::new(),
                draft,
                supposed: Vec::new(),
            });
        }
        let (sequences, record) = (self.active.len(), self.record);
        let mut room = ROWS.saturating_sub(rows + sequences);
        for active in &mut self.active {
            // One token comes without a draft.
            let most = active.limit.saturating_sub(active.ids.len() + 1).min(room);
            active.supposed = active.draft.supposed(most, sequences, record).to_vec();
            room -= active.supposed.len();
        }
    }

    /// Reads what every active sequence has not read yet, and what is supposed to follow. Returns for each sequence the token
    /// behind the last certain one, and behind each supposed one: the likeliest, or the one that is drawn.
    fn pass(&mut self, greedy: &Greedy, watch: &mut dyn Watch) -> Result<Vec<Vec<u32>>> {
        let (decoder, shared) = (self.decoder, self.shared_tokens());
        let unread = |active: &Active| {
            let certain = match active.ids.last() {
                None => &self.prompts[active.prompt][shared..],
                Some(last) => std::slice::from_ref(last),
            };
            [certain, &active.supposed].concat()
        };
        let ids: Vec<Vec<u32>> = self.active.iter().map(unread).collect();
        let piece = |(active, ids): (&Active, &Vec<u32>)| Piece {
            tokens: ids.len(),
            first: active.read,
            slot: active.slot,
            prefix: self.shared,
        };
        let pieces = self.active.iter().zip(&ids).map(piece).collect();
        let (batch, y) = self.forward(pieces, &ids.concat())?;
        for (active, ids) in self.active.iter_mut().zip(&ids) {
            active.read += ids.len() - active.supposed.len();
        }
        let mut tokens = Vec::with_capacity(self.active.len());
        let mut sequences = self.active.iter().zip(&batch.rows.sequences).peekable();
        while sequences.peek().is_some() {
            let (mut some, mut rows, mut pieces) = (Vec::new(), 0, Vec::new());
            while let Some((active, sequence)) =
                sequences.next_if(|(active, _)| rows == 0 || rows + active.supposed.len() < LOGITS)
            {
                let count = active.supposed.len() + 1;
                pieces.push(y.clone().narrow(0, sequence.rows.end - count, count));
                some.push((active, rows, count));
                rows += count;
            }
            let logits = ops::run(decoder.ops, || decoder.logits_by_row(batch.rows.join(pieces)));
            for (active, row, _) in &some {
                if watch.wants(active.prompt, &active.ids)? {
                    watch.shown(active.prompt, &logits.clone().narrow(0, *row, 1).squeeze_dim::<1>(0))?;
                }
            }
            let next = choose(decoder, self.prompts, logits, &some, greedy, watch.draws())?;
            tokens.extend(some.iter().map(|(_, row, count)| next[*row..row + count].to_vec()));
        }
        Ok(tokens)
    }

    fn run(&mut self, greedy: &Greedy, watch: &mut dyn Watch, answers: &mut [Continuation]) -> Result<()> {
        self.read_shared()?;
        loop {
            self.admit(watch);
            if self.active.is_empty() {
                return Ok(());
            }
            let tokens = self.pass(greedy, watch)?;
            let (mut new, mut read, mut right) = (0, 0, 0);
            let mut staying = Vec::new();
            let mut ended = Vec::new();
            for (mut active, tokens) in std::mem::take(&mut self.active).into_iter().zip(tokens) {
                let before = active.ids.len();
                let stop = active.take(&tokens, &greedy.stops, watch)?;
                let taken = active.ids.len() - before;
                active.draft.learn(&active.ids, taken, &mut self.record);
                new += taken;
                read += active.supposed.len();
                // The last token that was taken is the one behind what was read.
                right += taken.saturating_sub(1);
                active.read += taken.saturating_sub(1);
                match stop {
                    None => staying.push(active),
                    Some(stop) => {
                        self.free.push(active.slot);
                        ended.push((active.prompt, Continuation { ids: active.ids, stop }));
                    }
                }
            }
            self.active = staying;
            watch.step(new)?;
            watch.supposed(read, right);
            for (prompt, answer) in ended {
                watch.done(prompt, &answer)?;
                answers[prompt] = answer;
            }
        }
    }
}

impl Active {
    /// Takes the tokens that follow, up to the first that was supposed otherwise. Returns why the answer ends with them, if it
    /// does.
    fn take(&mut self, tokens: &[u32], stops: &[u32], watch: &mut dyn Watch) -> Result<Option<Stop>> {
        for (index, id) in tokens.iter().enumerate() {
            // With a limit of 0, the prompt was read for its logits alone.
            if self.limit > 0 {
                self.ids.push(*id);
                if stops.contains(id) {
                    return Ok(Some(Stop::Eos));
                }
                if let Some(stop) = watch.ends(self.prompt, &self.ids)? {
                    return Ok(Some(stop));
                }
            }
            if self.ids.len() >= self.limit {
                return Ok(Some(Stop::Length));
            }
            if self.supposed.get(index) != Some(id) {
                break;
            }
        }
        Ok(None)
    }
}

/// How many tokens all these prompts begin with, so far as each has one more; 0 if they are not worth a pass of their own.
fn shared_tokens(prompts: &[&[u32]], order: &[usize]) -> usize {
    let [first, others @ ..] = order else { return 0 };
    let one = prompts[*first];
    let equal = |other: &usize| {
        let other = prompts[*other];
        let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        same.min(one.len().min(other.len()) - 1)
    };
    others.iter().map(equal).min().filter(|shared| *shared >= SHARED).unwrap_or(0)
}

/// How many sequences may be continued at once. Every step reads all weights, so a step is cheaper for each sequence when there
/// are many. Memory limits them, and that beyond [`ROWS`] a step would not be cheaper, only more would be lost with a killed
/// process.
fn slots(decoder: &Decoder, positions: usize) -> usize {
    if !decoder.ops.rows_are_alone() {
        return (GPU.1 / positions).clamp(1, GPU.0);
    }
    let config = &decoder.config;
    let widest = config.intermediate_size.max(config.hidden_size) + config.heads * config.head_dim;
    let cached = 2 * config.layers() * config.kv_heads * config.head_dim * positions;
    let bytes = decoder.dtype.size() * (cached + 4 * widest + config.vocab_size);
    let available = memory().map_or(UNKNOWN_MEMORY, |memory| memory.available_bytes);
    usize::try_from(available / MEMORY / bytes.max(1) as u64).unwrap_or(ROWS).clamp(1, ROWS)
}

impl Decoder {
    /// Whether drafts are read: only where a row has the same bits in any company does a draft lead to the same answer.
    pub fn uses_drafts(&self) -> bool {
        self.ops.rows_are_alone()
    }

    /// Continues the prompts that `order` names, each until it ends, with the likeliest tokens or with those that `watch`
    /// draws. They begin in that order. The continuations of all other prompts are empty. If `max_new_tokens` is 0, prompts are only read.
    ///
    /// # Errors
    /// An empty prompt, one that fills the context, a token outside the vocabulary, or what `watch` returns.
    pub fn generate(
        &self,
        prompts: &[&[u32]],
        order: &[usize],
        max_new_tokens: usize,
        greedy: &Greedy,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Continuation>> {
        self.generate_in_slots(prompts, order, max_new_tokens, greedy, None, watch)
    }

    /// The same with at most so many sequences at once; without a number, as many as the memory allows.
    fn generate_in_slots(
        &self,
        prompts: &[&[u32]],
        order: &[usize],
        max_new_tokens: usize,
        greedy: &Greedy,
        slots: Option<usize>,
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
        generation.run(greedy, watch, &mut answers)?;
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
        greedy: &Greedy,
    ) -> Result<Vec<Continuation>> {
        let order: Vec<usize> = (0..prompts.len()).collect();
        self.generate(prompts, &order, max_new_tokens, greedy, &mut ())
    }
}

#[cfg(test)]
mod tests;
