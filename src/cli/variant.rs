//! The patched model that a command line names: its point, its mask, and its patch, from the store or made anew.
//!
//! Must not know: what a command does with it.

use super::args::Job;
use super::format;
use crate::digest::Digest;
use crate::engine::{ModelDigests, Plan, Planner};
use crate::error::{Error, Result};
use crate::export::Base;
use crate::model::patch::Patch;
use crate::rank::{SelectedPoint, Selection};
use crate::sweep::grid::not_scored;

/// The grid of a pipeline whose rank tables are there.
pub fn points(planner: &Planner<'_>, plan: &Plan) -> Result<Vec<SelectedPoint>> {
    let points = planner.output_bytes(plan, "select", "points")?.ok_or_else(not_scored)?;
    Ok(Selection::points_from_parquet(points)?.1)
}

/// The node that makes a mask's patch.
pub fn patch_node(mask: &Digest) -> String {
    format!("patch[{}]", mask.short())
}

/// A mask's patch file: the one in the store, else computed now, which takes no more than reading the touched matrices.
pub fn patch_file(job: &Job, planner: &Planner<'_>, plan: &Plan, mask: &Digest) -> Result<Vec<u8>> {
    let node = patch_node(mask);
    match job.output(plan, &node, "patch")? {
        Some(bytes) => Ok(bytes),
        None => patch_anew(planner, plan, mask),
    }
}

/// A mask's patch file, computed from the mask and the base model.
pub fn patch_anew(planner: &Planner<'_>, plan: &Plan, mask: &Digest) -> Result<Vec<u8>> {
    let node = patch_node(mask);
    let outputs = planner.anew(plan, &node)?.into_iter();
    let patch = outputs.into_iter().find(|(name, _)| name == "patch");
    patch.map(|(_, bytes)| bytes).ok_or_else(|| Error::fault(format!("{node} made no patch")))
}

/// A model's digests as a manifest holds them.
pub fn base(digests: &ModelDigests) -> Base {
    Base { weights: digests.weights, architecture: digests.architecture, text: digests.text }
}

/// `101 weights in 14 matrices`
pub fn size(patch: &Patch) -> String {
    let matrices = match patch.tensors.len() {
        1 => "1 matrix".to_owned(),
        many => format!("{many} matrices"),
    };
    format!("{} in {matrices}", format::count(patch.len(), "weight"))
}

/// Every point of the grid with this mask: in a file that is read without the grid, a number of them would say nothing.
pub fn names(points: &[SelectedPoint], mask: &Digest) -> String {
    let same = points.iter().filter(|point| point.mask == *mask);
    same.map(|point| format::point(point.p, point.q)).collect::<Vec<_>>().join("; ")
}
