//! What the base and a variant said to the same questions, side by side, with what the judges called it.
//!
//! | file | what it does |
//! | --- | --- |
//! | `pairs.rs` | puts answers and verdicts of both together, and tells which pairs are asked for |
//! | `words.rs` | which words of two texts differ |
//! | `lines.rs` | words in lines of a width, in colours or without |
//! | `page.rs` | a pair as a person reads it |
//!
//! The tables come from the store, and the text goes to a terminal or a pager; the room sees neither. Must not know: stages,
//! plans, points of a grid.

mod lines;
mod page;
mod pairs;
mod words;

pub use lines::{Ink, Style};
pub use page::Page;
pub use pairs::{Opinion, Pair, Said, Side, Wanted, pairs};
pub use words::{Kind, Piece, difference};
