//! Which point of the grid is meant: `p=q=1e-5` as the screens call it, `p,q` or `q` in short, the beginning of a mask's
//! digest, or a node of it, such as `patch[0249e762]`.
//!
//! Must not know: what is done with the point, how masks are made.

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::naming;
use crate::rank::SelectedPoint;

/// So many points are listed where none fits.
const LISTED: usize = 12;

/// The first point that `text` means; several points may have one mask.
///
/// # Errors
/// User: no point or several masks fit, or the mask is empty, which is the base.
pub fn find<'a>(points: &'a [SelectedPoint], text: &str) -> Result<&'a SelectedPoint> {
    let label = naming::without_mask(text);
    let label = label.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']')).unwrap_or(label).trim();
    if label == naming::BASE {
        return Err(Error::user("the base is the model itself; there is nothing to patch").hint(listed(points)));
    }
    let found: Vec<&SelectedPoint> = match naming::point_of(label) {
        Some(wanted) if points.iter().any(|point| naming::is_same((point.p, point.q), wanted)) => {
            points.iter().filter(|point| naming::is_same((point.p, point.q), wanted)).collect()
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
        let error =
            Error::user(format!("{} selects no weight, so it is the base model", naming::point(first.p, first.q)));
        return Err(error.hint(listed(points)));
    }
    Ok(first)
}

fn begins(point: &SelectedPoint, text: &str) -> bool {
    !text.is_empty() && point.mask.to_string().starts_with(text)
}

/// What the variant of a mask is called, with the beginning of the digest behind: `p=q=1e-5 (a77a2cfe)`.
pub fn name(points: &[SelectedPoint], mask: &Digest) -> String {
    let own = points.iter().filter(|point| point.mask == *mask).map(|point| (point.p, point.q));
    naming::points(own).map_or_else(|| mask.short(), |name| naming::with_mask(&name, Some(mask)))
}

/// The hint that says what could have been typed.
fn listed(points: &[SelectedPoint]) -> String {
    let mut seen: Vec<&Digest> = Vec::new();
    for point in points.iter().filter(|point| point.weights > 0) {
        if !seen.contains(&&point.mask) {
            seen.push(&point.mask);
        }
    }
    let all: Vec<String> = seen.iter().take(LISTED).map(|mask| name(points, mask)).collect();
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
        let called = name(&points, &a);
        assert_eq!(called, format!("p=1e-5 q=3e-5 +1 ({})", a.short()));
        for text in [
            "1e-5,3e-5",
            "0.00002, 3e-5",
            "p=1e-5 q=3e-5",
            &called,
            "generate[p=2e-5 q=3e-5]",
            &a.to_string(),
            &a.short(),
            &format!("patch[{}]", a.short()),
        ] {
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
        points of this pipeline: p=1e-5 q=3e-5 (17762fdd); for another one: --set 'select.points=[[P, Q]]'
        ");
        insta::assert_snapshot!(said(&points, "1e-5,1e-6"), @"
        p=1e-5 q=1e-6 selects no weight, so it is the base model
        points of this pipeline: p=1e-5 q=3e-5 (17762fdd); for another one: --set 'select.points=[[P, Q]]'
        ");
        insta::assert_snapshot!(said(&points, "generate[base]"), @"
        the base is the model itself; there is nothing to patch
        points of this pipeline: p=1e-5 q=3e-5 (17762fdd); for another one: --set 'select.points=[[P, Q]]'
        ");
        // two digests that begin alike
        points.extend((0..60).map(|n| point(Some(2e-5), 1e-4 + f64::from(n), &n.to_string(), 1)));
        let one = points[0].mask.to_string()[..1].to_owned();
        assert!(said(&points, &one).starts_with("`1` begins the masks of several points\n"), "{}", said(&points, &one));
        assert!(said(&points, "").contains("; and 49 more, see `dean grid`"));
    }
}
