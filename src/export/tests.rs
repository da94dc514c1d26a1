//! Exports of small models that the tests write themselves: a sharded bf16 directory and a GGUF file.

use std::path::{Path, PathBuf};

use dean_testing::{Format, Gguf, Meta};
use safetensors::Dtype as Stored;
use serde_json::json;
use tempfile::TempDir;

use super::compare::{Difference, How, compare};
use super::contents::{Contents, Written};
use super::directory::{self, Tally, Ways};
use super::in_place::{Way, write as write_in_place};
use super::{MANIFEST, Manifest};
use crate::digest::Digest;
use crate::error::{Kind, Result};
use crate::files;
use crate::model::patch::{Patch, PatchedTensor};
use crate::model::{Checkpoint, DecoderConfig};

const DOWN: &str = "model.layers.0.mlp.down_proj.weight";
const UP: &str = "model.layers.1.mlp.up_proj.weight";

/// A directory of three bf16 shards; the last one, with layer 1 and the norm, holds nothing of layer 0.
fn sharded() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| files::write_atomic(&dir.path().join(name), bytes).unwrap();
    let config = dean_testing::config(json!({}));
    put("config.json", config.to_string().as_bytes());
    put("tokenizer.json", b"{}");
    put("chat_template.jinja", b"{{ messages }}\n");
    put("README.md", b"the base's own");
    put("pytorch_model.bin.index.json", b"{}");
    put("modeling.py", b"raise SystemExit");
    put("adapter_config.json", b"{}");
    put("tokenizer.model.v3", b"pieces");
    put("LICENSE", b"terms");
    let shard = |name: &str| match name.split('.').nth(2) {
        Some("0") => 1,
        Some("1") => 2,
        _ if name == "model.norm.weight" => 2,
        _ => 0,
    };
    let file = |shard: usize| format!("model-{:05}-of-00003.safetensors", shard + 1);
    let tensors = dean_testing::tensors(&config);
    let mut map = serde_json::Map::new();
    for number in 0..3 {
        let mine: Vec<_> = tensors.iter().filter(|(name, _)| shard(name) == number).cloned().collect();
        map.extend(mine.iter().map(|(name, _)| (name.clone(), file(number).into())));
        let bytes = dean_testing::safetensors(&mine, Stored::BF16, |name, index| {
            let at = mine.iter().position(|(known, _)| known == name).unwrap();
            (index + at) as f32 / 7.0 + 0.5
        });
        put(&file(number), &bytes);
    }
    put("model.safetensors.index.json", json!({"weight_map": map}).to_string().as_bytes());
    dir
}

/// A patch with values other than zero, so that it is the patch's values that count.
fn patch(checkpoint: &Checkpoint, tensors: &[(&str, &[u32])]) -> Patch {
    let one = |(tensor, indices): &(&str, &[u32])| {
        let values = checkpoint.tensor(tensor).unwrap();
        let mut patched = PatchedTensor::zeroing(tensor, checkpoint.dtype(tensor).unwrap(), &values, indices).unwrap();
        patched.values = indices.iter().map(|index| -1.5 - (index % 2) as f32).collect();
        patched
    };
    Patch { tensors: tensors.iter().map(one).collect() }
}

fn bytes(dir: &Path, name: &str) -> Vec<u8> {
    files::read(&dir.join(name)).unwrap()
}

fn export(base: &Path, patch: &Patch, to: &Path, link: bool) -> Result<Tally> {
    let checkpoint = Checkpoint::open(base)?;
    let ways = Ways { link, stop: &|| false };
    directory::write(to, &Contents::of(&checkpoint, patch, None)?, &[("README.md", b"card".to_vec())], &ways)
}

/// A base, a patch of its shard 2, and a place for an export.
fn set_up() -> (TempDir, Patch, TempDir, PathBuf) {
    let base = sharded();
    let checkpoint = Checkpoint::open(base.path()).unwrap();
    let patch = patch(&checkpoint, &[(DOWN, &[0, 17, 383])]);
    let room = tempfile::tempdir().unwrap();
    let out = room.path().join("out");
    (base, patch, room, out)
}

#[test]
fn only_the_edited_weights_bytes_differ() {
    let (base, patch, room, out) = set_up();
    let tally = export(base.path(), &patch, &out, false).unwrap();
    assert_eq!(tally, Tally { edited: 1, copied: 2, others: 7, ..Tally::default() });
    let names: Vec<String> = files::list(&out)
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let expected = [
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer.model.v3",
    ];
    assert_eq!(names, expected);
    assert_eq!(files::list(room.path()).unwrap(), std::slice::from_ref(&out), "nothing of a temporary name is left");

    let (_, range) = {
        let checkpoint = Checkpoint::open(base.path()).unwrap();
        checkpoint.place(DOWN).map(|(file, range)| (file.to_owned(), range)).unwrap()
    };
    for name in names.iter().filter(|name| *name != "README.md") {
        let (before, after) = (bytes(base.path(), name), bytes(&out, name));
        assert_eq!(before.len(), after.len());
        let differ: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        if name.contains("00002") {
            let edited = [0, 17, 383].map(|index| range.start + 2 * index);
            assert!(!differ.is_empty());
            assert!(differ.iter().all(|at| edited.contains(at) || edited.contains(&(at - 1))), "{differ:?}");
        } else {
            assert_eq!(differ, [0; 0], "{name}");
        }
    }
    let after = Checkpoint::open(&out).unwrap().tensor(DOWN).unwrap();
    assert_eq!([after[0], after[17], after[383]], [-1.5, -2.5, -2.5]);
    assert!(export(base.path(), &patch, &out, false).unwrap_err().message().ends_with("does not mix with other files"));
}

#[test]
fn links_are_for_untouched_shards_alone() {
    let (base, patch, _room, out) = set_up();
    let before = bytes(base.path(), "model-00002-of-00003.safetensors");
    let tally = export(base.path(), &patch, &out, true).unwrap();
    assert_eq!((tally.linked, tally.edited, tally.copied), (2, 1, 0));
    assert!(!files::has_other_names(&out.join("model-00002-of-00003.safetensors")).unwrap());
    assert!(!files::has_other_names(&out.join("config.json")).unwrap());
    assert_eq!(bytes(base.path(), "model-00002-of-00003.safetensors"), before);
    // What is linked is the base's own, so no patch is written into it.
    let other = {
        let checkpoint = Checkpoint::open(base.path()).unwrap();
        self::patch(&checkpoint, &[(UP, &[3])])
    };
    if cfg!(unix) {
        let refused = write_in_place(&out, &other, Way::Apply).unwrap_err();
        assert!(refused.message().contains("has other names (links)"), "{refused}");
    }
}

#[test]
fn an_export_that_fails_or_was_killed_leaves_nothing() {
    let (base, mut patch, room, out) = set_up();
    patch.tensors[0].original[1] = 99.0;
    let refused = export(base.path(), &patch, &out, false).unwrap_err();
    assert!(refused.message().contains("1 weight is not what the patch expects"), "{refused}");
    assert!(files::list(room.path()).unwrap().is_empty());
    // What a killed export leaves: a directory whose lock nobody holds. A living one's stays.
    let (left, living) = (room.path().join(".out.dean-export-1"), room.path().join(".out.dean-export-2"));
    for dir in [&left, &living] {
        files::create_dir_all(dir).unwrap();
        files::write_atomic(&dir.join(".dean-export"), b"").unwrap();
    }
    let held = files::open(&living.join(".dean-export")).unwrap();
    held.try_lock().unwrap();
    patch.tensors[0].original[1] = Checkpoint::open(base.path()).unwrap().tensor(DOWN).unwrap()[17];
    export(base.path(), &patch, &out, false).unwrap();
    assert_eq!(files::list(room.path()).unwrap(), [living, out]);
}

#[test]
fn an_export_that_is_stopped_leaves_nothing() {
    let (base, patch, room, out) = set_up();
    let checkpoint = Checkpoint::open(base.path()).unwrap();
    let contents = Contents::of(&checkpoint, &patch, None).unwrap();
    // Before the first file, and before the last.
    for after in [0, contents.items.len() - 1] {
        let asked = std::cell::Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == after;
        let stopped = directory::write(&out, &contents, &[], &Ways { link: false, stop: &stop }).unwrap_err();
        assert_eq!((stopped.kind(), asked.get()), (Kind::Stopped, after + 1));
        assert!(files::list(room.path()).unwrap().is_empty());
    }
}

#[cfg(unix)]
#[test]
fn a_model_of_links_is_exported_as_files_and_not_into() {
    use std::os::unix::fs::symlink;
    // As the hub's cache has it: files of a snapshot are links to blobs elsewhere.
    let (blobs, patch, room, out) = set_up();
    let snapshot = room.path().join("snapshot");
    files::create_dir_all(&snapshot).unwrap();
    for file in files::list(blobs.path()).unwrap() {
        symlink(&file, snapshot.join(file.file_name().unwrap())).unwrap();
    }
    let tally = export(&snapshot, &patch, &out, true).unwrap();
    assert_eq!((tally.linked, tally.edited), (2, 1));
    assert!(files::list(&out).unwrap().iter().all(|file| file.is_file() && !files::is_link(file)));
    let after = Checkpoint::open(&out).unwrap().tensor(DOWN).unwrap();
    assert_eq!([after[0], after[17], after[383]], [-1.5, -2.5, -2.5]);
    let refused = write_in_place(&snapshot, &patch, Way::Apply).unwrap_err();
    assert!(refused.message().contains("has other names (links)"), "{refused}");
    assert!(Checkpoint::open(&snapshot).unwrap().tensor(DOWN).unwrap()[0] > 0.0);

    symlink(&snapshot, room.path().join("to")).unwrap();
    for inside in ["snapshot/new", "to/new/er", "to/../snapshot/new"] {
        let refused = export(&snapshot, &patch, &room.path().join(inside), false).unwrap_err();
        assert!(refused.message().ends_with("lies in the directory of the base model"), "{inside}: {refused}");
    }
    files::create_dir_all(&room.path().join("empty")).unwrap();
    symlink("empty", room.path().join("link")).unwrap();
    for (name, why) in [("link", "is there already and is not a directory"), ("to", "is there already")] {
        let refused = export(&snapshot, &patch, &room.path().join(name), false).unwrap_err();
        assert!(refused.message().contains(why), "{refused}");
    }
    export(&snapshot, &patch, &room.path().join("empty"), false).unwrap();
}

#[test]
fn a_patch_is_applied_and_taken_back_bit_for_bit() {
    let (base, first, _room, out) = set_up();
    let (base, dir) = (base.path(), out);
    let none = Patch::default();
    export(base, &none, &dir, false).unwrap();
    let patch = {
        let checkpoint = Checkpoint::open(base).unwrap();
        self::patch(&checkpoint, &[(DOWN, &[0, 17, 383]), (UP, &[5])])
    };
    let name = |shard: usize| format!("model-0000{shard}-of-00003.safetensors");
    let before = [2, 3].map(|shard| bytes(base, &name(shard)));
    assert_eq!(write_in_place(&dir, &patch, Way::Undo).unwrap(), 0);
    // Half of it is there already, as after a stop.
    assert_eq!(write_in_place(&dir, &first, Way::Apply).unwrap(), 3);
    assert_eq!(write_in_place(&dir, &patch, Way::Apply).unwrap(), 1);
    assert_eq!(write_in_place(&dir, &patch, Way::Apply).unwrap(), 0);
    assert_ne!(bytes(&dir, &name(3)), before[1]);
    assert_eq!(write_in_place(&dir, &patch, Way::Undo).unwrap(), 4);
    assert_eq!([2, 3].map(|shard| bytes(&dir, &name(shard))), before);

    // An edited weight that is neither value, a weight of the matrix that nobody edits, and another model.
    let range = Checkpoint::open(&dir).unwrap().place(DOWN).map(|(_, range)| range).unwrap();
    let spoil = |index: usize| {
        let at = (range.start + 2 * index) as u64;
        let mut old = [0; 2];
        old.copy_from_slice(&before[0][range.start + 2 * index..][..2]);
        let file = dir.join(name(2));
        files::overwrite(&file, [(at, &[1_u8, 2][..])].into_iter()).unwrap();
        let refused = write_in_place(&dir, &patch, Way::Apply).unwrap_err();
        files::overwrite(&file, [(at, &old[..])].into_iter()).unwrap();
        refused.message().replace(&dir.display().to_string(), "DIR")
    };
    assert!(spoil(17).starts_with("DIR/model-00002-of-00003.safetensors: 1 weight is not what"), "{}", spoil(17));
    insta::assert_snapshot!(spoil(18), @"DIR: model.layers.0.mlp.down_proj.weight is not the one that the patch was made for");
    let mut foreign = patch.clone();
    foreign.tensors[0].tensor = "model.layers.7.mlp.down_proj.weight".into();
    assert!(write_in_place(&dir, &foreign, Way::Apply).unwrap_err().message().contains("does not have"));
    foreign = patch.clone();
    foreign.tensors[0].indices[2] = 384;
    assert!(write_in_place(&dir, &foreign, Way::Apply).unwrap_err().message().contains("does not have"));
    foreign = patch.clone();
    foreign.tensors[0].values[0] = 1.0 + f32::EPSILON;
    assert!(write_in_place(&dir, &foreign, Way::Apply).unwrap_err().message().contains("cannot hold"));
    assert_eq!([2, 3].map(|shard| bytes(&dir, &name(shard))), before, "no refusal wrote anything");
}

#[test]
fn a_comparison_finds_every_kind_of_difference() {
    let (base, patch, _room, out) = set_up();
    export(base.path(), &patch, &out, false).unwrap();
    let checkpoint = Checkpoint::open(base.path()).unwrap();
    let contents = Contents::of(&checkpoint, &patch, None).unwrap();
    let found = compare(&out, &contents).unwrap();
    assert_eq!((found.files, found.differences.len(), found.others.len()), (9, 0, 0));
    // One edit missing, by its weight.
    let at = checkpoint.place(DOWN).unwrap().1.start + 2 * 17;
    let shard = "model-00002-of-00003.safetensors";
    let old = &bytes(base.path(), shard)[at..at + 2];
    files::overwrite(&out.join(shard), [(at as u64, old)].into_iter()).unwrap();
    files::write_atomic(&out.join("config.json"), &[bytes(&out, "config.json"), b" ".to_vec()].concat()).unwrap();
    files::write_atomic(&out.join("chat_template.jinja"), b"{{").unwrap();
    files::remove(&out.join("tokenizer.json")).unwrap();
    files::write_atomic(&out.join("model.safetensors"), b"").unwrap();
    files::write_atomic(&out.join("notes.md"), b"mine").unwrap();
    // a template beside the default one, which the base does not have
    files::create_dir_all(&out.join("additional_chat_templates")).unwrap();
    files::write_atomic(&out.join("additional_chat_templates/tools.jinja"), b"{{").unwrap();
    let mut found = compare(&out, &contents).unwrap();
    found.differences.sort_by(|a, b| a.file.cmp(&b.file));
    let difference = |file: &str, how: How| Difference { file: file.into(), how };
    let first = (at..at + 2).find(|at| bytes(&out, shard)[*at] != contents_byte(&contents, shard, *at)).unwrap();
    assert_eq!(
        found.differences,
        [
            difference("additional_chat_templates/tools.jinja", How::Stranger),
            difference("chat_template.jinja", How::Short),
            difference("config.json", How::Long),
            difference(shard, How::Byte { at: first as u64, tensor: Some(DOWN.into()), index: Some(17) }),
            difference("model.safetensors", How::Stranger),
            difference("tokenizer.json", How::Missing),
        ]
    );
    assert_eq!(found.others, [PathBuf::from("notes.md")]);
}

/// A byte of a file as it should be.
fn contents_byte(contents: &Contents<'_>, name: &str, at: usize) -> u8 {
    let item = contents.items.iter().find(|item| item.name == Path::new(name)).unwrap();
    let mut all = Vec::new();
    contents.produce(item, &mut all, &|cause| panic!("{cause}")).unwrap();
    all[at]
}

/// Norms that Gemma has beside Llama's, by llama.cpp's names, with their sizes. Gemma 2 has the first two.
const NORMS: [(&str, usize); 4] =
    [("post_attention_norm", 64), ("post_ffw_norm", 64), ("attn_q_norm", 16), ("attn_k_norm", 16)];

/// A quantised model with a byte-level tokeniser of a few tokens and a chat template.
fn gguf(path: &Path, architecture: &str, norms: &[(&str, usize)]) {
    let text = |text: &str| Meta::String(text.to_owned());
    let texts = |all: &[&str]| Meta::Array(all.iter().map(|one| text(one)).collect());
    let mut file = Gguf::new(architecture, 64, 5, Format::Q8_0);
    for (name, size) in norms {
        file = file.tensor(&format!("blk.0.{name}.weight"), &[*size], Format::F32);
    }
    for (key, value) in [
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", texts(&["a", "b", "ab", "<|start|>", "<|end|>"])),
        ("tokenizer.ggml.token_type", Meta::Array([1, 1, 1, 3, 3].map(Meta::I32).into())),
        ("tokenizer.ggml.merges", texts(&["a b"])),
        ("tokenizer.ggml.bos_token_id", Meta::U32(3)),
        ("tokenizer.ggml.eos_token_id", Meta::U32(4)),
        ("tokenizer.chat_template", text("{% for m in messages %}<|start|>{{ m['content'] }}{% endfor %}")),
    ] {
        file = file.with(key, value);
    }
    files::write_atomic(path, &file.bytes()).unwrap();
}

#[test]
fn a_gguf_file_becomes_a_directory_that_reads_the_same() {
    // Gemma's norms are stored one lower in the directory.
    for (architecture, norms) in [("llama", &NORMS[..0]), ("gemma2", &NORMS[..2]), ("gemma3", &NORMS[..])] {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join("m.gguf");
        gguf(&file, architecture, norms);
        becomes_a_directory_that_reads_the_same(&file);
    }
    let directory = sharded();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let none = Patch::default();
    let refused = Contents::of(&checkpoint, &none, Some(Written::Bf16)).err().unwrap();
    assert!(refused.message().contains("keeps the types of its weights"));
}

fn becomes_a_directory_that_reads_the_same(file: &Path) {
    let room = file.parent().unwrap();
    let base = Checkpoint::open(file).unwrap();
    let patch = patch(&base, &[("model.layers.0.mlp.down_proj.weight", &[1, 40])]);
    for dtype in [Written::F32, Written::Bf16] {
        let contents = Contents::of(&base, &patch, Some(dtype)).unwrap();
        let out = room.join(dtype.name());
        let tally = directory::write(&out, &contents, &[], &Ways { link: false, stop: &|| false }).unwrap();
        assert_eq!((tally.converted, tally.others), (1, 4));
        assert_eq!(compare(&out, &contents).unwrap().differences, []);

        let after = Checkpoint::open(&out).unwrap();
        assert_eq!(after.config(), base.config());
        assert_eq!(
            after.text_digest().unwrap(),
            base.text_digest().unwrap(),
            "tokeniser, template, special and stop ids"
        );
        for spec in DecoderConfig::tensors(base.config()) {
            let mut expected = base.tensor(&spec.name).unwrap();
            if spec.name == DOWN {
                (expected[1], expected[40]) = (-2.5, -1.5);
            }
            if dtype == Written::Bf16 {
                expected.iter_mut().for_each(|value| *value = half::bf16::from_f32(*value).to_f32());
            }
            assert_eq!(after.tensor(&spec.name).unwrap(), expected, "{} as {}", spec.name, dtype.name());
        }
        // The f32 export holds the base's values, so the patch can be taken out of it; rounded ones it cannot know.
        let digest = Digest::of(b"");
        let of = super::Base { weights: digest, architecture: digest, text: digest };
        let manifest =
            Manifest { mask: digest, patch: digest, base: of, dtype: Some(dtype), tool: "dean".into() }.text().unwrap();
        files::write_atomic(&out.join(MANIFEST), &manifest).unwrap();
        match (dtype, write_in_place(&out, &patch, Way::Undo)) {
            (Written::F32, undone) => assert_eq!(undone.unwrap(), 2),
            (Written::Bf16, undone) => {
                let refused = undone.unwrap_err();
                let said = refused.message().replace(&out.display().to_string(), "DIR");
                let expected =
                    format!("DIR was exported with --dtype bf16, which rounded its weights: {DOWN}: the patch is");
                assert!(said.starts_with(&expected), "{said}");
                assert!(refused.hint_text().unwrap().contains("--dtype f32"), "{refused:?}");
            }
        }
    }
}

/// PyTorch's files become safetensors of the same types, and the export is then a base like any other.
#[test]
fn a_bin_checkpoint_is_exported_as_safetensors() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/model");
    let (base, room) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for file in files::list(&source).unwrap().iter().filter(|file| file.extension().unwrap() != "safetensors") {
        let name = file.file_name().unwrap().to_str().unwrap();
        files::write_atomic(&base.path().join(name), &bytes(&source, name)).unwrap();
    }
    files::write_atomic(&base.path().join("tokenizer.model"), b"pieces").unwrap();
    let checkpoint = Checkpoint::open(base.path()).unwrap();
    let patch = patch(&checkpoint, &[(DOWN, &[0, 5])]);
    let out = room.path().join("out");
    let tally = export(base.path(), &patch, &out, false).unwrap();
    assert_eq!(tally, Tally { converted: 1, others: 3, ..Tally::default() });
    let names: Vec<_> = files::list(&out).unwrap().iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["README.md", "config.json", "model.safetensors", "tokenizer.model"]);
    let exported = Checkpoint::open(&out).unwrap();
    for spec in checkpoint.config().tensors() {
        let (before, after) = (checkpoint.tensor(&spec.name).unwrap(), exported.tensor(&spec.name).unwrap());
        assert_eq!(exported.dtype(&spec.name), checkpoint.dtype(&spec.name));
        let changed = before.iter().zip(&after).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert_eq!(changed, if spec.name == DOWN { 2 } else { 0 }, "{}", spec.name);
    }
    assert!(write_in_place(base.path(), &patch, Way::Apply).is_err(), "a .bin is never written");
    assert_eq!(write_in_place(&out, &patch, Way::Undo).unwrap(), 2);
    let undone = Checkpoint::open(&out).unwrap();
    assert_eq!(undone.weights_digest(&|_, _| ()).unwrap(), checkpoint.weights_digest(&|_, _| ()).unwrap());
}
