//! The only place that writes to the terminal. Answers go to standard output, everything else (progress, warnings,
//! errors, logs) to standard error.
//!
//! A reader that went away (`dean status | head`) is no error: the rest is dropped in silence, and a run goes on. Any
//! other failure of standard output is remembered and becomes the exit code. Must not know: what is printed.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use indicatif::MultiProgress;
use serde::Serialize;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Result};

/// The first failure to write an answer, if it was not that the reader went away.
static FAILED: Mutex<Option<String>> = Mutex::new(None);
/// Progress bars, which have to step aside while a line is written.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// A line (or several) of the answer.
pub fn line(text: impl Display) {
    write_answer(format!("{text}\n").as_bytes());
}

/// Bytes of the answer as they are.
pub fn raw(bytes: &[u8]) {
    write_answer(bytes);
}

/// The answer as indented JSON.
///
/// # Errors
/// Fault: a value that is not JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|cause| Error::fault(format!("an answer is not JSON: {cause}")))?;
    line(text);
    Ok(())
}

/// A line beside the answer, above the progress bars.
pub fn aside(text: impl Display) {
    write_aside(format!("{text}\n").as_bytes());
}

/// Something that a person should know, and that stops nothing.
pub fn warning(text: impl Display) {
    aside(format_args!("{} {text}", coloured("warning:", "1;33")));
}

/// Whether a person is watching standard error.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// `text` in a colour (an ANSI code) where standard error shows colours.
pub fn coloured(text: &str, code: &str) -> String {
    let plain = !is_watched() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

/// The progress bars of this process, drawn on standard error.
pub fn bars() -> &'static MultiProgress {
    BARS.get_or_init(MultiProgress::new)
}

/// Whether the whole answer was written.
///
/// # Errors
/// User: standard output failed, on a full disk for instance.
pub fn finish() -> Result<()> {
    if let Err(cause) = io::stdout().flush() {
        remember(&cause);
    }
    match FAILED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(cause) => Err(Error::user(format!("cannot write the answer to standard output: {cause}"))),
        None => Ok(()),
    }
}

fn write_answer(bytes: &[u8]) {
    let write = || {
        if let Err(cause) = io::stdout().lock().write_all(bytes) {
            remember(&cause);
        }
    };
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

fn write_aside(bytes: &[u8]) {
    // Where standard error is gone there is nobody left to tell.
    let write = || drop(io::stderr().lock().write_all(bytes));
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

fn remember(cause: &io::Error) {
    if cause.kind() != ErrorKind::BrokenPipe {
        let text = cause.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }
}

/// Where logs go: standard error, above the bars, a line at a time.
pub struct Logs;

/// One event of a log, written when it is whole.
#[derive(Default)]
pub struct LogLine(Vec<u8>);

impl<'a> MakeWriter<'a> for Logs {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine::default()
    }
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        write_aside(&self.0);
    }
}
