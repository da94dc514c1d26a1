//! Text for a terminal or a plain file: tables and wrapped lines.
//!
//! Everything here returns text and prints none. Must not know: what the text is about.

mod look;
mod table;

pub use look::{Look, Tone};
pub use table::{Align, Cell, Table};

/// How wide text is wrapped.
pub const WIDTH: usize = 100;

/// Text in at most so many characters: what is too long loses its middle.
pub fn clip(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (front, back) = (kept - kept / 2, kept / 2);
    let (front, back) = (letters.iter().take(front), letters.iter().skip(letters.len() - back));
    front.chain(&['…']).chain(back).collect()
}

/// Text in lines of at most `width` characters; every line but the first begins with `indent` spaces.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let (first, last) = (lines.len() == 1, lines.last_mut());
        let Some(line) = last else { break };
        let room = width.saturating_sub(if first { 0 } else { indent });
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_loses_its_middle() {
        let clipped = [20, 11, 10, 4, 1].map(|width| clip("abcdefghijk", width));
        assert_eq!(clipped, ["abcdefghijk", "abcdefghijk", "abcde…hijk", "ab…k", "…"]);
        assert_eq!(clip("äöüß€", 4), "äö…€");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(
            wrap("one two  three\nfour incomprehensibility", 9, 2),
            "one two\n  three\n  four\n  incomprehensibility"
        );
        assert_eq!(wrap("", 9, 2), "");
    }
}
