//! Numbers as people read them: durations, sizes, counts.
//!
//! Must not know: what the numbers measure.

use std::time::Duration;

use crate::error::{Error, Result};
pub use crate::layout::{WIDTH, wrap};
pub use crate::naming::{number, point};
pub use crate::size::size as bytes;

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

/// A duration that is not known well: `40 s`, `3 min`, `2 h 05 min`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be small and positive")]
pub fn rough(seconds: f64) -> String {
    if !(0.0..1e15).contains(&seconds) {
        return "? s".into();
    }
    match seconds {
        ..9.5 => format!("{} s", seconds.ceil() as u64),
        ..57.5 => format!("{} s", (seconds / 5.0).round() as u64 * 5),
        ..3_570.0 => format!("{} min", (seconds / 60.0).round() as u64),
        ..86_400.0 => {
            let minutes = (seconds / 300.0).round() as u64 * 5;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
        _ => long((seconds / 3600.0).round() as u64 * 3600),
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

/// `1 node`, `3 nodes`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
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
    fn what_is_not_known_well_has_few_digits() {
        assert_eq!(
            [0.0, 3.2, 42.0, 58.0, 185.0, 3_580.0, 7_440.0, 266_400.0].map(rough),
            ["0 s", "4 s", "40 s", "1 min", "3 min", "1 h 00 min", "2 h 05 min", "3 d 02 h"]
        );
        assert_eq!(rough(f64::NAN), "? s");
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
