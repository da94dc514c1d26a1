//! What a person says of a run: a name, tags, a note. And how a run without a name is called.
//!
//! It is a file of its own beside the run's (`runs/<id>.about`), so that it never races with the run rewriting its own file.
//! Whoever says something of a run wants to keep it: like a pin, the file makes it a root of garbage collection, and it is only
//! removed by a person. Must not know: what a run did.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Run, Store, check_name, place, sealed};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::files::Keep;

/// What a person said of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl About {
    /// # Errors
    /// User: a name or a tag with something else than letters, digits, `-`, `_` and `.`, or none of them.
    pub fn check(&self) -> Result<()> {
        for word in self.name.iter().chain(&self.tags) {
            let is_plain = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
            if word.is_empty() || word.starts_with('-') || !word.chars().all(is_plain) {
                return Err(Error::user(format!("`{word}` cannot be the name or a tag of a run"))
                    .hint("write letters, digits, -, _ and ., without spaces; a sentence goes into --note"));
            }
        }
        Ok(())
    }
}

impl Store {
    /// What was said of a run; nothing if nothing was, or if it cannot be read any more.
    pub fn about(&self, id: &str) -> Result<About> {
        let path = self.about_path(id);
        let Some(text) = place::read_if_there(&path)? else { return Ok(About::default()) };
        Ok(sealed::open(&text).unwrap_or_else(|reason| {
            tracing::warn!("what {} says of a run is damaged and left out: {reason}", path.display());
            About::default()
        }))
    }

    /// Changes what is said of a run. If nothing is left, the file goes.
    ///
    /// # Errors
    /// User: words that cannot be a name; the store cannot be written.
    pub fn describe(&self, id: &str, change: impl FnOnce(&mut About)) -> Result<About> {
        check_name("run", id)?;
        let _together = self.together(&|| false)?;
        let mut about = self.about(id)?;
        change(&mut about);
        about.check()?;
        let path = self.about_path(id);
        if about == About::default() {
            place::remove_file(&path)?;
        } else {
            self.replace(self.temporary_with("about", &sealed::seal(&about)?)?, &path, Keep::Name)?;
        }
        Ok(about)
    }

    /// Gives a run a name, or takes it away. A name belongs to one run: whoever had it before loses it, so that a run that is
    /// started again with its name has it.
    ///
    /// # Errors
    /// As of [`Self::describe`].
    pub fn name_run(&self, id: &str, name: Option<&str>) -> Result<()> {
        About { name: name.map(str::to_owned), ..About::default() }.check()?;
        for run in self.run_files()?.runs.iter().filter(|run| run.described && run.id != id) {
            if name.is_some() && self.about(&run.id)?.name.as_deref() == name {
                self.describe(&run.id, |about| about.name = None)?;
            }
        }
        self.describe(id, |about| about.name = name.map(str::to_owned))?;
        Ok(())
    }

    pub(super) fn about_path(&self, id: &str) -> PathBuf {
        self.dir("runs").join(format!("{id}.about"))
    }
}

/// The digest of what a run was asked for, wherever and with however many threads: runs of one job share it.
pub fn job_digest(pipeline: &Value) -> Digest {
    let mut job = pipeline.clone();
    if let Some(sections) = job.as_object_mut() {
        sections.remove("run");
    }
    Digest::of_json(&job)
}

/// Two words for a job, as `quiet-otter`: the same for each of its runs, and easier to remember than a digest.
pub fn words(job: &Digest) -> String {
    let bytes = job.as_bytes();
    let of = |list: &[&str], byte: usize| {
        list.get(usize::from(bytes[byte]) % list.len()).copied().unwrap_or_default().to_owned()
    };
    format!("{}-{}", of(&KINDS, 0), of(&ANIMALS, 1))
}

impl Run {
    /// Two words from its job.
    pub fn words(&self) -> String {
        words(&job_digest(&self.pipeline))
    }
}

const KINDS: [&str; 64] = [
    "amber", "brave", "brisk", "calm", "clear", "clever", "cool", "coral", "crisp", "deep", "eager", "early", "fair",
    "fast", "fine", "firm", "fond", "fresh", "gentle", "glad", "gold", "grand", "green", "happy", "hardy", "honest",
    "humble", "ivory", "jolly", "keen", "kind", "late", "light", "lively", "lucky", "mellow", "mild", "misty", "neat",
    "noble", "patient", "plain", "polite", "proud", "quick", "quiet", "rare", "ready", "round", "rusty", "sharp",
    "shy", "silver", "simple", "sleepy", "small", "smooth", "sober", "steady", "still", "sunny", "swift", "warm",
    "wise",
];

const ANIMALS: [&str; 64] = [
    "ant", "badger", "bat", "bear", "beaver", "bee", "bison", "boar", "camel", "carp", "cat", "cod", "crab", "crane",
    "cricket", "crow", "deer", "dove", "duck", "eagle", "eel", "elk", "falcon", "finch", "fox", "frog", "goat",
    "goose", "hare", "hawk", "hen", "heron", "horse", "ibex", "jay", "koala", "lark", "lemur", "lion", "lizard",
    "ladybird", "lynx", "magpie", "mole", "moose", "moth", "mouse", "newt", "otter", "owl", "panda", "perch", "pike",
    "puffin", "rabbit", "raven", "robin", "seal", "snail", "stork", "swan", "tiger", "toad", "wren",
];
