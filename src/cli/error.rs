//! From an [`Error`] to what a person reads and what a script sees: a message, a hint and an exit code.
//!
//! Must not know: what failed.

use super::print;
use crate::error::{Error, Kind};

/// Everything was done.
pub const DONE: u8 = 0;
/// The user's input or surroundings.
pub const USER: u8 = 1;
/// A fault of this program.
pub const FAULT: u8 = 2;
/// Stopped early; the same command goes on (`EX_TEMPFAIL` of sysexits.h).
pub const STOPPED: u8 = 75;

/// The exit code of a failure.
pub fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        Kind::User => USER,
        Kind::Fault => FAULT,
        Kind::Stopped => STOPPED,
    }
}

/// What a person reads of a failure. Being stopped is what was asked for, so it is not called an error.
pub fn tell(error: &Error) {
    match error.kind() {
        Kind::Stopped => print::aside(error.message()),
        Kind::User | Kind::Fault => {
            print::aside(format_args!("{} {}", print::coloured("error:", "1;31"), error.message()));
        }
    }
    if let Some(hint) = error.hint_text() {
        print::aside(format_args!("{} {hint}", print::coloured("hint:", "1;36")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_documented_exit_code() {
        assert_eq!(exit_code(&Error::user("")), 1);
        assert_eq!(exit_code(&Error::fault("")), 2);
        assert_eq!(exit_code(&Error::stopped("")), 75);
    }
}
