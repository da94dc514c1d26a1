//! What a model says about its text: the tokeniser's definition, the chat template, special tokens, the ends of answers.
//!
//! It is found in the files of a Hugging Face directory or in a GGUF header, and can be written down as the files of
//! such a directory. Must not know: how text is tokenised, weights.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::chat_template::ChatTemplate;
use super::definition::{Definition, added_token};
use super::generation::Generation;
use super::gguf_vocabulary::GgufVocabulary;
use super::settings;
use super::tokenizer_model::TokenizerModel;
use crate::error::{Error, Result};
use crate::model::gguf::GgufFile;
use crate::model::greedy::Greedy;
use crate::model::source::layout::{self, Layout};
use crate::model::standing;

/// Tokeniser classes that put BOS and EOS by their own two switches, whatever tokenizer.json says.
const LLAMA: &str = "LlamaTokenizer";
const LLAMA_CLASSES: &[&str] = &[LLAMA, "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"];

/// The special tokens that templates may use by name.
const SPECIALS: [&str; 7] =
    ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];

/// How a GGUF header calls them, in the same order.
const SPECIAL_IDS: [&str; 7] = [
    "bos_token_id",
    "eos_token_id",
    "padding_token_id",
    "unknown_token_id",
    "seperator_token_id",
    "cls_token_id",
    "mask_token_id",
];

/// Where GGUF headers have the template; others follow behind a dot and their name.
const HEADER_TEMPLATE: &str = "tokenizer.chat_template";

/// Special tokens by name, such as `bos_token`.
pub(in crate::model) type Specials = Vec<(&'static str, String)>;

/// Both kinds of checkpoint find these out before a [`super::Text`] can be built.
pub(in crate::model) struct Parts {
    /// How errors call the tokeniser.
    pub place: String,
    pub definition: Definition,
    pub template: Option<ChatTemplate>,
    /// Where there is no template to use: the names of others that the model has, and where they are.
    pub named: Option<(String, Vec<String>)>,
    pub specials: Specials,
    /// How answers go on and end; the ends ascending, each once.
    pub greedy: Greedy,
    /// Special tokens that are spelled out in a text are cut like any text.
    pub splits_special: bool,
    /// Decoded text loses blanks before punctuation.
    pub cleans_up: bool,
    /// What a user should know.
    pub notes: Vec<String>,
}

impl Parts {
    /// The text side of a GGUF header.
    pub fn of_gguf(file: &GgufFile) -> Result<Self> {
        let place = file.path().display().to_string();
        Self::of_header(file, place.clone()).map_err(|error| error.within(place))
    }

    fn of_header(file: &GgufFile, place: String) -> Result<Self> {
        let vocabulary = GgufVocabulary::of(file)?;
        let key = |short: &str| format!("tokenizer.ggml.{short}");
        let mut specials = Vec::new();
        for (name, short) in SPECIALS.iter().zip(SPECIAL_IDS) {
            let token = vocabulary.id(&key(short))?.and_then(|id| vocabulary.token(id));
            specials.extend(token.map(|token| (*name, token.to_owned())));
        }
        let mut stop_ids = vocabulary.ends();
        for short in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            stop_ids.extend(vocabulary.id(&key(short))?);
        }
        let template = file.text(HEADER_TEMPLATE);
        let template = template.map(|source| ChatTemplate::new(format!("{place}: {HEADER_TEMPLATE}"), source));
        let names = file.metas().filter_map(|(key, _)| key.strip_prefix(HEADER_TEMPLATE)?.strip_prefix('.'));
        let names: Vec<String> = names.map(str::to_owned).collect();
        let named = (template.is_none() && !names.is_empty()).then(|| (place.clone(), names));
        Ok(Self {
            definition: vocabulary.definition()?,
            template,
            named,
            specials,
            greedy: Greedy::until(&sorted(stop_ids)),
            splits_special: false,
            cleans_up: false,
            notes: Vec::new(),
            place,
        })
    }

    /// The text side of a Hugging Face directory. `config` is its config.json.
    ///
    /// # Errors
    /// A file that is missing, malformed or not fetched; a setting that changes texts in a way that is not supported.
    pub fn of_directory(layout: &Layout, config: &Value) -> Result<Self> {
        let settings = Side::read(layout, layout::TOKENIZER_CONFIG)?;
        let map = Side::read(layout, layout::SPECIAL_TOKENS)?;
        let mut notes = settings.look(settings::TOKENIZER_CONFIG)?;
        notes.extend(map.look(settings::SPECIAL_TOKENS)?);
        // transformers lets the map go first in directories that were saved before tokenizer_config.json listed added tokens
        let (first, second) =
            if settings.get("added_tokens_decoder").is_some() { (&settings, &map) } else { (&map, &settings) };
        let named = |name: &&'static str| {
            special(first.get(name)).or_else(|| special(second.get(name))).map(|text| (*name, text))
        };
        let mut specials: Specials = SPECIALS.iter().filter_map(named).collect();
        let (file, mut definition, class) = tokenizer(layout, &settings.map, &mut specials)?;
        let place = file.display().to_string();
        if let Some(top) = definition.json().as_object()
            && file.ends_with(layout::TOKENIZER)
        {
            // the library would refuse it in words that nobody understands
            if let Some(unknown) = standing::look(&place, top, settings::TOKENIZER)?.into_iter().next() {
                return Err(Error::user(unknown).hint("save the tokeniser with an older version of its library"));
            }
        }
        complete(&mut definition, &settings.map, &specials, &class).map_err(|error| error.within(&place))?;
        let more = [first, second].into_iter().flat_map(|side| side.further()).collect::<Vec<_>>();
        definition.make_special(specials.iter().map(|(_, text)| text.as_str()).chain(more.iter().map(String::as_str)));

        let Templates { template, named } = templates(layout, &settings)?;
        let generation = Side::read(layout, layout::GENERATION_CONFIG)?;
        let none = Map::new();
        let config = (layout.root().join(layout::CONFIG).display().to_string(), config.as_object().unwrap_or(&none));
        let file = generation.there.then_some((generation.place.as_str(), &generation.map));
        let generation = Generation::of(file, (config.0.as_str(), config.1))?;
        notes.extend(generation.notes);
        let mut stop_ids = generation.ends;
        // chat models often end a turn with the tokeniser's eos_token while config.json names the end of a document
        let eos_token = specials.iter().find(|(name, _)| *name == "eos_token");
        stop_ids.extend(eos_token.and_then(|(_, text)| definition.id(text)));
        let on = |name: &str| settings.get(name) == Some(&Value::Bool(true));
        // transformers cleans up what BPE decodes only where it is forced to: BPE writes blanks that are meant
        let cleans_up = on("clean_up_tokenization_spaces")
            && (!definition.is_bpe() || on("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"));
        Ok(Self {
            place,
            definition,
            template,
            named,
            specials,
            greedy: Greedy { adjustments: generation.adjustments, ..Greedy::until(&sorted(stop_ids)) },
            splits_special: on("split_special_tokens"),
            cleans_up,
            notes,
        })
    }

    /// The ids that config.json repeats: `bos_token_id`, `eos_token_id` and `pad_token_id`, where there are such tokens.
    pub fn ids(&self) -> Vec<(&'static str, u32)> {
        let keys = [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("pad_token", "pad_token_id")];
        let id = |special: &str| {
            let (_, text) = self.specials.iter().find(|(name, _)| *name == special)?;
            self.definition.id(text)
        };
        keys.into_iter().filter_map(|(special, key)| Some((key, id(special)?))).collect()
    }

    /// The files that say this in Hugging Face layout, by name. `context` is how many tokens the model was made for.
    pub fn into_files(self, context: usize) -> Vec<(&'static str, Value)> {
        let eos = match self.greedy.stops.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let mut generation = Map::from_iter([("eos_token_id".to_owned(), eos)]);
        for (key, id) in self.ids() {
            generation.entry(key).or_insert_with(|| id.into());
        }
        let mut settings = Map::from_iter([
            ("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast")),
            ("model_max_length".to_owned(), json!(context)),
            ("clean_up_tokenization_spaces".to_owned(), json!(false)),
        ]);
        settings.extend(self.specials.into_iter().map(|(name, text)| (name.to_owned(), json!(text))));
        if self.splits_special {
            settings.insert("split_special_tokens".into(), true.into());
        }
        if let Some(template) = self.template {
            settings.insert("chat_template".into(), json!(template.source()));
        }
        vec![
            ("generation_config.json", Value::Object(generation)),
            ("tokenizer.json", self.definition.into_json()),
            ("tokenizer_config.json", Value::Object(settings)),
        ]
    }
}

/// Ascending, each once.
fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The tokeniser of a directory, with the file that it comes from and its class: tokenizer.json itself, else what
/// tokenizer.model stands for. Special tokens that no setting names are then those of the file.
fn tokenizer(
    layout: &Layout,
    settings: &Map<String, Value>,
    specials: &mut Specials,
) -> Result<(PathBuf, Definition, String)> {
    let class = settings.get("tokenizer_class").and_then(Value::as_str);
    if let Some((file, definition)) = layout.json(layout::TOKENIZER)? {
        return Ok((file, Definition::new(definition), class.unwrap_or_default().to_owned()));
    }
    let way = "make one with transformers: `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`";
    let directory = layout.root().display();
    let Some(file) = layout.companion(layout::TOKENIZER_MODEL) else {
        let message = format!("{directory} has neither tokenizer.json nor tokenizer.model");
        return Err(Error::user(message).hint(way));
    };
    // without a class, the model families here are Llama's relatives
    let class = class.unwrap_or(LLAMA);
    if !LLAMA_CLASSES.contains(&class) {
        let message =
            format!("{directory} has no tokenizer.json, and a tokenizer.model is not read for the class {class}");
        return Err(Error::user(message).hint(way));
    }
    let model = TokenizerModel::open(&file)?;
    for (name, text) in [("bos_token", &model.beginning), ("eos_token", &model.end), ("unk_token", &model.unknown)] {
        if !specials.iter().any(|(known, _)| *known == name) {
            specials.push((name, text.clone()));
        }
    }
    let flag = |name: &str| settings.get(name).and_then(Value::as_bool);
    // transformers 4 takes silence for legacy, as `LlamaConverter` does
    let definition = model.definition(flag("legacy").unwrap_or(true), flag("add_prefix_space"));
    let mut definition = definition.map_err(|error| error.within(file.display()))?;
    // before transformers 4.34 tokens beyond the file lay in a file of their own
    let beyond = Side::read(layout, layout::ADDED_TOKENS)?;
    let special = |text: &str| specials.iter().any(|(_, known)| known == text);
    let token = |(text, id): (&String, &Value)| {
        Some(added_token(u32::try_from(id.as_u64()?).ok()?, text.as_str(), special(text)))
    };
    definition.add(beyond.map.iter().filter_map(token).collect());
    Ok((file, definition, class.to_owned()))
}

/// Brings a tokenizer.json to what transformers makes of it: no truncation or padding, the tokens that only
/// tokenizer_config.json adds, and BOS and EOS as its two switches say.
fn complete(
    definition: &mut Definition,
    settings: &Map<String, Value>,
    specials: &Specials,
    class: &str,
) -> Result<()> {
    definition.uncut()?;
    definition.check_drawn()?;
    let mut beyond = Vec::new();
    for (id, token) in settings.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten() {
        let content = token.get("content").and_then(Value::as_str).unwrap_or_default();
        if !content.is_empty() && definition.id(content).is_none() {
            let id = id.parse().map_err(|_| Error::user(format!("added_tokens_decoder has the id {id}")))?;
            let on = |name: &str, default: bool| token.get(name).and_then(Value::as_bool).unwrap_or(default);
            let mut added = added_token(id, content, on("special", false));
            for name in ["single_word", "lstrip", "rstrip"] {
                added[name] = on(name, false).into();
            }
            added["normalized"] = on("normalized", false).into();
            beyond.push(added);
        }
    }
    definition.add(beyond);

    let switches = ["add_bos_token", "add_eos_token"].map(|switch| settings.get(switch).and_then(Value::as_bool));
    let llama = LLAMA_CLASSES.contains(&class);
    if llama || switches != [None, None] {
        let end = |on: Option<bool>, default: bool, name: &str| -> Result<Option<(u32, &str)>> {
            if !on.unwrap_or(default) {
                return Ok(None);
            }
            let Some((_, text)) = specials.iter().find(|(special, _)| *special == name) else {
                // transformers switches it off
                return if llama {
                    Err(Error::user(format!("{class} adds {name}, but tokenizer_config.json does not name it")))
                } else {
                    Ok(None)
                };
            };
            let id = definition.id(text).ok_or_else(|| Error::user(format!("{name} {text} is not a token")))?;
            Ok(Some((id, text.as_str())))
        };
        let ends = (end(switches[0], llama, "bos_token")?, end(switches[1], false, "eos_token")?);
        if llama || definition.ends() != Some((ends.0.map(|(id, _)| id), ends.1.map(|(id, _)| id))) {
            definition.enclose(ends.0, ends.1);
        }
    }
    Ok(())
}

/// A special token: its text, or a table that holds its text.
fn special(value: Option<&Value>) -> Option<String> {
    let value = value?;
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// The chat template of a directory, or the names of those that it has instead.
struct Templates {
    template: Option<ChatTemplate>,
    named: Option<(String, Vec<String>)>,
}

/// chat_template.jinja, else the setting in tokenizer_config.json, else the one in chat_template.json, which transformers' processors
/// read. A setting is a text, or named ones of which `default` counts.
fn templates(layout: &Layout, settings: &Side) -> Result<Templates> {
    if let Some((file, source)) = layout.text(layout::CHAT_TEMPLATE)? {
        let template = Some(ChatTemplate::new(file.display().to_string(), source));
        return Ok(Templates { template, named: None });
    }
    let processor = Side::read(layout, layout::PROCESSOR_TEMPLATE)?;
    let mut named = None;
    for side in [settings, &processor] {
        let Some(value) = side.get("chat_template") else { continue };
        let found: Vec<(&str, &str)> = match value {
            Value::String(one) => vec![(DEFAULT, one.as_str())],
            Value::Array(several) => {
                let texts = several.iter().map(|entry| (entry.get("name"), entry.get("template")));
                texts.filter_map(|(name, template)| Some((name?.as_str()?, template?.as_str()?))).collect()
            }
            Value::Object(several) => {
                several.iter().filter_map(|(name, source)| Some((name.as_str(), source.as_str()?))).collect()
            }
            other => {
                let message = format!("{}: chat_template is {}, not a text", side.place, standing::brief(other));
                return Err(Error::user(message).hint("copy or download the file again"));
            }
        };
        if let Some((_, source)) = found.iter().find(|(name, _)| *name == DEFAULT) {
            let template = Some(ChatTemplate::new(format!("{}: chat_template", side.place), *source));
            return Ok(Templates { template, named: None });
        }
        let names: Vec<String> = found.iter().map(|(name, _)| (*name).to_owned()).collect();
        named = named.or_else(|| (!names.is_empty()).then(|| (side.place.clone(), names)));
    }
    Ok(Templates { template: None, named })
}

/// The name of the template that counts among several.
const DEFAULT: &str = "default";

/// A JSON table that need not be there; then it is empty.
struct Side {
    /// How messages call it.
    place: String,
    there: bool,
    map: Map<String, Value>,
}

impl Side {
    fn read(layout: &Layout, name: &str) -> Result<Self> {
        match layout.json(name)? {
            None => Ok(Self { place: layout.root().join(name).display().to_string(), there: false, map: Map::new() }),
            Some((file, Value::Object(map))) => Ok(Self { place: file.display().to_string(), there: true, map }),
            Some((file, _)) => {
                Err(Error::user(format!("{} is not a JSON table", file.display()))
                    .hint("copy or download the file again"))
            }
        }
    }

    /// The value of a setting; null counts as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn look(&self, table: &standing::Table) -> Result<Vec<String>> {
        standing::look(&self.place, &self.map, table)
    }

    /// Special tokens that have no name of their own.
    fn further(&self) -> Vec<String> {
        ["additional_special_tokens", "extra_special_tokens"]
            .into_iter()
            .filter_map(|key| self.get(key))
            .flat_map(|value| match value {
                Value::Array(tokens) => tokens.iter().collect::<Vec<_>>(),
                Value::Object(tokens) => tokens.values().collect(),
                _ => Vec::new(),
            })
            .filter_map(|token| special(Some(token)))
            .collect()
    }
}
