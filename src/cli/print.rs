//! The only place that writes to the terminal. Answers go to standard output, everything else (progress, warnings,
//! errors, logs) to standard error.
//!
//! A reader that went away (`dean status | head`) is no error: the rest is dropped in silence, and a run goes on. Any
//! other failure of standard output is remembered and becomes the exit code.
//!
//! Much of what is printed was written by others: answers, data, names, messages about them. A terminal obeys some
//! characters, so everything is made [`visible`] here, whatever it is and wherever it comes from. Must not know: what is
//! printed.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use indicatif::MultiProgress;
use serde::Serialize;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Result};
use crate::layout::WIDTH;

/// The first failure to write an answer, if it was not that the reader went away.
static FAILED: Mutex<Option<String>> = Mutex::new(None);
/// Progress bars, which have to step aside while a line is written.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// A line (or several) of the answer.
pub fn line(text: impl Display) {
    write_answer(visible(&format!("{text}\n")).as_bytes());
}

/// Bytes of the answer as they are, none of which were written by others.
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
    // Outside of its strings JSON has none of these characters, and inside of them it has its own way to write them.
    let text = replaced(&text, is_obeyed, escaped);
    write_answer(format!("{text}\n").as_bytes());
    Ok(())
}

/// A part of the answer as JSON in one line.
///
/// # Errors
/// Fault: a value that is not JSON.
pub fn json_line(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|cause| Error::fault(format!("an answer is not JSON: {cause}")))?;
    write_answer(format!("{}\n", replaced(&text, is_obeyed, escaped)).as_bytes());
    Ok(())
}

/// A line beside the answer, above the progress bars.
pub fn aside(text: impl Display) {
    write_aside(visible(&format!("{text}\n")).as_bytes());
}

/// Something that a person should know, and that stops nothing.
pub fn warning(text: impl Display) {
    aside(format_args!("{} {text}", coloured("warning:", "1;33")));
}

/// Whether a person is watching standard error.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person reads the answer.
pub fn is_read() -> bool {
    io::stdout().is_terminal()
}

/// The columns that an answer has: those of the terminal, else `COLUMNS`, else [`WIDTH`].
pub fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(io::stdout()).map(|(columns, _)| usize::from(columns.0));
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(said).filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

/// `text` in a colour (an ANSI code) where standard error shows colours. What comes out may be printed here and nowhere else:
/// the terminal's own codes are put in when it is.
pub fn coloured(text: &str, code: &str) -> String {
    if is_watched() && may_colour() { painted(text, code) } else { text.to_owned() }
}

/// The same of standard output, which may be read through a pager.
pub fn coloured_answer(text: &str, code: &str) -> String {
    if is_read() && may_colour() { painted(text, code) } else { text.to_owned() }
}

fn painted(text: &str, code: &str) -> String {
    format!("{COLOUR}{code}{TEXT}{text}{END}")
}

fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// What stands for the codes of a colour until it is printed: characters that Unicode keeps for use inside of programs.
/// Others who write them get colours, at most.
const COLOUR: char = '\u{fdd0}';
const TEXT: char = '\u{fdd1}';
const END: char = '\u{fdd2}';

/// `text` with every character written out that a terminal obeys: `\x1b`, `\u{202e}`. Ends of lines and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    let text = replaced(text, is_obeyed, |char| match u32::from(char) {
        code @ 0..=0xff => format!("\\x{code:02x}"),
        code => format!("\\u{{{code:x}}}"),
    });
    if !text.contains([COLOUR, TEXT, END]) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once(COLOUR) {
        shown.push_str(before);
        let code = after.split_once(TEXT).map_or("", |(code, _)| code);
        let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit() || byte == b';');
        if is_code {
            shown.push_str(&format!("\x1b[{code}m"));
        }
        rest = after.get(if is_code { code.len() } else { 0 }..).unwrap_or_default();
    }
    shown.push_str(rest);
    Cow::Owned(shown.replace(TEXT, "").replace(END, "\x1b[0m"))
}

/// Controls (those of C1 too, which some terminals take for the beginning of a sequence), and the characters that turn the
/// direction of what follows.
fn is_obeyed(char: char) -> bool {
    (char.is_control() && !matches!(char, '\n' | '\t'))
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A character as JSON writes it where it may not stand itself.
fn escaped(char: char) -> String {
    format!("\\u{:04x}", u32::from(char))
}

/// `text` with some characters written in another way.
fn replaced(text: &str, which: impl Fn(char) -> bool, write: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.chars().any(&which) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if which(char) { out.push_str(&write(char)) } else { out.push(char) }
    }
    Cow::Owned(out)
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
        write_aside(visible(&String::from_utf8_lossy(&self.0)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        for (text, shown) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
            ("over\rwritten\x08\x7f", r"over\x0dwritten\x08\x7f"),
            ("\u{9b}31m", r"\x9b31m"),
            ("a\u{202e}b\u{2066}c", r"a\u{202e}b\u{2066}c"),
            ("é 漢 🙂 שלום \u{200f}", "é 漢 🙂 שלום \u{200f}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn colours_are_ours_alone() {
        let ours = format!("{COLOUR}1;31{TEXT}error:{END} \x1b[5m");
        assert_eq!(visible(&ours), "\x1b[1;31merror:\x1b[0m \\x1b[5m");
        // Whoever writes the marks gets colours, and nothing that is not a number.
        for forged in [
            format!("{COLOUR}2J{TEXT}x"),
            format!("{COLOUR}"),
            format!("{COLOUR}\x1b[2J{TEXT}"),
            format!("{END}{TEXT}"),
        ] {
            let shown = visible(&forged).replace("\x1b[0m", "");
            assert!(!shown.contains(['\x1b', COLOUR, TEXT, END]), "{shown:?}");
        }
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "a\u{9b}\u{202e}": "b\x7f\x1b" });
        let text = serde_json::to_string(&value).unwrap();
        let text = replaced(&text, is_obeyed, escaped);
        assert_eq!(text, r#"{"a\u009b\u202e":"b\u007f\u001b"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
