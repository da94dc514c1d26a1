//! Long answers through a pager, as git has it: `DEAN_PAGER`, else `PAGER`, else `less -FRX`; none where nobody reads.
//!
//! A pager that is missing, or that is left before the end, is no error. Must not know: what is shown.

use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::{print, signals};
use crate::child::{Child, Reading};
use crate::error::Result;

/// Where nothing else is asked for: it ends at once if everything fits, shows colours, and leaves the text on the screen.
const PAGER: &str = "less -FRX";
/// What a pager takes its settings from.
const PASSES: [&str; 22] = [
    "TERM",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMCAP",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "LESS",
    "LESSCHARSET",
    "LESSKEY",
    "LESSKEYIN",
    "LESSHISTFILE",
    "LESSEDIT",
    "LESSUTFCHARDEF",
    "MORE",
    "LV",
    "BAT_STYLE",
    "BAT_THEME",
    "EDITOR",
    "VISUAL",
    "SHELL",
];
/// With one of these in it, a command is a shell's.
const SHELLS: &str = "|&;<>()$`\\\"' \t\n*?[#~=%";
/// What a shell answers when there is no such program.
const NOT_FOUND: i32 = 127;

/// Gives lines to a reader; false where nobody reads on.
pub type Out<'a> = dyn FnMut(&str) -> bool + 'a;

/// Shows lines, through a pager if one is wanted and a person reads. `write` may be called again where the pager turns out
/// to be none.
///
/// # Errors
/// Those of `write`.
pub fn show(wanted: bool, write: impl Fn(&mut Out<'_>) -> Result<()>) -> Result<()> {
    let pager = if wanted && print::is_read() { command(|name| std::env::var(name).ok()) } else { None };
    if pager.is_some() {
        signals::leave_interrupts();
    }
    through(pager, &write, &mut |text| {
        print::line(text);
        true
    })
}

/// Writes to a pager, and to `plain` where there is none.
fn through(pager: Option<String>, write: &dyn Fn(&mut Out<'_>) -> Result<()>, plain: &mut Out<'_>) -> Result<()> {
    let Some((mut pager, command)) = pager.and_then(|command| Some((start(&command)?, command))) else {
        return write(plain);
    };
    let written = write(&mut |text| pager.give(print::visible(&format!("{text}\n")).as_bytes()));
    if pager.end() == Some(NOT_FOUND) && is_for_shell(&command) {
        return write(plain);
    }
    written
}

/// What is to be started; none if text is to go straight to the terminal.
fn command(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let chosen = variable("DEAN_PAGER").or_else(|| variable("PAGER")).unwrap_or_else(|| PAGER.to_owned());
    Some(chosen.trim().to_owned()).filter(|chosen| !chosen.is_empty() && chosen != "cat")
}

fn is_for_shell(command: &str) -> bool {
    cfg!(unix) && command.chars().any(|char| char != ' ' && SHELLS.contains(char))
}

/// The pager; none if there is no such program.
fn start(command: &str) -> Option<Reading> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let (program, arguments) = if is_for_shell(command) {
        ("sh", vec!["-c", command])
    } else {
        let (program, arguments) = words.split_first()?;
        (*program, arguments.to_vec())
    };
    let mut child = Child::new(program, Duration::MAX).with(arguments).pass(&PASSES);
    // As git does it, so that `PAGER=less` is enough.
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if std::env::var_os(name).is_none() {
            child = child.set(name, value);
        }
    }
    match child.read() {
        Ok(reading) => Some(reading),
        Err(error) => {
            let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
            if cause != Some(ErrorKind::NotFound) {
                print::warning(format_args!("the pager `{command}` cannot be used: {}", error.message()));
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_chosen_as_git_chooses_it() {
        let of = |own: Option<&str>, pager: Option<&str>| {
            command(|name| if name == "DEAN_PAGER" { own } else { pager }.map(str::to_owned))
        };
        assert_eq!(of(None, None).as_deref(), Some("less -FRX"));
        assert_eq!(of(None, Some("most")).as_deref(), Some("most"));
        assert_eq!(of(Some("bat -p"), Some("most")).as_deref(), Some("bat -p"));
        assert_eq!((of(Some(""), Some("most")), of(None, Some("cat")), of(None, Some(" "))), (None, None, None));
    }

    #[cfg(unix)]
    #[test]
    fn a_command_with_marks_of_a_shell_is_a_shells() {
        assert!(!is_for_shell("less -FRX") && !is_for_shell("/usr/bin/more"));
        assert!(is_for_shell("LESS=R less") && is_for_shell("less | tee file") && is_for_shell("\"my pager\""));
    }

    #[cfg(unix)]
    #[test]
    fn text_reaches_the_reader_through_a_pager_and_without() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("read");
        let read = |pager: Option<&str>| {
            let mut plain = Vec::new();
            let write = |out: &mut Out<'_>| {
                out("one\x1b");
                out("two");
                Ok(())
            };
            through(pager.map(str::to_owned), &write, &mut |text| {
                plain.push(text.to_owned());
                true
            })
            .unwrap();
            plain
        };
        let into_file = format!("cat > '{}'", file.display());
        assert_eq!(read(Some(&into_file)), [""; 0]);
        assert_eq!(crate::files::read_to_string(&file).unwrap(), "one\\x1b\ntwo\n");
        // None, one that is missing, and one that is missing in a shell.
        for pager in [None, Some("no-such-pager-of-dean -x"), Some("no-such-pager-of-dean 2>/dev/null")] {
            assert_eq!(read(pager), ["one\x1b", "two"], "{pager:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pager_that_is_left_before_the_end_is_no_error() {
        let text = "x".repeat(1 << 20);
        let write = |out: &mut Out<'_>| {
            assert!((0..100).any(|_| !out(&text)), "it reads no more");
            Ok(())
        };
        for pager in ["true", "exit 3;"] {
            through(Some(pager.into()), &write, &mut |_| panic!("it has a reader")).unwrap();
        }
    }
}
