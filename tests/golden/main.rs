//! The numbers against PyTorch's: ground truth lies in `../shared/golden` (or `$DEAN_SHARED/golden`).
//!
//! Where that folder is absent every test says so and passes. SmolLM2 itself comes through pip, as in
//! the default pipeline. One process, one model: the tests of a model share what they load.

mod smollm2;
mod support;
mod tiny;
