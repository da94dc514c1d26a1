//! `dean completions SHELL`: the script that lets a shell complete dean's arguments.
//!
//! Must not know: any command; clap does.

use clap::{Args as ClapArgs, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dean", &mut script);
    print::raw(&script);
}
