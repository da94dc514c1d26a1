//! Lines of a text by byte offsets.
//!
//! Must not know: what the text says.

/// Counts lines, from 1, for offsets that never go back.
pub struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of the byte at this offset, which is at or behind the one before.
    pub fn at(&mut self, byte: usize) -> usize {
        let byte = byte.min(self.text.len());
        let passed = self.text.get(self.at..byte).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.at = self.at.max(byte);
        self.line
    }
}

/// The same for one offset.
pub fn line_of(text: &[u8], byte: usize) -> usize {
    Lines::of(text).at(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_behind_its_line_feed() {
        let mut lines = Lines::of(b"a\n\nbc\r\nd");
        assert_eq!([0, 1, 2, 3, 4, 7, 99].map(|byte| lines.at(byte)), [1, 1, 2, 3, 3, 4, 4]);
        assert_eq!(line_of(b"a\nb", 2), 2);
    }
}
