//! What lies in the place of a file that was never fetched: Git's pointers, web pages, answers of servers, nothing.
//!
//! Every reader of a model's files asks here first, so that each of them says what it found. Must not know: what the files are for.

use std::path::Path;

use crate::error::{Error, Result};

/// Beginnings of what stands in the place of a file, in lower case; what to call it, and what to do.
const BEGINNINGS: &[(&str, &str, &str)] = &[
    ("version https://git-lfs", "a Git LFS pointer, not the file itself", PULL),
    ("# xet version", "a Git Xet pointer, not the file itself", PULL),
    ("<!doctype html", "a web page, not the file itself", DOWNLOAD),
    ("<html", "a web page, not the file itself", DOWNLOAD),
    ("entry not found", "a server's answer that there is no such file, not the file itself", DOWNLOAD),
    ("repository not found", "a server's answer that there is no such model, not the file itself", DOWNLOAD),
    ("invalid username or password", "a server's refusal, not the file itself", LOGIN),
    ("access to model", "a server's refusal, not the file itself", LOGIN),
];

const PULL: &str = "fetch the model's files with `git lfs pull`";
const DOWNLOAD: &str = "download the file itself, for example with `hf download`";
const LOGIN: &str = "log in with `hf auth login`, accept the model's terms on its page, and download the file again";

/// Refuses what is no file of a model, whatever its name.
///
/// # Errors
/// User: the bytes are a pointer, a web page, or there are none.
pub fn check(file: &Path, bytes: &[u8]) -> Result<()> {
    let file = file.display();
    if bytes.is_empty() {
        return Err(Error::user(format!("{file} is empty")).hint("copy or download the file again"));
    }
    let start = bytes.trim_ascii_start();
    let start = String::from_utf8_lossy(start.get(..64).unwrap_or(start)).to_lowercase();
    match BEGINNINGS.iter().find(|(beginning, _, _)| start.starts_with(beginning)) {
        None => Ok(()),
        Some((_, what, way)) => Err(Error::user(format!("{file} is {what}")).hint(*way)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_fetched_is_called_by_its_name() {
        let told = |bytes: &[u8]| check(Path::new("m/f"), bytes).unwrap_err().message().to_owned();
        let page = b"\n\n<!DOCTYPE HTML>\n<html>";
        assert_eq!(told(page), "m/f is a web page, not the file itself");
        assert_eq!(told(b"<html lang=en>"), "m/f is a web page, not the file itself");
        assert_eq!(
            told(b"version https://git-lfs.github.com/spec/v1\noid"),
            "m/f is a Git LFS pointer, not the file itself"
        );
        assert_eq!(told(b"# xet version 0\n"), "m/f is a Git Xet pointer, not the file itself");
        assert!(told(b"Entry not found").starts_with("m/f is a server's answer"));
        assert!(told(b"Invalid username or password.").starts_with("m/f is a server's refusal"));
        assert_eq!(told(b""), "m/f is empty");
        for file in [&b"{}"[..], b" ", b"GGUF", b"\xFF\xFE", b"<|im_start|>", b"{{ bos_token }}"] {
            check(Path::new("m/f"), file).unwrap();
        }
    }
}
