//! GGUF files made by candle's writer: every format, families with a header of their own, tokenisers
//! carried over from a tokenizer.json, and headers that lie.

use candle_core::quantized::QTensor;
use dean_testing::{Format, Gguf, Meta, noise, quantised};

use super::*;
use crate::files;
use crate::model::Checkpoint;
use crate::model::arch::config::Norms;
use crate::model::arch::rope::{Rope, RopeScaling};
use crate::model::text::Text;

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
        ("llama.rope.scaling.type", Meta::String("yarn".into()), "llama.rope.scaling.type"),
        ("llama.attention.head_count_kv", Meta::Array(vec![Meta::U32(2), Meta::U32(4)]), "head_count_kv"),
        ("llama.attention.head_count", Meta::U32(0), "0 heads"),
        ("split.count", Meta::U16(2), "one of 2 parts"),
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
fn tokenizer_meta(file: &Path, pre: &str, add_bos: bool) -> Vec<(String, Meta)> {
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
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| Meta::String(text(merge)));
    let key = |short: &str| format!("tokenizer.ggml.{short}");
    vec![
        (key("model"), Meta::String("gpt2".into())),
        (key("pre"), Meta::String(pre.into())),
        (key("tokens"), Meta::Array(tokens.values().map(|(token, _)| Meta::String(token.clone())).collect())),
        (key("token_type"), Meta::Array(tokens.values().map(|(_, kind)| Meta::I32(*kind)).collect())),
        (key("merges"), Meta::Array(merges.collect())),
        (key("add_bos_token"), Meta::Bool(add_bos)),
        (key("bos_token_id"), Meta::U32(0)),
        (key("eos_token_id"), Meta::U32(1)),
    ]
}

/// A model of `tests/interop`, with what transformers says of it.
fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/models").join(name)
}

fn text_of(meta: &[(String, Meta)]) -> Result<Text> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    files::write_atomic(&path, &Gguf { metadata: meta.to_vec(), tensors: Vec::new() }.bytes()).unwrap();
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
        assert_eq!(text.stop_ids(), [1, 3], "the end of the text, and by its name that of a turn");
    }
}

#[test]
fn turns_end_with_a_token_of_that_name_where_the_file_names_none() {
    let folder = committed("qwen2-tied");
    let mut meta = tokenizer_meta(&folder.join("tokenizer.json"), "qwen2", false);
    assert_eq!(text_of(&meta).unwrap().stop_ids(), [1, 3], "<|im_end|>");
    meta.push(("tokenizer.ggml.eot_token_id".into(), Meta::U32(2)));
    assert_eq!(text_of(&meta).unwrap().stop_ids(), [1, 2], "the file's own word counts");
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
        let Meta::Array(tokens) = &mut meta[2].1 else { panic!("no tokens") };
        tokens[303] = Meta::String("12".into());
        meta[4].1 = Meta::Array(vec![Meta::String("1 2".into())]);
        text_of(&meta).unwrap().encode("12", true).unwrap()
    };
    assert_eq!(digits("llama-bpe"), [303]);
    assert_eq!(digits("qwen2").len(), 2);

    let error = text_of(&meta("tekken")).err().unwrap();
    assert!(error.message().contains("tokenizer.ggml.pre is tekken") && error.hint_text().unwrap().contains("smollm"));
    let mut other = meta("qwen2");
    other[0].1 = Meta::String("t5".into());
    assert!(text_of(&other).err().unwrap().message().contains("tokenizer.ggml.model is t5"));
    let mut outside = meta("qwen2");
    outside[7].1 = Meta::U32(99_999);
    assert!(text_of(&outside).err().unwrap().message().contains("eos_token_id is 99999"));
}
