//! Text for a terminal or a plain file: tables, points of the grid, and wrapped lines.
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

/// The shortest scientific form that reads back: `1e-5`, `2.5e-7`.
pub fn number(value: f64) -> String {
    format!("{value:e}")
}

/// A point of the grid: `p=q=1e-5`, `p 1e-5, q 3e-5`, or `q 1e-5` where the rule has no p.
pub fn point(p: Option<f64>, q: f64) -> String {
    match p {
        Some(p) if p.total_cmp(&q).is_eq() => format!("p=q={}", number(p)),
        Some(p) => format!("p {}, q {}", number(p), number(q)),
        None => format!("q {}", number(q)),
    }
}

/// The p, where there is one, and the q of a point: as [`point`] writes it, or as it is typed, `1e-5,3e-5` or `3e-5`.
pub fn point_of(text: &str) -> Option<(Option<f64>, f64)> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let number = |text: &str, name: char| {
        let bare = text.strip_prefix(name).map_or(text, |rest| rest.strip_prefix('=').unwrap_or(rest));
        bare.parse::<f64>().ok().filter(|value| value.is_finite())
    };
    if let Some(both) = text.strip_prefix("p=q=") {
        return number(both, 'q').map(|value| (Some(value), value));
    }
    match text.split_once(',') {
        Some((p, q)) => Some((Some(number(p, 'p')?), number(q, 'q')?)),
        None => number(&text, 'q').map(|q| (None, q)),
    }
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
    fn points_are_short_and_exact() {
        assert_eq!(point(Some(1e-5), 0.00001), "p=q=1e-5");
        assert_eq!(point(Some(0.001), 2.5e-7), "p 1e-3, q 2.5e-7");
        assert_eq!(point(None, 5e-7), "q 5e-7");
    }

    #[test]
    fn points_are_read_in_every_spelling() {
        for (p, q) in [(Some(1e-5), 1e-5), (Some(0.001), 2.5e-7), (None, 5e-7)] {
            assert_eq!(point_of(&point(p, q)), Some((p, q)));
        }
        assert_eq!(point_of(" 1e-5, 0.00003"), Some((Some(1e-5), 3e-5)));
        assert_eq!(point_of("p=1e-5,q=3e-5"), Some((Some(1e-5), 3e-5)));
        assert_eq!(point_of("3e-5"), Some((None, 3e-5)));
        for bad in ["", "base", "p=q=", "1e-5,", "q inf", "p 1e-5"] {
            assert_eq!(point_of(bad), None, "{bad}");
        }
    }

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
