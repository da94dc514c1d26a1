//! The kinds of values that a key may hold, and the check of one value with its place in the text.
//!
//! A kind looks at form only (a whole number, a list of pairs). What a number means, and whether two
//! keys fit together, is for [`super::resolve`]. Must not know: any key, any file.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeValue};

use crate::model::matrix::Layers;
use crate::size::Budget;
use crate::spelling::{did_you_mean, one_of};

/// What may stand behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string that is not empty.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// true or false.
    Flag,
    /// A whole number, not below `least`.
    Whole { least: i64 },
    /// The same, or one word.
    WholeOr { least: i64, word: &'static str },
    /// A number, whole or not.
    Number,
    /// A list of numbers, or one number for a list of one.
    Numbers,
    /// A list of pairs of numbers.
    Pairs,
    /// One of these words, or a list of words and of `items`.
    Words { words: &'static [&'static str], items: &'static [&'static str] },
    /// Layers of a model: a word, a range or a list of whole numbers.
    Layers,
    /// A size of memory: a word, a whole number of bytes, or a number with its unit.
    Memory,
}

/// What is wrong with a value, and where in the text it begins.
#[derive(Debug)]
pub struct Mismatch {
    pub span: Range<usize>,
    pub message: String,
}

type Checked = Result<toml::Value, Mismatch>;

impl Kind {
    /// The value in its canonical form (numbers of the last three kinds are floats, a single number of
    /// `Numbers` is a list), or what is wrong with it.
    pub fn check(self, name: &str, value: &Spanned<DeValue<'_>>) -> Checked {
        let wrong = || mismatch(value, format!("`{name}` must be {self}, found {}", found(value.get_ref())));
        match (self, value.get_ref()) {
            (Kind::Text, DeValue::String(text)) if text.trim().is_empty() => {
                Err(mismatch(value, format!("`{name}` is empty")))
            }
            (Kind::Text, DeValue::String(text)) => Ok(text.as_ref().into()),
            (Kind::OneOf(names), DeValue::String(text)) => {
                if names.contains(&text.as_ref()) {
                    return Ok(text.as_ref().into());
                }
                let nearest = did_you_mean(text, names.iter().copied());
                Err(mismatch(value, format!("`{name}` must be {self}, found \"{text}\"{nearest}")))
            }
            (Kind::WholeOr { word, .. }, DeValue::String(text)) if text == word => Ok(word.into()),
            (Kind::WholeOr { .. }, DeValue::String(text)) => {
                Err(mismatch(value, format!("`{name}` must be {self}, found \"{text}\"")))
            }
            (Kind::Flag, DeValue::Boolean(flag)) => Ok((*flag).into()),
            (Kind::Memory, DeValue::Integer(_)) => Kind::Whole { least: 1 }.check(name, value),
            (Kind::Memory, DeValue::String(text)) => match Budget::of_text(text) {
                Some(Budget::Auto) => Ok(text.as_ref().into()),
                Some(Budget::Bytes(bytes)) => i64::try_from(bytes).map(Into::into).map_err(|_| wrong()),
                None => Err(mismatch(value, format!("`{name}` must be {self}, found \"{text}\""))),
            },
            (Kind::Whole { least } | Kind::WholeOr { least, .. }, DeValue::Integer(digits)) => {
                match i64::from_str_radix(digits.as_str(), digits.radix()) {
                    Ok(number) if number >= least => Ok(number.into()),
                    Ok(number) => Err(mismatch(value, format!("`{name}` must be at least {least}, found {number}"))),
                    Err(_) => Err(mismatch(value, format!("`{name}` is too large: {digits}"))),
                }
            }
            (Kind::Number, scalar) => number(scalar).map(Into::into).ok_or_else(wrong),
            (Kind::Numbers, DeValue::Array(items)) => numbers(items).map_err(|item| {
                mismatch(item, format!("`{name}` must be {self}, found {} in the list", found(item.get_ref())))
            }),
            (Kind::Numbers, scalar) => number(scalar).map(|number| vec![number].into()).ok_or_else(wrong),
            (Kind::Pairs, DeValue::Array(pairs)) => pairs
                .iter()
                .map(|pair| match pair.get_ref() {
                    DeValue::Array(items) if items.len() == 2 => numbers(items).map_err(|item| {
                        mismatch(item, format!("`{name}` must be {self}, found {} in a pair", found(item.get_ref())))
                    }),
                    DeValue::Array(items) => Err(mismatch(
                        pair,
                        format!("`{name}` must be {self}, found a list of {} in the list", items.len()),
                    )),
                    other => {
                        Err(mismatch(pair, format!("`{name}` must be {self}, found {} in the list", found(other))))
                    }
                })
                .collect::<Result<Vec<_>, _>>()
                .map(Into::into),
            (Kind::Words { words, items }, DeValue::String(_)) => self.word(name, value, words, items).map(Into::into),
            (Kind::Words { .. }, DeValue::Array(list)) if list.is_empty() => {
                Err(mismatch(value, format!("`{name}` is an empty list")))
            }
            (Kind::Words { words, items }, DeValue::Array(list)) => list
                .iter()
                .map(|item| self.word(name, item, words, items))
                .collect::<Result<Vec<_>, _>>()
                .map(Into::into),
            (Kind::Layers, DeValue::String(text)) => match Layers::of_text(text) {
                Some(_) => Ok(text.as_ref().into()),
                None => Err(mismatch(value, format!("`{name}` must be {self}, found \"{text}\""))),
            },
            (Kind::Layers, DeValue::Integer(_)) => layer(value).map(|layer| vec![layer].into()).ok_or_else(wrong),
            (Kind::Layers, DeValue::Array(list)) if list.is_empty() => {
                Err(mismatch(value, format!("`{name}` is an empty list")))
            }
            (Kind::Layers, DeValue::Array(list)) => list
                .iter()
                .map(|item| {
                    let wrong = || format!("`{name}` must be {self}, and an item of the list is no layer");
                    layer(item).ok_or_else(|| mismatch(item, wrong()))
                })
                .collect::<Result<Vec<_>, _>>()
                .map(Into::into),
            _ => Err(wrong()),
        }
    }

    /// A word that is in one of the lists.
    fn word(
        self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        words: &[&'static str],
        items: &[&'static str],
    ) -> Result<String, Mismatch> {
        let DeValue::String(text) = value.get_ref() else {
            let found = found(value.get_ref());
            return Err(mismatch(value, format!("`{name}` must be {self}, found {found} in the list")));
        };
        let known = || words.iter().chain(items).copied();
        if known().any(|word| word == text.as_ref()) {
            return Ok(text.as_ref().to_owned());
        }
        let nearest = did_you_mean(text, known());
        Err(mismatch(value, format!("`{name}` must be {self}, found \"{text}\"{nearest}")))
    }
}

/// A whole number that may be a layer's.
fn layer(value: &Spanned<DeValue<'_>>) -> Option<i64> {
    let DeValue::Integer(digits) = value.get_ref() else { return None };
    let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok()?;
    Layers::of_numbers(&[usize::try_from(number).ok()?]).map(|_| number)
}

/// A list of floats, or the item that is no number.
fn numbers<'v, 'i>(items: &'v DeArray<'i>) -> Result<toml::Value, &'v Spanned<DeValue<'i>>> {
    let floats = items.iter().map(|item| number(item.get_ref()).ok_or(item)).collect::<Result<Vec<f64>, _>>()?;
    Ok(floats.into())
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(digits) => digits.as_str().parse().ok(),
        DeValue::Integer(digits) if digits.radix() == 10 => digits.as_str().parse().ok(),
        _ => None,
    }
}

fn mismatch(at: &Spanned<DeValue<'_>>, message: String) -> Mismatch {
    Mismatch { span: at.span(), message }
}

/// What a value is, in a person's words.
pub fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text => f.write_str("a string"),
            Kind::OneOf(names) => f.write_str(&one_of(names)),
            Kind::Words { words, items } => {
                write!(f, "{}, or a list of {}", one_of(words), one_of(items))
            }
            Kind::Layers => f.write_str("\"all\", a range \"first..end\" or a list of layers, counted from 0"),
            Kind::Memory => f.write_str("\"auto\", a size such as \"8 GiB\" or \"500 MB\", or a whole number of bytes"),
            Kind::Flag => f.write_str("true or false"),
            Kind::Whole { .. } => f.write_str("a whole number"),
            Kind::WholeOr { word, .. } => write!(f, "a whole number or \"{word}\""),
            Kind::Number => f.write_str("a number"),
            Kind::Numbers => f.write_str("a number or a list of numbers"),
            Kind::Pairs => f.write_str("a list of pairs [p, q]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, text: &str) -> Result<String, String> {
        let value = DeValue::parse(text).unwrap();
        match kind.check("x", &value) {
            Ok(value) => Ok(value.to_string()),
            Err(mismatch) => Err(format!("{}: {}", mismatch.span.start, mismatch.message)),
        }
    }

    #[test]
    fn forms_are_made_canonical() {
        assert_eq!(check(Kind::Numbers, "5e-7"), check(Kind::Numbers, "[0.000_000_5]"));
        assert_eq!(check(Kind::Pairs, "[[1, 0.5]]").unwrap(), "[[1.0, 0.5]]");
        assert_eq!(check(Kind::Whole { least: 1 }, "0x1_0").unwrap(), "16");
        assert_eq!(check(Kind::WholeOr { least: 2, word: "max" }, "'max'").unwrap(), "\"max\"");
        assert_eq!(check(Kind::Numbers, "[]").unwrap(), "[]");
        assert_eq!(check(Kind::Memory, "'2 KiB'").unwrap(), "2048");
        assert_eq!(check(Kind::Memory, "2048").unwrap(), "2048");
        assert_eq!(check(Kind::Memory, "'auto'").unwrap(), "\"auto\"");
        assert_eq!(check(Kind::Layers, "7").unwrap(), "[7]");
        assert_eq!(check(Kind::Layers, "'..3'").unwrap(), "\"..3\"");
        let words = Kind::Words { words: &["mlp", "all"], items: &["q_proj"] };
        assert_eq!(check(words, "['mlp', 'q_proj']").unwrap(), "[\"mlp\", \"q_proj\"]");
        assert_eq!(check(words, "'q_proj'").unwrap(), "\"q_proj\"");
    }

    #[test]
    fn a_mismatch_points_at_the_innermost_value() {
        let wrong = |kind, text| check(kind, text).unwrap_err();
        insta::assert_snapshot!(wrong(Kind::Numbers, "[1e-5, true]"), @"7: `x` must be a number or a list of numbers, found true or false in the list");
        insta::assert_snapshot!(wrong(Kind::Numbers, "\"1e-5\""), @"0: `x` must be a number or a list of numbers, found a string");
        insta::assert_snapshot!(wrong(Kind::Pairs, "[[1e-5, 1e-5], 1e-5]"), @"15: `x` must be a list of pairs [p, q], found a decimal number in the list");
        insta::assert_snapshot!(wrong(Kind::Pairs, "[[1e-5, 1e-5], [1e-5]]"), @"15: `x` must be a list of pairs [p, q], found a list of 1 in the list");
        insta::assert_snapshot!(wrong(Kind::Pairs, "[[1e-5, 'a']]"), @"8: `x` must be a list of pairs [p, q], found a string in a pair");
        insta::assert_snapshot!(wrong(Kind::Whole { least: 1 }, "0"), @"0: `x` must be at least 1, found 0");
        insta::assert_snapshot!(wrong(Kind::Whole { least: 1 }, "1.5"), @"0: `x` must be a whole number, found a decimal number");
        insta::assert_snapshot!(wrong(Kind::Whole { least: 1 }, "99999999999999999999"), @"0: `x` is too large: 99999999999999999999");
        insta::assert_snapshot!(wrong(Kind::WholeOr { least: 2, word: "max" }, "'min'"), @r#"0: `x` must be a whole number or "max", found "min""#);
        insta::assert_snapshot!(wrong(Kind::OneOf(&["mlp", "self_attn", "all"]), "'mpl'"), @r#"0: `x` must be "mlp", "self_attn" or "all", found "mpl"; did you mean `mlp`?"#);
        const WORDS: Kind = Kind::Words { words: &["mlp", "all"], items: &["q_proj", "o_proj"] };
        insta::assert_snapshot!(wrong(WORDS, "['all', 'q_porj']"), @r#"8: `x` must be "mlp" or "all", or a list of "q_proj" or "o_proj", found "q_porj"; did you mean `q_proj`?"#);
        insta::assert_snapshot!(wrong(WORDS, "['all', 1]"), @r#"8: `x` must be "mlp" or "all", or a list of "q_proj" or "o_proj", found a whole number in the list"#);
        insta::assert_snapshot!(wrong(WORDS, "[]"), @"0: `x` is an empty list");
        insta::assert_snapshot!(wrong(Kind::Layers, "'5..5'"), @r#"0: `x` must be "all", a range "first..end" or a list of layers, counted from 0, found "5..5""#);
        insta::assert_snapshot!(wrong(Kind::Layers, "[0, -1]"), @r#"4: `x` must be "all", a range "first..end" or a list of layers, counted from 0, and an item of the list is no layer"#);
        insta::assert_snapshot!(wrong(Kind::Layers, "[]"), @"0: `x` is an empty list");
        insta::assert_snapshot!(wrong(Kind::Layers, "1.5"), @r#"0: `x` must be "all", a range "first..end" or a list of layers, counted from 0, found a decimal number"#);
        insta::assert_snapshot!(wrong(Kind::Text, "' '"), @"0: `x` is empty");
        insta::assert_snapshot!(wrong(Kind::Flag, "{a = 1}"), @"0: `x` must be true or false, found a table");
    }

    #[test]
    fn a_size_of_memory_has_a_unit_or_is_a_whole_number() {
        let wrong = |text| check(Kind::Memory, text).unwrap_err();
        insta::assert_snapshot!(wrong("'8 Gib'"), @r#"0: `x` must be "auto", a size such as "8 GiB" or "500 MB", or a whole number of bytes, found "8 Gib""#);
        insta::assert_snapshot!(wrong("0"), @"0: `x` must be at least 1, found 0");
        insta::assert_snapshot!(wrong("1.5"), @r#"0: `x` must be "auto", a size such as "8 GiB" or "500 MB", or a whole number of bytes, found a decimal number"#);
    }
}
