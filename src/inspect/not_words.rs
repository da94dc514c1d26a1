//! Not words: an answer that is no text of any language, as a badly damaged model writes it (`javAFLAGSjavAFLAGS…`).
//!
//! The rule has three parts, and one is enough:
//! 1. There is neither a letter nor a digit.
//! 2. At least a quarter of its characters, white space and punctuation aside, are strange. These are characters that are none
//!    (U+FFFD, private and control characters), and those of a word that nobody writes: one of more than 40 letters; one with
//!    letters of two alphabets, such as Latin and Cyrillic; one with the same letter five times in a row; one with six capitals
//!    or more after a small letter.
//! 3. It has at least 35 words and is no list, and of its first 60 words fewer than two in a hundred are there twice. Texts of
//!    every language repeat their small words; tokens without sense do not repeat at all.
//!
//! Numbers, code, names and abbreviations are words, in all scripts. Fluent nonsense is not found; perplexity and divergence
//! show it. docs/answers.md says how often the rule is wrong. Must not know: languages, models, tokens.

use std::collections::HashSet;

use unicode_segmentation::UnicodeSegmentation;

use super::words::words;
use super::{Inspected, Inspection, flag};

pub struct NotWords;

/// The share of strange characters from which an answer is no text.
const STRANGE: f64 = 0.25;

/// Letters of the longest words that people write. German and Finnish compounds stay below.
const LONGEST: usize = 40;

/// So many equal letters in a row are no part of a word.
const EQUAL: usize = 5;

/// So many capitals after a small letter are no part of a word; `innerHTML` and `parseHTTPS` have fewer.
const CAPITALS: usize = 6;

/// So many words must be there before it counts that hardly any is there twice, and so many of them are looked at.
const ENOUGH: usize = 35;
const LOOKED_AT: usize = 60;

/// The share of different words from which they are no text.
const DIFFERENT: f64 = 0.98;

/// Words between commas and line ends, below which a text is a list.
const ITEM: usize = 4;

impl Inspection for NotWords {
    fn name(&self) -> &'static str {
        "not words"
    }

    fn inspect(&self, answer: &Inspected<'_>, tell: &mut dyn FnMut(&str, f64)) {
        tell(self.name(), flag(is_not_words(answer.answer)));
    }
}

/// Whether the rule above holds. An empty answer is something else.
pub fn is_not_words(answer: &str) -> bool {
    !answer.trim().is_empty() && (is_strange(answer) || never_repeats(answer))
}

#[expect(clippy::cast_precision_loss, reason = "counts of characters")]
fn is_strange(answer: &str) -> bool {
    let none = answer.chars().filter(|c| is_no_character(*c)).count();
    let (mut all, mut strange) = (none, none);
    for word in answer.unicode_words() {
        let characters = word.chars().filter(|c| c.is_alphanumeric()).count();
        all += characters;
        strange += if nobody_writes(word) { characters } else { 0 };
    }
    all == none || strange as f64 >= STRANGE * all as f64
}

/// Replacement, private and control characters.
fn is_no_character(c: char) -> bool {
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    private || c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace())
}

/// Whether a word is one of those of the second part of the rule. Points, digits and apostrophes stand between its parts.
fn nobody_writes(word: &str) -> bool {
    word.split(|c: char| !c.is_alphabetic()).any(is_odd)
}

fn is_odd(letters: &str) -> bool {
    let mut alphabets = letters.chars().filter_map(alphabet);
    let first = alphabets.next();
    let (mut last, mut equal, mut capitals, mut small) = (None, 0, 0, false);
    let runs_on = |letter: char| {
        equal = if last == Some(letter) { equal + 1 } else { 1 };
        capitals = if small && letter.is_uppercase() { capitals + 1 } else { 0 };
        small |= letter.is_lowercase();
        last = Some(letter);
        equal >= EQUAL || capitals >= CAPITALS
    };
    letters.chars().any(runs_on) || letters.chars().count() > LONGEST || alphabets.any(|other| Some(other) != first)
}

/// A number for the alphabet of a letter. None for letters that stand in words of all alphabets: Greek ones are symbols (`ΔE`,
/// `μm`), Korean endings follow foreign words, and what lies beyond are signs, or scripts that put no blanks between words.
fn alphabet(letter: char) -> Option<u32> {
    match u32::from(letter) {
        0xaa | 0xb5 | 0xba => None,
        0..0x250 | 0x1e00..0x1f00 => Some(0),
        0x400..0x530 => Some(1),
        0x530..0x600 => Some(2),
        // Arabic, with its supplements.
        0x600..0x900 => Some(3),
        code @ 0x900..0x1100 => Some(code >> 8),
        _ => None,
    }
}

/// Whether there are many words and hardly any of them is there twice.
#[expect(clippy::cast_precision_loss, reason = "counts of words")]
fn never_repeats(answer: &str) -> bool {
    let items =
        answer.split([',', ';', '\n', '،', '，', '、', '；']).filter(|item| item.chars().any(char::is_alphanumeric));
    let items = items.count();
    let all = words(answer);
    let mut words: Vec<&String> = all.iter().filter(|word| is_of_letters_with_blanks(word)).collect();
    if words.len() < ENOUGH || all.len() < ITEM * items {
        return false;
    }
    words.truncate(LOOKED_AT);
    let different: HashSet<&String> = words.iter().copied().collect();
    different.len() as f64 >= DIFFERENT * words.len() as f64
}

/// Whether a word has a letter, of a script that puts blanks between words. In others each character is a word here.
fn is_of_letters_with_blanks(word: &str) -> bool {
    let apart =
        |c: char| matches!(u32::from(c), 0xe00..0x1100 | 0x1780..0x1800 | 0x2e80..0xac00 | 0xf900..0xfb00 | 0x2_0000..);
    word.chars().any(|c| c.is_alphabetic() && !apart(c))
}

#[cfg(test)]
mod tests;
