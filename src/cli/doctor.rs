//! `dean doctor`: what this build and this machine can do. It finds out and never fails: what is wrong is the answer.
//!
//! Must not know: how any of it is used.

use std::fmt::Display;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{JsonArg, PipelineArgs};
use super::format::{bytes, count};
use super::print;
use crate::config::Pipeline;
use crate::error::{Error, IoContext};
use crate::files::Temporary;
use crate::layout::{Align, Table};
use crate::machine::{self, Memory};
use crate::model::source::spec::Source;
use crate::model::source::{self, PipSettings};
use crate::model::{Checkpoint, device};

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// Everything there is to say.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DoctorAnswer")]
pub struct Findings {
    version: &'static str,
    features: Features,
    cpu: Cpu,
    gpu: Gpu,
    /// None where the system does not tell.
    memory: Option<Memory>,
    /// What pip says of itself, or none.
    pip: Option<String>,
    pipeline: Finding<PathBuf>,
    models: Vec<Model>,
    store: Option<Finding<PathBuf>>,
}

#[derive(Serialize, JsonSchema)]
struct Features {
    cuda: bool,
}

#[derive(Serialize, JsonSchema)]
struct Cpu {
    cores: usize,
    threads: usize,
}

#[derive(Serialize, JsonSchema)]
struct Gpu {
    devices: Vec<String>,
    remark: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DoctorModel")]
struct Model {
    source: String,
    /// None while it is not on this machine.
    path: Option<PathBuf>,
    /// Why it cannot be used.
    problem: Option<String>,
    /// What to know before it is used.
    notes: Vec<String>,
}

/// Something with a place, and what is wrong with it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DoctorPlace")]
struct Finding<T> {
    path: T,
    problem: Option<String>,
}

pub fn run(args: &Args) -> crate::error::Result<()> {
    let findings = look(&args.pipeline);
    if args.json.json {
        return print::json(&findings);
    }
    print::line(table(&findings));
    Ok(())
}

fn look(args: &PipelineArgs) -> Findings {
    let (pipeline, problem) = match args.pipeline() {
        Ok(pipeline) => (Some(pipeline), None),
        Err(error) => (None, Some(error.message().to_owned())),
    };
    let file = pipeline.as_ref().map_or_else(|| args.config.clone(), |pipeline| pipeline.file.clone());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        features: Features { cuda: device::has_cuda_feature() },
        cpu: Cpu { cores, threads: pipeline.as_ref().and_then(|pipeline| pipeline.run.threads).unwrap_or(cores) },
        gpu: gpu(),
        memory: machine::memory(),
        pip: PipSettings::default().version(),
        pipeline: Finding { path: file, problem },
        models: pipeline.as_ref().map(models).unwrap_or_default(),
        store: pipeline.as_ref().map(|pipeline| {
            let path = pipeline.run.store.clone();
            let problem = writable(&path).err().map(|error| error.message().to_owned());
            Finding { path, problem }
        }),
    }
}

/// The GPUs, or in words why there is none.
fn gpu() -> Gpu {
    if !device::has_cuda_feature() {
        let driver = Path::new("/proc/driver/nvidia/version").exists();
        let remark = if driver {
            "this build has no GPU support, but the machine has an NVIDIA driver (README.md, \"GPU\")"
        } else {
            "this build has no GPU support (README.md, \"GPU\")"
        };
        return Gpu { devices: Vec::new(), remark: Some(remark.into()) };
    }
    // A driver that does not fit may panic inside; that is an answer too.
    let (number, remark) = match catch_unwind(device::cuda_count) {
        Ok(0) => (0, Some("no NVIDIA GPU found".into())),
        Ok(number) => (number, None),
        Err(_) => (0, Some("the NVIDIA driver does not answer; `nvidia-smi` may say why".into())),
    };
    Gpu { devices: (0..number).map(|index| format!("cuda:{index}")).collect(), remark }
}

fn models(pipeline: &Pipeline) -> Vec<Model> {
    let model = |found: &Source| {
        let path = source::locate(found, &pipeline.run.sources());
        let opened =
            path.as_deref().map(|path| Checkpoint::open(path).and_then(|model| model.text().map(|_| model.notes())));
        let (notes, problem) = match opened {
            None => (Vec::new(), None),
            Some(Ok(notes)) => (notes, None),
            Some(Err(error)) => (Vec::new(), Some(error.message().to_owned())),
        };
        Model { source: found.text.clone(), path, problem, notes }
    };
    std::iter::once(&pipeline.model.source)
        .chain(pipeline.judges().filter_map(|(_, judge)| judge.model()))
        .map(model)
        .collect()
}

/// Whether something can be written into a directory, or where it would be made.
fn writable(dir: &Path) -> crate::error::Result<()> {
    let there = dir.ancestors().find(|place| place.exists());
    let there = there.ok_or_else(|| Error::user(format!("no part of {} is there", dir.display())))?;
    Temporary::new_in(there, ".dean-doctor-").map(drop).at("write into", there)
}

fn table(findings: &Findings) -> String {
    let mut table = Table::new().column("", Align::Left).column("", Align::Left);
    let mut say = |what: &str, text: &dyn Display| table.row([what.into(), text.to_string()]);
    say("dean", &findings.version);
    say("feature cuda", &if findings.features.cuda { "yes" } else { "no" });
    let (cores, threads) = (count(findings.cpu.cores, "core"), count(findings.cpu.threads, "thread"));
    say("device", &format_args!("cpu: {cores}, {threads}"));
    findings.gpu.devices.iter().for_each(|device| say("device", device));
    if let Some(remark) = &findings.gpu.remark {
        say("device", remark);
    }
    match &findings.memory {
        Some(memory) => {
            let limit = memory.limit_bytes.map(|limit| format!("limited to {}, ", bytes(limit))).unwrap_or_default();
            let (total, available) = (bytes(memory.total_bytes), bytes(memory.available_bytes));
            say("memory", &format_args!("{total}, {limit}{available} available"));
        }
        None => say("memory", &"not known"),
    }
    say("pip", &findings.pip.as_deref().unwrap_or("not found; needed for models whose source begins with pip:"));
    match &findings.pipeline.problem {
        Some(problem) => say("pipeline", problem),
        None => say("pipeline", &findings.pipeline.path.display()),
    }
    for model in &findings.models {
        match (&model.path, &model.problem) {
            (Some(_), Some(problem)) => say("model", &format_args!("cannot be used: {problem}")),
            (Some(path), None) => say("model", &path.display()),
            (None, _) => say("model", &format_args!("{}: not on this machine yet", model.source)),
        }
        model.notes.iter().for_each(|note| say("", note));
    }
    if let Some(store) = &findings.store {
        match &store.problem {
            Some(problem) => say("store", &format_args!("not writable: {problem}")),
            None if store.path.exists() => say("store", &format_args!("{}, writable", store.path.display())),
            None => say("store", &format_args!("{}, made by the first run", store.path.display())),
        }
    }
    // The titles are empty: the first column is title enough.
    table.to_string().trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    #[test]
    fn a_place_is_probed_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable(&dir.path().join("not/there/yet")).is_ok());
        assert!(files::list(dir.path()).unwrap().is_empty());
        let file = dir.path().join("file");
        files::write_atomic(&file, b"").unwrap();
        assert!(writable(&file).is_err());
    }

    #[test]
    fn findings_are_lines_under_each_other() {
        let findings = Findings {
            version: "1.2.3",
            features: Features { cuda: false },
            cpu: Cpu { cores: 2, threads: 1 },
            gpu: Gpu { devices: Vec::new(), remark: Some("no NVIDIA GPU found".into()) },
            memory: Some(Memory { total_bytes: 24 << 30, limit_bytes: Some(8 << 30), available_bytes: 7 << 30 }),
            pip: None,
            pipeline: Finding { path: "/job/pipeline.toml".into(), problem: None },
            models: vec![
                Model { source: "hf:a/b@main".into(), path: None, problem: None, notes: Vec::new() },
                Model {
                    source: "/m".into(),
                    path: Some("/m".into()),
                    problem: None,
                    notes: vec!["/m/config.json says x = 1, which dean does not know".into()],
                },
                Model {
                    source: "/n".into(),
                    path: Some("/n".into()),
                    problem: Some("/n/config.json is empty".into()),
                    notes: Vec::new(),
                },
            ],
            store: Some(Finding { path: "/nowhere/artifacts".into(), problem: None }),
        };
        insta::assert_snapshot!(table(&findings), @r"
        dean          1.2.3
        feature cuda  no
        device        cpu: 2 cores, 1 thread
        device        no NVIDIA GPU found
        memory        24 GiB, limited to 8.0 GiB, 7.0 GiB available
        pip           not found; needed for models whose source begins with pip:
        pipeline      /job/pipeline.toml
        model         hf:a/b@main: not on this machine yet
        model         /m
                      /m/config.json says x = 1, which dean does not know
        model         cannot be used: /n/config.json is empty
        store         /nowhere/artifacts, made by the first run
        ");
    }
}
