//! Small configurations and random decoders for unit tests. Models as files come from the crate `dean-testing`.
//!
//! Must not know: what a test wants to prove.

use burn::tensor::{DType, Device, Distribution, Tensor};

use crate::model::arch::config::{Block, DecoderConfig, Gate, Norms};
use crate::model::arch::rope::Rope;
use crate::model::decoder::sample::Sample;
use crate::model::decoder::{Decoder, Layer, Linear};
use crate::model::ops;

/// The configuration that `dean_testing::config` writes.
pub(crate) fn small() -> DecoderConfig {
    DecoderConfig {
        family: "llama".into(),
        vocab_size: 32,
        hidden_size: 16,
        intermediate_size: 24,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        context: 64,
        norm_eps: 1e-5,
        norm_offset: false,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tied_head: true,
        embedding_scale: None,
        attention_scale: None,
        attention_cap: None,
        logit_cap: None,
        blocks: vec![Block::llama(Rope::plain(10000.0)); 2],
    }
}

impl DecoderConfig {
    /// The same decoder with so many layers like its first one.
    pub(crate) fn with_layers(self, layers: usize) -> Self {
        Self { blocks: vec![self.blocks[0].clone(); layers], ..self }
    }

    /// The same decoder with another block in every layer.
    pub(crate) fn with_blocks(mut self, change: impl Fn(&mut Block)) -> Self {
        self.blocks.iter_mut().for_each(change);
        self
    }

    /// The same decoder with a window in every layer.
    pub(crate) fn with_window(self, window: usize) -> Self {
        self.with_blocks(|block| block.window = Some(window))
    }
}

/// One configuration for each thing in which families differ.
pub(crate) fn kinds() -> Vec<DecoderConfig> {
    let gemma = DecoderConfig { norm_offset: true, embedding_scale: Some(4.0), attention_scale: Some(0.4), ..small() }
        .with_blocks(|block| (block.norms, block.gate) = (Norms::Around, Gate::GeluTanh));
    let mut mixed = gemma.clone();
    mixed.blocks[0].window = Some(3);
    mixed.blocks[0].rope = Rope::plain(100.0);
    vec![
        DecoderConfig { attention_cap: Some(2.0), logit_cap: Some(3.0), ..gemma },
        DecoderConfig { qk_norm: true, ..mixed },
        small(),
        DecoderConfig { qkv_bias: true, tied_head: false, ..small() },
        DecoderConfig { qk_norm: true, head_dim: 8, ..small() },
        DecoderConfig { o_bias: true, mlp_bias: true, ..small() }.with_window(3),
        DecoderConfig { kv_heads: 4, ..small() },
        DecoderConfig { kv_heads: 1, ..small() }.with_layers(1),
    ]
}

/// A random decoder of a configuration. On a tracking device its linear weights ask for gradients.
pub(crate) fn random(config: &DecoderConfig, device: &Device, seed: u64) -> Decoder {
    device.seed(seed);
    let matrix = |out: usize, input: usize| Tensor::<2>::random([out, input], Distribution::Normal(0.0, 0.25), device);
    let vector = |size: usize| Tensor::<1>::random([size], Distribution::Uniform(0.5, 1.5), device);
    let linear = |out, input, bias: bool| Linear { weight: matrix(out, input), bias: bias.then(|| vector(out)) };
    let (h, inner, d) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let (q, kv) = (config.heads * d, config.kv_heads * d);
    let layer = |index: usize| Layer {
        before_attention: vector(h),
        q: linear(q, h, config.qkv_bias),
        k: linear(kv, h, config.qkv_bias),
        v: linear(kv, h, config.qkv_bias),
        o: linear(h, q, config.o_bias),
        qk_norm: config.qk_norm.then(|| (vector(d), vector(d))),
        after_attention: (config.blocks[index].norms == Norms::Around).then(|| vector(h)),
        before_mlp: vector(h),
        after_mlp: (config.blocks[index].norms == Norms::Around).then(|| vector(h)),
        gate: linear(inner, h, config.mlp_bias),
        up: linear(inner, h, config.mlp_bias),
        down: linear(h, inner, config.mlp_bias),
    };
    let layers = (0..config.layers()).map(layer).collect();
    let embedding = matrix(config.vocab_size, h);
    let head = if config.tied_head { embedding.clone() } else { matrix(config.vocab_size, h) };
    let final_norm = vector(h);
    Decoder {
        config: config.clone(),
        device: device.clone(),
        dtype: DType::F32,
        ops: ops::of(device, DType::F32),
        embedding,
        layers,
        final_norm,
        head,
    }
}

/// A calibration sample of a few different ids.
pub(crate) fn sample(config: &DecoderConfig, length: usize, response: usize, salt: usize) -> Sample {
    let ids = (0..length).map(|i| u32::try_from((i * 7 + salt * 13 + 3) % config.vocab_size).unwrap()).collect();
    Sample { ids, response }
}
