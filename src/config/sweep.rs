//! Sweeps: settings with the values that each takes in turn, in `[sweep]` or as `--sweep KEY=VALUES`, and the jobs that they mean.
//!
//! Each combination of values is a job like any other, written as options. Must not know: any key but those of a grid and of a
//! draw, what a value means, how a job is run.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::spelling::did_you_mean;

/// The most jobs of one sweep: more were typed by mistake.
const MOST: usize = 10_000;
/// The key of `[sweep]` that is no axis.
const ZIP: &str = "zip";

/// One axis: a setting and its values, each as TOML.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The key as it was typed; `*` stands for every data set, or for every set of questions.
    pub key: String,
    pub values: Vec<String>,
}

/// What is swept, and how values come together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    pub axes: Vec<Axis>,
    pub zip: Zip,
}

/// Which axes go together: their first values, then their second ones, and so on.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Zip {
    #[default]
    Nothing,
    Everything,
    /// The axes of each group, by their keys.
    Groups(Vec<Vec<String>>),
}

/// One job of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination {
    /// Key and value of each axis, as it was typed.
    pub picks: Vec<(String, String)>,
}

impl Axis {
    /// Reads `data.*.seed=0..5`, `score.method=snip,wanda`, `select.q=logspace(1e-6,1e-4,5)` or `KEY=[…]`.
    ///
    /// # Errors
    /// What is wrong, in words for clap.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let (key, values) = text.split_once('=').ok_or("write KEY=VALUES, such as data.*.seed=0..5")?;
        let values = values_of(values.trim()).map_err(|error| error.message().to_owned())?;
        if values.is_empty() {
            return Err(format!("{key} has no values"));
        }
        Ok(Self { key: key.trim().to_owned(), values })
    }
}

/// Whether the values of a key are points of one grid, so that one job has them all.
pub fn is_grid(key: &str) -> bool {
    matches!(key, "select.p" | "select.q" | "select.points")
}

/// Whether other values of a key are other draws of the same thing.
pub fn is_draw(key: &str) -> bool {
    key.ends_with(".seed") || key.ends_with(".skip")
}

/// What `--set` would take for one value of a key. `names` gives the names that `*` stands for in a section.
pub fn options<'a>(key: &str, value: &str, names: &dyn Fn(&str) -> Vec<&'a str>) -> Vec<String> {
    match key.split_once(".*.") {
        Some((section, rest)) => {
            names(section).into_iter().map(|name| format!("{section}.{name}.{rest}={value}")).collect()
        }
        None => vec![format!("{key}={value}")],
    }
}

impl Sweep {
    /// The same under what was typed: an axis on the command line replaces the one of its key, and a setting that was typed with
    /// `--set` is swept no more.
    #[must_use]
    pub fn under(mut self, typed: &[Axis], zip: bool, sets: &[String]) -> Self {
        let is_set = |key: &str| sets.iter().any(|set| set.split_once('=').is_some_and(|(set, _)| set.trim() == key));
        self.axes.retain(|axis| !is_set(&axis.key));
        for axis in typed {
            match self.axes.iter_mut().find(|known| known.key == axis.key) {
                Some(known) => *known = axis.clone(),
                None => self.axes.push(axis.clone()),
            }
        }
        if zip {
            self.zip = Zip::Everything;
        }
        self
    }

    /// Every combination of the axes' values, the first axis slowest. Axes that are zipped are one axis. The values of p and q
    /// are in all of them.
    ///
    /// # Errors
    /// User: axes that are zipped and do not fit, and too many combinations.
    pub fn combinations(&self) -> Result<Vec<Combination>> {
        let (grid, axes): (Vec<&Axis>, Vec<&Axis>) = self.axes.iter().partition(|axis| is_grid(&axis.key));
        if self.zip == Zip::Everything && grid.len() > 1 {
            return Err(Error::user("p and q of one sweep make a grid, and cannot be zipped")
                .hint("write the pairs: --sweep 'select.points=[[1e-5,1e-5],[3e-5,1e-5]]'"));
        }
        let in_all = grid.iter().map(|axis| (axis.key.clone(), format!("[{}]", axis.values.join(", "))));
        let mut all = vec![in_all.collect::<Vec<_>>()];
        for group in self.groups(&axes) {
            let lengths: Vec<usize> = group.iter().map(|axis| axis.values.len()).collect();
            if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
                let keys: Vec<&str> = group.iter().map(|axis| axis.key.as_str()).collect();
                return Err(Error::user(format!(
                    "axes that are zipped have different numbers of values: {}",
                    keys.join(", ")
                ))
                .hint("give each axis as many values, or do not zip them, for every combination"));
            }
            let longer = |picks: &Vec<(String, String)>| {
                let more = |at: usize| {
                    group.iter().filter_map(move |axis| Some((axis.key.clone(), axis.values.get(at)?.clone())))
                };
                (0..lengths.first().copied().unwrap_or(1))
                    .map(|at| picks.iter().cloned().chain(more(at)).collect::<Vec<_>>())
                    .collect::<Vec<_>>()
            };
            if all.len().saturating_mul(lengths.first().copied().unwrap_or(1)) > MOST {
                return Err(
                    Error::user(format!("the sweep has more than {MOST} combinations")).hint("give fewer values")
                );
            }
            all = all.iter().flat_map(longer).collect();
        }
        Ok(all.into_iter().map(|picks| Combination { picks }).collect())
    }

    /// The axes that go together, each group at the place of its first axis.
    fn groups<'a>(&self, axes: &[&'a Axis]) -> Vec<Vec<&'a Axis>> {
        let together = |one: &str, other: &str| match &self.zip {
            Zip::Nothing => false,
            Zip::Everything => true,
            Zip::Groups(groups) => groups.iter().any(|group| {
                group.iter().any(|key| key.as_str() == one) && group.iter().any(|key| key.as_str() == other)
            }),
        };
        let mut groups: Vec<Vec<&Axis>> = Vec::new();
        for axis in axes {
            let of_it = |group: &&mut Vec<&Axis>| group.first().is_some_and(|first| together(&first.key, &axis.key));
            match groups.iter_mut().find(of_it) {
                Some(group) => group.push(axis),
                None => groups.push(vec![axis]),
            }
        }
        groups
    }

    fn of(entries: Vec<(String, toml::Value)>) -> Result<Self> {
        let mut sweep = Self::default();
        for (key, value) in entries {
            match value {
                toml::Value::Boolean(flag) if key == ZIP => {
                    sweep.zip = if flag { Zip::Everything } else { Zip::Nothing };
                }
                value if key == ZIP => sweep.zip = Zip::Groups(groups_of(&value)?),
                // A key that was typed without quotes is a table in a table.
                toml::Value::Table(table) => {
                    let inner = table.into_iter().map(|(name, value)| (format!("{key}.{name}"), value));
                    sweep.axes.extend(Self::of(inner.collect())?.axes);
                }
                value => sweep.axes.push(Axis { values: listed(&key, &value)?, key }),
            }
        }
        if let Zip::Groups(groups) = &sweep.zip {
            let keys = || sweep.axes.iter().map(|axis| axis.key.as_str());
            if let Some(key) = groups.iter().flatten().find(|key| !keys().any(|known| known == key.as_str())) {
                let nearest = did_you_mean(key, keys());
                return Err(Error::user(format!("`zip` names {key}, which is not swept{nearest}"))
                    .hint("zip lists groups of keys of [sweep]: zip = [[\"data.a.seed\", \"data.b.seed\"]]"));
            }
        }
        Ok(sweep)
    }
}

/// The values that are listed in the file: a list as it stands, a text as on the command line, or one value.
fn listed(key: &str, value: &toml::Value) -> Result<Vec<String>> {
    let values = match value {
        toml::Value::Array(values) => values.iter().map(spelled).collect(),
        toml::Value::String(text) => values_of(text)?,
        one => vec![spelled(one)],
    };
    if values.is_empty() {
        return Err(Error::user(format!("`{key}` has no values")).hint("write a list: \"data.*.seed\" = [0, 1, 2]"));
    }
    Ok(values)
}

/// A value as it is typed: shares are small, and have an exponent.
fn spelled(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(number) if *number != 0.0 && number.abs() < 1e-3 => format!("{number:e}"),
        toml::Value::Array(values) => format!("[{}]", values.iter().map(spelled).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}

fn groups_of(value: &toml::Value) -> Result<Vec<Vec<String>>> {
    let group = |group: &toml::Value| {
        group.as_array()?.iter().map(|key| Some(key.as_str()?.to_owned())).collect::<Option<Vec<_>>>()
    };
    let groups = value.as_array().and_then(|groups| groups.iter().map(group).collect::<Option<Vec<_>>>());
    groups.ok_or_else(|| {
        Error::user("`zip` must be true, false, or a list of lists of keys")
            .hint("zip = true, or zip = [[\"data.a.seed\", \"data.b.seed\"]]")
    })
}

/// The values that a text stands for, each as TOML.
fn values_of(text: &str) -> Result<Vec<String>> {
    let wrong = || {
        Error::user(format!("`{text}` is no list of values: write a,b,c or [a, b] or 0..5 or logspace(1e-6,1e-4,5)"))
    };
    if text.starts_with("logspace(") {
        let values = logspace(text).ok_or_else(wrong)?;
        return Ok(values.into_iter().map(|(_, typed)| typed).collect());
    }
    if text.starts_with('[') || text.contains('"') {
        let list = if text.starts_with('[') { text.to_owned() } else { format!("[{text}]") };
        let table: toml::Table = format!("values = {list}").parse().map_err(|_| wrong())?;
        let values = table.get("values").and_then(toml::Value::as_array).ok_or_else(wrong)?;
        return Ok(values.iter().map(spelled).collect());
    }
    if let Some((from, to)) = text.split_once("..").filter(|_| !text.contains(['/', ','])) {
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let (from, to) = (number(from)?, number(to)?);
        return if to.saturating_sub(from) <= MOST as u64 {
            Ok((from..to).map(|value| value.to_string()).collect())
        } else {
            Err(wrong())
        };
    }
    // A word that is no TOML is a text: `snip,wanda` needs no quotes.
    let value = |part: &str| match format!("value = {part}").parse::<toml::Table>() {
        Ok(_) => part.to_owned(),
        Err(_) => toml::Value::from(part).to_string(),
    };
    Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(value).collect())
}

/// The numbers of `logspace(1e-6, 1e-4, 7)`, each as it is and as it is typed: evenly in their logarithm, both ends as they were
/// typed. None of another text.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "checked to be small"
)]
pub fn logspace(text: &str) -> Option<Vec<(f64, String)>> {
    let inner = text.strip_prefix("logspace(")?.strip_suffix(')')?;
    let numbers: Vec<f64> = inner.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    let [from, to, count] = numbers[..] else { return None };
    if !(from > 0.0 && to > 0.0 && to.is_finite() && from.is_finite())
        || !(count >= 2.0 && count.fract() == 0.0 && count <= MOST as f64)
    {
        return None;
    }
    let steps = count as usize - 1;
    // Three digits are enough to tell points apart, and to type them again.
    let number = |step: usize| {
        let typed = match step {
            0 => format!("{from:e}"),
            last if last == steps => format!("{to:e}"),
            _ => format!("{:.2e}", from * (to / from).powf(step as f64 / steps as f64)),
        };
        Some((typed.parse().ok()?, typed))
    };
    (0..=steps).map(number).collect()
}

impl<'de> Deserialize<'de> for Sweep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Typed;

        impl<'de> Visitor<'de> for Typed {
            type Value = Sweep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Sweep, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<String, toml::Value>()? {
                    entries.push(entry);
                }
                Sweep::of(entries).map_err(|error| {
                    let hint = error.hint_text().map(|hint| format!("\n{hint}")).unwrap_or_default();
                    A::Error::custom(format!("{error}{hint}"))
                })
            }
        }
        deserializer.deserialize_map(Typed)
    }
}

impl JsonSchema for Sweep {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sweep".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                ZIP: {
                    "description": "Take the first values of all axes together, then the second ones; or groups of axes.\n\nKey: none.",
                    "anyOf": [
                        {"type": "boolean"},
                        {"type": "array", "items": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
                    ],
                },
            },
            "additionalProperties": {
                "description": "A setting, such as \"data.*.seed\", with a list of its values, \"0..5\" or \"logspace(1e-6, 1e-4, 7)\".",
            },
        })
    }
}

#[cfg(test)]
mod tests;
