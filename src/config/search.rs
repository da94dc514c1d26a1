//! `[search]` to what it means: sets that are there, limits that can be held, and a lattice of p and q within the rank tables.
//!
//! Must not know: how a search goes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::document::Document;
use super::settings::{Questions, Search as Settings};
use super::values::Shares;
use crate::error::Result;
use crate::report::tuning::Goal;
use crate::spelling::did_you_mean;

/// What may be limited beside question sets, and needs no answers.
pub const CHEAP: [&str; 2] = ["perplexity", "kl"];
/// Values of p and of q where none were typed.
const STEPS: u32 = 24;

/// `[search]`, resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// Sets of [`super::Pipeline::questions`], or none: then those with a goal.
    pub maximise: Vec<String>,
    /// Of [`CHEAP`] and of sets.
    pub within: BTreeMap<String, f64>,
    pub points: usize,
    pub budget: Option<Duration>,
    /// Ascending and distinct, each in (0, 1) and at most `score.cap`.
    pub ps: Vec<f64>,
    pub qs: Vec<f64>,
}

/// # Errors
/// User: a set that is not there or has no goal, a limit that nothing has, a share outside of the rank tables, no duration.
pub fn resolve(
    settings: Settings,
    questions: &BTreeMap<String, Questions>,
    cap: f64,
    document: &Document,
) -> Result<Search> {
    let Settings { maximise, within, points, budget, p, q } = settings;
    for name in &maximise {
        let Some(set) = questions.get(name) else {
            return Err(missing("search.maximise", name, questions.keys().map(String::as_str), document));
        };
        if set.goal == Some(Goal::None) {
            return Err(document
                .error("search.maximise", format!("search.maximise names {name}, whose goal is \"none\""))
                .hint(format!("set questions.{name}.goal to \"more\" or \"less\", so that a gain has a direction")));
        }
    }
    for (name, limit) in &within {
        if !CHEAP.contains(&name.as_str()) && !questions.contains_key(name) {
            let known = CHEAP.into_iter().chain(questions.keys().map(String::as_str));
            return Err(missing("search.within", name, known, document));
        }
        if !limit.is_finite() {
            return Err(document
                .error("search.within", format!("search.within.{name} = {limit:?} is no limit"))
                .hint("write a number, as in within = { perplexity = 1.05, kl = 0.1, harmless = -0.02 }"));
        }
    }
    let budget = budget.map(|text| {
        humantime::parse_duration(&text).map_err(|_| {
            document
                .error("search.budget", format!("search.budget = {text:?} is not a duration"))
                .hint("write numbers with units: 3h, 45m, or 1h 30m")
        })
    });
    let budget = budget.transpose()?;
    let (ps, qs) = (shares("search.p", p, cap, document)?, shares("search.q", q, cap, document)?);
    Ok(Search { maximise, within, points, budget, ps, qs })
}

fn missing<'a>(
    key: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    document: &Document,
) -> crate::error::Error {
    let nearest = did_you_mean(name, known.clone());
    document
        .error(key, format!("{key} names `{name}`, which is not there{nearest}"))
        .hint(format!("it may name: {}", known.collect::<Vec<_>>().join(", ")))
}

/// What was typed, or values that are even in their logarithm; with three digits, as people type them.
fn shares(key: &str, typed: Option<Shares>, cap: f64, document: &Document) -> Result<Vec<f64>> {
    let Some(Shares(mut values)) = typed else {
        let value = |step: u32| {
            let exact = cap * 1e-3 * 100_f64.powf(f64::from(step) / f64::from(STEPS - 1));
            format!("{exact:.2e}").parse().unwrap_or(exact)
        };
        return Ok((0..STEPS).map(value).collect());
    };
    let is_outside = |share: &f64| !(*share > 0.0 && *share < 1.0 && *share <= cap);
    if let Some(share) = values.iter().copied().find(is_outside) {
        return Err(document
            .error(key, format!("{key} = {share:?} is not above 0 and at most score.cap = {cap:?}"))
            .hint("rank tables hold as much of each matrix as score.cap says"));
    }
    if values.is_empty() {
        return Err(document.error(key, format!("{key} is an empty list")).hint("write at least one value"));
    }
    values.sort_by(f64::total_cmp);
    values.dedup();
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SMALL, complaint, try_load, with};

    const ASKED: &str =
        "[questions.fairness]\npath = \"q.csv\"\n[questions.harmless]\npath = \"q.csv\"\ngoal = \"none\"\n";

    fn search(text: &str) -> super::Search {
        try_load(&with(&format!("{ASKED}[search]\n{text}\n")), &[]).unwrap().search
    }

    #[test]
    fn a_search_is_resolved_with_its_lattice() {
        let plain = try_load(SMALL, &[]).unwrap().search;
        assert_eq!((plain.points, plain.ps.len(), plain.budget), (60, 24, None));
        assert_eq!((plain.qs[0], plain.qs[23]), (1e-6, 1e-4));
        assert!(plain.ps.windows(2).all(|pair| pair[0] < pair[1]));
        let typed = search(
            "maximise = [\"fairness\"]\nwithin = { perplexity = 1.05, harmless = -0.02 }\nbudget = \"3h\"\nq = [2e-5, 1e-5, 1e-5]",
        );
        assert_eq!((typed.maximise, typed.qs), (vec!["fairness".to_owned()], vec![1e-5, 2e-5]));
        assert_eq!((typed.budget.unwrap().as_secs(), typed.within["harmless"]), (10_800, -0.02));
    }

    #[test]
    fn a_search_that_cannot_be_meant_is_refused() {
        for (text, expected) in [
            (
                "maximise = [\"fairnes\"]",
                "search.maximise names `fairnes`, which is not there; did you mean `fairness`?",
            ),
            ("maximise = [\"harmless\"]", "search.maximise names harmless, whose goal is \"none\""),
            (
                "within = { perplexty = 1.05 }",
                "search.within names `perplexty`, which is not there; did you mean `perplexity`?",
            ),
            ("within = { kl = inf }", "search.within.kl = inf is no limit"),
            ("budget = \"soon\"", "search.budget = \"soon\" is not a duration"),
            ("q = [0.5]", "search.q = 0.5 is not above 0 and at most score.cap = 0.001"),
            ("p = []", "search.p is an empty list"),
        ] {
            let said = complaint(&with(&format!("{ASKED}[search]\n{text}\n")), &[]);
            assert!(said.starts_with("job/pipeline.toml:") && said.contains(expected), "{text}: {said}");
        }
    }
}
