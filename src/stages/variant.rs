//! Variants: the base model, or the base plus one patch.
//!
//! generate, judge and perplexity run once for the base and once for each distinct mask that selection found. patch runs once
//! for each of these masks. The base is the variant with an empty mask. Must not know: how a mask was made.

mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Input, ModelPart, Node, Planning, Role, model_inputs};
use crate::digest::Digest;
use crate::error::Result;
use crate::rank::{Mask, Selection};

/// The base model or the base plus one patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// `base`, or the beginning of the mask's digest.
    pub label: String,
    pub mask: Option<Digest>,
    /// Its place in the order of work, as of [`Node::turn`].
    pub turn: u32,
}

impl Variant {
    pub fn base() -> Self {
        Self { label: "base".into(), mask: None, turn: 1 }
    }

    pub fn of_mask(mask: Digest) -> Self {
        Self { label: mask.short(), mask: Some(mask), turn: 0 }
    }

    /// `generate[base]`
    pub fn node(&self, stage: &str) -> String {
        format!("{stage}[{}]", self.label)
    }

    /// The reverse: stage and label of `generate[base]`.
    pub fn of_node(name: &str) -> Option<(&str, &str)> {
        name.strip_suffix(']')?.split_once('[')
    }

    /// The whole model of this variant as inputs of a node: the base's three digests, and the patch where there is one.
    pub fn model_inputs(&self) -> BTreeMap<String, Input> {
        let mut inputs = model_inputs(Role::Subject, &[ModelPart::Weights, ModelPart::Architecture, ModelPart::Text]);
        if self.mask.is_some() {
            inputs.insert("patch".into(), Input::output(&self.node("patch"), "patch"));
        }
        inputs
    }
}

/// The selection, if planning knows it already.
pub fn selection(planning: &Planning<'_>) -> Result<Option<Arc<Selection>>> {
    planning
        .parsed([("select", "masks"), ("select", "points")], |[masks, points]| Selection::from_parquet(masks, points))
}

/// The base and every distinct patch, or only the base while selection is not known.
pub fn variants(planning: &Planning<'_>) -> Result<(Vec<Variant>, bool)> {
    let mut variants = vec![Variant::base()];
    let Some(selection) = selection(planning)? else { return Ok((variants, false)) };
    let turns = turns::turns(&selection);
    let variant = |mask: &Mask| {
        let after_the_base = 2 + turns.get(&mask.digest).copied().unwrap_or_default();
        Variant { turn: after_the_base, ..Variant::of_mask(mask.digest) }
    };
    variants.extend(selection.masks.iter().filter(|mask| !mask.is_empty()).map(variant));
    Ok((variants, true))
}

/// The placeholder for a stage's patched variants while selection is not known.
pub fn unknown_node(stage: &str) -> Node {
    Node {
        name: format!("{stage}[…]"),
        inputs: [("patch".to_owned(), Input::Unknown { node: "select".into() })].into(),
        ..Node::default()
    }
}

/// One node of a stage for the base and one for each distinct patch. While the patches are not known, there is a placeholder
/// for them.
pub fn per_variant(
    planning: &Planning<'_>,
    stage: &str,
    params: &Value,
    inputs: impl Fn(&Variant) -> BTreeMap<String, Input>,
) -> Result<Vec<Node>> {
    let (variants, known) = variants(planning)?;
    let node = |variant: &Variant| Node {
        name: variant.node(stage),
        params: params.clone(),
        inputs: inputs(variant),
        turn: variant.turn,
        ..Node::default()
    };
    let mut nodes: Vec<Node> = variants.iter().map(node).collect();
    if !known {
        nodes.push(unknown_node(stage));
    }
    Ok(nodes)
}
