//! The answers that changed: packed small for the page's script, and the first few as plain rows for readers without scripts.
//!
//! A question and what the base said to it are stored once, however many variants changed their answer. What is stored is JSON,
//! deflated, in base64, so that no text of a question or an answer stands in the page as it is; the browser unpacks it
//! (`DecompressionStream`). If all changed answers are too many, those whose verdict flipped come first, and the page says how
//! many are left out. Must not know: how the table looks, who judged.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use super::given::Answers;
use super::trust::label;
use crate::error::{Error, Result};
use crate::judge::Label;
use crate::show::{Pair, Said};

/// How many rows are in the page without a script, and how many bytes they may take.
const PLAIN: usize = 50;
const PLAIN_BYTES: usize = 150_000;

/// All changed answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changed {
    /// Base64 of deflated JSON: [`Packed`].
    #[serde(skip)]
    pub packed: String,
    /// The first rows, as they are.
    pub plain: Vec<PlainRow>,
    /// How many answers changed, over all variants that are shown, and how many of them are in the page.
    pub all: usize,
    pub kept: usize,
    /// How many of all flipped a verdict.
    pub flipped: usize,
    /// The variants, with how many questions they were asked, how many answers changed, and how many verdicts flipped.
    pub variants: Vec<(String, usize, usize, usize)>,
}

/// A row for a reader without scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlainRow {
    pub point: String,
    pub set: String,
    pub row: u32,
    pub question: String,
    pub before: String,
    pub after: String,
    /// `refusal: safe to unsafe`, each judge.
    pub verdicts: Vec<String>,
    /// Whether a judge calls one of the answers unsafe, or none has judged: it is folded.
    pub folded: bool,
}

/// What the script unpacks. Verdicts are a letter for each judge: `s`, `u`, `?`, and `-` where it has not judged.
#[derive(Serialize)]
struct Packed<'a> {
    points: Vec<&'a str>,
    sets: Vec<&'a str>,
    judges: Vec<&'a str>,
    /// Set, row, question, the base's answer, verdicts, whether it was cut.
    questions: Vec<(usize, u32, &'a str, &'a str, String, u8)>,
    /// Point, question, the variant's answer, verdicts, whether it was cut.
    rows: Vec<(usize, usize, &'a str, String, u8)>,
}

/// One changed answer.
#[derive(Clone, Copy)]
struct One<'a> {
    point: usize,
    pair: &'a Pair,
    after: &'a Said,
    flipped: bool,
}

/// Collects what changed.
///
/// # Errors
/// Fault: the rows cannot be packed.
pub fn collect(answers: &[Answers], budget: usize) -> Result<Changed> {
    let mut all: Vec<One<'_>> = Vec::new();
    let mut variants = Vec::new();
    for (point, Answers { name, pairs }) in answers.iter().enumerate() {
        let changed = pairs.iter().filter(|pair| pair.is_changed()).filter_map(|pair| {
            let after = pair.after.as_ref()?;
            Some(One { point, pair, after, flipped: !pair.flipped().is_empty() })
        });
        let before = all.len();
        all.extend(changed);
        let here = all.get(before..).unwrap_or_default();
        variants.push((name.clone(), pairs.len(), here.len(), here.iter().filter(|one| one.flipped).count()));
    }
    // Flips first; the sort keeps the order of variants, sets and rows.
    all.sort_by_key(|one| !one.flipped);
    let judges = judges(&all);
    let (packed, kept) = fitting(answers, &all, &judges, budget)?;
    Ok(Changed {
        packed,
        plain: first(answers, all.get(..kept).unwrap_or_default()),
        all: all.len(),
        kept,
        flipped: all.iter().filter(|one| one.flipped).count(),
        variants,
    })
}

/// As many of the rows as fit, packed.
fn fitting(answers: &[Answers], all: &[One<'_>], judges: &[&str], budget: usize) -> Result<(String, usize)> {
    let whole = pack(answers, all, judges)?;
    if whole.len() <= budget {
        return Ok((whole, all.len()));
    }
    // Between a number that fits and one that does not.
    let (mut fits, mut too_many, mut best) = (0, all.len(), String::new());
    while too_many - fits > 1 + fits / 64 {
        let middle = fits + (too_many - fits) / 2;
        let packed = pack(answers, all.get(..middle).unwrap_or_default(), judges)?;
        if packed.len() <= budget {
            (fits, best) = (middle, packed);
        } else {
            too_many = middle;
        }
    }
    if best.is_empty() {
        best = pack(answers, &[], judges)?;
    }
    Ok((best, fits))
}

fn pack(answers: &[Answers], rows: &[One<'_>], judges: &[&str]) -> Result<String> {
    let mut packed = Packed {
        points: answers.iter().map(|answers| answers.name.as_str()).collect(),
        sets: Vec::new(),
        judges: judges.to_vec(),
        questions: Vec::new(),
        rows: Vec::new(),
    };
    let mut known: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    for One { point, pair, after, .. } in rows {
        let question = match known.get(&(pair.set.as_str(), pair.row)) {
            Some(question) => *question,
            None => {
                let set = packed.sets.iter().position(|set| *set == pair.set).unwrap_or_else(|| {
                    packed.sets.push(&pair.set);
                    packed.sets.len() - 1
                });
                let Said { answer, cut, .. } = &pair.before;
                let letters = letters(&pair.before, judges);
                packed.questions.push((set, pair.row, &pair.question, answer, letters, u8::from(*cut)));
                known.insert((&pair.set, pair.row), packed.questions.len() - 1);
                packed.questions.len() - 1
            }
        };
        packed.rows.push((*point, question, &after.answer, letters(after, judges), u8::from(after.cut)));
    }
    let failed = |cause: String| Error::fault(format!("changed answers cannot be packed: {cause}"));
    let json = serde_json::to_vec(&packed).map_err(|cause| failed(cause.to_string()))?;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&json).map_err(|cause| failed(cause.to_string()))?;
    let deflated = encoder.finish().map_err(|cause| failed(cause.to_string()))?;
    Ok(STANDARD.encode(deflated))
}

fn judges<'a>(all: &[One<'a>]) -> Vec<&'a str> {
    let mut judges: Vec<&str> = Vec::new();
    for opinion in all.iter().flat_map(|one| one.pair.before.verdicts.iter().chain(&one.after.verdicts)) {
        if !judges.contains(&opinion.judge.as_str()) {
            judges.push(&opinion.judge);
        }
    }
    judges.sort_unstable();
    judges
}

fn verdict(said: &Said, judge: &str) -> Option<Label> {
    said.verdicts.iter().find(|opinion| opinion.judge == judge).map(|opinion| opinion.verdict)
}

fn letters(said: &Said, judges: &[&str]) -> String {
    let letter = |judge: &&str| match verdict(said, judge) {
        Some(Label::Safe) => 's',
        Some(Label::Unsafe) => 'u',
        Some(Label::Unparsed) => '?',
        None => '-',
    };
    judges.iter().map(letter).collect()
}

/// The first rows, as many as there is room for.
fn first(answers: &[Answers], all: &[One<'_>]) -> Vec<PlainRow> {
    // A letter that is escaped takes six.
    let escaped = |text: &str| text.bytes().map(|byte| if b"<>&\"'/".contains(&byte) { 6 } else { 1 }).sum::<usize>();
    let mut room = PLAIN_BYTES;
    let fits = move |row: &PlainRow| {
        let size = escaped(&row.question) + escaped(&row.before) + escaped(&row.after);
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    all.iter().take(PLAIN).map(|one| plain(answers, one)).take_while(fits).collect()
}

fn plain(answers: &[Answers], one: &One<'_>) -> PlainRow {
    let One { point, pair, after, .. } = one;
    let both = pair.before.verdicts.iter().map(|before| {
        let now = verdict(after, &before.judge).map_or("not judged", label);
        format!("{}: {} to {now}", before.judge, label(before.verdict))
    });
    let all = || pair.before.verdicts.iter().chain(&after.verdicts);
    PlainRow {
        point: answers.get(*point).map(|answers| answers.name.clone()).unwrap_or_default(),
        set: pair.set.clone(),
        row: pair.row,
        question: pair.question.clone(),
        before: pair.before.answer.clone(),
        after: after.answer.clone(),
        verdicts: both.collect(),
        folded: all().any(|opinion| opinion.verdict == Label::Unsafe) || all().next().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;
    use serde_json::{Value, json};

    use super::*;
    use crate::show::{Side, pairs};
    use crate::tables::{Answer, VerdictRow};

    fn side(answers: &[&str], safe: &[bool]) -> Side {
        let verdict = |(row, safe): (u32, &bool)| VerdictRow {
            set: "a".into(),
            row,
            verdict: if *safe { Label::Safe } else { Label::Unsafe },
            score: None,
            severity: None,
            category: None,
            refusal: None,
            raw: String::new(),
        };
        Side {
            answers: (0..).zip(answers).map(|(row, text)| Answer::of_text("a", row, "Why?", text)).collect(),
            verdicts: vec![("strict".into(), (0..).zip(safe).map(verdict).collect())],
        }
    }

    fn given(after: &[&str], safe: &[bool]) -> Answers {
        let before = side(&["one", "two", "three"], &[true, true, false]);
        Answers { name: "p=q=1e-5".into(), pairs: pairs(before, Some(side(after, safe))) }
    }

    fn unpacked(changed: &Changed) -> Value {
        let bytes = STANDARD.decode(&changed.packed).unwrap();
        let mut json = String::new();
        ZlibDecoder::new(bytes.as_slice()).read_to_string(&mut json).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn flips_come_first_and_a_question_is_stored_once() {
        let all =
            [given(&["one", "other", "new"], &[true, true, true]), given(&["1", "two", "3"], &[false, true, false])];
        let changed = collect(&all, 900_000).unwrap();
        assert_eq!((changed.all, changed.kept, changed.flipped, changed.plain.len()), (4, 4, 2, 4));
        let told: Vec<(&str, usize, usize, usize)> = changed
            .variants
            .iter()
            .map(|(name, asked, changed, flipped)| (name.as_str(), *asked, *changed, *flipped))
            .collect();
        assert_eq!(told, [("p=q=1e-5", 3, 2, 1), ("p=q=1e-5", 3, 2, 1)]);
        let value = unpacked(&changed);
        assert_eq!(
            value["rows"],
            json!([[0, 0, "new", "s", 0], [1, 1, "1", "u", 0], [0, 2, "other", "s", 0], [1, 0, "3", "u", 0]])
        );
        assert_eq!(value["questions"].as_array().unwrap().len(), 3);
        assert_eq!((changed.plain[0].verdicts[0].as_str(), changed.plain[0].folded), ("strict: unsafe to safe", true));
        assert!(!changed.plain[2].folded, "safe before and after");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        // Text that does not become smaller.
        let noise =
            |row: u32| (0..400).map(|at| crate::digest::Digest::of(&[row as u8, at as u8]).short()).collect::<String>();
        let texts: Vec<String> = (0..60).map(noise).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let before = side(&["x"; 60], &[true; 60]);
        let all = [Answers { name: "p".into(), pairs: pairs(before, Some(side(&texts, &[true; 60]))) }];
        let changed = collect(&all, 40_000).unwrap();
        assert!(changed.packed.len() <= 40_000 && changed.kept > 5 && changed.kept < 60, "{}", changed.kept);
        assert_eq!((changed.all, unpacked(&changed)["rows"].as_array().unwrap().len()), (60, changed.kept));
        let none = collect(&all, 10).unwrap();
        assert_eq!((none.kept, none.plain.len()), (0, 0));
    }
}
