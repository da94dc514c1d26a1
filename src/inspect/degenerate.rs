//! Degenerate: an answer that is no answer, whatever was asked: it is empty, repeats itself, or has no words in it.
//!
//! A cut answer is not degenerate for that alone. With a low limit nearly every good answer is cut, and a loop that runs into
//! the limit counts as repeating. Must not know: how each of the three is found.

use super::empty::is_empty;
use super::not_words::is_not_words;
use super::repeating::is_repeating;
use super::{Inspected, Inspection, flag};

pub struct Degenerate;

impl Inspection for Degenerate {
    fn name(&self) -> &'static str {
        "degenerate"
    }

    fn inspect(&self, answer: &Inspected<'_>, tell: &mut dyn FnMut(&str, f64)) {
        let Inspected { answer, .. } = *answer;
        tell(self.name(), flag(is_empty(answer) || is_repeating(answer) || is_not_words(answer)));
    }
}
