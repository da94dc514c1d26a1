//! Which point of the grid is meant: `p,q`, `q` where the rule has no p, the beginning of a mask's digest, or the name
//! of a node of it, such as `patch[0249e762]`.
//!
//! Must not know: what is done with the point, how masks are made.

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout;
use crate::rank::SelectedPoint;

/// So many points are listed where none fits.
const LISTED: usize = 12;

/// The first point that `text` means; several points may have one mask.
///
/// # Errors
/// User: no point or several masks fit, or the mask is empty, which is the base.
pub fn find<'a>(points: &'a [SelectedPoint], text: &str) -> Result<&'a SelectedPoint> {
    let label = text.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']')).unwrap_or(text).trim();
    if label == "base" {
        return Err(Error::user("the base is the model itself; there is nothing to patch").hint(listed(points)));
    }
    let found: Vec<&SelectedPoint> = match layout::point_of(label) {
        Some(wanted) if points.iter().any(|point| is(point, wanted)) => {
            points.iter().filter(|point| is(point, wanted)).collect()
        }
        _ => points.iter().filter(|point| begins(point, label)).collect(),
    };
    let Some(first) = found.first() else {
        return Err(Error::user(format!("no point of this pipeline is `{text}`")).hint(listed(points)));
    };
    if found.iter().any(|point| point.mask != first.mask) {
        return Err(Error::user(format!("`{text}` begins the masks of several points")).hint(listed(points)));
    }
    if first.weights == 0 {
        let error = Error::user(format!("{} selects no weight, so it is the base model", name(first)));
        return Err(error.hint(listed(points)));
    }
    Ok(first)
}

/// A point as it is typed: `1e-5,3e-5`, or `3e-5`.
pub fn name(point: &SelectedPoint) -> String {
    match point.p {
        Some(p) => format!("{p:e},{:e}", point.q),
        None => format!("{:e}", point.q),
    }
}

fn is(point: &SelectedPoint, (p, q): (Option<f64>, f64)) -> bool {
    let same = |a: f64, b: f64| a.total_cmp(&b).is_eq();
    same(point.q, q)
        && match (point.p, p) {
            (Some(a), Some(b)) => same(a, b),
            (None, None) => true,
            _ => false,
        }
}

fn begins(point: &SelectedPoint, text: &str) -> bool {
    !text.is_empty() && point.mask.to_string().starts_with(text)
}

/// The hint that says what could have been typed.
fn listed(points: &[SelectedPoint]) -> String {
    let mut seen: Vec<(Digest, String)> = Vec::new();
    for point in points.iter().filter(|point| point.weights > 0) {
        match seen.iter_mut().find(|(mask, _)| *mask == point.mask) {
            Some((_, names)) => names.push_str(&format!(" = {}", name(point))),
            None => seen.push((point.mask, name(point))),
        }
    }
    let all: Vec<String> =
        seen.iter().take(LISTED).map(|(mask, names)| format!("{names} (mask {})", mask.short())).collect();
    let more = match seen.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("; and {more} more, see `dean grid`"),
    };
    if all.is_empty() {
        return "every point of this pipeline selects no weight; see `dean grid`".into();
    }
    format!("points of this pipeline: {}{more}; for another one: --set 'select.points=[[P, Q]]'", all.join(", "))
}

#[cfg(test)]
mod unit {
    use super::*;

    fn point(p: Option<f64>, q: f64, mask: &str, weights: u64) -> SelectedPoint {
        SelectedPoint { p, q, mask: Digest::of(mask.as_bytes()), weights }
    }

    #[test]
    fn points_are_found_by_numbers_digest_and_node() {
        let points =
            [point(Some(1e-5), 3e-5, "a", 4), point(Some(2e-5), 3e-5, "a", 4), point(Some(1e-5), 5e-5, "b", 9)];
        let (a, b) = (points[0].mask, points[2].mask);
        for text in ["1e-5,3e-5", "0.00002, 3e-5", &a.to_string(), &a.short(), &format!("patch[{}]", a.short())] {
            assert_eq!(find(&points, text).unwrap().mask, a, "{text}");
        }
        assert_eq!(find(&points, &b.to_string()[..3]).unwrap().mask, b);
        let without_p = [point(None, 3e-5, "a", 4)];
        assert_eq!(find(&without_p, "3e-5").unwrap(), &without_p[0]);
    }

    #[test]
    fn what_does_not_fit_is_answered_with_what_would() {
        let mut points = vec![point(Some(1e-5), 3e-5, "a", 4), point(Some(1e-5), 1e-6, "", 0)];
        let said = |points: &[SelectedPoint], text: &str| {
            let error = find(points, text).unwrap_err();
            format!("{}\n{}", error.message(), error.hint_text().unwrap())
        };
        insta::assert_snapshot!(said(&points, "1e-5,4e-5"), @"
        no point of this pipeline is `1e-5,4e-5`
        points of this pipeline: 1e-5,3e-5 (mask 17762fdd); for another one: --set 'select.points=[[P, Q]]'
        ");
        insta::assert_snapshot!(said(&points, "1e-5,1e-6"), @"
        1e-5,1e-6 selects no weight, so it is the base model
        points of this pipeline: 1e-5,3e-5 (mask 17762fdd); for another one: --set 'select.points=[[P, Q]]'
        ");
        insta::assert_snapshot!(said(&points, "generate[base]"), @"
        the base is the model itself; there is nothing to patch
        points of this pipeline: 1e-5,3e-5 (mask 17762fdd); for another one: --set 'select.points=[[P, Q]]'
        ");
        // two digests that begin alike
        points.extend((0..60).map(|n| point(Some(2e-5), 1e-4 + f64::from(n), &n.to_string(), 1)));
        let one = points[0].mask.to_string()[..1].to_owned();
        assert!(said(&points, &one).starts_with("`1` begins the masks of several points\n"), "{}", said(&points, &one));
        assert!(said(&points, "").contains("; and 49 more, see `dean grid`"));
    }
}
