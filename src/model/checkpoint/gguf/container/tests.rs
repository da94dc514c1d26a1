//! GGUF files made by candle's writer: every format, families with a header of their own, tokenisers
//! carried over from a tokenizer.json, and headers that lie.

use std::io::Cursor as Buffer;

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{Value, write};
use candle_core::{Device, Tensor};

use super::*;
use crate::files;
use crate::model::text::Text;
use crate::model::{Checkpoint, RopeScaling};

const WIDTH: usize = 256;

/// Numbers between -1 and 1 that no quantised format stores exactly.
fn noise(numel: usize) -> Vec<f32> {
    (0..numel as u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32) - 1.0).collect()
}

fn quantised(values: &[f32], shape: &[usize], kind: GgmlDType) -> QTensor {
    QTensor::quantize(&Tensor::from_slice(values, shape, &Device::Cpu).unwrap(), kind).unwrap()
}

fn meta(architecture: &str, more: &[(&str, Value)]) -> Vec<(String, Value)> {
    let own = |key: &str| format!("{architecture}.{key}");
    let mut all = vec![
        ("general.architecture".to_owned(), Value::String(architecture.to_owned())),
        (own("block_count"), Value::U32(1)),
        (own("context_length"), Value::U32(64)),
        (own("embedding_length"), Value::U32(WIDTH as u32)),
        (own("feed_forward_length"), Value::U32(2 * WIDTH as u32)),
        (own("attention.head_count"), Value::U32(4)),
        (own("attention.head_count_kv"), Value::U32(2)),
        (own("attention.layer_norm_rms_epsilon"), Value::F32(1e-6)),
    ];
    for (key, value) in more {
        all.retain(|(known, _)| known != key);
        all.push(((*key).to_owned(), value.clone()));
    }
    all
}

/// One layer of noise under llama.cpp's names. What is one row long stays F32.
fn tensors(kind: GgmlDType, extra: &[(&str, &[usize])]) -> Vec<(String, QTensor)> {
    let plain: [(&str, &[usize]); 11] = [
        ("token_embd.weight", &[8, WIDTH]),
        ("output_norm.weight", &[WIDTH]),
        ("blk.0.attn_norm.weight", &[WIDTH]),
        ("blk.0.ffn_norm.weight", &[WIDTH]),
        ("blk.0.attn_q.weight", &[WIDTH, WIDTH]),
        ("blk.0.attn_k.weight", &[WIDTH / 2, WIDTH]),
        ("blk.0.attn_v.weight", &[WIDTH / 2, WIDTH]),
        ("blk.0.attn_output.weight", &[WIDTH, WIDTH]),
        ("blk.0.ffn_gate.weight", &[2 * WIDTH, WIDTH]),
        ("blk.0.ffn_up.weight", &[2 * WIDTH, WIDTH]),
        ("blk.0.ffn_down.weight", &[WIDTH, 2 * WIDTH]),
    ];
    let one = |(name, shape): &(&str, &[usize])| {
        let kind = if shape.len() == 1 { GgmlDType::F32 } else { kind };
        ((*name).to_owned(), quantised(&noise(shape.iter().product()), shape, kind))
    };
    plain.iter().chain(extra).map(one).collect()
}

fn bytes(meta: &[(String, Value)], tensors: &[(String, QTensor)]) -> Vec<u8> {
    let meta: Vec<(&str, &Value)> = meta.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut buffer = Buffer::new(Vec::new());
    write(&mut buffer, &meta, &tensors).unwrap();
    buffer.into_inner()
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
        (GgmlDType::F16, 1e-3),
        (GgmlDType::BF16, 5e-3),
        (GgmlDType::Q8_0, 0.01),
        (GgmlDType::Q6K, 0.05),
        (GgmlDType::Q5_0, 0.08),
        (GgmlDType::Q5_1, 0.06),
        (GgmlDType::Q5K, 0.08),
        (GgmlDType::Q4_0, 0.15),
        (GgmlDType::Q4_1, 0.1),
        (GgmlDType::Q4K, 0.15),
        (GgmlDType::Q3K, 0.35),
        (GgmlDType::Q2K, 0.6),
    ];
    let stored = noise(2 * WIDTH * WIDTH);
    for (kind, tolerance) in formats {
        let model = open(&bytes(&meta("llama", &[]), &tensors(kind, &[]))).unwrap();
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
    let model = open(&bytes(&meta("qwen2", &[]), &tensors(GgmlDType::F16, &biases))).unwrap();
    let config = model.config();
    assert_eq!((config.family.as_str(), config.qkv_bias, config.o_bias, config.norm_eps), ("qwen2", true, false, 1e-6));
    assert_eq!(model.tensor("model.layers.0.self_attn.q_proj.bias").unwrap(), noise(WIDTH));

    let norms: [(&str, &[usize]); 3] =
        [("blk.0.attn_q_norm.weight", &[64]), ("blk.0.attn_k_norm.weight", &[64]), ("output.weight", &[8, WIDTH])];
    let keys = [("qwen3.attention.key_length", Value::U32(64)), ("qwen3.rope.freq_base", Value::F32(1e6))];
    let model = open(&bytes(&meta("qwen3", &keys), &tensors(GgmlDType::F32, &norms))).unwrap();
    let config = model.config();
    assert_eq!((config.qk_norm, config.tied_head, config.blocks[0].rope.theta), (true, false, 1e6));
    assert_eq!(model.tensor("model.layers.0.self_attn.k_proj.weight").unwrap(), noise(WIDTH / 2 * WIDTH));
}

#[test]
fn llama_3_factors_are_recognised_or_refused() {
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    let keys = [("llama.rope.freq_base", Value::F32(500_000.0))];
    let plain = open(&bytes(&meta("llama", &keys), &tensors(GgmlDType::F16, &[]))).unwrap().config().clone();
    let scaled = plain.clone().with_blocks(|block| block.rope.scaling = scaling.clone());
    let ratios = plain.blocks[0]
        .rope
        .frequencies(plain.head_dim, 1)
        .into_iter()
        .zip(scaled.blocks[0].rope.frequencies(scaled.head_dim, 1));
    let mut factors: Vec<f32> = ratios.map(|(a, b)| a / b).collect();
    let with = |factors: &[f32]| {
        let mut all = tensors(GgmlDType::F16, &[]);
        all.push(("rope_freqs.weight".into(), quantised(factors, &[factors.len()], GgmlDType::F32)));
        open(&bytes(&meta("llama", &keys), &all))
    };
    assert_eq!(with(&factors).unwrap().config().blocks[0].rope.scaling, scaling);
    assert_eq!(with(&[1.0; 32]).unwrap().config(), &plain);
    factors[20] *= 1.1;
    assert!(with(&factors).unwrap_err().message().contains("rope_freqs.weight"));
}

#[test]
fn what_the_decoder_would_get_wrong_is_refused() {
    let refused = |more: &[(&str, Value)], extra: &[(&str, &[usize])]| {
        refusal(&bytes(&meta("llama", more), &tensors(GgmlDType::F16, extra)))
    };
    for (key, value, named) in [
        ("llama.expert_count", Value::U32(8), "llama.expert_count"),
        ("llama.rope.dimension_count", Value::U32(32), "llama.rope.dimension_count"),
        ("llama.attention.value_length", Value::U32(32), "llama.attention.value_length"),
        ("llama.rope.scaling.type", Value::String("yarn".into()), "llama.rope.scaling.type"),
        ("llama.attention.head_count_kv", Value::Array(vec![Value::U32(2), Value::U32(4)]), "head_count_kv"),
        ("llama.attention.head_count", Value::U32(0), "0 heads"),
        ("split.count", Value::U16(2), "one of 2 parts"),
        ("general.alignment", Value::U32(0), "general.alignment"),
    ] {
        let message = refused(&[(key, value)], &[]);
        assert!(message.starts_with("FILE: ") && message.contains(named), "{message}");
    }
    assert!(refused(&[], &[("blk.0.attn_sinks.weight", &[4])]).contains("blk.0.attn_sinks.weight is not part"));
    let message = refusal(&bytes(&meta("gemma", &[]), &tensors(GgmlDType::F16, &[])));
    assert_eq!(message, "FILE: general.architecture is gemma, which is not supported");
    let misshapen = refused(&[("llama.feed_forward_length", Value::U32(300))], &[]);
    assert!(misshapen.contains("[512, 256], but the header makes it [300, 256]"), "{misshapen}");
}

#[test]
fn headers_that_lie_cost_nothing() {
    let whole = bytes(&meta("llama", &[]), &tensors(GgmlDType::F16, &[]));
    assert!(refusal(&whole[..whole.len() - 4096]).contains("truncated or malformed"));
    assert!(refusal(b"").contains("not a GGUF file"));
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
    foreign[at] = 20;
    assert!(refusal(&foreign).contains("quantised as IQ4_NL"));
}

/// A tokenizer.json's vocabulary and merges as GGUF metadata.
fn tokenizer_meta(file: &Path, pre: &str, add_bos: bool) -> Vec<(String, Value)> {
    let json: serde_json::Value = serde_json::from_slice(&files::read(file).unwrap()).unwrap();
    let mut tokens: BTreeMap<u64, (String, i32)> = BTreeMap::new();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens.insert(id.as_u64().unwrap(), (token.clone(), 1));
    }
    for token in json["added_tokens"].as_array().unwrap() {
        tokens.insert(token["id"].as_u64().unwrap(), (token["content"].as_str().unwrap().to_owned(), 3));
    }
    let text = |value: &serde_json::Value| match value.as_array() {
        Some(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        None => value.as_str().unwrap().to_owned(),
    };
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| Value::String(text(merge)));
    let key = |short: &str| format!("tokenizer.ggml.{short}");
    vec![
        (key("model"), Value::String("gpt2".into())),
        (key("pre"), Value::String(pre.into())),
        (key("tokens"), Value::Array(tokens.values().map(|(token, _)| Value::String(token.clone())).collect())),
        (key("token_type"), Value::Array(tokens.values().map(|(_, kind)| Value::I32(*kind)).collect())),
        (key("merges"), Value::Array(merges.collect())),
        (key("add_bos_token"), Value::Bool(add_bos)),
        (key("bos_token_id"), Value::U32(0)),
        (key("eos_token_id"), Value::U32(1)),
    ]
}

/// A model of `tests/interop`, with what transformers says of it.
fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/models").join(name)
}

fn text_of(meta: &[(String, Value)]) -> Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    files::write_atomic(&path, &bytes(meta, &[])).unwrap();
    Text::from_gguf(&GgufFile::open(&path).unwrap(), 304)
}

#[test]
fn a_gguf_tokenizer_equals_the_tokenizer_json_it_came_from() {
    for (name, pre, bos) in [("qwen2-tied", "qwen2", false), ("mistral", "gpt-2", true)] {
        let folder = committed(name);
        let text = text_of(&tokenizer_meta(&folder.join("tokenizer.json"), pre, bos)).unwrap();
        let golden: serde_json::Value =
            serde_json::from_slice(&files::read(&folder.join("golden/golden.json")).unwrap()).unwrap();
        for case in golden["tokenizer"].as_array().unwrap() {
            let plain = case["text"].as_str().unwrap();
            let ids = text.encode(plain, true).unwrap();
            assert_eq!(serde_json::json!(ids), case["ids"], "{name}: {case}");
            let begin = if bos { "<s>" } else { "" };
            assert_eq!(text.decode(&ids, false).unwrap(), format!("{begin}{plain}"), "{name}");
        }
        assert_eq!(text.stop_ids(), [1]);
    }
}

#[test]
fn splitting_rules_go_by_name() {
    let folder = committed("qwen2-tied");
    let meta = |pre: &str| tokenizer_meta(&folder.join("tokenizer.json"), pre, false);
    let ids = |pre: &str, text: &str| text_of(&meta(pre)).unwrap().encode(text, true).unwrap();
    assert_eq!(ids("llama-bpe", "tabs\tand so I'LL"), ids("qwen2", "tabs\tand so I'LL"));
    // only Qwen composes accents
    assert_ne!(ids("llama-bpe", "e\u{301}"), ids("qwen2", "e\u{301}"));

    // Llama 3 lets three digits stay together, Qwen none: seen with one more merge
    let digits = |pre: &str| {
        let mut meta = meta(pre);
        // the last token gives up its place to "12", which the only merge makes
        let Value::Array(tokens) = &mut meta[2].1 else { panic!("no tokens") };
        tokens[303] = Value::String("12".into());
        meta[4].1 = Value::Array(vec![Value::String("1 2".into())]);
        text_of(&meta).unwrap().encode("12", true).unwrap()
    };
    assert_eq!(digits("llama-bpe"), [303]);
    assert_eq!(digits("qwen2").len(), 2);

    let error = text_of(&meta("tekken")).err().unwrap();
    assert!(error.message().contains("tokenizer.ggml.pre is tekken") && error.hint_text().unwrap().contains("smollm"));
    let mut other = meta("qwen2");
    other[0].1 = Value::String("t5".into());
    assert!(text_of(&other).err().unwrap().message().contains("tokenizer.ggml.model is t5"));
    let mut outside = meta("qwen2");
    outside[7].1 = Value::U32(99_999);
    assert!(text_of(&outside).err().unwrap().message().contains("eos_token_id is 99999"));
}
