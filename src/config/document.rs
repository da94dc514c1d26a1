//! What was typed: the pipeline file under its `--set` options, as one tree with places.
//!
//! An option `--set a.b=V` is read like the little document `{a = {b = V}}`: it can do what the file can do, and is refused
//! in the same words. Must not know: what a value means, and whether two of them fit together.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaint;
use super::node::{Name, Node, Origin, Value};
use super::schema;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::files;
use crate::model::source::spec::absolute;

/// The most bytes of a pipeline file.
const LONGEST: u64 = 1 << 20;

/// The pipeline file under its `--set` options. Dotted keys are unambiguous: no name holds a dot.
pub struct Document {
    /// The file as the user named it, for messages.
    shown: String,
    /// The file, absolute.
    pub file: PathBuf,
    /// Relative paths of `--set` begin here.
    cwd: PathBuf,
    root: Node,
}

impl Document {
    /// Reads the file, then the values of its sweep that hold for this job, then the options in their order; a later one wins.
    pub fn read(file: &Path, swept: &[String], sets: &[String], cwd: &Path) -> Result<Self> {
        let shown = file.display().to_string();
        let absolute_file = cwd.join(file);
        let text = files::read_text(&absolute_file, LONGEST).map_err(|error| match absolute_file.exists() {
            true => error,
            false => error.hint("name the pipeline file with --config FILE"),
        })?;
        let place = |span: Range<usize>| place(&shown, &text, span.start);
        let absent = || Origin::Absent { file: shown.clone() };
        let table = DeTable::parse(&text).map_err(|error| {
            let at = error.span().map_or_else(absent, place);
            Error::user(format!("{at}: not valid TOML: {}", error.message()))
                .hint("strings need quotes, and every key stands in a [section]")
        })?;
        let mut root = Node::of_table(table.get_ref(), absent(), &place);
        let mut lay = |options: &[String], origin: fn(String) -> Origin| -> Result<()> {
            for option in options {
                let (key, value) = split_option(option)?;
                let value = Node::of(&option_value(key, value)?, &|_| origin(key.to_owned()));
                root.lay(&key.split('.').map(str::trim).collect::<Vec<_>>(), value);
            }
            Ok(())
        };
        lay(swept, Origin::Sweep)?;
        lay(sets, Origin::Set)?;
        one_grid(&mut root);
        named_judges(&mut root);
        Ok(Self { shown, file: absolute_file, cwd: cwd.to_owned(), root })
    }

    /// Everything as typed settings, with defaults.
    ///
    /// # Errors
    /// The first thing that does not fit, in a sentence.
    pub fn settings(&self) -> Result<Settings> {
        Settings::deserialize(&self.root).map_err(|problem| complaint::sentence(problem, &self.root, self.absent()))
    }

    fn absent(&self) -> Origin {
        Origin::Absent { file: self.shown.clone() }
    }

    /// Where the value of a key was typed.
    pub fn origin(&self, key: &str) -> Origin {
        self.root.find(&key.split('.').collect::<Vec<_>>()).map_or_else(|| self.absent(), |node| node.at.clone())
    }

    /// Whether a key was typed.
    pub fn has(&self, key: &str) -> bool {
        self.root.find(&key.split('.').collect::<Vec<_>>()).is_some()
    }

    /// Where relative paths of a key begin: the file's directory, or the working directory for an option.
    pub fn base(&self, key: &str) -> &Path {
        match self.origin(key) {
            Origin::Set(_) => &self.cwd,
            _ => self.file.parent().unwrap_or(&self.cwd),
        }
    }

    /// The absolute path that `path`, the value of `key`, means.
    pub fn path(&self, key: &str, path: &Path) -> PathBuf {
        absolute(self.base(key), path)
    }

    /// An error about the value of a key, with its place in front.
    pub fn error(&self, key: &str, message: impl fmt::Display) -> Error {
        Error::user(format!("{}: {message}", self.origin(key)))
    }
}

/// The two ways to write a grid exclude each other, so an option in one way replaces the file's grid in the other.
fn one_grid(root: &mut Node) {
    const LISTS: &[&str] = &["p", "q"];
    const POINTS: &[&str] = &["points"];
    let Some(select) = root.find_mut("select") else { return };
    let given = |select: &Node, keys: &[&str]| {
        keys.iter().any(|key| select.find(&[key]).is_some_and(|node| matches!(node.at, Origin::Set(_))))
    };
    let (lists, points) = (given(select, LISTS), given(select, POINTS));
    if lists != points {
        select.remove(if lists { POINTS } else { LISTS });
    }
}

/// Moves the tables of `[judge]` to a section of their own: `[judge.NAME]` is a further judge, and `[judge]` has keys as well.
fn named_judges(root: &mut Node) {
    let Some(Node { value: Value::Table(entries), .. }) = root.find_mut("judge") else { return };
    let is_named = |node: &Node| matches!(node.value, Value::Table(_));
    if !entries.iter().any(|(_, node)| is_named(node)) {
        return;
    }
    let schema = schema::schema();
    let is_key =
        |name: &str| schema::find(&schema, &["judge"]).is_some_and(|judge| !judge["properties"][name].is_null());
    let moves = |(name, node): &(Name, Node)| is_named(node) && !is_key(&name.text);
    let (named, own): (Vec<_>, Vec<_>) = std::mem::take(entries).into_iter().partition(moves);
    *entries = own;
    for (name, node) in named {
        root.lay(&["judges", &name.text], node);
    }
}

/// Line and column of a byte offset.
fn place(file: &str, text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Origin::File {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// `key.path=VALUE` at its first equals sign.
fn split_option(option: &str) -> Result<(&str, &str)> {
    let example = "for example --set 'select.q=[3e-5]'";
    let (key, value) = option
        .split_once('=')
        .ok_or_else(|| Error::user(format!("--set {option}: the value is missing: key.path=VALUE")).hint(example))?;
    let key = key.trim();
    if key.split('.').any(|part| part.trim().is_empty()) {
        return Err(Error::user(format!("--set {option}: the key is missing: key.path=VALUE")).hint(example));
    }
    // The deepest key is data.NAME.samples. A key with one more part still gets a message that names the table it is in.
    if key.split('.').count() > 4 {
        return Err(Error::user(format!("--set {key}: there is no key so deep")).hint(example));
    }
    Ok((key, value.trim()))
}

/// A TOML value, or a bare string where it cannot be meant as anything else (`cuda:0`).
fn option_value<'a>(key: &str, text: &'a str) -> Result<Spanned<DeValue<'a>>> {
    match DeValue::parse(text) {
        Ok(value) => Ok(value),
        Err(cause) if text.starts_with(['[', '{', '"', '\'']) => {
            Err(Error::user(format!("--set {key}: not a valid TOML value: {}", cause.message()))
                .hint("in a shell, put the whole option in single quotes: --set 'select.q=[3e-5]'"))
        }
        Err(_) => Ok(Spanned::new(0..text.len(), DeValue::String(text.into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Window;
    use super::super::tests::{SMALL, complaint, try_load, with};
    use crate::model::device::Device;

    #[test]
    fn options_are_refused_in_the_same_words() {
        insta::assert_snapshot!(complaint(SMALL, &["data.privacy.sampels=4"]), @"
        --set data.privacy.sampels: unknown key `sampels` in [data.privacy]; did you mean `samples`?
        known keys of [data.privacy]: path, format, prompt, response, samples, seed, skip, turns, too_long
        ");
        insta::assert_snapshot!(complaint(SMALL, &["data.privcy.samples=4"]), @"
        --set data.privcy.samples: there is no [data.privcy]; did you mean `privacy`?
        known names of [data.*]: fairness, general, privacy
        ");
        insta::assert_snapshot!(complaint(SMALL, &["scoer.cap=1"]), @"
        --set scoer.cap: unknown section [scoer]; did you mean `score`?
        known sections: model, data, tokenize, questions, score, select, sweep, controls, patch, generate, judge, divergence, perplexity, inspect, report, search, run
        ");
        insta::assert_snapshot!(complaint(SMALL, &["cap=1"]), @"
        --set cap: unknown key `cap` outside of any section
        did you mean score.cap?
        ");
        insta::assert_snapshot!(complaint(SMALL, &["score=1"]), @"
        --set score: `score` must be a table, found a whole number
        write [score]
        ");
        insta::assert_snapshot!(complaint(SMALL, &["select.q.x=1"]), @"
        --set select.q.x: `q` must be a number or a list of numbers, found a table
        q: shares of the other sets
        ");
        insta::assert_snapshot!(complaint(SMALL, &["select.q=[3e-5"]), @"
        --set select.q: not a valid TOML value: unclosed array, expected `]`
        in a shell, put the whole option in single quotes: --set 'select.q=[3e-5]'
        ");
        insta::assert_snapshot!(complaint(SMALL, &["select.q=3e"]), @"
        --set select.q: `q` must be a number or a list of numbers, found a string
        q: shares of the other sets
        ");
        insta::assert_snapshot!(complaint(SMALL, &["select.q"]), @"
        --set select.q: the value is missing: key.path=VALUE
        for example --set 'select.q=[3e-5]'
        ");
        insta::assert_snapshot!(complaint(SMALL, &["select..q=1"]), @"
        --set select..q=1: the key is missing: key.path=VALUE
        for example --set 'select.q=[3e-5]'
        ");
        insta::assert_snapshot!(complaint(SMALL, &["run.device="]), @r#"
        --set run.device: `device` is empty
        device: "auto", "cpu", "cuda" or "cuda:N"
        "#);
        insta::assert_snapshot!(complaint(SMALL, &["run.device=cuda:x"]), @r#"
        --set run.device: `device` must be "auto", "cpu", "cuda" or "cuda:N", found "cuda:x"
        `dean doctor` lists the devices of this machine
        "#);
        insta::assert_snapshot!(complaint(SMALL, &["a.b.c.d.e=3"]), @"
        --set a.b.c.d.e: there is no key so deep
        for example --set 'select.q=[3e-5]'
        ");
        insta::assert_snapshot!(complaint(SMALL, &["questions.a.limit=3"]), @"
        --set questions.a.limit: [questions.a] needs `path`
        path: a file of rows: CSV, TSV, JSON, JSON Lines or Parquet, packed or not
        ");
    }

    #[test]
    fn options_take_toml_values_and_bare_words() {
        let text = with("[run]\ndevice = \"cpu\"\n");
        assert_eq!(try_load(&text, &["run.device=cuda:1"]).unwrap().run.device, Device::Cuda(1));
        assert_eq!(try_load(&text, &["run.device=\"auto\""]).unwrap().run.device, Device::Auto);
        assert_eq!(try_load(&text, &["run.device=cuda", "run.device=cpu"]).unwrap().run.device, Device::Cpu);
        let dated = try_load(&text, &["tokenize.chat_date=01 Jan 2025", "data.privacy.samples = 4"]).unwrap();
        assert_eq!((dated.tokenize.chat_date.as_str(), dated.data["privacy"].samples), ("01 Jan 2025", 4));
        let table =
            try_load(&text, &["data.more={path = \"x.csv\", seed = 7}", "select.rule=fairness & privacy - more"])
                .unwrap();
        assert_eq!(table.data["more"].seed, 7);
        // A name that is near to another is fine where the new set has its path.
        let near = try_load(
            &text,
            &["data.privacy2.path=x.csv", "data.privacy2.seed=1", "select.rule=fairness & privacy - privacy2"],
        )
        .unwrap();
        assert_eq!(near.data["privacy2"].seed, 1);
        assert!(!near.data.contains_key("general"), "what the rule does not name is not scored");
        let window = try_load(&text, &["perplexity.path=x.txt", "perplexity.window=max"]).unwrap().perplexity.unwrap();
        assert_eq!(window.window, Window::Max);
    }
}
