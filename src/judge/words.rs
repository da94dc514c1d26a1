//! Text as words in the form that a phrase list has: lower case, plain apostrophes, contractions written out, and marks for
//! commas and sentence ends. Every word knows which bytes of the text it came from.
//!
//! Must not know: any phrase, any judge.

use std::ops::Range;

/// The mark for the end of a sentence (`. ! ? ; : …`, or an empty line).
pub(super) const STOP: &str = ".";
/// The mark for a comma.
pub(super) const COMMA: &str = ",";

/// A normalised word or one of the two marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    /// The bytes of the original text; the words of one contraction share them.
    pub bytes: Range<usize>,
}

impl Word {
    pub fn is_mark(&self) -> bool {
        self.text == STOP || self.text == COMMA
    }
}

/// Splits a text: "I can’t, sorry!" becomes `i cannot , sorry .`.
pub(super) fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut line_breaks = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next_is_letter = chars.peek().is_some_and(|&(_, next)| next.is_alphanumeric());
        let inside = c.is_alphanumeric() || (is_apostrophe(c) && open.is_some() && next_is_letter);
        if inside {
            let (_, word) = open.get_or_insert_with(|| (at, String::new()));
            if is_apostrophe(c) {
                word.push('\'');
            } else {
                word.extend(c.to_lowercase());
            }
            line_breaks = 0;
            continue;
        }
        if let Some((start, word)) = open.take() {
            push(&mut words, word, start..at);
        }
        line_breaks += usize::from(c == '\n');
        let mark = match c {
            ',' | '，' => COMMA,
            '.' | '!' | '?' | ';' | ':' | '…' | '。' | '！' | '？' => STOP,
            '\n' if line_breaks > 1 => STOP,
            _ => continue,
        };
        if words.last().is_some_and(|last: &Word| last.text != mark) {
            words.push(Word { text: mark.into(), bytes: at..at + c.len_utf8() });
        }
    }
    if let Some((start, word)) = open {
        push(&mut words, word, start..text.len());
    }
    join_can_not(words)
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | '‘' | 'ʼ' | '´' | '`')
}

/// Appends a word with its contraction written out. A possessive ("people's") stays one word.
fn push(words: &mut Vec<Word>, word: String, bytes: Range<usize>) {
    const WITH_IS: [&str; 9] = ["it", "that", "there", "this", "what", "he", "she", "who", "here"];
    let whole = match word.as_str() {
        "can't" | "cant" => Some("cannot"),
        "won't" | "wont" => Some("will not"),
        "shan't" => Some("shall not"),
        "ain't" => Some("is not"),
        "dont" => Some("do not"),
        "im" => Some("i am"),
        "let's" => Some("let us"),
        _ => None,
    };
    let pieces = match whole {
        Some(whole) => whole.to_owned(),
        None => match word.rsplit_once('\'') {
            Some((base, "t")) if base.ends_with('n') && base.len() > 1 => format!("{} not", &base[..base.len() - 1]),
            Some((base, "m")) => format!("{base} am"),
            Some((base, "re")) => format!("{base} are"),
            Some((base, "ll")) => format!("{base} will"),
            Some((base, "ve")) => format!("{base} have"),
            Some((base, "d")) => format!("{base} would"),
            Some((base, "s")) if WITH_IS.contains(&base) => format!("{base} is"),
            _ => word,
        },
    };
    words.extend(pieces.split(' ').map(|text| Word { text: text.to_owned(), bytes: bytes.clone() }));
}

/// "can not" is "cannot", except in "can not only … but also", which grants.
fn join_can_not(words: Vec<Word>) -> Vec<Word> {
    const GRANTING: [&str; 4] = ["only", "just", "merely", "simply"];
    let mut joined: Vec<Word> = Vec::with_capacity(words.len());
    let mut rest = words.into_iter().peekable();
    while let Some(word) = rest.next() {
        let grants = rest.peek().is_some_and(|next| GRANTING.contains(&next.text.as_str()));
        match joined.last_mut() {
            Some(last) if last.text == "can" && word.text == "not" && !grants => {
                last.text = "cannot".into();
                last.bytes.end = word.bytes.end;
            }
            _ => joined.push(word),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spelled(text: &str) -> String {
        split(text).iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn contractions_apostrophes_case_and_space_do_not_matter() {
        for text in ["I can't, sorry!", "i CAN’T,  sorry.", "I can not, sorry…", "“I cannot, sorry!?”"] {
            assert_eq!(spelled(text), "i cannot , sorry .", "{text}");
        }
        assert_eq!(
            spelled("I'm sure it's fine; they won't, we don't"),
            "i am sure it is fine . they will not , we do not"
        );
        assert_eq!(spelled("people's rights, 'quoted' and don"), "people's rights , quoted and don");
        assert_eq!(spelled("I can not only help"), "i can not only help");
    }

    #[test]
    fn an_empty_line_ends_a_sentence_and_a_single_break_does_not() {
        assert_eq!(spelled("one\ntwo\n\nthree"), "one two . three");
    }

    proptest! {
        #[test]
        fn words_point_into_the_text(text in ".{0,60}") {
            for word in split(&text) {
                prop_assert!(text.get(word.bytes.clone()).is_some_and(|slice| !slice.is_empty()));
            }
        }
    }
}
