//! What a model is on disk and in memory: checkpoints, the text around them, and the decoder.
//!
//! | room | what it answers |
//! | --- | --- |
//! | [`matrix`] | what the scored matrices are called |
//! | [`source`] | where a model is, and how it gets to this machine |
//! | `gguf` | what lies in a GGUF file, which holds both weights and text |
//! | [`checkpoint`] | what its weights are: one tensor at a time, as f32, in Hugging Face's names and layout |
//! | [`arch`] | which decoder it is: the configuration, read by one file a family |
//! | [`text`] | how text is turned into ids and back |
//! | `ops` | the operations between matrix products, in a form for each kind of device |
//! | [`greedy`] | how an answer goes on and where it ends |
//! | [`decoder`] | the weights on a device: reading, generating, scoring |
//!
//! Must not know: stages, the store, pipeline files.

pub mod arch;
pub mod checkpoint;
pub mod decoder;
pub mod device;
mod floats;
mod gguf;
pub mod greedy;
pub mod loaded;
pub mod matrix;
mod ops;
pub mod patch;
pub mod source;
mod standing;
pub mod text;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use arch::config::{DecoderConfig, Linear, Module, TensorSpec};
pub use arch::rope::RopeScaling;
pub use checkpoint::{Checkpoint, Dtype};
pub use decoder::Decoder;
pub use loaded::Loaded;
pub use matrix::{MatrixId, Projection};
pub use text::{Message, Text};
