//! A text for perplexity: how what lies in a file is read as one text.
//!
//! Must not know: tokens, windows, models.

use std::borrow::Cow;

use crate::choice::choices;

choices! {
    /// How a text for perplexity is read.
    #[derive(Default)]
    Join {
        /// As it stands.
        #[default]
        Raw = "raw",
        /// The rows of WikiText joined by blank lines, as the authors' code does.
        WikitextRows = "wikitext-rows",
    }
}

impl Join {
    /// The text as it is, or its lines joined as the WikiText-2 rows of the `datasets` library are: each row is a line
    /// without its end, and rows are joined by blank lines.
    pub fn join(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Raw => Cow::Borrowed(text),
            Self::WikitextRows => Cow::Owned(text.split_inclusive('\n').collect::<Vec<_>>().join("\n\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Join;

    #[test]
    fn rows_keep_their_line_ends_when_they_are_joined() {
        assert_eq!(Join::WikitextRows.join(" = A = \n text\n"), " = A = \n\n\n text\n");
        assert_eq!(Join::Raw.join("a\nb"), "a\nb");
    }
}
