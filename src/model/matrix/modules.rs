//! Which projections take part: [`Modules`], a set of projections with one canonical form.
//!
//! Equal sets are equal values and give equal keys, however they were typed: a list of the three MLP projections is
//! `mlp`. Must not know: layers, shapes, weights.

use std::fmt;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Projection;
use crate::spelling::one_of;

/// A set of projections, never empty. Spelled `mlp`, `self_attn`, `all`, or as a list of projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modules {
    /// Bit n stands for the n-th of [`Projection::ALL`].
    bits: u8,
}

impl Modules {
    /// The words that stand for several projections.
    pub const NAMES: &'static [&'static str] = &["mlp", "self_attn", "all"];

    pub const SELF_ATTN: Self = Self { bits: 0b000_1111 };
    pub const MLP: Self = Self { bits: 0b111_0000 };
    pub const ALL: Self = Self { bits: 0b111_1111 };

    /// The set that one word or one projection stands for.
    fn of_word(word: &str) -> Option<Self> {
        match word {
            "mlp" => Some(Self::MLP),
            "self_attn" => Some(Self::SELF_ATTN),
            "all" => Some(Self::ALL),
            name => Projection::NAMES.iter().position(|known| *known == name).map(|place| Self { bits: 1 << place }),
        }
    }

    /// The union of the sets that the words stand for. `None` if a word is unknown, or if there is no word.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let sets: Option<Vec<Self>> = words.into_iter().map(Self::of_word).collect();
        sets?.into_iter().reduce(|one, other| Self { bits: one.bits | other.bits })
    }

    /// Whether this contains the projection of this name (`down_proj`).
    pub fn has(self, projection: &str) -> bool {
        Self::of_word(projection).is_some_and(|one| self.contains(one))
    }

    /// Whether this contains all of `other`.
    pub fn contains(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }

    /// The word for this set, if there is one.
    fn word(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|name| Self::of_word(name) == Some(self)).copied()
    }

    /// The projections' names, in the order of the forward pass.
    pub fn projections(self) -> impl Iterator<Item = &'static str> {
        Projection::NAMES.iter().copied().filter(move |name| self.has(name))
    }
}

/// As it is written in pipeline.toml.
impl fmt::Display for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word() {
            Some(word) => write!(f, "\"{word}\""),
            None => write!(f, "{:?}", self.projections().collect::<Vec<_>>()),
        }
    }
}

impl Serialize for Modules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.word() {
            Some(word) => serializer.serialize_str(word),
            None => serializer.collect_seq(self.projections()),
        }
    }
}

impl<'de> Deserialize<'de> for Modules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Spelled { lists: true })
    }
}

/// One word of a list.
struct Word(Modules);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Spelled { lists: false }).map(Self)
    }
}

struct Spelled {
    /// Whether a list may stand here.
    lists: bool,
}

impl<'de> Visitor<'de> for Spelled {
    type Value = Modules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.lists { ", or a list of " } else { ", or " };
        write!(f, "{}{between}{}", one_of(Modules::NAMES), one_of(Projection::NAMES))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Modules, E> {
        Modules::of_word(word).ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Modules, A::Error> {
        if !self.lists {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut all: Option<Modules> = None;
        while let Some(Word(one)) = items.next_element()? {
            all = Some(Modules { bits: one.bits | all.map_or(0, |all| all.bits) });
        }
        all.ok_or_else(|| A::Error::invalid_length(0, &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(words: &[&str]) -> Modules {
        Modules::of(words.iter().copied()).unwrap()
    }

    #[test]
    fn equal_modules_are_spelled_alike() {
        let spelled = |words: &[&str]| serde_json::to_string(&modules(words)).unwrap();
        assert_eq!(spelled(&["down_proj", "gate_proj", "up_proj"]), "\"mlp\"");
        assert_eq!(spelled(&["mlp", "self_attn"]), "\"all\"");
        assert_eq!(spelled(&["down_proj", "q_proj", "down_proj"]), r#"["q_proj","down_proj"]"#);
        assert_eq!(spelled(&["mlp", "up_proj"]), spelled(&["mlp"]));
        assert_eq!(modules(&["q_proj", "down_proj"]).to_string(), r#"["q_proj", "down_proj"]"#);
        assert!(Modules::of([]).is_none() && Modules::of(["mpl"]).is_none());
        for set in [&["self_attn"][..], &["k_proj"], &["o_proj", "mlp"]].map(modules) {
            let back: Modules = serde_json::from_value(serde_json::to_value(set).unwrap()).unwrap();
            assert_eq!(back, set);
        }
    }

    #[test]
    fn modules_know_their_projections() {
        assert!(Modules::MLP.has("down_proj") && !Modules::MLP.has("q_proj") && !Modules::ALL.has("embed_tokens"));
        assert!(Modules::ALL.contains(Modules::MLP) && !Modules::MLP.contains(Modules::ALL));
        assert_eq!(Modules::ALL.projections().collect::<Vec<_>>(), Projection::NAMES);
    }
}
