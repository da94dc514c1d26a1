//! What the header and the tensors of a GGUF file are in Hugging Face's terms.
//!
//! Names and conventions are llama.cpp's (`convert_hf_to_gguf.py`, `gguf-py/constants.py`).
//! Must not know: tokenisers, how the decoder computes.

pub(in crate::model) mod config;
pub(in crate::model) mod keys;
mod weights;

pub(in crate::model) use weights::GgufWeights;

#[cfg(test)]
mod tests;
