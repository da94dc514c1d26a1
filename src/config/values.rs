//! Values that settings do not read by a plain derive: shares, windows, names of sections, and types that the rooms below
//! parse.
//!
//! Must not know: any key.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::de::{Error as _, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sweep::logspace;
use crate::error::Error;
use crate::model::device::Device;
use crate::model::source::spec::Source;

/// One share or several; one is a list of one, and `logspace(1e-6, 1e-4, 7)` is a list of seven.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares(pub Vec<f64>);

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Typed;

        impl<'de> Visitor<'de> for Typed {
            type Value = Shares;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Shares, E> {
                match logspace(text) {
                    Some(shares) => Ok(Shares(shares.into_iter().map(|(share, _)| share).collect())),
                    None => Err(E::invalid_type(Unexpected::Str(text), &self)),
                }
            }

            fn visit_f64<E: serde::de::Error>(self, share: f64) -> Result<Shares, E> {
                Ok(Shares(vec![share]))
            }

            #[expect(clippy::cast_precision_loss, reason = "no whole number is a share")]
            fn visit_u64<E: serde::de::Error>(self, share: u64) -> Result<Shares, E> {
                self.visit_f64(share as f64)
            }

            #[expect(clippy::cast_precision_loss, reason = "no whole number is a share")]
            fn visit_i64<E: serde::de::Error>(self, share: i64) -> Result<Shares, E> {
                self.visit_f64(share as f64)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shares, A::Error> {
                let mut shares = Vec::new();
                while let Some(share) = items.next_element()? {
                    shares.push(share);
                }
                Ok(Shares(shares))
            }
        }
        deserializer.deserialize_any(Typed)
    }
}

/// The length of a perplexity window. Spelled as a whole number, or `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// This many tokens, at least two.
    Tokens(usize),
    /// As many tokens as the model's context holds.
    Max,
}

impl Default for Window {
    fn default() -> Self {
        Self::Tokens(2048)
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tokens(tokens) => tokens.serialize(serializer),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Typed;

        impl Visitor<'_> for Typed {
            type Value = Window;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or \"max\"")
            }

            fn visit_u64<E: serde::de::Error>(self, tokens: u64) -> Result<Window, E> {
                let wrong = || E::invalid_value(Unexpected::Unsigned(tokens), &"at least 2");
                usize::try_from(tokens).ok().filter(|tokens| *tokens >= 2).map(Window::Tokens).ok_or_else(wrong)
            }

            fn visit_i64<E: serde::de::Error>(self, tokens: i64) -> Result<Window, E> {
                Err(E::invalid_value(Unexpected::Signed(tokens), &"at least 2"))
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Window, E> {
                if word == "max" { Ok(Window::Max) } else { Err(E::invalid_value(Unexpected::Str(word), &self)) }
            }
        }
        deserializer.deserialize_any(Typed)
    }
}

/// A name that rules, file names and dotted keys can hold.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if plain && text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(Self(text));
        }
        Err(D::Error::custom(format!(
            "`{text}` cannot be the name of a section\n\
             a name is letters, digits and _, and begins with a letter, so that rules can speak of it"
        )))
    }
}

/// Sections that have a name each.
pub fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error> {
    let sections = BTreeMap::<Name, T>::deserialize(deserializer)?;
    Ok(sections.into_iter().map(|(Name(name), section)| (name, section)).collect())
}

/// A whole number, at least 1.
pub fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    NonZeroUsize::deserialize(deserializer).map(NonZeroUsize::get)
}

/// The same for a limit that there need not be.
pub fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    positive(deserializer).map(Some)
}

/// A number that is not below 0.
pub fn temperature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    let wrong = || D::Error::invalid_value(Unexpected::Float(value), &"a number from 0 up");
    Some(value).filter(|value| value.is_finite() && *value >= 0.0).ok_or_else(wrong)
}

/// A share of a whole, which there need not be.
pub fn some_share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = f64::deserialize(deserializer)?;
    let wrong = || D::Error::invalid_value(Unexpected::Float(value), &"above 0 and at most 1");
    Some(value).filter(|value| *value > 0.0 && *value <= 1.0).map(Some).ok_or_else(wrong)
}

/// Texts of which none is empty.
pub fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    match texts.iter().any(String::is_empty) {
        true => Err(D::Error::custom("an empty text stands everywhere\nleave it out")),
        false => Ok(texts),
    }
}

/// A source as it was typed: a relative path stays one.
pub fn source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
    let text = String::deserialize(deserializer)?;
    Source::parse(&text, Path::new("")).map_err(said)
}

/// The same for a source that there need not be.
pub fn some_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Source>, D::Error> {
    source(deserializer).map(Some)
}

/// A device by its name.
pub fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Device, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(said)
}

/// A sentence of a room below, with its hint in a second line.
fn said<E: serde::de::Error>(error: Error) -> E {
    let hint = error.hint_text().map(|hint| format!("\n{hint}")).unwrap_or_default();
    E::custom(format!("{error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_spelling_of_the_file() {
        fn text(value: impl Serialize) -> String {
            serde_json::to_string(&value).unwrap()
        }
        assert_eq!((text(Window::Tokens(2048)), text(Window::Max)), ("2048".into(), "\"max\"".into()));
        let shares: Vec<Shares> = serde_json::from_str("[5e-7, [0.25, 1], 0]").unwrap();
        assert_eq!(shares, [Shares(vec![5e-7]), Shares(vec![0.25, 1.0]), Shares(vec![0.0])]);
        for bad in ["1", "-3", "\"min\"", "1.5"] {
            assert!(serde_json::from_str::<Window>(bad).is_err(), "{bad}");
        }
    }
}
