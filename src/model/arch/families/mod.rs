//! The model families: one table, one file each.
//!
//! A family is a mapping from a config.json (and from a GGUF header) to the one decoder block of
//! this room. Adding one is a file here and a line in [`FAMILIES`]; a test counts both.
//! Must not know: weights, devices, how the decoder computes.

mod gemma2;
mod gemma3_text;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::arch::config::DecoderConfig;
use crate::model::arch::config_json::Settings;

/// One row of the table.
pub struct Family {
    /// config.json's `model_type`.
    pub name: &'static str,
    /// config.json's `architectures`, as a cross-check.
    pub architecture: &'static str,
    /// Reads config.json; the caller runs `Settings::finish` and [`DecoderConfig::check`].
    pub from_config: fn(&Settings<'_>) -> Result<DecoderConfig>,
    /// The way back: what [`Self::from_config`] reads as this decoder, without the family's name. None where this family
    /// cannot say it.
    pub to_config: fn(&DecoderConfig) -> Option<Map<String, Value>>,
    /// How GGUF files name it and store it, where they do so under a name of its own.
    pub gguf: Option<Gguf>,
}

/// A family in GGUF files.
pub struct Gguf {
    /// `general.architecture`, which is also the prefix of the header's keys.
    pub architecture: &'static str,
    /// The converter interleaves the two halves of each query and key head; we undo it.
    pub permuted: bool,
    /// Adds what the family's decoder has beyond a Llama's, which is what is read of every header.
    pub finish: Option<Finish>,
}

/// From a header, and what a Llama would be with it, to the family's decoder.
pub type Finish = fn(&dyn Header, DecoderConfig) -> Result<DecoderConfig>;

/// The numbers of a GGUF header. Keys are without the architecture's prefix.
pub trait Header {
    /// A size that all layers share.
    fn size(&self, key: &str) -> Result<Option<usize>>;

    fn number(&self, key: &str) -> Result<Option<f64>>;

    /// Which layers slide: a list of one flag for each, or a number n, which means all but each n-th.
    fn sliding(&self, layers: usize) -> Result<Option<Vec<bool>>>;
}

/// Which of so many layers slide: all but each last one of `every`.
pub fn pattern(layers: usize, every: usize) -> Vec<bool> {
    (1..=layers).map(|number| !number.is_multiple_of(every)).collect()
}

/// Every family. Mistral's GGUF files say `llama`.
pub const FAMILIES: &[Family] =
    &[llama::FAMILY, mistral::FAMILY, qwen2::FAMILY, qwen3::FAMILY, gemma2::FAMILY, gemma3_text::FAMILY];

/// What config.json calls the number of experts.
const EXPERTS: [&str; 3] = ["num_experts", "num_local_experts", "n_routed_experts"];

/// Reads a config.json, already parsed. `path` is for messages. `notes` gets what a user should know of it.
///
/// # Errors
/// User: a family, or a setting that counts, that is not supported.
pub fn from_config(path: &Path, map: &Map<String, Value>, notes: &mut Vec<String>) -> Result<DecoderConfig> {
    let file = path.display();
    let settings = Settings::new(file.to_string(), map);
    if map.get("auto_map").is_some_and(|code| !code.is_null() && code != &Value::Object(Map::new())) {
        let error = settings.refuse("auto_map", "the model comes with code of its own, and no code of a model is run");
        return Err(error.hint(
            "use a model that transformers loads without `trust_remote_code`; if this one is a plain decoder in all but \
             name, take auto_map out of a copy of config.json",
        ));
    }
    let architectures: Vec<&str> =
        map.get("architectures").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let model_type = map.get("model_type").and_then(Value::as_str);
    let family = match model_type {
        Some(name) => FAMILIES.iter().find(|family| family.name == name),
        None => FAMILIES.iter().find(|family| architectures.contains(&family.architecture)),
    };
    let Some(family) = family else {
        let what = model_type.or(architectures.first().copied()).unwrap_or("missing");
        if map.contains_key("text_config") {
            let message =
                format!("{file}: model_type is {what}, whose language model is only a part of it (text_config)");
            return Err(Error::user(message).hint(
                "use a GGUF file of it, which holds that part alone, or save the part as a model of its own; \
                 docs/gemma.md shows how",
            ));
        }
        let experts = EXPERTS.iter().any(|key| map.get(*key).and_then(Value::as_u64).is_some_and(|count| count > 1));
        let what = if experts { format!("{what}, a mixture of experts") } else { what.to_owned() };
        return Err(Error::user(format!("{file}: model_type is {what}, which is not supported")).hint(supported()));
    };
    if !architectures.is_empty() && !architectures.contains(&family.architecture) {
        let message = format!(
            "{file}: architectures is {}, but model_type {} stands for {}",
            architectures.join(", "),
            family.name,
            family.architecture
        );
        return Err(
            Error::user(message).hint("a chat model must be a causal language model; other heads are not supported")
        );
    }
    let config = (family.from_config)(&settings)?;
    notes.extend(settings.finish()?);
    config.check().map_err(|error| error.within(file))?;
    Ok(config)
}

/// A config.json that is read as `config`, in the words of its own family, else of the first that has words for it: a
/// GGUF file may call itself by the name of another family (Mistral's say `llama`).
///
/// # Errors
/// No family can say such a decoder.
pub fn to_config(config: &DecoderConfig) -> Result<Map<String, Value>> {
    let own = |family: &&Family| family.name == config.family;
    let mut families = FAMILIES.iter().filter(own).chain(FAMILIES.iter().filter(|family| !own(family)));
    let said = families.find_map(|family| Some((family, (family.to_config)(config)?)));
    let (family, mut map) = said.ok_or_else(|| {
        Error::user("no config.json of a supported family says what this header says")
            .hint("export the model's Hugging Face directory instead of its GGUF file")
    })?;
    map.insert("model_type".into(), family.name.into());
    map.insert("architectures".into(), json!([family.architecture]));
    Ok(map)
}

/// The family of a GGUF file.
pub fn of_gguf(architecture: &str) -> Option<(&'static Family, &'static Gguf)> {
    FAMILIES
        .iter()
        .filter_map(|family| family.gguf.as_ref().map(|gguf| (family, gguf)))
        .find(|(_, gguf)| gguf.architecture == architecture)
}

/// The hint that names what can be read.
pub fn supported() -> String {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    format!("supported model families are {}", names.join(", "))
}

#[cfg(test)]
mod tests;
