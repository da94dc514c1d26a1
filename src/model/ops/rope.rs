//! Rotary position embedding: the angles by which heads are turned (Su et al. 2021).
//!
//! The frequencies are the configuration's; how a head is turned is in [`crate::model::ops`]. Dynamic scaling is the
//! one kind whose frequencies depend on how far a batch reaches, so that keys in a cache, turned earlier, could
//! be turned by others than a query that meets them. It stretches beyond `max_position_embeddings` only, and
//! every stage keeps its texts within that context ([`DecoderConfig::check`] sees to it that the two agree), so
//! here all angles of a model are from the same frequencies. (transformers reads on beyond the context; there
//! cached keys keep the angles of their time, and frequencies depend on what was read before.)
//! Must not know: attention, caches.

use crate::model::arch::config::DecoderConfig;
use crate::model::arch::rope::RopeScaling;

/// Cosines and sines of B sequences of T positions, row-major [B, T, d/2].
#[derive(Clone, Debug)]
pub struct Angles {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl Angles {
    /// The angles of the given positions, one after another. Positions times frequencies in f32, as transformers.
    pub fn of(config: &DecoderConfig, positions: &[usize]) -> Self {
        let rope = &config.blocks[0].rope;
        let reach = match rope.scaling {
            RopeScaling::Dynamic { .. } => positions.iter().max().map_or(1, |last| last + 1),
            _ => 1,
        };
        let frequencies = rope.frequencies(config.head_dim, reach);
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
        Self { cos, sin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::small;

    /// What a cache needs: a position has the same angles whatever else is in its batch.
    #[test]
    fn within_the_context_no_angle_depends_on_its_batch() {
        let plain = small();
        let scaling = RopeScaling::Dynamic { factor: 4.0, original_context: plain.context };
        let dynamic = plain.clone().with_blocks(|block| block.rope.scaling = scaling.clone());
        dynamic.check().unwrap();
        let whole: Vec<usize> = (0..plain.context).collect();
        let (expected, all) = (Angles::of(&plain, &whole), Angles::of(&dynamic, &whole));
        assert_eq!((&all.cos, &all.sin), (&expected.cos, &expected.sin));
        let pairs = plain.head_dim / 2;
        for position in [0, 1, plain.context / 2, plain.context - 1] {
            let alone = Angles::of(&dynamic, &[position]);
            assert_eq!(alone.sin, all.sin[position * pairs..(position + 1) * pairs], "{position}");
        }
        // Beyond it they do, so the test above can fail.
        let beyond = Angles::of(&dynamic, &[1, plain.context * 2]);
        assert_ne!(beyond.sin[..pairs], all.sin[pairs..2 * pairs]);
    }
}
