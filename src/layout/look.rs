//! How text may look where it is shown: how wide, and whether parts of it stand out.
//!
//! Must not know: terminals, what the text is about.

/// What a part of a text is to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Look here.
    Strong,
    /// Pass over this.
    Faint,
}

/// The place where text is shown.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Characters in a line.
    pub width: usize,
    /// Gives a text its tone, where that can be seen. What it says must be there without it too.
    pub paint: fn(&str, Tone) -> String,
}

impl Look {
    /// Text without tones: for files and for terminals without colours.
    pub fn plain(width: usize) -> Self {
        Self { width, paint: |text, _| text.to_owned() }
    }
}
