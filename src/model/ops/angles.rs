//! Rotary position embedding: the angles by which heads are turned (Su et al. 2021).
//!
//! The frequencies are the configuration's; how a head is turned is each device's own. Dynamic scaling is the one kind whose
//! frequencies depend on how far a batch reaches: a key in a cache, turned earlier, could meet a query that was turned by
//! other frequencies. It stretches only beyond `max_position_embeddings`, every stage keeps its texts within that context, and
//! [`Rope::check`] sees to it that the two agree. So here all angles of a layer are from the same frequencies.
//! (transformers reads on beyond the context, where cached keys keep the angles of their time.)
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
    /// The angles of rows at these positions, for heads of size d. Positions times frequencies in f32, as transformers.
    pub fn of(rope: &Rope, head_dim: usize, positions: &[usize], device: &Device, dtype: DType) -> Self {
        let (cos, sin) = table(rope, head_dim, positions);
        let tensor = |values: Vec<f32>| {
            Tensor::from_data(TensorData::new(values, [positions.len(), head_dim / 2]), (device, dtype))
        };
        Self { cos: tensor(cos), sin: tensor(sin) }
    }
}

/// Row-major cosines and sines.
fn table(rope: &Rope, head_dim: usize, positions: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let reach = match rope.scaling {
        RopeScaling::Dynamic { .. } => positions.iter().max().map_or(1, |last| last + 1),
        _ => 1,
    };
    let frequencies = rope.frequencies(head_dim, reach);
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    for position in positions {
        #[expect(clippy::cast_precision_loss, reason = "contexts are far below 2^24")]
        let position = *position as f32;
        for frequency in &frequencies {
            let (s, c) = (position * frequency).sin_cos();
            sin.push(s);
            cos.push(c);
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
