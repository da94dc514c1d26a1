//! The command line: arguments, dispatch, exit codes. One file for each command; the only room that prints.
//!
//! Must not know: how anything is computed.

mod apply;
mod args;
mod cache;
mod completions;
mod diff;
mod doctor;
mod error;
mod explain;
mod export;
mod footer;
mod format;
mod front;
mod grid;
mod init;
mod judge;
mod look;
mod output;
mod page;
mod pager;
mod plan;
mod print;
mod progress;
mod provenance;
mod report;
mod run;
mod runs;
mod schema;
mod search;
mod show;
mod signals;
mod stability;
mod status;
mod sweep;
mod until;
mod variant;
mod verify;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::error::{Error, Result};
use crate::export::in_place::Way;

const AFTER_HELP: &str = "\
Examples:
  dean run                                  compute what pipeline.toml asks for, and show the report
  dean plan --set 'select.q=[3e-5]'         what would another grid cost?
  dean explain 'score[privacy]'             why does this run again?
  dean report --out results                 the report and its tables, as files with plain names

Exit codes:
  0   done
  1   something to set right: usage, a missing file, a full disk
  2   a fault of dean
  75  stopped early: run the same command again to go on

The environment variable DEAN_LOG=info (or debug) shows what happens inside.";

const AFTER_RUN: &str = "\
Examples:
  dean run
  dean run --until score                    only the rank tables; then look at `dean grid`
  dean run --set model.source='\"models/qwen\"' --set data.privacy.samples=64
  dean run --device cuda:0 --json > summary.json
  dean run --sweep 'data.*.seed=0..5' --sweep score.method=snip,wanda

The first SIGINT or SIGTERM stops after the current step and keeps what was done (exit code 75).";

const AFTER_STABILITY: &str = "\
The halves cost as much scoring as the job itself, each other seed as much again. What was scored is kept.

Examples:
  dean stability
  dean stability --seeds 0                  only the halves
  dean stability --seeds 3 --json > stability.json";

const AFTER_SEARCH: &str = "\
[search] in the pipeline says what is to be large, and what it may cost at most. docs/search.md says what the numbers mean.

Examples:
  dean search
  dean search --points 25 --set 'search.within={perplexity=1.05, kl=0.1}'
  dean search --budget 3h && dean front

The first SIGINT or SIGTERM shows the front so far (exit code 75). The same command goes on from there.";

const AFTER_SHOW: &str = "\
Examples:
  dean show                                 the last point of the grid
  dean show p=q=1e-5 --flipped              where a judge turned its mind
  dean show p=q=1e-5 --set privacy --grep 'social security'
  dean show --changed --json > changed.jsonl

Words that only the base has are shown as [-removed-], those that only the variant has as {+added+}.
On a terminal the answer goes through $DEAN_PAGER, $PAGER or `less -FRX`.";
const AFTER_JUDGE: &str = "\
Examples:
  dean judge --check completions_gpt4_gpteval.csv               XSTest's files as they are
  dean judge --check answers.csv --question q --answer a --label verdict --yes harmful --of unsafe
  dean judge --check answers.jsonl --judge second --json        the judge of [judge.second]

Without more options, the columns are XSTest's: is an answer a full refusal, and does the judge say so?";

const AFTER_EXPORT: &str = "\
Examples:
  dean export p=q=1e-5 patched                        a directory that transformers loads
  dean export p=q=1e-5 patch.safetensors --patch      the changed weights alone
  dean apply patch.safetensors my-copy                write them into a copy of the model
  dean verify patched                                 is it base and patch, to the byte?

A point that was not run needs its rank tables only: add it with --set 'select.points=[[P, Q]]'.";

const AFTER_RUNS: &str = "\
A run has an id (20260102T030405Z-…) and two words that all runs of one job share, such as quiet-otter. Wherever a run is meant,
the beginning of the id will do, or the words: then it is the newest run of that job.

Examples:
  dean runs
  dean run --name paper-table-2
  dean runs describe quiet-otter --name paper-table-2 --tag seed-0 --note 'before the new judge'";

const AFTER_GC: &str = "\
Examples:
  dean cache du
  dean cache gc --dry-run
  dean cache gc --keep-runs 3 --grace 12h
  dean cache pin 20260102T030405Z";

/// Finds the few weights where fairness and privacy meet in a chat model, sets them to zero, and says what it did
#[derive(Parser, Debug)]
#[command(name = "dean", bin_name = "dean", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Write a commented pipeline.toml and small data: a first job in a folder of its own
    Init(init::Args),
    /// Compute what is missing and show the report
    #[command(after_help = AFTER_RUN)]
    Run(run::Args),
    /// Show what a run would do
    Plan(plan::Args),
    /// Show what is in the store, and where
    Status(status::Args),
    /// Say why a node has to run, or why it does not
    Explain(explain::Args),
    /// Show how many weights each point selects and which points coincide
    Grid(grid::Args),
    /// Measure few points and find those that no other one beats
    #[command(after_help = AFTER_SEARCH)]
    Search(search::Args),
    /// Show what a search has found so far: gain against damage, with random masks beside it
    Front(search::FrontArgs),
    /// Show how much of the selection would be the same on other rows
    #[command(after_help = AFTER_STABILITY)]
    Stability(stability::Args),
    /// Show what base and variant said, question by question
    #[command(after_help = AFTER_SHOW)]
    Show(show::Args),
    /// Hold a judge against a file that people have labelled
    #[command(after_help = AFTER_JUDGE)]
    Judge(judge::Args),
    /// Show the report again, or copy it and its tables out
    Report(report::Args),
    /// List what was run in this store, and give runs names
    #[command(after_help = AFTER_RUNS)]
    Runs(runs::Args),
    /// Compare two runs: settings, masks, answers, values
    Diff(diff::Args),
    /// Write a point's patched model as a Hugging Face directory, or its patch alone
    #[command(after_help = AFTER_EXPORT)]
    Export(export::Args),
    /// Write a patch into a model directory
    Apply(apply::Args),
    /// Take a patch out of a model directory
    Undo(apply::Args),
    /// Compare an exported directory, byte for byte, with base and patch made anew
    Verify(verify::Args),
    /// Look after the store
    #[command(after_help = AFTER_GC)]
    Cache(cache::Args),
    /// Show what this build and this machine can do
    Doctor(doctor::Args),
    /// Print the JSON Schema of pipeline.toml, for editors, or that of the commands' answers
    Schema(schema::Args),
    /// Print a script that completes dean's arguments in a shell
    Completions(completions::Args),
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return ExitCode::from(told_usage(&usage)),
    };
    listen();
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(&cli.command)))
        .unwrap_or_else(|_| Err(Error::fault("the command failed inside; the log line above says where")));
    match outcome.and_then(|()| print::finish()) {
        Ok(()) => ExitCode::from(error::DONE),
        Err(error) => {
            error::tell(&error);
            ExitCode::from(error::exit_code(&error))
        }
    }
}

fn dispatch(command: &Command) -> Result<()> {
    match command {
        Command::Init(args) => init::run(args),
        Command::Run(args) => run::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Status(args) => status::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Grid(args) => grid::run(args),
        Command::Search(args) => search::run(args),
        Command::Front(args) => search::front(args),
        Command::Stability(args) => stability::run(args),
        Command::Show(args) => show::run(args),
        Command::Judge(args) => judge::run(args),
        Command::Report(args) => report::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Export(args) => export::run(args),
        Command::Apply(args) => apply::run(args, Way::Apply),
        Command::Undo(args) => apply::run(args, Way::Undo),
        Command::Verify(args) => verify::run(args),
        Command::Cache(args) => cache::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => {
            completions::run(args);
            Ok(())
        }
    }
}

/// Prints clap's message: help and the version are answers, everything else is the user's error.
fn told_usage(usage: &clap::Error) -> u8 {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let text = usage.render().to_string();
    if print::visible(&text) == text {
        // A reader that went away is nothing to tell anybody.
        let _ = usage.print();
    } else {
        print::aside(text.trim_end());
    }
    match usage.kind() {
        DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand => error::DONE,
        _ => error::USER,
    }
}

/// Logs and panics go to standard error; a panic becomes a log line, for its message is in the error that follows.
fn listen() {
    let filter =
        EnvFilter::builder().with_env_var("DEAN_LOG").with_default_directive(LevelFilter::WARN.into()).from_env_lossy();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(print::Logs)
        .with_ansi(false)
        .with_target(false)
        .without_time();
    // Fails only where a logger is there already.
    let _ = logs.try_init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_sound_and_every_command_says_what_it_does() {
        let command = Cli::command();
        command.clone().debug_assert();
        for command in command.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn usage_errors_are_the_users() {
        assert_eq!(told_usage(&Cli::try_parse_from(["dean", "no-such-command"]).unwrap_err()), error::USER);
        assert_eq!(told_usage(&Cli::try_parse_from(["dean", "--version"]).unwrap_err()), error::DONE);
        assert_eq!(told_usage(&Cli::try_parse_from(["dean"]).unwrap_err()), error::DONE);
    }
}
