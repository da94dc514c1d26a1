//! Patched models out of the store: a Hugging Face directory, or the patch alone.
//!
//! [`point`] finds the point that is meant. [`edits`] turns a patch into bytes at places of safetensors files.
//! [`contents`] lists what an exported directory holds, file by file; [`directory`] writes that list and [`compare`]
//! reads it against a directory that is there, so that both are always about the same bytes. [`in_place`] applies a patch
//! to a directory and takes it back. [`card`] is the README.md of an export, [`tensors`] the writing of safetensors
//! files where the weights came in another format.
//!
//! Must not know: stages, plans, pipeline files, the terminal.

pub mod card;
pub mod compare;
pub mod contents;
pub mod directory;
pub mod edits;
pub mod in_place;
pub mod point;
mod tensors;

#[cfg(test)]
mod tests;

pub use card::Card;
pub use contents::Contents;
