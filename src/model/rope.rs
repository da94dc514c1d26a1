//! Rotary position embedding: the angles by which heads are turned (Su et al. 2021).
//!
//! The frequencies are the configuration's; how a head is turned is in [`super::ops`].
//! Must not know: attention, caches.

use super::config::{DecoderConfig, RopeScaling};

/// Cosines and sines of B sequences of T positions, row-major [B, T, d/2].
#[derive(Clone, Debug)]
pub struct Angles {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl Angles {
    /// The angles of the given positions, one after another. Positions times frequencies in f32, as transformers.
    pub fn of(config: &DecoderConfig, positions: &[usize]) -> Self {
        let reach = match config.rope_scaling {
            RopeScaling::Dynamic { .. } => positions.iter().max().map_or(1, |last| last + 1),
            _ => 1,
        };
        let frequencies = config.rope_frequencies(reach);
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
