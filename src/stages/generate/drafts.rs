//! Drafts: what the nearest variant that is done answered to the same questions.
//!
//! Variants differ in few weights, so their answers often begin alike. A draft makes an answer come sooner and never another
//! one, so it is no input, and it does not matter which variants are done already.
//! Must not know: how drafts are used.

use std::collections::HashMap;

use bytes::Bytes;

use crate::error::Result;
use crate::model::patch::{Patch, PatchedTensor};
use crate::stages::Context;
use crate::tables::{Answer, Row};

/// The input in which variants differ.
const PATCH: &str = "patch";

/// The ids of answers by the ids of their prompts.
pub type Drafts = HashMap<Vec<u32>, Vec<u32>>;

/// What the nearest variant answered; empty if none is done. What cannot be read is passed over.
pub fn of_nearest(context: &Context<'_>) -> Result<Drafts> {
    let own = if context.inputs.contains_key(PATCH) { weights(Some(&context.read(PATCH)?)) } else { weights(None) };
    let Some(own) = own else { return Ok(Drafts::new()) };
    let relatives = (context.relatives)(PATCH, "answers")?;
    let distance = |patch: &Option<Bytes>| Some(differing(&own, &weights(patch.as_ref())?));
    let nearest = relatives
        .into_iter()
        .filter_map(|relative| Some((distance(&relative.input)?, relative.output)))
        .min_by_key(|(distance, _)| *distance);
    let answers = nearest.and_then(|(_, answers)| Answer::from_parquet(answers).ok()).unwrap_or_default();
    Ok(answers.into_iter().map(|answer| (answer.prompt_ids, answer.answer_ids)).collect())
}

/// The tensors that a patch changes; none without a patch.
fn weights(patch: Option<&Bytes>) -> Option<Vec<PatchedTensor>> {
    patch.map_or(Some(Vec::new()), |patch| Some(Patch::from_safetensors(patch).ok()?.tensors))
}

/// How many weights one of two patches changes and the other does not, or to another value. A weight with two values counts
/// twice.
fn differing(one: &[PatchedTensor], other: &[PatchedTensor]) -> usize {
    let count = |patches: &[PatchedTensor]| patches.iter().map(|patched| patched.indices.len()).sum::<usize>();
    let pairs = one.iter().flat_map(|here| {
        other.iter().filter(|there| there.tensor == here.tensor).map(move |there| shared(here, there))
    });
    count(one) + count(other) - 2 * pairs.sum::<usize>()
}

/// How many weights two patches of one tensor change to the same value. Indices ascend.
fn shared(one: &PatchedTensor, other: &PatchedTensor) -> usize {
    let mut theirs = other.indices.iter().zip(&other.values).peekable();
    let mut count = 0;
    for (index, value) in one.indices.iter().zip(&one.values) {
        while theirs.next_if(|(other, _)| *other < index).is_some() {}
        let same = theirs.peek().is_some_and(|(other, theirs)| *other == index && theirs.to_bits() == value.to_bits());
        count += usize::from(same);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::model::Dtype;

    #[test]
    fn a_distance_counts_the_weights_that_are_not_changed_alike() {
        let patch = |tensor: &str, weights: &[(u32, f32)]| PatchedTensor {
            tensor: tensor.into(),
            indices: weights.iter().map(|(index, _)| *index).collect(),
            values: weights.iter().map(|(_, value)| *value).collect(),
            original: vec![1.0; weights.len()],
            dtype: Dtype::F32,
            base: Digest::of(b""),
        };
        let one = [patch("a", &[(1, 0.0), (4, 0.0), (9, 0.0)]), patch("b", &[(1, 0.0)])];
        let other = [patch("a", &[(0, 0.0), (4, 0.0), (9, 2.0)]), patch("c", &[(1, 0.0)])];
        assert_eq!((differing(&one, &one), differing(&one, &[]), differing(&[], &[])), (0, 4, 0));
        assert_eq!(differing(&one, &other), 6);
        assert_eq!(differing(&other, &one), 6);
    }
}
