//! Which texts say the same: equal, equal but for case, white space and punctuation, or nearly equal.
//!
//! Nearly equal means that two texts, in their normal form, share at least [`NEAR`] of all pieces of `PIECE` letters that
//! either of them has (their Jaccard index). All such pairs are found, and no others: two sets that share so much share one of
//! their rarest pieces, so that only texts with a rare piece in common are compared (prefix filtering: Chaudhuri, Ganti and
//! Kaushik 2006; Bayardo, Ma and Srikant 2007). Nothing is drawn or hashed, so the answer depends on the texts alone. Must not
//! know: questions, calibration, reports.

use std::collections::HashMap;
use std::hash::Hash;
use std::iter::once;

use tokenizers::NormalizedString;

#[cfg(test)]
mod tests;

/// The share of pieces, as numerator and denominator, from which two texts are nearly equal.
///
/// One other word in a sentence of thirteen stays above it. `Why are … people so dumb` and `so dirty` are below.
pub const NEAR: (usize, usize) = (3, 4);

/// How many letters a piece has. A blank is a letter, also before the first word and behind the last.
const PIECE: usize = 4;

/// How much alike a text and the closest of some others are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alike {
    /// Character for character.
    Exact,
    /// Equal in their normal form.
    Normalised,
    /// Nearly equal: the share of pieces that they have in common.
    Near(f64),
}

/// The closest of some texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// Its place among them; of several that are equally close, the first.
    pub at: usize,
    pub alike: Alike,
}

/// A text in its normal form: Unicode NFKC, lower case, no apostrophes, and one blank for each run of white space and other
/// punctuation. Signs that are no punctuation stay, so that C++ is not C. A text of punctuation alone stays as it is.
pub fn normal(text: &str) -> String {
    // Accents that stand for apostrophes are taken apart by NFKC, so they go before it.
    let seen: String = text.chars().filter(|letter| !is_dropped(*letter)).collect();
    let composed = if seen.is_ascii() { seen } else { nfkc(seen) };
    let mut form = String::with_capacity(composed.len());
    for letter in composed.chars().flat_map(char::to_lowercase).filter(|letter| !is_dropped(*letter)) {
        if !is_between_words(letter) {
            form.push(letter);
        } else if !form.is_empty() && !form.ends_with(' ') {
            form.push(' ');
        }
    }
    form.truncate(form.trim_end().len());
    if form.is_empty() { text.trim().to_owned() } else { form }
}

/// NFKC as the tokenisers of models compute it.
fn nfkc(text: String) -> String {
    let mut text = NormalizedString::from(text);
    text.nfkc();
    text.get().to_owned()
}

/// Apostrophes, and what is not seen.
fn is_dropped(letter: char) -> bool {
    matches!(
        letter,
        '\'' | '`' | '´' | '‘' | '’' | '‛' | 'ʹ' | 'ʻ' | 'ʼ' | 'ʽ' | '\u{ad}' | '\u{200b}'
            ..='\u{200f}' | '\u{2060}' | '\u{feff}'
    )
}

fn is_between_words(letter: char) -> bool {
    let punctuation = matches!(letter,
        '!' | '"' | '(' | ')' | '*' | ',' | '-' | '.' | '/' | ':' | ';' | '?' | '[' | '\\' | ']' | '_' | '{' | '}'
        // Latin, Greek, Armenian, Arabic, Devanagari and Ethiopic marks, dashes and quotes, those of Chinese and Japanese.
        | '¡' | '¿' | '«' | '»' | '·' | '¶' | '§' | '՝' | '։' | '،' | '؛' | '؟' | '۔' | '।' | '॥' | '።'
        | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}'
        | '\u{3014}'..='\u{301f}' | '・');
    punctuation || letter.is_whitespace() || letter.is_control()
}

/// For each text the number of its group, which is the place of the group's first text. Texts that are equal in their normal
/// form or nearly equal are in one group, and so are those that are connected through others.
pub fn groups(texts: &[&str]) -> Vec<usize> {
    // Each normal form once, in the order of the texts, with the place of its first text.
    let mut places = HashMap::new();
    let mut forms: Vec<(String, usize)> = Vec::new();
    let form_of: Vec<usize> = (0..)
        .zip(texts)
        .map(|(at, text)| {
            let form = normal(text);
            *places.entry(form.clone()).or_insert_with(|| {
                forms.push((form, at));
                forms.len() - 1
            })
        })
        .collect();
    let sets = ranked(forms.iter().map(|(form, _)| pieces(form)).collect());
    let mut first = Firsts::of(sets.len());
    let mut index = Index::new(&sets);
    for (at, set) in sets.iter().enumerate() {
        index.candidates(set, |other, there| {
            if first.of_one(other) != first.of_one(at) && share(set, there).is_some() {
                first.join(other, at);
            }
        });
        index.add(at);
    }
    form_of.into_iter().map(|form| forms.get(first.of_one(form)).map_or(0, |(_, at)| *at)).collect()
}

/// For each text the closest of the others, if one is at least nearly equal. An exactly equal one comes before one that is equal
/// in its normal form.
pub fn closest(texts: &[&str], others: &[&str]) -> Vec<Option<Match>> {
    let forms: Vec<String> = others.iter().map(|other| normal(other)).collect();
    let (exact, normalised) = (first_places(others.iter().copied()), first_places(forms.iter().map(String::as_str)));
    // Each form once, as the place of its first text.
    let mut distinct: Vec<usize> = normalised.values().copied().collect();
    distinct.sort_unstable();
    let asked: Vec<String> = texts.iter().map(|text| normal(text)).collect();
    let known = distinct.iter().filter_map(|at| forms.get(*at));
    let mut sets = ranked(known.chain(&asked).map(|form| pieces(form)).collect());
    let asked_sets = sets.split_off(distinct.len());
    let mut index = Index::new(&sets);
    (0..sets.len()).for_each(|at| index.add(at));

    let mut near = |set: &[u32]| {
        let mut best: Option<(usize, Share)> = None;
        index.candidates(set, |other, there| {
            let Some(found) = share(set, there) else { return };
            // Candidates come in any order.
            let better =
                best.is_none_or(|(at, share)| found.is_more_than(share) || (!share.is_more_than(found) && other < at));
            if better {
                best = Some((other, found));
            }
        });
        best.and_then(|(other, share)| Some(Match { at: *distinct.get(other)?, alike: Alike::Near(share.value()) }))
    };
    let one = |((text, form), set): ((&&str, &String), &Vec<u32>)| {
        let equal = exact.get(text).map(|at| Match { at: *at, alike: Alike::Exact });
        let normalised = || normalised.get(form.as_str()).map(|at| Match { at: *at, alike: Alike::Normalised });
        equal.or_else(normalised).or_else(|| near(set))
    };
    texts.iter().zip(&asked).zip(&asked_sets).map(one).collect()
}

fn first_places<'a>(texts: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut places = HashMap::new();
    for (at, text) in texts.enumerate() {
        places.entry(text).or_insert(at);
    }
    places
}

/// The pieces of a text, each once. A piece is the letters themselves.
fn pieces(form: &str) -> Vec<u128> {
    let letters: Vec<char> = once(' ').chain(form.chars()).chain(once(' ')).collect();
    let packed =
        |letters: &[char]| letters.iter().fold(0, |piece, letter| piece << 32 | u128::from(u32::from(*letter)));
    let mut pieces: Vec<u128> = match letters.len() {
        0..PIECE => vec![packed(&letters)],
        _ => letters.windows(PIECE).map(packed).collect(),
    };
    pieces.sort_unstable();
    pieces.dedup();
    pieces
}

/// Sets of anything as sets of numbers, in which rarer members have smaller ones. Each set is sorted.
fn ranked<T: Copy + Ord + Hash>(sets: Vec<Vec<T>>) -> Vec<Vec<u32>> {
    let mut counts: HashMap<T, u32> = HashMap::new();
    sets.iter().flatten().for_each(|member| *counts.entry(*member).or_default() += 1);
    let mut order: Vec<(u32, T)> = counts.into_iter().map(|(member, count)| (count, member)).collect();
    order.sort_unstable();
    let ranks: HashMap<T, u32> = order.into_iter().map(|(_, member)| member).zip(0..).collect();
    let numbers = |set: Vec<T>| {
        let mut numbers: Vec<u32> = set.iter().filter_map(|member| ranks.get(member).copied()).collect();
        numbers.sort_unstable();
        numbers
    };
    sets.into_iter().map(numbers).collect()
}

/// Finds the sets that share one of their rarest members.
struct Index<'a> {
    sets: &'a [Vec<u32>],
    with: HashMap<u32, Vec<usize>>,
    /// In which question a set was last a candidate.
    asked: Vec<usize>,
    question: usize,
}

impl<'a> Index<'a> {
    fn new(sets: &'a [Vec<u32>]) -> Self {
        Self { sets, with: HashMap::new(), asked: vec![0; sets.len()], question: 0 }
    }

    fn add(&mut self, at: usize) {
        for member in self.sets.get(at).into_iter().flat_map(|set| rarest(set)) {
            self.with.entry(*member).or_default().push(at);
        }
    }

    /// Shows each set that may be near this one, once.
    fn candidates(&mut self, set: &[u32], mut visit: impl FnMut(usize, &'a [u32])) {
        self.question += 1;
        for at in rarest(set).iter().filter_map(|member| self.with.get(member)).flatten() {
            let (Some(asked), Some(there)) = (self.asked.get_mut(*at), self.sets.get(*at)) else { continue };
            if *asked != self.question {
                *asked = self.question;
                visit(*at, there);
            }
        }
    }
}

/// So many of a set's rarest members that a set which is near it has one of them among its own. A near set has at least
/// [`NEAR`] of this one's members; so it lacks fewer than these.
fn rarest(set: &[u32]) -> &[u32] {
    let (part, whole) = NEAR;
    let shared = (set.len() * part).div_ceil(whole);
    set.get(..(set.len() - shared + 1).min(set.len())).unwrap_or_default()
}

/// How many members two sets share, of how many that they have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    shared: usize,
    all: usize,
}

impl Share {
    fn is_more_than(self, other: Self) -> bool {
        self.shared * other.all > other.shared * self.all
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of letters")]
    fn value(self) -> f64 {
        self.shared as f64 / self.all as f64
    }
}

/// What two sorted sets share, if it is at least [`NEAR`].
fn share(one: &[u32], other: &[u32]) -> Option<Share> {
    let (part, whole) = NEAR;
    let both = one.len() + other.len();
    // shared / (both - shared) >= part / whole
    let needed = (both * part).div_ceil(part + whole);
    let (mut left, mut right, mut shared) = (one, other, 0);
    while let (Some((first, after)), Some((second, behind))) = (left.split_first(), right.split_first()) {
        if shared + left.len().min(right.len()) < needed {
            return None;
        }
        if first <= second {
            left = after;
        }
        if second <= first {
            right = behind;
        }
        shared += usize::from(first == second);
    }
    (shared >= needed).then_some(Share { shared, all: both - shared })
}

/// Groups that grow together; each is known by its first member.
struct Firsts(Vec<usize>);

impl Firsts {
    fn of(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn parent(&self, at: usize) -> usize {
        self.0.get(at).copied().unwrap_or(at)
    }

    fn of_one(&mut self, at: usize) -> usize {
        let mut first = at;
        while self.parent(first) != first {
            first = self.parent(first);
        }
        // The next look-up finds it at once.
        let mut here = at;
        while here != first {
            let next = self.parent(here);
            if let Some(parent) = self.0.get_mut(here) {
                *parent = first;
            }
            here = next;
        }
        first
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of_one(one), self.of_one(other));
        if let Some(parent) = self.0.get_mut(one.max(other)) {
            *parent = one.min(other);
        }
    }
}
