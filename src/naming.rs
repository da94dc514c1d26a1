//! What a point of the grid and a variant are called on every screen, and the reverse: `p=q=1e-5`, `p=1e-5 q=2e-5`, `q=1e-4`.
//!
//! Keys, records and the names of nodes have the digest of the mask instead, which says what is the same and not how it came
//! about. Must not know: grids, masks, what a variant is made of.

use crate::digest::Digest;

/// The variant without a patch.
pub const BASE: &str = "base";

/// A number as it is read and typed: the shorter of `0.5` and `5e-1`, and of two equally long ones `5e-2`. It reads back to the
/// same number.
pub fn number(value: f64) -> String {
    let (plain, scientific) = (format!("{value}"), format!("{value:e}"));
    if plain.len() < scientific.len() { plain } else { scientific }
}

/// A point of the grid: `p=q=1e-5`, `p=1e-5 q=3e-5`, or `q=1e-5` where the rule has no p.
pub fn point(p: Option<f64>, q: f64) -> String {
    match p {
        Some(p) if p.total_cmp(&q).is_eq() => format!("p=q={}", number(p)),
        Some(p) => format!("p={} q={}", number(p), number(q)),
        None => format!("q={}", number(q)),
    }
}

/// What several points with one mask are called together: the first of them, and how many more there are, `p=q=1e-5 +2`.
/// `None` without any.
pub fn points(points: impl IntoIterator<Item = (Option<f64>, f64)>) -> Option<String> {
    let mut points = points.into_iter();
    let first = points.next().map(|(p, q)| point(p, q))?;
    Some(match points.count() {
        0 => first,
        more => format!("{first} +{more}"),
    })
}

/// A name with the beginning of the mask's digest behind, for sentences: `p=q=1e-5 (a77a2cfe)`.
pub fn with_mask(name: &str, mask: Option<&Digest>) -> String {
    match mask {
        Some(mask) => format!("{name} ({})", mask.short()),
        None => name.to_owned(),
    }
}

/// What stands in front of the digest that [`with_mask`] puts behind a name.
pub fn without_mask(text: &str) -> &str {
    let text = text.trim();
    let mask = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
    mask.filter(|(_, mask)| mask.bytes().all(|digit| digit.is_ascii_hexdigit())).map_or(text, |(name, _)| name.trim())
}

/// Whether two points are one.
pub fn is_same(one: (Option<f64>, f64), other: (Option<f64>, f64)) -> bool {
    let same = |a: f64, b: f64| a.total_cmp(&b).is_eq();
    let same_p = match (one.0, other.0) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    };
    same_p && same(one.1, other.1)
}

/// The p, where there is one, and the q of a point: as [`point`] and [`points`] write it, or in short, `1e-5,3e-5` or `3e-5`.
pub fn point_of(text: &str) -> Option<(Option<f64>, f64)> {
    let text = without_mask(text);
    let first = text.rsplit_once(" +").filter(|(_, more)| more.bytes().all(|digit| digit.is_ascii_digit()));
    let text: String = first.map_or(text, |(first, _)| first).chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(both) = text.strip_prefix("p=q=") {
        return value(both, 'q').map(|value| (Some(value), value));
    }
    let pair = text.split_once(',').or_else(|| {
        let q = text.find('q').filter(|_| text.starts_with('p'))?;
        text.split_at_checked(q)
    });
    match pair {
        Some((p, q)) => Some((Some(value(p, 'p')?), value(q, 'q')?)),
        None => value(&text, 'q').map(|q| (None, q)),
    }
}

/// The number in `1e-5`, `q1e-5` or `q=1e-5`.
fn value(text: &str, name: char) -> Option<f64> {
    let bare = text.strip_prefix(name).map_or(text, |rest| rest.strip_prefix('=').unwrap_or(rest));
    bare.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_short_and_exact() {
        assert_eq!(point(Some(1e-5), 0.00001), "p=q=1e-5");
        assert_eq!(point(Some(1e-5), 2e-5), "p=1e-5 q=2e-5");
        assert_eq!(point(Some(0.001), 2.5e-7), "p=1e-3 q=2.5e-7");
        assert_eq!(point(None, 1e-4), "q=1e-4");
        assert_eq!([0.5, 0.25, 0.05, 0.0123, 1.0, 0.0].map(number), ["0.5", "0.25", "5e-2", "0.0123", "1", "0"]);
    }

    #[test]
    fn every_number_reads_back() {
        let hard = [0.1 + 0.2, 1.0 / 3.0, f64::MIN_POSITIVE, 5e-324, 123_456_789.0, f64::MAX];
        for value in hard.into_iter().chain((1..200).map(|n| f64::from(n) * 1.7e-6)) {
            let text = number(value);
            assert!(text.parse::<f64>().unwrap().total_cmp(&value).is_eq(), "{text}");
            assert!(text.len() <= format!("{value}").len() && text.len() <= format!("{value:e}").len(), "{text}");
        }
    }

    #[test]
    fn points_with_one_mask_are_the_first_and_how_many_more() {
        let all = [(Some(1e-5), 1e-5), (Some(3e-5), 1e-5), (None, 1e-4)];
        assert_eq!(points(all).unwrap(), "p=q=1e-5 +2");
        assert_eq!(points(all[2..].to_vec()).unwrap(), "q=1e-4");
        assert_eq!(points([]), None);
        let mask = Digest::of(b"a mask");
        assert_eq!(with_mask("p=q=1e-5", Some(&mask)), format!("p=q=1e-5 ({})", mask.short()));
        assert_eq!(with_mask(BASE, None), "base");
        for text in ["p=q=1e-5", "p=q=1e-5 (a77a2cfe)", " p=q=1e-5 (a77a2cfe) "] {
            assert_eq!(without_mask(text), "p=q=1e-5");
        }
        assert_eq!(without_mask("p=q=1e-5 (mine)"), "p=q=1e-5 (mine)");
    }

    #[test]
    fn points_are_read_in_every_spelling() {
        for (p, q) in [(Some(1e-5), 1e-5), (Some(0.001), 2.5e-7), (None, 5e-7), (Some(0.5), 0.25)] {
            assert_eq!(point_of(&point(p, q)), Some((p, q)));
            assert_eq!(point_of(&points([(p, q), (p, 0.7), (p, 0.8)]).unwrap()), Some((p, q)));
        }
        for text in [" 1e-5, 0.00003", "p=1e-5,q=3e-5", "p 1e-5, q 3e-5", "p=1e-5q=3e-5", "p=1e-5 q=3e-5 +12"] {
            assert_eq!(point_of(text), Some((Some(1e-5), 3e-5)), "{text}");
        }
        assert_eq!(point_of("3e-5"), Some((None, 3e-5)));
        assert_eq!(point_of("1e+5"), Some((None, 1e5)));
        for bad in ["", "base", "p=q=", "1e-5,", "q inf", "p 1e-5", "p=1e-5", "p=1e-5 q=", "random 1", "pq"] {
            assert_eq!(point_of(bad), None, "{bad}");
        }
    }
}
