//! Rotary position embedding: the angles by which heads are turned (Su et al. 2021).
//!
//! The frequencies come from the configuration. The rotation itself is in [`super::Ops::rotate`].
//!
//! With dynamic scaling, the frequencies depend on how far a batch reaches. A key in a cache could then meet a query that was
//! rotated by other frequencies. This does not happen here: dynamic scaling changes frequencies only beyond
//! `max_position_embeddings`, every stage keeps its texts within that context, and [`Rope::check`] checks that the two agree.
//! So all angles of a layer come from the same frequencies. (transformers reads on beyond the context. There cached keys
//! keep the angles with which they were rotated.)
//! YaRN makes rotated vectors longer. Its multiplier is part of the cosines and sines, as in transformers, so the rotation
//! and its backward pass need not know of it.
//!
//! Must not know: attention, caches.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::model::arch::rope::{Rope, RopeScaling};

/// Cosines and sines of N rows, [N, d/2] each, on the device.
#[derive(Clone, Debug)]
pub struct Angles {
    pub cos: Tensor<2>,
    pub sin: Tensor<2>,
}

impl Angles {
    /// The angles of rows at these positions, for heads of size d. As in transformers, positions and frequencies are
    /// multiplied in f32.
    pub fn of(rope: &Rope, head_dim: usize, positions: &[usize], device: &Device, dtype: DType) -> Self {
        let (cos, sin) = table(rope, head_dim, positions);
        let tensor = |values: Vec<f32>| {
            Tensor::from_data(TensorData::new(values, [positions.len(), head_dim / 2]), (device, dtype))
        };
        Self { cos: tensor(cos), sin: tensor(sin) }
    }
}

/// Row-major cosines and sines, each times the rope's magnitude.
fn table(rope: &Rope, head_dim: usize, positions: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let reach = match rope.scaling {
        RopeScaling::Dynamic { .. } => positions.iter().max().map_or(1, |last| last + 1),
        _ => 1,
    };
    let frequencies = rope.frequencies(head_dim, reach);
    #[expect(clippy::cast_possible_truncation, reason = "computed in f32, as transformers does")]
    let magnitude = rope.magnitude() as f32;
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in positions {
        #[expect(clippy::cast_precision_loss, reason = "contexts are far below 2^24")]
        let position = *position as f32;
        for frequency in &frequencies {
            let (s, c) = (position * frequency).sin_cos();
            sin.push(s * magnitude);
            cos.push(c * magnitude);
        }
    }
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a cache needs: a position has the same angles whatever else is in its batch.
    #[test]
    fn within_the_context_no_angle_depends_on_its_batch() {
        let (context, head_dim) = (64, 8);
        let plain = Rope::plain(10000.0);
        let dynamic =
            Rope { scaling: RopeScaling::Dynamic { factor: 4.0, original_context: context }, ..plain.clone() };
        dynamic.check(context).unwrap();
        let whole: Vec<usize> = (0..context).collect();
        let all = table(&dynamic, head_dim, &whole);
        assert_eq!(all, table(&plain, head_dim, &whole));
        let pairs = head_dim / 2;
        for position in [0, 1, context / 2, context - 1] {
            let (_, sin) = table(&dynamic, head_dim, &[position]);
            assert_eq!(sin, all.1[position * pairs..(position + 1) * pairs], "{position}");
        }
        // Beyond it they do, so the test above can fail.
        let (_, beyond) = table(&dynamic, head_dim, &[1, context * 2]);
        assert_ne!(beyond[..pairs], all.1[pairs..2 * pairs]);
    }
}
