//! Small models for tests, as bytes: directories in Hugging Face layout and GGUF files, with random numbers that are the
//! same at every run.
//!
//! A crate of its own, because unit tests and integration tests use it alike, and because no build of the program should
//! carry it. Must not know: dean. What it writes follows the formats, so that dean's reading is tested against them.

mod gguf;
mod llama;
mod random;
pub mod schema;
mod script;
mod tokenizer;

pub use gguf::{Format, Gguf, Meta, quantised};
pub use llama::{Tensor, config, safetensors, tensors};
pub use random::{Random, noise};
pub use script::Script;
pub use tokenizer::{bpe, byte_level};
