//! `dean cache`: what is in the store, what takes the space, what may go, whether it is sound, what must stay.
//!
//! Must not know: what stages are; how the store keeps things.

use std::ops::ControlFlow;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Where;
use super::format::{WIDTH, bytes, count, duration, long, seconds, wrap};
use super::print;
use crate::error::{Error, Result};
use crate::layout::{Align, Table};
use crate::store::{DiskUse, FsckReport, GcOptions, GcReport, Listed, Store, Unusable};

#[derive(ClapArgs, Debug)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List every result in the store
    Ls(Where),
    /// Show what takes the space
    Du(Where),
    /// Remove what no kept run needs
    Gc(Gc),
    /// Hash every artifact and check every record; exit code 1 if anything is damaged
    Fsck(Where),
    /// Keep a run, and all it needs, from every gc
    Pin(Pin),
}

#[derive(ClapArgs, Debug)]
struct Gc {
    /// Of how many jobs the newest run stays, beside the pinned and the named runs
    #[arg(long, value_name = "N", default_value_t = GcOptions::default().keep_runs)]
    keep_runs: usize,
    /// Nothing younger goes: 1d, 12h, 30m, 0s
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = grace)]
    grace: Duration,
    /// Say what would go, and leave it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(ClapArgs, Debug)]
struct Pin {
    /// The run: its id or the beginning of it, its name, or the two words of its job
    #[arg(required_unless_present = "list")]
    run: Option<String>,
    /// Take the pin away
    #[arg(long, conflicts_with = "list")]
    remove: bool,
    /// List the runs, newest first
    #[arg(long, conflicts_with = "run")]
    list: bool,
    #[command(flatten)]
    place: Where,
}

/// What a program is told of a pin.
#[derive(Serialize, JsonSchema)]
pub struct Pinned {
    run: String,
    pinned: bool,
}

/// A run in the list of runs.
#[derive(Serialize, JsonSchema)]
pub struct RunLine {
    run: String,
    /// RFC 3339.
    started: String,
    finished: bool,
    pinned: bool,
}

/// clap prints the text of an error behind the argument's name.
fn grace(text: &str) -> std::result::Result<Duration, String> {
    duration(text).map_err(|error| error.hint_text().unwrap_or_else(|| error.message()).to_owned())
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Ls(place) => ls(place),
        Command::Du(place) => du(place),
        Command::Gc(gc) => collect(gc),
        Command::Fsck(place) => fsck(place),
        Command::Pin(args) => pin(args),
    }
}

fn ls(place: &Where) -> Result<()> {
    let store = place.open()?;
    let list = store.ls()?;
    if place.json.json {
        return print::json(&list);
    }
    if list.is_empty() {
        print::line(format_args!("the store {} holds no results", store.root().display()));
        return Ok(());
    }
    print::line(results(&list));
    let total = list.iter().fold(0_u64, |sum, listed| sum.saturating_add(listed.bytes));
    print::line(format_args!("\n{}, {} in {}", count(list.len(), "result"), bytes(total), store.root().display()));
    Ok(())
}

fn results(list: &[Listed]) -> Table {
    let mut table = Table::new()
        .column("stage", Align::Left)
        .column("key", Align::Left)
        .column("size", Align::Right)
        .column("took", Align::Right)
        .column("age", Align::Right)
        .column("outputs", Align::Left);
    for listed in list {
        let mut outputs = listed.outputs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        if !listed.complete {
            outputs.push_str(" (not whole: would run again)");
        }
        table.row([
            listed.stage.clone(),
            listed.key.short(),
            bytes(listed.bytes),
            seconds(listed.seconds),
            long(listed.age_seconds),
            outputs,
        ]);
    }
    table
}

fn du(place: &Where) -> Result<()> {
    let store = place.open()?;
    let usage = store.du()?;
    if place.json.json {
        return print::json(&usage);
    }
    print::line(usage_table(&usage));
    print::line(format_args!("\n{} in {}", bytes(usage.total), store.root().display()));
    Ok(())
}

fn usage_table(usage: &DiskUse) -> Table {
    let mut table = Table::new().column("what", Align::Left).column("size", Align::Right);
    table.row(["artifacts".into(), bytes(usage.blobs)]);
    for (stage, size) in &usage.stages {
        table.row([format!("  of {stage}"), bytes(*size)]);
    }
    for (what, size) in [
        ("records", usage.records),
        ("unfinished stages", usage.partial),
        ("quarantine", usage.quarantine),
        ("downloaded models", usage.sources),
        ("runs and the rest", usage.other),
    ] {
        table.row([what.into(), bytes(size)]);
    }
    table
}

fn collect(args: &Gc) -> Result<()> {
    let store = args.place.open()?;
    let report = store.gc(&GcOptions { keep_runs: args.keep_runs, grace: args.grace, dry_run: args.dry_run })?;
    if args.place.json.json {
        print::json(&report)?;
    } else {
        print::line(collected(&report, args.dry_run));
    }
    for damaged in &report.damaged {
        print::warning(wrap(&kept_for(damaged), WIDTH, 2));
    }
    match report.failed.as_slice() {
        [] => Ok(()),
        [first, ..] => {
            let error = Error::user(format!("{} could not be removed: {first}", count(report.failed.len(), "file")));
            Err(error.hint("see who owns them; the rest was collected, and the next `dean cache gc` tries again"))
        }
    }
}

/// What a damaged run means for a collection.
fn kept_for(damaged: &Unusable) -> String {
    format!(
        "{} cannot be read ({}), so everything stays that it may need; if the run is of no use, take its pin away \
         (`dean cache pin --remove RUN`) or delete the file, and collect again",
        damaged.path.display(),
        damaged.reason
    )
}

fn collected(report: &GcReport, dry_run: bool) -> String {
    let mut table = Table::new()
        .column(if dry_run { "would go" } else { "removed" }, Align::Left)
        .column("number", Align::Right)
        .column("size", Align::Right);
    for (kind, removed) in [
        ("runs", &report.runs),
        ("records", &report.records),
        ("artifacts", &report.blobs),
        ("unfinished stages", &report.partials),
        ("left-overs", &report.other),
    ] {
        if !removed.names.is_empty() {
            table.row([kind.into(), removed.names.len().to_string(), bytes(removed.bytes)]);
        }
    }
    let number: usize = [&report.runs, &report.records, &report.blobs, &report.partials, &report.other]
        .iter()
        .map(|removed| removed.names.len())
        .sum();
    match (number, dry_run) {
        (0, true) => "nothing would go".into(),
        (0, false) => "nothing had to go".into(),
        (_, true) => format!("{table}\n\n{} would be freed", bytes(report.bytes())),
        (_, false) => format!("{table}\n\n{} freed", bytes(report.bytes())),
    }
}

fn fsck(place: &Where) -> Result<()> {
    let store = place.open()?;
    let report = store.fsck()?;
    if place.json.json {
        print::json(&report)?;
    } else {
        print::line(found(&report));
    }
    if report.is_clean() {
        return Ok(());
    }
    Err(Error::user(format!("the store {} is damaged", store.root().display()))
        .hint(match report.unusable.iter().any(|unusable| unusable.moved_to.is_none()) {
            false => "`dean run` computes again what is missing",
            true => "`dean run` computes again what is missing; of a run that cannot be read, take the pin away (`dean cache pin --remove RUN`) and delete the file",
        }))
}

fn found(report: &FsckReport) -> String {
    let mut lines = vec![format!(
        "checked {} ({}) and {}",
        count(usize::try_from(report.blobs).unwrap_or(usize::MAX), "artifact"),
        bytes(report.bytes),
        count(usize::try_from(report.records).unwrap_or(usize::MAX), "record")
    )];
    for damage in &report.damaged {
        let moved = match &damage.moved_to {
            Some(to) => format!("moved to {}", to.display()),
            None => format!("still at {}", damage.path.display()),
        };
        lines.push(format!("damaged: artifact {}: {}; {moved}", damage.digest.short(), damage.reason));
    }
    for missing in &report.missing {
        let (stage, key) = (&missing.stage, missing.key.short());
        lines.push(format!("missing: `{}` of {stage} {key} (artifact {})", missing.output, missing.digest.short()));
    }
    for unusable in &report.unusable {
        let moved = unusable.moved_to.as_ref().map(|to| format!("; moved to {}", to.display())).unwrap_or_default();
        lines.push(format!("unusable: {}: {}{moved}", unusable.path.display(), unusable.reason));
    }
    lines.extend(report.failed.iter().map(|failure| format!("unreadable: {failure}")));
    if !report.orphans.is_empty() {
        let size = report.orphans.iter().fold(0_u64, |sum, orphan| sum.saturating_add(orphan.bytes));
        let orphans = count(report.orphans.len(), "artifact");
        lines.push(format!("{orphans} ({}) that no record names; `dean cache gc` removes such", bytes(size)));
    }
    if report.is_clean() {
        lines.push("everything is sound".into());
    }
    lines.join("\n")
}

fn pin(args: &Pin) -> Result<()> {
    let store = args.place.open()?;
    let json = args.place.json.json;
    let Some(run) = &args.run else {
        return list_runs(&store, json);
    };
    let run = if args.remove { store.unpin(run)? } else { store.pin(run)? };
    if json {
        return print::json(&Pinned { run, pinned: !args.remove });
    }
    print::line(format_args!("{} {run}", if args.remove { "no longer pinned:" } else { "pinned" }));
    Ok(())
}

/// Of each run only its line is kept: there may be thousands, and each is large.
fn list_runs(store: &Store, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    let mut table = Table::new()
        .column("run", Align::Left)
        .column("started", Align::Left)
        .column("nodes", Align::Right)
        .column("", Align::Left);
    store.each_run(&mut |run| {
        let remarks = [(run.pinned, "pinned"), (!run.finished, "not finished")];
        let remarks: Vec<&str> = remarks.into_iter().filter(|(holds, _)| *holds).map(|(_, remark)| remark).collect();
        table.row([run.id.clone(), run.started.clone(), run.nodes.len().to_string(), remarks.join(", ")]);
        let (id, started) = (run.id, run.started);
        rows.push(RunLine { run: id, started, finished: run.finished, pinned: run.pinned });
        ControlFlow::Continue(())
    })?;
    if json {
        return print::json(&rows);
    }
    if rows.is_empty() {
        print::line(format_args!("the store {} has no runs", store.root().display()));
    } else {
        print::line(table);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::store::{Damage, MissingOutput, OutputRef, Removed};

    #[test]
    fn what_was_collected_is_a_table() {
        let removed = |names: usize, bytes| Removed { names: vec![String::new(); names], bytes };
        let report = GcReport { blobs: removed(12, 1 << 21), runs: removed(1, 900), ..GcReport::default() };
        insta::assert_snapshot!(collected(&report, true), @r"
        would go   number     size
        runs            1    900 B
        artifacts      12  2.0 MiB

        2.0 MiB would be freed
        ");
        assert_eq!(collected(&GcReport::default(), false), "nothing had to go");
    }

    #[test]
    fn damage_is_named_line_by_line() {
        let (digest, key) = (Digest::of(b"a"), Digest::of(b"k"));
        let report = FsckReport {
            blobs: 2,
            bytes: 2048,
            records: 1,
            damaged: vec![Damage {
                what: "artifact".into(),
                digest,
                path: "/s/blobs/a".into(),
                moved_to: Some("/s/quarantine/a".into()),
                reason: "its content is not what its name says".into(),
            }],
            missing: vec![MissingOutput { stage: "score".into(), key, output: "ranks".into(), digest }],
            orphans: vec![OutputRef { digest, bytes: 5 }],
            ..FsckReport::default()
        };
        insta::assert_snapshot!(found(&report), @r"
        checked 2 artifacts (2.0 KiB) and 1 record
        damaged: artifact 17762fdd: its content is not what its name says; moved to /s/quarantine/a
        missing: `ranks` of score 5cbcb0ce (artifact 17762fdd)
        1 artifact (5 B) that no record names; `dean cache gc` removes such
        ");
        assert!(found(&FsckReport::default()).ends_with("everything is sound"));
    }
}
