//! A report as text: a row for each variant, and under the table the notes that a reader needs.
//!
//! | file | what it does |
//! | --- | --- |
//! | `text/columns.rs` | the columns of one set and measure, and a variant's cells in them |
//! | `text/pages.rs` | as many tables, one below the other, as the width asks for |
//! | `text/notes.rs` | what must be known to read the table, and what it does not show |
//! | `text/numbers.rs` | numbers as they are shown |
//!
//! There are columns for all findings. Must not know: how anything was measured, where the report comes from, whether the text
//! goes to a terminal or into a file.

use super::agreement::{Agreement, control_notes, nonsense};
use super::facts::{PointReport, Report, VariantReport};
use super::{leaks, tuning};
use crate::layout::{Look, WIDTH, wrap};
use crate::naming;

pub(crate) mod columns;
mod notes;
pub(crate) mod numbers;
mod pages;
#[cfg(test)]
mod tests;

pub(super) use numbers::signed;

/// The tables and their notes.
pub fn show(report: &Report, look: &Look) -> String {
    let blocks = columns::blocks(&report.variants);
    let best = report.tuning.as_ref().and_then(|tuning| Some(tuning.best.as_ref()?.variant.as_str()));
    let tables = pages::tables(&report.variants, best, &blocks, look.width);
    let mut parts: Vec<String> = tables.iter().map(|table| table.painted(look)).collect();
    let notes: Vec<String> = notes_of(report).iter().map(|note| wrap(note, look.width.min(WIDTH), 2)).collect();
    if !notes.is_empty() {
        parts.push(notes.join("\n"));
    }
    parts.join("\n\n")
}

/// What a reader must know, and what the tables do not show: each a sentence or several.
pub fn notes_of(report: &Report) -> Vec<String> {
    // That a judge cannot be believed is the first thing to know.
    let mut notes = nonsense(&report.controls);
    notes.extend(questions_notes(report));
    notes.extend(notes::notes(&report.variants, &columns::blocks(&report.variants)));
    notes.extend(report.agreement.iter().map(Agreement::note));
    notes.extend(control_notes(&report.controls));
    notes
}

/// Which questions count for what, and which point is the best.
fn questions_notes(report: &Report) -> Vec<String> {
    let named =
        |name: &str| report.variants.iter().find(|row| row.variant == name).map_or_else(|| name.to_owned(), label);
    let mut notes = leaks::notes(&report.leaks);
    notes.extend(report.tuning.iter().flat_map(|found| tuning::notes(found, &named)));
    notes
}

fn point_text(point: &PointReport) -> String {
    naming::point(point.p, point.q)
}

/// What a variant is called.
pub fn label(row: &VariantReport) -> String {
    row.name.clone()
}
