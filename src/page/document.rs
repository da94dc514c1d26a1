//! The file: the template filled, with a policy that lets nothing but our own script and style work.
//!
//! Must not know: what anything means.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Serde, Value, merge_maps};
use minijinja::{AutoEscape, Environment, HtmlEscape, context};
use sha2::{Digest as _, Sha256};

use super::changed::{self, Changed};
use super::figures::{costs, draws, gains, phrases, places};
use super::front::{axes, looked_at};
use super::given::Given;
use super::made::made;
use super::shape::FigureView;
use super::{points, trust, words};
use crate::error::{Error, Result};

const TEMPLATE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
/// DataTables 3.1.5 (MIT, assets/dataTables.LICENSE.txt), as npm has it: dist file js/dataTables.min.js of datatables.net.
const TABLES: &str = include_str!("assets/dataTables.min.js");
const LICENCE: &str = include_str!("assets/dataTables.LICENSE.txt");

/// How large a page becomes at most, but for a report that is larger by itself. The plain rows are not counted; they are few.
const MOST: usize = 1_800_000;

/// SHA-256 of [`TABLES`], so that nobody changes a library unseen.
#[cfg(test)]
pub(super) const TABLES_DIGEST: &str = "38017a5586acd9c6eb6bbfe8b6938e1a25bdc717c5acfcb07e0c9d663282c59d";

/// The page.
///
/// # Errors
/// Fault: the template cannot be filled.
pub fn write(given: &Given) -> Result<String> {
    let failed = |cause: minijinja::Error| Error::fault(format!("the page cannot be made: {cause:#}"));
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("prose", prose);
    environment.add_template("page", TEMPLATE).map_err(failed)?;
    let template = environment.get_template("page").map_err(failed)?;
    let view = view(given);
    let whole = |changed: &Changed| {
        // Base64 needs no escape, and in a script there is none.
        let packed = Value::from_safe_string(changed.packed.clone());
        let answers = context! { changed => of(changed), packed };
        template.render(merge_maps([view.clone(), answers])).map_err(failed)
    };
    // What the rest takes is known once it is there; the answers have the room that is left.
    let rest = whole(&Changed::default())?.len();
    whole(&changed::collect(&given.answers, MOST.saturating_sub(rest).min(MOST / 2))?)
}

/// All but the answers.
fn view(given: &Given) -> Value {
    let report = given.report.as_ref();
    let policy = policy(&[TABLES, SCRIPT], STYLE);
    let whole = |text: &str| Value::from_safe_string(text.to_owned());
    let shell = context! {
        title => given.title.clone(),
        missing => given.missing.clone(),
        policy,
        style => whole(STYLE),
        script => whole(SCRIPT),
        tables => whole(TABLES),
        licence => LICENCE,
        made => of(made(report, &given.commands)),
        draws => drawn(draws::figures(&given.joined)),
    };
    let Some(report) = report else { return shell };
    let axes = axes(report);
    let number = looked_at(report);
    let looked_at = number.and_then(|number| report.variants.get(number));
    let (heading, advice) = words::advice(report, number, &axes);
    let facts = context! {
        heading,
        advice,
        looked_at => looked_at.map(|row| row.name.clone()),
        warnings => trust::warnings(report),
        claims => looked_at.map(|row| of(words::claims(report, row))),
        limits => words::limits(report, given.joined.iter().any(|row| row.draws > 1)),
        points => of(points::table(report, axes.first())),
        fronts => drawn(gains::fronts(report, &axes)),
        changes => drawn(gains::changes(report, axes.first())),
        maps => drawn(costs::maps(report)),
        perplexities => drawn(costs::perplexities(report)),
        phrases => drawn(looked_at.map(|row| phrases::figures(report, row)).unwrap_or_default()),
        places => drawn(looked_at.and_then(|row| places::figure_of(row, &given.places)).into_iter().collect()),
        masks => places::table(report, &given.places).map(of),
        judge_controls => trust::controls(report).map(of),
        agreement => trust::agreement(report).map(of),
        leaks => trust::leaked(report),
        notes => crate::report::text::notes_of(report),
    };
    merge_maps([shell, facts])
}

fn of(value: impl serde::Serialize) -> Value {
    Serde(value).into()
}

/// A sentence whose parts between backticks are code.
fn prose(text: &str) -> Value {
    let escaped = |text: &str| HtmlEscape(text).to_string();
    let part = |(number, part): (usize, &str)| match number % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    };
    // A backtick without its twin is one of a text.
    match text.matches('`').count() % 2 {
        0 => Value::from_safe_string(text.split('`').enumerate().map(part).collect()),
        _ => Value::from_safe_string(escaped(text)),
    }
}

/// Drawings are the only HTML that comes from elsewhere than the template: kuva escapes the texts in them.
fn drawn(figures: Vec<FigureView>) -> Vec<Value> {
    let one = |figure: FigureView| {
        let FigureView { id, title, caption, light, dark, table } = figure;
        let (light, dark) = (Value::from_safe_string(light), Value::from_safe_string(dark));
        context! { id, title, caption, light, dark, table => of(&table) }
    };
    figures.into_iter().map(one).collect()
}

/// What the browser may do: run these scripts, use this style, and draw a figure again to save it.
fn policy(scripts: &[&str], style: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    let scripts: Vec<String> = scripts.iter().map(|script| hash(script)).collect();
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        scripts.join(" "),
        hash(style)
    )
}
