//! The front on questions that had no part in choosing it, and beside random masks of the same size.
//!
//! The largest of many noisy gains is too large where it was chosen. On other questions it is what it is, and of several tests
//! Holm's method keeps the error of all. Must not know: which questions these are, how controls are drawn.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Estimate, hypervolume};
use crate::stats::holm;

/// One gain on other questions, with the p-value of no gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Test {
    pub gain: Estimate,
    pub p: f64,
}

/// The same, corrected for the number of tests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Confirmed {
    pub gain: Estimate,
    pub p: f64,
    /// By Holm, over all points of the front and all objectives.
    pub holm: f64,
    /// Whether it is a gain that is no accident: positive, and Holm's p-value below 5 %.
    pub is_gain: bool,
}

/// Corrects the tests of the front's points, of which each has one for each objective.
pub fn confirm(tests: &[Vec<Test>]) -> Vec<Vec<Confirmed>> {
    let all: Vec<f64> = tests.iter().flatten().map(|test| test.p).collect();
    let mut corrected = holm(&all).into_iter();
    let of_test = |test: &Test, holm: f64| Confirmed {
        gain: test.gain,
        p: test.p,
        holm,
        is_gain: test.gain.value > 0.0 && holm < 0.05,
    };
    tests
        .iter()
        .map(|tests| tests.iter().zip(&mut corrected).map(|(test, holm)| of_test(test, holm)).collect())
        .collect()
}

/// A front beside fronts of random masks of the same sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Versus {
    /// What the front commands.
    pub hypervolume: f64,
    /// What each round of controls commands, one control of every point in a round.
    pub controls: Vec<f64>,
    /// Whether some round commands as much: then the front shows nothing but noise.
    pub is_noise: bool,
}

/// `controls` has for each round the gains of one control of every point.
pub fn versus(front: &[Vec<f64>], controls: &[Vec<Vec<f64>>]) -> Versus {
    let (own, controls) = (hypervolume(front), controls.iter().map(|round| hypervolume(round)).collect::<Vec<_>>());
    let is_noise = own <= 0.0 || controls.iter().any(|control| *control >= own);
    Versus { hypervolume: own, controls, is_noise }
}
