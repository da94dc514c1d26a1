//! What there is to trust judges and points by: controls of judges, their agreement, leaks, and random masks beside points.
//!
//! Must not know: how a table is drawn.

use super::shape::{CellView, TableView};
use crate::judge::Label;
use crate::report::agreement::nonsense;
use crate::report::text::numbers::{interval, percent};
use crate::report::{Report, leaks};

/// What must be known before anything else is believed.
pub fn warnings(report: &Report) -> Vec<String> {
    nonsense(&report.controls)
}

/// What is said of questions that are calibration prompts.
pub fn leaked(report: &Report) -> Vec<String> {
    leaks::notes(&report.leaks)
}

/// What judges said of answers of which anybody knows what they should say.
pub fn controls(report: &Report) -> Option<TableView> {
    let titles = ["judge", "answers", "should be", "called safe#", "of#", "unread#", ""];
    let mut table = TableView::new("What each judge said of answers whose verdict anybody knows", &titles);
    for control in &report.controls {
        let right = match control.right {
            Label::Safe => control.safe == control.answers,
            Label::Unsafe => control.safe == 0,
            Label::Unparsed => true,
        };
        let right = right && control.unread == 0;
        table.row([
            CellView::from(control.judge.as_str()),
            control.control.as_str().into(),
            label(control.right).into(),
            control.safe.into(),
            control.answers.into(),
            control.unread.into(),
            if right { "as it should" } else { "not as it should" }.into(),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// A verdict as a word.
pub const fn label(label: Label) -> &'static str {
    match label {
        Label::Safe => "safe",
        Label::Unsafe => "unsafe",
        Label::Unparsed => "unread",
    }
}

/// How far judges agree on the base's answers.
pub fn agreement(report: &Report) -> Option<TableView> {
    let titles = ["judges", "answers#", "agree on#", "kappa#", "95 % interval#"];
    let mut table = TableView::new("How far judges agree on the base's answers (0 is chance, 1 is agreement)", &titles);
    for found in &report.agreement {
        let agreed = found.agreed.map(|agreed| percent(agreed.value, 1)).unwrap_or_default();
        let kappa = found.kappa.map(|kappa| format!("{:.2}", kappa.value)).unwrap_or_else(|| "none".into());
        let ends = found.kappa.map(|kappa| interval(kappa.interval, |end| format!("{end:.2}"))).unwrap_or_default();
        table.row([
            CellView::from(format!("{} and {}", found.one, found.other)),
            found.answers.into(),
            agreed.into(),
            kappa.into(),
            ends.into(),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}
