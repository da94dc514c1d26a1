//! GGUF files made by candle's writer: every format, families with a header of their own, tokenisers
//! carried over from a tokenizer.json, and headers that lie.

mod text;

use candle_core::quantized::QTensor;
use dean_testing::{Format, Gguf, Meta, noise, quantised};

use crate::error::{Error, Result};
use crate::files;
use crate::model::Checkpoint;
use crate::model::arch::config::Norms;
use crate::model::arch::rope::{Rope, RopeScaling};

const WIDTH: usize = 256;

/// A file of one layer of noise, with more keys and more tensors.
fn gguf(architecture: &str, kind: Format, keys: &[(&str, Meta)], tensors: &[(&str, &[usize])]) -> Gguf {
    let file = Gguf::new(architecture, WIDTH, 8, kind);
    let file = keys.iter().fold(file, |file, (key, value)| file.with(key, value.clone()));
    tensors.iter().fold(file, |file, (name, shape)| file.tensor(name, shape, kind))
}

fn open(bytes: &[u8]) -> Result<Checkpoint> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    files::write_atomic(&path, bytes).unwrap();
    Checkpoint::open(&path).map_err(|error| Error::user(error.message().replace(&path.display().to_string(), "FILE")))
}

fn refusal(bytes: &[u8]) -> String {
    open(bytes).unwrap_err().message().to_owned()
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_format_is_dequantised_and_put_in_order() {
    // a step of a format with b bits over numbers from -1 to 1, with room for its scales
    let formats = [
        (Format::F16, 1e-3),
        (Format::BF16, 5e-3),
        (Format::Q8_0, 0.01),
        (Format::Q6K, 0.05),
        (Format::Q5_0, 0.08),
        (Format::Q5_1, 0.06),
        (Format::Q5K, 0.08),
        (Format::Q4_0, 0.15),
        (Format::Q4_1, 0.1),
        (Format::Q4K, 0.15),
        (Format::Q3K, 0.35),
        (Format::Q2K, 0.6),
    ];
    let stored = noise(2 * WIDTH * WIDTH);
    for (kind, tolerance) in formats {
        let model = open(&gguf("llama", kind, &[], &[]).bytes()).unwrap();
        let down = model.tensor("model.layers.0.mlp.down_proj.weight").unwrap();
        let far = worst(&down, &stored);
        assert!(far < tolerance, "{kind:?}: {far}");
        // Hugging Face's row 1 of a head of 64 is the file's row 2
        let q = model.tensor("model.layers.0.self_attn.q_proj.weight").unwrap();
        let far = worst(&q[WIDTH..2 * WIDTH], &stored[2 * WIDTH..3 * WIDTH]);
        assert!(far < tolerance, "{kind:?}, queries: {far}");
    }
}

#[test]
fn qwen_headers_bring_biases_norms_and_rows_as_they_are() {
    let biases: [(&str, &[usize]); 3] =
        [("blk.0.attn_q.bias", &[WIDTH]), ("blk.0.attn_k.bias", &[WIDTH / 2]), ("blk.0.attn_v.bias", &[WIDTH / 2])];
    let model = open(&gguf("qwen2", Format::F16, &[], &biases).bytes()).unwrap();
    let config = model.config();
    assert_eq!((config.family.as_str(), config.qkv_bias, config.o_bias, config.norm_eps), ("qwen2", true, false, 1e-6));
    assert_eq!(model.tensor("model.layers.0.self_attn.q_proj.bias").unwrap(), noise(WIDTH));

    let norms: [(&str, &[usize]); 3] =
        [("blk.0.attn_q_norm.weight", &[64]), ("blk.0.attn_k_norm.weight", &[64]), ("output.weight", &[8, WIDTH])];
    let keys = [("qwen3.attention.key_length", Meta::U32(64)), ("qwen3.rope.freq_base", Meta::F32(1e6))];
    let model = open(&gguf("qwen3", Format::F32, &keys, &norms).bytes()).unwrap();
    let config = model.config();
    assert_eq!((config.qk_norm, config.tied_head, config.blocks[0].rope.theta), (true, false, 1e6));
    assert_eq!(model.tensor("model.layers.0.self_attn.k_proj.weight").unwrap(), noise(WIDTH / 2 * WIDTH));
}

#[test]
fn gemma_headers_bring_layers_of_two_kinds_and_norms_without_the_one_that_was_added() {
    let norms: [(&str, &[usize]); 2] =
        [("blk.0.post_attention_norm.weight", &[WIDTH]), ("blk.0.post_ffw_norm.weight", &[WIDTH])];
    let model = open(&gguf("gemma2", Format::F32, &[], &norms).bytes()).unwrap();
    let config = model.config();
    assert_eq!((config.attention_cap, config.logit_cap, config.tied_head), (Some(50.0), Some(30.0), true));
    assert_eq!((config.attention_scale, config.embedding_scale), (Some(0.125), Some(16.0)));
    assert_eq!(
        (config.blocks[0].window, config.blocks[0].norms, config.norm_offset),
        (Some(4096), Norms::Around, true)
    );
    let less_one: Vec<f32> = noise(WIDTH).iter().map(|value| value - 1.0).collect();
    for name in ["norm", "layers.0.pre_feedforward_layernorm", "layers.0.post_feedforward_layernorm"] {
        assert_eq!(model.tensor(&format!("model.{name}.weight")).unwrap(), less_one, "{name}");
    }
    assert_eq!(model.tensor("model.layers.0.self_attn.q_proj.weight").unwrap(), noise(WIDTH * WIDTH));

    // A second layer, and queries and keys with norms.
    let norms: [(&str, &[usize]); 4] = [
        ("blk.0.post_attention_norm.weight", &[WIDTH]),
        ("blk.0.post_ffw_norm.weight", &[WIDTH]),
        ("blk.0.attn_q_norm.weight", &[64]),
        ("blk.0.attn_k_norm.weight", &[64]),
    ];
    let read = |more: &[(&str, Meta)]| {
        let mut keys = vec![
            ("gemma3.block_count", Meta::U32(2)),
            ("gemma3.rope.freq_base", Meta::F32(1e6)),
            ("gemma3.rope.scaling.type", Meta::String("linear".into())),
            ("gemma3.rope.scaling.factor", Meta::F32(8.0)),
        ];
        keys.extend_from_slice(more);
        let mut file = gguf("gemma3", Format::F32, &keys, &norms);
        let shape = |(name, tensor): &(String, QTensor)| {
            Some((format!("blk.1.{}", name.strip_prefix("blk.0.")?), tensor.shape().dims().to_vec()))
        };
        let second: Vec<(String, Vec<usize>)> = file.tensors.iter().filter_map(shape).collect();
        for (name, shape) in second {
            file = file.tensor(&name, &shape, Format::F32);
        }
        open(&file.bytes()).unwrap()
    };
    let window = ("gemma3.attention.sliding_window", Meta::U32(32));
    let (wide, narrow) = (Rope { theta: 1e6, scaling: RopeScaling::Linear { factor: 8.0 } }, Rope::plain(1e4));
    let kinds = |model: &Checkpoint| {
        model.config().blocks.iter().map(|block| (block.window, block.rope.clone())).collect::<Vec<_>>()
    };
    let flags = Meta::Array(vec![Meta::Bool(false), Meta::Bool(true)]);
    for (pattern, expected) in [
        (Meta::U32(2), [(Some(32), narrow.clone()), (None, wide.clone())]),
        (flags, [(None, wide.clone()), (Some(32), narrow.clone())]),
        (Meta::U32(6), [(Some(32), narrow.clone()), (Some(32), narrow)]),
    ] {
        let model = read(&[window.clone(), ("gemma3.attention.sliding_window_pattern", pattern)]);
        assert_eq!(kinds(&model), expected);
        assert_eq!(
            (model.config().qk_norm, model.config().attention_cap, model.config().logit_cap),
            (true, None, None)
        );
        let norm = model.tensor("model.layers.1.self_attn.k_norm.weight").unwrap();
        assert_eq!(norm, less_one[..64]);
    }
    assert_eq!(kinds(&read(&[])), [(None, wide.clone()), (None, wide)], "no window at all");
}

#[test]
fn llama_3_factors_are_recognised_or_refused() {
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let keys = [("llama.rope.freq_base", Meta::F32(500_000.0))];
    let plain = open(&gguf("llama", Format::F16, &keys, &[]).bytes()).unwrap().config().clone();
    let scaled = plain.clone().with_blocks(|block| block.rope.scaling = scaling.clone());
    let ratios = plain.blocks[0]
        .rope
        .frequencies(plain.head_dim, 1)
        .into_iter()
        .zip(scaled.blocks[0].rope.frequencies(scaled.head_dim, 1));
    let mut factors: Vec<f32> = ratios.map(|(a, b)| a / b).collect();
    let with = |factors: &[f32]| {
        let mut file = gguf("llama", Format::F16, &keys, &[]);
        file.tensors.push(("rope_freqs.weight".into(), quantised(factors, &[factors.len()], Format::F32)));
        open(&file.bytes())
    };
    assert_eq!(with(&factors).unwrap().config().blocks[0].rope.scaling, scaling);
    assert_eq!(with(&[1.0; 32]).unwrap().config(), &plain);
    factors[20] *= 1.1;
    assert!(with(&factors).unwrap_err().message().contains("rope_freqs.weight"));
}

#[test]
fn what_the_decoder_would_get_wrong_is_refused() {
    let refused =
        |more: &[(&str, Meta)], extra: &[(&str, &[usize])]| refusal(&gguf("llama", Format::F16, more, extra).bytes());
    for (key, value, named) in [
        ("llama.expert_count", Meta::U32(8), "llama.expert_count"),
        ("llama.rope.dimension_count", Meta::U32(32), "llama.rope.dimension_count"),
        ("llama.attention.value_length", Meta::U32(32), "llama.attention.value_length"),
        ("llama.rope.scaling.type", Meta::String("longrope".into()), "llama.rope.scaling.type"),
        ("llama.rope.scaling.type", Meta::String("yarn".into()), "llama.rope.scaling.type"),
        ("llama.logit_scale", Meta::F32(0.5), "llama: logit_scale is 0.5"),
        ("llama.attention.causal", Meta::Bool(false), "llama: attention.causal is false"),
        ("llama.attention.head_count_kv", Meta::Array(vec![Meta::U32(2), Meta::U32(4)]), "head_count_kv"),
        ("llama.attention.head_count", Meta::U32(0), "0 heads"),
        ("split.count", Meta::U16(2), "one of 2 parts of a GGUF file, but its name says 1"),
        ("general.alignment", Meta::U32(0), "general.alignment"),
    ] {
        let message = refused(&[(key, value)], &[]);
        assert!(message.starts_with("FILE: ") && message.contains(named), "{message}");
    }
    assert!(refused(&[], &[("blk.0.attn_sinks.weight", &[4])]).contains("blk.0.attn_sinks.weight is not part"));
    let message = refusal(&gguf("gemma", Format::F16, &[], &[]).bytes());
    assert_eq!(message, "FILE: general.architecture is gemma, which is not supported");
    let misshapen = refused(&[("llama.feed_forward_length", Meta::U32(300))], &[]);
    assert!(misshapen.contains("[512, 256], but the header makes it [300, 256]"), "{misshapen}");
}

#[test]
fn headers_that_lie_cost_nothing() {
    let whole = gguf("llama", Format::F16, &[], &[]).bytes();
    assert!(refusal(&whole[..whole.len() - 4096]).contains("truncated or malformed"));
    assert_eq!(refusal(b""), "FILE is empty");
    assert!(refusal(b"GGML").contains("not a GGUF file"));
    // the counts of tensors and of metadata
    for at in [8, 16] {
        let mut file = whole.clone();
        file[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(refusal(&file).starts_with("FILE: "));
    }
    let mut version = whole.clone();
    version[4] = 1;
    assert!(refusal(&version).contains("version 1"));
    version[4..8].copy_from_slice(&[0, 0, 0, 3]);
    assert!(refusal(&version).contains("big-endian"));
    // after a tensor's name come its rank, its two sizes, its format
    let name = b"token_embd.weight";
    let at = whole.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 16;
    let mut foreign = whole;
    foreign[at] = 39;
    assert!(refusal(&foreign).contains("quantised as MXFP4"));
}

#[test]
fn a_file_in_parts_is_the_file() {
    let whole = gguf("llama", Format::Q8_0, &[], &[("output.weight", &[8, WIDTH])]);
    let dir = tempfile::tempdir().unwrap();
    let path = |part: usize| dir.path().join(format!("m-{part:05}-of-00003.gguf"));
    let write = |part: usize, number: u16, tensors: &[usize]| {
        let mut file = Gguf { metadata: Vec::new(), tensors: Vec::new() };
        if part == 1 {
            file.metadata = whole.metadata.clone();
        }
        for (name, tensor) in tensors.iter().map(|at| &whole.tensors[*at]) {
            let values = tensor.dequantize(&candle_core::Device::Cpu).unwrap();
            let values = values.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let shape = tensor.shape().dims().to_vec();
            file.tensors.push((name.clone(), quantised(&values, &shape, tensor.dtype())));
        }
        let file = file.with("split.no", Meta::U16(number)).with("split.count", Meta::U16(3));
        files::write_atomic(&path(part), &file.bytes()).unwrap();
    };
    write(1, 0, &[]);
    write(2, 1, &[0, 1, 2, 3, 4, 11]);
    let told = |part: usize| {
        Checkpoint::open(&path(part)).unwrap_err().message().replace(&dir.path().display().to_string(), "DIR")
    };
    assert_eq!(told(1), "DIR/m-00001-of-00003.gguf: of its 3 parts these are missing: m-00003-of-00003.gguf");
    write(3, 1, &[5, 6, 7, 8, 9, 10]);
    assert_eq!(told(2), "DIR/m-00003-of-00003.gguf: this should be part 3 of 3 of a GGUF file, and is another one");
    write(3, 2, &[5, 6, 7, 8, 9, 10, 0]);
    assert_eq!(told(2), "DIR/m-00003-of-00003.gguf: the tensor token_embd.weight is there twice");
    write(3, 2, &[5, 6, 7, 8, 9, 10]);
    let one = open(&whole.bytes()).unwrap();
    let quiet = |_: u64, _: u64| {};
    for part in 1..=3 {
        let parts = Checkpoint::open(&path(part)).unwrap();
        assert_eq!((parts.config(), parts.weight_files().len()), (one.config(), 3));
        assert_eq!(parts.weights_digest(&quiet).unwrap(), one.weights_digest(&quiet).unwrap());
    }
    let lines: Vec<String> =
        (1..=3).map(|part| format!("{}  m-{part:05}-of-00003.gguf\n", files::digest(&path(part)).unwrap())).collect();
    let digest = crate::model::source::digest(&path(2)).unwrap();
    assert_eq!(digest, crate::digest::Digest::of(lines.concat().as_bytes()), "as b3sum's lines");
}

#[test]
fn yarn_comes_with_what_llama_cpp_makes_of_the_keys() {
    let yarn = |more: &[(&str, Meta)]| {
        let mut keys = vec![
            ("llama.rope.scaling.type", Meta::String("yarn".into())),
            ("llama.rope.scaling.factor", Meta::F32(4.0)),
        ];
        keys.extend_from_slice(more);
        open(&gguf("llama", Format::F16, &keys, &[]).bytes()).map(|model| model.config().blocks[0].rope.scaling.clone())
    };
    let with = |original_context, beta_fast, attention_factor| RopeScaling::Yarn {
        factor: 4.0,
        original_context,
        beta_fast,
        beta_slow: 1.0,
        attention_factor,
        truncate: true,
    };
    let magnitude = |multiplier: f64| 0.1 * multiplier * 4f64.ln() + 1.0;
    assert_eq!(yarn(&[]).unwrap(), with(64, 32.0, magnitude(1.0)), "the whole context where nothing else is said");
    let more = [
        ("llama.rope.scaling.original_context_length", Meta::U32(16)),
        ("llama.rope.scaling.yarn_beta_fast", Meta::F32(8.0)),
        ("llama.rope.scaling.yarn_log_multiplier", Meta::F32(0.5)),
        ("llama.rope.scaling.attn_factor", Meta::F32(2.0)),
        ("llama.rope.scaling.yarn_ext_factor", Meta::F32(1.0)),
    ];
    assert_eq!(yarn(&more).unwrap(), with(16, 8.0, magnitude(1.0) / magnitude(0.5) * 2.0));
    for key in ["llama.rope.scaling.yarn_ext_factor", "llama.rope.scaling.yarn_attn_factor"] {
        assert!(yarn(&[(key, Meta::F32(0.5))]).unwrap_err().message().contains(&key["llama.".len()..]));
    }
}

#[test]
fn keys_that_nobody_knows_are_told() {
    let notes = |keys: &[(&str, Meta)]| open(&gguf("llama", Format::F16, keys, &[]).bytes()).unwrap().notes();
    let quiet = [("general.name", Meta::String("x".into())), ("llama.vocab_size", Meta::U32(8))];
    assert_eq!(notes(&quiet), [""; 0]);
    let told =
        notes(&[("llama.new_scale", Meta::F32(0.5)), ("tokenizer.ggml.new", Meta::Bool(true)), ("other", Meta::U8(1))]);
    let ends = ["llama says new_scale = 0.5", "tokenizer says ggml.new = true", "m.gguf says other = 1"];
    assert!(told.len() == 3 && told.iter().zip(ends).all(|(note, end)| note.contains(end)), "{told:?}");
}
