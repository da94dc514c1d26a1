//! Reading a Hugging Face config.json strictly: typed, with the file and the key in every error,
//! and with no setting that changes the mathematics passed over in silence.
//!
//! A [`Settings`] remembers which keys a family looked at. What is left at the end is harmless
//! (known not to touch the forward pass), refused (known to touch it in a way the decoder does not
//! do), or unknown, which is logged. The functions at the end are the way back, for models that have no config.json.
//! Must not know: which families there are, tensors, GGUF.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::arch::config::{Block, DecoderConfig};
use crate::model::arch::rope::{Rope, RopeScaling};

/// What transformers assumes where config.json is silent; it differs from family to family.
pub struct Defaults {
    /// `None`: as many as query heads.
    pub kv_heads: Option<usize>,
    /// `None`: hidden_size / num_attention_heads.
    pub head_dim: Option<usize>,
    pub context: usize,
}

/// Keys that never change what the decoder computes from a given text: training, bookkeeping, generation, and
/// `pretraining_tp`, which cuts a product into slices and adds them up again.
/// Keys with a leading underscore are harmless too.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache", "bos_token_id",
    "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "initializer_range",
    "attention_dropout", "hidden_dropout", "hidden_dropout_prob", "residual_dropout", "resid_pdrop", "embd_pdrop",
    "attn_pdrop", "pretraining_tp", "is_llama_config", "transformers.js_config",
    "output_attentions", "output_hidden_states", "output_scores", "return_dict", "return_dict_in_generate",
    "tie_encoder_decoder", "is_decoder", "id2label", "label2id", "num_labels", "problem_type", "finetuning_task",
    "task_specific_params", "chunk_size_feed_forward", "max_length", "min_length", "do_sample", "temperature",
    "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "num_beams",
    "num_beam_groups", "num_return_sequences", "early_stopping", "diversity_penalty", "bad_words_ids",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
    "forced_eos_token_id", "begin_suppress_tokens", "suppress_tokens", "remove_invalid_values", "prefix",
    "decoder_start_token_id", "tokenizer_class", "torchscript", "tf_legacy_loss", "use_bfloat16", "language",
    "license", "unsloth_version", "unsloth_fixed", "use_flash_attention_2", "attn_implementation",
    "max_sequence_length", "max_window_layers", "model_max_length", "name_or_path", "rope_theta", "rope_scaling",
    "cache_implementation",
];

/// Keys that change the mathematics unless they have a neutral value (null and absent always are).
const REFUSED: &[(&str, &[&str])] = &[
    ("partial_rotary_factor", &["1", "1.0"]),
    ("rotary_pct", &["1", "1.0"]),
    ("rotary_emb_base", &[]),
    ("rope_interleaved", &["false"]),
    ("compression_config", &[]),
    ("auto_map", &["{}"]),
    ("quantization", &[]),
    ("use_bidirectional_attention", &["false"]),
    ("is_causal", &["true"]),
    ("hidden_activation", &["\"silu\""]),
    ("qk_layernorm", &["false"]),
    ("use_bias", &["false"]),
    ("attention_chunk_size", &[]),
    ("sliding_window", &[]),
    ("use_sliding_window", &["false"]),
    ("attention_bias", &["false"]),
    ("qkv_bias", &["false"]),
    ("mlp_bias", &["false"]),
    ("use_qk_norm", &["false"]),
    ("qk_norm", &["false"]),
    ("attn_logit_softcapping", &[]),
    ("final_logit_softcapping", &[]),
    ("query_pre_attn_scalar", &[]),
    ("embedding_multiplier", &["1", "1.0"]),
    ("residual_multiplier", &["1", "1.0"]),
    ("attention_multiplier", &[]),
    ("logits_scaling", &["1", "1.0"]),
    ("logit_scale", &["1", "1.0"]),
    ("scale_emb", &["1", "1.0"]),
    ("scale_depth", &[]),
    ("clip_qkv", &[]),
    ("alibi", &["false"]),
    ("no_rope_layers", &["[]"]),
    ("no_rope_layer_interval", &[]),
    ("parallel_residual", &["false"]),
    ("use_parallel_residual", &["false"]),
    ("is_encoder_decoder", &["false"]),
    ("add_cross_attention", &["false"]),
    ("cross_attention_hidden_size", &[]),
    ("pruned_heads", &["{}"]),
    ("num_experts", &["0"]),
    ("num_local_experts", &["0"]),
    ("n_routed_experts", &["0"]),
    ("mrope_section", &[]),
    ("use_mrope", &["false"]),
    ("layer_types", &[]),
    ("rope_parameters", &[]),
];

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
    pub fn rope(&self, context: usize) -> Result<Rope> {
        let theta = self.number_or("rope_theta", 10000.0)?;
        match self.get("rope_parameters") {
            Some(value) => self.rope_of("rope_parameters", Some(value), theta, context),
            None => self.rope_of("rope_scaling", self.get("rope_scaling"), theta, context),
        }
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
                original_context: inner.size("original_max_position_embeddings")?,
            },
            _ => return Err(self.refuse(key, "supported types are default, linear, dynamic and llama3")),
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

    /// Goes through the keys nobody asked for.
    pub fn finish(&self) -> Result<()> {
        let seen = self.seen.borrow();
        for (key, value) in self.map {
            let harmless = value.is_null() || key.starts_with('_') || HARMLESS.contains(&key.as_str());
            if harmless || seen.contains(key.as_str()) {
                continue;
            }
            match REFUSED.iter().find(|(name, _)| name == key) {
                Some((_, neutral)) if neutral.contains(&value.to_string().as_str()) => {}
                Some(_) => return Err(self.refuse(key, "this setting is not supported for this model family")),
                None => tracing::warn!("{}: the setting {key} is unknown and was not used", self.file),
            }
        }
        Ok(())
    }
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
    };
    let keys = [("rope_theta", Some(json!(rope.theta))), ("rope_scaling", scaling)];
    Some(keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// A JSON value for an error message: never longer than a line.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { format!("{}…", text.chars().take(59).collect::<String>()) }
}
