//! Every key of pipeline.toml in one table: its name, its kind, its default and what it means. The
//! table drives the checks, the defaults, the hints of error messages and the reference text, so a
//! key is added here, in [`super::typed`] and nowhere else.
//!
//! Must not know: what was typed, where it was typed, and what a value does.

use std::fmt::Write;

use super::choices::{Action, Dtype};
use super::kind::Kind;
use crate::data::Join;
use crate::judge::Parse;
use crate::model::matrix::{Modules, Projection};
use crate::score::Keep;

/// One table of pipeline.toml.
pub struct Section {
    pub name: &'static str,
    pub shape: Shape,
    pub about: &'static str,
    pub keys: &'static [Key],
}

/// How often a section stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[score]`: one; where it is absent, its defaults hold.
    Once,
    /// `[perplexity]`: one or none, and its absence means something.
    Optional,
    /// `[data.NAME]`: any number.
    Named,
}

/// One key of a section.
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Fallback,
    pub about: &'static str,
}

/// What holds where a key was not typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the key must be typed.
    Required,
    /// What this sentence says.
    Says(&'static str),
    /// This TOML value.
    Value(&'static str),
}

use Fallback::{Required, Says, Value};

const fn key(name: &'static str, kind: Kind, default: Fallback, about: &'static str) -> Key {
    Key { name, kind, default, about }
}

const MODULES: Kind = Kind::Words { words: Modules::NAMES, items: Projection::NAMES };

/// The sections, in the order in which a pipeline runs.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "model",
        shape: Shape::Once,
        about: "the model that is examined",
        keys: &[
            key("source", Kind::Text, Required, "a path, `hf:owner/name@revision` or `pip:package==version/member`"),
            key("dtype", Kind::OneOf(Dtype::NAMES), Value("\"f32\""), "the number format that it computes in"),
        ],
    },
    Section {
        name: "data",
        shape: Shape::Named,
        about: "prompts and responses that weights are scored on; rules speak of their names",
        keys: &[
            key("path", Kind::Text, Required, "a CSV or JSONL file"),
            key("prompt", Kind::Text, Value("\"prompt\""), "the column of prompts"),
            key("response", Kind::Text, Value("\"response\""), "the column of responses"),
            key("samples", Kind::Whole { least: 1 }, Value("128"), "how many rows are drawn"),
            key("seed", Kind::Whole { least: 0 }, Value("0"), "which rows are drawn"),
            key("skip", Kind::Whole { least: 0 }, Value("0"), "how many rows of that order are passed over first"),
        ],
    },
    Section {
        name: "tokenize",
        shape: Shape::Once,
        about: "how the rows of [data.*] become token ids",
        keys: &[
            key("chat_template", Kind::Text, Value("\"none\""), "\"none\", \"model\" or a file"),
            key(
                "drop_first_response_token",
                Kind::Flag,
                Value("false"),
                "as the released code: drop the response's first id, a BOS or not",
            ),
            key("chat_date", Kind::Text, Value("\"26 Jul 2024\""), "what chat templates are told is today (%d %b %Y)"),
        ],
    },
    Section {
        name: "questions",
        shape: Shape::Named,
        about: "questions that the base model and every variant answer",
        keys: &[
            key("path", Kind::Text, Required, "a CSV or JSONL file"),
            key("column", Kind::Text, Value("\"questions\""), "the column of questions"),
            key("limit", Kind::Whole { least: 1 }, Says("all"), "only the first so many rows"),
        ],
    },
    Section {
        name: "score",
        shape: Shape::Once,
        about: "how much each weight matters to each data set",
        keys: &[
            key("method", Kind::OneOf(&["magnitude", "random", "snip", "wanda"]), Value("\"snip\""), "the measure"),
            key("seed", Kind::Whole { least: 0 }, Value("0"), "which numbers the method \"random\" draws"),
            key("modules", MODULES, Value("\"mlp\""), "which weights are scored"),
            key("layers", Kind::Layers, Value("\"all\""), "in which layers: \"all\", \"0..12\" (12 excluded), [0, 5]"),
            key("cap", Kind::Number, Value("1e-3"), "the share of each matrix that is kept, and the limit of p and q"),
            key(
                "memory",
                Kind::Memory,
                Value("\"auto\""),
                "the most that may be held at once: \"8 GiB\"; changes no result",
            ),
            key("keep", Kind::OneOf(Keep::NAMES), Value("\"ranks\""), "\"full\" keeps every score as well"),
        ],
    },
    Section {
        name: "select",
        shape: Shape::Once,
        about: "which weights are switched off: a rule, and a grid of points (p, q)",
        keys: &[
            key("modules", MODULES, Says("score.modules"), "which of the scored weights take part"),
            key("layers", Kind::Layers, Says("score.layers"), "in which of the scored layers"),
            key(
                "rule",
                Kind::Text,
                Value("\"fairness & privacy - general\""),
                "set algebra over data names, or \"released-code\"",
            ),
            key("p", Kind::Numbers, Says("the same as q"), "shares of the subtracted sets; crossed with q"),
            key("q", Kind::Numbers, Says("5e-7, where there are no points"), "shares of the other sets"),
            key("points", Kind::Pairs, Says("none"), "[[p, q], …] in place of the lists"),
        ],
    },
    Section {
        name: "patch",
        shape: Shape::Once,
        about: "what happens to a selected weight",
        keys: &[key("action", Kind::OneOf(Action::NAMES), Value("\"zero\""), "it becomes zero")],
    },
    Section {
        name: "generate",
        shape: Shape::Once,
        about: "greedy answers to the questions",
        keys: &[
            key("max_new_tokens", Kind::Whole { least: 1 }, Value("64"), "the longest answer"),
            key("chat_template", Kind::Text, Value("\"model\""), "\"model\", \"none\" or a file"),
        ],
    },
    Section {
        name: "judge",
        shape: Shape::Once,
        about: "who says whether an answer is safe",
        keys: &[
            key(
                "kind",
                Kind::OneOf(&["refusal", "md-judge"]),
                Value("\"refusal\""),
                "phrases of caution, or a model that is asked",
            ),
            key("source", Kind::Text, Says("required by \"md-judge\""), "the judge model, written like model.source"),
            key(
                "template",
                Kind::Text,
                Says("one for any chat model comes with dean"),
                "a file with the judge's question",
            ),
            key("parse", Kind::OneOf(Parse::NAMES), Value("\"first-line\""), "how the judge model's text is read"),
        ],
    },
    Section {
        name: "perplexity",
        shape: Shape::Optional,
        about: "the price in ordinary ability; left out where this section is absent",
        keys: &[
            key("path", Kind::Text, Required, "a text file"),
            key(
                "window",
                Kind::WholeOr { least: 2, word: "max" },
                Value("2048"),
                "tokens a window, or \"max\": the model's context",
            ),
            key("join", Kind::OneOf(Join::NAMES), Value("\"raw\""), "\"wikitext-rows\" joins rows by blank lines"),
            key("limit", Kind::Whole { least: 1 }, Says("all"), "only the first so many windows"),
        ],
    },
    Section {
        name: "run",
        shape: Shape::Once,
        about: "this machine; nothing here changes a result",
        keys: &[
            key("device", Kind::Text, Value("\"auto\""), "\"auto\", \"cpu\", \"cuda\" or \"cuda:N\""),
            key("store", Kind::Text, Value("\"artifacts\""), "the directory of everything that was computed"),
            key("threads", Kind::Whole { least: 1 }, Says("one a core"), "threads on the CPU"),
            key(
                "checkpoint_seconds",
                Kind::Whole { least: 0 },
                Value("30"),
                "how often a long stage saves what it has; 0 after each step",
            ),
            key(
                "sources",
                Kind::Text,
                Says("$DEAN_SOURCES, else sources/ in the store"),
                "where fetched models are kept",
            ),
        ],
    },
];

/// The section of this name.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// `path, prompt, response`: for hints.
    pub fn key_names(&self) -> String {
        self.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
    }

    /// The header as a person writes it: `data.NAME`.
    fn header(&self) -> String {
        if self.shape == Shape::Named { format!("{}.NAME", self.name) } else { self.name.to_owned() }
    }
}

/// Where a key lives, for one that was typed in another section: `score.cap`, `data.NAME.samples`.
pub fn homes(key: &str) -> Vec<String> {
    SECTIONS
        .iter()
        .filter(|section| section.key(key).is_some())
        .map(|section| format!("{}.{key}", section.header()))
        .collect()
}

/// The reference of pipeline.toml, as a TOML file in which every key is explained in a line.
pub fn reference() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{}]  # {}", section.header(), section.about);
        for key in section.keys {
            let (name, about) = (key.name, key.about);
            let _ = match key.default {
                Required => writeln!(text, "# {name} = …  # {about} (required; {})", key.kind),
                Says(default) => writeln!(text, "# {name} = …  # {about} ({}; default: {default})", key.kind),
                Value(default) => writeln!(text, "{name} = {default}  # {about}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::{DeTable, DeValue};

    #[test]
    fn every_default_passes_its_own_check() {
        for section in SECTIONS {
            for key in section.keys {
                if let Value(text) = key.default {
                    let value = DeValue::parse(text).unwrap();
                    assert!(key.kind.check(key.name, &value).is_ok(), "{}.{}", section.name, key.name);
                }
            }
        }
    }

    #[test]
    fn names_are_unique_and_short_sentences_explain_them() {
        let mut names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
        names.dedup();
        assert_eq!(names.len(), SECTIONS.len());
        for section in SECTIONS {
            let mut names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), section.keys.len(), "{}", section.name);
            assert!(section.keys.iter().all(|key| !key.about.is_empty() && key.about.len() < 80));
        }
    }

    #[test]
    fn the_reference_is_toml_and_names_every_key() {
        let text = reference();
        assert!(DeTable::parse(&text).is_ok(), "{text}");
        let keys: usize = SECTIONS.iter().map(|section| section.keys.len()).sum();
        assert_eq!(text.lines().filter(|line| line.contains(" = ")).count(), keys);
        assert!(text.contains("samples = 128  # how many rows are drawn\n"));
        assert!(text.contains("# limit = …  # only the first so many rows (a whole number; default: all)\n"));
    }

    #[test]
    fn a_key_is_found_in_its_sections() {
        assert_eq!(homes("cap"), ["score.cap"]);
        assert_eq!(homes("samples"), ["data.NAME.samples"]);
    }
}
