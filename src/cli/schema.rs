//! `dean schema`: the JSON Schema of pipeline.toml, with which an editor completes, explains and checks its keys; and with
//! `--output` the one of what commands answer to `--json`.
//!
//! Must not know: any key, any answer.

use clap::Args as ClapArgs;

use super::{output, print};
use crate::config;
use crate::error::Result;

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// The schema of what every command answers to --json, under $defs
    #[arg(long)]
    output: bool,
}

pub fn run(args: &Args) -> Result<()> {
    print::json(&if args.output { output::schema() } else { config::schema() })
}
