//! Files that torch wrote (tests/pytorch, by its make.py) against safetensors of the same values, and files made
//! here that lie. Must not know: which opcodes are allowed.

use std::io::Write;

use zip::write::SimpleFileOptions;

use crate::error::Error;
use crate::files;
use crate::model::Checkpoint;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch").join(name)
}

/// The model's config.json beside some files.
fn directory(named: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = files::read(&fixture("model/config.json")).unwrap();
    for (name, bytes) in named.iter().chain([&("config.json", &config[..])]) {
        files::write_atomic(&dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn open(bytes: &[u8]) -> Result<(tempfile::TempDir, Checkpoint), Error> {
    let dir = directory(&[("pytorch_model.bin", bytes)]);
    let opened = Checkpoint::open(dir.path());
    let place = dir.path().display().to_string();
    opened.map(|model| (dir, model)).map_err(|error| {
        let plain = Error::user(error.message().replace(&place, "DIR"));
        plain.hint(error.hint_text().unwrap_or_default())
    })
}

fn refusal(bytes: &[u8]) -> String {
    let error = open(bytes).unwrap_err();
    format!("{}\nhint: {}", error.message(), error.hint_text().unwrap())
}

fn refused_file(name: &str) -> String {
    refusal(&files::read(&fixture(name)).unwrap())
}

fn digest(model: &Checkpoint) -> String {
    model.weights_digest(&|_, _| ()).unwrap().to_string()
}

#[test]
fn every_form_that_torch_saves_is_the_model_that_safetensors_has() {
    let expected = Checkpoint::open(&fixture("model")).unwrap();
    assert!(expected.weight_files().iter().all(|path| path.ends_with("model.safetensors")), "safetensors go first");
    let same = |model: &Checkpoint, name: &str| {
        for spec in expected.config().tensors() {
            let found = model.tensor(&spec.name).unwrap();
            assert_eq!(found, expected.tensor(&spec.name).unwrap(), "{name}: {}", spec.name);
            assert!(found.iter().any(|value| *value != 0.0));
        }
        assert_eq!(digest(model), digest(&expected), "{name}: the bytes are those of safetensors");
    };
    for name in ["state-dict.bin", "legacy.bin", "views.bin", "parameters.bin"] {
        same(&open(&files::read(&fixture(name)).unwrap()).unwrap().1, name);
    }
    let shards: Vec<(String, Vec<u8>)> = ["-00001-of-00002.bin", "-00002-of-00002.bin", ".bin.index.json"]
        .map(|end| format!("pytorch_model{end}"))
        .map(|name| (name.clone(), files::read(&fixture("model").join(name)).unwrap()))
        .into();
    let named: Vec<(&str, &[u8])> = shards.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let dir = directory(&named);
    let sharded = Checkpoint::open(dir.path()).unwrap();
    same(&sharded, "sharded");
    assert_eq!(sharded.weight_files().len(), 2);
    files::remove(&dir.path().join("pytorch_model-00002-of-00002.bin")).unwrap();
    assert!(Checkpoint::open(dir.path()).unwrap_err().message().contains("pytorch_model-00002-of-00002.bin"));
    for trick in
        ["../pytorch_model-00001-of-00002.bin", "/pytorch_model-00001-of-00002.bin", "x/y.bin", "model.safetensors"]
    {
        let index = serde_json::json!({"weight_map": {"lm_head.weight": trick}}).to_string();
        files::write_atomic(&dir.path().join("pytorch_model.bin.index.json"), index.as_bytes()).unwrap();
        assert!(Checkpoint::open(dir.path()).unwrap_err().message().contains("is not the name of a .bin file here"));
    }
}

#[test]
fn anything_but_tensors_is_refused_by_name() {
    insta::assert_snapshot!(refused_file("hostile.bin"), @"
    DIR/pytorch_model.bin: it calls for posix.system, which is no part of a plain tensor
    hint: nothing of it was run; get the weights from a source that you trust, preferably as safetensors
    ");
    insta::assert_snapshot!(refused_file("hostile-legacy.bin"), @"
    DIR/pytorch_model.bin: it calls for posix.system, which is no part of a plain tensor
    hint: nothing of it was run; get the weights from a source that you trust, preferably as safetensors
    ");
    insta::assert_snapshot!(refused_file("module.bin"), @"
    DIR/pytorch_model.bin: it calls for torch.nn.modules.linear.Linear, which is no part of a plain tensor
    hint: nothing of it was run; get the weights from a source that you trust, preferably as safetensors
    ");
    insta::assert_snapshot!(refused_file("sparse.bin"), @"
    DIR/pytorch_model.bin: it calls for torch._utils._rebuild_sparse_tensor, which is no part of a plain tensor
    hint: nothing of it was run; get the weights from a source that you trust, preferably as safetensors
    ");
    insta::assert_snapshot!(refused_file("float8.bin"), @"
    DIR/pytorch_model.bin: it calls for torch.float8_e4m3fn, which is no part of a plain tensor
    hint: nothing of it was run; get the weights from a source that you trust, preferably as safetensors
    ");
    insta::assert_snapshot!(refused_file("training.bin"), @r#"
    DIR/pytorch_model.bin: epoch is a number, not a tensor
    hint: save the tensors alone: `torch.save(model.state_dict(), "pytorch_model.bin")`
    "#);
    insta::assert_snapshot!(refused_file("protocol-4.bin"), @"
    DIR/pytorch_model.bin: its pickle has protocol 4; 2 is what torch.save writes
    hint: load it with torch and save its tensors again, preferably as safetensors
    ");
    insta::assert_snapshot!(refused_file("expanded.bin"), @"
    DIR/pytorch_model.bin: model.embed_tokens.weight of shape [1048576, 1024] would take 4294967296 bytes, but the file has 1648
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(open(&files::read(&fixture("float64.bin")).unwrap()).map(|_| ()).unwrap_err().message(), @"DIR: model.embed_tokens.weight is stored as F64");
}

#[test]
fn what_is_cut_or_no_such_file_is_told() {
    for name in ["state-dict.bin", "legacy.bin"] {
        let whole = files::read(&fixture(name)).unwrap();
        for kept in (0..whole.len()).step_by(61) {
            let message = refusal(&whole[..kept]);
            assert!(message.contains("hint: copy or download the file again"), "{name}, {kept}: {message}");
        }
    }
    insta::assert_snapshot!(refusal(b""), @"
    DIR/pytorch_model.bin is empty
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(refusal(b"version https://git-lfs.github.com/spec/v1\n"), @"
    DIR/pytorch_model.bin is a Git LFS pointer, not the file itself
    hint: fetch the model's files with `git lfs pull`
    ");
    insta::assert_snapshot!(refusal(b"PK\x03\x04 and so on"), @"
    DIR/pytorch_model.bin: the archive is truncated or malformed: invalid Zip archive: Could not find EOCD
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(refusal(&archive(&[("other/version", b"3")], false)), @"
    DIR/pytorch_model.bin: the archive has no data.pkl, so torch.save did not write it
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(refusal(&archive(&[("a/data.pkl", b"}."), ("b/data.pkl", b"}.")], false)), @"
    DIR/pytorch_model.bin: it has more than one data.pkl
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(refusal(&archive(&[("a/data.pkl", &vec![b'N'; 3 << 20])], false)), @"
    DIR/pytorch_model.bin: its data.pkl has 3145728 bytes; 2097152 are the most
    hint: copy or download the file again
    ");
    insta::assert_snapshot!(refusal(&archive(&[("a/data.pkl", &vec![b'N'; 3 << 20])], true)), @"
    DIR/pytorch_model.bin: its entry a/data.pkl is compressed, as torch.save never does
    hint: load it with torch and save it again, preferably as safetensors
    ");
    insta::assert_snapshot!(refusal(&archive(&[("a/data.pkl", b"K\x01.")], false)), @r#"
    DIR/pytorch_model.bin: it does not hold a table of tensors
    hint: save the tensors alone: `torch.save(model.state_dict(), "pytorch_model.bin")`
    "#);
    insta::assert_snapshot!(refusal(&archive(&[("a/data.pkl", b"}."), ("a/byteorder", b"big")], false)), @"
    DIR/pytorch_model.bin cannot be read: invalid PyTorch file format: Big-endian PyTorch files are not supported. The file was saved on a big-endian system and requires byte order conversion.
    hint: copy or download the file again
    ");
}

#[test]
fn numbers_that_lead_out_of_a_storage_are_refused() {
    let with = |elements: i32, offset: i32, shape: [i32; 2], stride: [i32; 2]| {
        let pickle = tensor("model.embed_tokens.weight", elements, offset, shape, stride);
        refusal(&archive(&[("m/data.pkl", &pickle), ("m/data/0", &[0; 512])], false)).lines().next().unwrap().to_owned()
    };
    insta::assert_snapshot!(with(128, 1, [16, 8], [8, 1]), @"DIR/pytorch_model.bin cannot be read: pickle: invalid data in pickle file: Tensor with shape [16, 8] and stride [8, 1] at offset 1 needs 129 elements, but storage '0' declares 128");
    insta::assert_snapshot!(with(128, 0, [16, 8], [9, 1]), @"DIR/pytorch_model.bin cannot be read: pickle: invalid data in pickle file: Tensor with shape [16, 8] and stride [9, 1] at offset 0 needs 143 elements, but storage '0' declares 128");
    insta::assert_snapshot!(with(128, -1, [16, 8], [8, 1]), @"DIR/pytorch_model.bin cannot be read: pickle: invalid data in pickle file: storage offset must be non-negative, got -1");
    insta::assert_snapshot!(with(-1, 0, [16, 8], [8, 1]), @"DIR/pytorch_model.bin cannot be read: pickle: invalid data in pickle file: storage element count must be non-negative, got -1");
    insta::assert_snapshot!(with(128, 0, [i32::MAX, i32::MAX], [0, 0]), @"DIR/pytorch_model.bin cannot be read: pickle: invalid data in pickle file: Tensor with shape [2147483647, 2147483647] would materialize 18446744056529682436 bytes, above the 10737418240 byte limit");
    insta::assert_snapshot!(with(128, 0, [i32::MAX, 1], [i32::MAX, 1]), @"DIR/pytorch_model.bin cannot be read: pickle: invalid data in pickle file: Tensor with shape [2147483647, 1] and stride [2147483647, 1] at offset 0 needs 4611686011984936963 elements, but storage '0' declares 128");
    // The right shape, and then the next tensor is what is missing.
    insta::assert_snapshot!(with(128, 0, [16, 8], [8, 1]), @"DIR: the tensor model.layers.0.input_layernorm.weight is missing");
}

#[test]
fn a_storage_that_is_shorter_than_promised_is_told_when_it_is_read() {
    let whole = files::read(&fixture("state-dict.bin")).unwrap();
    let mut source = zip::ZipArchive::new(std::io::Cursor::new(&whole[..])).unwrap();
    let mut entries = Vec::new();
    for index in 0..source.len() {
        let mut entry = source.by_index(index).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        entries.push((entry.name().unwrap().into_owned(), bytes));
    }
    let rebuilt = |change: &dyn Fn(&str, &mut Vec<u8>) -> bool| {
        let mut kept = entries.clone();
        kept.retain_mut(|(name, bytes)| change(name, bytes));
        let named: Vec<(&str, &[u8])> = kept.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        let (_dir, model) = open(&archive(&named, false)).unwrap();
        let message = model.tensor("model.embed_tokens.weight").map(|_| ()).unwrap_err().message().to_owned();
        assert_eq!(model.weights_digest(&|_, _| ()).map(|_| ()).unwrap_err().message(), message);
        message[message.find("pytorch_model.bin").unwrap()..].to_owned()
    };
    insta::assert_snapshot!(rebuilt(&|name, bytes| { if name.ends_with("data/0") { bytes.pop(); } true }), @"pytorch_model.bin: tensor 'model.embed_tokens.weight': Tensor with shape [16, 8] requires 128 elements from storage '0', but only 127 are available");
    insta::assert_snapshot!(rebuilt(&|name, _| !name.ends_with("data/0")), @"pytorch_model.bin: tensor 'model.embed_tokens.weight': Failed to read storage '0' for tensor with shape [16, 8]: ZIP entry 'state-dict/data/0': not found in archive");
    let mut turned = whole.clone();
    let at = whole
        .windows(512)
        .position(|window| window == entries.iter().find(|(name, _)| name.ends_with("data/0")).unwrap().1)
        .unwrap();
    turned[at] ^= 1;
    let (_dir, model) = open(&turned).unwrap();
    assert!(model.tensor("model.embed_tokens.weight").unwrap_err().message().contains("Invalid checksum"));
}

/// A zip archive, stored or packed.
fn archive(entries: &[(&str, &[u8])], packed: bool) -> Vec<u8> {
    let method = if packed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The pickle of one f32 tensor of rank 2 on storage 0.
fn tensor(name: &str, elements: i32, offset: i32, shape: [i32; 2], stride: [i32; 2]) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: i32| [&b"J"[..], &number.to_le_bytes()].concat();
    let pair = |[a, b]: [i32; 2]| [number(a), number(b), vec![0x86]].concat();
    [
        &b"\x80\x02}"[..],
        &text(name),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &number(elements),
        b"tQ",
        &number(offset),
        &pair(shape),
        &pair(stride),
        b"\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}
