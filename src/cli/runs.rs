//! `dean runs`: what was run in this store, under which names, and what people said of it.
//!
//! Must not know: how a run is kept.

use std::ops::ControlFlow;

use clap::{Args as ClapArgs, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Where;
use super::format::count;
use super::print;
use crate::error::Result;
use crate::layout::{Align, Table};
use crate::store::{About, Run, Store};

/// How many runs are shown.
const SHOWN: usize = 20;

#[derive(ClapArgs, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    place: Where,
    /// Show so many of the newest runs
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    limit: usize,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Give a run a name, tags or a note, which also keeps it from every garbage collection
    Describe(Describe),
}

#[derive(ClapArgs, Debug)]
struct Describe {
    /// A run's id or its beginning, its name, or the two words of its job
    run: String,
    /// The name; a run that had it before loses it. "" takes the name away
    #[arg(long)]
    name: Option<String>,
    /// A tag more
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A tag less
    #[arg(long = "untag", value_name = "TAG")]
    untags: Vec<String>,
    /// A sentence; "" takes it away
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// A run for a program.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RunRow")]
pub struct Row {
    id: String,
    /// What a person called it, or else the two words of its job.
    name: String,
    named: bool,
    started: String,
    finished: bool,
    pinned: bool,
    /// Nodes of the job, as far as they are known, and those that this run computed.
    nodes: usize,
    computed: Option<usize>,
    tags: Vec<String>,
    note: Option<String>,
    command: Vec<String>,
}

impl Row {
    fn of(run: Run, about: About) -> Self {
        Self {
            named: about.name.is_some(),
            name: about.name.unwrap_or_else(|| run.words()),
            tags: about.tags.into_iter().collect(),
            note: about.note,
            nodes: run.nodes.len(),
            id: run.id,
            started: run.started,
            finished: run.finished,
            pinned: run.pinned,
            computed: run.computed,
            command: run.command,
        }
    }

    fn state(&self) -> String {
        let state = if self.finished { "done" } else { "unfinished" };
        let words = [self.pinned.then_some("pinned"), Some(state)];
        words.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(Command::Describe(describe)) = &args.command {
        return self::describe(describe);
    }
    let store = args.place.open()?;
    let rows = rows(&store, args.limit)?;
    if args.place.json.json {
        return print::json(&rows);
    }
    if rows.is_empty() {
        print::line(format_args!("no run yet in {}", store.root().display()));
        return Ok(());
    }
    let mut table = Table::new();
    for column in ["run", "began", "id", "state"] {
        table = table.column(column, Align::Left);
    }
    table = table.column("computed", Align::Right).column("said of it", Align::Left);
    for row in &rows {
        let computed = row.computed.map_or("?".into(), |computed| format!("{computed} of {}", row.nodes));
        let said = row.tags.iter().map(|tag| format!("#{tag}")).chain(row.note.clone()).collect::<Vec<_>>().join(" ");
        table.row([row.name.clone(), row.started.clone(), row.id.clone(), row.state(), computed, said]);
    }
    print::line(table);
    if rows.len() == args.limit {
        print::line(format_args!("\nthe newest {}; --limit shows more", count(rows.len(), "run")));
    }
    Ok(())
}

fn rows(store: &Store, limit: usize) -> Result<Vec<Row>> {
    let mut runs = Vec::new();
    if limit > 0 {
        store.each_run(&mut |run| {
            runs.push(run);
            if runs.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    let row = |run: Run| {
        let about = store.about(&run.id)?;
        Ok(Row::of(run, about))
    };
    runs.into_iter().map(row).collect()
}

fn describe(args: &Describe) -> Result<()> {
    let store = args.place.open()?;
    let run = store.run(&args.run)?;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    if let Some(name) = &args.name {
        store.name_run(&run.id, some(name).as_deref())?;
    }
    let about = store.describe(&run.id, |about| {
        about.tags.extend(args.tags.iter().cloned());
        about.tags.retain(|tag| !args.untags.contains(tag));
        if let Some(note) = &args.note {
            about.note = some(note);
        }
    })?;
    if args.place.json.json {
        return print::json(&Row::of(run, about));
    }
    let kept = if about == About::default() { "nothing is said of it" } else { "it is kept from every collection" };
    print::line(format_args!("{} is called {}; {kept}", run.id, about.name.clone().unwrap_or_else(|| run.words())));
    Ok(())
}
