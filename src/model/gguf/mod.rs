//! GGUF files as they are: the settings in a header, the bytes of tensors, and the values that their formats stand for.
//!
//! One file holds both the weights and the text of a model, so `checkpoint` and `text` are above this room.
//! Must not know: families, Hugging Face names, tokenisers.

mod container;
mod formats;
mod iq4;

pub(in crate::model) use container::{GgufFile, Meta};
