//! What is known of the settings of a config.json that no family reads: which never change what a decoder computes, and why,
//! and which do, so that they may only have the value that changes nothing.
//!
//! A setting that is read by a family needs no line here. One that is neither read nor listed is unknown, and the user is told
//! of it. Must not know: families, how a setting is read.

use crate::model::standing::Standing::{self, Harmless, Neutral};
use crate::model::standing::Table;

const DESCRIBES: &str = "says what the model is called and how it was saved";
const TRAINING: &str = "matters in training only";
const IDS: &str = "names a token; the files of the tokeniser and of generation say which count";
const MANNER: &str = "says how something is computed, not what";
const ANSWER: &str = "says what a call returns beside the logits";
const HEADS: &str = "belongs to classifiers and encoders";
const GENERATION: &str = "an old place of generation_config.json's settings, which are looked at there";
const OTHERS: &str = "means something to the families that read it, and nothing to others";

/// Every setting that is known and may be left unread, sorted by name within its group.
pub const SETTINGS: &Table = &[
    ("architectures", Harmless(DESCRIBES)),
    ("dtype", Harmless(DESCRIBES)),
    ("is_llama_config", Harmless(DESCRIBES)),
    ("language", Harmless(DESCRIBES)),
    ("license", Harmless(DESCRIBES)),
    ("model_type", Harmless(DESCRIBES)),
    ("name_or_path", Harmless(DESCRIBES)),
    ("tokenizer_class", Harmless(DESCRIBES)),
    ("torch_dtype", Harmless(DESCRIBES)),
    ("transformers.js_config", Harmless(DESCRIBES)),
    ("transformers_version", Harmless(DESCRIBES)),
    ("unsloth_fixed", Harmless(DESCRIBES)),
    ("unsloth_version", Harmless(DESCRIBES)),
    ("attention_dropout", Harmless(TRAINING)),
    ("attn_pdrop", Harmless(TRAINING)),
    ("embd_pdrop", Harmless(TRAINING)),
    ("hidden_dropout", Harmless(TRAINING)),
    ("hidden_dropout_prob", Harmless(TRAINING)),
    ("initializer_range", Harmless(TRAINING)),
    ("resid_pdrop", Harmless(TRAINING)),
    ("residual_dropout", Harmless(TRAINING)),
    ("max_sequence_length", Harmless(TRAINING)),
    ("model_max_length", Harmless(TRAINING)),
    ("bos_token_id", Harmless(IDS)),
    ("cls_token_id", Harmless(IDS)),
    ("decoder_start_token_id", Harmless(IDS)),
    ("eos_token_id", Harmless(IDS)),
    ("pad_token_id", Harmless(IDS)),
    ("sep_token_id", Harmless(IDS)),
    ("unk_token_id", Harmless(IDS)),
    ("attn_implementation", Harmless(MANNER)),
    ("cache_implementation", Harmless(MANNER)),
    // cuts a product into slices and adds them up again
    ("pretraining_tp", Harmless(MANNER)),
    ("chunk_size_feed_forward", Harmless(MANNER)),
    ("tf_legacy_loss", Harmless(MANNER)),
    ("torchscript", Harmless(MANNER)),
    ("use_bfloat16", Harmless(MANNER)),
    ("use_cache", Harmless(MANNER)),
    ("use_flash_attention_2", Harmless(MANNER)),
    ("output_attentions", Harmless(ANSWER)),
    ("output_hidden_states", Harmless(ANSWER)),
    ("output_scores", Harmless(ANSWER)),
    ("return_dict", Harmless(ANSWER)),
    ("return_dict_in_generate", Harmless(ANSWER)),
    ("finetuning_task", Harmless(HEADS)),
    ("id2label", Harmless(HEADS)),
    ("is_decoder", Harmless(HEADS)),
    ("label2id", Harmless(HEADS)),
    ("num_labels", Harmless(HEADS)),
    ("problem_type", Harmless(HEADS)),
    ("task_specific_params", Harmless(HEADS)),
    ("tie_encoder_decoder", Harmless(HEADS)),
    ("bad_words_ids", Harmless(GENERATION)),
    ("begin_suppress_tokens", Harmless(GENERATION)),
    ("diversity_penalty", Harmless(GENERATION)),
    ("do_sample", Harmless(GENERATION)),
    ("early_stopping", Harmless(GENERATION)),
    ("encoder_no_repeat_ngram_size", Harmless(GENERATION)),
    ("exponential_decay_length_penalty", Harmless(GENERATION)),
    ("forced_bos_token_id", Harmless(GENERATION)),
    ("forced_eos_token_id", Harmless(GENERATION)),
    ("length_penalty", Harmless(GENERATION)),
    ("max_length", Harmless(GENERATION)),
    ("max_new_tokens", Harmless(GENERATION)),
    ("min_length", Harmless(GENERATION)),
    ("min_new_tokens", Harmless(GENERATION)),
    ("no_repeat_ngram_size", Harmless(GENERATION)),
    ("num_beam_groups", Harmless(GENERATION)),
    ("num_beams", Harmless(GENERATION)),
    ("num_return_sequences", Harmless(GENERATION)),
    ("prefix", Harmless(GENERATION)),
    ("remove_invalid_values", Harmless(GENERATION)),
    ("repetition_penalty", Harmless(GENERATION)),
    ("suppress_tokens", Harmless(GENERATION)),
    ("temperature", Harmless(GENERATION)),
    ("top_k", Harmless(GENERATION)),
    ("top_p", Harmless(GENERATION)),
    ("typical_p", Harmless(GENERATION)),
    ("max_window_layers", Harmless(OTHERS)),
    ("original_max_position_embeddings", Harmless(OTHERS)),
    ("rope_local_base_freq", Harmless(OTHERS)),
    ("alibi", Neutral(&["false"])),
    ("attention_bias", Neutral(&["false"])),
    ("attention_chunk_size", Neutral(&[])),
    ("attention_multiplier", Neutral(&[])),
    ("attn_logit_softcapping", Neutral(&[])),
    ("add_cross_attention", Neutral(&["false"])),
    ("auto_map", Neutral(&["{}"])),
    ("clip_qkv", Neutral(&[])),
    ("compression_config", Neutral(&[])),
    ("cross_attention_hidden_size", Neutral(&[])),
    ("embedding_multiplier", Neutral(&["1", "1.0"])),
    ("final_logit_softcapping", Neutral(&[])),
    ("hidden_activation", Neutral(&["\"silu\""])),
    ("is_causal", Neutral(&["true"])),
    ("is_encoder_decoder", Neutral(&["false"])),
    ("layer_types", Neutral(&[])),
    ("logit_scale", Neutral(&["1", "1.0"])),
    ("logits_scaling", Neutral(&["1", "1.0"])),
    ("logits_soft_cap", Neutral(&[])),
    ("mlp_bias", Neutral(&["false"])),
    ("mrope_section", Neutral(&[])),
    ("n_routed_experts", Neutral(&["0"])),
    ("no_rope_layer_interval", Neutral(&[])),
    ("no_rope_layers", Neutral(&["[]"])),
    ("num_experts", Neutral(&["0"])),
    ("num_local_experts", Neutral(&["0"])),
    ("parallel_residual", Neutral(&["false"])),
    ("partial_rotary_factor", Neutral(&["1", "1.0"])),
    ("pruned_heads", Neutral(&["{}"])),
    ("qk_layernorm", Neutral(&["false"])),
    ("qk_norm", Neutral(&["false"])),
    ("qkv_bias", Neutral(&["false"])),
    ("quantization", Neutral(&[])),
    ("quantization_config", Neutral(&[])),
    ("query_pre_attn_scalar", Neutral(&[])),
    ("residual_multiplier", Neutral(&["1", "1.0"])),
    ("rope_interleaved", Neutral(&["false"])),
    ("rope_parameters", Neutral(&[])),
    ("rope_scaling", Neutral(&[])),
    ("rope_theta", Neutral(&[])),
    ("rotary_emb_base", Neutral(&[])),
    ("rotary_pct", Neutral(&["1", "1.0"])),
    ("scale_depth", Neutral(&[])),
    ("scale_emb", Neutral(&["1", "1.0"])),
    ("sliding_window", Neutral(&[])),
    ("sliding_window_pattern", Neutral(&[])),
    ("use_bias", Neutral(&["false"])),
    ("use_bidirectional_attention", Neutral(&["false"])),
    ("use_mrope", Neutral(&["false"])),
    ("use_parallel_residual", Neutral(&["false"])),
    ("use_qk_norm", Neutral(&["false"])),
    ("use_sliding_window", Neutral(&["false"])),
];

/// What is known of a setting that nobody read. Names with a leading underscore are transformers' own notes.
pub fn standing(key: &str) -> Option<Standing> {
    if key.starts_with('_') { Some(Harmless(DESCRIBES)) } else { Standing::of(SETTINGS, key) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::model::arch::config_json::Settings;
    use crate::model::arch::families::FAMILIES;

    /// The settings that transformers 5.24 gives every one of these configurations, and what published files have beside them.
    const COMMON: &[&str] = &[
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "eos_token_id",
        "head_dim",
        "hidden_size",
        "id2label",
        "initializer_range",
        "intermediate_size",
        "is_encoder_decoder",
        "label2id",
        "max_position_embeddings",
        "model_type",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "problem_type",
        "return_dict",
        "rms_norm_eps",
        "rope_parameters",
        "tie_word_embeddings",
        "transformers_version",
        "use_cache",
        "vocab_size",
        "add_cross_attention",
        "attn_implementation",
        "auto_map",
        "bad_words_ids",
        "begin_suppress_tokens",
        "cross_attention_hidden_size",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "is_decoder",
        "length_penalty",
        "max_length",
        "min_length",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_scores",
        "partial_rotary_factor",
        "prefix",
        "pruned_heads",
        "quantization_config",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict_in_generate",
        "rope_scaling",
        "rope_theta",
        "sep_token_id",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tie_encoder_decoder",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "typical_p",
        "unsloth_fixed",
        "unsloth_version",
        "use_bfloat16",
    ];

    /// What some of them have beyond that.
    const OWN: &[(&str, &[&str])] = &[
        ("llama", &["attention_bias", "hidden_act", "mlp_bias", "pretraining_tp", "rope_interleaved"]),
        ("mistral", &["hidden_act", "sliding_window"]),
        (
            "qwen2",
            &["hidden_act", "layer_types", "max_window_layers", "sliding_window", "use_mrope", "use_sliding_window"],
        ),
        (
            "qwen3",
            &[
                "attention_bias",
                "hidden_act",
                "layer_types",
                "max_window_layers",
                "sliding_window",
                "use_sliding_window",
            ],
        ),
        (
            "gemma2",
            &[
                "attention_bias",
                "attn_logit_softcapping",
                "cache_implementation",
                "final_logit_softcapping",
                "hidden_act",
                "hidden_activation",
                "layer_types",
                "query_pre_attn_scalar",
                "sliding_window",
                "sliding_window_size",
                "use_bidirectional_attention",
            ],
        ),
        (
            "gemma3_text",
            &[
                "_sliding_window_pattern",
                "attention_bias",
                "attn_logit_softcapping",
                "cache_implementation",
                "final_logit_softcapping",
                "hidden_activation",
                "layer_types",
                "query_pre_attn_scalar",
                "rope_local_base_freq",
                "sliding_window",
                "sliding_window_pattern",
                "use_bidirectional_attention",
            ],
        ),
    ];

    #[test]
    fn no_setting_of_a_family_is_unknown() {
        for family in FAMILIES {
            let map: Map<String, Value> = serde_json::from_value(json!({
                "model_type": family.name, "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            }))
            .unwrap();
            let settings = Settings::new("c", &map);
            (family.from_config)(&settings).unwrap();
            let (_, own) = OWN.iter().find(|(name, _)| *name == family.name).expect("a family without a list");
            let unknown: Vec<&&str> =
                COMMON.iter().chain(*own).filter(|key| !settings.was_read(key) && standing(key).is_none()).collect();
            assert_eq!(unknown, [&""; 0], "{}", family.name);
            // What changes the mathematics is never harmless for being in the wrong list.
            for key in ["rope_scaling", "rope_theta", "tie_word_embeddings", "head_dim", "rms_norm_eps"] {
                assert!(settings.was_read(key), "{} does not read {key}", family.name);
            }
        }
    }

    #[test]
    fn a_setting_is_listed_once() {
        let mut names: Vec<&str> = SETTINGS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
