//! The header of a GGUF file as a [`DecoderConfig`].
//!
//! Must not know: the container's bytes, tokenisers, where tensors go.

use crate::error::{Error, Result};
use crate::model::arch::config::{Block, DecoderConfig};
use crate::model::arch::families::{self, Header};
use crate::model::arch::rope::{Rope, RopeScaling, YARN_BETAS, llama3_frequency, yarn_magnitude};
use crate::model::gguf::{GgufFile, Meta};

/// Llama 3.1's frequency factors come as a tensor instead of as settings.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Reads the header of a file as a decoder.
pub fn decoder(file: &GgufFile) -> Result<DecoderConfig> {
    read(file).map_err(|error| error.within(file.path().display()))
}

fn read(file: &GgufFile) -> Result<DecoderConfig> {
    let architecture = file.text("general.architecture").unwrap_or("missing");
    if let Some(error) = no_model(file, architecture) {
        return Err(error);
    }
    let keys = Keys { file, architecture };
    let experts = keys.size("expert_count")?.filter(|count| *count > 0);
    let Some((family, gguf)) = families::of_gguf(architecture) else {
        let what = if experts.is_some() { ", a mixture of experts" } else { "" };
        return Err(Error::user(format!("general.architecture is {architecture}{what}, which is not supported"))
            .hint(families::supported()));
    };
    if let Some(count) = experts {
        let message = format!("{architecture}.expert_count is {count}; mixtures of experts are not supported");
        return Err(Error::user(message).hint("use a dense model of a supported family"));
    }
    let hidden_size = keys.need("embedding_length")?;
    let heads = keys.need("attention.head_count")?;
    let head_dim = match keys.size("attention.key_length")? {
        Some(dim) => dim,
        None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => return Err(Error::user(format!("an embedding of {hidden_size} cannot be shared by {heads} heads"))),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = keys.size(key)?.filter(|size| *size != head_dim) {
            return Err(Error::user(format!(
                "{architecture}.{key} is {other} where heads are {head_dim} wide; partial rotation and unequal heads are not supported"
            )));
        }
    }
    let embedding = file.tensors().get("token_embd.weight");
    let vocab_size = embedding.and_then(|tensor| tensor.shape.first().copied());
    let has = |name: &str| file.tensors().contains_key(name);
    let context = keys.need("context_length")?;
    let rope = Rope { theta: keys.number("rope.freq_base")?.unwrap_or(10000.0), scaling: keys.scaling(context)? };
    let window = keys.size("attention.sliding_window")?.filter(|width| *width > 0);
    let block = Block { window, ..Block::llama(rope.clone()) };
    let mut config = DecoderConfig {
        family: family.name.to_owned(),
        vocab_size: vocab_size.ok_or_else(|| Error::user("the tensor token_embd.weight is missing"))?,
        hidden_size,
        intermediate_size: keys.need("feed_forward_length")?,
        heads,
        kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        context,
        norm_eps: keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
        norm_offset: false,
        qkv_bias: has("blk.0.attn_q.bias"),
        o_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        qk_norm: has("blk.0.attn_q_norm.weight"),
        tied_head: !has("output.weight"),
        embedding_scale: None,
        attention_scale: None,
        attention_cap: None,
        logit_cap: None,
        blocks: block.alike(keys.need("block_count")?)?,
    };
    if let Some(finish) = gguf.finish {
        config = finish(&keys, config)?;
    }
    config.check()?;
    if has(ROPE_FACTORS) {
        let scaling = llama3(file, &rope, head_dim)?;
        config.blocks.iter_mut().for_each(|block| block.rope.scaling = scaling.clone());
    }
    Ok(config)
}

/// What a GGUF file is that holds no language model.
fn no_model(file: &GgufFile, architecture: &str) -> Option<Error> {
    let kind = file.text("general.type").unwrap_or_default();
    let (what, way) = match (architecture, kind) {
        ("clip", _) | (_, "mmproj") => (
            "this is the part of a model that reads images or sound (mmproj)",
            "name the file of the language model, which has the same name without mmproj",
        ),
        (_, "adapter") => (
            "this is a LoRA adapter, which changes another model",
            "merge it into that model with llama.cpp's `llama-export-lora`, and use the result",
        ),
        (_, "imatrix") => ("this is an importance matrix, not a model", "name the file of the model"),
        (_, "vocab") => ("this file holds a vocabulary and no weights", "name the file of the model"),
        _ => return None,
    };
    Some(Error::user(what).hint(way))
}

/// Keys under the architecture's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Header for Keys<'_> {
    /// A size. A list of one size per layer counts where all are equal.
    fn size(&self, key: &str) -> Result<Option<usize>> {
        let full = format!("{}.{key}", self.architecture);
        let size = match self.file.meta(&full) {
            None => return Ok(None),
            Some(Meta::Whole(n)) => usize::try_from(*n).ok(),
            Some(Meta::Numbers(all)) => match all.first() {
                Some(first) if all.iter().all(|n| n == first) && first.fract() == 0.0 && (0.0..1e9).contains(first) => {
                    Some(*first as usize)
                }
                _ => None,
            },
            Some(_) => None,
        };
        let refused = || Error::user(format!("{full} is not one size; layers of different sizes are not supported"));
        size.map(Some).ok_or_else(refused)
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.file.meta(&format!("{}.{key}", self.architecture)) {
            None => Ok(None),
            Some(Meta::Float(n)) => Ok(Some(*n)),
            Some(Meta::Whole(n)) => Ok(Some(*n as f64)),
            Some(_) => Err(Error::user(format!("{}.{key} is not a number", self.architecture))),
        }
    }

    fn sliding(&self, layers: usize) -> Result<Option<Vec<bool>>> {
        let full = format!("{}.attention.sliding_window_pattern", self.architecture);
        match self.file.meta(&full) {
            None => Ok(None),
            Some(Meta::Numbers(each)) if each.len() == layers => {
                Ok(Some(each.iter().map(|flag| *flag != 0.0).collect()))
            }
            Some(Meta::Whole(every)) => match usize::try_from(*every) {
                Ok(every) => Ok(Some(families::pattern(layers, every))),
                Err(_) => Err(Error::user(format!("{full} is {every}; it must be 0 or more"))),
            },
            Some(_) => Err(Error::user(format!("{full} is neither a number nor a list of one flag per layer"))),
        }
    }
}

impl Keys<'_> {
    fn need(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| Error::user(format!("the header has no {}.{key}", self.architecture)))
    }

    fn scaling(&self, context: usize) -> Result<RopeScaling> {
        let kind = self.file.text(&format!("{}.rope.scaling.type", self.architecture));
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        match (kind, factor.filter(|factor| *factor != 0.0)) {
            (None | Some("none"), None) => Ok(RopeScaling::None),
            (Some("none"), Some(_)) => Ok(RopeScaling::None),
            (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (Some("linear"), None) => Ok(RopeScaling::None),
            (Some("yarn"), Some(factor)) => self.yarn(factor, context),
            (Some(kind), _) => Err(Error::user(format!("{}.rope.scaling.type is {kind}", self.architecture))
                .hint("supported are none, linear, yarn with its factor, and Llama 3.1's frequency factors")),
        }
    }

    /// YaRN as llama.cpp computes it.
    fn yarn(&self, factor: f64, context: usize) -> Result<RopeScaling> {
        let key = |name: &str| format!("rope.scaling.{name}");
        let number = |name: &str| self.number(&key(name));
        let multiplier = number("yarn_log_multiplier")?.filter(|multiplier| *multiplier != 0.0);
        let implied = yarn_magnitude(factor, 1.0) / multiplier.map_or(1.0, |below| yarn_magnitude(factor, below));
        // An extrapolation other than the whole one mixes frequencies in another way. Of an attention factor, llama.cpp takes no
        // notice, while transformers takes it as it is.
        for (name, neutral) in [("yarn_ext_factor", [1.0, 1.0]), ("yarn_attn_factor", [1.0, implied])] {
            let given = number(name)?.filter(|given| neutral.iter().all(|neutral| (given - neutral).abs() > 1e-6));
            if let Some(given) = given {
                let message =
                    format!("{}.{} is {given}, which programs read differently", self.architecture, key(name));
                return Err(Error::user(message).hint("use the model's Hugging Face directory"));
            }
        }
        Ok(RopeScaling::Yarn {
            factor,
            original_context: self.size(&key("original_context_length"))?.unwrap_or(context),
            beta_fast: number("yarn_beta_fast")?.unwrap_or(YARN_BETAS.0),
            beta_slow: number("yarn_beta_slow")?.unwrap_or(YARN_BETAS.1),
            attention_factor: implied * number("attn_factor")?.unwrap_or(1.0),
            truncate: true,
        })
    }
}

/// Finds the settings behind Llama 3.1's factors, and checks that they give these very factors.
///
/// Every published model has low 1, high 4 and 8192 positions; the factor is the largest of the list.
fn llama3(file: &GgufFile, rope: &Rope, head_dim: usize) -> Result<RopeScaling> {
    let factors = file.dequantize(ROPE_FACTORS)?;
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    if factor == 1.0 && factors.iter().all(|f| *f == 1.0) {
        return Ok(rope.scaling.clone());
    }
    let plain = rope.frequencies(head_dim, 1);
    let agree = |(factor_here, frequency): (&f32, &f32)| {
        let scaled = llama3_frequency(*frequency, factor, 1.0, 4.0, 8192);
        (frequency / scaled / factor_here - 1.0).abs() < 1e-4
    };
    let known =
        rope.scaling == RopeScaling::None && factors.len() == plain.len() && factors.iter().zip(&plain).all(agree);
    if !known {
        return Err(Error::user(format!("{ROPE_FACTORS} holds factors other than Llama 3.1's"))
            .hint("use the model's Hugging Face directory, whose config.json states them"));
    }
    Ok(RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 })
}
