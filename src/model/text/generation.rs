//! generation_config.json: what a model's makers say about how its answers are made. Of it count the ends of answers, and
//! the settings that transformers heeds even where the most likely token is taken.
//!
//! Settings of sampling are harmless, because a job's own settings say whether and how tokens are drawn. Must not know: how answers are made, tokenisers.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::greedy::Adjustments;
use crate::model::standing::Standing::{self, Harmless, Neutral, Read};
use crate::model::standing::{Table, brief, unknown};

const SAMPLING: &str = "shapes draws; how tokens are drawn is said by the settings of [generate] alone";
const BEAMS: &str = "means something beside num_beams only";
const LENGTH: &str = "generate.max_new_tokens says how long answers may be";
const MANNER: &str = "says how something is computed, not what";
const ANSWER: &str = "says what a call returns beside the answer";
const DESCRIBES: &str = "says where the file came from";
const ENCODER: &str = "means something in models with an encoder only";
const IDS: &str = "names a token that decoders do not write by themselves";

/// What each setting means. A `Neutral` one changes greedy answers of transformers, unless it has such a value.
pub const SETTINGS: &Table = &[
    ("bad_words_ids", Read),
    ("begin_suppress_tokens", Read),
    ("eos_token_id", Read),
    ("min_length", Read),
    ("min_new_tokens", Read),
    ("no_repeat_ngram_size", Read),
    ("repetition_penalty", Read),
    ("suppress_tokens", Read),
    ("do_sample", Harmless(SAMPLING)),
    ("temperature", Harmless(SAMPLING)),
    ("top_k", Harmless(SAMPLING)),
    ("top_p", Harmless(SAMPLING)),
    ("min_p", Harmless(SAMPLING)),
    ("top_h", Harmless(SAMPLING)),
    ("typical_p", Harmless(SAMPLING)),
    ("epsilon_cutoff", Harmless(SAMPLING)),
    ("eta_cutoff", Harmless(SAMPLING)),
    ("num_return_sequences", Harmless(SAMPLING)),
    ("renormalize_logits", Harmless("keeps the order of tokens")),
    ("remove_invalid_values", Harmless("weights that are no numbers are refused")),
    ("diversity_penalty", Harmless(BEAMS)),
    ("early_stopping", Harmless(BEAMS)),
    ("length_penalty", Harmless(BEAMS)),
    ("low_memory", Harmless(BEAMS)),
    ("num_beam_groups", Harmless(BEAMS)),
    ("max_length", Harmless(LENGTH)),
    ("max_new_tokens", Harmless(LENGTH)),
    ("max_time", Harmless(LENGTH)),
    ("assistant_confidence_threshold", Harmless(MANNER)),
    ("assistant_early_exit", Harmless(MANNER)),
    ("assistant_ensemble_weight", Harmless(MANNER)),
    ("assistant_lookbehind", Harmless(MANNER)),
    ("cache_config", Harmless(MANNER)),
    ("cache_implementation", Harmless(MANNER)),
    ("compile_config", Harmless(MANNER)),
    ("continuous_batching_config", Harmless(MANNER)),
    ("disable_compile", Harmless(MANNER)),
    ("is_assistant", Harmless(MANNER)),
    ("max_cache_len", Harmless(MANNER)),
    ("max_matching_ngram_size", Harmless(MANNER)),
    ("num_assistant_tokens", Harmless(MANNER)),
    ("num_assistant_tokens_schedule", Harmless(MANNER)),
    ("prefill_chunk_size", Harmless(MANNER)),
    ("prompt_lookup_num_tokens", Harmless(MANNER)),
    ("speculation_type", Harmless(MANNER)),
    ("target_lookbehind", Harmless(MANNER)),
    ("use_cache", Harmless(MANNER)),
    ("use_mtp", Harmless(MANNER)),
    ("output_attentions", Harmless(ANSWER)),
    ("output_hidden_states", Harmless(ANSWER)),
    ("output_logits", Harmless(ANSWER)),
    ("output_scores", Harmless(ANSWER)),
    ("return_dict_in_generate", Harmless(ANSWER)),
    ("trust_remote_code", Harmless(DESCRIBES)),
    ("transformers_version", Harmless(DESCRIBES)),
    ("decoder_start_token_id", Harmless(ENCODER)),
    ("encoder_no_repeat_ngram_size", Harmless(ENCODER)),
    ("encoder_repetition_penalty", Harmless(ENCODER)),
    ("bos_token_id", Harmless(IDS)),
    ("pad_token_id", Harmless(IDS)),
    ("unk_token_id", Harmless(IDS)),
    ("constraints", Neutral(&["[]"])),
    ("dola_layers", Neutral(&[])),
    ("exponential_decay_length_penalty", Neutral(&[])),
    ("force_words_ids", Neutral(&["[]"])),
    ("forced_bos_token_id", Neutral(&[])),
    ("forced_eos_token_id", Neutral(&[])),
    ("guidance_scale", Neutral(&["1", "1.0"])),
    ("num_beams", Neutral(&["1"])),
    ("penalty_alpha", Neutral(&["0", "0.0"])),
    ("sequence_bias", Neutral(&["{}", "[]"])),
    ("stop_strings", Neutral(&["[]"])),
    ("token_healing", Neutral(&["false"])),
    ("watermarking_config", Neutral(&[])),
];

/// What a model's files say about its answers.
pub(super) struct Generation {
    /// `eos_token_id`: an id, a list of ids, or nothing.
    pub ends: Vec<u32>,
    pub adjustments: Adjustments,
    /// What a user should know.
    pub notes: Vec<String>,
}

impl Generation {
    /// `file` is generation_config.json, with how messages call it, if the model has it. Otherwise its settings are those that
    /// are in `config`, config.json, as transformers has it.
    ///
    /// # Errors
    /// User: ends that are no token ids.
    pub fn of(file: Option<(&str, &Map<String, Value>)>, config: (&str, &Map<String, Value>)) -> Result<Self> {
        let (place, settings) = file.unwrap_or(config);
        let given = |map: &'_ Map<String, Value>| map.get("eos_token_id").filter(|value| !value.is_null()).cloned();
        let ends = match (given(settings), given(config.1)) {
            (Some(ends), _) => ids_of(&ends).map_err(|error| error.within(place))?,
            (None, Some(ends)) => ids_of(&ends).map_err(|error| error.within(config.0))?,
            (None, None) => Vec::new(),
        };
        let adjustments = adjustments(settings).map_err(|error| error.within(place))?;
        let mut notes = Vec::new();
        for (key, value) in settings.iter().filter(|(key, value)| !value.is_null() && !key.starts_with('_')) {
            match Standing::of(SETTINGS, key) {
                Some(standing) if standing.allows(value) => {}
                Some(_) => notes.push(format!(
                    "{place} says {key} = {}, which transformers heeds even in greedy answers; dean's answers are the most \
                     likely tokens without it",
                    brief(value)
                )),
                // of config.json other keys are none of ours
                None if file.is_some() => notes.push(unknown(place, key, value)),
                None => {}
            }
        }
        Ok(Self { ends, adjustments, notes })
    }
}

/// What the settings say that the decoder can do; what has no effect is left out.
fn adjustments(settings: &Map<String, Value>) -> Result<Adjustments> {
    let given = |key: &str| settings.get(key).filter(|value| !value.is_null());
    let wrong = |key: &str, what: &str| Error::user(format!("{key} is {}; it must be {what}", settings[key]));
    let size = |key: &str| match given(key) {
        None => Ok(0),
        Some(value) => {
            value.as_u64().and_then(|size| usize::try_from(size).ok()).ok_or_else(|| wrong(key, "a whole number"))
        }
    };
    let ids = |key: &str| given(key).map_or(Ok(Vec::new()), ids_of).map_err(|_| wrong(key, "a list of token ids"));
    let repetition_penalty = match given("repetition_penalty") {
        None => None,
        Some(value) => match value.as_f64() {
            Some(1.0) => None,
            #[expect(clippy::cast_possible_truncation, reason = "applied to logits in f32")]
            Some(penalty) if penalty > 0.0 && penalty < 1e6 => Some(penalty as f32),
            _ => return Err(wrong("repetition_penalty", "a number above 0")),
        },
    };
    let words = given("bad_words_ids").map_or(Some(&[][..]), |value| value.as_array().map(Vec::as_slice));
    let words = words.map(|words| words.iter().map(ids_of).collect::<Result<Vec<_>>>());
    let Some(Ok(bad_words)) = words else { return Err(wrong("bad_words_ids", "a list of lists of token ids")) };
    Ok(Adjustments {
        repetition_penalty,
        no_repeat_ngram_size: size("no_repeat_ngram_size")?,
        min_length: size("min_length")?,
        min_new_tokens: size("min_new_tokens")?,
        bad_words,
        suppressed: ids("suppress_tokens")?,
        suppressed_first: ids("begin_suppress_tokens")?,
    })
}

/// A token id or a list of them.
fn ids_of(value: &Value) -> Result<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        Value::Array(ids) => ids.iter().map(id).collect(),
        one => id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| Error::user("eos_token_id must be a token id or a list of them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(file: Option<Value>, config: &Value) -> Result<Generation> {
        let file = file.as_ref().map(|file| ("g.json", file.as_object().unwrap()));
        Generation::of(file, ("c.json", config.as_object().unwrap()))
    }

    #[test]
    fn ends_of_answers_are_one_or_a_list_or_those_of_config_json() {
        let ends = |file: Option<Value>| of(file, &json!({"eos_token_id": 7})).map(|found| found.ends);
        assert_eq!(ends(Some(json!({"eos_token_id": 2}))).unwrap(), [2]);
        assert_eq!(ends(Some(json!({"eos_token_id": [0, 1]}))).unwrap(), [0, 1]);
        for silent in [Some(json!({"eos_token_id": null})), Some(json!({})), None] {
            assert_eq!(ends(silent).unwrap(), [7]);
        }
        let error = ends(Some(json!({"eos_token_id": [-1]}))).unwrap_err();
        assert_eq!(error.message(), "g.json: eos_token_id must be a token id or a list of them");
    }

    #[test]
    fn what_transformers_heeds_in_greedy_answers_is_read() {
        let none = json!({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0, "suppress_tokens": [],
            "min_new_tokens": null, "bad_words_ids": null, "begin_suppress_tokens": null});
        assert!(of(Some(none), &json!({})).unwrap().adjustments.are_none());
        let all = json!({"repetition_penalty": 1.05, "no_repeat_ngram_size": 3, "min_length": 4, "min_new_tokens": 5,
            "bad_words_ids": [[1], [2, 3]], "suppress_tokens": [6], "begin_suppress_tokens": [7]});
        let read = of(Some(all.clone()), &json!({})).unwrap();
        let expected = Adjustments {
            repetition_penalty: Some(1.05),
            no_repeat_ngram_size: 3,
            min_length: 4,
            min_new_tokens: 5,
            bad_words: vec![vec![1], vec![2, 3]],
            suppressed: vec![6],
            suppressed_first: vec![7],
        };
        assert_eq!((&read.adjustments, read.notes.len()), (&expected, 0));
        let old = of(None, &all).unwrap().adjustments;
        assert_eq!(old, expected, "an old model has them in config.json");
        assert!(of(Some(json!({})), &all).unwrap().adjustments.are_none(), "where the new file goes first");
        for (key, value) in [
            ("repetition_penalty", json!(0)),
            ("repetition_penalty", json!("much")),
            ("no_repeat_ngram_size", json!(-1)),
            ("bad_words_ids", json!([["x"]])),
            ("suppress_tokens", json!(["x"])),
        ] {
            let message = of(Some(json!({key: value})), &json!({})).err().unwrap().message().to_owned();
            assert!(message.starts_with(&format!("g.json: {key} is ")), "{message}");
        }
    }

    #[test]
    fn what_changes_greedy_answers_is_told_and_what_shapes_draws_is_not() {
        let sampled = json!({"do_sample": true, "temperature": 0.6, "top_k": 20, "num_beams": 1, "_x": 1});
        assert_eq!(of(Some(sampled.clone()), &json!({"hidden_size": 4})).unwrap().notes, [""; 0]);
        let mut searched = sampled;
        searched["num_beams"] = json!(4);
        for (file, config, place) in [(Some(searched.clone()), json!({}), "g.json"), (None, searched, "c.json")] {
            let notes = of(file, &config).unwrap().notes;
            let told = format!("{place} says num_beams = 4, which transformers heeds even in greedy answers");
            assert!(notes.len() == 1 && notes[0].starts_with(&told), "{notes:?}");
        }
        let notes = of(Some(json!({"new_knob": 3})), &json!({})).unwrap().notes;
        assert!(notes.len() == 1 && notes[0].starts_with("g.json says new_knob = 3, which dean does not know"));
    }
}
