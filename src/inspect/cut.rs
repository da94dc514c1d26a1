//! Cut: an answer that ends at the limit of new tokens, or inside a thought. More would have come, or no answer came at all.
//!
//! Must not know: what the limit is.

use super::{Inspected, Inspection, flag};

pub struct Cut;

impl Inspection for Cut {
    fn name(&self) -> &'static str {
        "cut"
    }

    fn inspect(&self, answer: &Inspected<'_>, tell: &mut dyn FnMut(&str, f64)) {
        tell(self.name(), flag(answer.is_cut));
    }
}
