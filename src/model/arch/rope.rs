//! Rotary position embeddings of a layer: base, scaling, and the frequencies that follow from them.
//!
//! Must not know: layers, heads, how a head is turned.

use serde::Serialize;

use crate::error::{Error, Result};

/// How rotary frequencies are stretched for contexts longer than the model was first trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RopeScaling {
    None,
    /// Positions divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp between them.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: usize,
    },
    /// Dynamic NTK: plain up to `original_context` positions, which is the whole context; beyond them the base grows
    /// with the length.
    Dynamic {
        factor: f64,
        original_context: usize,
    },
    /// YaRN (Peng et al. 2023): pairs that turn more than `beta_fast` times within `original_context` positions keep their
    /// frequency, those that turn less than `beta_slow` times have it divided by `factor`, with a ramp between them.
    Yarn {
        factor: f64,
        original_context: usize,
        beta_fast: f64,
        beta_slow: f64,
        /// What rotated queries and keys are multiplied by.
        attention_factor: f64,
        /// Whether the ramp begins and ends at whole pairs.
        truncate: bool,
    },
}

/// YaRN's `beta_fast` and `beta_slow` where a file does not say them.
pub const YARN_BETAS: (f64, f64) = (32.0, 1.0);

/// YaRN's multiplier for attention at this stretch (`get_mscale` of transformers): 0.1 m ln(factor) + 1.
pub fn yarn_magnitude(factor: f64, multiplier: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * factor.ln() + 1.0 }
}

/// The rotary embedding of a layer (Su et al. 2021).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// The base θ of the frequencies θ^(-2i/d).
    pub theta: f64,
    pub scaling: RopeScaling,
}

impl Rope {
    /// Unscaled.
    pub fn plain(theta: f64) -> Self {
        Self { theta, scaling: RopeScaling::None }
    }

    /// The `head_dim / 2` frequencies for a sequence of `positions` tokens: the angle of pair i at position t is
    /// `t * f[i]`. Only [`RopeScaling::Dynamic`] looks at `positions`.
    ///
    /// Follows `modeling_rope_utils.py` of transformers, which computes in f32.
    pub fn frequencies(&self, head_dim: usize, positions: usize) -> Vec<f32> {
        let dim = head_dim as f64;
        let base = match self.scaling {
            RopeScaling::Dynamic { factor, original_context } if positions > original_context && dim > 2.0 => {
                let stretch = factor * positions as f64 / original_context as f64 - (factor - 1.0);
                self.theta * stretch.powf(dim / (dim - 2.0))
            }
            _ => self.theta,
        };
        let ramp = self.ramp(dim);
        (0..head_dim / 2)
            .map(|pair| {
                let exponent = (2 * pair) as f32 / head_dim as f32;
                let frequency = 1.0 / base.powf(f64::from(exponent)) as f32;
                self.scaled(
                    frequency,
                    ramp.map_or(0.0, |(low, high)| ((pair as f32 - low) / (high - low)).clamp(0.0, 1.0)),
                )
            })
            .collect()
    }

    /// What rotated queries and keys are multiplied by.
    pub fn magnitude(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// The pairs at which YaRN's ramp begins and ends (`find_correction_range` of transformers).
    fn ramp(&self, dim: f64) -> Option<(f32, f32)> {
        let RopeScaling::Yarn { original_context, beta_fast, beta_slow, truncate, .. } = self.scaling else {
            return None;
        };
        let pair = |turns: f64| {
            dim * (original_context as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.theta.ln())
        };
        let (low, high) = (pair(beta_fast), pair(beta_slow));
        let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(dim - 1.0));
        // a ramp without width is a step
        let high = if low == high { high + 0.001 } else { high };
        Some((low as f32, high as f32))
    }

    /// One frequency. `share` is how much of it YaRN stretches, from 0 to 1.
    fn scaled(&self, frequency: f32, share: f32) -> f32 {
        match self.scaling {
            RopeScaling::None | RopeScaling::Dynamic { .. } => frequency,
            RopeScaling::Yarn { factor, .. } => frequency / factor as f32 * share + frequency * (1.0 - share),
            RopeScaling::Linear { factor } => frequency / factor as f32,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                llama3_frequency(frequency, factor, low_freq_factor, high_freq_factor, original_context)
            }
        }
    }

    /// Refuses what no rotary embedding of a model with this context can be.
    ///
    /// # Errors
    /// User: names the key of config.json that is wrong.
    pub fn check(&self, context: usize) -> Result<()> {
        if !(self.theta > 1.0 && self.theta < 1e18) {
            return Err(Error::user(format!("rope_theta is {}; it must be above 1", self.theta)));
        }
        let (factor, original) = match self.scaling {
            RopeScaling::None => return Ok(()),
            RopeScaling::Linear { factor } => (factor, 1),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                if !(low_freq_factor > 0.0 && high_freq_factor > low_freq_factor && high_freq_factor < 1e6) {
                    return Err(Error::user(format!(
                        "rope_scaling has low_freq_factor {low_freq_factor} and high_freq_factor {high_freq_factor}: the second must be the greater one"
                    )));
                }
                (factor, original_context)
            }
            RopeScaling::Dynamic { original_context, .. } if original_context < context => {
                return Err(Error::user(format!(
                    "rope_scaling is dynamic beyond {original_context} positions, but max_position_embeddings is {}: \
                     keys that were cached would have other angles than the queries that meet them",
                    context
                )));
            }
            RopeScaling::Dynamic { factor, original_context } => (factor, original_context),
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor, .. } => {
                if !(beta_slow > 0.0 && beta_fast >= beta_slow && beta_fast < 1e6) {
                    return Err(Error::user(format!(
                        "rope_scaling has beta_slow {beta_slow} and beta_fast {beta_fast}: both must be above 0, and the second must not be the lesser one"
                    )));
                }
                if !(attention_factor > 0.0 && attention_factor < 1e3) {
                    return Err(Error::user(format!(
                        "rope_scaling has an attention_factor of {attention_factor}; it must be a number above 0"
                    )));
                }
                (factor, original_context)
            }
        };
        if !(1.0..1e6).contains(&factor) {
            return Err(Error::user(format!("rope_scaling has factor {factor}; it must be 1 or more")));
        }
        if original == 0 || original > 1 << 32 {
            return Err(Error::user(format!("rope_scaling has an original context of {original} positions")));
        }
        Ok(())
    }
}

/// One Llama 3.1 frequency (`_compute_llama3_parameters` of transformers).
pub(in crate::model) fn llama3_frequency(
    frequency: f32,
    factor: f64,
    low: f64,
    high: f64,
    original_context: usize,
) -> f32 {
    let original = original_context as f64;
    let wavelength = std::f64::consts::TAU / f64::from(frequency);
    if wavelength > original / low {
        frequency / factor as f32
    } else if wavelength < original / high {
        frequency
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        ((1.0 - smooth) * f64::from(frequency) / factor + smooth * f64::from(frequency)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotary_frequencies_follow_each_scaling() {
        let plain = Rope::plain(500_000.0);
        let frequencies = plain.frequencies(128, 1);
        assert_eq!((frequencies.len(), frequencies[0]), (64, 1.0));
        assert!((f64::from(frequencies[32]) - 500_000f64.powf(-0.5)).abs() < 1e-9);

        let linear = Rope { scaling: RopeScaling::Linear { factor: 4.0 }, ..plain.clone() };
        assert_eq!(linear.frequencies(128, 1)[5], frequencies[5] / 4.0);

        let llama3 = Rope {
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192,
            },
            ..plain.clone()
        };
        let scaled = llama3.frequencies(128, 1);
        assert_eq!((scaled[0], scaled[63]), (frequencies[0], frequencies[63] / 8.0));
        assert!(scaled.iter().zip(&frequencies).any(|(s, f)| *s < *f && *s > *f / 8.0), "no ramp");

        let dynamic = Rope { scaling: RopeScaling::Dynamic { factor: 2.0, original_context: 64 }, ..plain };
        assert_eq!(dynamic.frequencies(128, 64), frequencies);
        // base * (2 * 128 / 64 - 1)^(128 / 126), by hand
        let base = 500_000.0 * 3f64.powf(128.0 / 126.0);
        assert!((f64::from(dynamic.frequencies(128, 128)[32]) - base.powf(-0.5)).abs() < 1e-9);
    }
}
