//! Empty: an answer without any text. A thought alone is none.
//!
//! Must not know: why nothing came.

use super::{Inspected, Inspection, flag};

pub struct Empty;

impl Inspection for Empty {
    fn name(&self) -> &'static str {
        "empty"
    }

    fn inspect(&self, answer: &Inspected<'_>, tell: &mut dyn FnMut(&str, f64)) {
        tell(self.name(), flag(is_empty(answer.answer)));
    }
}

/// Whether there is no text at all.
pub fn is_empty(answer: &str) -> bool {
    answer.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_no_text() {
        assert!(is_empty("") && is_empty(" \n\u{a0}\u{3000}"));
        assert!(!is_empty(".") && !is_empty("No."));
    }
}
