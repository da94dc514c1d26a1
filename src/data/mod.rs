//! Rows of data files, what they say to a chat model, and which of them are drawn; texts for perplexity.
//!
//! ```text
//! bytes ──packing──► content ──containers/*──► rows of cells ──layouts/*──► turns of a conversation
//!                       └── mistaken: what it is, if it is no data file
//! ```
//!
//! Must not know: tokens, templates, stages, the store.

pub mod alike;
mod containers;
mod corpus;
mod delimited;
mod given;
mod layouts;
mod lines;
mod mistaken;
mod objects;
mod packing;
mod permutation;
mod row;
mod taking;

#[cfg(test)]
mod tests;

pub use containers::{Container, Format, Glance, glance, read_rows};
pub use corpus::Join;
pub use given::{AnswersOf, Cut, GivenAnswer};
pub use layouts::{Layout, PAIRS, Reading, Roles, question_turns, turns_of, wanted};
pub use permutation::permutation;
pub use row::{Row, Wanted};
pub use taking::{TooLong, Turns};
