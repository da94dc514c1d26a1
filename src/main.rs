//! The program `dean`: the whole of it is `dean::cli`, so that tests and other programs can use the same rooms.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Tensors come and go in large pieces, which the system's allocator returns to the kernel each time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    dean::cli::main()
}
