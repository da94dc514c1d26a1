//! GGUF files of one layer, written by candle.

use std::io::Cursor;

pub use candle_core::quantized::GgmlDType as Format;
pub use candle_core::quantized::gguf_file::Value as Meta;
use candle_core::quantized::{QTensor, gguf_file};
use candle_core::{Device, Tensor};

use crate::noise;

/// A file in the making; its fields may be changed before [`Gguf::bytes`].
pub struct Gguf {
    pub metadata: Vec<(String, Meta)>,
    pub tensors: Vec<(String, QTensor)>,
}

impl Gguf {
    /// One layer of noise: four heads that share two keys, twice as wide inside. Matrices have the format `kind`; what is
    /// one row long is F32, as llama.cpp keeps it.
    pub fn new(architecture: &str, width: usize, vocabulary: usize, kind: Format) -> Self {
        let number = |number: usize| Meta::U32(u32::try_from(number).expect("a small number"));
        let mut file = Self { metadata: Vec::new(), tensors: Vec::new() }
            .with("general.architecture", Meta::String(architecture.to_owned()));
        for (key, value) in [
            ("block_count", number(1)),
            ("context_length", number(64)),
            ("embedding_length", number(width)),
            ("feed_forward_length", number(2 * width)),
            ("attention.head_count", number(4)),
            ("attention.head_count_kv", number(2)),
            ("attention.layer_norm_rms_epsilon", Meta::F32(1e-6)),
        ] {
            file = file.with(&format!("{architecture}.{key}"), value);
        }
        for (name, shape) in [
            ("token_embd.weight", &[vocabulary, width][..]),
            ("output_norm.weight", &[width]),
            ("blk.0.attn_norm.weight", &[width]),
            ("blk.0.ffn_norm.weight", &[width]),
            ("blk.0.attn_q.weight", &[width, width]),
            ("blk.0.attn_k.weight", &[width / 2, width]),
            ("blk.0.attn_v.weight", &[width / 2, width]),
            ("blk.0.attn_output.weight", &[width, width]),
            ("blk.0.ffn_gate.weight", &[2 * width, width]),
            ("blk.0.ffn_up.weight", &[2 * width, width]),
            ("blk.0.ffn_down.weight", &[width, 2 * width]),
        ] {
            file = file.tensor(name, shape, kind);
        }
        file
    }

    /// Sets one key.
    #[must_use]
    pub fn with(mut self, key: &str, value: Meta) -> Self {
        self.metadata.retain(|(known, _)| known != key);
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// Adds a tensor of noise.
    #[must_use]
    pub fn tensor(mut self, name: &str, shape: &[usize], kind: Format) -> Self {
        let kind = if shape.len() == 1 { Format::F32 } else { kind };
        self.tensors.push((name.to_owned(), quantised(&noise(shape.iter().product()), shape, kind)));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let metadata: Vec<(&str, &Meta)> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut buffer = Cursor::new(Vec::new());
        gguf_file::write(&mut buffer, &metadata, &tensors).expect("memory takes it");
        buffer.into_inner()
    }
}

/// Numbers in a format of GGUF.
pub fn quantised(values: &[f32], shape: &[usize], kind: Format) -> QTensor {
    let tensor = Tensor::from_slice(values, shape, &Device::Cpu).expect("the numbers fill the shape");
    QTensor::quantize(&tensor, kind).expect("the shape suits the format")
}
