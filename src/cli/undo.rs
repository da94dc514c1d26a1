//! `dean undo PATCH DIR`: takes a patch out of a model directory, which is then the base again, bit for bit.
//!
//! Must not know: how weights are found and checked.

use super::apply;
use crate::error::Result;
use crate::export::in_place::Way;

pub type Args = apply::Args;

pub fn run(args: &Args) -> Result<()> {
    apply::write(args, Way::Undo)
}
