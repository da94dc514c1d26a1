//! Which layers take part: [`Layers`], a set of layers with one canonical form.
//!
//! Equal sets are equal values and give equal keys, however they were typed: `[0, 1, 2]` is `0..3`.
//! Must not know: how many layers a model has.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// A set of layers, counted from 0, never empty. It is spelled `all`, as a range `first..end` that does not contain its end (as
/// in Rust and Python; `12..` has no end), or as a list of numbers.
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

    /// The layers of a list. `None` if it is empty, or if a number is too high for any model.
    pub fn of_numbers(numbers: &[usize]) -> Option<Self> {
        if numbers.is_empty() || numbers.iter().any(|layer| *layer >= MOST) {
            return None;
        }
        let mut listed = numbers.to_vec();
        listed.sort_unstable();
        listed.dedup();
        Some(Self(Set::Listed(listed)))
    }

    /// Reads `all` or a range. `None` for anything else, and for an empty range.
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

    /// Whether this contains all of `other`, whatever number of layers the model has.
    pub fn contains(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (_, Set::Listed(listed)) => listed.iter().all(|layer| self.has(*layer)),
            (Set::From(mine), Set::From(other)) => mine <= other,
            (Set::Listed(_), Set::From(_)) => false,
        }
    }

    /// The highest layer that is named. A model must have it.
    pub fn highest(&self) -> usize {
        match &self.0 {
            Set::From(first) => *first,
            Set::Listed(listed) => listed.last().copied().unwrap_or_default(),
        }
    }

    /// Checks that a model of `count` layers has every layer that is named. `key` is the setting, for the message.
    ///
    /// # Errors
    /// User: the model has fewer layers.
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
        deserializer.deserialize_any(Spelled)
    }
}

struct Spelled;

impl<'de> Visitor<'de> for Spelled {
    type Value = Layers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\", a range \"first..end\" or a list of layers, counted from 0")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Layers, E> {
        Layers::of_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, layer: u64) -> Result<Layers, E> {
        let one = usize::try_from(layer).ok().and_then(|layer| Layers::of_numbers(&[layer]));
        one.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(layer), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Layers, A::Error> {
        let mut numbers: Vec<usize> = Vec::new();
        while let Some(layer) = items.next_element()? {
            if layer >= MOST {
                let expected = format!("less than {MOST}");
                return Err(A::Error::invalid_value(Unexpected::Unsigned(layer as u64), &expected.as_str()));
            }
            numbers.push(layer);
        }
        Layers::of_numbers(&numbers).ok_or_else(|| A::Error::invalid_length(0, &self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
