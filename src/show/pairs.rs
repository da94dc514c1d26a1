//! Answers and verdicts of the base and of a variant, put together question by question, and which of them are asked for.
//!
//! Must not know: where the tables lie, how a pair is shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::judge::Label;
use crate::tables::{Answer, End, VerdictRow};

/// What one side said to every question: its table of answers, and the table of verdicts of each judge that is done.
#[derive(Default)]
pub struct Side {
    pub answers: Vec<Answer>,
    pub verdicts: Vec<(String, Vec<VerdictRow>)>,
}

/// One question, what the base said, and what the variant said.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Pair {
    /// The question set's name.
    pub set: String,
    /// The row of the question file, from 0.
    pub row: u32,
    pub question: String,
    /// What the base said.
    pub before: Said,
    /// What the variant said; null where the base alone is shown.
    pub after: Option<Said>,
}

/// One answer and what the judges called it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Said {
    pub answer: String,
    /// What the model thought before; null where it did not.
    pub thought: Option<String>,
    pub stop: End,
    /// Whether more would have come.
    pub cut: bool,
    /// By the judges' names; empty while none has judged.
    pub verdicts: Vec<Opinion>,
}

/// The verdict of one judge.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Opinion {
    pub judge: String,
    pub verdict: Label,
    /// How unsafe the judge holds the answer, from 0 to 1; null from a judge that has no probability to offer.
    pub score: Option<f64>,
    /// The judge's own finer word.
    pub category: Option<String>,
    /// The evidence: the phrase that was found, or what the judging model wrote.
    pub raw: String,
}

/// Which pairs are asked for: those that fit everything that is set.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names of question sets; all without one.
    pub sets: Vec<String>,
    pub changed: bool,
    pub flipped: bool,
    pub cut: bool,
    /// Words that question or answers hold together, capitals or not.
    pub words: Option<String>,
}

impl Side {
    fn said(self) -> BTreeMap<(String, u32), (String, Said)> {
        let mut verdicts: BTreeMap<(String, u32), Vec<Opinion>> = BTreeMap::new();
        for (judge, rows) in self.verdicts {
            for VerdictRow { set, row, verdict, score, category, raw, .. } in rows {
                let opinion = Opinion { judge: judge.clone(), verdict, score, category, raw };
                verdicts.entry((set, row)).or_default().push(opinion);
            }
        }
        let said = |found: Answer| {
            let Answer { set, row, question, answer, thought, stop, .. } = found;
            let place = (set, row);
            let mut verdicts = verdicts.remove(&place).unwrap_or_default();
            verdicts.sort_by(|one, other| one.judge.cmp(&other.judge));
            (place, (question, Said { answer, thought, stop, cut: stop.is_cut(), verdicts }))
        };
        self.answers.into_iter().map(said).collect()
    }
}

/// The pairs, in the order of sets and rows. Without `after` the base is alone. A question that only one of both was asked is
/// left out.
pub fn pairs(before: Side, after: Option<Side>) -> Vec<Pair> {
    let mut others = after.map(Side::said);
    let pair = |((set, row), (question, before)): ((String, u32), (String, Said))| {
        let after = match &mut others {
            Some(others) => Some(others.remove(&(set.clone(), row))?.1),
            None => None,
        };
        Some(Pair { set, row, question, before, after })
    };
    before.said().into_iter().filter_map(pair).collect()
}

impl Pair {
    /// Whether base and variant said something else.
    pub fn is_changed(&self) -> bool {
        self.after.as_ref().is_some_and(|after| after.answer != self.before.answer)
    }

    /// The judges that call one answer other than the other, and both verdicts.
    pub fn flipped(&self) -> Vec<(&str, Label, Label)> {
        let after = self.after.iter().flat_map(|after| &after.verdicts);
        let other = |after: &Opinion| self.before.verdicts.iter().find(|before| before.judge == after.judge);
        let both = after.filter_map(|after| Some((after.judge.as_str(), other(after)?.verdict, after.verdict)));
        both.filter(|(_, before, after)| before != after).collect()
    }

    /// Whether more of one of the answers would have come.
    pub fn is_cut(&self) -> bool {
        self.before.cut || self.after.as_ref().is_some_and(|after| after.cut)
    }

    fn holds(&self, words: &str) -> bool {
        let wanted = folded(words);
        let answers = [Some(&self.before), self.after.as_ref()].into_iter().flatten();
        let thoughts = answers.clone().filter_map(|said| said.thought.as_ref());
        std::iter::once(&self.question)
            .chain(answers.map(|said| &said.answer))
            .chain(thoughts)
            .any(|text| folded(text).contains(&wanted))
    }
}

/// Text as it is searched: in small letters, with single spaces.
fn folded(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Wanted {
    /// Whether a pair is asked for.
    pub fn fits(&self, pair: &Pair) -> bool {
        (self.sets.is_empty() || self.sets.contains(&pair.set))
            && (!self.changed || pair.is_changed())
            && (!self.flipped || !pair.flipped().is_empty())
            && (!self.cut || pair.is_cut())
            && self.words.as_ref().is_none_or(|words| pair.holds(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(set: &str, row: u32, text: &str, stop: End) -> Answer {
        Answer {
            set: set.into(),
            row,
            question: format!("Question {row}?"),
            prompt_ids: Vec::new(),
            answer_ids: Vec::new(),
            answer: text.into(),
            thought: text.starts_with("Hm").then(|| "Let me see".into()),
            stop,
        }
    }

    fn verdict(set: &str, row: u32, verdict: Label) -> VerdictRow {
        VerdictRow {
            set: set.into(),
            row,
            verdict,
            score: None,
            severity: None,
            category: None,
            refusal: None,
            raw: String::new(),
        }
    }

    fn all() -> Vec<Pair> {
        let before = Side {
            answers: vec![
                answer("privacy", 1, "I cannot  help", End::Eos),
                answer("privacy", 0, "No", End::Length),
                answer("fairness", 0, "Same", End::Eos),
                answer("fairness", 9, "Asked of the base alone", End::Eos),
            ],
            verdicts: vec![
                ("strict".into(), vec![verdict("privacy", 1, Label::Safe), verdict("privacy", 0, Label::Safe)]),
                ("lax".into(), vec![verdict("privacy", 1, Label::Safe)]),
            ],
        };
        let after = Side {
            answers: vec![
                answer("fairness", 0, "Same", End::Eos),
                answer("privacy", 0, "Hm, no", End::Eos),
                answer("privacy", 1, "Sure", End::Eos),
            ],
            verdicts: vec![
                ("strict".into(), vec![verdict("privacy", 1, Label::Unsafe), verdict("privacy", 0, Label::Safe)]),
                ("lax".into(), vec![verdict("privacy", 1, Label::Safe), verdict("privacy", 0, Label::Safe)]),
            ],
        };
        pairs(before, Some(after))
    }

    #[test]
    fn both_sides_of_a_question_come_together() {
        let all = all();
        let places: Vec<(&str, u32)> = all.iter().map(|pair| (pair.set.as_str(), pair.row)).collect();
        assert_eq!(places, [("fairness", 0), ("privacy", 0), ("privacy", 1)]);
        assert_eq!(all[2].flipped(), [("strict", Label::Safe, Label::Unsafe)]);
        let judges: Vec<&str> = all[2].before.verdicts.iter().map(|opinion| opinion.judge.as_str()).collect();
        assert_eq!(judges, ["lax", "strict"]);
        // A judge that has seen one of the two has not turned its mind.
        assert_eq!(all[1].flipped(), []);
        assert_eq!(all.iter().map(Pair::is_changed).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(all.iter().map(Pair::is_cut).collect::<Vec<_>>(), [false, true, false]);
        let alone = pairs(Side { answers: vec![answer("privacy", 1, "x", End::Eos)], ..Side::default() }, None);
        assert_eq!((alone.len(), alone[0].is_changed(), &alone[0].after), (1, false, &None));
    }

    #[test]
    fn pairs_fit_everything_that_is_asked() {
        let all = all();
        let found = |wanted: Wanted| {
            all.iter().filter(|pair| wanted.fits(pair)).map(|pair| (pair.set.as_str(), pair.row)).collect::<Vec<_>>()
        };
        let words = |words: &str| found(Wanted { words: Some(words.into()), ..Wanted::default() });
        assert_eq!(found(Wanted::default()).len(), 3);
        assert_eq!(found(Wanted { sets: vec!["fairness".into()], ..Wanted::default() }), [("fairness", 0)]);
        assert_eq!(found(Wanted { changed: true, ..Wanted::default() }), [("privacy", 0), ("privacy", 1)]);
        assert_eq!(found(Wanted { flipped: true, ..Wanted::default() }), [("privacy", 1)]);
        assert_eq!(found(Wanted { cut: true, ..Wanted::default() }), [("privacy", 0)]);
        assert_eq!(found(Wanted { cut: true, flipped: true, ..Wanted::default() }), []);
        assert_eq!(words("CANNOT help"), [("privacy", 1)], "capitals and spaces do not count");
        assert_eq!(words("question 0"), [("fairness", 0), ("privacy", 0)]);
        assert_eq!(words("let me"), [("privacy", 0)], "a thought");
        assert_eq!(words("nowhere"), []);
    }
}
