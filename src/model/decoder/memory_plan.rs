//! What scoring costs, before it is done: operations, bytes moved, bytes held, groups of layers.
//!
//! Pure arithmetic over a [`DecoderConfig`], the scored matrices and the samples' lengths, so that
//! a plan can say what a job will take and choose groups and batches that fit a budget. docs/scaling.md derives
//! the formulas and works them out for a 7B model; its numbers are checked in cost_tests.rs.
//! Must not know: tensors, devices, how fast a machine is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::sample::together;
use crate::model::arch::config::{DecoderConfig, Norms};
use crate::model::matrix::{MatrixId, Projection};

/// How long one sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Tokens that are read, T; below 2^40.
    pub inputs: usize,
    /// Tokens whose prediction counts, n; logits exist at their rows alone.
    pub labels: usize,
}

/// How the pass is run. None of it changes a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Bytes of a weight and of an activation on the device: 4 for f32, 2 for bf16. Accumulators are always f32.
    pub value_bytes: u64,
    /// The most tokens that share a batch, if memory allows; a longer sample travels alone. 0: always one at a time.
    pub batch_tokens: usize,
    /// |dyᵀx| is added tile by tile (the CPU), so that no weight gradient exists; else one of the largest matrix does.
    pub fused: bool,
    /// The most bytes that may be held at once; none: as many as it takes.
    pub budget: Option<u64>,
    /// What was summed is written down now and then, from a copy in the same memory.
    pub saved: bool,
    /// Products pack their weights in memory of their own, so that the largest matrix is there twice.
    pub packs: bool,
    /// What of the memory that comes and goes with every batch is kept beside it, in percent: pieces of other batches'
    /// sizes that fit nothing.
    pub kept_percent: u64,
}

impl Setup {
    /// One sample at a time, in f32, accumulation fused, no budget, nothing written down: the CPU's way.
    pub const CPU: Self = Self {
        value_bytes: 4,
        batch_tokens: 0,
        fused: true,
        budget: None,
        saved: false,
        packs: false,
        kept_percent: 0,
    };

    /// [`Setup::kept_percent`] of a CPU, as measured (`cargo bench --bench scoring -- --memory`, docs/scaling.md).
    pub const KEPT_ON_CPU: u64 = 40;
}

/// Floating point operations of matrix products over all samples; a multiplication and an addition are two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flops {
    /// The linears of every layer, forward: 2·T·Σ|W|.
    pub forward: f64,
    /// dL/dx of the linears, down to the lowest scored matrix: 2·T·Σ|W| over those whose dL/dx something needs.
    pub backward: f64,
    /// The scored matrices' dyᵀx: 2·T·Σ|W|.
    pub gradients: f64,
    /// The head at label rows, forward and backward: 4·n·vocabulary·hidden.
    pub head: f64,
    /// Attention's own products over the visible pairs: two forward, four backward, each 2·pairs·heads·head size.
    pub attention: f64,
    /// What groups cost: the layers of every group but the topmost are run forward a second time.
    pub recomputed: f64,
}

impl Flops {
    /// What any way of computing the scores needs: everything but what groups recompute.
    pub fn needed(&self) -> f64 {
        self.forward + self.backward + self.gradients + self.head + self.attention
    }

    /// What this way computes.
    pub fn total(&self) -> f64 {
        self.needed() + self.recomputed
    }
}

/// What a scoring job will take. Bytes saturate instead of overflowing.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub flops: Flops,
    /// Weights that are scored.
    pub scored: u64,
    /// The model on the device; a tied head counts once.
    pub weight_bytes: u64,
    /// All accumulators together: 4 bytes a scored weight. Without groups they are held at once.
    pub accumulator_bytes: u64,
    /// The accumulators of the group that has most; what is held at once with groups.
    pub group_accumulator_bytes: u64,
    /// What the layers of the largest group keep of one batch's forward pass for its backward pass.
    pub activation_bytes: u64,
    /// What one layer's backward pass needs besides: its own intermediate results and, unless fused, one gradient.
    pub working_bytes: u64,
    /// Logits of one batch at label rows, and their gradient.
    pub head_bytes: u64,
    /// Every sample's input of every group but the topmost, and its dL/dx between two groups; 0 without groups.
    pub group_input_bytes: u64,
    /// What is copied in order to be written down: the largest group's accumulators and the group inputs, at another
    /// time than activations; 0 where that is not done or is done elsewhere.
    pub saved_bytes: u64,
    /// The most that is held at once: weights, the largest group's accumulators, group inputs, and
    /// the greater of what is copied and of activations with the greater of head and working bytes, what is kept
    /// beside these and the largest packed matrix. A program's own memory and copies made while loading are not in it.
    pub peak_bytes: u64,
    /// What accumulation reads and writes over all samples: per sample and scored weight 8 bytes (the sum, in and
    /// out) where fused, 16 where a gradient is written and read again.
    pub accumulator_traffic: u64,
    /// The most tokens that share a batch; 0: one sample at a time.
    pub batch_tokens: usize,
    /// The layers of each group, the topmost group first, as they are finished. One entry: no groups.
    pub groups: Vec<Range<usize>>,
    /// False if even groups of one layer and batches of one sample exceed the budget; the estimate is then the one that
    /// needs least.
    pub fits: bool,
}

/// What scoring `matrices` over samples of these lengths takes, the fewest groups of layers that fit the budget and the
/// largest batches that fit with these: smaller batches cost some speed, another group costs operations.
///
/// Groups are finished one after another, the topmost first: all samples' inputs of a group are kept, its inside is
/// run again, its accumulators are cut to ranks and their memory is used by the next. So accumulators, not samples,
/// decide how many groups there are, and any number of groups costs less than one more forward pass.
///
/// `config` has passed [`DecoderConfig::check`]. Matrices outside it are ignored.
pub fn estimate(config: &DecoderConfig, matrices: &[MatrixId], lengths: &[Length], setup: &Setup) -> Estimate {
    let scored: BTreeSet<MatrixId> = matrices.iter().copied().filter(|id| id.layer < config.layers()).collect();
    let job = Job::new(config, scored, lengths, setup);
    let lowest = job.lowest();
    let layers = config.layers() - lowest;
    let mut least: Option<Estimate> = None;
    for groups in 1..=layers.max(1) {
        for batch_tokens in batches(setup.batch_tokens) {
            let estimate = job.in_groups(split(lowest..config.layers(), groups), batch_tokens);
            if estimate.fits {
                return estimate;
            }
            if least.as_ref().is_none_or(|least| estimate.peak_bytes < least.peak_bytes) {
                least = Some(estimate);
            }
        }
    }
    least.unwrap_or_else(|| job.in_groups(split(lowest..config.layers(), 1), 0))
}

/// Fewer and fewer tokens, down to one sample at a time.
fn batches(most: usize) -> impl Iterator<Item = usize> {
    let halved = |tokens: &usize| (*tokens >= 256).then_some(tokens / 2);
    std::iter::successors((most > 0).then_some(most), halved).chain([0])
}

/// Layers in `count` runs whose lengths differ by one at most, the topmost first.
fn split(layers: Range<usize>, count: usize) -> Vec<Range<usize>> {
    let total = layers.len();
    (0..count)
        .rev()
        .map(|group| layers.start + total * group / count..layers.start + total * (group + 1) / count)
        .collect()
}

fn numel(shape: &[usize]) -> u128 {
    shape.iter().map(|side| *side as u128).product()
}

fn bytes(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "an amount of work")]
fn amount(value: u128) -> f64 {
    value as f64
}

/// Weights of one matrix; every layer has the same.
fn size(config: &DecoderConfig, projection: Projection) -> u128 {
    let hidden = config.hidden_size as u128;
    hidden
        * match projection {
            Projection::Q | Projection::O => (config.heads * config.head_dim) as u128,
            Projection::K | Projection::V => (config.kv_heads * config.head_dim) as u128,
            Projection::Gate | Projection::Up | Projection::Down => config.intermediate_size as u128,
        }
}

struct Job<'a> {
    config: &'a DecoderConfig,
    scored: BTreeSet<MatrixId>,
    lengths: &'a [Length],
    setup: &'a Setup,
    /// Scored weights of each layer.
    sizes: Vec<u128>,
    /// Pairs of a query and a key that it sees, over all samples and the layers below each one; the last entry is of all.
    pairs: Vec<u128>,
    /// Weights of the whole model.
    weights: u128,
}

/// Pairs of a query and a key that it sees, summed over samples and over the layers below each one: in a sample of T tokens
/// 1 + 2 + … + T, less what the layer's window hides.
fn pairs_below(config: &DecoderConfig, lengths: &[Length]) -> Vec<u128> {
    let triangle = |side: u128| side * (side + 1) / 2;
    let in_one = |window: Option<usize>| -> u128 {
        let window = window.map_or(u128::MAX, |window| window as u128);
        let tokens = lengths.iter().map(|length| length.inputs as u128);
        tokens.map(|tokens| triangle(tokens) - triangle(tokens.saturating_sub(window))).sum()
    };
    let mut known = BTreeMap::new();
    let mut sums = vec![0];
    for block in &config.blocks {
        let here = *known.entry(block.window).or_insert_with(|| in_one(block.window));
        sums.push(sums.last().map_or(here, |below| below + here));
    }
    sums
}

impl<'a> Job<'a> {
    fn new(config: &'a DecoderConfig, scored: BTreeSet<MatrixId>, lengths: &'a [Length], setup: &'a Setup) -> Self {
        let weights = config.tensors().iter().map(|spec| numel(&spec.shape)).sum();
        let mut sizes = vec![0; config.layers()];
        for id in &scored {
            sizes[id.layer] += size(config, id.projection);
        }
        Self { config, scored, lengths, setup, sizes, pairs: pairs_below(config, lengths), weights }
    }

    /// No gradient flows below this layer.
    fn lowest(&self) -> usize {
        self.scored.first().map_or(self.config.layers(), |id| id.layer)
    }

    fn size(&self, projection: Projection) -> u128 {
        size(self.config, projection)
    }

    fn layer_size(&self) -> u128 {
        Projection::ALL.iter().map(|projection| self.size(*projection)).sum()
    }

    fn scored_size(&self, layers: &Range<usize>) -> u128 {
        self.sizes[layers.clone()].iter().sum()
    }

    fn tokens(&self) -> u128 {
        self.lengths.iter().map(|length| length.inputs as u128).sum()
    }

    /// Operations of one product over the pairs of some layers: of queries and keys, or of probabilities and values.
    fn attention(&self, layers: Range<usize>) -> u128 {
        2 * (self.pairs[layers.end] - self.pairs[layers.start]) * (self.config.heads * self.config.head_dim) as u128
    }

    /// Does any of these matrices of this layer have a score?
    fn any(&self, layer: usize, parts: &[Projection]) -> bool {
        parts.iter().any(|part| self.scored.contains(&MatrixId::new(layer, *part)))
    }

    /// The weights of the lowest scored layer whose dL/dx something needs: only what lies above a scored matrix.
    fn lowest_backward(&self, lowest: usize) -> (u128, bool) {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let heads = self.any(lowest, &[Q, K, V]);
        let attention = heads || self.any(lowest, &[O]);
        let gates = attention || self.any(lowest, &[Gate, Up]);
        let wanted = [(heads, O), (attention, Gate), (attention, Up), (gates, Down)];
        (wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, part)| self.size(*part)).sum(), heads)
    }

    fn flops(&self, groups: &[Range<usize>]) -> Flops {
        let config = self.config;
        let (tokens, lowest) = (self.tokens(), self.lowest());
        let (layers, lowest_layer) = (config.layers(), lowest..(lowest + 1).min(config.layers()));
        let labels: u128 = self.lengths.iter().map(|length| length.labels as u128).sum();
        let (below, through) = if lowest < layers { self.lowest_backward(lowest) } else { (0, false) };
        let above = (layers - lowest).saturating_sub(1) as u128;
        // The topmost group is run forward and at once backward, sample by sample; the others a second time.
        let again = groups.iter().skip(1);
        let again =
            again.map(|group| 2 * tokens * group.len() as u128 * self.layer_size() + 2 * self.attention(group.clone()));
        let backward = self.attention(lowest_layer.end..layers) + u128::from(through) * self.attention(lowest_layer);
        Flops {
            forward: amount(2 * tokens * layers as u128 * self.layer_size()),
            backward: amount(2 * tokens * (above * self.layer_size() + below)),
            gradients: amount(2 * tokens * self.scored_size(&(0..config.layers()))),
            head: amount(4 * labels * config.vocab_size as u128 * config.hidden_size as u128),
            attention: amount(2 * self.attention(0..layers) + 4 * backward),
            recomputed: amount(again.sum()),
        }
    }

    /// The most tokens and the most label rows of any batch.
    fn batch(&self, tokens: usize) -> (u128, u128) {
        let (mut most, mut rest) = ((0, 0), self.lengths);
        while !rest.is_empty() {
            let count = together(rest.iter().map(|length| length.inputs), tokens);
            let (batch, others) = rest.split_at(count.min(rest.len()));
            let sum = |of: fn(&Length) -> usize| batch.iter().map(|length| of(length) as u128).sum::<u128>();
            most = (most.0.max(sum(|length| length.inputs)), most.1.max(sum(|length| length.labels)));
            rest = others;
        }
        most
    }

    fn in_groups(&self, groups: Vec<Range<usize>>, batch_tokens: usize) -> Estimate {
        let config = self.config;
        let (hidden, inner) = (config.hidden_size as u128, config.intermediate_size as u128);
        let (q, kv) = ((config.heads * config.head_dim) as u128, (config.kv_heads * config.head_dim) as u128);
        let value = u128::from(self.setup.value_bytes);
        let (tokens, rows) = self.batch(batch_tokens);

        let weights = self.weights;
        let scored = self.scored_size(&(0..config.layers()));
        let most = groups.iter().map(|group| self.scored_size(group)).max().unwrap_or(0);
        let deepest = groups.iter().map(Range::len).max().unwrap_or(0) as u128;
        // A layer keeps its input, the middle, q, k, v, what attention gives, gate and up; with head norms q and k twice;
        // with norms behind its halves also what these are taken of.
        let twice = if config.qk_norm { q + kv } else { 0 };
        let behind = if config.blocks.iter().any(|block| block.norms == Norms::Around) { 2 * hidden } else { 0 };
        let kept = 2 * hidden + 2 * q + 2 * kv + 2 * inner + twice + behind;
        // On the way back: the gated product and three gradients of its width, dy and two norms of the hidden width.
        let gradient = if self.setup.fused {
            0
        } else {
            self.scored.iter().map(|id| 4 * self.size(id.projection)).max().unwrap_or(0)
        };
        let working = tokens * (4 * inner + 3 * hidden) * value + gradient;
        let head = 2 * rows * config.vocab_size as u128 * value;
        let inputs = if groups.len() > 1 {
            // The topmost group is done as soon as its input is there; the others' inputs wait, and so does dL/dx.
            groups.len() as u128 * self.tokens() * hidden * value
        } else {
            0
        };
        let activations = deepest * tokens * kept * value;
        let saved = if self.setup.saved { 4 * most + inputs } else { 0 };
        let passing = activations + working.max(head);
        let kept = passing * u128::from(self.setup.kept_percent) / 100;
        let largest = config.tensors().iter().map(|spec| numel(&spec.shape)).max().unwrap_or(0);
        let packed = if self.setup.packs { largest * value } else { 0 };
        // Memory that is kept serves the copy that is written down.
        let passing = (passing + kept + packed).max(saved);
        let peak = bytes(weights * value + 4 * most + inputs + passing);
        let moved = if self.setup.fused { 8 } else { 16 };
        Estimate {
            flops: self.flops(&groups),
            scored: bytes(scored),
            weight_bytes: bytes(weights * value),
            accumulator_bytes: bytes(4 * scored),
            group_accumulator_bytes: bytes(4 * most),
            activation_bytes: bytes(activations),
            working_bytes: bytes(working),
            head_bytes: bytes(head),
            group_input_bytes: bytes(inputs),
            saved_bytes: bytes(saved),
            peak_bytes: peak,
            accumulator_traffic: bytes(moved * scored * self.lengths.len() as u128),
            batch_tokens,
            groups,
            fits: self.setup.budget.is_none_or(|budget| peak <= budget),
        }
    }
}

#[cfg(test)]
mod tests;
