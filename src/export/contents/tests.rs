//! One list of a model's files: what is downloaded, opened, digested and exported, for every set of files there might be.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::model::source;
use crate::model::source::layout::Layout;

/// The files that decide what a model is read from, each of the same model.
const DECIDING: [&str; 8] = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "one.safetensors",
    "weights.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model-00002-of-00002.bin",
];
/// Those that are always there: text, and what no model is read from.
const ALWAYS: [&str; 6] =
    ["tokenizer.model", "tokenizer_config.json", "added_tokens.json", "vocab.json", "README.md", "modeling.py"];

/// Every file of [`DECIDING`] and [`ALWAYS`], to be linked to.
fn pool() -> TempDir {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let pool = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| files::write_atomic(&pool.path().join(name), bytes).unwrap();
    let model = |name: &str| files::read(&tests.join("pytorch/model").join(name)).unwrap();
    let weights = model("model.safetensors");
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&weights[8..8 + length]).unwrap();
    let tensors = header.keys().filter(|name| *name != "__metadata__");
    let map: serde_json::Map<String, Value> = tensors.map(|name| (name.clone(), json!("one.safetensors"))).collect();
    put("model.safetensors.index.json", json!({"weight_map": map}).to_string().as_bytes());
    for name in ["model.safetensors", "one.safetensors", "weights.safetensors"] {
        put(name, &weights);
    }
    for name in DECIDING.iter().filter(|name| name.starts_with("pytorch") || **name == "config.json") {
        put(name, &model(name));
    }
    put("tokenizer.model", &files::read(&tests.join("sentencepiece/bpe.model")).unwrap());
    put("tokenizer_config.json", b"{}");
    put("added_tokens.json", b"{\"<extra>\": 380}");
    put("vocab.json", b"{}");
    put("README.md", b"about");
    put("modeling.py", b"raise SystemExit");
    pool
}

/// A directory of some of the pool's files.
fn directory<'n>(pool: &Path, names: impl IntoIterator<Item = &'n str>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        files::hard_link(&pool.join(name), &dir.path().join(name)).unwrap();
    }
    dir
}

/// The three digests, which stand for all that is read of a model.
fn read(dir: &Path) -> Result<[crate::digest::Digest; 3]> {
    let model = Checkpoint::open(dir)?;
    Ok([model.weights_digest(&|_, _| ())?, model.architecture_digest()?, model.text_digest()?])
}

#[test]
fn what_is_downloaded_is_what_is_opened_digested_and_exported() {
    let pool = pool();
    let (mut opened, mut refused) = (0, 0);
    for set in 0..1_u32 << DECIDING.len() {
        let chosen = DECIDING.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, name)| *name);
        let there: BTreeSet<&str> = chosen.chain(ALWAYS).collect();
        let whole = directory(pool.path(), there.iter().copied());
        // As of a repository: its names, and the content of an index.
        let listing: Vec<String> =
            there.iter().map(|name| (*name).to_owned()).chain(["onnx/config.json".into()]).collect();
        let wanted = Layout::of(Path::new("repository"), &listing, &mut |name| files::read(&pool.path().join(name)));
        let Ok(wanted) = wanted else {
            refused += 1;
            assert!(read(whole.path()).is_err() && source::digest(whole.path()).is_err(), "{there:?}");
            continue;
        };
        opened += 1;
        let wanted = wanted.names();
        let fetched = directory(pool.path(), wanted.iter().copied());
        let digests = read(fetched.path()).unwrap_or_else(|error| panic!("{error}: {wanted:?} of {there:?}"));
        assert_eq!(read(whole.path()).unwrap(), digests, "{there:?}");
        assert_eq!(source::digest(whole.path()).unwrap(), source::digest(fetched.path()).unwrap(), "{there:?}");
        // An export holds all of them; weights in another format have other names in it.
        let checkpoint = Checkpoint::open(fetched.path()).unwrap();
        let patch = Patch::default();
        let exported = Contents::of(&checkpoint, &patch, None).unwrap();
        let exported: BTreeSet<&str> = exported.items.iter().filter_map(|item| item.name.to_str()).collect();
        let renamed: BTreeSet<&str> = wanted
            .iter()
            .filter(|name| !name.starts_with("pytorch_model"))
            .copied()
            .chain(wanted.iter().any(|name| name.ends_with(".bin")).then_some("model.safetensors"))
            .collect();
        assert_eq!(exported, renamed, "{there:?}");
        // Nothing is fetched that could be left out.
        for name in wanted.iter().filter(|name| **name != "tokenizer_config.json") {
            let less = directory(pool.path(), wanted.iter().copied().filter(|other| other != name));
            assert!(read(less.path()).map_or(true, |read| read != digests), "{name} of {wanted:?} is not needed");
        }
    }
    assert!(opened == 84 && refused == 172, "{opened} opened, {refused} refused");
}
