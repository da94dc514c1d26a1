//! A model that says what a script tells it: after each token that the script knows comes one other.
//!
//! Its layers add nothing, so the next token depends on the last one alone. Tests that need a certain answer use it.

use std::collections::BTreeMap;

use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::{Random, byte_level, config, safetensors, tensors};

/// The width of the embedding: random signs of so many places have next to nothing in common.
const HIDDEN: usize = 128;

/// What a model says, as the files of a directory in Hugging Face layout. Its tokens are the bytes, the end of an answer,
/// and one for each text that it says.
pub struct Script {
    /// Text, and whether it is a special token.
    tokens: Vec<(String, bool)>,
    next: BTreeMap<u32, u32>,
    template: Option<String>,
    context: usize,
}

/// The token that ends an answer.
const END: u32 = 256;
const FIRST: u32 = 257;

impl Default for Script {
    fn default() -> Self {
        Self { tokens: Vec::new(), next: BTreeMap::new(), template: None, context: 4096 }
    }
}

impl Script {
    /// Where a prompt ends with this byte or this token, each of these texts comes as a token of its own, and then the end.
    /// A text that was said before goes on as it did then.
    ///
    /// # Panics
    /// `after` is neither one byte nor a token.
    #[must_use]
    pub fn says(self, after: &str, texts: &[&str]) -> Self {
        self.goes_on(after, texts, true)
    }

    /// The same without an end: the last text is said for ever.
    ///
    /// # Panics
    /// `after` is neither one byte nor a token.
    #[must_use]
    pub fn never_ends(self, after: &str, texts: &[&str]) -> Self {
        self.goes_on(after, texts, false)
    }

    fn goes_on(mut self, after: &str, texts: &[&str], ends: bool) -> Self {
        let mut last = self.id(after).unwrap_or_else(|| panic!("{after:?} is no token"));
        for text in texts {
            let id = self.id(text).unwrap_or_else(|| self.add(text, false));
            self.next.insert(last, id);
            last = id;
        }
        self.next.insert(last, if ends { END } else { last });
        self
    }

    /// A token that is special, as some vocabularies have tags. It must be named before it is said.
    #[must_use]
    pub fn special(mut self, text: &str) -> Self {
        self.add(text, true);
        self
    }

    /// A chat template; without one, questions must be asked bare.
    #[must_use]
    pub fn template(mut self, template: &str) -> Self {
        self.template = Some(template.to_owned());
        self
    }

    /// How many tokens the model can read.
    #[must_use]
    pub fn context(mut self, context: usize) -> Self {
        self.context = context;
        self
    }

    fn add(&mut self, text: &str, special: bool) -> u32 {
        self.tokens.push((text.to_owned(), special));
        FIRST + u32::try_from(self.tokens.len() - 1).expect("few tokens")
    }

    fn id(&self, text: &str) -> Option<u32> {
        if let [byte] = text.as_bytes() {
            return Some(u32::from(*byte));
        }
        (FIRST..).zip(&self.tokens).find(|(_, (token, _))| token == text).map(|(id, _)| id)
    }

    /// The files of the directory, by name.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let texts: Vec<&str> =
            ["<|end|>"].into_iter().chain(self.tokens.iter().map(|(text, _)| text.as_str())).collect();
        let mut tokenizer = byte_level(&texts);
        for (added, (_, special)) in
            tokenizer["added_tokens"].as_array_mut().expect("a list").iter_mut().skip(1).zip(&self.tokens)
        {
            added["special"] = json!(special);
        }
        let vocabulary = texts.len() + END as usize;
        let config = config(json!({
            "vocab_size": vocabulary, "hidden_size": HIDDEN, "num_hidden_layers": 1, "tie_word_embeddings": false,
            "max_position_embeddings": self.context, "eos_token_id": END, "torch_dtype": "float32",
        }));
        let mut settings = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>" });
        if let Some(template) = &self.template {
            settings["chat_template"] = json!(template);
        }
        let text = |value: &Value| value.to_string().into_bytes();
        vec![
            ("config.json", text(&config)),
            ("generation_config.json", text(&json!({ "eos_token_id": END }))),
            ("tokenizer.json", text(&tokenizer)),
            ("tokenizer_config.json", text(&settings)),
            ("model.safetensors", self.weights(&config, vocabulary)),
        ]
    }

    /// Every token has random signs. The head's row of a token is the sum of the signs of those that it comes after.
    fn weights(&self, config: &Value, vocabulary: usize) -> Vec<u8> {
        let mut random = Random(11);
        let mut signs = || if random.bits() >> 63 == 0 { 1.0 } else { -1.0 };
        let embedding: Vec<f32> = (0..vocabulary * HIDDEN).map(|_| signs()).collect();
        let mut head = vec![0.0; vocabulary * HIDDEN];
        for (last, next) in &self.next {
            let (from, to) = (*last as usize * HIDDEN, *next as usize * HIDDEN);
            for place in 0..HIDDEN {
                head[to + place] += embedding[from + place];
            }
        }
        let mut tensors = tensors(config);
        tensors.push(("lm_head.weight".into(), vec![vocabulary, HIDDEN]));
        safetensors(&tensors, Dtype::F32, |name, index| match name {
            "model.embed_tokens.weight" => embedding[index],
            "lm_head.weight" => head[index],
            _ if name.contains("norm") => 1.0,
            // What the layers would add goes through these two.
            _ if name.contains("o_proj") || name.contains("down_proj") => 0.0,
            _ => 0.01 * (index % 7) as f32,
        })
    }
}
