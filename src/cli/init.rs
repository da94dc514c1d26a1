//! `dean init`: a first job in a folder of its own. A commented pipeline.toml, its schema for editors, and the project's small
//! data, all of which travel inside the program.
//!
//! Must not know: what the settings mean.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::args::{PIPELINE, working_directory};
use super::format::count;
use super::print;
use crate::config;
use crate::error::{Error, Result};
use crate::files;
use crate::model::source::spec::{Source, SourceKind};

/// A file that is written, and its content.
type Item = (&'static str, &'static [u8]);

macro_rules! items {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)))),*]
    };
}

/// The repository's job.
const JOB: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/pipeline.toml"));
/// The authors' setup.
const PAPER: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/paper.toml"));
/// What the repository's job reads, and where it is from.
const DATA: &[Item] = items![
    "data/README.md",
    "data/fairness.csv",
    "data/general.csv",
    "data/perplexity.txt",
    "data/privacy.csv",
    "data/questions_fairness.csv",
    "data/questions_harmless.csv",
    "data/questions_privacy.csv",
];
/// What the authors' setup needs: where its files are from.
const PAPER_DATA: &[Item] = items!["data/README.md"];
const SCHEMA: &str = "pipeline.schema.json";

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// The folder; it is made if it is not there
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The model: a directory, a .gguf file, hf:owner/name@revision or pip:…; without it, SmolLM2-135M-Instruct
    #[arg(long, value_name = "SOURCE")]
    model: Option<String>,
    /// The authors' setup on their model; their data has to be put beside it
    #[arg(long)]
    paper: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let folder = working_directory()?.join(&args.folder);
    let (job, data) =
        if args.paper { (PAPER.replace("../data/", "data/"), PAPER_DATA) } else { (JOB.to_owned(), DATA) };
    let job = with_schema(&job);
    let job = match &args.model {
        Some(model) => with_model(&job, &here(model, &folder)?)?,
        None => job,
    };
    let schema = serde_json::to_string_pretty(&config::schema())
        .map_err(|cause| Error::fault(format!("the schema is not JSON: {cause}")))?;
    let mut items: Vec<(&str, Vec<u8>)> = vec![(PIPELINE, job.into_bytes()), (SCHEMA, schema.into_bytes())];
    items.extend(data.iter().map(|(path, content)| (*path, content.to_vec())));
    write(&folder, &items)?;
    tell(args, &folder, items.len())
}

/// All files, or none if one of them would replace another content.
fn write(folder: &Path, items: &[(&str, Vec<u8>)]) -> Result<()> {
    for (name, content) in items {
        let path = folder.join(name);
        if files::is_there(&path) && files::read(&path)? != *content {
            return Err(Error::user(format!("{} is there already, and is another one", path.display()))
                .hint("nothing was written; name an empty folder: dean init my-job"));
        }
    }
    for (name, content) in items {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            files::create_dir_all(parent)?;
        }
        if !files::is_there(&path) {
            files::write_atomic(&path, content)?;
        }
    }
    Ok(())
}

/// The job with the schema where it lies now.
fn with_schema(job: &str) -> String {
    let lines = job
        .lines()
        .map(|line| if line.starts_with("#:schema ") { format!("#:schema {SCHEMA}") } else { line.to_owned() });
    lines.map(|line| line + "\n").collect()
}

/// The job with another model.
fn with_model(job: &str, model: &str) -> Result<String> {
    let mut found = false;
    let lines = job.lines().map(|line| {
        // The first one: that of the judge comes later, in its own section.
        if !found && line.starts_with("source = ") {
            found = true;
            return format!("source = {}", toml::Value::from(model));
        }
        line.to_owned()
    });
    let job = lines.map(|line| line + "\n").collect();
    if found { Ok(job) } else { Err(Error::fault("the job that comes with dean names no model")) }
}

/// A model as the job's file has to name it: a path that was meant from here, seen from the folder.
fn here(model: &str, folder: &Path) -> Result<String> {
    let here = working_directory()?;
    let source = Source::parse(model, &here).map_err(|error| error.within("--model"))?;
    match source.kind {
        SourceKind::Path(_) if folder != here => Ok(source.text),
        _ => Ok(model.to_owned()),
    }
}

fn tell(args: &Args, folder: &Path, files: usize) -> Result<()> {
    print::line(format_args!("wrote {} to {}", count(files, "file"), folder.display()));
    let go = match args.folder == Path::new(".") {
        true => String::new(),
        false => format!("cd {}\n  ", args.folder.display()),
    };
    if args.paper {
        print::line(format_args!(
            "the authors' data is not part of dean: data/README.md says where it is from and under which names it is expected"
        ));
    }
    print::line(format_args!("\nnext:\n  {go}dean plan      what would run, and for how long\n  dean run       do it"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_job_reads_comes_along() {
        let dir = tempfile::tempdir().unwrap();
        let items: Vec<(&str, Vec<u8>)> = DATA.iter().map(|(path, content)| (*path, content.to_vec())).collect();
        write(dir.path(), &items).unwrap();
        for line in JOB.lines().filter(|line| line.starts_with("path = ")) {
            let path = line.split('"').nth(1).unwrap();
            assert!(files::is_there(&dir.path().join(path)), "{path} is read and does not come along");
        }
    }

    #[test]
    fn a_file_that_is_somebody_elses_stays_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        files::write_atomic(&dir.path().join("b"), b"mine").unwrap();
        let error = write(dir.path(), &[("a", b"new".to_vec()), ("b", b"new".to_vec())]).unwrap_err();
        assert!(error.message().ends_with("b is there already, and is another one"), "{error:?}");
        assert_eq!(files::list(dir.path()).unwrap().len(), 1);
        write(dir.path(), &[("b", b"mine".to_vec())]).unwrap();
    }

    #[test]
    fn the_model_is_the_one_that_was_named() {
        let job = with_model(&with_schema(JOB), "models/it's \"mine\"").unwrap();
        let parsed: toml::Table = job.parse().unwrap();
        assert_eq!(parsed["model"]["source"].as_str(), Some("models/it's \"mine\""));
        assert!(job.starts_with("#:schema pipeline.schema.json\n"));
    }
}
