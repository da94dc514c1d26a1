//! Reading a Hugging Face config.json strictly: typed, with the file and the key in every error,
//! and with no setting that changes the mathematics passed over in silence.
//!
//! A [`Settings`] remembers which keys a family looked at. What is left at the end is harmless or refused, by the table in
//! [`config_keys`], or unknown, which the user is told. The functions at the end are the way back, for models that have no
//! config.json.
//! Must not know: which families there are, tensors, GGUF.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::arch::config::{Block, DecoderConfig};
use crate::model::arch::config_keys;
use crate::model::arch::rope::{Rope, RopeScaling, YARN_BETAS, yarn_magnitude};
use crate::model::standing::{brief, unknown};

/// What transformers assumes where config.json is silent; it differs from family to family.
pub struct Defaults {
    /// `None`: as many as query heads.
    pub kv_heads: Option<usize>,
    /// `None`: hidden_size / num_attention_heads.
    pub head_dim: Option<usize>,
    pub context: usize,
}

/// A config.json, with a memory of the keys that were asked for.
pub struct Settings<'a> {
    file: String,
    map: &'a Map<String, Value>,
    seen: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Settings<'a> {
    /// `file` is how errors call it.
    pub fn new(file: impl Into<String>, map: &'a Map<String, Value>) -> Self {
        Self { file: file.into(), map, seen: RefCell::new(BTreeSet::new()) }
    }

    /// An error about one key, with its value.
    pub fn refuse(&self, key: &str, why: &str) -> Error {
        let shown = self.map.get(key).map_or_else(|| "missing".to_owned(), brief);
        Error::user(format!("{}: {key} is {shown}; {why}", self.file))
    }

    /// The value as written; `Some(Null)` where it says null.
    pub fn raw(&self, key: &'static str) -> Option<&'a Value> {
        self.seen.borrow_mut().insert(key);
        self.map.get(key)
    }

    /// The value; null counts as absent.
    pub fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.raw(key).filter(|value| !value.is_null())
    }

    /// Whether a key was asked for, there or not.
    #[cfg(test)]
    pub(super) fn was_read(&self, key: &str) -> bool {
        self.seen.borrow().contains(key)
    }

    /// A positive whole number, if it is there.
    pub fn size_if(&self, key: &'static str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
            Some(size) if size > 0 => Ok(Some(size)),
            _ => Err(self.refuse(key, "it must be a positive whole number")),
        }
    }

    /// A positive whole number that must be there.
    pub fn size(&self, key: &'static str) -> Result<usize> {
        self.size_if(key)?.ok_or_else(|| {
            Error::user(format!("{}: {key} is missing", self.file))
                .hint("a model directory needs the config.json that its weights were saved with")
        })
    }

    /// A number, or `default` where it is absent or null.
    pub fn number_or(&self, key: &'static str, default: f64) -> Result<f64> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => {
                value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| self.refuse(key, "it must be a number"))
            }
        }
    }

    /// A switch, or `default` where it is absent or null.
    pub fn flag_or(&self, key: &'static str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.refuse(key, "it must be true or false")),
        }
    }

    /// The fields that every family spells alike, for the families whose gate is SiLU. Biases, norms and windows are left
    /// off for the family to set.
    pub fn decoder(&self, family: &str, defaults: &Defaults) -> Result<DecoderConfig> {
        if self.get("hidden_act").is_some_and(|act| !matches!(act.as_str(), Some("silu" | "swish"))) {
            return Err(self.refuse("hidden_act", "only \"silu\" is supported"));
        }
        self.sizes(family, defaults, self.rope(self.context(defaults)?)?)
    }

    /// Positions the model was made for.
    pub fn context(&self, defaults: &Defaults) -> Result<usize> {
        Ok(self.size_if("max_position_embeddings")?.unwrap_or(defaults.context))
    }

    /// As [`Self::decoder`], with this rope in every layer and whatever gate.
    pub fn sizes(&self, family: &str, defaults: &Defaults, rope: Rope) -> Result<DecoderConfig> {
        if let Some(quantisation) = self.get("quantization_config") {
            let method =
                quantisation.get("quant_method").and_then(Value::as_str).unwrap_or("a method it does not name");
            let method: String = method.chars().filter(|char| !char.is_control()).take(40).collect();
            let message = format!("{}: quantization_config says {method}; quantised weights cannot be read", self.file);
            return Err(Error::user(message).hint("use the model's unquantised directory, or a .gguf file of it"));
        }
        let hidden_size = self.size("hidden_size")?;
        let heads = self.size("num_attention_heads")?;
        let kv_heads = match (self.raw("num_key_value_heads"), defaults.kv_heads) {
            (None, Some(count)) => count,
            _ => self.size_if("num_key_value_heads")?.unwrap_or(heads),
        };
        let head_dim = match (self.size_if("head_dim")?, defaults.head_dim) {
            (Some(dim), _) | (None, Some(dim)) => dim,
            (None, None) if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            (None, None) => {
                let why = format!("it must be a multiple of num_attention_heads ({heads}) where head_dim is not given");
                return Err(self.refuse("hidden_size", &why));
            }
        };
        Ok(DecoderConfig {
            family: family.to_owned(),
            vocab_size: self.size("vocab_size")?,
            hidden_size,
            intermediate_size: self.size("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            context: self.context(defaults)?,
            norm_eps: self.number_or("rms_norm_eps", 1e-6)?,
            norm_offset: false,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            tied_head: self.flag_or("tie_word_embeddings", false)?,
            embedding_scale: None,
            attention_scale: None,
            attention_cap: None,
            logit_cap: None,
            blocks: Block::llama(rope).alike(self.size("num_hidden_layers")?)?,
        })
    }

    /// `rope_theta` and `rope_scaling`, or both in transformers 5's `rope_parameters`.
    ///
    /// # Errors
    /// User: a rope that is malformed or not supported, or both spellings with different contents.
    pub fn rope(&self, context: usize) -> Result<Rope> {
        let theta = self.number_or("rope_theta", 10000.0)?;
        let (new, old) = (self.get("rope_parameters"), self.get("rope_scaling"));
        let rope = match new {
            Some(value) => self.rope_of("rope_parameters", Some(value), theta, context)?,
            None => self.rope_of("rope_scaling", old, theta, context)?,
        };
        if new.is_some() && old.is_some() && self.rope_of("rope_scaling", old, rope.theta, context)? != rope {
            return Err(self.refuse("rope_scaling", "rope_parameters says something else; keep one of them"));
        }
        Ok(rope)
    }

    /// A rope as a table says it, which stands under a key or within its value. Without a table it is unscaled, and
    /// without a base in it the base is `theta`.
    pub fn rope_of(&self, key: &str, value: Option<&Value>, mut theta: f64, context: usize) -> Result<Rope> {
        let Some(value) = value else { return Ok(Rope::plain(theta)) };
        let Some(map) = value.as_object() else { return Err(self.refuse(key, "it must be a table")) };
        let inner = Settings::new(format!("{}: {key}", self.file), map);
        theta = inner.number_or("rope_theta", theta)?;
        let kind = inner.get("rope_type").or(inner.get("type")).unwrap_or(&Value::Null);
        let need = |name: &'static str| match inner.get(name) {
            Some(_) => inner.number_or(name, 0.0),
            None => Err(Error::user(format!("{}: {name} is missing", inner.file))),
        };
        let original = || {
            let inside = inner.size_if(ORIGINAL_CONTEXT)?;
            Ok(self.size_if(ORIGINAL_CONTEXT)?.or(inside))
        };
        let scaling = match kind.as_str() {
            Some("default") => RopeScaling::None,
            None if kind.is_null() && key == "rope_parameters" => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: need("factor")? },
            // transformers ignores this key for dynamic scaling, and takes max_position_embeddings
            Some("dynamic") => {
                inner.get("original_max_position_embeddings");
                RopeScaling::Dynamic { factor: need("factor")?, original_context: context }
            }
            Some("llama3") => RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context: match original()? {
                    Some(original) => original,
                    None => inner.size(ORIGINAL_CONTEXT)?,
                },
            },
            Some("yarn") => yarn(&inner, need("factor")?, original()?.unwrap_or(context))?,
            _ => return Err(self.refuse(key, "supported types are default, linear, dynamic, llama3 and yarn")),
        };
        let seen = inner.seen.borrow();
        match map.iter().find(|(name, value)| !seen.contains(name.as_str()) && !value.is_null()) {
            Some((name, value)) if !(name == "partial_rotary_factor" && value.as_f64() == Some(1.0)) => {
                Err(self.refuse(key, &format!("its setting {name} is not supported with this type")))
            }
            _ => Ok(Rope { theta, scaling }),
        }
    }

    /// Which layers slide, as `layer_types` says; none where it says nothing.
    ///
    /// # Errors
    /// User: the list has another length, or names a type that is not supported.
    pub fn layer_types(&self, layers: usize) -> Result<Option<Vec<bool>>> {
        let Some(value) = self.get("layer_types") else { return Ok(None) };
        let types = value.as_array().filter(|types| types.len() == layers);
        let types = types.ok_or_else(|| self.refuse("layer_types", "it must list one type per layer"))?;
        let slides = |entry: &Value| match entry.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(self.refuse("layer_types", "supported types are full_attention and sliding_attention")),
        };
        types.iter().map(slides).collect::<Result<_>>().map(Some)
    }

    /// The decoder with a window in every layer or in none, for families that have no other choice. A list of
    /// `layer_types` must say the same.
    ///
    /// # Errors
    /// User: it says something else.
    pub fn with_window(&self, mut config: DecoderConfig, window: Option<usize>) -> Result<DecoderConfig> {
        if let Some(types) = self.layer_types(config.layers())?
            && types.iter().any(|slides| *slides != window.is_some())
        {
            return Err(self.refuse(
                "layer_types",
                "in this family every layer is full_attention, or every layer sliding_attention with a sliding_window",
            ));
        }
        config.blocks.iter_mut().for_each(|block| block.window = window);
        Ok(config)
    }

    /// Goes through the keys nobody asked for. Returns what a user should know of them.
    ///
    /// # Errors
    /// User: one that changes what a decoder computes.
    pub fn finish(&self) -> Result<Vec<String>> {
        let seen = self.seen.borrow();
        let mut notes = Vec::new();
        for (key, value) in self.map.iter().filter(|(key, value)| !value.is_null() && !seen.contains(key.as_str())) {
            match config_keys::standing(key) {
                Some(standing) if standing.allows(value) => {}
                Some(_) => return Err(self.refuse(key, "this setting is not supported for this model family")),
                None => notes.push(unknown(&self.file, key, value)),
            }
        }
        Ok(notes)
    }
}

/// Beside a rope's other settings, or at the top of config.json, which goes first (`standardize_rope_params` of transformers).
const ORIGINAL_CONTEXT: &str = "original_max_position_embeddings";

/// YaRN's settings (`_compute_yarn_parameters` of transformers).
fn yarn(inner: &Settings<'_>, factor: f64, original_context: usize) -> Result<RopeScaling> {
    // the authors' first files have it, and transformers does not look at it
    inner.get("finetuned");
    let given = |name: &'static str| inner.get(name).map(|_| inner.number_or(name, 0.0)).transpose();
    let nonzero = |name: &'static str| Ok(given(name)?.filter(|number| *number != 0.0));
    let implied = match (nonzero("mscale")?, nonzero("mscale_all_dim")?) {
        (Some(above), Some(below)) => yarn_magnitude(factor, above) / yarn_magnitude(factor, below),
        _ => yarn_magnitude(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        original_context,
        beta_fast: nonzero("beta_fast")?.unwrap_or(YARN_BETAS.0),
        beta_slow: nonzero("beta_slow")?.unwrap_or(YARN_BETAS.1),
        attention_factor: given("attention_factor")?.unwrap_or(implied),
        truncate: inner.flag_or("truncate", true)?,
    })
}

/// The way back from [`Settings::decoder`]: the sizes and switches that every family spells alike.
pub fn common(config: &DecoderConfig) -> Map<String, Value> {
    let keys: [(&str, Value); 10] = [
        ("vocab_size", config.vocab_size.into()),
        ("hidden_size", config.hidden_size.into()),
        ("intermediate_size", config.intermediate_size.into()),
        ("num_hidden_layers", config.layers().into()),
        ("num_attention_heads", config.heads.into()),
        ("num_key_value_heads", config.kv_heads.into()),
        ("head_dim", config.head_dim.into()),
        ("max_position_embeddings", config.context.into()),
        ("rms_norm_eps", config.norm_eps.into()),
        ("tie_word_embeddings", config.tied_head.into()),
    ];
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The keys of a decoder whose layers are Llama's, apart from biases, windows and norms of heads. None if anything else
/// in it is not Llama's.
pub fn llama_kind(config: &DecoderConfig) -> Option<Map<String, Value>> {
    let rope = &config.blocks.first()?.rope;
    let scales = [config.embedding_scale, config.attention_scale, config.attention_cap, config.logit_cap];
    let plain = |block: &Block| *block == Block { window: block.window, ..Block::llama(rope.clone()) };
    if config.norm_offset || scales.iter().any(Option::is_some) || !config.blocks.iter().all(plain) {
        return None;
    }
    let mut map = common(config);
    map.insert("hidden_act".into(), "silu".into());
    map.extend(rope_keys(rope, config.context)?);
    Some(map)
}

/// `rope_theta` and `rope_scaling`. None for a scaling that config.json has no words for.
pub fn rope_keys(rope: &Rope, context: usize) -> Option<Map<String, Value>> {
    let scaling = match rope.scaling {
        RopeScaling::None => None,
        RopeScaling::Linear { factor } => Some(json!({"rope_type": "linear", "factor": factor})),
        RopeScaling::Dynamic { original_context, .. } if original_context != context => return None,
        RopeScaling::Dynamic { factor, .. } => Some(json!({"rope_type": "dynamic", "factor": factor})),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            Some(json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                   "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_context}))
        }
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor, truncate } => {
            Some(json!({"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original_context,
                   "beta_fast": beta_fast, "beta_slow": beta_slow, "attention_factor": attention_factor,
                   "truncate": truncate}))
        }
    };
    let keys = [("rope_theta", Some(json!(rope.theta))), ("rope_scaling", scaling)];
    Some(keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}
