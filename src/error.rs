//! The one error type of the crate: a sentence that says what went wrong and where, and a hint
//! that says what to do next.
//!
//! An error has a *kind*, on which the exit code depends. For programs it also keeps the operating system's error. Its text can
//! be read without a backtrace and without a chain of causes. Must not know: any room of the crate, the
//! terminal.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Who has to act. The command line turns it into the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The user's input or surroundings: a usage error, a missing file, no pip, a full disk (exit code 1).
    User,
    /// A fault of ours: a broken invariant, a panic that was caught (exit code 2).
    Fault,
    /// Stopped before the end by a signal; running again continues (exit code 75).
    Stopped,
}

/// A sentence for a person, with the kind of failure and, mostly, the next thing to do.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Arc<io::Error>>,
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The user's input or surroundings are at fault.
    pub fn user(message: impl Into<String>) -> Self {
        Self { kind: Kind::User, message: message.into(), hint: None, source: None }
    }

    /// This program is at fault; the hint asks for a report.
    pub fn fault(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Fault,
            message: message.into(),
            hint: Some("this is a fault of dean: please report it with the command you typed".into()),
            source: None,
        }
    }

    /// A signal asked us to stop; what was finished is kept.
    pub fn stopped(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Stopped,
            message: message.into(),
            hint: Some("run the same command again to continue".into()),
            source: None,
        }
    }

    /// Replaces the hint: a complete thought, preferably the next command to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the place in front of the message: `score[privacy]: …`.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// An I/O failure on `path`: "cannot read /data/x.csv: no such file". Kind and hint follow from the cause.
    pub fn io(doing: &str, path: &Path, cause: &io::Error) -> Self {
        let source = match cause.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(cause.kind(), cause.to_string()),
        };
        let message = format!("cannot {doing} {}: {}", path.display(), plain(cause));
        let error = Self { source: Some(Arc::new(source)), ..Self::user(message) };
        match cause.kind() {
            io::ErrorKind::NotFound => error.hint("check the path; paths in a pipeline file are relative to that file"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                error.hint("check the permissions, or choose another place (for artifacts: --set 'run.store=\"DIR\"')")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => error.hint(
                "free some space (`dean cache gc --dry-run` shows what could go) and run again; nothing half-written was kept",
            ),
            io::ErrorKind::FileTooLarge => {
                error.hint("a limit forbids files of this size (`ulimit -f`, or the file system): raise it and run again; nothing half-written was kept")
            }
            _ => error,
        }
    }
}

impl Error {
    /// The error of ours that a library's error came from. A library that writes into a file of the store wraps what the
    /// file said.
    pub fn inside(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(ours) = error.downcast_ref::<Self>() {
                return Some(ours.clone());
            }
            // The source of an I/O error is not what it holds, but the source of that.
            let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = held.map(|held| held as &(dyn std::error::Error + 'static)).or_else(|| error.source());
        }
        None
    }
}

/// An operating system's message without Rust's "(os error 2)", in lower case like the rest of the sentence.
fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "unknown cause".into(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    /// What the operating system said, if it was that.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Turns an `io::Result` into ours by naming the act and the path.
pub trait IoContext<T> {
    fn at(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|cause| Error::io(doing, path, &cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_read_as_sentences_with_a_next_step() {
        let cause = io::Error::from_raw_os_error(2);
        let error = Error::io("read", Path::new("data/x.csv"), &cause);
        assert_eq!(error.message(), "cannot read data/x.csv: no such file or directory");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("relative to that file")));
        assert_eq!(error.kind(), Kind::User);
    }

    #[test]
    fn a_full_disk_says_that_nothing_was_half_written() {
        let error = Error::io("write", Path::new("b"), &io::Error::from_raw_os_error(28));
        assert!(error.hint_text().is_some_and(|hint| hint.contains("half-written")));
    }

    #[test]
    fn what_the_system_said_is_kept_for_programs() {
        use std::error::Error as _;
        let error = Error::io("write", Path::new("b"), &io::Error::from_raw_os_error(28)).within("score[privacy]");
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        assert!(Error::user("row 3 is empty").source().is_none());
    }

    #[test]
    fn an_error_of_ours_is_found_inside_of_a_librarys() {
        let ours = || Error::user("the disk is full").hint("free some space");
        let wrapped = parquet::errors::ParquetError::External(Box::new(io::Error::other(io::Error::new(
            io::ErrorKind::StorageFull,
            ours(),
        ))));
        let found = Error::inside(&wrapped).unwrap();
        assert_eq!((found.message(), found.hint_text()), ("the disk is full", Some("free some space")));
        assert!(Error::inside(&ours()).is_some());
        assert!(Error::inside(&io::Error::other("something else")).is_none());
        assert!(Error::inside(&io::Error::from_raw_os_error(28)).is_none());
    }

    #[test]
    fn the_place_goes_in_front() {
        assert_eq!(
            Error::user("row 3 is empty").within("tokenize[privacy]").message(),
            "tokenize[privacy]: row 3 is empty"
        );
    }
}
