//! GGUF files: the container, and what its header and tensors are in Hugging Face's terms.
//!
//! Names and conventions are llama.cpp's (`convert_hf_to_gguf.py`, `gguf-py/constants.py`).
//! Must not know: tokenisers, how the decoder computes.

pub(in crate::model) mod config;
mod container;
mod formats;
mod iq4;
pub(in crate::model) mod keys;
mod weights;

pub(in crate::model) use container::{GgufFile, Meta};
pub(in crate::model) use weights::GgufWeights;
