//! The one decoder block, described: every number and switch that tells a Llama from a Qwen3.
//!
//! A [`DecoderConfig`] is what a family in `families/` makes of a config.json or of a GGUF header.
//! It knows which tensors such a decoder has and of which shape, so that a checkpoint can be
//! checked whole before anything is computed. Must not know: files, tensors' values, devices.

use serde::Serialize;

use crate::digest::Digest;
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
}

/// A decoder-only transformer of the Llama kind: RMSNorm, rotary grouped-query attention, SwiGLU.
///
/// Serialised (as canonical JSON) it is the model's architecture digest, so a field added later
/// changes keys; skip it in serialisation while it has the value that was implied before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecoderConfig {
    /// The family that read it: a name of [`crate::model::arch::families::FAMILIES`].
    pub family: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    pub kv_heads: usize,
    /// Width of a head; even, because rotary embeddings turn halves.
    pub head_dim: usize,
    /// Positions the model was made for (`max_position_embeddings`).
    pub context: usize,
    pub norm_eps: f64,
    pub rope_theta: f64,
    pub rope_scaling: RopeScaling,
    /// With `Some(w)` position i sees position j when `i - w < j <= i`, in every layer.
    pub sliding_window: Option<usize>,
    /// `q_proj`, `k_proj` and `v_proj` have biases.
    pub qkv_bias: bool,
    /// `o_proj` has a bias.
    pub o_bias: bool,
    /// `gate_proj`, `up_proj` and `down_proj` have biases.
    pub mlp_bias: bool,
    /// RMSNorm over each query and key head before the rotation (Qwen3).
    pub qk_norm: bool,
    /// The head's weight is the embedding's.
    pub tied_head: bool,
}

/// Which half of a layer a linear belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    SelfAttn,
    Mlp,
}

impl Module {
    /// The name in tensor names and in `score.modules`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SelfAttn => "self_attn",
            Self::Mlp => "mlp",
        }
    }
}

/// One linear of a decoder layer: a weight that the method may score and switch off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// For example `model.layers.0.mlp.down_proj.weight`.
    pub name: String,
    pub module: Module,
    /// The weight is `[out, in]`, row-major.
    pub out: usize,
    pub input: usize,
}

/// A tensor that a decoder of this configuration must find in its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Vec<usize>,
    /// The config.json keys that the shape follows from, for error messages.
    pub keys: &'static str,
}

const Q_KEYS: &str = "num_attention_heads, head_dim, hidden_size";
const KV_KEYS: &str = "num_key_value_heads, head_dim, hidden_size";
const MLP_KEYS: &str = "intermediate_size, hidden_size";

impl DecoderConfig {
    /// The linears of one layer, in the order of the forward pass.
    pub fn linears(&self, layer: usize) -> Vec<Linear> {
        self.layer_linears()
            .into_iter()
            .map(|(module, short, out, input, _, _)| Linear {
                name: format!("model.layers.{layer}.{}.{short}.weight", module.name()),
                module,
                out,
                input,
            })
            .collect()
    }

    /// Module, short name, out, in, keys, bias. The products fit: [`Self::check`] bounds the factors.
    fn layer_linears(&self) -> [(Module, &'static str, usize, usize, &'static str, bool); 7] {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        [
            (Module::SelfAttn, "q_proj", q, hidden, Q_KEYS, self.qkv_bias),
            (Module::SelfAttn, "k_proj", kv, hidden, KV_KEYS, self.qkv_bias),
            (Module::SelfAttn, "v_proj", kv, hidden, KV_KEYS, self.qkv_bias),
            (Module::SelfAttn, "o_proj", hidden, q, Q_KEYS, self.o_bias),
            (Module::Mlp, "gate_proj", inner, hidden, MLP_KEYS, self.mlp_bias),
            (Module::Mlp, "up_proj", inner, hidden, MLP_KEYS, self.mlp_bias),
            (Module::Mlp, "down_proj", hidden, inner, MLP_KEYS, self.mlp_bias),
        ]
    }

    /// Every tensor the decoder reads, by Hugging Face name.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let spec = |name: String, shape: Vec<usize>, keys| TensorSpec { name, shape, keys };
        let table = vec![self.vocab_size, self.hidden_size];
        let mut all = vec![spec("model.embed_tokens.weight".into(), table.clone(), "vocab_size, hidden_size")];
        for layer in 0..self.layers {
            let at = |rest: &str| format!("model.layers.{layer}.{rest}");
            for norm in ["input_layernorm.weight", "post_attention_layernorm.weight"] {
                all.push(spec(at(norm), vec![self.hidden_size], "hidden_size"));
            }
            for (module, short, out, input, keys, bias) in self.layer_linears() {
                all.push(spec(at(&format!("{}.{short}.weight", module.name())), vec![out, input], keys));
                if bias {
                    all.push(spec(at(&format!("{}.{short}.bias", module.name())), vec![out], keys));
                }
            }
            if self.qk_norm {
                for norm in ["self_attn.q_norm.weight", "self_attn.k_norm.weight"] {
                    all.push(spec(at(norm), vec![self.head_dim], "head_dim"));
                }
            }
        }
        all.push(spec("model.norm.weight".into(), vec![self.hidden_size], "hidden_size"));
        if !self.tied_head {
            all.push(spec("lm_head.weight".into(), table, "vocab_size, hidden_size"));
        }
        all
    }

    /// The `head_dim / 2` rotary frequencies for a sequence of `positions` tokens: the angle of
    /// pair i at position t is `t * f[i]`. Only [`RopeScaling::Dynamic`] looks at `positions`.
    ///
    /// Follows `modeling_rope_utils.py` of transformers, which computes in f32.
    pub fn rope_frequencies(&self, positions: usize) -> Vec<f32> {
        let dim = self.head_dim as f64;
        let base = match self.rope_scaling {
            RopeScaling::Dynamic { factor, original_context } if positions > original_context && dim > 2.0 => {
                let stretch = factor * positions as f64 / original_context as f64 - (factor - 1.0);
                self.rope_theta * stretch.powf(dim / (dim - 2.0))
            }
            _ => self.rope_theta,
        };
        (0..self.head_dim / 2)
            .map(|pair| {
                let exponent = (2 * pair) as f32 / self.head_dim as f32;
                let frequency = 1.0 / base.powf(f64::from(exponent)) as f32;
                self.scale_frequency(frequency)
            })
            .collect()
    }

    fn scale_frequency(&self, frequency: f32) -> f32 {
        match self.rope_scaling {
            RopeScaling::None | RopeScaling::Dynamic { .. } => frequency,
            RopeScaling::Linear { factor } => frequency / factor as f32,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                llama3_frequency(frequency, factor, low_freq_factor, high_freq_factor, original_context)
            }
        }
    }

    /// The digest of everything in this struct.
    pub fn digest(&self) -> Result<Digest> {
        serde_json::to_value(self)
            .map(|value| Digest::of_json(&value))
            .map_err(|cause| Error::fault(format!("the decoder's configuration cannot be written as JSON: {cause}")))
    }

    /// Refuses what no decoder of this kind can be. After it, no product of two sizes overflows.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 18),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.layers, 1 << 12),
            ("num_attention_heads", self.heads, 1 << 12),
            ("num_key_value_heads", self.kv_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 14),
            ("max_position_embeddings", self.context, 1 << 32),
            ("sliding_window", self.sliding_window.unwrap_or(1), 1 << 32),
        ];
        for (key, size, most) in sizes {
            if size == 0 || size > most {
                return Err(Error::user(format!("{key} is {size}; it must lie between 1 and {most}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(Error::user(format!(
                "num_attention_heads is {} and num_key_value_heads {}: the first must be a multiple of the second",
                self.heads, self.kv_heads
            )));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::user(format!(
                "head_dim is {}; rotary embeddings need an even head_dim (hidden_size / num_attention_heads where it is not given)",
                self.head_dim
            )));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(Error::user(format!("rms_norm_eps is {}; it must lie between 0 and 1", self.norm_eps)));
        }
        if !(self.rope_theta > 1.0 && self.rope_theta < 1e18) {
            return Err(Error::user(format!("rope_theta is {}; it must be above 1", self.rope_theta)));
        }
        self.check_scaling()
    }

    fn check_scaling(&self) -> Result<()> {
        let (factor, original) = match self.rope_scaling {
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
            RopeScaling::Dynamic { original_context, .. } if original_context < self.context => {
                return Err(Error::user(format!(
                    "rope_scaling is dynamic beyond {original_context} positions, but max_position_embeddings is {}: \
                     keys that were cached would have other angles than the queries that meet them",
                    self.context
                )));
            }
            RopeScaling::Dynamic { factor, original_context } => (factor, original_context),
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
pub(crate) mod tests {
    use super::*;

    pub(crate) fn small() -> DecoderConfig {
        DecoderConfig {
            family: "llama".into(),
            vocab_size: 32,
            hidden_size: 16,
            intermediate_size: 24,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 4,
            context: 64,
            norm_eps: 1e-5,
            rope_theta: 10000.0,
            rope_scaling: RopeScaling::None,
            sliding_window: None,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            tied_head: true,
        }
    }

    #[test]
    fn switches_add_the_tensors_they_stand_for() {
        let plain = small();
        let full =
            DecoderConfig { qkv_bias: true, o_bias: true, mlp_bias: true, qk_norm: true, tied_head: false, ..small() };
        assert_eq!(plain.tensors().len(), 2 + 2 * 9);
        assert_eq!(full.tensors().len(), 3 + 2 * (9 + 7 + 2));
        let o = plain.tensors().into_iter().find(|spec| spec.name == "model.layers.1.self_attn.o_proj.weight").unwrap();
        assert_eq!(o.shape, [16, 16]);
        let k = &plain.linears(1)[1];
        assert_eq!(
            (k.name.as_str(), k.module.name(), k.out, k.input),
            ("model.layers.1.self_attn.k_proj.weight", "self_attn", 8, 16)
        );
    }

    #[test]
    fn impossible_configurations_are_refused_by_the_key_that_is_wrong() {
        type Change = fn(&mut DecoderConfig);
        let cases: [(Change, &str); 8] = [
            (|c| c.kv_heads = 3, "num_key_value_heads"),
            (|c| c.head_dim = 3, "head_dim"),
            (|c| c.hidden_size = 0, "hidden_size"),
            (|c| c.vocab_size = usize::MAX, "vocab_size"),
            (|c| c.norm_eps = f64::NAN, "rms_norm_eps"),
            (|c| c.rope_theta = 0.0, "rope_theta"),
            (|c| c.rope_scaling = RopeScaling::Linear { factor: 0.0 }, "rope_scaling"),
            (|c| c.rope_scaling = RopeScaling::Dynamic { factor: 2.0, original_context: 32 }, "rope_scaling"),
        ];
        small().check().unwrap();
        for (change, key) in cases {
            let mut config = small();
            change(&mut config);
            let error = config.check().unwrap_err();
            assert!(error.message().contains(key), "{error}");
        }
    }

    #[test]
    fn rotary_frequencies_follow_each_scaling() {
        let plain = DecoderConfig { head_dim: 128, rope_theta: 500_000.0, ..small() };
        let frequencies = plain.rope_frequencies(1);
        assert_eq!((frequencies.len(), frequencies[0]), (64, 1.0));
        assert!((f64::from(frequencies[32]) - 500_000f64.powf(-0.5)).abs() < 1e-9);

        let linear = DecoderConfig { rope_scaling: RopeScaling::Linear { factor: 4.0 }, ..plain.clone() };
        assert_eq!(linear.rope_frequencies(1)[5], frequencies[5] / 4.0);

        let llama3 = DecoderConfig {
            rope_scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192,
            },
            ..plain.clone()
        };
        let scaled = llama3.rope_frequencies(1);
        assert_eq!((scaled[0], scaled[63]), (frequencies[0], frequencies[63] / 8.0));
        assert!(scaled.iter().zip(&frequencies).any(|(s, f)| *s < *f && *s > *f / 8.0), "no ramp");

        let dynamic =
            DecoderConfig { rope_scaling: RopeScaling::Dynamic { factor: 2.0, original_context: 64 }, ..plain };
        assert_eq!(dynamic.rope_frequencies(64), frequencies);
        // base * (2 * 128 / 64 - 1)^(128 / 126), by hand
        let base = 500_000.0 * 3f64.powf(128.0 / 126.0);
        assert!((f64::from(dynamic.rope_frequencies(128)[32]) - base.powf(-0.5)).abs() < 1e-9);
    }

    #[test]
    fn the_architecture_digest_sees_every_switch() {
        let base = small().digest().unwrap();
        assert_eq!(base, small().digest().unwrap());
        assert_ne!(base, DecoderConfig { sliding_window: Some(24), ..small() }.digest().unwrap());
        assert_ne!(
            base,
            DecoderConfig { rope_scaling: RopeScaling::Linear { factor: 2.0 }, ..small() }.digest().unwrap()
        );
    }
}
