//! Checkpoints of both kinds against each other and against broken files (`model/tests.rs` turns bytes at random).

use std::path::Path;

use super::*;
use crate::files::{self, write_atomic};
use crate::model::testing::small;

fn header(config: &DecoderConfig, change: impl Fn(&str, &mut Vec<usize>) -> bool) -> Vec<u8> {
    let mut map = serde_json::Map::new();
    let mut at = 0;
    for spec in config.tensors() {
        let mut shape = spec.shape.clone();
        if change(&spec.name, &mut shape) {
            let bytes = 2 * shape.iter().product::<usize>();
            map.insert(spec.name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, at + bytes]}));
            at += bytes;
        }
    }
    let header = serde_json::to_vec(&map).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(&header);
    file.extend((0..at).map(|i| (i % 61) as u8));
    file
}

/// A directory with config.json and one weights file.
fn directory(weights: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_atomic(&dir.path().join("config.json"), dean_testing::config(json!({})).to_string().as_bytes()).unwrap();
    write_atomic(&dir.path().join("model.safetensors"), weights).unwrap();
    dir
}

fn refusal(dir: &Path) -> String {
    Checkpoint::open(dir).unwrap_err().message().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn a_directory_opens_and_its_floats_are_read() {
    let dir = directory(&header(&small(), |_, _| true));
    let model = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(model.config(), &small());
    assert_eq!(model.dtype("model.norm.weight"), Some(Dtype::BF16));
    assert_eq!(model.shape("model.layers.0.mlp.down_proj.weight"), Some(&[16, 24][..]));
    let norm = model.tensor("model.embed_tokens.weight").unwrap();
    assert_eq!(norm.len(), 32 * 16);
    assert_eq!(norm[1], half::bf16::from_bits(0x0302).to_f32());
    assert!(model.tensor("lm_head.weight").unwrap_err().message().contains("no float tensor lm_head.weight"));
}

#[test]
fn a_tensor_that_is_missing_or_misshapen_is_named_with_both_shapes() {
    let dir = directory(&header(&small(), |name, _| !name.ends_with("1.mlp.up_proj.weight")));
    assert_eq!(refusal(dir.path()), "DIR: the tensor model.layers.1.mlp.up_proj.weight is missing");
    let wrong = |name: &str, shape: &mut Vec<usize>| {
        if name == "model.layers.0.self_attn.k_proj.weight" {
            shape[0] = 16;
        }
        true
    };
    let dir = directory(&header(&small(), wrong));
    insta::assert_snapshot!(refusal(dir.path()), @"DIR: model.layers.0.self_attn.k_proj.weight has the shape [16, 16], but config.json makes it [8, 16] (num_key_value_heads, head_dim, hidden_size)");
}

/// A directory with one more tensor, filled with `value`.
fn with_tensor(name: &str, shape: &[usize], value: impl Fn(usize) -> f32) -> tempfile::TempDir {
    let mut tensors = dean_testing::tensors(&dean_testing::config(json!({})));
    tensors.push((name.to_owned(), shape.to_vec()));
    let value = |tensor: &str, index: usize| if tensor == name { value(index) } else { (index % 7) as f32 };
    directory(&dean_testing::safetensors(&tensors, ::safetensors::Dtype::BF16, value))
}

#[test]
fn a_head_of_its_own_is_used_though_config_json_ties_it() {
    let copy = with_tensor(HEAD, &[32, 16], |index| (index % 7) as f32);
    let copy = Checkpoint::open(copy.path()).unwrap();
    assert_eq!(copy.config(), &small(), "it is the embedding");
    let dir = with_tensor(HEAD, &[32, 16], |index| -((index % 7) as f32));
    let own = Checkpoint::open(dir.path()).unwrap();
    let untied = DecoderConfig { tied_head: false, ..small() };
    assert_eq!(own.config(), &untied);
    assert_eq!(own.architecture_digest().unwrap(), untied.digest().unwrap());
    assert_eq!(own.tensor(HEAD).unwrap()[6], -6.0);
    let quiet = |_: u64, _: u64| {};
    assert_ne!(own.weights_digest(&quiet).unwrap(), copy.weights_digest(&quiet).unwrap());
    // One that cannot be a head is no reason to use the embedding.
    let short = refusal(with_tensor(HEAD, &[31, 16], |_| 0.0).path());
    insta::assert_snapshot!(short, @"DIR: lm_head.weight has the shape [31, 16], but config.json makes it [32, 16] (vocab_size, hidden_size)");
}

#[test]
fn tensors_that_would_count_are_refused_and_others_are_not() {
    for name in [
        "model.layers.1.self_attn.q_proj.bias",
        "model.layers.0.self_attn.sinks",
        "model.layers.0.mlp.down_proj.lora_A.default.weight",
        "model.layers.1.pre_feedforward_layernorm.weight",
        "model.norm.bias",
    ] {
        let message = refusal(with_tensor(name, &[16], |_| 1.0).path());
        assert_eq!(message, format!("DIR: the tensor {name} is not part of this decoder"));
    }
    for name in
        ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.2.mlp.up_proj.weight", "v_head.summary.weight"]
    {
        let dir = with_tensor(name, &[16], |_| 1.0);
        assert_eq!(Checkpoint::open(dir.path()).unwrap().config(), &small(), "{name}");
    }
}

#[test]
fn packed_weights_are_told_from_missing_ones() {
    let bytes = header(&small(), |_, _| true);
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut map: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let entry = map.remove("model.layers.1.mlp.up_proj.weight").unwrap();
    map.insert("model.layers.1.mlp.up_proj.qweight".into(), entry);
    let head = serde_json::to_vec(&map).unwrap();
    let file = [&(head.len() as u64).to_le_bytes(), &head[..], &bytes[8 + length..]].concat();
    insta::assert_snapshot!(refusal(directory(&file).path()), @"DIR: in the place of model.layers.1.mlp.up_proj.weight there is model.layers.1.mlp.up_proj.qweight, a quantised format");
    map["model.norm.weight"]["dtype"] = "F8_E4M3".into();
    map["model.norm.weight"]["shape"] = json!([32]);
    let entry = map.remove("model.layers.1.mlp.up_proj.qweight").unwrap();
    map.insert("model.layers.1.mlp.up_proj.weight".into(), entry);
    let head = serde_json::to_vec(&map).unwrap();
    let file = [&(head.len() as u64).to_le_bytes(), &head[..], &bytes[8 + length..]].concat();
    insta::assert_snapshot!(refusal(directory(&file).path()), @"DIR: model.norm.weight is stored as F8_E4M3");
}

#[test]
fn broken_weight_files_are_named() {
    let whole = header(&small(), |_, _| true);
    for (bytes, expected) in [
        (&whole[..whole.len() - 1], "DIR/model.safetensors is truncated"),
        (&whole[..40], "DIR/model.safetensors is truncated"),
        (&[], "DIR/model.safetensors is empty"),
        (b"version https://git-lfs.github.com/spec/v1", "DIR/model.safetensors is a Git LFS pointer"),
        (b"\x02\0\0\0\0\0\0\0[]", "DIR/model.safetensors has a malformed header"),
    ] {
        let message = refusal(directory(bytes).path());
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_weight_that_is_no_number_is_found_where_it_is() {
    let load = |tensor: &str, index: usize, bits: u16| {
        let mut bytes = header(&small(), |_, _| true);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let entries: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let at = 8 + length + entries[tensor]["data_offsets"][0].as_u64().unwrap() as usize + 2 * index;
        bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        let dir = directory(&bytes);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let device = crate::model::device::choose(crate::model::device::Device::Cpu).unwrap().device;
        let loaded = crate::model::Decoder::load(&checkpoint, &device, burn::tensor::DType::F32, &mut |_, _| ());
        loaded.map(|_| ()).map_err(|error| error.message().replace(&dir.path().display().to_string(), "DIR"))
    };
    let (down, norm) = ("model.layers.1.mlp.down_proj.weight", "model.norm.weight");
    insta::assert_snapshot!(load(down, 2 * 24 + 5, 0x7FC0).unwrap_err(), @"DIR: model.layers.1.mlp.down_proj.weight is NaN at row 2, column 5; weights must be finite");
    insta::assert_snapshot!(load(norm, 15, 0xFF80).unwrap_err(), @"DIR: model.norm.weight is -inf at position 15; weights must be finite");
    // The largest number of the format is one.
    load(down, 0, 0x7F7F).unwrap();
}

#[test]
fn shards_give_the_same_model_and_the_same_digest() {
    let single = directory(&header(&small(), |_, _| true));
    let model = Checkpoint::open(single.path()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_atomic(&dir.path().join("config.json"), dean_testing::config(json!({})).to_string().as_bytes()).unwrap();
    let mut weight_map = serde_json::Map::new();
    // every tensor becomes a shard of its own
    for (n, spec) in small().tensors().iter().enumerate() {
        let file = format!("model-{n}.safetensors");
        let bytes = model.weights.bytes(&spec.name).unwrap();
        let view = ::safetensors::tensor::TensorView::new(::safetensors::Dtype::BF16, spec.shape.clone(), &bytes);
        let bytes = ::safetensors::serialize([(spec.name.as_str(), view.unwrap())], None).unwrap();
        write_atomic(&dir.path().join(&file), &bytes).unwrap();
        weight_map.insert(spec.name.clone(), file.into());
    }
    let index = dir.path().join("model.safetensors.index.json");
    let write = |map: &serde_json::Map<String, Value>| {
        write_atomic(&index, json!({"metadata": {}, "weight_map": map}).to_string().as_bytes()).unwrap();
    };
    write(&weight_map);
    let sharded = Checkpoint::open(dir.path()).unwrap();
    let name = "model.layers.1.mlp.gate_proj.weight";
    assert_eq!(sharded.tensor(name).unwrap(), model.tensor(name).unwrap());
    let (seen, quiet) = (AtomicU64::new(0), |_: u64, _: u64| {});
    let digest = model.weights_digest(&|done, total| {
        assert!(done <= total);
        seen.fetch_max(done, Ordering::Relaxed);
    });
    let total: usize = small().tensors().iter().map(|spec| 2 * spec.shape.iter().product::<usize>()).sum();
    assert_eq!(seen.into_inner(), total as u64);
    assert_eq!(digest.unwrap(), sharded.weights_digest(&quiet).unwrap());

    for trick in ["../model-0.safetensors", "/model-0.safetensors", "..", "a\\b.safetensors", "x/y.safetensors"] {
        let mut map = weight_map.clone();
        map.insert(name.into(), trick.into());
        write(&map);
        let message = refusal(dir.path());
        assert!(message.contains("weight_map") && message.contains(name), "{message}");
    }
    let mut map = weight_map.clone();
    map.insert(name.into(), "model-0.safetensors".into());
    write(&map);
    assert!(refusal(dir.path()).contains("model-0.safetensors, which does not hold it"));
}

#[test]
fn one_changed_weight_changes_the_digest() {
    let mut bytes = header(&small(), |_, _| true);
    let quiet = |_: u64, _: u64| {};
    let before = Checkpoint::open(directory(&bytes).path()).unwrap().weights_digest(&quiet).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_ne!(before, Checkpoint::open(directory(&bytes).path()).unwrap().weights_digest(&quiet).unwrap());
}

#[test]
fn places_without_weights_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(&dir.path().join("nowhere")).contains("there is no model at"));
    assert_eq!(refusal(dir.path()), "DIR: not a model in Hugging Face layout: no config.json; no file is there");
    write_atomic(&dir.path().join("m.gguf"), b"GGUF").unwrap();
    assert!(Checkpoint::open(dir.path()).unwrap_err().hint_text().unwrap().ends_with("m.gguf"));
    assert!(refusal(&dir.path().join("m.gguf")).starts_with("DIR: the file is truncated"));
    files::remove(&dir.path().join("m.gguf")).unwrap();
    write_atomic(&dir.path().join("config.json"), dean_testing::config(json!({})).to_string().as_bytes()).unwrap();
    insta::assert_snapshot!(refusal(dir.path()), @"DIR: no weights: none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json; found config.json");
    write_atomic(&dir.path().join("pytorch_model.bin"), b"x").unwrap();
    assert_eq!(refusal(dir.path()), "DIR/pytorch_model.bin: this is not a file of weights that torch.save wrote");
}
