//! Rows of CSV and JSONL files, and which of them are drawn; texts for perplexity.
//!
//! Must not know: what the columns mean, tokens, stages, the store.

mod corpus;
mod permutation;
mod rows;

pub use corpus::Join;
pub use permutation::permutation;
pub use rows::{Format, read_columns};
