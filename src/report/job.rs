//! What a report was made of, for whoever reads it without the store: model, data, settings, versions.
//!
//! It goes into a report that leaves the store. In the store it would be a part of the report's bytes, and a model that was moved
//! to another place would make another report. Must not know: plans, the store, where anything lies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

/// What a report was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// `dean` and its version.
    pub tool: String,
    /// The newest run that had this report, if one is known.
    pub run: Option<String>,
    /// The report's own digest in the store.
    pub report: Digest,
    /// The model that was scored and patched, and the model that judged, if one did.
    pub models: BTreeMap<String, Model>,
    /// Every node that the report depends on.
    pub nodes: BTreeMap<String, JobNode>,
}

/// A model as it was named, and what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    pub source: String,
    pub digests: BTreeMap<String, Digest>,
}

/// One node: everything that its key is made of. Seeds and numbers of rows are among its parameters, the digests of files among its
/// inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobNode {
    pub stage: String,
    pub version: u32,
    pub key: Digest,
    pub params: Value,
    pub inputs: BTreeMap<String, Digest>,
    pub outputs: BTreeMap<String, Digest>,
}
