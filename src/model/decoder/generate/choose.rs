//! Which token follows: the likeliest, by the rules that a model's makers ask for, or one that is drawn.
//!
//! Must not know: caches, slots, what is done with the token.

use burn::tensor::{DType, Tensor};

use super::Active;
use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::decoder::draw::Draws;
use crate::model::greedy::Greedy;

/// The token behind each of the rows of logits `[rows, vocabulary]`: the likeliest, or the one that is drawn. `some` are the
/// sequences that they belong to, each with its first row and the number of its rows: one behind what is certain, and one
/// behind each supposed token.
pub(super) fn choose(
    decoder: &Decoder,
    prompts: &[&[u32]],
    logits: Tensor<2>,
    some: &[(&Active, usize, usize)],
    greedy: &Greedy,
    draws: Option<&Draws>,
) -> Result<Vec<u32>> {
    if greedy.adjustments.are_none() && draws.is_none() {
        return Ok(decoder.ops.argmax(logits));
    }
    // Each row by the rules for its own sequence, in f32 as in transformers.
    let [rows, width] = logits.dims();
    let values = logits.cast(DType::F32).to_data().try_to_vec();
    let mut values: Vec<f32> = values.map_err(|cause| Error::fault(format!("logits cannot be read: {cause:?}")))?;
    let mut tokens = vec![0; rows];
    for (active, first, count) in some {
        let mut answer = active.ids.clone();
        for supposed in 0..*count {
            let row = &mut values[(first + supposed) * width..][..width];
            if !greedy.adjustments.are_none() {
                greedy.adjust(row, prompts[active.prompt], &answer);
            }
            tokens[first + supposed] = match draws {
                None => highest(row),
                Some(draws) => draws.token(active.prompt, answer.len(), row),
            };
            answer.extend(active.supposed.get(supposed));
        }
    }
    Ok(tokens)
}

/// The first of the highest logits.
fn highest(logits: &[f32]) -> u32 {
    let first = (0, f32::NEG_INFINITY);
    (0_u32..).zip(logits).fold(first, |highest, (id, logit)| if *logit > highest.1 { (id, *logit) } else { highest }).0
}
