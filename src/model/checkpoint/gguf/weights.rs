//! The tensors of a GGUF file under Hugging Face's names and with its values: Llama's query and key rows are put back in
//! order, and the one that is added to norms of some families is taken away.
//!
//! Must not know: the container's bytes, what the header says of the decoder.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::config::ROPE_FACTORS;
use crate::error::{Error, Result};
use crate::model::arch::config::{DecoderConfig, Norms};
use crate::model::arch::families;
use crate::model::checkpoint::weights::{Stored, Weights};
use crate::model::floats::Dtype;
use crate::model::gguf::GgufFile;

/// The Hugging Face name of a tensor, if it is part of the decoder. llama.cpp calls norms by what they stand before,
/// Hugging Face in the order in which they came up.
fn hugging_face_name(name: &str, norms: Norms) -> Option<String> {
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
        "ffn_norm" => match norms {
            Norms::Before => "post_attention_layernorm",
            Norms::Around => "pre_feedforward_layernorm",
        },
        "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
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
    /// Norms are stored as what they multiply by, and Hugging Face has them one lower.
    norm_offset: bool,
}

impl GgufWeights {
    /// # Errors
    /// A tensor that this decoder would leave out, such as an expert's or a bias it does not have.
    pub fn new(file: Arc<GgufFile>, config: &DecoderConfig) -> Result<Self> {
        let architecture = file.text("general.architecture").unwrap_or_default();
        let permuted = families::of_gguf(architecture).is_some_and(|(_, gguf)| gguf.permuted);
        let needed: BTreeSet<String> = config.tensors().into_iter().map(|spec| spec.name).collect();
        // a model's layers have their norms in the same places
        let norms = config.blocks.first().map_or(Norms::Before, |block| block.norms);
        let mut tensors = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            if name == ROPE_FACTORS || name.ends_with("rope_freqs.weight") || name.ends_with("rot_embd.weight") {
                continue;
            }
            let Some(theirs) = hugging_face_name(name, norms).filter(|theirs| needed.contains(theirs)) else {
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
        Ok(Self { file, tensors, norm_offset: config.norm_offset })
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
        let mut values = self.file.dequantize(ours)?;
        if self.norm_offset && name.ends_with("norm.weight") {
            // exact for what was made by adding one
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        match (stored.heads, stored.shape.first()) {
            (Some(heads), Some(&rows)) => unpermute(&values, rows, heads)
                .ok_or_else(|| Error::fault(format!("{name}: {rows} rows cannot be shared by {heads} heads"))),
            _ => Ok(values),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        self.file.files()
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
        let name = |ours| hugging_face_name(ours, Norms::Before);
        assert_eq!(name("blk.11.ffn_down.weight").as_deref(), Some("model.layers.11.mlp.down_proj.weight"));
        assert_eq!(name("blk.0.attn_q.bias").as_deref(), Some("model.layers.0.self_attn.q_proj.bias"));
        assert_eq!(name("output.weight").as_deref(), Some("lm_head.weight"));
        for stranger in ["blk.0.ffn_gate_exps.weight", "blk.x.attn_q.weight", "blk.0.attn_q.scale", "mm.0.weight"] {
            assert_eq!(name(stranger), None);
        }
    }

    #[test]
    fn a_norm_before_the_mlp_has_two_names() {
        let name = |ours: &str, norms| hugging_face_name(&format!("blk.3.{ours}.weight"), norms);
        let expected = |theirs: &str| Some(format!("model.layers.3.{theirs}.weight"));
        assert_eq!(name("ffn_norm", Norms::Before), expected("post_attention_layernorm"));
        assert_eq!(name("ffn_norm", Norms::Around), expected("pre_feedforward_layernorm"));
        assert_eq!(name("post_attention_norm", Norms::Around), expected("post_attention_layernorm"));
        assert_eq!(name("post_ffw_norm", Norms::Around), expected("post_feedforward_layernorm"));
    }
}
