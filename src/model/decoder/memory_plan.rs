//! What scoring will take, computed in advance: operations, bytes moved, bytes held, groups of layers.
//!
//! This is pure arithmetic over a [`DecoderConfig`], the scored matrices and the samples' lengths. With it a plan can say
//! what a job will take, and choose groups and batches that fit a budget. docs/scaling.md has the formulas, and works them
//! out for a 7B model; the tests check its numbers. Must not know: tensors, devices, how fast a machine is.

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
    /// Whether |dyᵀx| is added tile by tile, as on the CPU. Then no weight gradient is ever in memory; otherwise that of one
    /// matrix is.
    pub fused: bool,
    /// The most bytes that may be held at once; `None` for no limit.
    pub budget: Option<u64>,
    /// Whether the sums are saved from time to time, from a copy in the same memory.
    pub saved: bool,
    /// Whether a product copies its weights into a packed form, so that the largest matrix is in memory twice.
    pub packs: bool,
    /// Allocator slack, in percent of the memory that every batch allocates and frees: freed blocks of earlier batches that
    /// the next batch cannot reuse, because its sizes differ.
    pub kept_percent: u64,
}

impl Setup {
    /// As on a CPU (f32, fused accumulation), but one sample at a time, without a budget, saved sums, packing and slack.
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
    /// dL/dx of the linears, down to the lowest scored matrix: 2·T·Σ|W| over those matrices whose dL/dx is needed.
    pub backward: f64,
    /// The scored matrices' dyᵀx: 2·T·Σ|W|.
    pub gradients: f64,
    /// The head at label rows, forward and backward: 4·n·vocabulary·hidden.
    pub head: f64,
    /// Attention's own products over the visible pairs: two forward, four backward, each 2·pairs·heads·head size.
    pub attention: f64,
    /// The cost of groups: the layers of all groups but the topmost run forward a second time.
    pub recomputed: f64,
}

impl Flops {
    /// What the scores need however they are computed: everything except what groups recompute.
    pub fn needed(&self) -> f64 {
        self.forward + self.backward + self.gradients + self.head + self.attention
    }

    /// Everything that is computed.
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
    /// The accumulators of the group with the most scored weights. With groups, only these are held at once.
    pub group_accumulator_bytes: u64,
    /// The activations of one batch that the layers of the largest group keep for the backward pass.
    pub activation_bytes: u64,
    /// What one layer's backward pass needs in addition: its intermediate results and, unless fused, one gradient.
    pub working_bytes: u64,
    /// Logits of one batch at label rows, and their gradient.
    pub head_bytes: u64,
    /// Every sample's inputs of all groups but the topmost, and its dL/dx between two groups; 0 without groups.
    pub group_input_bytes: u64,
    /// The copy from which the state is saved: the largest group's accumulators and the group inputs. It is never in memory
    /// at the same time as activations. 0 if nothing is saved, or if the copy is in another memory.
    pub saved_bytes: u64,
    /// The most that is held at once. It is the sum of the weights, the largest group's accumulators, the group inputs, and
    /// the greater of two things that are not held together:
    /// * the copy for saving;
    /// * activations, the greater of head and working bytes, the allocator's slack, and the largest packed matrix.
    ///
    /// The program's own memory, and copies that are made while loading, are not included.
    pub peak_bytes: u64,
    /// The bytes that accumulation reads and writes over all samples. For each sample and scored weight these are 8 if fused
    /// (the sum is read and written), and 16 if not (a gradient is written and read too).
    pub accumulator_traffic: u64,
    /// The most tokens that share a batch; 0: one sample at a time.
    pub batch_tokens: usize,
    /// The layers of each group, the topmost group first, as they are finished. One entry: no groups.
    pub groups: Vec<Range<usize>>,
    /// False if even groups of one layer and batches of one sample exceed the budget. Then the estimate is the one with the
    /// lowest peak.
    pub fits: bool,
}

/// Estimates what scoring `matrices` takes over samples of these lengths.
///
/// Chooses the fewest groups of layers that fit the budget, and then the largest batches that fit with these groups. The
/// reason is that smaller batches cost some speed, while another group costs operations.
///
/// Groups are finished one after another, the topmost first ([`super::layer_groups`]). When a group is finished, its
/// accumulators are cut to ranks, and the next group uses their memory. So the number of groups depends on the accumulators
/// rather than on the samples.
///
/// `config` must have passed [`DecoderConfig::check`]. Matrices outside it are ignored.
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

/// The batch sizes to try, in tokens: halved again and again, and at last 0, which is one sample at a time.
fn batches(most: usize) -> impl Iterator<Item = usize> {
    let halved = |tokens: &usize| (*tokens >= 256).then_some(tokens / 2);
    std::iter::successors((most > 0).then_some(most), halved).chain([0])
}

/// Splits layers into `count` ranges, the topmost first. Their lengths differ by at most one.
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
    /// For each layer, the number of pairs of a query and a key that it sees, over all samples and the layers below it. The
    /// last entry is for all layers.
    pairs: Vec<u128>,
    /// Weights of the whole model.
    weights: u128,
}

/// The number of pairs of a query and a key that it sees, summed over samples and over the layers below each one. A sample of
/// T tokens has 1 + 2 + … + T of them, minus those that the layer's window hides.
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

    /// The operations of one attention product (queries and keys, or probabilities and values) over some layers.
    fn attention(&self, layers: Range<usize>) -> u128 {
        2 * (self.pairs[layers.end] - self.pairs[layers.start]) * (self.config.heads * self.config.head_dim) as u128
    }

    /// Whether any of these matrices of a layer is scored.
    fn any(&self, layer: usize, parts: &[Projection]) -> bool {
        parts.iter().any(|part| self.scored.contains(&MatrixId::new(layer, *part)))
    }

    /// How many weights of the lowest scored layer are in matrices whose dL/dx is needed, which are those above a scored
    /// matrix; and whether the backward pass goes through attention there.
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
        // The topmost group runs backward right after its forward pass; the others run forward a second time.
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
        // A layer keeps its input, the residual between its halves, q, k, v, the output of attention, gate and up. With head
        // norms it keeps q and k twice. With norms after its halves it also keeps the inputs of these norms.
        let twice = if config.qk_norm { q + kv } else { 0 };
        let behind = if config.blocks.iter().any(|block| block.norms == Norms::Around) { 2 * hidden } else { 0 };
        let kept = 2 * hidden + 2 * q + 2 * kv + 2 * inner + twice + behind;
        // The backward pass holds the gated product and three gradients of its width, and dy and two norms of the hidden
        // width.
        let gradient = if self.setup.fused {
            0
        } else {
            self.scored.iter().map(|id| 4 * self.size(id.projection)).max().unwrap_or(0)
        };
        let working = tokens * (4 * inner + 3 * hidden) * value + gradient;
        let head = 2 * rows * config.vocab_size as u128 * value;
        let inputs = if groups.len() > 1 {
            // The topmost group's input is used at once. The inputs of the others are stored, and so is one dL/dx.
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
        // The copy for saving uses memory that the allocator kept.
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
