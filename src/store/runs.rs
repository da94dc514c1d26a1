//! Runs: what was asked for, when, and which keys came of it. Written at a run's start and again as
//! keys become known; the garbage collection keeps what the newest and the pinned ones need.
//!
//! A pin is a file of its own (`runs/<id>.pin`), so that pinning a run never races with the run
//! rewriting its own file. It is empty, and only its name counts, so nothing in it can be damaged.
//!
//! A run file that is damaged stays where it is, because only a person knows whether it still matters. While it does, `gc`
//! keeps whatever it may have named. Must not know: what a pipeline or a node is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, check_name, compact, place, sealed, unique};
use crate::digest::{Digest, Manifest};
use crate::error::{Error, Result};
use crate::files::Keep;

/// One run of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// From [`new_run_id`]: sorts by time.
    pub id: String,
    /// RFC 3339.
    pub started: String,
    /// The pipeline as read.
    pub pipeline: Value,
    pub command: Vec<String>,
    /// Node to what is known of it so far.
    pub nodes: BTreeMap<String, RunNode>,
    /// Kept by every garbage collection. Read from the pin, whatever the file says.
    #[serde(default)]
    pub pinned: bool,
    #[serde(default)]
    pub finished: bool,
    /// How many nodes this run itself computed; unknown of runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed: Option<usize>,
}

/// One node of a run; key and manifest are unknown while an input is not computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunNode {
    pub stage: String,
    pub key: Option<Digest>,
    pub manifest: Option<Manifest>,
}

/// A new name for a run: UTC time to microseconds, so that the runs of one second sort by time too, and a few
/// digits against chance, `20260102T030405Z-6543211a2b`.
pub fn new_run_id() -> String {
    let mut digits = unique();
    digits.truncate(4);
    let now = SystemTime::now();
    let micros = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_micros());
    format!("{}-{micros:06}{digits}", compact(now))
}

/// A run's file, by its name alone.
#[derive(Debug)]
pub(super) struct RunFile {
    pub id: String,
    pub path: PathBuf,
    pub modified: SystemTime,
    pub pinned: bool,
    /// Whether a person said something of it ([`super::About`]).
    pub described: bool,
}

/// The runs of a store, by the names of their files.
#[derive(Debug, Default)]
pub(super) struct RunFiles {
    /// Newest first.
    pub runs: Vec<RunFile>,
    /// Pins of runs that are not there.
    pub lost: Vec<PathBuf>,
    /// What was said of runs that are not there.
    pub orphans: Vec<PathBuf>,
}

/// A run's keys: all that `gc` needs of it.
#[derive(Debug, Deserialize)]
pub(super) struct RunKeys {
    id: String,
    nodes: BTreeMap<String, NodeKey>,
    #[serde(default)]
    computed: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct NodeKey {
    key: Option<Digest>,
}

impl RunKeys {
    pub fn keys(&self) -> impl Iterator<Item = Digest> {
        self.nodes.values().filter_map(|node| node.key)
    }

    /// Whether the run only found what others had computed.
    pub fn was_idle(&self) -> bool {
        self.computed == Some(0)
    }
}

/// Why a run's keys are not known, and whatever reads as one.
type NoKeys = (String, Vec<Digest>);

impl RunFile {
    /// The run, or the reason why there is none; `None` if its file is gone.
    pub fn read(&self) -> Result<Option<std::result::Result<Run, String>>> {
        let run = |text: &[u8]| match sealed::open::<Run>(text)? {
            run if run.id == self.id => Ok(Run { pinned: self.pinned, ..run }),
            run => Err(format!("it holds the run {}", run.id)),
        };
        Ok(place::read_if_there(&self.path)?.map(|text| run(&text)))
    }

    /// The keys alone, which take less memory; or why they are not known.
    pub fn keys(&self) -> Result<Option<std::result::Result<RunKeys, NoKeys>>> {
        let keys = |text: &[u8]| match sealed::open_part::<RunKeys, Run>(text)? {
            run if run.id == self.id => Ok(run),
            run => Err(format!("it holds the run {}", run.id)),
        };
        Ok(place::read_if_there(&self.path)?.map(|text| keys(&text).map_err(|reason| (reason, digests_in(&text)))))
    }
}

/// Whatever reads as a digest in a damaged text.
fn digests_in(text: &[u8]) -> Vec<Digest> {
    let words = text.split(|byte| !byte.is_ascii_hexdigit());
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok()).collect()
}

impl Store {
    /// Writes the run, replacing what was written of it before. A pin set meanwhile stays.
    pub fn write_run(&self, run: &Run) -> Result<()> {
        check_name("run", &run.id)?;
        if run.pinned {
            self.set_pin(&run.id)?;
        }
        self.replace(self.temporary_with("run", &sealed::seal(run)?)?, &self.run_path(&run.id), Keep::Name)
    }

    /// Shows every run, newest first, until `see` breaks off. One that is damaged is left out with a warning.
    pub fn each_run(&self, see: &mut dyn FnMut(Run) -> ControlFlow<()>) -> Result<()> {
        for file in self.run_files()?.runs {
            let run = file.read()?;
            if let Some(Err(reason)) = &run {
                tracing::warn!("the run {} is damaged and is left out: {reason}", file.path.display());
            }
            if let Some(Ok(run)) = run
                && see(run).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    /// The run of that name: its id or the beginning of it, the name that a person gave it, or the two words of its job, of
    /// which the newest run is meant.
    ///
    /// # Errors
    /// User: no run, or more than one, is called like this; the file of the run is damaged.
    pub fn run(&self, name: &str) -> Result<Run> {
        let file = self.run_named(name)?;
        match file.read()? {
            Some(Ok(run)) => Ok(run),
            Some(Err(reason)) => Err(Error::user(format!("the run {} is damaged: {reason}", file.path.display()))
                .hint("`dean run` makes a new run of the same job")),
            None => Err(Error::user(format!("the run {} has just been removed", file.id))),
        }
    }

    /// An output of a node of a run, if the run came to it and it is still there.
    ///
    /// # Errors
    /// User: the store cannot be read, or the artifact is damaged.
    pub fn output_of(&self, run: &Run, node: &str, output: &str) -> Result<Option<Vec<u8>>> {
        let Some((stage, key)) = run.nodes.get(node).and_then(|node| Some((&node.stage, node.key?))) else {
            return Ok(None);
        };
        match self.peek(stage, &key)?.and_then(|record| record.outputs.get(output).copied()) {
            Some(output) => self.read(&output.digest).map(Some),
            None => Ok(None),
        }
    }

    /// Keeps a run, and all that it needs, from every garbage collection. `id` is as for [`Self::run`]. Returns the whole of it.
    ///
    /// # Errors
    /// User: no run, or more than one, begins like this; a run whose file is damaged, so that it is not known what it needs.
    pub fn pin(&self, id: &str) -> Result<String> {
        let _together = self.together(&|| false)?;
        let file = self.run_named(id)?;
        match file.read()? {
            Some(Ok(run)) => self.set_pin(&run.id)?,
            Some(Err(reason)) => {
                return Err(Error::user(format!("the run {} is damaged: {reason}", file.path.display()))
                    .hint("`dean run` makes a new run of the same job, which can be pinned"));
            }
            None => {}
        }
        Ok(file.id)
    }

    /// Removes the pin, if there is one, also that of a run that is damaged or gone. Returns the whole name of the run.
    pub fn unpin(&self, id: &str) -> Result<String> {
        let lost = self.run_files()?.lost;
        let of = |pin: &PathBuf| pin.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut lost: Vec<String> = lost.iter().map(of).filter(|lost| lost.starts_with(id)).collect();
        let id = if lost.len() == 1 { lost.swap_remove(0) } else { self.run_named(id)?.id };
        place::remove_file(&self.pin_path(&id))?;
        Ok(id)
    }

    /// Every run by its file's name, newest first. Nothing is read.
    pub(super) fn run_files(&self) -> Result<RunFiles> {
        let mut files = RunFiles::default();
        let (mut pins, mut said) = (BTreeMap::new(), BTreeMap::new());
        for (name, path, metadata) in place::entries(&self.dir("runs"))?.into_iter().rev() {
            if let Some(id) = name.strip_suffix(".pin") {
                pins.insert(id.to_owned(), path);
            } else if let Some(id) = name.strip_suffix(".about") {
                said.insert(id.to_owned(), path);
            } else if let Some(id) = name.strip_suffix(".json") {
                let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
                files.runs.push(RunFile { id: id.to_owned(), path, modified, pinned: false, described: false });
            }
        }
        for run in &mut files.runs {
            run.pinned = pins.remove(&run.id).is_some();
            run.described = said.remove(&run.id).is_some();
        }
        for (id, about) in said {
            // A listing may miss a file that is being replaced.
            if place::metadata(&self.run_path(&id))?.is_none() {
                files.orphans.push(about);
            }
        }
        for (id, pin) in pins {
            // A listing may miss a file that is being replaced.
            let path = self.run_path(&id);
            match place::metadata(&path)? {
                Some(metadata) => {
                    let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
                    files.runs.push(RunFile { id, path, modified, pinned: true, described: false });
                }
                None => files.lost.push(pin),
            }
        }
        files.runs.sort_by(|left, right| right.id.cmp(&left.id));
        Ok(files)
    }

    fn pin_path(&self, id: &str) -> PathBuf {
        self.dir("runs").join(format!("{id}.pin"))
    }

    fn run_path(&self, id: &str) -> PathBuf {
        self.dir("runs").join(format!("{id}.json"))
    }

    fn set_pin(&self, id: &str) -> Result<()> {
        self.replace(self.temporary("pin")?, &self.pin_path(id), Keep::Name)
    }

    fn run_named(&self, name: &str) -> Result<RunFile> {
        let mut all = self.run_files()?.runs;
        let newest: Vec<String> = all.iter().take(3).map(|run| run.id.clone()).collect();
        let begin: Vec<usize> = (0..all.len()).filter(|place| all[*place].id.starts_with(name)).collect();
        match begin.as_slice() {
            [] => {}
            [place] => return Ok(all.swap_remove(*place)),
            many => {
                let ids: Vec<&str> = many.iter().take(5).map(|place| all[*place].id.as_str()).collect();
                return Err(Error::user(format!("more than one run begins with `{name}`"))
                    .hint(format!("type more of one of {}", ids.join(", "))));
            }
        }
        for place in 0..all.len() {
            if all[place].described && self.about(&all[place].id)?.name.as_deref() == Some(name) {
                return Ok(all.swap_remove(place));
            }
        }
        // Only now are the runs themselves read.
        if name.contains('-') {
            for place in 0..all.len() {
                if let Some(Ok(run)) = all[place].read()?
                    && run.words() == name
                {
                    return Ok(all.swap_remove(place));
                }
            }
        }
        let hint = match newest.as_slice() {
            [] => "the store has no runs yet: `dean run` makes one".into(),
            _ => format!("`dean runs` lists all; the newest are {}", newest.join(", ")),
        };
        Err(Error::user(format!("no run is called `{name}`, or begins so, in {}", self.root().display())).hint(hint))
    }
}
