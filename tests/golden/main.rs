//! The numbers against PyTorch's: ground truth lies in `../shared/golden` (or `$DEAN_SHARED/golden`).
//!
//! Where that folder is absent every test says so and passes. SmolLM2 itself comes through pip, as in
//! the default pipeline. One process, one model: the tests of a model share what they load.

use mimalloc::MiMalloc;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

mod smollm2;
mod support;
mod tiny;
