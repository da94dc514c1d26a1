//! Tests that need something the repository does not hold.
//!
//! | file | what it needs | what it proves |
//! | --- | --- | --- |
//! | `smollm2.rs` | golden data, a package index | tokens, losses, scores, sets, answers and perplexity of a real model are PyTorch's |
//! | `tiny.rs` | golden data | the same of two random models with what SmolLM2 lacks, on whole score tensors |
//! | `selection.rs` | golden data | PyTorch's scores give PyTorch's sets |
//! | `stories.rs` | golden data | a GGUF file and a directory of one model are equal; its tokeniser is SentencePiece's |
//! | `inspect.rs` | golden data | good answers are not called broken, and broken ones are |
//! | `judge.rs` | golden data | the refusal judge agrees with people |
//! | `pip.rs` | pip | files come out of wheels, and what a user sees without a network |
//! | `disk.rs` | `unshare --user` of Linux | what a user sees when the disk is full |
//!
//! Golden data lies in `../shared` or in `$DEAN_SHARED`. A test takes what it needs as its argument. Where that is absent
//! the test shows as ignored, with the reason, and `.ci/run` counts it. Cargo's own harness decides what is ignored
//! while it compiles; libtest-mimic asks when the test runs, so it is right also where the data appears later.
//!
//! One process, one model: the tests of a model share what they load.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests set up and look into directories, and tell how close numbers came"
)]

mod disk;
mod golden;
mod inspect;
mod judge;
mod needs;
mod pip;
#[path = "../e2e/support.rs"]
#[allow(dead_code, reason = "written for the tests of e2e")]
mod project;
mod selection;
mod smollm2;
mod stories;
mod tiny;

fn main() -> std::process::ExitCode {
    let files = [
        smollm2::tests(),
        tiny::tests(),
        selection::tests(),
        stories::tests(),
        inspect::tests(),
        judge::tests(),
        pip::tests(),
        disk::tests(),
    ];
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, files.into_iter().flatten().collect()).exit_code()
}
