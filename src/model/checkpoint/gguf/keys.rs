//! What the keys of a GGUF header mean: which are read, which change nothing, which are refused.
//!
//! Must not know: how they are read.

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::model::gguf::{GgufFile, Meta};
use crate::model::standing::Standing::{Harmless, Neutral, Read};
use crate::model::standing::{self, Table};

/// Beginnings of keys that tell of the file and not of the model.
const ABOUT: [&str; 4] = ["general.", "quantize.", "split.", "GGUF."];

const CODE: &str = "serves a way of use that is not one here: filling gaps in code";

/// Keys behind the architecture's name.
const MODEL: &Table = &[
    ("attention.head_count", Read),
    ("attention.head_count_kv", Read),
    ("attention.key_length", Read),
    ("attention.layer_norm_rms_epsilon", Read),
    ("attention.sliding_window", Read),
    ("attention.sliding_window_pattern", Read),
    ("attention.value_length", Read),
    ("attn_logit_softcapping", Read),
    ("block_count", Read),
    ("context_length", Read),
    ("embedding_length", Read),
    ("expert_count", Read),
    ("feed_forward_length", Read),
    ("final_logit_softcapping", Read),
    ("rope.dimension_count", Read),
    ("rope.freq_base", Read),
    ("rope.freq_base_swa", Read),
    ("rope.scale_linear", Read),
    ("rope.scaling.attn_factor", Read),
    ("rope.scaling.factor", Read),
    ("rope.scaling.original_context_length", Read),
    ("rope.scaling.type", Read),
    ("rope.scaling.yarn_attn_factor", Read),
    ("rope.scaling.yarn_beta_fast", Read),
    ("rope.scaling.yarn_beta_slow", Read),
    ("rope.scaling.yarn_ext_factor", Read),
    ("rope.scaling.yarn_log_multiplier", Read),
    ("expert_used_count", Harmless("means something beside expert_count only")),
    ("rope.scaling.finetuned", Harmless("says how the model came to be")),
    ("vocab_size", Harmless("the embedding's rows count")),
    ("attention.causal", Neutral(&["true"])),
    ("attention.clamp_kqv", Neutral(&["0.0"])),
    ("attention.max_alibi_bias", Neutral(&["0.0"])),
    ("attention.scale", Neutral(&["0.0"])),
    ("embedding_scale", Neutral(&["0.0", "1.0"])),
    ("logit_scale", Neutral(&["0.0", "1.0"])),
    ("residual_scale", Neutral(&["0.0", "1.0"])),
    ("rope.dimension_sections", Neutral(&[])),
    ("use_parallel_residual", Neutral(&["false"])),
];

/// Keys behind `tokenizer.`, without those of chat templates.
const TOKENIZER: &Table = &[
    ("ggml.add_bos_token", Read),
    ("ggml.add_eos_token", Read),
    ("ggml.add_space_prefix", Read),
    ("ggml.bos_token_id", Read),
    ("ggml.cls_token_id", Read),
    ("ggml.eom_token_id", Read),
    ("ggml.eos_token_id", Read),
    ("ggml.eot_token_id", Read),
    ("ggml.mask_token_id", Read),
    ("ggml.merges", Read),
    ("ggml.model", Read),
    ("ggml.padding_token_id", Read),
    ("ggml.pre", Read),
    ("ggml.scores", Read),
    ("ggml.seperator_token_id", Read),
    ("ggml.token_type", Read),
    ("ggml.tokens", Read),
    ("ggml.unknown_token_id", Read),
    ("ggml.fim_mid_token_id", Harmless(CODE)),
    ("ggml.fim_pad_token_id", Harmless(CODE)),
    ("ggml.fim_pre_token_id", Harmless(CODE)),
    ("ggml.fim_rep_token_id", Harmless(CODE)),
    ("ggml.fim_sep_token_id", Harmless(CODE)),
    ("ggml.fim_suf_token_id", Harmless(CODE)),
    ("ggml.middle_token_id", Harmless(CODE)),
    ("ggml.prefix_token_id", Harmless(CODE)),
    ("ggml.suffix_token_id", Harmless(CODE)),
    ("ggml.token_type_count", Harmless("belongs to encoders")),
    ("huggingface.json", Harmless("says the same another time")),
    ("ggml.add_sep_token", Neutral(&["false"])),
    ("ggml.normalizer.lowercase", Neutral(&["false"])),
    ("ggml.normalizer.strip_accents", Neutral(&["false"])),
    ("ggml.remove_extra_whitespaces", Neutral(&["false"])),
];

/// Looks at every key of a header. Returns what a user should know of them.
///
/// # Errors
/// User: one that changes what the model computes in a way that is not supported.
pub fn look(file: &GgufFile, architecture: &str) -> Result<Vec<String>> {
    let place = file.path().display().to_string();
    let (mut model, mut tokenizer, mut others) = (Map::new(), Map::new(), Map::new());
    for (key, value) in file.metas() {
        let own = key.strip_prefix(architecture).and_then(|rest| rest.strip_prefix('.'));
        if let Some(rest) = own {
            model.insert(rest.to_owned(), brief(value));
        } else if let Some(rest) = key.strip_prefix("tokenizer.") {
            if !rest.starts_with("chat_template") {
                tokenizer.insert(rest.to_owned(), brief(value));
            }
        } else if !ABOUT.iter().any(|beginning| key.starts_with(beginning)) {
            others.insert(key.to_owned(), brief(value));
        }
    }
    let mut notes = standing::look(&format!("{place}: {architecture}"), &model, MODEL)?;
    notes.extend(standing::look(&format!("{place}: tokenizer"), &tokenizer, TOKENIZER)?);
    notes.extend(standing::look(&place, &others, &[])?);
    Ok(notes)
}

/// A value as JSON. Of lists the number of entries is enough for a message.
fn brief(value: &Meta) -> Value {
    match value {
        Meta::Whole(number) => i64::try_from(*number).map_or_else(|_| json!(number.to_string()), Value::from),
        Meta::Float(number) => json!(number),
        Meta::Bool(on) => json!(on),
        Meta::Text(text) => json!(text),
        Meta::Texts(texts) => json!(format!("a list of {} texts", texts.len())),
        Meta::Numbers(numbers) => json!(format!("a list of {} numbers", numbers.len())),
        Meta::Nested => json!("a list of lists"),
    }
}
