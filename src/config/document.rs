//! What was typed: the pipeline file and the `--set` options as one flat map from dotted keys to
//! checked values, each with the place where it was typed.
//!
//! The file's table is walked along the schema, spans in hand, so that every complaint can point at a
//! line and a column. An option `--set a.b=V` is walked by the same code as the little document
//! `{a = {b = V}}`: it can do what the file can do, and is refused in the same words.
//! Must not know: what a value means, and whether two of them fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::found;
use super::schema::{self, Fallback, SECTIONS, Section, Shape};
use super::typed::PipelineToml;
use crate::error::{Error, Result};
use crate::files;
use crate::model::source::spec::absolute;
use crate::spelling::did_you_mean;

/// Where something was typed; shown in front of every complaint about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Line and column count from 1, columns in characters.
    File { file: String, line: usize, column: usize },
    /// The key of a `--set`.
    Set(String),
    /// Nowhere: a default. Only the file can be named.
    Absent { file: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Set(key) => write!(f, "--set {key}"),
            Self::Absent { file } => f.write_str(file),
        }
    }
}

/// A checked value and its place.
struct Entry {
    value: toml::Value,
    at: Origin,
}

/// The pipeline file under its `--set` options. Dotted keys are unambiguous: no name holds a dot.
pub struct Document {
    /// The file as the user named it, for messages.
    shown: String,
    /// The file, absolute.
    pub file: PathBuf,
    /// Relative paths of `--set` begin here.
    cwd: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// The sections that were typed (`score`, `data.privacy`), with the place of their names.
    sections: BTreeMap<String, Origin>,
}

impl Document {
    /// Reads the file, then the options in their order; a later one wins.
    pub fn read(file: &Path, sets: &[String], cwd: &Path) -> Result<Self> {
        let shown = file.display().to_string();
        let absolute_file = cwd.join(file);
        let text = files::read_to_string(&absolute_file).map_err(|error| match absolute_file.exists() {
            true => error,
            false => error.hint("name the pipeline file with --config FILE"),
        })?;
        let mut document = Self {
            shown,
            file: absolute_file,
            cwd: cwd.to_owned(),
            entries: BTreeMap::new(),
            sections: BTreeMap::new(),
        };
        let at = |span: Range<usize>| document.place(&text, span.start);
        let root = DeTable::parse(&text).map_err(|error| {
            let at = error.span().map_or(Origin::Absent { file: document.shown.clone() }, at);
            Error::user(format!("{at}: not valid TOML: {}", error.message()))
                .hint("strings need quotes, and every key stands in a [section]")
        })?;
        let typed = Walk { at: &at, entries: BTreeMap::new(), sections: BTreeMap::new() }.root(root.get_ref())?;
        (document.entries, document.sections) = typed;
        document.set(sets)?;
        Ok(document)
    }

    /// Puts the options over what the file says.
    fn set(&mut self, sets: &[String]) -> Result<()> {
        let known_sections: BTreeSet<String> = self.sections.keys().cloned().collect();
        let mut given = BTreeMap::new();
        for option in sets {
            let (key, value) = split_option(option)?;
            let at = |_: Range<usize>| Origin::Set(key.to_owned());
            let root = key.rsplit('.').fold(option_value(key, value)?, |inner, part| {
                let table = DeTable::from_iter([(Spanned::new(0..0, part.trim().into()), inner)]);
                Spanned::new(0..0, DeValue::Table(table))
            });
            let Some(root) = root.get_ref().as_table() else {
                return Err(Error::fault("an option did not become a table"));
            };
            let (entries, sections) =
                Walk { at: &at, entries: BTreeMap::new(), sections: BTreeMap::new() }.root(root)?;
            given.extend(entries);
            for (name, at) in sections {
                self.sections.entry(name).or_insert(at);
            }
        }
        // The two ways to write a grid exclude each other, so an option in one way replaces the file's grid in the other.
        let gives = |keys: &[&str]| keys.iter().any(|key| given.contains_key(*key));
        const LISTS: &[&str] = &["select.p", "select.q"];
        const POINTS: &[&str] = &["select.points"];
        for (new, old) in [(LISTS, POINTS), (POINTS, LISTS)] {
            if gives(new) && !gives(old) {
                self.entries.retain(|key, _| !old.contains(&key.as_str()));
            }
        }
        self.entries.extend(given);
        self.refuse_slips(&known_sections)
    }

    /// `--set data.privcy.samples=4` does not found a data set: it would lack its path.
    fn refuse_slips(&self, known: &BTreeSet<String>) -> Result<()> {
        for (name, at) in self.sections.iter().filter(|(name, _)| !known.contains(*name)) {
            let Some((section, typed)) = name.split_once('.') else { continue };
            let siblings = known.iter().filter_map(|name| name.strip_prefix(&format!("{section}.")).map(str::to_owned));
            let siblings: Vec<String> = siblings.collect();
            let nearest = did_you_mean(typed, siblings.iter().map(String::as_str));
            if !nearest.is_empty() && !self.entries.contains_key(&format!("{name}.path")) {
                return Err(Error::user(format!("{at}: there is no [{name}]{nearest}"))
                    .hint(format!("known names of [{section}.*]: {}", siblings.join(", "))));
            }
        }
        Ok(())
    }

    /// Where a key was typed.
    pub fn origin(&self, key: &str) -> Origin {
        self.entries.get(key).map_or(Origin::Absent { file: self.shown.clone() }, |entry| entry.at.clone())
    }

    /// Where relative paths of a key begin: the file's directory, or the working directory for an option.
    pub fn base(&self, key: &str) -> &Path {
        match self.entries.get(key).map(|entry| &entry.at) {
            Some(Origin::Set(_)) => &self.cwd,
            _ => self.file.parent().unwrap_or(&self.cwd),
        }
    }

    /// The absolute path that `text`, the value of `key`, means.
    pub fn path(&self, key: &str, text: &str) -> PathBuf {
        absolute(self.base(key), text)
    }

    /// An error about the value of a key, with its place in front.
    pub fn error(&self, key: &str, message: impl fmt::Display) -> Error {
        Error::user(format!("{}: {message}", self.origin(key)))
    }

    /// Everything with its defaults, as typed structs.
    pub fn typed(&self) -> Result<PipelineToml> {
        let mut root = toml::Table::new();
        for section in SECTIONS {
            let prefix = format!("{}.", section.name);
            let names: Vec<&str> = match section.shape {
                Shape::Once => vec![section.name],
                Shape::Optional => {
                    self.sections.get_key_value(section.name).map(|(name, _)| name.as_str()).into_iter().collect()
                }
                Shape::Named => {
                    self.sections.keys().filter(|name| name.starts_with(&prefix)).map(String::as_str).collect()
                }
            };
            let mut tables = toml::Table::new();
            for name in names {
                tables.insert(name.to_owned(), toml::Value::Table(self.section(section, name)?));
            }
            match section.shape {
                Shape::Once | Shape::Optional => root.extend(tables),
                Shape::Named => {
                    let bare = tables.into_iter().map(|(name, table)| (name[prefix.len()..].to_owned(), table));
                    root.insert(section.name.to_owned(), toml::Value::Table(bare.collect()));
                }
            }
        }
        // The schema has looked at every key and form, so what fails here is a disagreement of our own tables.
        root.try_into().map_err(|cause: toml::de::Error| Error::fault(format!("{}: {}", self.shown, cause.message())))
    }

    /// One section's table with its defaults.
    fn section(&self, section: &Section, name: &str) -> Result<toml::Table> {
        let mut table = toml::Table::new();
        for key in section.keys {
            let value = match (self.entries.get(&format!("{name}.{}", key.name)), key.default) {
                (Some(entry), _) => Some(entry.value.clone()),
                (None, Fallback::Value(text)) => {
                    let value = DeValue::parse(text).ok().and_then(|value| key.kind.check(key.name, &value).ok());
                    Some(
                        value
                            .ok_or_else(|| Error::fault(format!("the default of {name}.{} is not valid", key.name)))?,
                    )
                }
                (None, Fallback::Says(_)) => None,
                (None, Fallback::Required) => {
                    let at = self.sections.get(name).cloned().unwrap_or(Origin::Absent { file: self.shown.clone() });
                    return Err(Error::user(format!("{at}: [{name}] needs `{}`", key.name))
                        .hint(format!("{}: {}", key.name, key.about)));
                }
            };
            table.extend(value.map(|value| (key.name.to_owned(), value)));
        }
        Ok(table)
    }

    /// Line and column of a byte offset.
    fn place(&self, text: &str, offset: usize) -> Origin {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            file: self.shown.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
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
    // The deepest key is data.NAME.samples; one part more still gets a message that names what it stands in.
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

type Typed = (BTreeMap<String, Entry>, BTreeMap<String, Origin>);

/// One pass over a table, along the schema.
struct Walk<'a> {
    at: &'a dyn Fn(Range<usize>) -> Origin,
    entries: BTreeMap<String, Entry>,
    sections: BTreeMap<String, Origin>,
}

impl Walk<'_> {
    fn root(mut self, root: &DeTable<'_>) -> Result<Typed> {
        for (name, value) in in_order(root) {
            let at = (self.at)(name.span());
            let name = name.get_ref().as_ref();
            let Some(section) = schema::section(name) else { return Err(unknown_section(&at, name, value.get_ref())) };
            let table = self.table(name, value)?;
            if section.shape == Shape::Named {
                for (instance, value) in in_order(table) {
                    let at = (self.at)(instance.span());
                    let full = format!("{name}.{}", instance.get_ref());
                    if !is_name(instance.get_ref()) {
                        return Err(Error::user(format!(
                            "{at}: `{}` cannot be the name of a [{name}.*]",
                            instance.get_ref()
                        ))
                        .hint(
                            "a name is letters, digits and _, and begins with a letter, so that rules can speak of it",
                        ));
                    }
                    if !value.get_ref().is_table() && section.key(instance.get_ref()).is_some() {
                        return Err(Error::user(format!("{at}: `{}` stands in [{name}] itself", instance.get_ref()))
                            .hint(format!("give the section a name: [{name}.NAME]")));
                    }
                    self.keys(section, &full, at, self.table(&full, value)?)?;
                }
            } else {
                self.keys(section, name, at, table)?;
            }
        }
        Ok((self.entries, self.sections))
    }

    fn table<'v, 'i>(&self, name: &str, value: &'v Spanned<DeValue<'i>>) -> Result<&'v DeTable<'i>> {
        value.get_ref().as_table().ok_or_else(|| {
            let (at, found) = ((self.at)(value.span()), found(value.get_ref()));
            Error::user(format!("{at}: `{name}` must be a table, found {found}")).hint(format!("write [{name}]"))
        })
    }

    fn keys(&mut self, section: &Section, name: &str, at: Origin, table: &DeTable<'_>) -> Result<()> {
        self.sections.insert(name.to_owned(), at);
        for (typed, value) in in_order(table) {
            let typed_name = typed.get_ref().as_ref();
            let Some(key) = section.key(typed_name) else {
                let nearest = did_you_mean(typed_name, section.keys.iter().map(|key| key.name));
                let at = (self.at)(typed.span());
                let elsewhere = match schema::homes(typed_name).as_slice() {
                    [] => String::new(),
                    homes => format!("; elsewhere there is {}", homes.join(", ")),
                };
                return Err(Error::user(format!("{at}: unknown key `{typed_name}` in [{name}]{nearest}"))
                    .hint(format!("known keys of [{name}]: {}{elsewhere}", section.key_names())));
            };
            let checked = key.kind.check(key.name, value).map_err(|mismatch| {
                Error::user(format!("{}: {}", (self.at)(mismatch.span), mismatch.message))
                    .hint(format!("{}: {}", key.name, key.about))
            })?;
            self.entries.insert(format!("{name}.{}", key.name), Entry { value: checked, at: (self.at)(value.span()) });
        }
        Ok(())
    }
}

/// A table in the order of the text, so that the first mistake is reported first.
fn in_order<'v, 'i>(table: &'v DeTable<'i>) -> Vec<(&'v Spanned<toml::de::DeString<'i>>, &'v Spanned<DeValue<'i>>)> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}

fn unknown_section(at: &Origin, name: &str, value: &DeValue<'_>) -> Error {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    let homes = schema::homes(name);
    if !value.is_table() && !homes.is_empty() {
        return Error::user(format!("{at}: unknown key `{name}` outside of any section"))
            .hint(format!("did you mean {}?", homes.join(" or ")));
    }
    let nearest = did_you_mean(name, names.iter().copied());
    Error::user(format!("{at}: unknown section [{name}]{nearest}"))
        .hint(format!("known sections: {}", names.join(", ")))
}

/// Usable in rules, file names and dotted keys.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
