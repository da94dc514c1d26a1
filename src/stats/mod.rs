//! What a reader needs to judge a proportion.
//!
//! Must not know: judges, questions, stages.

mod interval;

pub use interval::wilson;
