//! `dean diff A B`: two runs side by side.
//!
//! Must not know: how they are compared.

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::args::Where;
use super::format::{WIDTH, count, point, wrap};
use super::print;
use crate::error::Result;
use crate::layout::{Align, Table};
use crate::store::{Run, Store};
use crate::sweep::difference::{Difference, Nodes, PointDifference, difference};

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// A run: its id or the beginning of it, its name, or the two words of its job
    one: String,
    /// Another run
    other: String,
    #[command(flatten)]
    place: Where,
}

/// What a program is told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DiffAnswer")]
pub struct Told {
    /// The ids of the two.
    runs: (String, String),
    difference: Difference,
}

pub fn run(args: &Args) -> Result<()> {
    let store = args.place.open()?;
    let (one, other) = (store.run(&args.one)?, store.run(&args.other)?);
    let found = difference(&store, &one, &other)?;
    if args.place.json.json {
        return print::json(&Told { runs: (one.id, other.id), difference: found });
    }
    print::line(format_args!("A  {}\nB  {}", called(&store, &one)?, called(&store, &other)?));
    print::line(format_args!("\n{}", wrap(&nodes(&found.nodes), WIDTH, 2)));
    if !found.settings.is_empty() {
        let mut table = Table::new();
        for column in ["setting", "A", "B"] {
            table = table.column(column, Align::Left);
        }
        for setting in &found.settings {
            table.row([setting.key.clone(), shown(&setting.values.0), shown(&setting.values.1)]);
        }
        print::line(format_args!("\n{table}"));
    }
    print::line(format_args!("\n{}", points(&found)));
    for (name, only) in [("A", &found.only.0), ("B", &found.only.1)] {
        if !only.is_empty() {
            let points: Vec<String> = only.iter().map(|(p, q)| point(*p, *q)).collect();
            print::line(wrap(&format!("only in {name}: {}", points.join("; ")), WIDTH, 2));
        }
    }
    Ok(())
}

/// A run's name, its id, and when it began.
fn called(store: &Store, run: &Run) -> Result<String> {
    let name = store.about(&run.id)?.name.unwrap_or_else(|| run.words());
    Ok(format!("{name} ({}, began {})", run.id, run.started))
}

fn nodes(nodes: &Nodes) -> String {
    let mut text = format!("{} in common", count(nodes.same, "result"));
    let mut more = |number: usize, what: &str| {
        if number > 0 {
            text.push_str(&format!("; {number} {what}"));
        }
    };
    more(nodes.different, "of the same name are other ones");
    more(nodes.only.0, "only in A");
    more(nodes.only.1, "only in B");
    text
}

/// A setting's value; nothing where there is none.
fn shown(value: &Value) -> String {
    if value.is_null() { "-".into() } else { value.to_string() }
}

fn points(found: &Difference) -> Table {
    let mut table = Table::new()
        .column("point", Align::Left)
        .column("weights A", Align::Right)
        .column("B", Align::Right)
        .column("in both", Align::Right)
        .column("answers changed", Align::Right)
        .column("values A -> B", Align::Left);
    for here in &found.points {
        let answers = here.answers.map_or("-".into(), |(both, changed)| format!("{changed} of {both}"));
        let first = [
            here.name.clone(),
            here.weights.0.to_string(),
            here.weights.1.to_string(),
            here.shared.to_string(),
            answers,
        ];
        let values = values(here);
        table.cells(first.into_iter().chain(values.first().cloned()));
        for value in values.iter().skip(1) {
            table.cells(std::iter::repeat_n(String::new(), 5).chain([value.clone()]));
        }
    }
    table
}

fn values(here: &PointDifference) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
    let value = |found: &crate::sweep::difference::ValueDifference| {
        format!("{} of {}: {} -> {}", found.measure, found.set, number(found.values.0), number(found.values.1))
    };
    here.values.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_common_comes_first() {
        let all = Nodes { same: 12, different: 3, only: (0, 7) };
        assert_eq!(nodes(&all), "12 results in common; 3 of the same name are other ones; 7 only in B");
        assert_eq!(nodes(&Nodes { same: 1, ..Nodes::default() }), "1 result in common");
    }
}
