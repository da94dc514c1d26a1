//! The section about a search among points: what is to be large, what it may cost, and how long it may take.
//!
//! Must not know: how a search goes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::schema;
use crate::config::values::{Shares, positive};

/// `[search]`
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// The question sets whose gains are to be large, each in the direction of its goal.
    ///
    /// All sets whose goal is "more" or "less" unless it is set.
    ///
    /// Key: none.
    pub maximise: Vec<String>,
    /// Hard limits by name: perplexity, kl, or a question set.
    ///
    /// The perplexity is at most so many times the base's, the divergence at most so many nats, and the gain of a question set
    /// at least so much. A set without a goal is one whose questions are to be answered.
    ///
    /// Key: none.
    pub within: BTreeMap<String, f64>,
    /// The most points that are measured.
    ///
    /// Key: none.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub points: usize,
    /// The time after which no other point is begun: "3h"; none unless it is set.
    ///
    /// Key: none.
    pub budget: Option<String>,
    /// The p that points may have: 24 up to a tenth of score.cap unless it is set.
    ///
    /// Key: none.
    #[schemars(schema_with = "schema::shares")]
    pub p: Option<Shares>,
    /// The same for q.
    ///
    /// Key: none.
    #[schemars(schema_with = "schema::shares")]
    pub q: Option<Shares>,
}

impl Default for Search {
    fn default() -> Self {
        Self { maximise: Vec::new(), within: BTreeMap::new(), points: 60, budget: None, p: None, q: None }
    }
}
