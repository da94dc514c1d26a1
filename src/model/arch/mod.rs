//! Which decoder a model is: its configuration, how Hugging Face's config.json says it, and what differs by family.
//!
//! Must not know: weights, devices, text.

pub mod config;
pub mod config_json;
pub mod config_keys;
pub mod families;
pub mod rope;
