//! Reading over http(s) from one server that may have to know who asks, and from wherever it sends us.
//!
//! The token goes to that server alone: to its scheme, host and port, over https (or http on this machine). Redirects are
//! followed here, by hand, so that each step is asked again whether it may carry the token. A server that is silent for too
//! long is given up. Proxies come from the environment. Must not know: what is read, and what a hub is.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use ureq::http::header::{CONTENT_RANGE, ETAG, LOCATION};

/// How often a server may send us on.
const REDIRECTS: usize = 10;

/// How long a server may be silent, and how long it is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until it is reached.
    pub connect: Duration,
    /// Until its answer begins.
    pub answer: Duration,
    /// Between two pieces of its answer.
    pub stall: Duration,
    /// Before it is asked again for what broke off; after that twice as long each time.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        }
    }
}

/// Why there is no answer, or none that helps.
#[derive(Debug)]
pub(super) enum Failure {
    /// The status of the answer.
    Status(u16),
    /// A redirect that is not followed, and why.
    Redirect(String),
    /// The server was not reached or does not speak http; in the library's words.
    Unreached(String),
}

/// An answer with a status of success, whose body has not been read.
pub(super) struct Answer {
    /// Where the body begins within the file: other than 0 only where the server heeds the range that was asked for.
    pub from: u64,
    /// What the server itself calls this content, whoever sends it.
    pub tag: Option<String>,
    pub body: Box<dyn Read>,
}

/// Asks one server.
pub(super) struct Client {
    agent: Agent,
    home: Uri,
    token: Option<String>,
}

impl Client {
    /// `endpoint` is the address of the server that may see the token.
    pub fn new(endpoint: &str, token: Option<&str>, patience: Patience) -> Result<Self, Failure> {
        let home = address(endpoint)?;
        let agent = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_send_request(Some(patience.answer))
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_read(Some(patience.stall))
            .timeout_per_write(Some(patience.stall))
            .user_agent(concat!("dean/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: agent.into(), home, token: token.map(str::to_owned) })
    }

    /// Whether the server is told who asks.
    pub fn sends_token(&self) -> bool {
        self.token.is_some() && self.may_know(&self.home)
    }

    /// Reads `url` from a byte on, through redirects.
    pub fn get(&self, url: &str, from: u64) -> Result<Answer, Failure> {
        let mut url = address(url)?;
        let mut tag = None;
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&url).header("Accept-Encoding", "identity");
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| self.may_know(&url)) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            // What stays on this machine needs no proxy, and the token would leave the machine with it.
            let request = if is_local(&url) { request.config().proxy(None).build() } else { request };
            let answer = request.call().map_err(|cause| Failure::Unreached(cause.to_string()))?;
            let (head, body) = answer.into_parts();
            let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
            if self.is_home(&url) && tag.is_none() {
                let linked = head.headers.get("x-linked-etag").and_then(|value| value.to_str().ok());
                tag = linked.or_else(|| header(ETAG)).map(|tag| tag.trim_start_matches("W/").replace('"', ""));
            }
            match head.status.as_u16() {
                status @ (301 | 302 | 303 | 307 | 308) => {
                    let target = header(LOCATION).ok_or_else(|| Failure::Redirect("it names no address".into()))?;
                    url =
                        next(&url, target).map_err(|why| Failure::Redirect(format!("{why} (http status {status})")))?;
                }
                200 => return Ok(Answer { from: 0, tag, body: Box::new(body.into_reader()) }),
                206 => {
                    let begins = header(CONTENT_RANGE).and_then(beginning);
                    let from = begins.filter(|begins| *begins == 0 || *begins == from);
                    let from = from.ok_or_else(|| Failure::Unreached("it answers with another range".into()))?;
                    return Ok(Answer { from, tag, body: Box::new(body.into_reader()) });
                }
                status => return Err(Failure::Status(status)),
            }
        }
        Err(Failure::Redirect(format!("more than {REDIRECTS} redirects one after the other")))
    }

    fn is_home(&self, url: &Uri) -> bool {
        origin(url) == origin(&self.home)
    }

    /// Whether the token may be sent with a request to this address.
    fn may_know(&self, url: &Uri) -> bool {
        self.is_home(url) && (url.scheme_str() == Some("https") || is_local(url))
    }
}

fn address(text: &str) -> Result<Uri, Failure> {
    let url: Uri = text.parse().map_err(|cause| Failure::Unreached(format!("`{text}` is not an address: {cause}")))?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(url),
        _ => Err(Failure::Unreached(format!("`{text}` is not an address that begins with https:// or http://"))),
    }
}

/// Scheme, host and port.
fn origin(url: &Uri) -> (Option<&str>, Option<String>, u16) {
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    (url.scheme_str(), url.host().map(str::to_ascii_lowercase), port)
}

/// Whether plain http to this host stays on this machine.
fn is_local(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a `Location` leads from an address.
fn next(from: &Uri, target: &str) -> Result<Uri, String> {
    let scheme = from.scheme_str().unwrap_or_default();
    let authority = from.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let is_whole =
        target.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let text = match target {
        whole if is_whole => whole.to_owned(),
        host if host.starts_with("//") => format!("{scheme}:{host}"),
        path if path.starts_with('/') => format!("{scheme}://{authority}{path}"),
        query if query.starts_with('?') => format!("{scheme}://{authority}{}{query}", from.path()),
        name => format!("{scheme}://{authority}{folder}/{name}"),
    };
    // A fragment is for the reader of a page.
    let text = text.split('#').next().unwrap_or_default();
    let url = address(text).map_err(|_| format!("it leads to `{target}`, which is no web address"))?;
    if scheme == "https" && url.scheme_str() != Some("https") {
        return Err(format!("it leads from https to `{target}`, which anybody on the way can read and change"));
    }
    Ok(url)
}

/// The first byte of a `Content-Range`: `bytes 100-199/200`.
fn beginning(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
