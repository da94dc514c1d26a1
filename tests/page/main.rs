//! Writes pages for `tests/page/run` to look at in a browser: `cargo test --release --test page -- DIR`.
//!
//! Must not know: what is looked at.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::expect_used,
    reason = "a program that writes files for a test, and says which"
)]

use std::path::PathBuf;
use std::process::ExitCode;

mod sample;
use sample::{EVIL, SETS, given, grid, line, sweep};

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("say where to: cargo test --release --test page -- DIR");
        return ExitCode::FAILURE;
    };
    let pages = [
        ("hundred", given(SETS, &grid(10), 60)),
        ("few", given(SETS, &line(), 40)),
        ("evil", given([EVIL, "privacy", "harmless"], &grid(3), 6)),
        ("sweep", sweep()),
        ("one", given(SETS, &grid(1), 20)),
    ];
    for (name, given) in pages {
        let page = dean::page::write(&given).expect("a page");
        let file = dir.join(format!("{name}.html"));
        std::fs::write(&file, page).expect("a file");
        println!("{}", file.display());
    }
    ExitCode::SUCCESS
}
