//! How answers may look: as wide as the terminal, with colours where it shows them.
//!
//! Must not know: what is shown.

use super::print;
use crate::layout::{Look, Tone};

/// The narrowest that anything is made for.
const LEAST: usize = 40;

/// The look of standard output.
pub fn of_answers() -> Look {
    Look { width: print::width().max(LEAST), paint }
}

fn paint(text: &str, tone: Tone) -> String {
    let code = match tone {
        Tone::Strong => "1",
        Tone::Faint => "2",
    };
    print::coloured_answer(text, code)
}
