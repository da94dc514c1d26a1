//! Which files a model in Hugging Face layout is made of. It is the one list: what is downloaded, opened, digested and
//! exported goes by it.
//!
//! Only files at the top of a directory or repository count, so that no name leads out of it. Names of folders end with `/`. The index of sharded
//! weights is not trusted: it may name files of this list only. Must not know: what the other files say, where they
//! come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{cache, impostor};
use crate::bounded::{self, Limits};
use crate::error::{Error, Result};
use crate::files;

pub const CONFIG: &str = "config.json";
pub const GENERATION_CONFIG: &str = "generation_config.json";
pub const TOKENIZER: &str = "tokenizer.json";
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub const TOKENIZER_MODEL: &str = "tokenizer.model";
pub const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// Of old tokenisers. Nothing reads it where there is a [`TOKENIZER`].
pub const ADDED_TOKENS: &str = "added_tokens.json";
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Of processors. It does not count where there is a [`CHAT_TEMPLATE`].
pub const PROCESSOR_TEMPLATE: &str = "chat_template.json";

/// The files beside the weights that a model is read from.
const COMPANIONS: [&str; 9] = [
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENIZER_MODEL,
    SPECIAL_TOKENS,
    ADDED_TOKENS,
    CHAT_TEMPLATE,
    PROCESSOR_TEMPLATE,
];

/// The most bytes of a file beside the weights that is read. The largest tokenizer.json of the families here has 33 MB.
pub(super) const LONGEST: u64 = 128 << 20;
/// Memory that a byte of JSON may take. An honest file takes five times its size.
const BYTES_OF_BYTE: usize = 10;

/// Where transformers keeps templates beside the default one.
pub const MORE_TEMPLATES: &str = "additional_chat_templates";
/// Points to weights that are added to a model's. They are never read.
const ADAPTER: &str = "adapter_config.json";

/// Endings of the files beside the weights that some tool reads: settings, tokeniser, templates.
const ENDINGS: [&str; 5] = ["json", "jinja", "txt", "model", "tiktoken"];
/// Beginnings of the names of such files, whatever their ending (`tokenizer.model.v3`), and of terms of use.
const BEGINNINGS: [&str; 4] = ["tokenizer", "LICENSE", "NOTICE", "USE_POLICY"];

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    Pytorch,
}

impl Format {
    /// By preference, which is transformers'.
    const ALL: [Self; 2] = [Self::Safetensors, Self::Pytorch];

    /// The file of a model that is not sharded. It goes before an index.
    pub const fn single(self) -> &'static str {
        match self {
            Self::Safetensors => "model.safetensors",
            Self::Pytorch => "pytorch_model.bin",
        }
    }

    /// The file that says which shards there are.
    pub const fn index(self) -> &'static str {
        match self {
            Self::Safetensors => "model.safetensors.index.json",
            Self::Pytorch => "pytorch_model.bin.index.json",
        }
    }

    const fn ending(self) -> &'static str {
        match self {
            Self::Safetensors => ".safetensors",
            Self::Pytorch => ".bin",
        }
    }
}

/// The name of one file of several, counted from 0.
pub fn shard_name(at: usize, count: usize) -> String {
    format!("model-{:05}-of-{count:05}.safetensors", at + 1)
}

/// Whether a file stands beside the weights, for whatever tool. Weights and their indexes do not, nor do hidden files.
pub fn stands_beside(name: &str) -> bool {
    !name.starts_with('.')
        && (is_setting(name) || name.ends_with(".md") || BEGINNINGS.iter().any(|begins| name.starts_with(begins)))
}

/// Whether tools that load a model look into a file of this name at the top of its directory.
pub fn is_looked_into(name: &str) -> bool {
    is_setting(name) || name == Format::Safetensors.index() || name.ends_with(Format::Safetensors.ending())
}

fn is_setting(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.contains(&ending) && name != ADAPTER && !name.ends_with(".index.json")
}

/// The files of one model.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    /// All files at the top, whether they belong to the model or not.
    listed: BTreeSet<String>,
    format: Format,
    index: Option<&'static str>,
    /// Files of weights, with the tensors that an index puts into each.
    shards: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Layout {
    /// The files of a model on this machine.
    ///
    /// # Errors
    /// User: there is no such directory, or it is no model in this layout.
    pub fn of_directory(root: &Path) -> Result<Self> {
        let name = |entry: &PathBuf| {
            let name = entry.file_name()?.to_str()?;
            Some(if entry.is_file() { name.to_owned() } else { format!("{name}/") })
        };
        let names: Vec<String> = files::list(root)?.iter().filter_map(name).collect();
        let read = |name: &str| files::read_text(&root.join(name), LONGEST).map(String::into_bytes);
        let layout = Self::of(root, &names, &mut |name| read(name));
        layout.map_err(|error| in_cache(error, root).within(root.display()))
    }

    /// The files of a model whose names at the top are known, and which lie under `root` or will. `read` gives the content
    /// of one of them, an index.
    ///
    /// # Errors
    /// User: this is no model in this layout, by name.
    pub fn of(root: &Path, names: &[String], read: &mut dyn FnMut(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let listed: BTreeSet<String> = names.iter().filter(|name| !name.contains(['/', '\\'])).cloned().collect();
        if !listed.contains(CONFIG) {
            return Err(no_config(&listed));
        }
        let there = |format: &Format| listed.contains(format.single()) || listed.contains(format.index());
        let Some(format) = Format::ALL.into_iter().find(there) else { return Err(no_weights(&listed, names)) };
        let (index, shards) = if listed.contains(format.single()) {
            (None, BTreeMap::from([(format.single().to_owned(), None)]))
        } else {
            let index = format.index();
            let content = read(index)?;
            impostor::check(Path::new(index), &content)?;
            let shards = read_index(content, format, &listed).map_err(|error| error.within(index))?;
            (Some(index), shards)
        };
        Ok(Self { root: root.to_owned(), listed, format, index, shards })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The files that the model is read from, sorted.
    pub fn names(&self) -> BTreeSet<&str> {
        let weights = self.index.into_iter().chain(self.shards.keys().map(String::as_str));
        COMPANIONS.into_iter().filter(|name| self.has(name)).chain(weights).collect()
    }

    /// A file beside the weights, if the model has it and it counts.
    pub fn companion(&self, name: &str) -> Option<PathBuf> {
        (COMPANIONS.contains(&name) && self.has(name)).then(|| self.root.join(name))
    }

    fn has(&self, name: &str) -> bool {
        let goes_before = match name {
            ADDED_TOKENS => TOKENIZER,
            PROCESSOR_TEMPLATE => CHAT_TEMPLATE,
            _ => return self.listed.contains(name),
        };
        self.listed.contains(name) && !self.listed.contains(goes_before)
    }

    /// What a user should know of the files that lie there and are not read.
    pub fn notes(&self) -> Option<String> {
        let told = || {
            format!(
                "{}: the adapter that {ADAPTER} describes is not applied; to use it, merge it into the weights with peft",
                self.root.display()
            )
        };
        self.listed.contains(ADAPTER).then(told)
    }

    /// The text of a file beside the weights, if the model has it.
    ///
    /// # Errors
    /// It cannot be read, is no text, or was not fetched.
    pub fn text(&self, name: &str) -> Result<Option<(PathBuf, String)>> {
        let Some(file) = self.companion(name) else { return Ok(None) };
        let text = files::read_text(&file, LONGEST)?;
        // an empty template is one that says nothing
        if !(text.is_empty() && name == CHAT_TEMPLATE) {
            impostor::check(&file, text.as_bytes())?;
        }
        Ok(Some((file, text)))
    }

    /// The content of a JSON file beside the weights, if the model has it.
    ///
    /// # Errors
    /// As of [`Self::text`], and it is not JSON.
    pub fn json(&self, name: &str) -> Result<Option<(PathBuf, Value)>> {
        let Some((file, text)) = self.text(name)? else { return Ok(None) };
        match parsed(text.into_bytes()) {
            Ok(value) => Ok(Some((file, value))),
            Err(cause) => Err(malformed(format!("{} is not JSON: {cause}", file.display()))),
        }
    }

    /// The files of weights, with the tensors that an index puts into each.
    pub fn shards(&self) -> impl Iterator<Item = (PathBuf, Option<&BTreeSet<String>>)> {
        self.shards.iter().map(|(name, tensors)| (self.root.join(name), tensors.as_ref()))
    }

    /// Whether the files of weights hold what the index says. `held` are the tensors that were found.
    ///
    /// # Errors
    /// User: a tensor that is not in its file.
    pub fn check_held(&self, held: impl Fn(&str) -> bool) -> Result<()> {
        for (file, tensors) in &self.shards {
            if let (Some(index), Some(lost)) = (self.index, tensors.iter().flatten().find(|tensor| !held(tensor))) {
                let error = malformed(format!("weight_map puts {lost} into {file}, which does not hold it"));
                return Err(error.within(index).within(self.root.display()));
            }
        }
        Ok(())
    }

    /// The names of all files that stand beside the weights, and of the index if the weights are sharded safetensors: what
    /// a copy of the model takes along, more than it is read from.
    pub fn beside(&self) -> impl Iterator<Item = &str> {
        let index = self.index.filter(|_| self.format == Format::Safetensors);
        self.listed.iter().map(String::as_str).filter(move |name| stands_beside(name) || Some(*name) == index)
    }
}

/// JSON that comes with a model, or why it is none.
fn parsed(text: Vec<u8>) -> std::result::Result<Value, String> {
    let limits = Limits::of_input(text.len(), BYTES_OF_BYTE);
    bounded::within(limits, move || serde_json::from_slice(&text).map_err(|cause| cause.to_string()))
        .unwrap_or_else(|excess| Err(excess.to_string()))
}

/// The shards that an index names, and the tensors that it puts into each.
fn read_index(
    content: Vec<u8>,
    format: Format,
    listed: &BTreeSet<String>,
) -> Result<BTreeMap<String, Option<BTreeSet<String>>>> {
    let value = parsed(content).map_err(|cause| malformed(format!("it is not JSON: {cause}")))?;
    let map = value.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| malformed("weight_map is missing, empty or not a table"))?;
    let mut shards = BTreeMap::new();
    for (tensor, file) in map {
        let name = file.as_str().filter(|name| name.ends_with(format.ending()) && !name.starts_with('.'));
        let name = name.filter(|name| !name.contains(['/', '\\', ':', '\0'])).ok_or_else(|| {
            let ending = format.ending();
            malformed(format!("weight_map puts {tensor} into {file}, which is not the name of a {ending} file here"))
        })?;
        if !listed.contains(name) {
            let named: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
            let missing = named.iter().filter(|name| !listed.contains(**name)).count();
            let rest = match missing {
                1 => String::new(),
                _ => format!("; {missing} of the {} files that it names are missing", named.len()),
            };
            return Err(malformed(format!("weight_map puts {tensor} into {name}, which is not there{rest}")));
        }
        let tensors = shards.entry(name.to_owned()).or_insert_with(|| Some(BTreeSet::new()));
        tensors.get_or_insert_default().insert(tensor.clone());
    }
    Ok(shards)
}

fn malformed(what: impl Into<String>) -> Error {
    Error::user(what).hint("download the model again")
}

fn no_config(listed: &BTreeSet<String>) -> Error {
    let error = Error::user(format!("not a model in Hugging Face layout: no {CONFIG}; {}", found(listed)));
    let way = "give the directory that holds config.json, or the path of a .gguf file";
    error.hint(other_kind(listed).unwrap_or_else(|| way.to_owned()))
}

fn no_weights(listed: &BTreeSet<String>, names: &[String]) -> Error {
    let shards = |format: &Format| -> Option<String> {
        let is_shard = |name: &&String| name.ends_with(format.ending()) && name.contains("-of-");
        listed.iter().find(is_shard).cloned()
    };
    let shard = Format::ALL.iter().find_map(|format| Some((format.index(), shards(format)?)));
    let other = other_kind(listed).or_else(|| other_library(names));
    if let (Some((index, shard)), None) = (shard, &other) {
        return Error::user(format!("shards without {index}: {shard} is one of several files; {}", found(listed)))
            .hint("the index says which tensor lies in which of them; download it too");
    }
    let names: Vec<&str> = Format::ALL.iter().flat_map(|format| [format.single(), format.index()]).collect();
    let error = Error::user(format!("no weights: none of {}; {}", names.join(", "), found(listed)));
    error.hint(other.unwrap_or_else(|| {
        "use a model whose weights are stored as safetensors or as PyTorch .bin files, or a .gguf file".into()
    }))
}

/// Weights of other libraries, by the ending of their files or the folder that they are in.
const OTHERS: [(&str, &str); 12] = [
    ("onnx/", "ONNX"),
    ("tf_model.h5", "TensorFlow"),
    (".h5", "Keras"),
    (".msgpack", "Flax"),
    (".onnx", "ONNX"),
    (".onnx_data", "ONNX"),
    ("rust_model.ot", "rust-bert"),
    (".pth", "Meta's own code"),
    (".ckpt", "a training program"),
    (".tflite", "TensorFlow Lite"),
    (".mlpackage", "Core ML"),
    (".engine", "TensorRT"),
];

/// What to do with a directory that holds a model of another kind.
fn other_kind(listed: &BTreeSet<String>) -> Option<String> {
    if listed.contains(ADAPTER) {
        return Some(format!(
            "{ADAPTER} belongs to a LoRA adapter, which changes another model: merge it into that one with peft \
             (`merge_and_unload`), save the result, and use its directory"
        ));
    }
    let gguf = listed.iter().find(|name| name.to_ascii_lowercase().ends_with(".gguf"))?;
    Some(format!("to use its GGUF file, name the file itself: {gguf}"))
}

/// What to do with weights of another library, which may lie in a folder of their own.
fn other_library(names: &[String]) -> Option<String> {
    let of = |name: &'_ String| {
        let (_, library) = OTHERS.iter().find(|(part, _)| name.ends_with(part) || name.starts_with(part))?;
        Some((name.clone(), *library))
    };
    let (file, library) = names.iter().find_map(of)?;
    Some(format!(
        "{file} holds the weights for {library}; download the model's safetensors too, or save it with transformers: \
         `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)`"
    ))
}

/// Where to look in a folder of the Hugging Face cache.
fn in_cache(error: Error, root: &Path) -> Error {
    let list = |paths: &[PathBuf]| {
        let shown: Vec<String> = paths.iter().take(8).map(|path| path.display().to_string()).collect();
        shown.join(", ")
    };
    match (cache::snapshots(root).as_slice(), cache::models(root).as_slice()) {
        ([], []) => error,
        ([one], _) => error.hint(format!("the snapshot in it may be a model: {}", one.display())),
        ([], models) => error.hint(format!("this is the Hugging Face cache; name one of its models: {}", list(models))),
        (several, _) => error.hint(format!("name one of the snapshots in it: {}", list(several))),
    }
}

/// Some of the names that were found.
fn found(listed: &BTreeSet<String>) -> String {
    match listed.is_empty() {
        true => "no file is there".to_owned(),
        false => format!("found {}", listed.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests;
