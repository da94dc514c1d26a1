//! GGUF in Hugging Face's terms: the header as a [`DecoderConfig`], tensors under their usual names,
//! and Llama's query and key rows put back in order.
//!
//! Names and conventions are llama.cpp's (`convert_hf_to_gguf.py`, `gguf-py/constants.py`).
//! Must not know: the container's bytes, tokenisers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::arch::config::{DecoderConfig, RopeScaling, llama3_frequency};
use crate::model::arch::families;
use crate::model::checkpoint::gguf::{GgufFile, Meta};
use crate::model::checkpoint::{Dtype, Stored, Weights};

/// Llama 3.1's frequency factors come as a tensor instead of as settings.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Reads the header of a file as a decoder.
pub fn decoder(file: &GgufFile) -> Result<DecoderConfig> {
    read(file).map_err(|error| error.within(file.path().display()))
}

fn read(file: &GgufFile) -> Result<DecoderConfig> {
    let architecture = file.text("general.architecture").unwrap_or("missing");
    let Some((family, _)) = families::of_gguf(architecture) else {
        return Err(Error::user(format!("general.architecture is {architecture}, which is not supported"))
            .hint(families::supported()));
    };
    let keys = Keys { file, architecture };
    if keys.size("expert_count")?.is_some_and(|count| count > 0) {
        return Err(Error::user(format!("{architecture}.expert_count is set; mixtures of experts are not supported")));
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
    let mut config = DecoderConfig {
        family: family.name.to_owned(),
        vocab_size: vocab_size.ok_or_else(|| Error::user("the tensor token_embd.weight is missing"))?,
        hidden_size,
        intermediate_size: keys.need("feed_forward_length")?,
        layers: keys.need("block_count")?,
        heads,
        kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        context: keys.need("context_length")?,
        norm_eps: keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
        rope_theta: keys.number("rope.freq_base")?.unwrap_or(10000.0),
        rope_scaling: keys.scaling()?,
        sliding_window: keys.size("attention.sliding_window")?.filter(|width| *width > 0),
        qkv_bias: has("blk.0.attn_q.bias"),
        o_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        qk_norm: has("blk.0.attn_q_norm.weight"),
        tied_head: !has("output.weight"),
    };
    config.check()?;
    if has(ROPE_FACTORS) {
        config.rope_scaling = llama3(file, &config)?;
    }
    Ok(config)
}

/// Keys under the architecture's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Keys<'_> {
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

    fn need(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| Error::user(format!("the header has no {}.{key}", self.architecture)))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.file.meta(&format!("{}.{key}", self.architecture)) {
            None => Ok(None),
            Some(Meta::Float(n)) => Ok(Some(*n)),
            Some(Meta::Whole(n)) => Ok(Some(*n as f64)),
            Some(_) => Err(Error::user(format!("{}.{key} is not a number", self.architecture))),
        }
    }

    fn scaling(&self) -> Result<RopeScaling> {
        let kind = self.file.text(&format!("{}.rope.scaling.type", self.architecture));
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        match (kind, factor.filter(|factor| *factor != 0.0)) {
            (None | Some("none"), None) => Ok(RopeScaling::None),
            (Some("none"), Some(_)) => Ok(RopeScaling::None),
            (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (Some(kind), _) => Err(Error::user(format!("{}.rope.scaling.type is {kind}", self.architecture))
                .hint("supported are none, linear, and Llama 3.1's frequency factors")),
        }
    }
}

/// Finds the settings behind Llama 3.1's factors, and checks that they give these very factors.
///
/// Every published model has low 1, high 4 and 8192 positions; the factor is the largest of the list.
fn llama3(file: &GgufFile, config: &DecoderConfig) -> Result<RopeScaling> {
    let factors = file.dequantize(ROPE_FACTORS)?;
    let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
    if factor == 1.0 && factors.iter().all(|f| *f == 1.0) {
        return Ok(config.rope_scaling.clone());
    }
    let plain = config.rope_frequencies(1);
    let agree = |(factor_here, frequency): (&f32, &f32)| {
        let scaled = llama3_frequency(*frequency, factor, 1.0, 4.0, 8192);
        (frequency / scaled / factor_here - 1.0).abs() < 1e-4
    };
    let known = config.rope_scaling == RopeScaling::None
        && factors.len() == plain.len()
        && factors.iter().zip(&plain).all(agree);
    if !known {
        return Err(Error::user(format!("{ROPE_FACTORS} holds factors other than Llama 3.1's"))
            .hint("use the model's Hugging Face directory, whose config.json states them"));
    }
    Ok(RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 })
}

/// The Hugging Face name of a tensor, if it is part of the decoder.
fn hugging_face_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (part, ending) = rest.split_once('.').filter(|(_, ending)| matches!(*ending, "weight" | "bias"))?;
    let part = match part {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.{ending}"))
}

/// The tensors of a GGUF file under Hugging Face names.
pub(in crate::model) struct GgufWeights {
    file: Arc<GgufFile>,
    tensors: BTreeMap<String, (String, Stored)>,
}

impl GgufWeights {
    /// # Errors
    /// A tensor that this decoder would leave out, such as an expert's or a bias it does not have.
    pub fn new(file: Arc<GgufFile>, config: &DecoderConfig) -> Result<Self> {
        let architecture = file.text("general.architecture").unwrap_or_default();
        let permuted = families::of_gguf(architecture).is_some_and(|(_, gguf)| gguf.permuted);
        let needed: std::collections::BTreeSet<String> = config.tensors().into_iter().map(|spec| spec.name).collect();
        let mut tensors = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            if name == ROPE_FACTORS || name.ends_with("rope_freqs.weight") || name.ends_with("rot_embd.weight") {
                continue;
            }
            let Some(theirs) = hugging_face_name(name).filter(|theirs| needed.contains(theirs)) else {
                let place = file.path().display();
                return Err(Error::user(format!(
                    "{place}: the tensor {name} is not part of a {} decoder",
                    config.family
                ))
                .hint("dean would compute without it, and differently from the model"));
            };
            let heads = match theirs.rsplit('.').nth(1) {
                Some("q_proj") if permuted => Some(config.heads),
                Some("k_proj") if permuted => Some(config.kv_heads),
                _ => None,
            };
            // what is expanded from a quantised format is f32
            let dtype = match tensor.label {
                "F16" => Dtype::F16,
                "BF16" => Dtype::BF16,
                _ => Dtype::F32,
            };
            let stored =
                Stored { shape: tensor.shape.clone(), label: tensor.label.to_owned(), dtype: Some(dtype), heads };
            tensors.insert(theirs, (name.clone(), stored));
        }
        Ok(Self { file, tensors })
    }

    fn located(&self, name: &str) -> Result<&(String, Stored)> {
        self.tensors.get(name).ok_or_else(|| Error::fault(format!("the GGUF file holds no {name}")))
    }
}

impl Weights for GgufWeights {
    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn stored(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name).map(|(_, stored)| stored)
    }

    fn size(&self, name: &str) -> Result<usize> {
        Ok(self.file.bytes(&self.located(name)?.0)?.len())
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        self.file.bytes(&self.located(name)?.0).map(Cow::Borrowed)
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let (ours, stored) = self.located(name)?;
        let values = self.file.dequantize(ours)?;
        match (stored.heads, stored.shape.first()) {
            (Some(heads), Some(&rows)) => unpermute(&values, rows, heads)
                .ok_or_else(|| Error::fault(format!("{name}: {rows} rows cannot be shared by {heads} heads"))),
            _ => Ok(values),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.path().to_owned()]
    }
}

/// Undoes `LlamaModel.permute` of llama.cpp's converter.
///
/// There, `w.reshape(heads, 2, half, in).swapaxes(1, 2)` stores row `turn * half + pair` of a head as its row
/// `pair * 2 + turn`, so that the rotated pairs lie side by side.
fn unpermute(values: &[f32], rows: usize, heads: usize) -> Option<Vec<f32>> {
    let dim = rows.checked_div(heads).filter(|dim| dim * heads == rows && dim % 2 == 0)?;
    let width = values.len().checked_div(rows).filter(|width| width * rows == values.len())?;
    let half = dim / 2;
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, inner) = (row / dim, row % dim);
        let (turn, pair) = (inner / half, inner % half);
        let from = (head * dim + pair * 2 + turn) * width;
        out.extend_from_slice(values.get(from..from + width)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_return_to_hugging_face_order() {
        // 2 heads of 4 rows, one column: the converter turns 0 1 2 3 into 0 2 1 3
        let stored = [0., 2., 1., 3., 10., 12., 11., 13.];
        assert_eq!(unpermute(&stored, 8, 2).unwrap(), [0., 1., 2., 3., 10., 11., 12., 13.]);
        // 1 head of 6 rows, 2 columns: 0 3 1 4 2 5
        let stored = [0., 0.5, 3., 3.5, 1., 1.5, 4., 4.5, 2., 2.5, 5., 5.5];
        assert_eq!(unpermute(&stored, 6, 1).unwrap(), [0., 0.5, 1., 1.5, 2., 2.5, 3., 3.5, 4., 4.5, 5., 5.5]);
        assert_eq!(unpermute(&stored, 6, 4), None);
    }

    #[test]
    fn names_are_translated_and_strangers_are_not() {
        let name = |ours| hugging_face_name(ours);
        assert_eq!(name("blk.11.ffn_down.weight").as_deref(), Some("model.layers.11.mlp.down_proj.weight"));
        assert_eq!(name("blk.0.attn_q.bias").as_deref(), Some("model.layers.0.self_attn.q_proj.bias"));
        assert_eq!(name("output.weight").as_deref(), Some("lm_head.weight"));
        for stranger in ["blk.0.ffn_gate_exps.weight", "blk.x.attn_q.weight", "blk.0.attn_q.scale", "mm.0.weight"] {
            assert_eq!(name(stranger), None);
        }
    }
}
