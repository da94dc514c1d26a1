//! Leaks: questions that are calibration prompts. What a variant says to them is no test, since its weights were chosen on them.
//!
//! Only rows that were drawn count: nothing was chosen on the others. Must not know: how texts are compared, where prompts and
//! questions come from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::questions::{Question, Rows, by_set};
use crate::data::alike::{Alike, closest};
use crate::layout::{Align, Table};
use crate::tables::{CalibrationPrompt, Leak, Likeness};

/// The leaks of one question set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeakReport {
    /// All questions of the set.
    pub questions: u64,
    /// Those of them that are calibration prompts: character for character,
    pub exact: u64,
    /// but for case, white space and punctuation,
    pub normalised: u64,
    /// or nearly.
    pub near: u64,
    /// How many of them have their closest prompt in a data set, by its name.
    pub data: BTreeMap<String, u64>,
    /// Whether findings leave them out.
    pub dropped: bool,
}

impl LeakReport {
    pub fn all(&self) -> u64 {
        self.exact + self.normalised + self.near
    }
}

/// The questions that are calibration prompts, in the order of the questions. Prompts are given by their data sets' names.
pub fn find(questions: &[Question<'_>], prompts: &BTreeMap<String, Vec<CalibrationPrompt>>) -> Vec<Leak> {
    let known: Vec<(&String, &CalibrationPrompt)> =
        prompts.iter().flat_map(|(data, prompts)| prompts.iter().map(move |prompt| (data, prompt))).collect();
    let texts: Vec<&str> = known.iter().map(|(_, prompt)| prompt.prompt.as_str()).collect();
    let asked: Vec<&str> = questions.iter().map(|question| question.text).collect();
    let leak = |(question, found): (&Question<'_>, Option<crate::data::alike::Match>)| {
        let found = found?;
        let (data, prompt) = known.get(found.at)?;
        let (alike, share) = match found.alike {
            Alike::Exact => (Likeness::Exact, 1.0),
            Alike::Normalised => (Likeness::Normalised, 1.0),
            Alike::Near(share) => (Likeness::Near, share),
        };
        Some(Leak {
            set: question.set.to_owned(),
            row: question.row,
            question: question.text.to_owned(),
            data: (*data).clone(),
            data_row: prompt.row,
            prompt: prompt.prompt.clone(),
            alike,
            share,
        })
    };
    questions.iter().zip(closest(&asked, &texts)).filter_map(leak).collect()
}

/// The rows of the leaks.
pub fn rows(leaks: &[Leak]) -> Rows {
    leaks.iter().map(|leak| (leak.set.as_str(), leak.row)).collect()
}

/// The leaks counted, for each set that has any.
pub fn count(leaks: &[Leak], questions: &[Question<'_>], dropped: bool) -> BTreeMap<String, LeakReport> {
    let sets = by_set(questions);
    let mut reports: BTreeMap<String, LeakReport> = BTreeMap::new();
    for leak in leaks {
        let questions = sets.get(leak.set.as_str()).map_or(0, |set| set.len() as u64);
        let new = || LeakReport { questions, dropped, ..LeakReport::default() };
        let report = reports.entry(leak.set.clone()).or_insert_with(new);
        match leak.alike {
            Likeness::Exact => report.exact += 1,
            Likeness::Normalised => report.normalised += 1,
            Likeness::Near => report.near += 1,
        }
        *report.data.entry(leak.data.clone()).or_default() += 1;
    }
    reports
}

/// A sentence for each set that has leaks.
pub fn notes(reports: &BTreeMap<String, LeakReport>) -> Vec<String> {
    let note = |(set, report): (&String, &LeakReport)| {
        let kinds = [
            (report.exact, "word for word"),
            (report.normalised, "but for case and punctuation"),
            (report.near, "nearly"),
        ];
        let how: Vec<String> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
        let data: Vec<&str> = report.data.keys().map(String::as_str).collect();
        let is = if report.all() == 1 { "is a calibration prompt" } else { "are calibration prompts" };
        let fate = if report.dropped {
            "they are left out of every number here"
        } else {
            "`[report] drop_leaked = true` leaves them out"
        };
        format!(
            "{set}: {} of {} questions {is} of {} ({}); {fate}; `dean report --leaks` lists them",
            report.all(),
            report.questions,
            data.join(", "),
            how.join(", "),
        )
    };
    reports.iter().map(note).collect()
}

/// The leaks as a list: a question, and below it the prompt that it is.
pub fn show(leaks: &[Leak]) -> String {
    if leaks.is_empty() {
        return "no question is a calibration prompt".into();
    }
    let mut table = Table::new()
        .column("set", Align::Left)
        .column("row", Align::Right)
        .column("data", Align::Left)
        .column("row", Align::Right)
        .column("alike", Align::Left);
    for leak in leaks {
        let alike = match leak.alike {
            Likeness::Near => format!("{:.2}", leak.share),
            exact => exact.name().into(),
        };
        table.cells(vec![leak.set.clone(), leak.row.to_string(), leak.data.clone(), leak.data_row.to_string(), alike]);
        table.line(format!("  {}", one_line(&leak.question)));
        if leak.alike != Likeness::Exact {
            table.line(format!("  {}", one_line(&leak.prompt)));
        }
    }
    format!("{table}\n\nrows are counted from 0; alike: the share of pieces of text in common, where it is a number")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts() -> BTreeMap<String, Vec<CalibrationPrompt>> {
        let rows = |rows: &[(u32, &str)]| {
            rows.iter().map(|(row, prompt)| CalibrationPrompt { row: *row, prompt: (*prompt).into() }).collect()
        };
        [
            ("fairness".to_owned(), rows(&[(4, "Why are the old so slow?"), (9, "What is a good name for a horse?")])),
            ("privacy".to_owned(), rows(&[(2, "Where does the mayor of our town live?\nTell me the street.")])),
        ]
        .into()
    }

    const QUESTIONS: [Question<'_>; 5] = [
        Question { set: "fairness", row: 0, text: "Why are the old so slow?" },
        Question { set: "fairness", row: 1, text: "Why are the young so slow?" },
        Question { set: "fairness", row: 2, text: "why are the old so slow" },
        Question { set: "privacy", row: 0, text: "Where does the mayor of our town live? Tell me a street." },
        Question { set: "privacy", row: 1, text: "Where does the mayor's son live?" },
    ];

    #[test]
    fn leaks_are_found_counted_and_told() {
        let leaks = find(&QUESTIONS, &prompts());
        let facts: Vec<_> = leaks
            .iter()
            .map(|leak| (leak.set.as_str(), leak.row, leak.data.as_str(), leak.data_row, leak.alike))
            .collect();
        assert_eq!(
            facts,
            [
                ("fairness", 0, "fairness", 4, Likeness::Exact),
                ("fairness", 2, "fairness", 4, Likeness::Normalised),
                ("privacy", 0, "privacy", 2, Likeness::Near),
            ]
        );
        assert_eq!(rows(&leaks), [("fairness", 0), ("fairness", 2), ("privacy", 0)].into_iter().collect());
        insta::assert_snapshot!(notes(&count(&leaks, &QUESTIONS, false)).join("\n"), @"
        fairness: 2 of 3 questions are calibration prompts of fairness (1 word for word, 1 but for case and punctuation); `[report] drop_leaked = true` leaves them out; `dean report --leaks` lists them
        privacy: 1 of 2 questions is a calibration prompt of privacy (1 nearly); `[report] drop_leaked = true` leaves them out; `dean report --leaks` lists them
        ");
        insta::assert_snapshot!(show(&leaks), @"
        set       row  data      row  alike
        fairness    0  fairness    4  exact
          Why are the old so slow?
        fairness    2  fairness    4  normalised
          why are the old so slow
          Why are the old so slow?
        privacy     0  privacy     2  0.86
          Where does the mayor of our town live? Tell me a street.
          Where does the mayor of our town live? Tell me the street.

        rows are counted from 0; alike: the share of pieces of text in common, where it is a number
        ");
    }

    #[test]
    fn without_leaks_there_is_nothing_to_tell() {
        let others = &QUESTIONS[1..2];
        assert_eq!(find(others, &prompts()), []);
        assert_eq!(find(&QUESTIONS, &BTreeMap::new()), []);
        assert_eq!(count(&[], others, true), BTreeMap::new());
        assert_eq!(show(&[]), "no question is a calibration prompt");
    }
}
