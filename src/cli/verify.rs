//! `dean verify DIR`: selection and patch are made anew from the rank tables and the base model, and every byte of
//! the directory is compared with base and patch.
//!
//! Must not know: how files are compared.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{JsonArg, PipelineArgs, working_directory};
use super::format::{bytes, count};
use super::{print, variant};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::export::compare::{Comparison, Difference, How, compare};
use crate::export::{Contents, MANIFEST, Manifest, point};
use crate::model::patch::Patch;
use crate::naming;
use crate::rank::{SelectedPoint, Selection};
use crate::stages::Role;

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// A directory from `dean export`, or the base model with a patch applied
    dir: PathBuf,
    /// The point that it should be, where `dean export` did not write the directory
    #[arg(long, value_name = "POINT")]
    point: Option<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// What a program is told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "VerifyAnswer")]
pub struct Told<'a> {
    /// What people call the point.
    name: &'a str,
    mask: Digest,
    /// How many weights the patch changes.
    weights: usize,
    comparison: &'a Comparison,
}

pub fn run(args: &Args) -> Result<()> {
    let dir = working_directory()?.join(&args.dir);
    let manifest = read_manifest(&dir)?;
    let job = args.pipeline.job()?;
    let planner = job.planner();
    let plan = planner.plan(true)?;
    let (checkpoint, digests) = planner.model(Role::Subject)?;
    if manifest.as_ref().is_some_and(|manifest| manifest.base != variant::base(&digests)) {
        return Err(Error::user(format!("{} was exported from another base model", args.dir.display()))
            .hint("set model.source to the model that its README.md names"));
    }
    let points = variant::points(&planner, &plan)?;
    let mask = match (&args.point, &manifest) {
        (Some(point), _) => point::find(&points, point)?.mask,
        (None, Some(manifest)) => of_manifest(&points, manifest, &dir)?,
        (None, None) => {
            return Err(Error::user(format!("{} has no {MANIFEST}, so it is no export", args.dir.display()))
                .hint("name the point that it should be: --point p=q=1e-5"));
        }
    };
    check_mask(&planner.anew(&plan, "select")?, &mask)?;
    let file = variant::patch_anew(&planner, &plan, &mask)?;
    if manifest.as_ref().is_some_and(|manifest| manifest.mask == mask && manifest.patch != Digest::of(&file)) {
        let error = Error::user(format!("{} was exported with another patch of the same weights", args.dir.display()));
        return Err(error.hint("set patch.action to what its README.md names"));
    }
    let patch = Patch::from_safetensors(&file)?;
    let contents = Contents::of(&checkpoint, &patch, manifest.as_ref().and_then(|manifest| manifest.dtype))?;
    let found = compare(&dir, &contents)?;
    let name = point::name(&points, &mask);
    if args.json.json {
        let name = naming::without_mask(&name);
        print::json(&Told { name, mask, weights: patch.len(), comparison: &found })?;
    }
    if let Some(first) = found.differences.first() {
        let more = match found.differences.len() {
            1 => String::new(),
            many => format!("; {} more differ", count(many - 1, "file")),
        };
        let what = words(first);
        return Err(Error::user(format!("{} is not the model at {name}: {what}{more}", args.dir.display()))
            .hint("export it again, or see `dean apply` and `dean undo`"));
    }
    if !args.json.json {
        tell(args, &found, &patch, &name);
    }
    Ok(())
}

fn tell(args: &Args, found: &Comparison, patch: &Patch, name: &str) {
    print::line(format_args!("{} is the model at {name}, byte for byte", args.dir.display()));
    print::line(format_args!(
        "compared: {}, {}; changed: {}",
        count(found.files, "file"),
        bytes(found.bytes),
        variant::size(patch)
    ));
    if !found.others.is_empty() {
        let names: Vec<String> = found.others.iter().map(|path| path.display().to_string()).collect();
        print::line(format_args!("not compared: {}", names.join(", ")));
    }
}

fn words(difference: &Difference) -> String {
    let file = difference.file.display();
    match &difference.how {
        How::Missing => format!("{file} is missing"),
        How::Short => format!("{file} is too short"),
        How::Long => format!("{file} is too long"),
        How::Byte { at, tensor: Some(tensor), index: Some(index) } => {
            format!("{file} differs at byte {at} (weight {index} of {tensor})")
        }
        How::Byte { at, .. } => format!("{file} differs at byte {at}"),
        How::Stranger => format!("{file} does not belong there"),
    }
}

fn read_manifest(dir: &Path) -> Result<Option<Manifest>> {
    if !dir.is_dir() {
        return Err(Error::user(format!("{} is not a directory", dir.display()))
            .hint("name a directory that `dean export` wrote"));
    }
    Manifest::read(dir)
}

/// The mask of a manifest, if this pipeline selects it.
fn of_manifest(points: &[SelectedPoint], manifest: &Manifest, dir: &Path) -> Result<Digest> {
    if points.iter().any(|point| point.mask == manifest.mask) {
        return Ok(manifest.mask);
    }
    Err(Error::user(format!(
        "no point of this pipeline selects mask {}, which {} was exported with",
        manifest.mask.short(),
        dir.display()
    ))
    .hint("use the pipeline and the points that its README.md names: --config FILE, --set 'select.points=[[P, Q]]'"))
}

/// Whether selection, made anew from the rank tables, still makes the mask.
fn check_mask(outputs: &[(String, Vec<u8>)], mask: &Digest) -> Result<()> {
    let masks = outputs.iter().find(|(name, _)| name == "masks").map(|(_, bytes)| bytes.clone());
    let masks = masks.ok_or_else(|| Error::fault("select made no masks"))?;
    if Selection::masks_from_parquet(masks)?.iter().any(|made| made.digest == *mask) {
        return Ok(());
    }
    Err(Error::user(format!("the rank tables in the store do not select mask {} any more", mask.short()))
        .hint("the record of select is from other tables; `dean cache fsck` looks for damage"))
}
