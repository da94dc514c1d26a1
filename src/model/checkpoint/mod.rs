//! An opened model: a Hugging Face directory or a GGUF file behind one face.
//!
//! Opening reads headers only, and checks all of them: after [`Checkpoint::open`] every tensor the
//! decoder needs is known to exist, with the right shape, in a format that can be read. Weights
//! come out one at a time, as f32, under Hugging Face's names and layout, from any thread.
//! Must not know: devices, how the decoder computes.

pub(in crate::model) mod gguf;
mod pickle;
mod pytorch;
mod safetensors;
pub(in crate::model) mod weights;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::arch::config::{DecoderConfig, Linear};
use crate::model::arch::families;
use crate::model::checkpoint::gguf::GgufWeights;
use crate::model::checkpoint::pytorch::PytorchFiles;
use crate::model::checkpoint::safetensors::SafetensorsFiles;
use crate::model::checkpoint::weights::Weights;
pub use crate::model::floats::Dtype;
use crate::model::gguf::GgufFile;
use crate::model::source::layout::{self, Format, Layout};
use crate::model::text::{Parts, Text};

/// Files that are not there: names and contents.
pub type Files = Vec<(&'static str, Vec<u8>)>;

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Tensors beside those of a decoder that change nothing, and why. `*` stands for anything.
const HARMLESS: [(&str, &str); 2] = [
    ("*.rotary_emb.*", "the angles are computed from the configuration, as transformers does"),
    (HEAD, "it was compared with the embedding when the model was opened; another one would be needed"),
];

/// Where configuration and text come from.
enum Source {
    Directory { layout: Layout, config: Value },
    Gguf(Arc<GgufFile>),
}

/// An opened model. `Sync`: tensors may be read from several threads at once.
pub struct Checkpoint {
    path: PathBuf,
    config: DecoderConfig,
    source: Source,
    weights: Arc<dyn Weights>,
    text: OnceLock<Result<Text>>,
    /// What was noticed on opening.
    notes: Vec<String>,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("path", &self.path).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens a directory with a config.json, or a .gguf file.
    ///
    /// # Errors
    /// A path that is neither; a family, setting or tensor format that is not supported; a file that is
    /// truncated or malformed; a tensor that is missing or does not have the configuration's shape.
    pub fn open(path: &Path) -> Result<Self> {
        let mut opened = if path.is_dir() {
            Self::open_directory(path)?
        } else if path.is_file() && is_gguf(path) {
            Self::open_gguf(path)?
        } else if path.exists() {
            return Err(no_model(path));
        } else {
            return Err(Error::user(format!("there is no model at {}", path.display()))
                .hint("check model.source; paths in a pipeline file are relative to that file"));
        };
        let rest = opened.verify()?;
        opened.notes.extend(rest);
        Ok(opened)
    }

    fn open_directory(path: &Path) -> Result<Self> {
        let layout = Layout::of_directory(path)?;
        let Some((file, config)) = layout.json(layout::CONFIG)? else {
            return Err(Error::fault(format!("{} has lost its {}", path.display(), layout::CONFIG)));
        };
        let map = config.as_object().ok_or_else(|| Error::user(format!("{} is not a JSON table", file.display())))?;
        let mut notes: Vec<String> = layout.notes().into_iter().collect();
        let mut decoder = families::from_config(&file, map, &mut notes)?;
        let weights: Arc<dyn Weights> = match layout.format() {
            Format::Safetensors => Arc::new(SafetensorsFiles::open(&layout)?),
            Format::Pytorch => Arc::new(PytorchFiles::open(&layout)?),
        };
        if decoder.tied_head && has_own_head(&*weights)? {
            // transformers 5 and vLLM do the same; older ones overwrite the head with the embedding
            notes.push(format!(
                "{}: tie_word_embeddings is true, but the weights hold another {HEAD} than {EMBEDDING}; it is used",
                path.display()
            ));
            decoder.tied_head = false;
        }
        Ok(Self { notes, ..Self::new(path, decoder, Source::Directory { layout, config }, weights) })
    }

    fn open_gguf(path: &Path) -> Result<Self> {
        let file = Arc::new(GgufFile::open(path)?);
        let decoder = gguf::config::decoder(&file)?;
        let notes = gguf::keys::look(&file, file.text("general.architecture").unwrap_or_default())?;
        let weights = Arc::new(GgufWeights::new(file.clone(), &decoder)?);
        Ok(Self { notes, ..Self::new(path, decoder, Source::Gguf(file), weights) })
    }

    fn new(path: &Path, config: DecoderConfig, source: Source, weights: Arc<dyn Weights>) -> Self {
        Self { path: path.to_owned(), config, source, weights, text: OnceLock::new(), notes: Vec::new() }
    }

    /// Every needed tensor is there, readable and of the right shape, and nothing is left over that would count. Returns what
    /// a user should know of what is left over.
    fn verify(&self) -> Result<Option<String>> {
        let place = self.path.display();
        let said = match self.source {
            Source::Directory { .. } => "config.json",
            Source::Gguf(_) => "the header",
        };
        let specs = self.config.tensors();
        for spec in &specs {
            let Some(stored) = self.weights.stored(&spec.name) else {
                if let Some(packed) = self.packed(&spec.name) {
                    return Err(Error::user(format!(
                        "{place}: in the place of {} there is {packed}, a quantised format",
                        spec.name
                    ))
                    .hint("use the model's unquantised directory, or a .gguf file of it"));
                }
                let error = Error::user(format!("{place}: the tensor {} is missing", spec.name));
                return Err(error.hint(format!("{said} asks for it; check that both belong to the same model")));
            };
            if stored.dtype.is_none() {
                return Err(Error::user(format!("{place}: {} is stored as {}", spec.name, stored.label))
                    .hint("weights must be float32, float16 or bfloat16; save the model in one of them"));
            }
            if stored.shape != spec.shape {
                return Err(Error::user(format!(
                    "{place}: {} has the shape {:?}, but {said} makes it {:?} ({})",
                    spec.name, stored.shape, spec.shape, spec.keys
                ))
                .hint(format!("check that the weights and {said} belong to the same model")));
            }
        }
        self.verify_rest(specs.iter().map(|spec| spec.name.as_str()).collect())
    }

    /// What is left over. A parameter of a module that is computed here would change what comes out, so it is refused; what
    /// belongs to no such module, as the layers of a model that was made shorter, is told.
    fn verify_rest(&self, needed: BTreeSet<&str>) -> Result<Option<String>> {
        let place = self.path.display();
        let is = |name: &str, known: &str| match known.strip_prefix('*') {
            Some(part) => name.contains(part.trim_end_matches('*')),
            None => name == known,
        };
        let harmless = |name: &str| HARMLESS.iter().any(|(known, _)| is(name, known));
        let names = self.weights.names();
        let rest: Vec<&str> = names.into_iter().filter(|name| !needed.contains(name) && !harmless(name)).collect();
        let modules = |name: &'_ str| name.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>();
        let computed: BTreeSet<&str> = needed
            .iter()
            .flat_map(|name| modules(name).into_iter().filter_map(|at| name.get(..at)))
            .filter(|module| !matches!(*module, "model" | "model.layers"))
            .collect();
        let within = |name: &&&str| {
            modules(name).into_iter().any(|at| name.get(..at).is_some_and(|module| computed.contains(module)))
        };
        if let Some(name) = rest.iter().find(within) {
            return Err(Error::user(format!("{place}: the tensor {name} is not part of this decoder")).hint(
                "dean would compute without it, and differently from the model; check that config.json belongs to it",
            ));
        }
        Ok(rest.first().map(|first| match rest.len() {
            1 => format!("{place}: the tensor {first} is not part of this decoder and is not used"),
            count => format!("{place}: {count} tensors are not part of this decoder and are not used: {first}, …"),
        }))
    }

    /// The tensor that GPTQ, AWQ or another packed format has instead of a linear's weight.
    fn packed(&self, name: &str) -> Option<String> {
        let stem = name.strip_suffix("weight")?;
        let names = ["qweight", "weight_packed", "weight_scale", "W_q"].map(|ending| format!("{stem}{ending}"));
        names.into_iter().find(|name| self.weights.stored(name).is_some())
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// What a user should know of this model, in sentences: settings that are not known, tensors that are not used, what is
    /// used although config.json says otherwise.
    pub fn notes(&self) -> Vec<String> {
        let text = self.text().map_or(&[][..], Text::notes);
        self.notes.iter().chain(text).cloned().collect()
    }

    /// The files of a directory; none for a GGUF file.
    pub fn layout(&self) -> Option<&Layout> {
        match &self.source {
            Source::Directory { layout, .. } => Some(layout),
            Source::Gguf(_) => None,
        }
    }

    /// The files of the weights. While their stamps do not change, neither does [`Self::weights_digest`].
    pub fn weight_files(&self) -> Vec<PathBuf> {
        self.weights.files()
    }

    /// The safetensors file that holds a tensor, and the range of its bytes. `None` for weights in another format.
    pub fn place(&self, name: &str) -> Option<(&Path, Range<usize>)> {
        self.weights.place(name)
    }

    /// The files that stand beside the weights in Hugging Face layout, made of a GGUF header: names and contents, sorted.
    /// None for a directory, which has these files. `dtype` is the one that the weights are written in.
    ///
    /// # Errors
    /// A header that config.json cannot say, or a tokeniser that is not supported.
    pub fn hugging_face_files(&self, dtype: Dtype) -> Result<Option<Files>> {
        let Source::Gguf(file) = &self.source else { return Ok(None) };
        let text = Parts::of_gguf(file)?;
        let mut config = families::to_config(&self.config).map_err(|error| error.within(self.path.display()))?;
        config.insert("torch_dtype".into(), dtype.torch_name().into());
        config.extend(text.ids().into_iter().map(|(key, id)| (key.to_owned(), id.into())));
        let mut files = vec![("config.json", Value::Object(config))];
        files.extend(text.into_files(self.config.context));
        let written = |(name, content): (&'static str, Value)| {
            let mut bytes = serde_json::to_vec_pretty(&content)
                .map_err(|cause| Error::fault(format!("{name} cannot be written: {cause}")))?;
            bytes.push(b'\n');
            Ok((name, bytes))
        };
        files.into_iter().map(written).collect::<Result<_>>().map(Some)
    }

    /// The tokeniser, chat template and stop ids; built at the first call.
    ///
    /// # Errors
    /// A tokeniser that is missing, malformed or of a kind that is not supported.
    pub fn text(&self) -> Result<&Text> {
        let build = || match &self.source {
            Source::Directory { layout, config } => Text::from_directory(layout, config, self.config.vocab_size),
            Source::Gguf(file) => Text::from_gguf(file, self.config.vocab_size),
        };
        self.text.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    /// Gives up the weights and keeps the text: for a model that only has to tokenise.
    pub fn into_text(self) -> Result<Text> {
        self.text()?;
        self.text.into_inner().unwrap_or_else(|| Err(Error::fault("the text was not built")))
    }

    /// Whether the file holds a tensor of this name, needed or not.
    pub fn has(&self, name: &str) -> bool {
        self.weights.stored(name).is_some()
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.weights.stored(name).map(|stored| stored.shape.as_slice())
    }

    /// The float format of a tensor as stored (F32 where it is quantised), if there is a readable one of this name.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.weights.stored(name).and_then(|stored| stored.dtype)
    }

    /// The linears of one layer, in the order of the forward pass.
    pub fn linears(&self, layer: usize) -> Vec<Linear> {
        self.config.linears(layer)
    }

    /// The values of a tensor as f32, row-major in Hugging Face's layout.
    ///
    /// # Errors
    /// There is no tensor of this name, or its format cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Vec<f32>> {
        if self.dtype(name).is_none() {
            return Err(Error::user(format!("{}: there is no float tensor {name}", self.path.display())));
        }
        self.weights.read(name)
    }

    /// The digest of the configuration as understood.
    pub fn architecture_digest(&self) -> Result<Digest> {
        self.config.digest()
    }

    /// The digest of tokeniser, chat template, special and stop ids.
    pub fn text_digest(&self) -> Result<Digest> {
        Ok(self.text()?.digest())
    }

    /// The digest of the weights the decoder reads: sorted name, format, shape and bytes of each, so
    /// that shards may be cut differently and tensors nobody reads may come and go.
    ///
    /// Reads every byte. `progress` gets the bytes done so far and in all, from several threads.
    pub fn weights_digest(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Digest> {
        let mut names: Vec<String> = self.config.tensors().into_iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        let sized = names.iter().map(|name| self.weights.size(name).map(|bytes| bytes as u64));
        let total = sized.sum::<Result<u64>>()?;
        let done = AtomicU64::new(0);
        let entries = names.par_iter().map(|name| {
            let stored = self.weights.stored(name).ok_or_else(|| Error::fault(format!("{name} has gone")))?;
            let bytes = self.weights.bytes(name)?;
            let mut hasher = blake3::Hasher::new();
            for piece in bytes.chunks(16 << 20) {
                hasher.update(piece);
                let piece = piece.len() as u64;
                progress(done.fetch_add(piece, Ordering::Relaxed) + piece, total);
            }
            Ok(json!([name, stored.label, stored.shape, stored.heads, Digest::finish(&hasher)]))
        });
        Ok(Digest::of_json(&Value::Array(entries.collect::<Result<Vec<_>>>()?)))
    }
}

/// Whether there is a head with values other than the embedding's. One that cannot be one is for the check of all tensors.
fn has_own_head(weights: &dyn Weights) -> Result<bool> {
    let (Some(head), Some(embedding)) = (weights.stored(HEAD), weights.stored(EMBEDDING)) else {
        return Ok(weights.stored(HEAD).is_some());
    };
    if head.shape != embedding.shape || head.dtype.is_none() || embedding.dtype.is_none() {
        return Ok(true);
    }
    match head.dtype == embedding.dtype {
        true => Ok(weights.bytes(HEAD)? != weights.bytes(EMBEDDING)?),
        false => Ok(weights.read(HEAD)? != weights.read(EMBEDDING)?),
    }
}

/// A path that is there and is no model.
fn no_model(path: &Path) -> Error {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let parent = path.parent().filter(|parent| parent.join(layout::CONFIG).is_file());
    let way = match (parent, ending.as_str()) {
        (Some(parent), _) => format!("name the directory, which holds the settings too: {}", parent.display()),
        (None, "safetensors" | "bin" | "pt" | "pth") => {
            "these are weights alone; name a directory that holds them together with config.json and the tokeniser"
                .into()
        }
        (None, "zip" | "gz" | "tar" | "tgz" | "zst" | "7z") => {
            "unpack the archive, and name the directory that holds config.json".into()
        }
        _ => "name the directory that holds config.json, or a file that ends in .gguf".into(),
    };
    Error::user(format!("{} is neither a model directory nor a .gguf file", path.display())).hint(way)
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

#[cfg(test)]
pub(in crate::model) mod tests;
