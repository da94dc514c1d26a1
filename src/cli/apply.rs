//! `dean apply PATCH DIR`: a patch file into a model directory. `dean undo` is its other direction.
//!
//! Must not know: how weights are found and checked.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use super::args::{JsonArg, working_directory};
use super::{print, variant};
use crate::error::Result;
use crate::export::in_place::{self, Way};
use crate::files;
use crate::model::patch::Patch;

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// A patch file, from `dean export POINT FILE --patch`
    pub patch: PathBuf,
    /// A model directory with safetensors weights, which are changed where they lie
    pub dir: PathBuf,
    #[command(flatten)]
    pub json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    write(args, Way::Apply)
}

/// Applies or takes back, and tells.
pub fn write(args: &Args, way: Way) -> Result<()> {
    let here = working_directory()?;
    let file = here.join(&args.patch);
    let patch = Patch::from_safetensors(&files::read(&file)?).map_err(|error| error.within(file.display()))?;
    let changed = in_place::write(&here.join(&args.dir), &patch, way)?;
    if args.json.json {
        return print::json(&json!({ "weights": patch.len(), "matrices": patch.tensors.len(), "changed": changed }));
    }
    let (size, dir) = (variant::size(&patch), args.dir.display());
    let (done, state) = match way {
        Way::Apply => ("applied to", "is applied"),
        Way::Undo => ("taken out of", "is not applied"),
    };
    match changed {
        0 => print::line(format_args!("nothing to do: the patch {state} in {dir} ({size})")),
        changed if changed == patch.len() => print::line(format_args!("{done} {dir}: {size}")),
        changed => print::line(format_args!("{done} {dir}: {size}, of which {changed} were left to write")),
    }
    Ok(())
}
