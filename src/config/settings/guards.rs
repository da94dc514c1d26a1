//! The sections about what a result is held against: other masks of the same size, and how far ordinary answers move.
//!
//! Must not know: files, places, and how settings depend on each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::positive;
use crate::rank::ControlPoints;

/// `[controls]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Controls {
    /// Beside which points masks with other weights stand: "last", "all" or "none".
    ///
    /// Key: controls.
    pub points: ControlPoints,
    /// How many of them are drawn at random.
    ///
    /// Key: controls.
    pub random: u64,
}

impl Default for Controls {
    fn default() -> Self {
        Self { points: ControlPoints::Last, random: 3 }
    }
}

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
