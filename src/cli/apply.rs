//! `dean apply PATCH DIR` and `dean undo PATCH DIR`: a patch file into a model directory, and out of it again. After
//! undo the directory is the base again, bit for bit.
//!
//! Must not know: how weights are found and checked.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

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

/// Both directions; the command says which.
pub fn run(args: &Args, way: Way) -> Result<()> {
    let here = working_directory()?;
    let (file, dir) = (here.join(&args.patch), here.join(&args.dir));
    let patch = Patch::from_safetensors(&files::read(&file)?).map_err(|error| error.within(file.display()))?;
    let changed = in_place::write(&dir, &patch, way)?;
    if args.json.json {
        return print::json(&json!({ "weights": patch.len(), "matrices": patch.tensors.len(), "changed": changed }));
    }
    let (size, place) = (variant::size(&patch), args.dir.display());
    let (done, state) = match way {
        Way::Apply => ("applied to", "is applied"),
        Way::Undo => ("taken out of", "is not applied"),
    };
    match changed {
        0 => print::line(format_args!("nothing to do: the patch {state} in {place} ({size})")),
        changed if changed == patch.len() => print::line(format_args!("{done} {place}: {size}")),
        changed => print::line(format_args!("{done} {place}: {size}, of which {changed} were left to write")),
    }
    if changed > 0 && dir.join(MANIFEST).is_file() {
        print::line(format_args!("README.md and {MANIFEST} in it still describe the model as it was exported"));
    }
    Ok(())
}
