//! A search among the points of a job: what it may do, what it found, and how far that can be believed.
//!
//! | file | what it does |
//! | --- | --- |
//! | `lattice.rs` | the points that there are, by what the rank tables say |
//! | `gains.rs` | from rows to gains with intervals and tests |
//! | `measure.rs` | measures points with the engine, as parts of ordinary jobs |
//!
//! The search itself is [`crate::search`], which knows no engine. Must not know: how a table looks.

mod gains;
mod lattice;
mod measure;

use schemars::JsonSchema;
use serde::Serialize;

use self::gains::Objective;
pub use self::measure::Tools;
use self::measure::{Beside, Measuring, Parts};
use crate::config::{CHEAP, Pipeline};
use crate::engine::Session;
use crate::error::{Error, Kind, Result};
use crate::naming;
use crate::rank::Setting;
use crate::report::tuning::Goal;
use crate::search::{self, Confirmed, Estimate, Limits, Space, Verdict, Versus};

/// What a search found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SearchReport {
    pub rule: String,
    /// The question sets whose gains are to be large.
    pub objectives: Vec<Aim>,
    /// The hard limits by name.
    pub limits: Vec<Limit>,
    /// Points that select something, each mask once.
    pub sites: usize,
    /// In the order in which they were looked at.
    pub points: Vec<Looked>,
    /// Those that no other one beats.
    pub front: Vec<Best>,
    /// Whether the front was measured on questions that had no part in choosing it.
    pub is_confirmed: bool,
    /// Random masks of the same sizes beside the front; none without controls, or before a search has ended.
    pub versus: Option<Versus>,
    /// Why the search ended before all points were looked at.
    pub stopped: Option<String>,
    /// The run that holds it; none if nothing had to be computed.
    pub run: Option<String>,
}

/// One thing that is to be large.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Aim {
    pub set: String,
    pub goal: Goal,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Limit {
    pub name: String,
    pub limit: f64,
    /// "at most" or "at least".
    pub is: &'static str,
}

/// One point that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Looked {
    pub name: String,
    pub p: Option<f64>,
    pub q: f64,
    pub weights: u64,
    /// The first-order change of the loss on what the rule protects: the sum of its weights' scores there, at most.
    pub first_order: Option<f64>,
    /// Whether it was chosen near the front, and not to cover the space.
    pub refines: bool,
    /// What is limited and needs no answers, in the order of the limits.
    pub cheap: Vec<Option<f64>>,
    /// By objective, on the questions that the choice is made on; empty if no question was asked.
    pub tuning: Vec<Estimate>,
    /// Question sets that are limited.
    pub guards: Vec<Estimate>,
    pub verdict: Verdict,
    pub is_on_front: bool,
}

/// One point of the front.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Best {
    pub name: String,
    pub p: Option<f64>,
    pub q: f64,
    pub weights: u64,
    pub cheap: Vec<Option<f64>>,
    /// By objective, on the questions that the choice was made on. It is too large where the choice made it so.
    pub tuning: Vec<Estimate>,
    /// By objective, on questions that had no part in choosing, corrected by Holm; empty where no set is divided.
    pub confirmed: Vec<Confirmed>,
    /// The gains of random masks of the same size, by round and objective, on the same questions as `confirmed`, else as `tuning`.
    pub controls: Vec<Vec<f64>>,
}

/// Searches. An end before its time is no error: it is in the report.
///
/// # Errors
/// User: nothing to make large, a limit that is not measured; and what running fails with. Kind `Stopped` if nothing is known yet.
pub fn search(tools: &Tools<'_>, tell: &mut dyn FnMut(&str)) -> Result<SearchReport> {
    let pipeline = tools.pipeline;
    let (objectives, guards, limits) = aims(pipeline)?;
    let parts = Parts { tools, session: Session::default() };
    let space = lattice::space(pipeline, &parts.tables()?)?;
    if space.sites().is_empty() {
        return Err(Error::user("no point of the search selects a weight")
            .hint("`dean grid` shows how many weights points select; give larger search.q or smaller search.p"));
    }
    let mut measuring = Measuring::new(&parts, &space, (&objectives, &guards), &limits)?;
    let most = pipeline.search.points;
    let mut number = 0;
    let found = search::search(&space, &limits, most, &mut measuring, &mut |trial| {
        number += 1;
        if let Some(site) = space.sites().get(trial.site) {
            tell(&format!("[{number}/{}] {}", most.min(space.sites().len()), said(site, trial)));
        }
    })?;
    let front: Vec<usize> = found.front.iter().filter_map(|at| found.trials.get(*at)).map(|trial| trial.site).collect();
    let mut stopped = found.stopped.as_ref().map(|error| error.message().to_owned());
    let mut beside = None;
    // A search that was told to end has no time for controls; one whose time is used up has its controls all the same.
    if !front.is_empty() && !(tools.stop)() {
        match measuring.beside(&front) {
            Ok(found) => beside = Some(found),
            Err(error) if error.kind() == Kind::Stopped => {
                stopped.get_or_insert_with(|| error.message().to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    if stopped.is_none() {
        parts.session.finish(tools.store)?;
    }
    let is_confirmed = measuring.is_divided() && beside.is_some();
    let report = Reporting { space: &space, found: &found, beside: beside.as_ref(), is_confirmed };
    let aim = |objective: Objective| Aim { set: objective.set, goal: objective.goal };
    Ok(SearchReport {
        rule: pipeline.select.rule.to_string(),
        sites: space.sites().len(),
        points: report.points(&front),
        front: report.front(),
        versus: beside.as_ref().filter(|beside| !beside.rounds.is_empty()).map(|beside| {
            let values = |tests: &Vec<search::Test>| tests.iter().map(|test| test.gain.value).collect();
            search::versus(&beside.tests.iter().map(values).collect::<Vec<_>>(), &beside.rounds)
        }),
        is_confirmed,
        stopped,
        run: parts.session.run(),
        limits: shown(&limits),
        objectives: objectives.iter().cloned().map(aim).collect(),
    })
}

/// A point in a line of progress.
fn said(site: &search::Site, trial: &search::Trial) -> String {
    let name = naming::point(site.point.p, site.point.q);
    match &trial.verdict {
        Verdict::OverLimit(what) => format!("{name}: {what} is over its limit"),
        Verdict::Dropped => format!("{name}: cannot be on the front"),
        Verdict::Measured => {
            let gains = trial.gains.iter().map(|gain| format!("{:+.1}", 100.0 * gain.value));
            format!("{name}: {}", gains.collect::<Vec<_>>().join(", "))
        }
    }
}

fn shown(limits: &Limits) -> Vec<Limit> {
    let of = |is: &'static str| move |(name, limit): &(String, f64)| Limit { name: name.clone(), limit: *limit, is };
    limits.cheap.iter().map(of("at most")).chain(limits.answers.iter().map(of("at least"))).collect()
}

/// What is to be large, which sets are limited, and the limits.
fn aims(pipeline: &Pipeline) -> Result<(Vec<Objective>, Vec<Objective>, Limits)> {
    let settings = &pipeline.search;
    let goal = |name: &str| {
        let taken = pipeline.select.rule.operands().iter().any(|used| used.name == name && used.setting == Setting::Q);
        let usual = if taken { Goal::More } else { Goal::None };
        pipeline.questions.get(name).and_then(|set| set.goal).unwrap_or(usual)
    };
    let mut names = settings.maximise.clone();
    if names.is_empty() {
        let is_aim = |name: &&String| goal(name) != Goal::None && !settings.within.contains_key(*name);
        names = pipeline.questions.keys().filter(is_aim).cloned().collect();
    }
    if names.is_empty() {
        return Err(Error::user("there is nothing to search for: no question set has a goal")
            .hint("name sets in [search]: maximise = [\"fairness\", \"privacy\"]; or set questions.NAME.goal to \"more\" or \"less\""));
    }
    let objective = |set: String| {
        let goal = Some(goal(&set)).filter(|goal| *goal != Goal::None).unwrap_or(Goal::More);
        Objective { set, goal }
    };
    let mut limits = Limits::default();
    let mut guards = Vec::new();
    for (name, limit) in &settings.within {
        let missing = match name.as_str() {
            "perplexity" if pipeline.perplexity.is_none() => Some("[perplexity] with the path of a text"),
            "kl" if pipeline.divergence.is_none() => Some("[questions.harmless], or divergence.questions"),
            _ => None,
        };
        if let Some(missing) = missing {
            return Err(Error::user(format!("search.within limits {name}, which this job does not measure"))
                .hint(format!("add {missing} to the pipeline, or take {name} out of search.within")));
        }
        if CHEAP.contains(&name.as_str()) {
            limits.cheap.push((name.clone(), *limit));
        } else {
            // Where no direction is set, questions are there to be answered.
            let goal = Some(goal(name)).filter(|goal| *goal != Goal::None).unwrap_or(Goal::Less);
            guards.push(Objective { set: name.clone(), goal });
            limits.answers.push((name.clone(), *limit));
        }
    }
    Ok((names.into_iter().map(objective).collect(), guards, limits))
}

struct Reporting<'a> {
    space: &'a Space,
    found: &'a search::Found,
    beside: Option<&'a Beside>,
    is_confirmed: bool,
}

impl Reporting<'_> {
    fn points(&self, front: &[usize]) -> Vec<Looked> {
        let looked = |trial: &search::Trial| {
            let site = self.space.sites().get(trial.site)?;
            Some(Looked {
                name: naming::point(site.point.p, site.point.q),
                p: site.point.p,
                q: site.point.q,
                weights: site.weights,
                first_order: site.damage,
                refines: trial.refines,
                cheap: trial.cheap.clone(),
                tuning: trial.gains.clone(),
                guards: trial.guards.clone(),
                verdict: trial.verdict.clone(),
                is_on_front: front.contains(&trial.site),
            })
        };
        self.found.trials.iter().filter_map(looked).collect()
    }

    fn front(&self) -> Vec<Best> {
        let confirmed = match self.beside {
            Some(beside) if self.is_confirmed => search::confirm(&beside.tests),
            _ => Vec::new(),
        };
        let best = |(number, at): (usize, &usize)| {
            let trial = self.found.trials.get(*at)?;
            let site = self.space.sites().get(trial.site)?;
            let rounds = self.beside.map(|beside| beside.rounds.as_slice()).unwrap_or_default();
            Some(Best {
                name: naming::point(site.point.p, site.point.q),
                p: site.point.p,
                q: site.point.q,
                weights: site.weights,
                cheap: trial.cheap.clone(),
                tuning: trial.gains.clone(),
                confirmed: confirmed.get(number).cloned().unwrap_or_default(),
                controls: rounds.iter().filter_map(|round| round.get(number).cloned()).collect(),
            })
        };
        self.found.front.iter().enumerate().filter_map(best).collect()
    }
}
