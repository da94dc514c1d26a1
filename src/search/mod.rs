//! Search among points instead of a whole grid: which point is measured next, which is given up, and which are the best.
//!
//! Several things are to be large at once, so there is no best point but a front: the points that no other one beats in all of
//! them. A search measures few points. It knows for nothing how many weights each point selects and how many two points share
//! ([`Space`]), and everything else from whoever measures ([`Evaluate`]).
//!
//! | file | what it does |
//! | --- | --- |
//! | `space.rs` | the points that there are, and how far they are from each other |
//! | `front.rs` | which points no other one beats, and how much space they command |
//! | `surrogate.rs` | what a point that was not measured is likely to give, by those that were |
//! | `choose.rs` | the next point: greedy k-centre, and refinement near the front |
//! | `race.rs` | one search: measures cheap things first, and gives up points that cannot win |
//! | `confirm.rs` | the front on questions that had no part in choosing, beside random controls |
//!
//! Everything is deterministic, and a choice depends on what was measured before and not on how long the search is to be. So the
//! points of a longer search begin with those of a shorter one. Must not know: models, questions, stages, the store.

mod choose;
mod confirm;
mod front;
mod race;
mod space;
mod surrogate;

#[cfg(test)]
mod tests;

pub use confirm::{Confirmed, Test, Versus, confirm, versus};
pub use front::{front, hypervolume};
pub use race::{Found, Limits, Trial, Verdict, search};
pub use space::{Known, Site, Space};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A number and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Estimate {
    /// A number without noise.
    pub fn exact(value: f64) -> Self {
        Self { value, lower: value, upper: value }
    }

    /// The standard error, as far as the interval tells.
    fn error(&self) -> f64 {
        (self.upper - self.lower).max(0.0) / (2.0 * crate::stats::Z)
    }
}

/// What some of the questions said of a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The gain of each objective over the base, in the order of the objectives. More is better.
    pub gains: Vec<Estimate>,
    /// What is limited and needs answers, in the order of [`Limits::answers`].
    pub guards: Vec<Estimate>,
    /// Whether these were all questions.
    pub is_all: bool,
}

/// Whoever measures points. A site is named by its number in the [`Space`].
pub trait Evaluate {
    /// What is limited and needs no answers, in the order of [`Limits::cheap`]; `None` where there is no reading.
    ///
    /// # Errors
    /// What keeps it from being measured. An error of kind `Stopped` ends the search, and what was found so far is kept.
    fn cheap(&mut self, site: usize) -> Result<Vec<Option<f64>>>;

    /// The gains on the first so many blocks of questions.
    ///
    /// # Errors
    /// As of [`Evaluate::cheap`].
    fn answers(&mut self, site: usize, blocks: usize) -> Result<Answered>;

    /// Whether the search is to end before another point is begun.
    fn is_over(&self) -> bool {
        false
    }
}
