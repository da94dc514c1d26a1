//! What is taken of a row: which turns are responses, and what becomes of a row that is longer than the model's context.
//!
//! Must not know: how turns become tokens.

use crate::choice::choices;

choices! {
    /// Which of the assistant's turns are responses.
    #[derive(Default)]
    Turns {
        /// The last one. What comes behind it is left out.
        #[default]
        Last = "last",
        /// Every one, each with all turns before it as its prompt.
        Every = "every",
    }
}

choices! {
    /// What becomes of a row with more tokens than the model's context.
    #[derive(Default)]
    TooLong {
        /// It is an error.
        #[default]
        Error = "error",
        /// Its end is cut off.
        Truncate = "truncate",
        /// The next row is drawn in its place.
        Skip = "skip",
    }
}
