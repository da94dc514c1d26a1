//! A model of the Hugging Face hub, or of a mirror of it.
//!
//! `hf-hub` downloads into the hub's own cache, which other tools share, and believes whatever
//! arrives. So every file is compared here with the size and the checksum that the hub states (SHA-256 of
//! large files, Git's blob id of small ones), damage is thrown away, and a receipt in the sources folder remembers the complete snapshot: a later run
//! needs no network and stays on the same commit. Must not know: what the files say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::layout::Layout;
use crate::error::{Error, IoContext, Result};
use crate::files::{self, Stamp};

/// A second try cures a damaged transfer, not a damaged server.
const ATTEMPTS: usize = 2;

/// How long a hub may take to be reached, and to begin its answer about a repository. `hf-hub` offers no limit for the
/// files that follow.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Where the hub is, where its cache is, and who asks.
pub struct HfSettings {
    /// Without a slash at its end.
    pub endpoint: String,
    /// Holds `hub/` (the cache) and `token`; without one, downloads go below the sources folder.
    pub home: Option<PathBuf>,
    pub token: Option<String>,
    /// How long the hub may take to be reached, and to answer about a repository.
    pub connect_within: Duration,
    pub answer_within: Duration,
}

impl HfSettings {
    /// `HF_ENDPOINT`, `HF_HOME` (else `~/.cache/huggingface`), and `HF_TOKEN` (else the file `token` that a log-in left there).
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let home = variable("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache").join("huggingface")));
        let token = variable("HF_TOKEN").or_else(|| files::read_to_string(&home.as_ref()?.join("token")).ok());
        Self {
            endpoint: variable("HF_ENDPOINT")
                .map_or_else(|| "https://huggingface.co".into(), |url| url.trim().trim_end_matches('/').to_owned()),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            home,
            connect_within: CONNECT_WITHIN,
            answer_within: ANSWER_WITHIN,
        }
    }
}

/// A repository at a branch, tag or commit.
pub(super) struct Snapshot<'a> {
    pub repo: &'a str,
    pub revision: &'a str,
}

impl Snapshot<'_> {
    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repo.to_owned(), RepoType::Model, revision.to_owned())
    }

    /// `hf/<owner>--<name>@<revision>.json`, or an error where a part could lead elsewhere.
    fn receipt(&self) -> Result<PathBuf> {
        let plain = |text: &str| {
            text.split('/').all(|part| {
                part.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
                    && part.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
            })
        };
        if plain(self.repo) && plain(self.revision) {
            let name = format!("{}@{}.json", self.repo.replace('/', "--"), self.revision.replace('/', "%2F"));
            return Ok(Path::new("hf").join(name));
        }
        Err(Error::user(format!("`hf:{}@{}` is not a source", self.repo, self.revision))
            .hint("write `hf:owner/name@revision`; the revision is a branch, a tag or a commit"))
    }
}

/// What a finished download left behind.
#[derive(Serialize, Deserialize)]
struct Receipt {
    repo: String,
    revision: String,
    commit: String,
    /// The directory of the files.
    snapshot: PathBuf,
    /// Name to bytes.
    files: BTreeMap<String, u64>,
}

/// The remembered snapshot, if all of its files are still there in their sizes.
pub(super) fn locate(wanted: &Snapshot<'_>, sources_dir: &Path) -> Option<PathBuf> {
    let bytes = files::read(&sources_dir.join(wanted.receipt().ok()?)).ok()?;
    let receipt: Receipt = serde_json::from_slice(&bytes).ok()?;
    let whole = receipt
        .files
        .iter()
        .all(|(name, bytes)| Stamp::of(&receipt.snapshot.join(name)).is_ok_and(|stamp| stamp.bytes == *bytes));
    (whole && receipt.repo == wanted.repo && receipt.revision == wanted.revision).then_some(receipt.snapshot)
}

pub(super) fn download(
    settings: &HfSettings,
    wanted: &Snapshot<'_>,
    sources_dir: &Path,
    progress: &dyn Fn(&str),
) -> Result<PathBuf> {
    let receipt = sources_dir.join(wanted.receipt()?);
    let home = settings.home.clone().unwrap_or_else(|| sources_dir.join("huggingface"));
    let cache = Cache::new(home.join("hub"));
    let api = ApiBuilder::from_cache(cache.clone())
        .with_endpoint(settings.endpoint.clone())
        .with_token(settings.token.clone())
        .with_progress(false)
        .build()
        .map_err(|cause| Error::user(format!("cannot prepare downloads from {}: {cause}", settings.endpoint)))?;
    let hub = Hub { settings, wanted, cache, api, progress };

    progress(&format!("asking {} for {}@{}", settings.endpoint, wanted.repo, wanted.revision));
    let listing = hub.listing()?;
    let pinned = hub.api.repo(wanted.at(&listing.sha));
    let snapshot = hub.cache.repo(wanted.at(&listing.sha)).pointer_path(&listing.sha);
    let names: Vec<String> = listing.siblings.iter().map(|file| file.rfilename.clone()).collect();
    let mut kept = BTreeMap::new();
    let mut obtain = |name: &str| -> Result<PathBuf> {
        let file = listing.siblings.iter().find(|file| file.rfilename == name);
        let file = file.ok_or_else(|| Error::fault(format!("{name} is not in the listing")))?;
        kept.insert(name.to_owned(), hub.obtain(&pinned, file, &snapshot)?);
        Ok(snapshot.join(name))
    };
    // An index says which weights are wanted, so it comes first.
    let layout = Layout::of(&snapshot, &names, &mut |index| files::read(&obtain(index)?));
    for name in layout.map_err(|error| error.within(wanted.repo))?.names() {
        obtain(name)?;
    }

    let path = snapshot.clone();
    let content = Receipt {
        repo: wanted.repo.into(),
        revision: wanted.revision.into(),
        commit: listing.sha,
        snapshot,
        files: kept,
    };
    let content = serde_json::to_vec_pretty(&content).map_err(|cause| Error::fault(cause.to_string()))?;
    files::create_dir_all(&sources_dir.join("hf"))?;
    files::write_atomic(&receipt, &content)?;
    Ok(path)
}

/// The hub's answer about a repository, asked for with `blobs=true`.
#[derive(Deserialize)]
struct Listing {
    /// The commit.
    sha: String,
    siblings: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    rfilename: String,
    size: Option<u64>,
    /// Git's name of the file: of a small file the checksum, of a large one that of its pointer.
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    /// Present for large files only.
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

struct Hub<'a> {
    settings: &'a HfSettings,
    wanted: &'a Snapshot<'a>,
    cache: Cache,
    api: Api,
    progress: &'a dyn Fn(&str),
}

impl Hub<'_> {
    fn listing(&self) -> Result<Listing> {
        let repo = self.api.repo(self.wanted.at(self.wanted.revision));
        let request = repo.info_request().query("blobs", "true").config();
        let request = request
            .timeout_connect(Some(self.settings.connect_within))
            .timeout_recv_response(Some(self.settings.answer_within))
            .timeout_recv_body(Some(self.settings.answer_within));
        let answer = request.build().call();
        let listing: Listing = answer
            .and_then(|mut answer| answer.body_mut().read_json())
            .map_err(|cause| self.explain("list", &ApiError::RequestError(Box::new(cause))))?;
        // The commit becomes part of a path.
        if listing.sha.len() != 40 || !listing.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::user(format!("{} names no commit for {}", self.settings.endpoint, self.wanted.repo))
                .hint("check HF_ENDPOINT: it should be a Hugging Face hub or a mirror of one"));
        }
        Ok(listing)
    }

    /// Makes sure that the file is in the snapshot, whole; returns its size in bytes.
    fn obtain(&self, repo: &ApiRepo, file: &Listed, snapshot: &Path) -> Result<u64> {
        let size = file.size.ok_or_else(|| {
            Error::user(format!(
                "{} does not say how large {} is, so a download could not be checked",
                self.settings.endpoint, file.rfilename
            ))
            .hint("use another HF_ENDPOINT, or download the model yourself and set model.source to its directory")
        })?;
        let path = snapshot.join(&file.rfilename);
        let mut fault = damage(&path, file, size)?;
        for attempt in 1..=ATTEMPTS {
            match &fault {
                None => return Ok(size),
                Some(Fault::Absent) => {}
                Some(Fault::Damaged(what)) => {
                    tracing::warn!("{}: {what}; downloading it again", file.rfilename);
                    self.discard(&path)?;
                }
            }
            let name = format!("{}/{}", self.wanted.repo, file.rfilename);
            let bar = Lines { progress: self.progress, name, total: size, done: 0, shown: None };
            match repo.download_with_progress(&file.rfilename, bar) {
                Ok(_) => fault = damage(&path, file, size)?,
                Err(cause) if attempt < ATTEMPTS && self.may_recover(repo, file, &cause) => {}
                Err(cause) => return Err(self.explain(&format!("download {} of", file.rfilename), &cause)),
            }
        }
        let what = match fault {
            None => return Ok(size),
            Some(Fault::Absent) => format!("the server sent it for another commit than {}", repo_commit(snapshot)),
            Some(Fault::Damaged(what)) => {
                self.discard(&path)?;
                what
            }
        };
        Err(Error::user(format!(
            "{} of {} arrived damaged from {}, {ATTEMPTS} times: {what}",
            file.rfilename, self.wanted.repo, self.settings.endpoint
        ))
        .hint("the damaged file was thrown away; run again later, or use another HF_ENDPOINT"))
    }

    /// Whether a second try makes sense; a half file that cannot be continued is removed before it.
    fn may_recover(&self, repo: &ApiRepo, file: &Listed, cause: &ApiError) -> bool {
        let range_refused = cause.to_string().contains("http status: 416");
        if matches!(cause, ApiError::InvalidResume) || range_refused {
            let Ok(metadata) = self.api.metadata(&repo.url(&file.rfilename)) else { return false };
            let blob = self.cache.repo(self.wanted.at(self.wanted.revision)).blob_path(metadata.etag());
            return files::remove(&blob.with_extension("part")).is_ok();
        }
        matches!(cause, ApiError::IoError(_))
    }

    /// Removes a file of a snapshot and, inside the cache only, what it links to.
    fn discard(&self, path: &Path) -> Result<()> {
        let blob = Stamp::of(path)?.path;
        if blob.starts_with(Stamp::of(self.cache.path())?.path) {
            files::remove(&blob)?;
        }
        files::remove(path)
    }

    fn explain(&self, doing: &str, cause: &ApiError) -> Error {
        let HfSettings { endpoint, token, .. } = self.settings;
        let Snapshot { repo, revision } = self.wanted;
        let text = cause.to_string();
        let status = text.split("http status: ").nth(1).and_then(|rest| rest.get(..3));
        match (status, cause) {
            (Some(status @ ("401" | "403")), _) => {
                let way_out = match token {
                    Some(_) => "the token was sent but is not enough",
                    None => "no token was sent: set HF_TOKEN, or log in with `hf auth login`",
                };
                Error::user(format!("{endpoint} refuses to {doing} {repo} (http status {status})")).hint(format!(
                    "{way_out}; a gated model asks you to accept its terms at {endpoint}/{repo}, and a name that does \
                     not exist is refused in the same way"
                ))
            }
            (Some("404"), _) => Error::user(format!("{endpoint} has no {repo}@{revision}"))
                .hint("check the spelling of owner, name and revision (a branch, a tag or a commit)"),
            (_, ApiError::LockAcquisition(path)) => {
                Error::user(format!("another process is downloading this file (it holds {})", path.display()))
                    .hint("wait for it and run again")
            }
            (_, ApiError::IoError(_)) => Error::user(format!("cannot {doing} {repo}: the transfer broke off ({text})"))
                .hint("run again: what has arrived is kept and continued; check the free space of the hub's cache too"),
            _ => Error::user(format!("cannot {doing} {repo} from {endpoint}: {text}")).hint(
                "check the network and HF_ENDPOINT; a model that is on this machine already can be used by setting \
                 model.source to its directory",
            ),
        }
    }
}

fn repo_commit(snapshot: &Path) -> std::borrow::Cow<'_, str> {
    snapshot.file_name().unwrap_or_default().to_string_lossy()
}

/// Why a file of the snapshot cannot be used.
enum Fault {
    Absent,
    Damaged(String),
}

fn damage(path: &Path, file: &Listed, size: u64) -> Result<Option<Fault>> {
    let Ok(stamp) = Stamp::of(path) else { return Ok(Some(Fault::Absent)) };
    if stamp.bytes != size {
        return Ok(Some(Fault::Damaged(format!("{} bytes instead of {size}", stamp.bytes))));
    }
    let (what, expected, found) = match (&file.lfs, git_id(file, &stamp.path)) {
        (Some(Lfs { sha256: Some(expected) }), _) => ("SHA-256", expected.clone(), checksum(Sha256::new(), path)?),
        (None, Some(expected)) => {
            let hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
            ("Git blob id", expected, checksum(hasher, path)?)
        }
        _ => return Ok(None),
    };
    Ok((found != expected.to_ascii_lowercase())
        .then(|| Fault::Damaged(format!("its {what} is {found} instead of {expected}"))))
}

/// Git's blob id of a small file: from the listing, else from its `ETag`, which `hf-hub` makes the blob's name in its
/// cache. A mirror may use other tags, and then there is nothing to compare with.
fn git_id(file: &Listed, blob: &Path) -> Option<String> {
    let is_id = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let tag = || blob.file_name().and_then(|name| name.to_str());
    file.blob_id.as_deref().filter(|id| is_id(id)).or_else(|| tag().filter(|tag| is_id(tag))).map(str::to_owned)
}

/// The hash of what was fed to `hasher` already and of a file after it, in hexadecimal digits.
fn checksum<H: sha2::Digest + std::io::Write>(mut hasher: H, path: &Path) -> Result<String> {
    std::io::copy(&mut files::open(path)?, &mut hasher).at("read", path)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A download's advance as lines: the start, each twentieth, the end.
struct Lines<'a> {
    progress: &'a dyn Fn(&str),
    name: String,
    total: u64,
    done: u64,
    shown: Option<u64>,
}

impl Progress for Lines<'_> {
    fn init(&mut self, _size: usize, _filename: &str) {
        // Called twice by hf-hub, the second time followed by an update for the part that is there.
        self.done = 0;
    }

    fn update(&mut self, size: usize) {
        self.done = self.done.saturating_add(size as u64);
        let twentieth = self.done.saturating_mul(20).checked_div(self.total).unwrap_or(20);
        if self.shown.is_none_or(|shown| shown < twentieth) {
            self.shown = Some(twentieth);
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            (self.progress)(&format!(
                "downloading {}: {:.1} of {:.1} MB",
                self.name,
                megabytes(self.done),
                megabytes(self.total)
            ));
        }
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests;
