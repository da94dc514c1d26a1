//! What a reader needs to judge a proportion, a mean, and the difference between two that were measured on the same rows.
//!
//! | file | what it computes |
//! | --- | --- |
//! | `interval.rs` | Wilson's interval of one proportion |
//! | `mcnemar.rs` | whether as many verdicts were won as lost: the exact test, and its mid-p |
//! | `newcombe.rs` | Newcombe's interval of the difference of two paired proportions |
//! | `confusion.rs` | two opinions, yes or no: shares, F1, Cohen's kappa |
//! | `clustered.rs` | the error of a mean difference whose rows come in groups, its interval and its test |
//! | `bootstrap.rs` | the interval of the same without a formula, by drawing groups anew |
//! | `equivalence.rs` | two one-sided tests: that a difference is smaller than a margin |
//! | `many.rs` | p-values of several tests at once: Holm, Benjamini and Hochberg |
//! | `spread.rs` | mean, spread and interval of a few numbers |
//! | `chosen.rs` | what choosing the best of several adds to it |
//! | `visible.rs` | the smallest difference that so many rows could have shown |
//!
//! Distribution functions are those of the crate statrs. The tests hold values that scipy, statsmodels and R gave. Must not
//! know: judges, questions, stages.

mod bootstrap;
mod chosen;
mod clustered;
mod confusion;
mod equivalence;
mod interval;
mod many;
mod mcnemar;
mod newcombe;
mod spread;
mod visible;

pub use bootstrap::{DRAWS, SEED, bootstrap};
pub use chosen::expected_maximum;
pub use clustered::{Estimate, Group};
pub use confusion::{Confusion, Ranged};
pub use equivalence::{equivalent_pairs, equivalent_within};
pub use interval::wilson;
pub use many::{benjamini_hochberg, holm};
pub use mcnemar::{McNemar, mcnemar};
pub use newcombe::{Pairs, newcombe};
pub use spread::Spread;
pub use visible::{visible, visible_share};

/// The 97.5 % quantile of the standard normal distribution.
pub(crate) const Z: f64 = 1.959_963_984_540_054;
