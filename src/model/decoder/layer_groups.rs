//! The scoring pass in groups of layers: less memory, the same bits.
//!
//! Groups are finished from the top. The first round runs every sample forward through the whole model, and stores its
//! input of every group. The topmost group runs backward at once. Each later round takes the next group down: a sample
//! runs forward through the group again from its stored input, keeping activations, and then backward from the dL/dy that
//! the group above stored.
//!
//! So gradient sums exist for one group at a time, and any number of groups costs less than one more forward pass. The
//! plain pass is the case of one group; there is no other code. Operations and their order are the same for any grouping.
//! Must not know: scores, how groups are chosen ([`super::memory_plan`]), files.

use std::collections::VecDeque;
use std::ops::Range;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::Decoder;
use super::batch::Batch;
use super::sample::Sample;
use super::tap::{Closed, Tap};
use crate::error::{Error, Result};
use crate::model::matrix::Projection;
use crate::model::ops;

/// The pass over one data set, group after group.
pub struct LayerGroups {
    /// The layers of each group, the topmost first; together one range that ends with the last layer.
    groups: Vec<Range<usize>>,
    /// The present group.
    at: usize,
    /// For each group, a queue of its inputs: one tensor [T, hidden] for each sample that the group has not had yet.
    inputs: Vec<VecDeque<Tensor<2>>>,
    /// A queue, one tensor [T, hidden] a sample. In front: dL/d(output) of the present group, for the samples that it has not
    /// had yet. Behind: dL/d(input), ready for the group below.
    gradients: VecDeque<Tensor<2>>,
    device: Device,
    dtype: DType,
    hidden: usize,
}

impl LayerGroups {
    /// Starts before the first sample of the topmost group. No gradient flows below the last group, so no layer below it
    /// may be scored.
    pub fn new(decoder: &Decoder, groups: Vec<Range<usize>>) -> Self {
        Self {
            at: 0,
            inputs: vec![VecDeque::new(); groups.len()],
            gradients: VecDeque::new(),
            groups,
            device: decoder.device.clone(),
            dtype: decoder.dtype,
            hidden: decoder.config.hidden_size,
        }
    }

    /// Starts a group. Group 0 starts everything anew. Any other group may start once the group above has had every
    /// sample.
    pub fn begin(&mut self, group: usize) {
        self.at = group;
        if group == 0 {
            self.inputs.iter_mut().for_each(VecDeque::clear);
            self.gradients.clear();
        }
    }

    /// Takes some samples through the present group, as one batch. Every group must get the same samples in the same order,
    /// but they may be batched differently. The tap should want matrices of the present group only. Returns the losses of
    /// the samples in nats for the topmost group, as [`Decoder::losses_and_gradients`] does, and nothing for the others.
    ///
    /// # Errors
    /// A sample without a response token, a token outside the vocabulary.
    pub fn add(&mut self, decoder: &Decoder, samples: &[Sample], tap: &mut dyn Tap) -> Result<Vec<f64>> {
        if let Some(index) = samples.iter().position(|sample| sample.labels().is_empty()) {
            return Err(Error::user(format!("sample {index} has no response token to predict"))
                .hint("every response must have at least one token, and a prompt before it"));
        }
        let batch = decoder.batch(samples.iter().map(Sample::inputs));
        ops::run(decoder.ops, || self.step(decoder, samples, &batch, tap))
    }

    fn step(&mut self, decoder: &Decoder, samples: &[Sample], batch: &Batch, tap: &mut dyn Tap) -> Result<Vec<f64>> {
        let lost = || Error::fault("a group of layers was begun before the one above it had every sample");
        let group = self.groups.get(self.at).cloned().ok_or_else(lost)?;
        let next = |queue: &mut VecDeque<Tensor<2>>| {
            let count = samples.len();
            if queue.len() < count { Err(lost()) } else { Ok(batch.rows.join(queue.drain(..count).collect())) }
        };
        let (x, dy) = if self.at == 0 {
            (self.climb(decoder, samples, batch)?, None)
        } else {
            let x = next(self.inputs.get_mut(self.at).ok_or_else(lost)?)?;
            (x, Some(next(&mut self.gradients)?))
        };
        let (y, kept) = decoder.forward_keeping(group.clone(), x, batch)?;
        let (losses, dy) = match dy {
            None => decoder.head_backward(&y, samples, batch),
            Some(dy) => (Vec::new(), dy),
        };
        let below = self.at + 1 < self.groups.len();
        let dx = decoder.backward_layers(group.start, kept, dy, batch, tap, below)?;
        if below {
            let dx = dx.ok_or_else(|| Error::fault("no gradient came out of a group of layers"))?;
            self.gradients.extend(batch.rows.split(&dx));
        }
        Ok(losses)
    }

    /// Runs the samples forward to the input of the topmost group, and stores their inputs of the other groups.
    fn climb(&mut self, decoder: &Decoder, samples: &[Sample], batch: &Batch) -> Result<Tensor<2>> {
        let ids: Vec<u32> = samples.iter().flat_map(|sample| &sample.ids[..sample.inputs()]).copied().collect();
        let mut x = decoder.embedded(&ids, batch)?;
        let mut below = 0;
        for (group, layers) in self.groups.iter().enumerate().rev() {
            x = decoder.forward(below..layers.start, x, batch, None, &mut Closed)?;
            below = layers.start;
            if group > 0
                && let Some(inputs) = self.inputs.get_mut(group)
            {
                inputs.extend(batch.rows.split(&x));
            }
        }
        Ok(x)
    }

    /// All queues, in the order in which a snapshot has them.
    fn queues(&self) -> impl Iterator<Item = &VecDeque<Tensor<2>>> {
        self.inputs.iter().chain([&self.gradients])
    }

    /// The length of [`LayerGroups::snapshot`] in bytes.
    pub fn snapshot_len(&self) -> usize {
        let tensors = |queue: &VecDeque<Tensor<2>>| {
            8 + queue.iter().map(|tensor| 8 + 4 * tensor.dims().iter().product::<usize>()).sum::<usize>()
        };
        if self.groups.len() > 1 { self.queues().map(tensors).sum() } else { 0 }
    }

    /// Appends the queues between groups to `bytes`: the length of each queue (u64), and for each tensor its number of rows
    /// (u64) and its values (f32), all little-endian. Appends nothing if there is one group.
    ///
    /// # Errors
    /// If the device does not give a tensor back.
    pub fn snapshot(&self, bytes: &mut Vec<u8>) -> Result<()> {
        if self.groups.len() < 2 {
            return Ok(());
        }
        for queue in self.queues() {
            bytes.extend((queue.len() as u64).to_le_bytes());
            for tensor in queue {
                bytes.extend((tensor.dims()[0] as u64).to_le_bytes());
                let values = tensor.clone().cast(DType::F32).try_to_vec_as::<f32>();
                let values = values
                    .map_err(|error| Error::fault(format!("the device did not give activations back: {error}")))?;
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        Ok(())
    }

    /// Restores a snapshot that was taken in the present group. Returns false, and changes nothing, if the bytes are not
    /// such a snapshot.
    pub fn restore(&mut self, bytes: &[u8]) -> bool {
        if self.groups.len() < 2 {
            return bytes.is_empty();
        }
        let Some((mut queues, [])) = self.parse(bytes) else { return false };
        let Some(gradients) = queues.pop() else { return false };
        (self.inputs, self.gradients) = (queues, gradients);
        true
    }

    /// The queues of a snapshot, and the bytes that follow them.
    fn parse<'a>(&self, bytes: &'a [u8]) -> Option<(Vec<VecDeque<Tensor<2>>>, &'a [u8])> {
        fn number<'a>(bytes: &mut &'a [u8]) -> Option<usize> {
            let (number, rest): (&'a [u8; 8], _) = bytes.split_first_chunk()?;
            *bytes = rest;
            usize::try_from(u64::from_le_bytes(*number)).ok()
        }
        let mut rest = bytes;
        let mut queues = Vec::new();
        for _ in 0..=self.inputs.len() {
            let mut queue = VecDeque::new();
            for _ in 0..number(&mut rest)? {
                let rows = number(&mut rest)?;
                let (values, behind) = rest.split_at_checked(rows.checked_mul(self.hidden)?.checked_mul(4)?)?;
                rest = behind;
                let values: Vec<f32> =
                    values.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
                let data = TensorData::new(values, [rows, self.hidden]);
                queue.push_back(Tensor::from_data(data, (&self.device, self.dtype)));
            }
            queues.push(queue);
        }
        Some((queues, rest))
    }
}

impl Decoder {
    /// Runs the samples forward and backward as one batch. Returns the loss of each sample: the mean cross entropy over its
    /// response tokens, in nats. The gradients are those of the *sum* of the losses. Samples have rows of their own, so a
    /// tap can tell them apart.
    ///
    /// # Errors
    /// A sample without a response token, or a token outside the vocabulary.
    pub fn losses_and_gradients(&self, samples: &[Sample], tap: &mut dyn Tap) -> Result<Vec<f64>> {
        let wanted = |layer: &usize| tap.wants_any(*layer, &Projection::ALL);
        let lowest = (0..self.layers.len()).find(wanted).unwrap_or(self.layers.len());
        LayerGroups::new(self, std::iter::once(lowest..self.layers.len()).collect()).add(self, samples, tap)
    }
}

#[cfg(test)]
mod tests;
