//! What the settings of a tokeniser's files mean: which are read, which change nothing, which are refused.
//!
//! Must not know: how they are read, other files.

use crate::model::standing::Standing::{Harmless, Neutral, Read};
use crate::model::standing::Table;

const DESCRIBES: &str = "says where the tokeniser came from and how it was saved";
const BATCHES: &str = "shapes batches of a training or a call; a text is never cut, padded or put beside another here";
const PYTHON: &str = "chooses among Python implementations of one tokeniser";
const RESULTS: &str = "says what a call returns beside the ids";

/// tokenizer_config.json.
pub const TOKENIZER_CONFIG: &Table = &[
    ("add_bos_token", Read),
    ("add_eos_token", Read),
    // where there is no tokenizer.json; that file has its own
    ("add_prefix_space", Read),
    ("added_tokens_decoder", Read),
    ("additional_special_tokens", Read),
    ("bos_token", Read),
    ("chat_template", Read),
    ("clean_up_tokenization_spaces", Read),
    ("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", Read),
    ("cls_token", Read),
    ("eos_token", Read),
    ("extra_special_tokens", Read),
    // as add_prefix_space
    ("legacy", Read),
    ("mask_token", Read),
    ("pad_token", Read),
    ("sep_token", Read),
    ("split_special_tokens", Read),
    ("tokenizer_class", Read),
    ("unk_token", Read),
    ("is_local", Harmless(DESCRIBES)),
    ("local_files_only", Harmless(DESCRIBES)),
    ("name_or_path", Harmless(DESCRIBES)),
    ("processor_class", Harmless(DESCRIBES)),
    ("special_tokens_map_file", Harmless(DESCRIBES)),
    ("tokenizer_file", Harmless(DESCRIBES)),
    ("transformers_version", Harmless(DESCRIBES)),
    ("max_length", Harmless(BATCHES)),
    ("model_max_length", Harmless(BATCHES)),
    ("pad_to_multiple_of", Harmless(BATCHES)),
    ("pad_token_type_id", Harmless(BATCHES)),
    ("padding", Harmless(BATCHES)),
    ("padding_side", Harmless(BATCHES)),
    ("stride", Harmless(BATCHES)),
    ("truncation", Harmless(BATCHES)),
    ("truncation_side", Harmless(BATCHES)),
    ("truncation_strategy", Harmless(BATCHES)),
    ("backend", Harmless(PYTHON)),
    ("from_slow", Harmless(PYTHON)),
    ("use_fast", Harmless(PYTHON)),
    // how the slow implementations turn bytes that are no text, and blanks beside special tokens, into text
    ("errors", Harmless(PYTHON)),
    ("spaces_between_special_tokens", Harmless(PYTHON)),
    ("model_input_names", Harmless(RESULTS)),
    ("response_schema", Harmless(RESULTS)),
    ("return_token_type_ids", Harmless(RESULTS)),
    // a text for a template that tokenisers no longer have
    ("use_default_system_prompt", Harmless("means something only where there is no chat template")),
    ("vocab_size", Harmless("the vocabulary itself is read")),
    ("auto_map", Neutral(&["{}"])),
    ("do_lower_case", Neutral(&["false"])),
    ("do_lowercase", Neutral(&["false"])),
    ("fix_mistral_regex", Neutral(&["false"])),
    ("sp_model_kwargs", Neutral(&["{}", r#"{"enable_sampling":false}"#])),
    ("strip_accents", Neutral(&["false"])),
];

/// special_tokens_map.json.
pub const SPECIAL_TOKENS: &Table = &[
    ("additional_special_tokens", Read),
    ("bos_token", Read),
    ("cls_token", Read),
    ("eos_token", Read),
    ("extra_special_tokens", Read),
    ("mask_token", Read),
    ("pad_token", Read),
    ("sep_token", Read),
    ("unk_token", Read),
];

/// The top of a tokenizer.json. What is within is read by the tokenizers library, which refuses kinds that it does not know.
pub const TOKENIZER: &Table = &[
    ("added_tokens", Read),
    ("decoder", Read),
    ("model", Read),
    ("normalizer", Read),
    ("post_processor", Read),
    ("pre_tokenizer", Read),
    ("version", Harmless(DESCRIBES)),
    ("padding", Harmless(BATCHES)),
    ("truncation", Harmless(BATCHES)),
];
