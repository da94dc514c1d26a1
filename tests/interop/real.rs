//! A real model against transformers, by the tests of the small ones.
//!
//! It needs a file that is not in this repository, so `cargo test` leaves this target out. `tests/interop/gemma-3-270m` fetches
//! the file, makes the numbers and runs it. Must not know: how the numbers were made.

mod checks;
mod golden;
#[macro_use]
mod suite;

checked! { gemma_3_270m: "gemma-3-270m" }
