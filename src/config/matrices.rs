//! Which matrices take part: some projections ([`Modules`]) of some layers ([`Layers`]).
//!
//! Both have one canonical form, so that equal choices are equal values and give equal keys, however
//! they were typed: a list of the three MLP projections is `mlp`, `[0, 1, 2]` is `0..3`.
//! Must not know: how many layers a model has, nor the shapes of its matrices.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The projections of a decoder layer by their names, in the order of the forward pass.
pub const PROJECTIONS: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// A set of projections, never empty. Spelled `mlp`, `self_attn`, `all`, or as a list of projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modules {
    /// Bit n stands for the n-th of [`PROJECTIONS`].
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
            name => PROJECTIONS.iter().position(|known| *known == name).map(|place| Self { bits: 1 << place }),
        }
    }

    /// The union of what the words stand for; none if a word is unknown or there is no word.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let sets: Option<Vec<Self>> = words.into_iter().map(Self::of_word).collect();
        sets?.into_iter().reduce(|one, other| Self { bits: one.bits | other.bits })
    }

    /// Whether the projection of this name (`down_proj`) is one of these.
    pub fn has(self, projection: &str) -> bool {
        Self::of_word(projection).is_some_and(|one| self.contains(one))
    }

    /// Whether everything of `other` is one of these.
    pub fn contains(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }

    /// The one word for this set, where there is one.
    fn word(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|name| Self::of_word(name) == Some(self)).copied()
    }

    /// The projections' names, in the order of the forward pass.
    pub fn projections(self) -> impl Iterator<Item = &'static str> {
        PROJECTIONS.iter().copied().filter(move |name| self.has(name))
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
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Typed {
            Word(String),
            List(Vec<String>),
        }
        let words = match Typed::deserialize(deserializer)? {
            Typed::Word(word) => vec![word],
            Typed::List(words) => words,
        };
        Self::of(words.iter().map(String::as_str))
            .ok_or_else(|| serde::de::Error::custom(format!("{words:?} are not modules")))
    }
}

/// A set of layers, counted from 0, never empty. Spelled `all`, as a range `first..end` whose end is left out of it (as in
/// Rust and Python; `12..` has no end), or as a list of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers(Set);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    /// This layer and every later one.
    From(usize),
    /// Sorted, each once, never empty.
    Listed(Vec<usize>),
}

/// More layers than any model has, so that `0..18446744073709551615` cannot fill the memory.
const MOST: usize = 10_000;

impl Layers {
    pub fn all() -> Self {
        Self(Set::From(0))
    }

    /// Those of a list; none if it is empty or holds what is no layer of any model.
    pub fn of_numbers(numbers: &[usize]) -> Option<Self> {
        if numbers.is_empty() || numbers.iter().any(|layer| *layer >= MOST) {
            return None;
        }
        let mut listed = numbers.to_vec();
        listed.sort_unstable();
        listed.dedup();
        Some(Self(Set::Listed(listed)))
    }

    /// `all`, or a range; none if it is neither, or a range of nothing.
    pub fn of_text(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self::all());
        }
        let bound = |text: &str| match text.trim() {
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse::<usize>().ok().filter(|number| *number <= MOST)
            }
            _ => None,
        };
        let (first, end) = text.split_once("..")?;
        let first = if first.trim().is_empty() { 0 } else { bound(first)? };
        if end.trim().is_empty() {
            return (first < MOST).then_some(Self(Set::From(first)));
        }
        Self::of_numbers(&(first..bound(end)?).collect::<Vec<_>>())
    }

    pub fn is_all(&self) -> bool {
        *self == Self::all()
    }

    pub fn has(&self, layer: usize) -> bool {
        match &self.0 {
            Set::From(first) => layer >= *first,
            Set::Listed(listed) => listed.binary_search(&layer).is_ok(),
        }
    }

    /// Whether everything of `other` is one of these, in a model of however many layers.
    pub fn contains(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (_, Set::Listed(listed)) => listed.iter().all(|layer| self.has(*layer)),
            (Set::From(mine), Set::From(other)) => mine <= other,
            (Set::Listed(_), Set::From(_)) => false,
        }
    }

    /// The highest layer that is named; a model must have it.
    pub fn highest(&self) -> usize {
        match &self.0 {
            Set::From(first) => *first,
            Set::Listed(listed) => listed.last().copied().unwrap_or_default(),
        }
    }

    /// Whether a model of `count` layers has every layer that is named. `key` is the setting, for the message.
    ///
    /// # Errors
    /// It has not.
    pub fn fit(&self, key: &str, count: usize) -> Result<()> {
        if self.highest() < count {
            return Ok(());
        }
        Err(Error::user(format!("{key} = {self} names layer {}, but the model has {count} layers", self.highest()))
            .hint(format!("layers are counted from 0, so the last one is {}", count.saturating_sub(1))))
    }

    /// The canonical text of everything but a list with gaps and a single layer.
    fn text(&self) -> Option<String> {
        match &self.0 {
            Set::From(0) => Some("all".into()),
            Set::From(first) => Some(format!("{first}..")),
            Set::Listed(listed) => {
                let (first, last) = (listed.first()?, listed.last()?);
                (first < last && last - first + 1 == listed.len()).then(|| format!("{first}..{}", last + 1))
            }
        }
    }

    /// The numbers of a list.
    fn listed(&self) -> &[usize] {
        match &self.0 {
            Set::From(_) => &[],
            Set::Listed(listed) => listed,
        }
    }
}

/// As it is written in pipeline.toml.
impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => write!(f, "\"{text}\""),
            None => write!(f, "{:?}", self.listed()),
        }
    }
}

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.text() {
            Some(text) => serializer.serialize_str(&text),
            None => self.listed().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Typed {
            Text(String),
            List(Vec<usize>),
        }
        let wrong = |shown: String| serde::de::Error::custom(format!("{shown} is not a choice of layers"));
        match Typed::deserialize(deserializer)? {
            Typed::Text(text) => Self::of_text(&text).ok_or_else(|| wrong(text)),
            Typed::List(numbers) => Self::of_numbers(&numbers).ok_or_else(|| wrong(format!("{numbers:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert_eq!(Modules::ALL.projections().collect::<Vec<_>>(), PROJECTIONS);
    }

    #[test]
    fn a_layer_that_the_model_lacks_is_named() {
        let error = Layers::of_text("4..31").unwrap().fit("score.layers", 30).unwrap_err();
        insta::assert_snapshot!(error, @"score.layers = \"4..31\" names layer 30, but the model has 30 layers");
        assert_eq!(error.hint_text(), Some("layers are counted from 0, so the last one is 29"));
        assert!(Layers::of_text("..30").unwrap().fit("score.layers", 30).is_ok() && Layers::all().fit("x", 1).is_ok());
    }

    #[test]
    fn equal_layers_are_spelled_alike() {
        let text = |text: &str| Layers::of_text(text).unwrap().to_string();
        let list = |numbers: &[usize]| Layers::of_numbers(numbers).unwrap().to_string();
        assert_eq!([text("0.."), text(".."), text("all")], ["\"all\""; 3]);
        assert_eq!([text("..3"), list(&[2, 0, 1, 1]), text(" 0 .. 3")], ["\"0..3\""; 3]);
        assert_eq!([list(&[5, 0]), list(&[5]), text("12..")], ["[0, 5]", "[5]", "\"12..\""]);
        for bad in
            ["", "3", "3..3", "4..3", "a..b", "-1..3", "0..=3", "1..2..3", "0..99999999", "0..99999999999999999999"]
        {
            assert!(Layers::of_text(bad).is_none(), "{bad}");
        }
        assert!(Layers::of_numbers(&[]).is_none() && Layers::of_numbers(&[MOST]).is_none());
    }

    proptest! {
        #[test]
        fn containing_is_having_all_of_it(
            one in prop::collection::vec(0_usize..8, 1..6), other in prop::collection::vec(0_usize..8, 1..6),
            opens in 0_usize..8, open in any::<bool>(), opened in any::<bool>(),
        ) {
            let make = |numbers: &[usize], open: bool| match open {
                true => Layers::of_text(&format!("{opens}..")).unwrap(),
                false => Layers::of_numbers(numbers).unwrap(),
            };
            let (one, other) = (make(&one, open), make(&other, opened));
            let all = (0..20).all(|layer| one.has(layer) || !other.has(layer));
            prop_assert_eq!(one.contains(&other), all);
            for layers in [one, other] {
                let back: Layers = serde_json::from_value(serde_json::to_value(&layers).unwrap()).unwrap();
                prop_assert_eq!(back, layers);
            }
        }
    }
}
