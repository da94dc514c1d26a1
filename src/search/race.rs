//! One search: chooses a point, measures what is cheap first, then asks questions in blocks while the point can still win.
//!
//! Must not know: how points are measured, how the next one is chosen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::space::Space;
use super::{Estimate, Evaluate, choose, front};
use crate::error::{Error, Kind, Result};

/// The hard limits, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// What must not be above its limit, and needs no answers.
    pub cheap: Vec<(String, f64)>,
    /// What must not be below its limit, and needs answers.
    pub answers: Vec<(String, f64)>,
}

/// What became of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All questions were asked, and all limits hold.
    Measured,
    /// This is over its limit.
    OverLimit(String),
    /// After some of the questions it was clear that it cannot be on the front.
    Dropped,
}

/// One point that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub site: usize,
    /// Chosen near the front, and not to cover the space.
    pub refines: bool,
    /// In the order of [`Limits::cheap`].
    pub cheap: Vec<Option<f64>>,
    /// Of the questions that were asked; empty if none were.
    pub gains: Vec<Estimate>,
    /// In the order of [`Limits::answers`].
    pub guards: Vec<Estimate>,
    pub verdict: Verdict,
}

impl Trial {
    pub fn values(&self) -> Vec<f64> {
        self.gains.iter().map(|gain| gain.value).collect()
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// In the order in which they were looked at.
    pub trials: Vec<Trial>,
    /// The places in `trials` of those that no other one beats.
    pub front: Vec<usize>,
    /// Why it ended before it had looked at all points that it was to look at.
    pub stopped: Option<Error>,
}

impl Found {
    fn new(trials: Vec<Trial>, stopped: Option<Error>) -> Self {
        let front = best(&trials);
        Self { trials, front, stopped }
    }
}

/// The places of those that no other one beats. Nobody needs a point that loses everywhere.
fn best(trials: &[Trial]) -> Vec<usize> {
    let whole: Vec<usize> = (0..trials.len())
        .filter(|at| trials.get(*at).is_some_and(|trial| trial.verdict == Verdict::Measured))
        .collect();
    let gains: Vec<Vec<f64>> = whole.iter().filter_map(|at| trials.get(*at)).map(Trial::values).collect();
    front(&gains).into_iter().filter_map(|at| whole.get(at).copied()).collect()
}

/// Looks at up to so many points. `tell` hears of each.
///
/// # Errors
/// What measuring a point fails with, unless that is a stop.
pub fn search(
    space: &Space,
    limits: &Limits,
    points: usize,
    evaluate: &mut dyn Evaluate,
    tell: &mut dyn FnMut(&Trial),
) -> Result<Found> {
    let mut trials: Vec<Trial> = Vec::new();
    while trials.len() < points {
        let Some((site, refines)) = choose::next(space, &trials, limits) else { break };
        if evaluate.is_over() {
            return Ok(Found::new(trials, Some(Error::stopped("the time of the search is used up"))));
        }
        match trial(&trials, limits, site, refines, evaluate) {
            Ok(trial) => {
                tell(&trial);
                trials.push(trial);
            }
            Err(error) if error.kind() == Kind::Stopped => return Ok(Found::new(trials, Some(error))),
            Err(error) => return Err(error),
        }
    }
    Ok(Found::new(trials, None))
}

fn trial(before: &[Trial], limits: &Limits, site: usize, refines: bool, evaluate: &mut dyn Evaluate) -> Result<Trial> {
    let cheap = evaluate.cheap(site)?;
    let mut trial = Trial { site, refines, cheap, gains: Vec::new(), guards: Vec::new(), verdict: Verdict::Measured };
    let over = limits.cheap.iter().zip(&trial.cheap).find(|((_, limit), found)| {
        // What cannot be read is no proof that the limit holds.
        !found.is_some_and(|found| found <= *limit)
    });
    if let Some(((name, _), _)) = over {
        trial.verdict = Verdict::OverLimit(name.clone());
        return Ok(trial);
    }
    let rivals: Vec<&Trial> = best(before).into_iter().filter_map(|at| before.get(at)).collect();
    let mut blocks = 1;
    loop {
        let answered = evaluate.answers(site, blocks)?;
        (trial.gains, trial.guards) = (answered.gains, answered.guards);
        // All questions are asked at the end, so their value counts; until then a limit may still hold within the interval.
        let is_below = |((_, limit), guard): &(&(String, f64), &Estimate)| {
            if answered.is_all { guard.value < *limit } else { guard.upper < *limit }
        };
        if let Some(((name, _), _)) = limits.answers.iter().zip(&trial.guards).find(is_below) {
            trial.verdict = Verdict::OverLimit(name.clone());
            return Ok(trial);
        }
        if answered.is_all {
            return Ok(trial);
        }
        if rivals.iter().any(|rival| is_wholly_below(&trial.gains, &rival.gains)) {
            trial.verdict = Verdict::Dropped;
            return Ok(trial);
        }
        blocks *= 2;
    }
}

/// Whether the whole interval of every gain is below that of the other.
fn is_wholly_below(gains: &[Estimate], others: &[Estimate]) -> bool {
    !gains.is_empty() && gains.iter().zip(others).all(|(here, other)| here.upper < other.lower)
}
