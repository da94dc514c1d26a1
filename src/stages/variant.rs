//! Variants: the base model, or the base plus one patch.
//!
//! patch, generate, judge and perplexity run once for the base and once for each distinct mask that
//! selection found; an empty mask is the base. Must not know: how a mask came about.

use super::{Input, Planning};
use crate::digest::Digest;
use crate::error::Result;
use crate::rank::Selection;

/// The base model or the base plus one patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// `base`, or the beginning of the mask's digest.
    pub label: String,
    pub mask: Option<Digest>,
}

impl Variant {
    pub fn base() -> Self {
        Self { label: "base".into(), mask: None }
    }

    pub fn of_mask(mask: Digest) -> Self {
        Self { label: mask.short(), mask: Some(mask) }
    }

    /// `generate[base]`
    pub fn node(&self, stage: &str) -> String {
        format!("{stage}[{}]", self.label)
    }

    /// The patch as an input of a node; the base has none.
    pub fn patch_input(&self) -> Option<(String, Input)> {
        self.mask.map(|_| ("patch".to_owned(), Input::output(&self.node("patch"), "patch")))
    }
}

/// The selection, if it is known at this time of planning.
pub fn selection(planning: &Planning<'_>) -> Result<Option<Selection>> {
    let masks = (planning.output)("select", "masks")?;
    let points = (planning.output)("select", "points")?;
    match (masks, points) {
        (Some(masks), Some(points)) => Selection::from_parquet(masks, points).map(Some),
        _ => Ok(None),
    }
}

/// The base and every distinct patch, or only the base while selection is not known.
pub fn variants(planning: &Planning<'_>) -> Result<(Vec<Variant>, bool)> {
    let mut variants = vec![Variant::base()];
    let Some(selection) = selection(planning)? else { return Ok((variants, false)) };
    variants.extend(selection.masks.iter().filter(|mask| !mask.is_empty()).map(|mask| Variant::of_mask(mask.digest)));
    Ok((variants, true))
}

/// The node that stands for a stage's patched variants while selection is not known.
pub fn unknown_node(stage: &str) -> super::Node {
    super::Node {
        name: format!("{stage}[…]"),
        params: serde_json::Value::Null,
        inputs: [("patch".to_owned(), Input::Unknown { node: "select".into() })].into(),
    }
}
