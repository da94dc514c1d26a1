//! What the hub says of the files of a repository, and whether a file on this machine is what it says.
//!
//! Must not know: how files get here.

use std::path::Path;

use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::error::{IoContext, Result};
use crate::files::{self, Stamp};

/// The most bytes of a listing. Repositories with thousands of files have one of a few megabytes.
pub(super) const LONGEST: u64 = 64 << 20;

/// The hub's answer about a repository, asked for with `blobs=true`.
#[derive(Deserialize)]
pub(super) struct Listing {
    /// The commit.
    pub sha: String,
    pub siblings: Vec<Listed>,
}

#[derive(Deserialize)]
pub(super) struct Listed {
    pub rfilename: String,
    pub size: Option<u64>,
    /// Git's name of the file: of a small file the checksum, of a large one that of its pointer.
    #[serde(rename = "blobId")]
    pub blob_id: Option<String>,
    /// Present for large files only.
    pub lfs: Option<Lfs>,
}

impl Listed {
    /// What the content is called in the cache, if the listing gives its checksum.
    pub fn blob_name(&self) -> Option<String> {
        let of_large = self.lfs.as_ref().map(|lfs| lfs.sha256.as_deref().filter(|sum| is_hexadecimal(sum, 64)));
        let name = of_large.unwrap_or_else(|| self.blob_id.as_deref().filter(|id| is_hexadecimal(id, 40)));
        name.map(str::to_ascii_lowercase)
    }
}

#[derive(Deserialize)]
pub(super) struct Lfs {
    pub sha256: Option<String>,
}

pub(super) fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why a file of the snapshot cannot be used.
pub(super) enum Fault {
    Absent,
    Damaged(String),
}

/// What is wrong with a file of the cache. Its name there may be its checksum.
pub(super) fn damage(path: &Path, file: &Listed, size: u64) -> Result<Option<Fault>> {
    let Ok(stamp) = Stamp::of(path) else { return Ok(Some(Fault::Absent)) };
    let tag = stamp.path.file_name().and_then(|name| name.to_str());
    Ok(fault(path, file, size, tag)?.map(Fault::Damaged))
}

/// In what the content of a file differs from what the hub states: in the listing, or by its own name of the content.
pub(super) fn fault(path: &Path, file: &Listed, size: u64, tag: Option<&str>) -> Result<Option<String>> {
    let bytes = Stamp::of(path)?.bytes;
    if bytes != size {
        return Ok(Some(format!("{bytes} bytes instead of {size}")));
    }
    let (what, expected, found) = match (&file.lfs, git_id(file, tag)) {
        (Some(Lfs { sha256: Some(expected) }), _) => ("SHA-256", expected.clone(), checksum(Sha256::new(), path)?),
        (None, Some(expected)) => {
            let hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
            ("Git blob id", expected, checksum(hasher, path)?)
        }
        _ => return Ok(None),
    };
    Ok((found != expected.to_ascii_lowercase()).then(|| format!("its {what} is {found} instead of {expected}")))
}

/// Git's blob id of a small file: from the listing, else the server's own name of the content. A mirror may use other names,
/// and then there is nothing to compare with.
pub(super) fn git_id(file: &Listed, tag: Option<&str>) -> Option<String> {
    let is_id = |text: &&str| is_hexadecimal(text, 40);
    file.blob_id.as_deref().filter(is_id).or_else(|| tag.filter(is_id)).map(str::to_owned)
}

/// The hash of what was fed to `hasher` already and of a file after it, in hexadecimal digits.
fn checksum<H: sha2::Digest + std::io::Write>(mut hasher: H, path: &Path) -> Result<String> {
    std::io::copy(&mut files::open(path)?, &mut hasher).at("read", path)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(blob_id: Option<&str>, sha256: Option<Option<&str>>) -> Listed {
        let lfs = sha256.map(|sum| Lfs { sha256: sum.map(str::to_owned) });
        Listed { rfilename: "a".into(), size: Some(2), blob_id: blob_id.map(str::to_owned), lfs }
    }

    #[test]
    fn content_is_called_after_its_checksum_where_there_is_one() {
        let (id, sum) = ("A".repeat(40), "b".repeat(64));
        assert_eq!(listed(Some(&id), None).blob_name(), Some("a".repeat(40)));
        assert_eq!(listed(Some(&id), Some(Some(&sum))).blob_name(), Some(sum));
        // The id of a large file is that of its pointer, and what is no checksum could be anything.
        assert_eq!(listed(Some(&id), Some(None)).blob_name(), None);
        assert_eq!(listed(Some("../../x"), None).blob_name(), None);
        assert_eq!(listed(Some(&id), Some(Some("../x"))).blob_name(), None);
    }

    #[test]
    fn a_mirror_with_names_of_its_own_has_nothing_to_compare_with() {
        assert_eq!(git_id(&listed(Some("main"), None), Some("W-1234")), None);
        assert_eq!(git_id(&listed(None, None), Some(&"a".repeat(40))), Some("a".repeat(40)));
    }
}
