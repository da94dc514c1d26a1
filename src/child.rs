//! The one way to start another program. Whatever is started gets a clean environment, an empty working directory, nothing to
//! read, a time, and a limit on what it may say.
//!
//! A child that inherits everything inherits too much: tokens of this process's environment, and a working directory from
//! which some programs load code (`python -m pip` runs a `pip.py` that lies there). So the environment is a list of what may
//! pass, and not of what may not. `clippy.toml` forbids `std::process::Command` elsewhere. Must not know: which programs
//! there are, and what they say.
#![allow(clippy::disallowed_methods, reason = "this is the room that wraps them")]

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, IoContext, Result};
use crate::files;

mod reading;

pub use reading::Reading;

/// What passes to every child: how programs are found and speak, where the user's own settings are, how the network is
/// reached. `LC_*` passes too. Proxies may hold a password, and that is what a child needs them for.
const PASSES: [&str; 36] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TMP",
    "TEMP",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    // programs of environment modules find their libraries by it
    "LD_LIBRARY_PATH",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    // without these nothing starts on Windows
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "PROGRAMFILES",
];

/// The most bytes that are kept of what a child writes to one of its outputs; of more, the middle is left out.
const KEPT: usize = 1 << 20;

/// How long the outputs of a child that ended may stay open. A process that it left behind may hold them.
const LINGER: Duration = Duration::from_secs(2);

/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(10);

/// A program that is about to be started.
#[derive(Clone, Debug)]
pub struct Child {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    within: Duration,
}

/// What a child that ended left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Child {
    /// A program, by its path or by a name that is looked up in the absolute folders of `PATH`. It is killed when it takes
    /// longer than `within`.
    pub fn new(program: impl Into<OsString>, within: Duration) -> Self {
        let passes = |name: &OsStr| {
            let name = name.to_str().unwrap_or_default();
            name.starts_with("LC_") || PASSES.contains(&name)
        };
        let environment = std::env::vars_os().filter(|(name, _)| passes(name)).collect();
        Self { program: program.into(), arguments: Vec::new(), environment, within }
    }

    /// Adds arguments: options and paths that the caller made itself.
    #[must_use]
    pub fn with(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Ends the options with `--` and adds a word that came from outside, so that it cannot be taken for an option.
    #[must_use]
    pub fn with_operand(self, operand: impl Into<OsString>) -> Self {
        self.with(["--"]).with([operand])
    }

    /// Lets more variables of this process pass.
    #[must_use]
    pub fn pass(mut self, names: &[&str]) -> Self {
        self.environment.extend(names.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?))));
        self
    }

    /// Sets a variable, whatever it is here.
    #[must_use]
    pub fn set(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// User: there is no such program (then [`Error::source`](std::error::Error::source) says `NotFound`), it cannot be
    /// started, or it took too long.
    pub fn run(&self) -> Result<Ended> {
        let place = std::env::temp_dir();
        let empty = files::temporary_dir(&place, ".dean-child-")?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(empty.path()).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, anchored(name, value))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().at("start", Path::new(&self.program))?;
        let (stdout, stderr) = (listen(process.stdout.take()), listen(process.stderr.take()));
        let status = self.wait(&mut process)?;
        Ok(Ended { status, stdout: stdout.text(), stderr: stderr.text() })
    }

    fn wait(&self, process: &mut Process) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = process.try_wait().at("wait for", Path::new(&self.program))? {
                return Ok(status);
            }
            if begun.elapsed() >= self.within {
                // Both fail only where it ended by itself meanwhile.
                let _ = process.kill();
                let _ = process.wait();
                let program = self.program.display();
                let seconds = self.within.as_secs_f64();
                return Err(Error::user(format!("{program} did not end within {seconds} s and was stopped"))
                    .hint("run it yourself to see what it waits for"));
            }
            std::thread::sleep(TICK);
        }
    }
}

/// A variable's value as it means the same in another directory: relative files and folders become absolute, and of `PATH`
/// only absolute folders are left, so that nothing is started because of where the user stands.
fn anchored(name: &OsStr, value: &OsStr) -> OsString {
    if name == "PATH" {
        let absolute = std::env::split_paths(value).filter(|folder| folder.is_absolute());
        return std::env::join_paths(absolute).unwrap_or_default();
    }
    let path = Path::new(value);
    let names_a_file = name.to_str().is_some_and(|name| {
        ["_CERT", "_FILE", "_DIR", "_BUNDLE", "_LINKS"].iter().any(|ending| name.ends_with(ending))
    });
    match std::path::absolute(path) {
        Ok(absolute) if names_a_file && path.is_relative() && absolute.exists() => absolute.into(),
        _ => value.to_owned(),
    }
}

/// What a child wrote so far to one of its outputs, and a sign when there is no more.
struct Heard {
    text: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

/// Reads an output to its end on a thread of its own, so that a child never waits for a reader.
fn listen(output: Option<impl Read + Send + 'static>) -> Heard {
    let text = Arc::new(Mutex::new(Vec::new()));
    let (kept, (sender, end)) = (Arc::clone(&text), channel());
    std::thread::spawn(move || {
        let mut piece = vec![0; 16 << 10];
        let mut output = output;
        while let Some(output) = &mut output {
            match output.read(&mut piece) {
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(_) | Ok(0) => break,
                Ok(length) => keep(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), &piece[..length]),
            }
        }
        drop(sender);
    });
    Heard { text, end }
}

/// Adds what was read. Too much loses its middle: the beginning says what was done, the end how it went.
fn keep(kept: &mut Vec<u8>, piece: &[u8]) {
    kept.extend_from_slice(piece);
    if kept.len() > KEPT {
        kept.drain(KEPT / 4..kept.len() - KEPT / 4);
    }
}

impl Heard {
    fn text(self) -> String {
        // Nothing is ever sent: the other side goes away.
        let _ = self.end.recv_timeout(LINGER);
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Child {
        Child::new("sh", PATIENCE).with(["-c", script, "sh"])
    }

    #[test]
    fn the_environment_is_a_list_of_what_may_pass() {
        // Whatever else this test's own environment holds, names that are not on the list are not there.
        let ended = Child::new("env", PATIENCE).pass(&["CARGO_MANIFEST_DIR"]).set("DEAN_TEST", "1").run().unwrap();
        let names: Vec<&str> = ended.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        let listed = |name: &str| PASSES.contains(&name) || name.starts_with("LC_");
        let other: Vec<_> = names.iter().filter(|name| !listed(name)).collect();
        assert_eq!(other, [&"CARGO_MANIFEST_DIR", &"DEAN_TEST"]);
        assert!(names.contains(&"PATH"));
        for secret in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "PYTHONPATH"] {
            assert!(!listed(secret), "{secret}");
        }
    }

    #[test]
    fn it_stands_in_an_empty_folder_and_reads_nothing() {
        let ended = shell("pwd; ls -A; cat; touch left-behind").run().unwrap();
        let lines: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(".dean-child-") && !Path::new(lines[0]).exists(), "{lines:?}");
    }

    #[test]
    fn programs_are_not_found_where_one_stands() {
        let here = std::env::current_dir().unwrap();
        let path = std::env::join_paths([Path::new("."), &here.join("bin"), Path::new(""), Path::new("x")]).unwrap();
        assert_eq!(anchored("PATH".as_ref(), &path), here.join("bin"));
        assert_eq!(anchored("PIP_FIND_LINKS".as_ref(), "src".as_ref()), here.join("src"));
        for (name, value) in [("PIP_FIND_LINKS", "https://a/b"), ("LANG", "src"), ("PIP_CERT", "no/such/file")] {
            assert_eq!(anchored(name.as_ref(), value.as_ref()), value);
        }
    }

    #[test]
    fn a_word_from_outside_is_no_option() {
        let ended = shell("printf '%s\n' \"$@\"").with(["-a"]).with_operand("--version").run().unwrap();
        assert_eq!(ended.stdout, "-a\n--\n--version\n");
    }

    #[test]
    fn what_takes_too_long_is_stopped() {
        let begun = Instant::now();
        let error = Child::new("sleep", Duration::from_millis(200)).with(["60"]).run().unwrap_err();
        assert_eq!(error.message(), "sleep did not end within 0.2 s and was stopped");
        // What it left behind holds its outputs open.
        let ended = shell("echo begun; sleep 60 & exit 3").run().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(3), "begun\n"));
        assert!(begun.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn of_a_flood_the_beginning_and_the_end_are_kept() {
        let ended = shell("echo first; head -c 30000000 /dev/zero >&2; echo last >&2").run().unwrap();
        assert_eq!(ended.stdout, "first\n");
        assert!(ended.stderr.len() <= KEPT && ended.stderr.ends_with("last\n"));
    }

    #[test]
    fn a_program_that_is_not_there_is_told_apart() {
        use std::error::Error as _;
        let error = Child::new("/no/such/program", PATIENCE).run().unwrap_err();
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(ErrorKind::NotFound));
    }
}
