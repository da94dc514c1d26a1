//! `dean export POINT OUT`: a point's patched model as a Hugging Face directory, or its patch as one file.
//!
//! Must not know: how files are written.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Job, JsonArg, PipelineArgs, working_directory};
use super::format::{WIDTH, count};
use super::{print, signals, variant};
use crate::digest::Digest;
use crate::engine::Plan;
use crate::error::{Error, Result};
use crate::export::directory::{self, Tally, Ways};
use crate::export::{Base, Card, Contents, MANIFEST, Manifest, Written, point};
use crate::files;
use crate::layout::Look;
use crate::model::patch::Patch;
use crate::model::source::spec::SourceKind;
use crate::naming;
use crate::rank::SelectedPoint;
use crate::report;
use crate::stages::Role;

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// A point as the screens call it (p=q=1e-5, 'p=1e-5 q=2e-5') or as `p,q`, or the beginning of a mask's digest
    point: String,
    /// The directory to write, which must not be there yet; with --patch the file
    out: PathBuf,
    /// Write the patch alone: indices, new and original values, digests of the touched matrices
    #[arg(long, conflicts_with_all = ["link", "dtype"])]
    patch: bool,
    /// Hard-link files of weights that the patch does not touch. They are then the base model's own
    #[arg(long)]
    link: bool,
    /// The type of the weights of a model from a GGUF file; bf16 rounds [default: f32]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Type>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// What a program is told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExportAnswer")]
pub struct Told<'a> {
    path: &'a Path,
    /// What people call the point.
    name: &'a str,
    mask: Digest,
    /// How many weights are changed, and in how many matrices.
    weights: usize,
    matrices: usize,
    /// How the files came into the directory; null of a patch alone.
    files: Option<Tally>,
    /// The type of the weights of a model from another format.
    dtype: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    F32,
    Bf16,
}

pub fn run(args: &Args) -> Result<()> {
    let out = working_directory()?.join(&args.out);
    check_name(args, &out)?;
    let job = args.pipeline.job()?;
    let planner = job.planner();
    let plan = planner.plan(false)?;
    let points = variant::points(&planner, &plan)?;
    let point = point::find(&points, &args.point)?;
    let (checkpoint, digests) = planner.model(Role::Subject)?;
    directory::check_outside(&out, checkpoint.path())?;
    signals::heed()?;
    let bytes = variant::patch_file(&job, &planner, &plan, &point.mask)?;
    let patch = Patch::from_safetensors(&bytes)?;
    let name = point::name(&points, &point.mask);
    if args.patch {
        if let Some(parent) = out.parent() {
            files::create_dir_all(parent)?;
        }
        files::write_atomic(&out, &bytes)?;
        return tell(args, &out, point, &patch, &name, None);
    }
    let dtype = args.dtype.map(|dtype| match dtype {
        Type::F32 => Written::F32,
        Type::Bf16 => Written::Bf16,
    });
    let contents = Contents::of(&checkpoint, &patch, dtype)?;
    let manifest = Manifest {
        mask: point.mask,
        patch: Digest::of(&bytes),
        base: variant::base(&digests),
        dtype: contents.dtype,
        tool: concat!("dean ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let card = card(&job, &plan, point, &patch, &manifest, &variant::names(&points, &point.mask))?;
    let own = [("README.md", card), (MANIFEST, manifest.text()?)];
    let ways = Ways { link: args.link, stop: &signals::stopping };
    let tally = directory::write(&out, &contents, &own, &ways)?;
    tell(args, &out, point, &patch, &name, Some((&contents, tally)))
}

/// Whether the name is free and fits what is to be written.
fn check_name(args: &Args, out: &Path) -> Result<()> {
    let name = args.out.display();
    if args.patch {
        if files::is_there(out) {
            return Err(Error::user(format!("{name} is there already")).hint("name a new file"));
        }
    } else if out.extension().is_some_and(|ending| ending == "safetensors") {
        return Err(Error::user(format!("{name} is the name of a file, and a model is a directory"))
            .hint("add --patch to write the changed weights alone, or name a directory"));
    } else {
        directory::check_free(out)?;
    }
    Ok(())
}

/// What a person must know of a model whose weights came in another format.
fn conversion(dtype: Option<Written>) -> Option<&'static str> {
    match dtype? {
        Written::F32 => Some("weights are those of the GGUF file, dequantised"),
        Written::Bf16 => Some(
            "weights are those of the GGUF file, rounded to bf16: what was measured were the unrounded ones, and no patch \
             of the GGUF file can be applied to or undone in this directory",
        ),
    }
}

fn tell(
    args: &Args,
    out: &Path,
    point: &SelectedPoint,
    patch: &Patch,
    name: &str,
    directory: Option<(&Contents<'_>, Tally)>,
) -> Result<()> {
    let dtype = directory.as_ref().and_then(|(contents, _)| contents.dtype);
    if args.json.json {
        return print::json(&Told {
            path: out,
            name: naming::without_mask(name),
            mask: point.mask,
            weights: patch.len(),
            matrices: patch.tensors.len(),
            files: directory.as_ref().map(|(_, tally)| *tally),
            dtype: dtype.map(Written::name),
        });
    }
    let what = if directory.is_some() { "the model at" } else { "the patch of" };
    print::line(format_args!("wrote {}: {what} {name}", args.out.display()));
    print::line(format_args!("changed: {}", variant::size(patch)));
    if let Some((_, tally)) = directory {
        print::line(format_args!("files: {}", shares(&tally)));
    }
    if let Some(note) = conversion(dtype) {
        print::line(note);
    }
    Ok(())
}

fn shares(tally: &Tally) -> String {
    let kinds = [
        (tally.edited, "of weights edited"),
        (tally.copied, "of weights copied"),
        (tally.linked, "of weights linked"),
        (tally.converted, "of weights converted"),
        (tally.others, "beside them"),
    ];
    let told = kinds.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}"));
    told.collect::<Vec<_>>().join(", ")
}

fn card(
    job: &Job,
    plan: &Plan,
    point: &SelectedPoint,
    patch: &Patch,
    manifest: &Manifest,
    names: &str,
) -> Result<Vec<u8>> {
    let source = &job.pipeline.model.source;
    let (base, hub) = match &source.kind {
        // A path says something about one machine only.
        SourceKind::Path(path) => {
            (path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned()), None)
        }
        SourceKind::Hf { repo, .. } => (source.text.clone(), Some(repo.as_str())),
        SourceKind::Pip { .. } => (source.text.clone(), None),
    };
    let Base { weights, architecture, text } = manifest.base;
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut fact = |what: &str, value: String| facts.push((what.to_owned(), value));
    fact("base model", base.clone());
    fact("its weights (BLAKE3)", weights.to_string());
    fact("its architecture (BLAKE3)", architecture.to_string());
    fact("its tokeniser and template (BLAKE3)", text.to_string());
    fact("rule", job.pipeline.select.rule.to_string());
    fact("points", names.to_owned());
    fact("score", job.pipeline.score.method.name().to_owned());
    fact("action", job.pipeline.patch.action.to_string());
    fact("mask (BLAKE3)", point.mask.to_string());
    fact("patch file (BLAKE3)", manifest.patch.to_string());
    for name in job.pipeline.select.rule.names() {
        let Some(data) = job.pipeline.data.get(name) else { continue };
        let file = data.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let inputs = plan.find(&format!("tokenize[{name}]")).and_then(|planned| planned.manifest.as_ref());
        let digest = inputs.and_then(|manifest| manifest.inputs.get("rows"));
        let digest = digest.map(|digest| format!(", BLAKE3 {digest}")).unwrap_or_default();
        let skip = if data.skip > 0 { format!(" after {}", data.skip) } else { String::new() };
        let drawn = format!("{}{skip}, seed {}", count(data.samples, "sample"), data.seed);
        fact(&format!("data: {name}"), format!("{file}, {drawn}{digest}"));
    }
    fact("written by", manifest.tool.clone());
    let results = results(job, plan, &point.mask)?;
    let notes = conversion(manifest.dtype).map(|note| format!("The {note}.")).into_iter().collect();
    Card { base: &base, hub, facts, patch, results, notes }.text()
}

/// The rows of the report for the base and this mask, where the report is in the store.
fn results(job: &Job, plan: &Plan, mask: &Digest) -> Result<Option<String>> {
    let Some(bytes) = job.output(plan, "report", "report")? else { return Ok(None) };
    let mut report = report::json::read(&bytes)?;
    report.variants.retain(|row| row.mask.is_none_or(|other| other == *mask));
    Ok(Some(report::text::show(&report, &Look::plain(WIDTH))))
}
