//! Folders of the Hugging Face cache that are named in the place of a model: `models--OWNER--NAME`, whose files lie deeper, in
//! `snapshots/REVISION`.
//!
//! Must not know: what a model's files say, how a revision is fetched.

use std::path::{Path, PathBuf};

use super::layout::CONFIG;
use crate::files;

/// The snapshot that a folder stands for: that of `refs/main`, else the only one. None for any other folder.
pub fn snapshot(folder: &Path) -> Option<PathBuf> {
    if !folder.is_dir() || folder.join(CONFIG).is_file() {
        return None;
    }
    let main = files::read_to_string(&folder.join("refs/main")).ok();
    let main = main.as_deref().map(str::trim).filter(|commit| is_commit(commit));
    if let Some(found) = main.map(|commit| folder.join("snapshots").join(commit)).filter(|found| found.is_dir()) {
        return Some(found);
    }
    match snapshots(folder).as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// All snapshots of a folder of the cache, sorted.
pub fn snapshots(folder: &Path) -> Vec<PathBuf> {
    let inside = if folder.file_name().is_some_and(|name| name == "snapshots") { "." } else { "snapshots" };
    let found = files::list(&folder.join(inside)).unwrap_or_default();
    found.into_iter().filter(|entry| entry.is_dir()).collect()
}

/// The models of a whole cache, if the folder is one.
pub fn models(folder: &Path) -> Vec<PathBuf> {
    let is_model =
        |entry: &PathBuf| entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("models--"));
    files::list(folder).unwrap_or_default().into_iter().filter(is_model).collect()
}

/// A name that leads nowhere else.
fn is_commit(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_what_main_names_or_for_its_only_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models--a--b");
        let revision = |name: &str| folder.join("snapshots").join(name);
        assert_eq!(snapshot(&folder), None);
        files::create_dir_all(&revision("0a")).unwrap();
        assert_eq!(
            (snapshot(&folder), snapshot(&folder.join("snapshots"))),
            (Some(revision("0a")), Some(folder.join("snapshots/./0a")))
        );
        files::create_dir_all(&revision("1b")).unwrap();
        assert_eq!((snapshot(&folder), snapshots(&folder)), (None, vec![revision("0a"), revision("1b")]));
        files::create_dir_all(&folder.join("refs")).unwrap();
        for (main, found) in [("1b\n", Some("1b")), ("0a", Some("0a")), ("2c", None), ("../..", None), ("", None)] {
            files::write_atomic(&folder.join("refs/main"), main.as_bytes()).unwrap();
            assert_eq!(snapshot(&folder), found.map(&revision), "{main}");
        }
        assert_eq!(models(dir.path()), vec![folder.clone()]);
        files::write_atomic(&folder.join(CONFIG), b"{}").unwrap();
        assert_eq!(snapshot(&folder), None, "it is a model itself");
    }
}
