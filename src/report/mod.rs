//! Reports: what was measured, as facts, and the forms in which they are shown.
//!
//! | file | what it does |
//! | --- | --- |
//! | `measures.rs` | what a measure means, and how its rows become one value |
//! | `facts.rs` | outcomes to findings, compared with the base's |
//! | `paired.rs` | the same rows before and after: flips, intervals, tests |
//! | `agreement.rs` | how far judges agree, and what they said of controls |
//! | `answers.rs` | which answers are not the base's, and which questions are one question |
//! | `job.rs` | what a report was made of: model, digests, seeds, versions |
//! | `phrases.rs` | how often answers say cautionary phrases, before and after |
//! | `questions.rs` | questions, and rows of them that count somewhere |
//! | `leaks.rs` | questions that are calibration prompts |
//! | `split.rs` | a set's questions in two parts, for tuning and for testing |
//! | `tuning.rs` | the best point, chosen on one part and told of the other |
//! | `json.rs` | facts to report.json and back |
//! | `text.rs` | facts to a table with notes |
//! | `joined.rs` | many runs of one job, joined over their draws |
//! | `lengths.rs` | the reports of one job under several limits of new tokens, side by side |
//!
//! A report shows all outcomes that there are. It knows no stage by name, and it knows a measure only by its line in the
//! registry. Must not know: stages, the store, the terminal.

pub mod agreement;
pub mod answers;
pub mod facts;
pub mod job;
pub mod joined;
pub mod json;
pub mod leaks;
pub mod lengths;
pub mod measures;
pub mod paired;
pub mod phrases;
pub mod questions;
pub mod split;
pub mod text;
pub mod tuning;

pub use facts::{CalibrationReport, ControlReport, Finding, Measured, PointReport, Report, VariantReport};
pub use job::Job;
pub use leaks::LeakReport;
pub use paired::{Groups, Paired};
pub use tuning::TuningReport;
