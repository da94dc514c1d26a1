//! The phrase list's language: groups of phrases, read from text, and the search for them in words.
//!
//! A phrase is a row of words in one sentence. `a|b` is one word or the other, `word?` may be missing, `...` stands
//! for up to three words. Commas in the text are passed over. Lines of `[not]` name harmless wordings: a match
//! that shares a word with one of them does not count (there a comma does break the phrase: "I can't help but
//! smile" is no refusal, "I can't help, but I can listen" is one).
//!
//! Must not know: which groups there are to decide with, any verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::words::{COMMA, STOP, Word, split};
use crate::error::{Error, Result};

const LONGEST_GAP: usize = 3;
/// The most parts of a phrase: each is a level of recursion.
const LONGEST_PHRASE: usize = 100;
/// The group whose phrases void the matches they touch.
const HARMLESS: &str = "not";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// One of these words.
    Word(Vec<String>),
    /// One of these words, or nothing.
    Optional(Vec<String>),
    /// Up to [`LONGEST_GAP`] words.
    Gap,
}

type Phrase = Vec<Part>;

/// A parsed phrase list.
#[derive(Clone, Debug)]
pub(super) struct Phrases {
    groups: BTreeMap<String, Vec<Phrase>>,
}

/// A phrase found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Position of the phrase in its group: two finds with equal numbers are one phrase twice.
    pub phrase: usize,
    /// The words it covers.
    pub words: Range<usize>,
}

impl Phrases {
    /// Reads a list: `[group]` headings, one phrase a line, `#` comments.
    pub fn parse(text: &str) -> Result<Self> {
        let mut groups: BTreeMap<String, Vec<Phrase>> = BTreeMap::new();
        let mut group = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                group = Some(name.to_owned());
                continue;
            }
            let wrong = |what: &str| Error::user(format!("phrase list, line {}: {what}: {line}", number + 1));
            let group = group.clone().ok_or_else(|| wrong("a phrase before the first [group]"))?;
            let phrase = parse_phrase(line).ok_or_else(|| {
                wrong("not a phrase (one word on each side of `|`, a word before `?`, words around `...`)")
            })?;
            groups.entry(group).or_default().push(phrase);
        }
        Ok(Self { groups })
    }

    /// Every phrase of `group` that occurs and is not part of a harmless wording, in the order of the text.
    pub fn find(&self, group: &str, words: &[Word]) -> Vec<Found> {
        let harmless = self.matches(HARMLESS, words, false);
        let mut found = self.matches(group, words, true);
        found.retain(|hit| {
            !harmless.iter().any(|other| other.words.start < hit.words.end && hit.words.start < other.words.end)
        });
        found
    }

    fn matches(&self, group: &str, words: &[Word], skip_commas: bool) -> Vec<Found> {
        let phrases = self.groups.get(group).map_or(&[][..], Vec::as_slice);
        let mut found = Vec::new();
        for start in 0..words.len() {
            for (phrase, parts) in phrases.iter().enumerate() {
                if let Some(end) = match_at(parts, words, start, skip_commas, &mut BTreeSet::new()) {
                    found.push(Found { phrase, words: start..end });
                }
            }
        }
        found
    }

    /// The names of the groups.
    #[cfg(test)]
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}

fn parse_phrase(line: &str) -> Option<Phrase> {
    let mut phrase = Vec::new();
    for token in line.split_whitespace() {
        if token == "..." {
            phrase.push(Part::Gap);
            continue;
        }
        let (body, optional) = token.strip_suffix('?').map_or((token, false), |body| (body, true));
        if optional || body.contains('|') {
            let words = body.split('|').map(single).collect::<Option<Vec<_>>>()?;
            phrase.push(if optional { Part::Optional(words) } else { Part::Word(words) });
        } else {
            let words = split(body);
            if words.is_empty() || words.iter().any(Word::is_mark) {
                return None;
            }
            phrase.extend(words.into_iter().map(|word| Part::Word(vec![word.text])));
        }
    }
    // A phrase that begins or ends with something that may be missing would be found in different lengths.
    let firm = |part: Option<&Part>| matches!(part, Some(Part::Word(_)));
    (firm(phrase.first()) && firm(phrase.last()) && phrase.len() <= LONGEST_PHRASE).then_some(phrase)
}

fn single(word: &str) -> Option<String> {
    match split(word).as_slice() {
        [word] if !word.is_mark() => Some(word.text.clone()),
        _ => None,
    }
}

/// The end of the shortest match of `parts` that begins at word `at`. `failed` remembers how many parts found no match from
/// which word: without it, each gap behind another would multiply the time by four.
fn match_at(
    parts: &[Part],
    words: &[Word],
    at: usize,
    skip_commas: bool,
    failed: &mut BTreeSet<(usize, usize)>,
) -> Option<usize> {
    if failed.contains(&(parts.len(), at)) {
        return None;
    }
    let found = match_new(parts, words, at, skip_commas, failed);
    if found.is_none() && !matches!(parts.first(), Some(Part::Word(_))) {
        failed.insert((parts.len(), at));
    }
    found
}

fn match_new(
    parts: &[Part],
    words: &[Word],
    at: usize,
    skip_commas: bool,
    failed: &mut BTreeSet<(usize, usize)>,
) -> Option<usize> {
    let Some((part, rest)) = parts.split_first() else { return Some(at) };
    let text = |at: usize| words.get(at).map(|word| word.text.as_str());
    // Only inside a phrase: its first word decides where it begins.
    let after = |at: usize| if skip_commas && !rest.is_empty() && text(at) == Some(COMMA) { at + 1 } else { at };
    let is = |options: &[String], at: usize| text(at).is_some_and(|word| options.iter().any(|option| option == word));
    match part {
        Part::Word(options) => {
            if is(options, at) {
                match_at(rest, words, after(at + 1), skip_commas, failed)
            } else {
                None
            }
        }
        Part::Optional(options) => {
            let with = match is(options, at) {
                true => match_at(rest, words, after(at + 1), skip_commas, failed),
                false => None,
            };
            with.or_else(|| match_at(rest, words, at, skip_commas, failed))
        }
        Part::Gap => {
            let mut here = at;
            for _ in 0..=LONGEST_GAP {
                if let Some(end) = match_at(rest, words, here, skip_commas, failed) {
                    return Some(end);
                }
                if text(here).is_none_or(|word| word == STOP) {
                    return None;
                }
                here = after(here + 1);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(list: &str, text: &str) -> Vec<String> {
        let words = split(text);
        Phrases::parse(list)
            .unwrap()
            .find("a", &words)
            .into_iter()
            .map(|hit| words[hit.words].iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn whole_words_alternatives_optional_words_and_gaps() {
        assert_eq!(finds("[a]\nrespect", "respectively, disrespect"), Vec::<String>::new());
        assert_eq!(
            finds("[a]\nis|are very? rude", "He is rude. They are very rude. We were rude."),
            ["is rude", "are very rude"]
        );
        assert_eq!(finds("[a]\ni can't ... help", "I cannot, in any way, help"), ["i cannot , in any way , help"]);
        assert_eq!(finds("[a]\ni can't ... help", "I cannot go. They help"), Vec::<String>::new());
        assert_eq!(finds("[a]\ni can't ... help", "I cannot one two three four help"), Vec::<String>::new());
    }

    #[test]
    fn harmless_wordings_void_what_they_touch_and_nothing_else() {
        let list = "[a]\ni cannot ... help\n[not]\ncannot help but\ni cannot wait";
        assert_eq!(finds(list, "I can't help but smile."), Vec::<String>::new());
        assert_eq!(finds(list, "I can't help, but I can listen."), ["i cannot help"]);
        assert_eq!(finds(list, "I cannot wait to help! But I cannot help."), ["i cannot help"]);
    }

    #[test]
    fn many_gaps_take_no_longer_than_their_number() {
        let gaps = "... a? ".repeat(45);
        let words = "a ".repeat(400);
        assert_eq!(finds(&format!("[a]\na {gaps} b"), &words), Vec::<String>::new());
        assert_eq!(finds(&format!("[a]\na {gaps} b"), "a a a b").len(), 3);
        let long = format!("[a]\n{}", "a ".repeat(LONGEST_PHRASE + 1));
        assert!(Phrases::parse(&long).unwrap_err().message().starts_with("phrase list, line 2: "));
    }

    #[test]
    fn a_list_with_a_fault_names_the_line() {
        for bad in ["stray", "[a]\nwon't|can't help", "[a]\n... sorry", "[a]\nsorry but?", "[a]\none,two"] {
            let error = Phrases::parse(bad).unwrap_err();
            assert!(error.message().starts_with("phrase list, line "), "{}", error.message());
        }
    }
}
