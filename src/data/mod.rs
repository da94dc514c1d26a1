//! Rows of CSV and JSONL files, and which of them are drawn.
//!
//! Must not know: what the columns mean, tokens, stages, the store.

mod permutation;
mod rows;

pub use permutation::permutation;
pub use rows::{Format, read_columns};
