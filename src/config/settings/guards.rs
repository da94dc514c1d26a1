//! The sections about what must not suffer: how far ordinary answers move.
//!
//! Must not know: files, places, and how settings depend on each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::positive;

/// `[divergence]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Divergence {
    /// The question set over whose answers next tokens are compared.
    ///
    /// Without a set of this name, nothing is compared.
    ///
    /// Key: divergence.
    pub questions: String,
    /// The first so many tokens of each of the base's answers.
    ///
    /// Key: divergence.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub tokens: usize,
}

impl Default for Divergence {
    fn default() -> Self {
        Self { questions: "harmless".into(), tokens: 16 }
    }
}
