//! What was typed, as structs: one for each section, with the defaults of the schema filled in and
//! nothing interpreted. A key without a default is an `Option`.
//!
//! Must not know: files, places, and how keys depend on each other (that is `resolve.rs`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::choices::{Dtype, Window};
use super::{Patch, Score};
use crate::choice::Choice;
use crate::data::Join;
use crate::judge::{Entry, Parse};
use crate::model::matrix::{Layers, Modules};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineToml {
    pub model: ModelToml,
    pub data: BTreeMap<String, DataToml>,
    pub tokenize: TokenizeToml,
    pub questions: BTreeMap<String, QuestionsToml>,
    pub score: Score,
    pub select: SelectToml,
    pub patch: Patch,
    pub generate: GenerateToml,
    pub judge: JudgeToml,
    pub perplexity: Option<PerplexityToml>,
    pub run: RunToml,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelToml {
    pub source: String,
    pub dtype: Dtype,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataToml {
    pub path: String,
    pub prompt: String,
    pub response: String,
    pub samples: usize,
    pub seed: u64,
    pub skip: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizeToml {
    pub chat_template: String,
    pub drop_first_response_token: bool,
    pub chat_date: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionsToml {
    pub path: String,
    pub column: String,
    pub limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectToml {
    pub modules: Option<Modules>,
    pub layers: Option<Layers>,
    pub rule: String,
    pub p: Option<Vec<f64>>,
    pub q: Option<Vec<f64>>,
    pub points: Option<Vec<(f64, f64)>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateToml {
    pub max_new_tokens: usize,
    pub chat_template: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeToml {
    pub kind: Choice<Entry>,
    pub source: Option<String>,
    pub template: Option<String>,
    pub parse: Parse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerplexityToml {
    pub path: String,
    pub window: Window,
    pub join: Join,
    pub limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunToml {
    pub device: String,
    pub store: String,
    pub threads: Option<usize>,
    pub checkpoint_seconds: u64,
    pub sources: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::kind::Kind;
    use super::super::schema::{SECTIONS, Shape};
    use super::PipelineToml;

    /// A value that fits a kind.
    fn example(kind: Kind) -> toml::Value {
        match kind {
            Kind::Text => "x".into(),
            Kind::OneOf(names) => names[0].into(),
            Kind::Flag => true.into(),
            Kind::Whole { least } | Kind::WholeOr { least, .. } => least.into(),
            Kind::Number => 1.0.into(),
            Kind::Numbers => vec![1.0].into(),
            Kind::Pairs => vec![vec![1.0, 1.0]].into(),
            Kind::Words { items, .. } => vec![items[0]].into(),
            Kind::Layers => "all".into(),
            Kind::Memory => "auto".into(),
        }
    }

    fn everything(skip: &str) -> toml::Table {
        let mut root = toml::Table::new();
        for section in SECTIONS {
            let keys = section.keys.iter().filter(|key| format!("{}.{}", section.name, key.name) != skip);
            let table: toml::Table = keys.map(|key| (key.name.to_owned(), example(key.kind))).collect();
            let table = match section.shape {
                Shape::Named => [("some".to_owned(), toml::Value::Table(table))].into_iter().collect(),
                Shape::Once | Shape::Optional => table,
            };
            root.insert(section.name.to_owned(), toml::Value::Table(table));
        }
        root
    }

    #[test]
    fn the_structs_know_every_key_of_the_schema_and_no_other() {
        everything("").try_into::<PipelineToml>().unwrap();
        for section in SECTIONS {
            for key in section.keys {
                let left_out: Result<PipelineToml, _> =
                    everything(&format!("{}.{}", section.name, key.name)).try_into();
                let optional = matches!(key.default, super::super::schema::Fallback::Says(_));
                assert_eq!(left_out.is_ok(), optional, "{}.{}", section.name, key.name);
            }
        }
        // A field that the schema lacks could never be typed: it would be missing from `everything("")`,
        // unless it were an Option, so those are counted.
        let fields =
            include_str!("typed.rs").lines().filter(|line| line.starts_with("    pub ") && line.contains("Option<"));
        let says = SECTIONS
            .iter()
            .flat_map(|section| section.keys)
            .filter(|key| matches!(key.default, super::super::schema::Fallback::Says(_)));
        assert_eq!(fields.count(), says.count() + 1, "one Option more: the section [perplexity]");
    }
}
