//! A model of the Hugging Face hub, or of a mirror of it.
//!
//! Files go into the hub's own cache, which other tools share. Nothing that arrives is believed: every file is compared with
//! the size and the checksum that the hub states (SHA-256 of large files, Git's blob id of small ones) before it gets its
//! name, and damage is thrown away. A transfer that breaks off is continued. A receipt in the sources folder remembers the
//! complete snapshot: a later run needs no network and stays on the same commit. Must not know: what the files say.

mod cache;
mod listing;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::cache::RepoCache;
use self::listing::{Fault, LONGEST, Listed, Listing, damage, fault, is_hexadecimal};
use super::http::{Client, Failure, Patience};
use super::layout::Layout;
use crate::error::{Error, IoContext, Result};
use crate::files::{self, Stamp};

/// A second try cures a damaged transfer, not a damaged server.
const ATTEMPTS: usize = 2;
/// How often a transfer may break off before it is given up for now.
const BREAKS: usize = 5;

/// Where the hub is, where its cache is, and who asks.
pub struct HfSettings {
    /// Without a slash at its end.
    pub endpoint: String,
    /// The cache that other tools share; without one, downloads go below the sources folder.
    pub cache: Option<PathBuf>,
    /// Goes to the endpoint alone, and only over https or on this machine.
    pub token: Option<String>,
    /// Whether nothing may be downloaded.
    pub offline: bool,
    pub patience: Patience,
}

impl HfSettings {
    /// A hub that anybody may ask.
    pub fn at(endpoint: impl Into<String>) -> Self {
        let endpoint = endpoint.into().trim().trim_end_matches('/').to_owned();
        Self { endpoint, cache: None, token: None, offline: false, patience: Patience::default() }
    }

    /// `HF_ENDPOINT`, `HF_HUB_CACHE` (else `hub` in `HF_HOME`, else in `~/.cache/huggingface`), `HF_HUB_OFFLINE`, and
    /// `HF_TOKEN` (else the file `token` that a log-in left in `HF_HOME`).
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let home = variable("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache").join("huggingface")));
        let token = variable("HF_TOKEN").or_else(|| files::read_to_string(&home.as_ref()?.join("token")).ok());
        let is_on = |value: String| ["1", "true", "yes", "on"].contains(&value.trim().to_ascii_lowercase().as_str());
        Self {
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            cache: variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home?.join("hub"))),
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_on),
            ..Self::at(variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()))
        }
    }
}

/// A repository at a branch, tag or commit.
pub(super) struct Snapshot<'a> {
    pub repo: &'a str,
    pub revision: &'a str,
}

impl Snapshot<'_> {
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
    if settings.offline {
        let message = format!("{}@{} is not on this machine, and HF_HUB_OFFLINE is set", wanted.repo, wanted.revision);
        return Err(Error::user(message).hint("unset HF_HUB_OFFLINE, or set model.source to the model's directory"));
    }
    let cache = settings.cache.clone().unwrap_or_else(|| sources_dir.join("huggingface").join("hub"));
    let client = Client::new(&settings.endpoint, settings.token.as_deref(), settings.patience);
    let hub = Hub {
        client: client.map_err(|failure| Error::user(told(&failure)).within("HF_ENDPOINT"))?,
        cache: RepoCache::new(&cache, wanted.repo),
        settings,
        wanted,
        progress,
    };

    progress(&format!("asking {} for {}@{}", settings.endpoint, wanted.repo, wanted.revision));
    let listing = hub.listing()?;
    let snapshot = hub.cache.snapshot(&listing.sha);
    let names: Vec<String> = listing.siblings.iter().map(|file| file.rfilename.clone()).collect();
    let mut kept = BTreeMap::new();
    let mut obtain = |name: &str| -> Result<PathBuf> {
        let file = listing.siblings.iter().find(|file| file.rfilename == name);
        let file = file.ok_or_else(|| Error::fault(format!("{name} is not in the listing")))?;
        kept.insert(name.to_owned(), hub.obtain(&listing.sha, file, &snapshot)?);
        Ok(snapshot.join(name))
    };
    // An index says which weights are wanted, so it comes first.
    let layout = Layout::of(&snapshot, &names, &mut |index| {
        files::read_text(&obtain(index)?, super::layout::LONGEST).map(String::into_bytes)
    });
    for name in layout.map_err(|error| error.within(wanted.repo))?.names() {
        obtain(name)?;
    }
    hub.cache.note(wanted.revision, &listing.sha)?;

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

struct Hub<'a> {
    settings: &'a HfSettings,
    wanted: &'a Snapshot<'a>,
    cache: RepoCache,
    client: Client,
    progress: &'a dyn Fn(&str),
}

impl Hub<'_> {
    fn listing(&self) -> Result<Listing> {
        let HfSettings { endpoint, .. } = self.settings;
        let Snapshot { repo, revision } = self.wanted;
        let url = format!("{endpoint}/api/models/{repo}/revision/{}?blobs=true", escaped(revision, ""));
        let answer = self.client.get(&url, 0).map_err(|failure| self.explain("list", &failure))?;
        let mut text = Vec::new();
        let read = answer.body.take(LONGEST).read_to_end(&mut text);
        read.map_err(|cause| self.explain("list", &Failure::Unreached(cause.to_string())))?;
        let not_a_hub = |what: &str| {
            Error::user(format!("{endpoint} {what} for {repo}"))
                .hint("check HF_ENDPOINT: it should be a Hugging Face hub or a mirror of one")
        };
        let listing: Listing = serde_json::from_slice(&text).map_err(|_| not_a_hub("gives no listing"))?;
        // The commit becomes part of a path.
        if !is_hexadecimal(&listing.sha, 40) {
            return Err(not_a_hub("names no commit"));
        }
        Ok(listing)
    }

    /// Makes sure that the file is in the snapshot, whole; returns its size in bytes.
    fn obtain(&self, commit: &str, file: &Listed, snapshot: &Path) -> Result<u64> {
        let size = file.size.ok_or_else(|| {
            Error::user(format!(
                "{} does not say how large {} is, so a download could not be checked",
                self.settings.endpoint, file.rfilename
            ))
            .hint("use another HF_ENDPOINT, or download the model yourself and set model.source to its directory")
        })?;
        let path = snapshot.join(&file.rfilename);
        match damage(&path, file, size)? {
            None => return Ok(size),
            Some(Fault::Absent) => {}
            Some(Fault::Damaged(what)) => {
                tracing::warn!("{}: {what}; downloading it again", file.rfilename);
                self.cache.discard(&path)?;
            }
        }
        // Without a checksum in the listing the content's name is known when it comes, and this one is used until then.
        let name = file.blob_name().unwrap_or_else(|| {
            let place = format!("{}/{commit}/{}", self.wanted.repo, file.rfilename);
            crate::digest::Digest::of(place.as_bytes()).to_string()
        });
        let waiting = || (self.progress)(&format!("waiting for another process that downloads {}", file.rfilename));
        let claim = self.cache.claim(&name, self.settings.patience.stall, &waiting)?;
        // Another revision may have brought the same content, or the process that was waited for.
        let mut blob = claim.blob.clone();
        if damage(&blob, file, size)?.is_some() {
            let tag = self.download(commit, file, size, &claim.part)?;
            if let Some(tag) = tag.filter(|tag| file.blob_name().is_none() && is_plain(tag)) {
                blob.set_file_name(tag);
            }
            files::rename(&claim.part, &blob)?;
        }
        self.cache.link(&blob, &path)?;
        Ok(size)
    }

    /// Brings a file to `part`, whole. The server's own name of it.
    fn download(&self, commit: &str, file: &Listed, size: u64, part: &Path) -> Result<Option<String>> {
        let HfSettings { endpoint, .. } = self.settings;
        let (repo, name) = (self.wanted.repo, &file.rfilename);
        let url = format!("{endpoint}/{repo}/resolve/{commit}/{}", escaped(name, "/"));
        let mut progress = Lines { progress: self.progress, name: format!("{repo}/{name}"), total: size, shown: None };
        let (mut damaged, mut broken, mut pause) = (0, 0, self.settings.patience.pause);
        loop {
            let transfer = match self.transfer(&url, size, part, &mut progress)? {
                // What was there a moment ago may come back.
                Transfer::Failed(Failure::Unreached(text)) if broken > 0 => Transfer::BrokeOff(text),
                transfer => transfer,
            };
            let failure = match transfer {
                Transfer::Ended(tag) => match fault(part, file, size, tag.as_deref())? {
                    None => return Ok(tag),
                    Some(what) => {
                        files::remove(part)?;
                        damaged += 1;
                        if damaged == ATTEMPTS {
                            let message =
                                format!("{name} of {repo} arrived damaged from {endpoint}, {ATTEMPTS} times: {what}");
                            return Err(Error::user(message).hint(
                                "the damaged file was thrown away; run again later, or use another HF_ENDPOINT",
                            ));
                        }
                        tracing::warn!("{name}: {what}; downloading it again");
                        continue;
                    }
                },
                Transfer::BrokeOff(text) => {
                    broken += 1;
                    if broken < BREAKS {
                        tracing::info!("{name}: {text}; going on");
                        std::thread::sleep(pause);
                        pause *= 2;
                        continue;
                    }
                    return Err(Error::user(format!(
                        "cannot download {name} of {repo}: the transfer broke off ({text})"
                    ))
                    .hint("run again: what has arrived is kept and continued"));
                }
                Transfer::Failed(failure) => failure,
            };
            // A half file that cannot be continued must not stand in the way for ever.
            let is_there = files::is_there(part);
            if matches!(failure, Failure::Status(416)) && is_there {
                files::remove(part)?;
                continue;
            }
            return Err(self.explain(&format!("download {name} of"), &failure));
        }
    }

    /// Adds to `part` what it lacks of a file.
    fn transfer(&self, url: &str, size: u64, part: &Path, progress: &mut Lines<'_>) -> Result<Transfer> {
        let mut there = Stamp::of(part).map_or(0, |stamp| stamp.bytes);
        if there >= size && there > 0 {
            // Whole, or of something else: there is nothing to continue.
            files::remove(part)?;
            there = 0;
        }
        let mut answer = match self.client.get(url, there) {
            Ok(answer) => answer,
            Err(failure) => return Ok(Transfer::Failed(failure)),
        };
        if answer.from != there {
            // The server sends all of it again.
            files::remove(part)?;
        }
        let mut done = answer.from;
        let mut file = files::append(part)?;
        let mut piece = vec![0; 256 << 10];
        progress.at(done);
        loop {
            match answer.body.read(&mut piece) {
                Ok(0) => return Ok(Transfer::Ended(answer.tag)),
                Ok(length) => {
                    file.write_all(&piece[..length]).at("write", part)?;
                    done += length as u64;
                    progress.at(done);
                    if done > size {
                        return Ok(Transfer::Ended(answer.tag));
                    }
                }
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Ok(Transfer::BrokeOff(cause.to_string())),
            }
        }
    }

    fn explain(&self, doing: &str, failure: &Failure) -> Error {
        let HfSettings { endpoint, token, .. } = self.settings;
        let Snapshot { repo, revision } = self.wanted;
        match failure {
            Failure::Status(status @ (401 | 403)) => {
                let way_out = match token {
                    Some(_) if self.client.sends_token() => "the token was sent but is not enough".to_owned(),
                    Some(_) => format!("the token was not sent, because {endpoint} is not https"),
                    None => "no token was sent: set HF_TOKEN, or log in with `hf auth login`".to_owned(),
                };
                Error::user(format!("{endpoint} refuses to {doing} {repo} (http status {status})")).hint(format!(
                    "{way_out}; a gated model asks you to accept its terms at {endpoint}/{repo}, and a name that does \
                     not exist is refused in the same way"
                ))
            }
            Failure::Status(404) => Error::user(format!("{endpoint} has no {repo}@{revision}"))
                .hint("check the spelling of owner, name and revision (a branch, a tag or a commit)"),
            Failure::Status(status @ (408 | 429 | 500..)) => {
                Error::user(format!("{endpoint} cannot {doing} {repo} now (http status {status})"))
                    .hint("run again later: what has arrived is kept and continued")
            }
            _ => Error::user(format!("cannot {doing} {repo} from {endpoint}: {}", told(failure))).hint(
                "check the network and HF_ENDPOINT; a model that is on this machine already can be used by setting \
                 model.source to its directory",
            ),
        }
    }
}

fn told(failure: &Failure) -> String {
    match failure {
        Failure::Status(status) => format!("http status {status}"),
        Failure::Redirect(why) => format!("its redirect is not followed: {why}"),
        Failure::Unreached(why) => why.clone(),
    }
}

/// How a transfer went.
enum Transfer {
    /// There is no more, whole or not. The server's own name of the content.
    Ended(Option<String>),
    BrokeOff(String),
    Failed(Failure),
}

/// A text as a part of an address: letters, digits, some marks and `others` as they are.
fn escaped(text: &str, others: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || others.as_bytes().contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Whether a server's name of some content can be the name of a file.
fn is_plain(tag: &str) -> bool {
    (1..=128).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A download's advance as lines: the start, each twentieth, the end.
struct Lines<'a> {
    progress: &'a dyn Fn(&str),
    name: String,
    total: u64,
    shown: Option<u64>,
}

impl Lines<'_> {
    fn at(&mut self, done: u64) {
        let twentieth = done.saturating_mul(20).checked_div(self.total).unwrap_or(20);
        if self.shown.is_none_or(|shown| shown < twentieth) {
            self.shown = Some(twentieth);
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            (self.progress)(&format!(
                "downloading {}: {:.1} of {:.1} MB",
                self.name,
                megabytes(done),
                megabytes(self.total)
            ));
        }
    }
}

#[cfg(test)]
mod tests;
