//! Reports: what was measured, as facts, and the forms in which they are shown.
//!
//! | file | what it does |
//! | --- | --- |
//! | `measures.rs` | what a measure means, and how its rows become one value |
//! | `facts.rs` | outcomes to findings, compared with the base's |
//! | `json.rs` | facts to report.json and back |
//! | `text.rs` | facts to a table with notes |
//! | `lengths.rs` | the reports of one job under several limits of new tokens, side by side |
//!
//! A report shows all outcomes that there are. It knows no stage by name, and it knows a measure only by its line in the
//! registry. Must not know: stages, the store, the terminal.

pub mod facts;
pub mod json;
pub mod lengths;
pub mod measures;
pub mod text;

pub use facts::{CalibrationReport, Finding, PointReport, VariantReport};
