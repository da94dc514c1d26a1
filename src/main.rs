//! The program `dean`: the whole of it is `dean::cli`, so that tests and other programs can use the same rooms.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: dean::allocator::Metered = dean::allocator::Metered;

fn main() -> ExitCode {
    dean::allocator::keep_freed_memory();
    dean::cli::main()
}
