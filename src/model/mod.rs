//! What a model is on disk and in memory: checkpoints, the text around them, and the decoder.
//!
//! A [`Checkpoint`] is an opened model directory or GGUF file. It answers three questions, and the
//! rest of the room is built on the answers: which decoder is this ([`DecoderConfig`], read by a
//! family of `families/`), what are its weights (one tensor at a time, as f32, in Hugging Face's
//! names and layout), and how is text turned into ids and back ([`Text`]). A [`Decoder`] is those
//! weights on a device: it reads (`generate`, `loss`) and it scores (`backward`, `accumulate`, `inputs`).
//!
//! Must not know: stages, the store, pipeline files.

pub mod accumulate;
mod attention;
pub mod backward;
mod cache;
pub mod chat;
pub mod checkpoint;
pub mod completer;
pub mod config;
pub mod cost;
pub mod decoder;
pub mod device;
pub mod families;
pub mod generate;
mod gguf;
mod gguf_config;
mod gguf_tokenizer;
pub mod groups;
pub mod hugging_face;
pub mod inputs;
mod loss;
mod mask;
pub mod models;
mod ops;
pub mod pack;
pub mod patch;
mod pickle;
pub mod projection;
mod pytorch;
mod rope;
mod safetensors;
mod sentence_piece;
mod settings;
mod shard_index;
pub mod source;
mod template;
pub mod text;
mod tokenizer_model;

#[cfg(test)]
pub(crate) mod backward_tests;

#[cfg(test)]
mod fuzz_tests;

pub use checkpoint::{Checkpoint, Dtype};
pub use config::{DecoderConfig, Linear, Module, RopeScaling, TensorSpec};
pub use decoder::Decoder;
pub use models::Models;
pub use text::{Message, Text};
