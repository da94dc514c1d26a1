//! The settings: one struct for each section of pipeline.toml, one field for each key. A field has its type, which says what
//! may be typed, its default, and its documentation: a first sentence for hints and editors, then which keys it enters.
//!
//! serde reads them, schemars derives the schema from them, and ARCHITECTURE.md's key table is held against what they say.
//! Must not know: files, places, and how settings depend on each other.

mod answers;
mod guards;
mod search;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::answers::{Generate, Judge};
pub use self::guards::{Controls, Divergence};
pub use self::search::Search;
use super::schema;
use super::sweep::Sweep;
use super::values::{Shares, Window, device, limit, named, positive, source};
use crate::choice::Choice;
use crate::data::{Join, Layout, TooLong, Turns};
use crate::inspect::caution::Lists;
use crate::model::device::{Device, Precision};
use crate::model::matrix::{Layers, Modules};
use crate::model::patch::Action;
use crate::model::source::spec::Source;
use crate::model::text::prompt_template::PromptTemplate;
use crate::report::split::Tune;
use crate::report::tuning::Goal;
use crate::score::{self, Keep, Method};
use crate::size::Budget;

/// The sections, in the order in which a pipeline runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The model that is examined.
    pub model: Model,
    /// Prompts and responses that weights are scored on; rules speak of their names.
    #[serde(default, deserialize_with = "named")]
    pub data: BTreeMap<String, Data>,
    /// How the rows of `[data.*]` become token ids.
    #[serde(default)]
    pub tokenize: Tokenize,
    /// Questions that the base model and every variant answer.
    #[serde(default, deserialize_with = "named")]
    pub questions: BTreeMap<String, Questions>,
    /// How much each weight matters to each data set.
    #[serde(default)]
    pub score: Score,
    /// Which weights are switched off: a rule, and a grid of points (p, q).
    #[serde(default)]
    pub select: Select,
    /// Settings and the values that each takes in turn: "data.*.seed" = [0, 1, 2].
    #[serde(default)]
    pub sweep: Sweep,
    /// Masks with as many weights as those of the rule, and other ones.
    #[serde(default)]
    pub controls: Controls,
    /// What happens to a selected weight.
    #[serde(default)]
    pub patch: Patch,
    /// Answers to the questions.
    #[serde(default)]
    pub generate: Generate,
    /// Who says whether an answer is safe.
    #[serde(default)]
    pub judge: Judge,
    /// Further judges of the same answers, written `[judge.NAME]`; `document.rs` and `schema.rs` know that spelling.
    #[serde(default, deserialize_with = "named")]
    pub judges: BTreeMap<String, Judge>,
    /// How far the next tokens of ordinary answers move.
    #[serde(default)]
    pub divergence: Divergence,
    /// The price in ordinary ability; left out where this section is absent.
    pub perplexity: Option<Perplexity>,
    /// What is read off answers without a judge.
    #[serde(default)]
    pub inspect: Inspect,
    /// What of all that was measured is shown, and how.
    #[serde(default)]
    pub report: Report,
    /// The points that are measured where nobody knows a grid.
    #[serde(default)]
    pub search: Search,
    /// This machine; nothing here changes a result.
    #[serde(default)]
    pub run: Run,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A path, `hf:owner/name@revision` or `pip:package==version/member`.
    ///
    /// Key: none; the content of the model enters.
    #[serde(deserialize_with = "source")]
    #[schemars(with = "String")]
    pub source: Source,
    /// The number format that it computes in.
    ///
    /// Key: score, generate, judge, divergence, perplexity.
    #[serde(default)]
    pub dtype: Precision,
}

/// `[data.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A file of rows: CSV, TSV, JSON, JSON Lines or Parquet, packed or not.
    ///
    /// Key: none; the bytes enter, and which of these they are.
    pub path: PathBuf,
    /// How columns make a conversation; found by their names unless it is set.
    ///
    /// Key: tokenize.
    #[serde(default)]
    #[schemars(with = "Choice<dyn Layout>")]
    pub format: Option<Choice<dyn Layout>>,
    /// The column of prompts, or of whole conversations.
    ///
    /// Key: tokenize.
    #[serde(default = "Data::prompt")]
    pub prompt: String,
    /// The column of responses.
    ///
    /// Key: tokenize.
    #[serde(default = "Data::response")]
    pub response: String,
    /// How many rows are drawn.
    ///
    /// Key: tokenize.
    #[serde(default = "Data::samples", deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub samples: usize,
    /// Which rows are drawn: the first of numpy's `default_rng(seed).permutation(rows)`.
    ///
    /// Key: tokenize.
    #[serde(default)]
    pub seed: u64,
    /// How many rows of that order are passed over first.
    ///
    /// Key: tokenize.
    #[serde(default)]
    pub skip: usize,
    /// Which of the assistant's turns are responses: the last, or every one.
    ///
    /// Key: tokenize.
    #[serde(default)]
    pub turns: Turns,
    /// What becomes of a row that is longer than the model's context.
    ///
    /// Key: tokenize.
    #[serde(default)]
    pub too_long: TooLong,
}

impl Data {
    fn prompt() -> String {
        "prompt".into()
    }

    fn response() -> String {
        "response".into()
    }

    fn samples() -> usize {
        128
    }
}

/// `[tokenize]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tokenize {
    /// How calibration prompts are dressed: "none", "model" or a file.
    ///
    /// Unless it is set, texts are not dressed, and conversations are by the model's template.
    ///
    /// Key: tokenize.
    #[schemars(with = "String")]
    pub chat_template: Option<PromptTemplate<PathBuf>>,
    /// As the released code: drop the response's first id, a BOS or not.
    ///
    /// Key: tokenize.
    pub drop_first_response_token: bool,
    /// What chat templates are told is today (%d %b %Y).
    ///
    /// Key: tokenize, generate, judge.
    pub chat_date: String,
}

impl Default for Tokenize {
    fn default() -> Self {
        Self { chat_template: None, drop_first_response_token: false, chat_date: "26 Jul 2024".into() }
    }
}

/// `[questions.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// A file of rows: CSV, TSV, JSON, JSON Lines or Parquet, packed or not.
    ///
    /// Key: none; the bytes enter, and which of these they are.
    pub path: PathBuf,
    /// The column of questions; texts, or conversations that end with one.
    ///
    /// Key: generate.
    #[serde(default = "Questions::column")]
    pub column: String,
    /// Only the rows with this value in that column: ["label", "safe"].
    ///
    /// Key: generate.
    #[serde(default)]
    pub only: Option<(String, String)>,
    /// Only the first so many rows.
    ///
    /// Key: generate.
    #[serde(default, deserialize_with = "limit")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
    /// The share that a point is chosen on, or a file of these; it is reported on all others.
    ///
    /// Key: report.
    #[serde(default)]
    #[schemars(schema_with = "schema::tune")]
    pub tune: Option<Tune<PathBuf>>,
    /// "more" if it is good that judges call more answers safe, "less" or "none" if not.
    ///
    /// "more" unless it is set, if the set is called like a data set whose weights the rule takes; otherwise "none".
    ///
    /// Key: report.
    #[serde(default)]
    #[schemars(with = "Goal")]
    pub goal: Option<Goal>,
}

impl Questions {
    fn column() -> String {
        "questions".into()
    }
}

/// `[score]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Score {
    /// The measure.
    ///
    /// Key: score.
    pub method: Choice<dyn Method>,
    /// Which numbers the method "random" draws.
    ///
    /// Key: score.
    pub seed: u64,
    /// Which weights are scored.
    ///
    /// Key: score, select.
    #[schemars(schema_with = "schema::modules")]
    pub modules: Modules,
    /// In which layers: "all", "0..12" (12 excluded), [0, 5].
    ///
    /// Key: score, select.
    #[schemars(schema_with = "schema::layers")]
    pub layers: Layers,
    /// The share of each matrix that is kept, and the limit of p and q.
    ///
    /// Key: score.
    pub cap: f64,
    /// The most that may be held at once: "8 GiB"; changes no result.
    ///
    /// Key: none.
    #[schemars(schema_with = "schema::budget")]
    pub memory: Budget,
    /// "full" keeps every score as well.
    ///
    /// Key: score.
    pub keep: Keep,
}

impl Default for Score {
    fn default() -> Self {
        Self {
            method: score::DEFAULT,
            seed: 0,
            modules: Modules::MLP,
            layers: Layers::all(),
            cap: 1e-3,
            memory: Budget::Auto,
            keep: Keep::default(),
        }
    }
}

/// `[select]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Select {
    /// Which of the scored weights take part; all of them unless it is set.
    ///
    /// Key: select.
    #[schemars(schema_with = "schema::modules")]
    pub modules: Option<Modules>,
    /// In which of the scored layers; in all of them unless it is set.
    ///
    /// Key: select.
    #[schemars(schema_with = "schema::layers")]
    pub layers: Option<Layers>,
    /// Set algebra over data names, or "released-code".
    ///
    /// Key: select.
    pub rule: String,
    /// Shares of the subtracted sets; crossed with q.
    ///
    /// Key: select.
    #[schemars(schema_with = "schema::shares")]
    pub p: Option<Shares>,
    /// Shares of the other sets.
    ///
    /// Key: select.
    #[schemars(schema_with = "schema::shares")]
    pub q: Option<Shares>,
    /// [[p, q], …] in place of the lists.
    ///
    /// Key: select.
    pub points: Option<Vec<(f64, f64)>>,
}

impl Default for Select {
    fn default() -> Self {
        Self {
            modules: None,
            layers: None,
            rule: "fairness & privacy - general".into(),
            p: None,
            q: None,
            points: None,
        }
    }
}

/// `[patch]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Patch {
    /// What a selected weight becomes.
    ///
    /// Key: patch.
    pub action: Action,
}

/// `[perplexity]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perplexity {
    /// A text file.
    ///
    /// Key: none; the bytes enter.
    pub path: PathBuf,
    /// Tokens a window, or "max": the model's context.
    ///
    /// Key: perplexity.
    #[serde(default)]
    #[schemars(schema_with = "schema::window")]
    pub window: Window,
    /// "wikitext-rows" joins rows by blank lines.
    ///
    /// Key: perplexity.
    #[serde(default)]
    pub join: Join,
    /// Only the first so many windows.
    ///
    /// Key: perplexity.
    #[serde(default, deserialize_with = "limit")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
}

/// `[inspect]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Inspect {
    /// Cautionary phrases to count, by question set; in place of those that come with dean.
    ///
    /// Key: inspect.
    pub caution: Lists,
}

/// `[report]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// Leave out questions that are calibration prompts, as they are or nearly.
    ///
    /// Key: report.
    pub drop_leaked: bool,
}

/// `[run]`: this machine. Nothing here enters a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// "auto", "cpu", "cuda" or "cuda:N".
    ///
    /// Key: none.
    #[serde(deserialize_with = "device")]
    #[schemars(with = "String", regex(pattern = r"^(auto|cpu|cuda(:[0-9]+)?)$"))]
    pub device: Device,
    /// The directory of everything that was computed.
    ///
    /// Key: none.
    pub store: PathBuf,
    /// Threads on the CPU; one a core unless it is set.
    ///
    /// Key: none.
    #[serde(deserialize_with = "limit")]
    #[schemars(range(min = 1))]
    pub threads: Option<usize>,
    /// How often a long stage saves what it has; 0 after each step.
    ///
    /// Key: none.
    pub checkpoint_seconds: u64,
    /// Where fetched models are kept; $DEAN_SOURCES unless it is set, else sources/ in the store.
    ///
    /// Key: none.
    pub sources: Option<PathBuf>,
}

impl Default for Run {
    fn default() -> Self {
        Self { device: Device::Auto, store: "artifacts".into(), threads: None, checkpoint_seconds: 30, sources: None }
    }
}

impl Run {
    /// Where fetched models are kept.
    pub fn sources(&self) -> PathBuf {
        self.sources.clone().unwrap_or_else(|| self.store.join("sources"))
    }
}
