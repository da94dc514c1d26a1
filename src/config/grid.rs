//! The grid of points: from the lists p and q, or from `points`, to one sorted list of distinct
//! points, so that two ways of writing the same grid lead to the same keys.
//!
//! Must not know: rank tables, shapes of matrices, and what a point selects.

use super::document::Document;
use super::settings::Select;
use super::values::Shares;
use crate::error::{Error, Result};
use crate::rank::{Point, Rule};

/// p and q where neither was typed: the paper's choice.
const DEFAULT_SHARE: f64 = 5e-7;

/// The distinct points, sorted by q, then by p.
///
/// Without `points` they are the Cartesian product of p and q; where p was not typed, each q is
/// its own p. Errors: the two ways mixed, p for a rule that has no use for it, p without q, an
/// empty list, a share outside (0, 1) or above `cap`.
pub fn points(select: &Select, rule: &Rule, cap: f64, document: &Document) -> Result<Vec<Point>> {
    let points: Vec<Point> = match (&select.points, &select.p, &select.q) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            let list = if select.p.is_some() { "select.p" } else { "select.q" };
            return Err(document
                .error("select.points", format!("select.points and {list} are given together"))
                .hint("a grid is written as lists p and q (every p with every q) or as points, not both"));
        }
        (Some(points), None, None) => {
            refuse_idle_p("select.points", rule, document)?;
            refuse_empty("select.points", points, document)?;
            points.iter().map(|&(p, q)| Point { p: Some(p), q }).collect()
        }
        (None, Some(_), None) => {
            refuse_idle_p("select.p", rule, document)?;
            return Err(document
                .error("select.p", "select.p is given without select.q")
                .hint("give both: p for what is subtracted, q for the rest; q alone means p = q"));
        }
        (None, Some(Shares(ps)), Some(Shares(qs))) => {
            refuse_idle_p("select.p", rule, document)?;
            refuse_empty("select.p", ps, document)?;
            refuse_empty("select.q", qs, document)?;
            qs.iter().flat_map(|&q| ps.iter().map(move |&p| Point { p: Some(p), q })).collect()
        }
        (None, None, qs) => {
            let qs = qs.as_ref().map_or(&[DEFAULT_SHARE][..], |Shares(qs)| qs);
            refuse_empty("select.q", qs, document)?;
            qs.iter().map(|&q| Point { p: rule.uses_p().then_some(q), q }).collect()
        }
    };
    for point in &points {
        check_share(["select.q", "select.points: q"], point.q, select, cap, document)?;
        if let Some(p) = point.p {
            // A p that follows q has passed as q.
            check_share(["select.p", "select.points: p"], p, select, cap, document)?;
        }
    }
    Ok(normalise(points))
}

/// Order and repetition carry no meaning.
fn normalise(mut points: Vec<Point>) -> Vec<Point> {
    let key = |point: &Point| (point.q, point.p.unwrap_or(0.0));
    points.sort_by(|a, b| {
        let ((aq, ap), (bq, bp)) = (key(a), key(b));
        aq.total_cmp(&bq).then(ap.total_cmp(&bp))
    });
    points.dedup_by(|a, b| key(a) == key(b));
    points
}

fn refuse_idle_p(key: &str, rule: &Rule, document: &Document) -> Result<()> {
    if rule.uses_p() {
        return Ok(());
    }
    let gives = if key == "select.p" { "select.p is given" } else { "select.points gives p" };
    Err(document
        .error(key, format!("{gives}, but the rule `{rule}` has no use for p (p without a minus)"))
        .hint("write q = [...] alone, or subtract a data set in select.rule: … - general"))
}

fn refuse_empty<T>(key: &str, list: &[T], document: &Document) -> Result<()> {
    if list.is_empty() {
        return Err(document.error(key, format!("{key} is an empty list")).hint("write at least one value"));
    }
    Ok(())
}

/// A share must lie in (0, 1) and must not pass the cap. `names` are those of the two ways to write a grid.
fn check_share(names: [&str; 2], share: f64, select: &Select, cap: f64, document: &Document) -> Result<()> {
    let (name, key) = if select.points.is_some() { (names[1], "select.points") } else { (names[0], names[0]) };
    if !(share > 0.0 && share < 1.0) {
        return Err(document
            .error(key, format!("{name} = {share:?} is not between 0 and 1"))
            .hint("p and q are shares of a matrix's weights, both ends excluded; the paper's is 5e-7"));
    }
    if share > cap {
        let letter = if names[0] == "select.p" { "p" } else { "q" };
        return Err(Error::user(format!(
            "{}: {name} = {share:?} is above score.cap = {cap:?}; raise score.cap (scores are computed again) or lower {letter}",
            document.origin(key)
        ))
        .hint(format!("--set score.cap={share:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{SMALL, complaint, try_load, with};

    fn points(text: &str, sets: &[&str]) -> Vec<(Option<f64>, f64)> {
        try_load(text, sets).unwrap().select.points.iter().map(|point| (point.p, point.q)).collect()
    }

    #[test]
    fn a_grid_is_written_in_two_ways_and_means_one_list() {
        let both = Some;
        assert_eq!(points(SMALL, &[]), [(both(5e-7), 5e-7)]);
        assert_eq!(points(SMALL, &["select.q=[3e-5, 1e-5]"]), [(both(1e-5), 1e-5), (both(3e-5), 3e-5)]);
        assert_eq!(
            points(SMALL, &["select.p=[1e-4, 1e-5]", "select.q=[2e-5, 1e-5]"]),
            [(both(1e-5), 1e-5), (both(1e-4), 1e-5), (both(1e-5), 2e-5), (both(1e-4), 2e-5)]
        );
        assert_eq!(
            points(SMALL, &["select.p=1e-5", "select.q=1e-5"]),
            points(SMALL, &["select.points=[[0.00001, 0.00001]]"])
        );
        assert_eq!(points(SMALL, &["select.rule=fairness & privacy", "select.q=1e-5"]), [(None, 1e-5)]);
        // The cap itself is allowed.
        assert_eq!(points(SMALL, &["select.q=1e-3"]), [(both(1e-3), 1e-3)]);
    }

    #[test]
    fn a_grid_in_an_option_replaces_one_that_the_file_wrote_the_other_way() {
        let file = with("[select]\npoints = [[1e-5, 1e-5], [1e-4, 1e-4]]\n");
        assert_eq!(points(&file, &["select.q=[3e-5]"]), [(Some(3e-5), 3e-5)]);
        let file = with("[select]\np = [1e-5]\nq = [1e-5, 1e-4]\n");
        assert_eq!(points(&file, &["select.points=[[2e-5, 3e-5]]"]), [(Some(2e-5), 3e-5)]);
        assert_eq!(points(&file, &["select.q=[3e-5]"]), [(Some(1e-5), 3e-5)]);
    }

    #[test]
    fn a_grid_that_cannot_be_meant_is_refused() {
        let refused = |select: &str| complaint(&with(&format!("[select]\n{select}\n")), &[]);
        insta::assert_snapshot!(refused("q = [1e-5]\npoints = [[1e-5, 1e-5]]"), @"
        job/pipeline.toml:12:10: select.points and select.q are given together
        a grid is written as lists p and q (every p with every q) or as points, not both
        ");
        insta::assert_snapshot!(refused("p = [1e-5]\nq = [1e-5]\nrule = \"fairness & privacy\""), @"
        job/pipeline.toml:11:5: select.p is given, but the rule `fairness & privacy` has no use for p (p without a minus)
        write q = [...] alone, or subtract a data set in select.rule: … - general
        ");
        insta::assert_snapshot!(refused("points = [[1e-5, 1e-5]]\nrule = \"fairness & privacy\""), @"
        job/pipeline.toml:11:10: select.points gives p, but the rule `fairness & privacy` has no use for p (p without a minus)
        write q = [...] alone, or subtract a data set in select.rule: … - general
        ");
        insta::assert_snapshot!(refused("p = [1e-5]"), @"
        job/pipeline.toml:11:5: select.p is given without select.q
        give both: p for what is subtracted, q for the rest; q alone means p = q
        ");
        insta::assert_snapshot!(refused("q = [1e-5, 1]"), @"
        job/pipeline.toml:11:5: select.q = 1.0 is not between 0 and 1
        p and q are shares of a matrix's weights, both ends excluded; the paper's is 5e-7
        ");
        insta::assert_snapshot!(refused("q = [nan]"), @"
        job/pipeline.toml:11:5: select.q = NaN is not between 0 and 1
        p and q are shares of a matrix's weights, both ends excluded; the paper's is 5e-7
        ");
        insta::assert_snapshot!(refused("p = [0.0]\nq = [1e-5]"), @"
        job/pipeline.toml:11:5: select.p = 0.0 is not between 0 and 1
        p and q are shares of a matrix's weights, both ends excluded; the paper's is 5e-7
        ");
        insta::assert_snapshot!(refused("q = [1e-5, 0.01]"), @"
        job/pipeline.toml:11:5: select.q = 0.01 is above score.cap = 0.001; raise score.cap (scores are computed again) or lower q
        --set score.cap=0.01
        ");
        insta::assert_snapshot!(refused("points = [[0.01, 1e-5]]"), @"
        job/pipeline.toml:11:10: select.points: p = 0.01 is above score.cap = 0.001; raise score.cap (scores are computed again) or lower p
        --set score.cap=0.01
        ");
        insta::assert_snapshot!(refused("q = []"), @"
        job/pipeline.toml:11:5: select.q is an empty list
        write at least one value
        ");
        insta::assert_snapshot!(refused("points = []"), @"
        job/pipeline.toml:11:10: select.points is an empty list
        write at least one value
        ");
        insta::assert_snapshot!(complaint(SMALL, &["select.q=0.01"]), @"
        --set select.q: select.q = 0.01 is above score.cap = 0.001; raise score.cap (scores are computed again) or lower q
        --set score.cap=0.01
        ");
        insta::assert_snapshot!(complaint(&with("[score]\ncap = 1e-7\n"), &[]), @"
        job/pipeline.toml: select.q = 5e-7 is above score.cap = 1e-7; raise score.cap (scores are computed again) or lower q
        --set score.cap=5e-7
        ");
    }

    proptest! {
        #[test]
        fn order_and_repetition_of_a_grid_carry_no_meaning(
            pairs in prop::collection::vec((1u32..900, 1u32..900), 1..8),
            shuffle in any::<prop::sample::Index>(),
        ) {
            let write = |pairs: &[(u32, u32)]| {
                let pairs: Vec<String> = pairs.iter().map(|(p, q)| format!("[{p}e-6, {q}e-6]")).collect();
                points(SMALL, &[&format!("select.points=[{}]", pairs.join(", "))])
            };
            let mut other = pairs.clone();
            other.rotate_left(shuffle.index(pairs.len()));
            other.push(pairs[shuffle.index(pairs.len())]);
            other.reverse();
            let read = write(&pairs);
            prop_assert_eq!(&read, &write(&other));
            prop_assert!(read.windows(2).all(|two| (two[0].1, two[0].0) < (two[1].1, two[1].0)), "sorted and distinct");
        }
    }
}
