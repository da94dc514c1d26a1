//! Which words of two texts differ.
//!
//! Words are those of Unicode (UAX #29), so that a full stop is none of the word before it and Chinese is not one long word.
//! White space is never compared: only what stands in between counts. Must not know: what the texts are, how differences are
//! shown.

use std::ops::Range;

use schemars::JsonSchema;
use serde::Serialize;
use similar::{Algorithm, DiffTag, capture_diff_slices};
use unicode_segmentation::UnicodeSegmentation;

/// A word, a number or a punctuation mark, and the white space in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    pub gap: &'a str,
    pub text: &'a str,
    /// Whether the other text does not have it in this place.
    pub changed: bool,
}

/// Whose a piece of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Both texts have it.
    Same,
    /// Only the text before has it.
    Removed,
    /// Only the text after has it.
    Added,
}

/// Some words in a row, with the white space in front of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Piece {
    pub kind: Kind,
    pub text: String,
}

/// Both texts as words, of which those are marked that the other one does not have.
pub fn marked<'a>(before: &'a str, after: &'a str) -> (Vec<Word<'a>>, Vec<Word<'a>>) {
    let (mut before, mut after) = (words(before), words(after));
    for Run { same, old, new } in runs(&before, &after) {
        if !same {
            before.iter_mut().take(old.end).skip(old.start).for_each(|word| word.changed = true);
            after.iter_mut().take(new.end).skip(new.start).for_each(|word| word.changed = true);
        }
    }
    (before, after)
}

/// One text out of both. The pieces that are not added are the text before, those that are not removed the text after, up to
/// white space.
pub fn difference(before: &str, after: &str) -> Vec<Piece> {
    let (before, after) = (words(before), words(after));
    let mut pieces: Vec<Piece> = Vec::new();
    let mut add = |kind, words: &[Word<'_>]| {
        let text: String = words.iter().flat_map(|word| [word.gap, word.text]).collect();
        match pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(last) if last.kind == kind => last.text.push_str(&text),
            _ => pieces.push(Piece { kind, text }),
        }
    };
    for Run { same, old, new } in runs(&before, &after) {
        let (old, new) = (before.get(old).unwrap_or_default(), after.get(new).unwrap_or_default());
        if same {
            add(Kind::Same, new);
        } else {
            add(Kind::Removed, old);
            add(Kind::Added, new);
        }
    }
    pieces
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut gap = 0;
    for (at, word) in text.split_word_bound_indices() {
        if !word.chars().all(char::is_whitespace) {
            words.push(Word { gap: text.get(gap..at).unwrap_or_default(), text: word, changed: false });
            gap = at + word.len();
        }
    }
    words
}

/// A run of words that both texts have, or of words in the place of others; where it is in both.
struct Run {
    same: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// What both texts have by chance, between words that differ: punctuation, or at most so many words.
const BY_CHANCE: usize = 2;

/// Runs of words that are the same or not, from the beginning to the end. A short run that both have, between two runs that
/// differ and are no shorter, is a coincidence: an "of" or a comma is no common ground. It counts as a difference.
fn runs(before: &[Word<'_>], after: &[Word<'_>]) -> Vec<Run> {
    let texts = |words: &[Word<'_>]| words.iter().map(|word| word.text.to_owned()).collect::<Vec<_>>();
    let found = capture_diff_slices(Algorithm::Myers, &texts(before), &texts(after));
    // What differs is what lies between.
    let mut common: Vec<(Range<usize>, Range<usize>)> = found
        .iter()
        .filter(|found| found.tag() == DiffTag::Equal)
        .map(|found| (found.old_range(), found.new_range()))
        .collect();
    common.push((before.len()..before.len(), after.len()..after.len()));
    let (mut runs, mut end, mut last) = (Vec::new(), (0, 0), (0, 0));
    for (place, (old, new)) in common.iter().enumerate() {
        let gap = longer(before, last.0..old.start, after, last.1..new.start);
        let next = common.get(place + 1);
        let next = next.map_or(0, |next| longer(before, old.end..next.0.start, after, new.end..next.1.start));
        last = (old.end, new.end);
        let words = before.get(old.clone()).unwrap_or_default();
        let number = words.iter().filter(|word| word.text.contains(char::is_alphanumeric)).count();
        let is_short = number == 0 || (number <= BY_CHANCE && length(words) <= gap.min(next));
        if gap > 0 && next > 0 && is_short {
            continue;
        }
        if end.0 < old.start || end.1 < new.start {
            runs.push(Run { same: false, old: end.0..old.start, new: end.1..new.start });
        }
        runs.push(Run { same: true, old: old.clone(), new: new.clone() });
        end = last;
    }
    runs
}

/// The length of the longer of two runs.
fn longer(before: &[Word<'_>], old: Range<usize>, after: &[Word<'_>], new: Range<usize>) -> usize {
    length(before.get(old).unwrap_or_default()).max(length(after.get(new).unwrap_or_default()))
}

/// In bytes: only lengths of like texts are compared.
fn length(words: &[Word<'_>]) -> usize {
    words.iter().map(|word| word.gap.len() + word.text.len()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inline(before: &str, after: &str) -> String {
        let piece = |Piece { kind, text }: Piece| match kind {
            Kind::Same => text,
            Kind::Removed => format!("[-{text}-]"),
            Kind::Added => format!("{{+{text}+}}"),
        };
        difference(before, after).into_iter().map(piece).collect()
    }

    #[test]
    fn words_are_compared_and_white_space_is_not() {
        assert_eq!(inline("I can help.", "I cannot help."), "I[- can-]{+ cannot+} help.");
        assert_eq!(inline("one two", "one\n\n two"), "one\n\n two");
        assert_eq!(inline("Sure.", "Sure"), "Sure[-.-]");
        assert_eq!(inline("我不能帮你", "我能帮你"), "我[-不-]能帮你");
        assert_eq!(inline("", "new"), "{+new+}");
        assert_eq!(inline("don't", "do not"), "[-don't-]{+do not+}");
        assert_eq!(inline("same", "same"), "same");
        assert_eq!(inline("", ""), "");
    }

    #[test]
    fn punctuation_alone_is_no_common_ground() {
        assert_eq!(inline("No, never, sir.", "Yes, always, madam."), "[-No, never, sir-]{+Yes, always, madam+}.");
        assert_eq!(inline("No, never", "Yes, never"), "[-No-]{+Yes+}, never");
        assert_eq!(
            inline("a friend of hers, or two", "the register of residents, or two"),
            "[-a friend of hers-]{+the register of residents+}, or two"
        );
        assert_eq!(inline("no one here then", "not one here now"), "[-no-]{+not+} one here[- then-]{+ now+}");
    }

    #[test]
    fn both_texts_know_which_of_their_words_are_their_own() {
        let (before, after) = marked("She lives in Rome now", "She lived in Rome, too");
        let own = |words: &[Word<'_>]| {
            words.iter().filter(|word| word.changed).map(|word| word.text.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (own(&before), own(&after)),
            (vec!["lives".into(), "now".into()], ["lived", ",", "too"].map(String::from).to_vec())
        );
    }

    proptest! {
        #[test]
        fn the_pieces_are_both_texts(before in "[ab.,\n é]{0,40}", after in "[ab.,\n é]{0,40}") {
            let pieces = difference(&before, &after);
            let without = |left_out: Kind| -> String {
                let kept = pieces.iter().filter(|piece| piece.kind != left_out).map(|piece| piece.text.as_str());
                kept.collect::<String>().split_whitespace().collect()
            };
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(without(Kind::Added), bare(&before));
            prop_assert_eq!(without(Kind::Removed), bare(&after));
            let (old, new) = marked(&before, &after);
            let changed = old.iter().chain(&new).filter(|word| word.changed).count();
            prop_assert_eq!(changed == 0, pieces.iter().all(|piece| piece.kind == Kind::Same));
        }
    }
}
