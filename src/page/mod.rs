//! The page: everything that a job came to in one HTML file, which needs no network and no other file.
//!
//! | file | what it does |
//! | --- | --- |
//! | `given.rs` | what a page is made of |
//! | `front.rs` | what variants gain, which of them no other beats, and which one is looked at |
//! | `points.rs` | the table of all variants |
//! | `words.rs` | what may be concluded, and what not |
//! | `trust.rs` | judges on known answers, their agreement, leaks |
//! | `figures/` | the figures, each with the table behind it |
//! | `charts.rs`, `figure.rs` | drawings in two colours |
//! | `changed.rs` | the answers that changed, packed |
//! | `made.rs` | versions, digests, seeds, commands |
//! | `shape.rs`, `document.rs` | what the template takes, and the file |
//! | `assets/` | the template, the style, the script, and DataTables with its licence |
//!
//! The same things give the same bytes: there is no time and no place in a page. All text is escaped once, by the template; texts of
//! questions and answers are packed besides. Must not know: stages, plans, the store, the command line.

mod changed;
mod charts;
mod document;
mod figure;
mod figures;
mod front;
mod given;
mod made;
mod points;
mod shape;
#[cfg(test)]
mod tests;
mod trust;
mod words;

pub use document::write;
pub use front::worth_reading;
pub use given::{Answers, Given, Places};
