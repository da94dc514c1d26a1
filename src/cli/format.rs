//! Numbers as people read them: durations, sizes, p and q, points of the grid, and wrapped text.
//!
//! Must not know: what the numbers measure.

use std::time::Duration;

use crate::error::{Error, Result};
pub use crate::size::size as bytes;

/// How wide text is wrapped.
pub const WIDTH: usize = 100;

/// `0.04 s`, `41.2 s`, `3 min 05 s`, `2 h 04 min`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be small and positive")]
pub fn seconds(seconds: f64) -> String {
    if !(0.0..1e15).contains(&seconds) {
        return "? s".into();
    }
    let whole = seconds.round() as u64;
    if seconds < 0.0995 {
        format!("{seconds:.2} s")
    } else if whole < 60 {
        format!("{seconds:.1} s")
    } else {
        long(whole)
    }
}

/// A duration in whole units: `41 s`, `3 min 05 s`, `2 h 04 min`, `3 d 02 h`.
pub fn long(whole: u64) -> String {
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3_600 % 24),
    }
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

/// `1 node`, `3 nodes`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
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

/// Reads `1d`, `12h`, `30m`, `45s`, or several together: `1d 12h`.
///
/// # Errors
/// User: anything else, or more than fits.
pub fn duration(text: &str) -> Result<Duration> {
    humantime::parse_duration(text).map_err(|_| {
        Error::user(format!("`{text}` is not a duration"))
            .hint("write numbers with units: 1d, 12h, 30m, 45s, or 1d 12h")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_the_digits_that_matter() {
        let shown = [0.0, 0.042, 0.0999, 41.24, 59.7, 185.0, 7_440.0, 266_400.0].map(seconds);
        assert_eq!(
            shown,
            ["0.00 s", "0.04 s", "0.1 s", "41.2 s", "1 min 00 s", "3 min 05 s", "2 h 04 min", "3 d 02 h"]
        );
        assert_eq!(seconds(f64::NAN), "? s");
        assert_eq!(seconds(-1.0), "? s");
    }

    #[test]
    fn points_are_short_and_exact() {
        assert_eq!(point(Some(1e-5), 0.00001), "p=q=1e-5");
        assert_eq!(point(Some(0.001), 2.5e-7), "p 1e-3, q 2.5e-7");
        assert_eq!(point(None, 5e-7), "q 5e-7");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(
            wrap("one two  three\nfour incomprehensibility", 9, 2),
            "one two\n  three\n  four\n  incomprehensibility"
        );
        assert_eq!(wrap("", 9, 2), "");
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(
            ["1d", "12h", "30m", "0s", "1d 12h"].map(|text| duration(text).unwrap().as_secs()),
            [86_400, 43_200, 1_800, 0, 129_600]
        );
        for bad in ["", "d", "1", "1q", "-1d", "99999999999999999999d", "999999999999999999d", "1é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
