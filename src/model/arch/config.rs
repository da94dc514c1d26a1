//! The configuration of a decoder: every number and switch in which a Llama differs from a Gemma, and a [`Block`] for each
//! layer.
//!
//! A [`DecoderConfig`] is what a family in `families/` makes of a config.json or of a GGUF header.
//! It knows which tensors such a decoder has and of which shape, so that a checkpoint can be
//! checked whole before anything is computed. Must not know: files, tensors' values, devices.

use serde::Serialize;
use serde_json::{Value, json};

use super::rope::Rope;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Which function opens the gate of the MLP: down(f(gate(x)) * up(x)) (Shazeer 2020).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// x * sigmoid(x)
    Silu,
    /// 0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³))), PyTorch's `gelu(approximate="tanh")` (Gemma)
    GeluTanh,
}

/// Where the RMS norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// Before attention and before the MLP.
    Before,
    /// Before and after each of them, the second one before the residual is added (Gemma 2 and 3).
    Around,
}

impl Norms {
    /// Hugging Face's names, in the order of the forward pass. Note that `post_attention_layernorm` is the norm before the MLP
    /// in a layer with two norms, and the norm after attention in a layer with four.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Before => &["input_layernorm", "post_attention_layernorm"],
            Self::Around => &[
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
        }
    }
}

/// How one layer works, where layers of a model may differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Block {
    /// With `Some(w)` position i sees position j when `i - w < j <= i`.
    pub window: Option<usize>,
    pub rope: Rope,
    pub norms: Norms,
    pub gate: Gate,
}

impl Block {
    /// A layer of the Llama kind: it sees everything before it, has norms before its halves, and SiLU.
    pub fn llama(rope: Rope) -> Self {
        Self { window: None, rope, norms: Norms::Before, gate: Gate::Silu }
    }

    /// So many layers alike. The number comes from a file, so it is looked at before memory is taken.
    ///
    /// # Errors
    /// User: a number that no model has.
    pub fn alike(self, layers: usize) -> Result<Vec<Self>> {
        if layers == 0 || layers > MOST_LAYERS {
            return Err(Error::user(format!("num_hidden_layers is {layers}; it must lie between 1 and {MOST_LAYERS}")));
        }
        Ok(vec![self; layers])
    }
}

/// A decoder-only transformer: RMS norms, rotary grouped-query attention, and an MLP with a gate.
///
/// Its canonical JSON ([`DecoderConfig::digest`]) is the model's architecture in keys.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// The family that read it: a name of [`crate::model::arch::families::FAMILIES`].
    pub family: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    pub kv_heads: usize,
    /// Width of a head; even, because rotary embeddings turn halves.
    pub head_dim: usize,
    /// Positions the model was made for (`max_position_embeddings`).
    pub context: usize,
    pub norm_eps: f64,
    /// Norms multiply by 1 + w where others multiply by w (Gemma).
    pub norm_offset: bool,
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
    /// What embeddings are multiplied by before the first layer (Gemma: the square root of `hidden_size`).
    pub embedding_scale: Option<f64>,
    /// What products of queries and keys are multiplied by; `None` stands for 1 / sqrt(head_dim).
    pub attention_scale: Option<f64>,
    /// With `Some(c)` attention scores s become c * tanh(s / c) before they are masked (Gemma 2).
    pub attention_cap: Option<f64>,
    /// With `Some(c)` logits z become c * tanh(z / c) (Gemma 2).
    pub logit_cap: Option<f64>,
    /// One for each layer, the first one first.
    pub blocks: Vec<Block>,
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

const MOST_LAYERS: usize = 1 << 12;

const Q_KEYS: &str = "num_attention_heads, head_dim, hidden_size";
const KV_KEYS: &str = "num_key_value_heads, head_dim, hidden_size";
const MLP_KEYS: &str = "intermediate_size, hidden_size";

impl DecoderConfig {
    /// How many layers there are.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// What products of queries and keys are multiplied by.
    pub fn scale(&self) -> f64 {
        self.attention_scale.unwrap_or_else(|| (self.head_dim as f64).sqrt().recip())
    }

    /// The block that all layers have, where all are alike.
    pub fn one_block(&self) -> Option<&Block> {
        self.blocks.first().filter(|first| self.blocks.iter().all(|block| block == *first))
    }

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

    /// The weights that a token is multiplied with on its way to the next one.
    pub fn weights(&self) -> usize {
        let layer: usize = self.layer_linears().iter().map(|(_, _, out, input, ..)| out * input).sum();
        layer * self.layers() + self.vocab_size * self.hidden_size
    }

    /// Every tensor the decoder reads, by Hugging Face name.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let spec = |name: String, shape: Vec<usize>, keys| TensorSpec { name, shape, keys };
        let table = vec![self.vocab_size, self.hidden_size];
        let mut all = vec![spec("model.embed_tokens.weight".into(), table.clone(), "vocab_size, hidden_size")];
        for (layer, block) in self.blocks.iter().enumerate() {
            let at = |rest: &str| format!("model.layers.{layer}.{rest}");
            for norm in block.norms.names() {
                all.push(spec(at(&format!("{norm}.weight")), vec![self.hidden_size], "hidden_size"));
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

    /// The digest of everything in this struct.
    ///
    /// # Errors
    /// Fault: a number that JSON cannot hold, which [`DecoderConfig::check`] refuses.
    pub fn digest(&self) -> Result<Digest> {
        self.to_json()
            .map(|value| Digest::of_json(&value))
            .map_err(|cause| Error::fault(format!("the decoder's configuration cannot be written as JSON: {cause}")))
    }

    /// What the digest is taken of. It is written as it always was where nothing is said that could not be said before
    /// layers might differ: keys of existing artifacts depend on it. So a field that is added later is left out while it has the
    /// value that was implied before.
    fn to_json(&self) -> serde_json::Result<Value> {
        let mut json = json!({
            "family": self.family, "vocab_size": self.vocab_size, "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size, "layers": self.layers(), "heads": self.heads,
            "kv_heads": self.kv_heads, "head_dim": self.head_dim, "context": self.context, "norm_eps": self.norm_eps,
            "qkv_bias": self.qkv_bias, "o_bias": self.o_bias, "mlp_bias": self.mlp_bias, "qk_norm": self.qk_norm,
            "tied_head": self.tied_head,
        });
        match self.one_block() {
            Some(Block { window, rope, norms: Norms::Before, gate: Gate::Silu }) => {
                json["sliding_window"] = serde_json::to_value(window)?;
                json["rope_theta"] = serde_json::to_value(rope.theta)?;
                json["rope_scaling"] = serde_json::to_value(&rope.scaling)?;
            }
            _ => json["blocks"] = serde_json::to_value(&self.blocks)?,
        }
        if self.norm_offset {
            json["norm_offset"] = true.into();
        }
        let scales = [
            ("embedding_scale", self.embedding_scale),
            ("attention_scale", self.attention_scale),
            ("attention_cap", self.attention_cap),
            ("logit_cap", self.logit_cap),
        ];
        for (name, scale) in scales {
            if let Some(scale) = scale {
                json[name] = serde_json::to_value(scale)?;
            }
        }
        Ok(json)
    }

    /// Refuses what no decoder of this kind can be. After it, no product of two sizes overflows.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 18),
            ("intermediate_size", self.intermediate_size, 1 << 22),
            ("num_hidden_layers", self.layers(), MOST_LAYERS),
            ("num_attention_heads", self.heads, 1 << 12),
            ("num_key_value_heads", self.kv_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 14),
            ("max_position_embeddings", self.context, 1 << 32),
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
        let scales = [
            ("the embeddings' scale", self.embedding_scale),
            ("query_pre_attn_scalar", self.attention_scale),
            ("attn_logit_softcapping", self.attention_cap),
            ("final_logit_softcapping", self.logit_cap),
        ];
        for (key, scale) in scales {
            if let Some(scale) = scale
                && !(scale > 0.0 && scale < 1e9)
            {
                return Err(Error::user(format!("{key} comes to {scale}; it must be a number above 0")));
            }
        }
        for block in &self.blocks {
            let window = block.window.unwrap_or(1);
            if window == 0 || window > 1 << 32 {
                return Err(Error::user(format!(
                    "sliding_window is {window}; it must lie between 1 and {}",
                    1_u64 << 32
                )));
            }
            block.rope.check(self.context)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch::rope::RopeScaling;
    use crate::model::testing::small;

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
            (|c| c.blocks[1].rope.theta = 0.0, "rope_theta"),
            (|c| c.blocks[0].rope.scaling = RopeScaling::Linear { factor: 0.0 }, "rope_scaling"),
            (|c| c.blocks[0].rope.scaling = RopeScaling::Dynamic { factor: 2.0, original_context: 32 }, "rope_scaling"),
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
    fn the_architecture_digest_sees_every_switch() {
        let base = small().digest().unwrap();
        assert_eq!(base, small().digest().unwrap());
        assert_ne!(base, small().with_window(24).digest().unwrap());
        assert_ne!(
            base,
            small().with_blocks(|block| block.rope.scaling = RopeScaling::Linear { factor: 2.0 }).digest().unwrap()
        );
        type Change = fn(&mut DecoderConfig);
        let changes: [Change; 9] = [
            |c| c.blocks[1].window = Some(24),
            |c| c.blocks[0].rope.theta = 5e5,
            |c| c.blocks.iter_mut().for_each(|block| block.norms = Norms::Around),
            |c| c.blocks.iter_mut().for_each(|block| block.gate = Gate::GeluTanh),
            |c| c.norm_offset = true,
            |c| c.embedding_scale = Some(4.0),
            |c| c.attention_scale = Some(0.25),
            |c| c.attention_cap = Some(50.0),
            |c| c.logit_cap = Some(30.0),
        ];
        let digests: std::collections::BTreeSet<_> = changes
            .iter()
            .map(|change| {
                let mut config = small();
                change(&mut config);
                config.digest().unwrap().to_string()
            })
            .chain([base.to_string()])
            .collect();
        assert_eq!(digests.len(), changes.len() + 1);
    }

    /// Keys of artifacts that exist depend on this text.
    #[test]
    fn what_could_be_said_before_layers_might_differ_is_written_as_it_was() {
        let rope = |block: &mut Block| block.rope.scaling = RopeScaling::Linear { factor: 2.0 };
        let written = small().with_window(8).with_blocks(rope).to_json().unwrap();
        let expected = json!({
            "family": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "layers": 2, "heads": 4,
            "kv_heads": 2, "head_dim": 4, "context": 64, "norm_eps": 1e-5, "rope_theta": 10000.0,
            "rope_scaling": {"kind": "linear", "factor": 2.0}, "sliding_window": 8, "qkv_bias": false, "o_bias": false,
            "mlp_bias": false, "qk_norm": false, "tied_head": true,
        });
        assert_eq!(written, expected);
    }
}
