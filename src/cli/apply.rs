//! `dean apply PATCH DIR` and `dean undo PATCH DIR`: a patch file into a model directory, and out of it again. After
//! undo the directory is the base again, bit for bit.
//!
//! Must not know: how weights are found and checked.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{JsonArg, working_directory};
use super::{print, variant};
use crate::error::Result;
use crate::export::MANIFEST;
use crate::export::in_place::{self, Way};
use crate::files;
use crate::model::patch::Patch;

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// A patch file, from `dean export POINT FILE --patch`
    patch: PathBuf,
    /// A model directory with safetensors weights, which are changed where they lie
    dir: PathBuf,
    #[command(flatten)]
    json: JsonArg,
}

/// What a program is told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApplyAnswer")]
pub struct Told {
    /// How many weights the patch changes, and in how many matrices.
    weights: usize,
    matrices: usize,
    /// How many of them were not as they should be before.
    changed: usize,
}

/// Both directions; the command says which.
pub fn run(args: &Args, way: Way) -> Result<()> {
    let here = working_directory()?;
    let (file, dir) = (here.join(&args.patch), here.join(&args.dir));
    let patch = Patch::from_safetensors(&files::read(&file)?).map_err(|error| error.within(file.display()))?;
    let changed = in_place::write(&dir, &patch, way)?;
    if args.json.json {
        return print::json(&Told { weights: patch.len(), matrices: patch.tensors.len(), changed });
    }
    print::line(said(way, &patch, changed, &args.dir.display()));
    if changed > 0 && dir.join(MANIFEST).is_file() {
        print::line(format_args!("README.md and {MANIFEST} in it still describe the model as it was exported"));
    }
    Ok(())
}

/// What was done, for a person.
fn said(way: Way, patch: &Patch, changed: usize, place: &dyn std::fmt::Display) -> String {
    let size = variant::size(patch);
    let (done, state) = match way {
        Way::Apply => ("applied to", "is applied"),
        Way::Undo => ("taken out of", "is not applied"),
    };
    match changed {
        0 => format!("nothing to do: the patch {state} in {place} ({size})"),
        changed if changed == patch.len() => format!("{done} {place}: {size}"),
        changed => format!("{done} {place}: {size}; {changed} of them now, the others before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dtype;
    use crate::model::patch::PatchedTensor;

    #[test]
    fn what_was_stopped_halfway_is_told_when_it_is_finished() {
        let patched = PatchedTensor::zeroing("t", Dtype::F32, &[1.0, 2.0, 3.0], &[0, 2]).unwrap();
        let patch = Patch { tensors: vec![patched] };
        insta::assert_snapshot!(said(Way::Apply, &patch, 1, &"copy"), @"applied to copy: 2 weights in 1 matrix; 1 of them now, the others before");
        insta::assert_snapshot!(said(Way::Undo, &patch, 2, &"copy"), @"taken out of copy: 2 weights in 1 matrix");
        insta::assert_snapshot!(said(Way::Undo, &patch, 0, &"copy"), @"nothing to do: the patch is not applied in copy (2 weights in 1 matrix)");
    }
}
