//! Asking one endpoint: again after what passes, with growing pauses, and never longer than it is given.
//!
//! The key goes to this one address, and into no message: what an endpoint says is shown without it. Redirects are not followed,
//! because the key would go along. Must not know: what is asked, what an answer means.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use ureq::Agent;
use ureq::http::Uri;
use ureq::http::header::RETRY_AFTER;

use crate::error::{Error, Result};

/// How often one thing is asked.
const TRIES: u32 = 6;
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(60);
/// Who asks for a longer pause than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(600);
/// The most bytes of an answer, and the most characters of it in a message.
const MOST: u64 = 4 << 20;
const EXCERPT: usize = 200;
/// How often a pause looks whether it is still worth it.
const LOOK: Duration = Duration::from_millis(50);

/// A secret. It has no way into a message, a log or a file.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// The value of an environment variable.
    ///
    /// # Errors
    /// User: the variable is not set, or empty, or holds what no header can.
    pub fn from_variable(name: &str) -> Result<Self> {
        match std::env::var(name).ok().map(|value| value.trim().to_owned()) {
            Some(value) if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(value)),
            _ => Err(Error::user(format!("the environment variable {name} holds no key"))
                .hint("judge.key_env names it; set the variable to the endpoint's key, or take the setting out")),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// How long an endpoint is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one answer.
    pub answer: Duration,
    /// Before it is asked again; after that twice as long each time.
    pub pause: Duration,
}

/// Why there is no completion.
pub enum Failure {
    /// The endpoint will not take the request as it is; with what it said.
    Refused { told: String, error: Error },
    /// Nothing helps.
    Final(Error),
}

/// One endpoint.
pub struct Client {
    agent: Agent,
    url: String,
    key: Option<Key>,
    patience: Patience,
}

/// What one try came to.
enum Try<T> {
    Done(T),
    /// It may go better the next time: why it did not now, and how long the endpoint asks to be left alone.
    Passing(String, Option<Duration>),
    Refused(u16, String),
}

impl Client {
    pub fn new(url: &str, key: Option<Key>, patience: Patience) -> Result<Self> {
        let address = checked(url, key.is_some())?;
        let agent = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(patience.answer))
            .user_agent(concat!("dean/", env!("CARGO_PKG_VERSION")));
        // What stays on this machine needs no proxy, and the key would leave the machine with it.
        let agent = if is_local(&address) { agent.proxy(None) } else { agent };
        let url = format!("{}/chat/completions", url.trim_end_matches('/'));
        Ok(Self { agent: agent.build().into(), url, key, patience })
    }

    /// Asks until `read` can read an answer. `turn` keeps those that wait from asking again at the same moment.
    pub fn ask<T>(
        &self,
        turn: usize,
        body: &Value,
        halt: &AtomicBool,
        read: &dyn Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut pause = self.patience.pause;
        let mut last = String::new();
        for again in 0..TRIES {
            if again > 0 && halt.load(Ordering::Relaxed) {
                break;
            }
            let wanted = match self.try_once(body, read) {
                Try::Done(done) => return Ok(done),
                Try::Refused(status, told) => {
                    let error = self.refused(status, &self.plain(&told));
                    return Err(if status == 400 || status == 422 {
                        Failure::Refused { told, error }
                    } else {
                        Failure::Final(error)
                    });
                }
                Try::Passing(why, wanted) => {
                    last = why;
                    wanted
                }
            };
            if wanted.is_some_and(|wanted| wanted > PATIENCE) {
                last = format!("{last}; it asks to be left alone for longer than {} minutes", PATIENCE.as_secs() / 60);
                break;
            }
            if again + 1 < TRIES {
                let spread = pause.mul_f64(1.0 + (turn % 8) as f64 / 16.0);
                sleep(wanted.map_or(spread, |wanted| wanted.max(spread)), halt);
                pause = (pause * 2).min(LONGEST);
            }
        }
        Err(Failure::Final(
            Error::user(format!("{} gave no verdict: {last}", self.url))
                .hint("verdicts so far are kept: type the same again to go on; judge.at_once asks for fewer at a time"),
        ))
    }

    fn try_once<T>(&self, body: &Value, read: &dyn Fn(&str) -> Result<T, String>) -> Try<T> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(Key(key)) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut answer = match request.send(body.to_string()) {
            Ok(answer) => answer,
            Err(cause) => return Try::Passing(self.plain(&cause.to_string()), None),
        };
        let status = answer.status().as_u16();
        let wanted = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
        let text = answer.body_mut().with_config().limit(MOST).lossy_utf8(true).read_to_string();
        match (status, text) {
            (200..=299, Ok(text)) => match read(&text) {
                Ok(done) => Try::Done(done),
                Err(why) => Try::Passing(format!("{why}: {}", self.plain(&text)), wanted),
            },
            (200..=299, Err(cause)) => Try::Passing(self.plain(&cause.to_string()), wanted),
            (408 | 425 | 429 | 500..=599, text) => {
                let text = text.unwrap_or_default();
                Try::Passing(format!("http status {status} {}", self.plain(&text)).trim_end().to_owned(), wanted)
            }
            (_, text) => Try::Refused(status, text.unwrap_or_default()),
        }
    }

    fn refused(&self, status: u16, told: &str) -> Error {
        let error = Error::user(format!("{} refuses with http status {status} {told}", self.url).trim_end());
        match status {
            401 | 403 => error.hint("judge.key_env names the environment variable that holds the key"),
            404 | 405 => {
                error.hint("judge.url is what stands before /chat/completions, judge.model a model of that endpoint")
            }
            300..=399 => error.hint("set judge.url to the address that it points to; the key is sent to no other"),
            _ => error
                .hint("look at judge.model and judge.kind; DEAN_LOG shows nothing more, since that could be the key"),
        }
    }

    /// What an endpoint said, on one line, short, and without the key.
    fn plain(&self, text: &str) -> String {
        let text = match &self.key {
            Some(Key(key)) => text.replace(key.as_str(), "[key]"),
            None => text.to_owned(),
        };
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = line.chars().take(EXCERPT).collect();
        if short.len() < line.len() { format!("{short}…") } else { short }
    }
}

/// An address that may be asked, and may be written into a record.
///
/// # Errors
/// User: no address of the web, one with a secret in it, or one that a key would reach in the clear.
pub fn checked(url: &str, has_key: bool) -> Result<Uri> {
    let wrong = |why: &str| Error::user(format!("judge.url {why}")).hint("for example http://localhost:8000/v1");
    let address: Uri = url.parse().map_err(|_| wrong("is no address"))?;
    let is_web =
        matches!(address.scheme_str(), Some("http" | "https")) && address.host().is_some_and(|host| !host.is_empty());
    if !is_web {
        return Err(wrong("must begin with https:// or http://"));
    }
    if address.authority().is_some_and(|authority| authority.as_str().contains('@')) || address.query().is_some() {
        return Err(wrong("holds a name, a password or a query, and would be written into every record")
            .hint("set judge.key_env to the name of an environment variable that holds the key"));
    }
    if has_key && address.scheme_str() == Some("http") && !is_local(&address) {
        return Err(wrong("is plain http to another machine: anybody on the way could read the key"));
    }
    Ok(address)
}

/// Whether plain http to this host stays on this machine.
fn is_local(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// How long a `Retry-After` asks for: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

/// Sleeps, but no longer than anybody wants the answer.
fn sleep(pause: Duration, halt: &AtomicBool) {
    let mut left = pause;
    while !left.is_zero() && !halt.load(Ordering::Relaxed) {
        let step = left.min(LOOK);
        std::thread::sleep(step);
        left -= step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(key: Option<&str>) -> Client {
        let patience = Patience { answer: Duration::from_secs(1), pause: Duration::ZERO };
        Client::new("http://localhost:1/v1/", key.map(|key| Key(key.into())), patience).unwrap()
    }

    #[test]
    fn a_key_is_in_no_message() {
        let client = client(Some("sk-secret"));
        assert_eq!(client.plain("Incorrect key\n sk-secret. Again: sk-secret"), "Incorrect key [key]. Again: [key]");
        assert_eq!(format!("{:?}", Key("sk-secret".into())), "Key(…)");
        let long = client.plain(&format!("{}sk-secret", "x".repeat(EXCERPT - 3)));
        assert!(!long.contains("sk-"), "a key is replaced before anything is cut: {long}");
    }

    #[test]
    fn addresses_that_would_give_a_secret_away_are_refused() {
        let said = |url: &str, has_key| checked(url, has_key).map(drop).map_err(|error| error.message().to_owned());
        for url in
            ["http://localhost:8000/v1", "https://api.example.com/v1", "http://[::1]:9/v1", "http://127.0.0.1/v1"]
        {
            assert_eq!(said(url, true), Ok(()), "{url}");
        }
        assert_eq!(said("http://example.com/v1", false), Ok(()));
        insta::assert_snapshot!(said("http://example.com/v1", true).unwrap_err(), @"judge.url is plain http to another machine: anybody on the way could read the key");
        for url in ["https://me:word@example.com/v1", "https://example.com/v1?key=1"] {
            assert!(said(url, false).unwrap_err().contains("would be written into every record"), "{url}");
        }
        for url in ["example.com/v1", "ftp://example.com", "", "https://"] {
            assert!(said(url, false).is_err(), "{url}");
        }
    }

    #[test]
    fn pauses_that_are_asked_for() {
        assert_eq!(retry_after(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("soon"), None);
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let pause = retry_after(&date).unwrap();
        assert!(pause > Duration::from_secs(90) && pause <= Duration::from_secs(100), "{pause:?}");
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None, "it is over");
    }

    #[test]
    fn a_pause_ends_when_nobody_wants_the_answer() {
        let before = std::time::Instant::now();
        sleep(Duration::from_secs(60), &AtomicBool::new(true));
        assert!(before.elapsed() < Duration::from_secs(5));
    }
}
