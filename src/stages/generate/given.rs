//! Answers from a file: those of one variant, brought together with the questions.
//!
//! A variant has all of its answers in the file or none. A file with none of a variant's leaves its answers out, which is told;
//! one with some of them is an error, because a part of the questions would be compared with the whole. The base's must be there.
//! Must not know: how answers are generated, drafts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Asked;
use crate::data::{Cut, Format, GivenAnswer};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::text::Text;
use crate::model::text::thoughts::{Said, split};
use crate::naming;
use crate::stages::{FileInput, Variant};
use crate::tables::{Answer, End};

/// The input that is the file.
pub const FILE: &str = "answers";

/// Letters of a digest that name a mask.
const LEAST: usize = 4;

/// Rows of missing answers that are named.
const NAMED: usize = 5;

/// Which answers of the file are a variant's, and how the file is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Given {
    pub format: Format,
    /// None for the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Digest>,
    /// The points (p, q) of the grid that select the mask; none for a control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<(Option<f64>, f64)>,
}

impl Given {
    /// Whether an answer is this variant's.
    fn has(&self, given: &GivenAnswer) -> bool {
        let is = |(p, q): (Option<f64>, f64)| self.points.contains(&(p, q));
        match (&given.variant, given.q) {
            (Some(name), _) if name == "base" => self.mask.is_none(),
            (Some(name), _) => {
                let begins = |mask: &Digest| name.len() >= LEAST && mask.to_string().starts_with(name.as_str());
                naming::point_of(name).is_some_and(is) || self.mask.as_ref().is_some_and(begins)
            }
            (None, Some(q)) => is((given.p, q)),
            (None, None) => self.mask.is_none(),
        }
    }

    /// What a person calls the variant.
    fn name(&self) -> String {
        match (&self.mask, self.points.first()) {
            (None, _) => "the base".into(),
            (Some(mask), None) => format!("the control {}", mask.short()),
            (Some(mask), Some((p, q))) => format!("{} (mask {})", naming::point(*p, *q), mask.short()),
        }
    }

    /// The parameters of a variant.
    pub fn new(format: Format, variant: &Variant, points: &[(Digest, Option<f64>, f64)]) -> Self {
        let own = points.iter().filter(|(mask, ..)| Some(*mask) == variant.mask);
        Self { format, mask: variant.mask, points: own.map(|(_, p, q)| (*p, *q)).collect() }
    }
}

/// The answers of a variant in the order of the questions, or none if the file has none; and what a person should know.
///
/// # Errors
/// User: a row that cannot be read, two answers to one question, some answers that are missing.
pub fn answers(
    given: &Given,
    file: &FileInput,
    asked: &[Asked],
    limit: usize,
) -> Result<(Vec<GivenAnswer>, Option<String>)> {
    let within = |error: Error| error.within(&file.origin);
    let rows = file.rows(given.format, &GivenAnswer::wanted())?;
    let sets: Vec<&str> = BTreeSet::from_iter(asked.iter().map(|asked| asked.set.as_str())).into_iter().collect();
    let mut found: BTreeMap<usize, GivenAnswer> = BTreeMap::new();
    let (mut any, mut others) = (false, BTreeSet::new());
    for row in &rows {
        let row = GivenAnswer::of(row).map_err(within)?;
        if !given.has(&row) {
            continue;
        }
        any = true;
        let set = set_of(&row, &sets).map_err(within)?;
        if !sets.contains(&set.as_str()) {
            others.insert(set);
            continue;
        }
        for place in places(&row, &set, asked).map_err(within)? {
            if let Some(before) = found.insert(place, row.clone()) {
                let Asked { set, row: number, .. } = &asked[place];
                let twice = format!(
                    "{}: {} has answered question {number} of {set} before, at {}",
                    row.place,
                    given.name(),
                    before.place
                );
                return Err(within(Error::user(twice).hint("leave one of the two out")));
            }
        }
    }
    if !any && given.mask.is_some() {
        let note = format!("{} has no answer of {}: its answers are left out", file.origin, given.name());
        return Ok((Vec::new(), Some(note)));
    }
    must_be_whole(given, file, asked, &found, &others)?;
    let unknown = found.values().filter(|answer| answer.cut == Cut::Unknown).count();
    let note = (unknown > 0).then(|| {
        format!(
            "{} does not say of {unknown} answers of {} whether they were cut: they count as whole",
            file.origin,
            given.name()
        )
    });
    let mut answers: Vec<GivenAnswer> = found.into_values().collect();
    for answer in &mut answers {
        if let Cut::Tokens(tokens) = answer.cut {
            answer.cut = if tokens >= limit as u64 { Cut::Yes } else { Cut::No };
        }
    }
    Ok((answers, note))
}

/// The question set of an answer: the one that it names, or the only one.
fn set_of(row: &GivenAnswer, sets: &[&str]) -> Result<String> {
    match (&row.set, sets) {
        (Some(set), _) => Ok(set.clone()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(Error::user(format!("{}: it is not said to which set the question belongs", row.place))
            .hint(format!("this pipeline has the question sets {}: add a column `set`", sets.join(", ")))),
    }
}

/// The questions that an answer is to: several where a question is asked more than once in its set, and none where the pipeline
/// asks fewer than the file answers.
fn places(row: &GivenAnswer, set: &str, asked: &[Asked]) -> Result<Vec<usize>> {
    let of_set = asked.iter().enumerate().filter(|(_, asked)| asked.set == set);
    let is_it = |asked: &Asked| match (row.row, &row.question) {
        (Some(number), _) => u64::from(asked.row) == number,
        (None, Some(question)) => asked.question.trim() == question.trim(),
        (None, None) => false,
    };
    let places: Vec<usize> = of_set.filter(|(_, asked)| is_it(asked)).map(|(place, _)| place).collect();
    if let (Some(number), Some(question)) = (row.row, &row.question)
        && let Some(other) =
            places.iter().map(|place| &asked[*place]).find(|asked| asked.question.trim() != question.trim())
    {
        return Err(Error::user(format!(
            "{}: question {number} of {set} is {:?} here, and {question:?} in the file of answers",
            row.place, other.question
        ))
        .hint("the answers were made for other questions, or the rows are counted otherwise: they begin at 0"));
    }
    Ok(places)
}

/// Refuses a file without some of a variant's answers.
fn must_be_whole(
    given: &Given,
    file: &FileInput,
    asked: &[Asked],
    found: &BTreeMap<usize, GivenAnswer>,
    others: &BTreeSet<String>,
) -> Result<()> {
    let missing: Vec<&Asked> =
        asked.iter().enumerate().filter(|(place, _)| !found.contains_key(place)).map(|(_, asked)| asked).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let named: Vec<String> = missing.iter().take(NAMED).map(|asked| format!("{} {}", asked.set, asked.row)).collect();
    let more = if missing.len() > NAMED { " and so on" } else { "" };
    let hint = match others.iter().next() {
        Some(other) => format!("it has answers to questions of `{other}`, which is no question set of this pipeline"),
        None if given.mask.is_none() => format!("add them; the first is to {:?}", first.question),
        None => format!("add them, or leave all of this variant out; the first is to {:?}", first.question),
    };
    Err(Error::user(format!(
        "{} has no answer of {} to {} of {} questions: {}{more}",
        file.origin,
        given.name(),
        missing.len(),
        asked.len(),
        named.join(", ")
    ))
    .hint(hint))
}

/// A given answer to a question as a row of the table of answers. Its ids are those of its text as it is.
///
/// # Errors
/// A text that cannot be tokenised.
pub fn answer(asked: Asked, given: GivenAnswer, text: &Text) -> Result<Answer> {
    let answer_ids = text.encode(&given.answer, false)?;
    let said = split(None, &given.answer, &[]);
    let stop = match (given.cut, said.open) {
        (Cut::Yes, _) => End::Length,
        (_, true) => End::Thought,
        _ => End::Eos,
    };
    let Said { answer, thought, .. } = said;
    let Asked { set, row, question, prompt } = asked;
    Ok(Answer { set, row, question, prompt_ids: prompt.ids, answer_ids, answer, thought, stop })
}
