//! Selection: a rule, a grid of points and the rank tables give the masks.
//!
//! The whole grid is evaluated at once, matrix by matrix. Points that choose the same weights share a mask. The file also says
//! what is known about a grid from shapes alone, before anything is scored.
//! Must not know: the kinds of rules, files, the store.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::mask::{Mask, SelectedPoint, Selection};
use super::rules::{Cut, Rule, Setting};
use super::table::RankTable;
use super::top::{MatrixRanks, k};
use crate::error::{Error, Result};

/// One point of the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The share of each matrix that the subtracted sets protect; `None` for rules that do not use p.
    pub p: Option<f64>,
    /// The share of each matrix that the other sets propose.
    pub q: f64,
}

impl Point {
    fn of(&self, setting: Setting) -> Option<f64> {
        match setting {
            Setting::P => self.p,
            Setting::Q => Some(self.q),
        }
    }

    fn cut(&self, numel: u64) -> Cut {
        Cut { p: k(self.p.unwrap_or(0.0), numel), q: k(self.q, numel) }
    }
}

/// One matrix in all tables that a rule needs, in the order of the rule's names.
pub(super) struct Matrix<'a> {
    pub tensor: &'a str,
    pub numel: u64,
    pub lists: Vec<&'a [u32]>,
}

/// The masks of all points. `tables` have the names of the data sets. `keep` says which tensors take part
/// (`select.modules`).
///
/// # Errors
/// A name without a table, tables of different matrices, a fraction above a table's cap, a point that
/// does not fit the rule, no point or no matrix at all.
pub fn select(
    rule: &Rule,
    points: &[Point],
    tables: &BTreeMap<String, RankTable>,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Selection> {
    let used = used_tables(rule, tables)?;
    check_points(rule, points, tables)?;
    let matrices = matched(&used, keep)?;
    let chosen: Vec<Vec<Vec<u32>>> = matrices
        .par_iter()
        .map(|matrix| {
            let cuts: Vec<Cut> = points.iter().map(|point| point.cut(matrix.numel)).collect();
            rule.evaluate(&matrix.lists, &cuts)
        })
        .collect();

    // Transposes: from lists by matrix, then point, to lists by point, then matrix.
    let mut by_point: Vec<Vec<(String, Vec<u32>)>> = vec![vec![]; points.len()];
    for (matrix, sets) in matrices.iter().zip(chosen) {
        for (tensors, set) in by_point.iter_mut().zip(sets) {
            tensors.push((matrix.tensor.to_owned(), set));
        }
    }
    let masks: Vec<Mask> = by_point.into_par_iter().map(Mask::new).collect();
    let selected = points.iter().zip(&masks).map(|(point, mask)| SelectedPoint {
        p: point.p,
        q: point.q,
        mask: mask.digest,
        weights: mask.len(),
    });
    let selected = selected.collect();
    let distinct: BTreeMap<_, _> = masks.into_iter().map(|mask| (mask.digest, mask)).collect();
    Ok(Selection { rule: rule.to_string(), masks: distinct.into_values().collect(), points: selected })
}

/// The tables in the order of the rule's names.
pub(super) fn used_tables<'a>(
    rule: &'a Rule,
    tables: &'a BTreeMap<String, RankTable>,
) -> Result<Vec<(&'a str, &'a RankTable)>> {
    let find = |name: &'a String| {
        let table = tables.get(name).ok_or_else(|| {
            let known = tables.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            Error::user(format!("select.rule `{rule}` names `{name}`, but there is no such data set"))
                .hint(format!("use one of {known}, or add [data.{name}]"))
        })?;
        // Ranks are compared with numbers that come from shapes. So a table that is too short would give wrong masks.
        table.check().map_err(|how| Error::fault(format!("the rank table of `{name}` is wrong: {how}")))?;
        Ok((name.as_str(), table))
    };
    rule.names().iter().map(find).collect()
}

pub(super) fn check_points(rule: &Rule, points: &[Point], tables: &BTreeMap<String, RankTable>) -> Result<()> {
    if points.is_empty() {
        return Err(Error::user("there is no point to select at").hint("give select.p and select.q, or select.points"));
    }
    for point in points {
        match (point.p, rule.uses_p()) {
            (None, true) => {
                return Err(Error::user(format!(
                    "select.rule `{rule}` uses p, but the point q = {:e} has none",
                    point.q
                ))
                .hint("give select.p, or write pairs into select.points"));
            }
            (Some(p), false) => {
                return Err(Error::user(format!("select.rule `{rule}` does not use p, but a point has p = {p:e}"))
                    .hint("leave out select.p, or subtract something in the rule"));
            }
            _ => {}
        }
        for operand in rule.operands() {
            let (Some(fraction), Some(table)) = (point.of(operand.setting), tables.get(operand.name)) else { continue };
            let setting = operand.setting;
            if !(0.0..=1.0).contains(&fraction) {
                return Err(Error::user(format!("select.{setting} = {fraction:e} is not a part of a matrix"))
                    .hint("choose numbers from 0 to score.cap"));
            }
            if fraction > table.cap {
                return Err(Error::user(format!(
                    "select.{setting} = {fraction:e} is above score.cap = {:e}, which is all that the rank table of `{}` holds",
                    table.cap, operand.name
                ))
                .hint(format!("set score.cap = {fraction:e} or higher, or lower select.{setting}")));
            }
        }
    }
    Ok(())
}

/// Brings the tables together by matrix, in the order of the first one.
pub(super) fn matched<'a>(used: &[(&'a str, &'a RankTable)], keep: &dyn Fn(&str) -> bool) -> Result<Vec<Matrix<'a>>> {
    let Some((first, table)) = used.first() else { return Err(Error::fault("a rule without names")) };
    let by_name: Vec<(&str, BTreeMap<&str, &MatrixRanks>)> = used
        .iter()
        .map(|(name, table)| (*name, table.matrices.iter().map(|m| (m.tensor.as_str(), m)).collect()))
        .collect();
    let shape =
        |matrix: Option<&MatrixRanks>| matrix.map_or("absent".into(), |matrix| format!("{} weights", matrix.numel));
    let all: BTreeSet<&str> = by_name.iter().flat_map(|(_, matrices)| matrices.keys().copied()).collect();
    for (name, matrices) in &by_name {
        for &tensor in &all {
            let here = matrices.get(tensor).copied();
            let there = by_name.first().and_then(|(_, matrices)| matrices.get(tensor).copied());
            if here.map(|matrix| matrix.numel) != there.map(|matrix| matrix.numel) {
                return Err(Error::user(format!(
                    "the rank tables of `{first}` and `{name}` are not of the same matrices: {tensor} is {} in one and {} in the other",
                    shape(there), shape(here)
                ))
                .hint("score both with the same model and the same score.modules"));
            }
        }
    }
    let kept = table.matrices.iter().filter(|matrix| keep(&matrix.tensor));
    let matrices: Vec<Matrix<'_>> = kept
        .map(|matrix| Matrix {
            tensor: &matrix.tensor,
            numel: matrix.numel,
            lists: by_name.iter().filter_map(|(_, all)| all.get(matrix.tensor.as_str())).map(|m| &*m.index).collect(),
        })
        .collect();
    if matrices.is_empty() {
        return Err(Error::user("select.modules leaves no matrix of those that were scored")
            .hint("choose modules that score.modules includes"));
    }
    Ok(matrices)
}

/// Warnings about a grid, from the shapes (tensor, number of weights) of the matrices alone. A top of k = floor(fraction * N)
/// weights may be empty: then nothing can be selected (q), or nothing is protected (p).
pub fn warnings(points: &[Point], shapes: &[(String, u64)]) -> Vec<String> {
    let mut found = vec![];
    for q in distinct(points.iter().map(|point| point.q)) {
        let empty: Vec<&str> =
            shapes.iter().filter(|(_, n)| k(q, *n) == 0).map(|(tensor, _)| tensor.as_str()).collect();
        if !empty.is_empty() {
            let all = if empty.len() == shapes.len() { "every one of " } else { "" };
            found.push(format!(
                "q = {q:e} is less than one weight of {all}{} matri{} ({}): nothing is selected there",
                empty.len(),
                if empty.len() == 1 { "x" } else { "ces" },
                some(&empty)
            ));
        }
    }
    for p in distinct(points.iter().filter_map(|point| point.p)) {
        if shapes.iter().all(|(_, n)| k(p, *n) == 0) {
            found.push(format!("p = {p:e} is less than one weight of every matrix: nothing is protected there"));
        }
    }
    found
}

/// [`warnings`], unless the grid is of no use at all.
///
/// # Errors
/// If q stands for no weight of any matrix at any point.
pub fn check_k(points: &[Point], shapes: &[(String, u64)]) -> Result<Vec<String>> {
    let useful = points.iter().any(|point| shapes.iter().any(|(_, n)| k(point.q, *n) > 0));
    if useful {
        return Ok(warnings(points, shapes));
    }
    let highest = points.iter().map(|point| point.q).fold(0.0, f64::max);
    let largest = shapes.iter().map(|(_, n)| *n).max().unwrap_or(0);
    Err(Error::user(format!(
        "nothing can be selected: q = {highest:e} is less than one weight even of the largest of {} matrices, which has {largest}",
        shapes.len()
    ))
    .hint(format!("raise select.q above {:.1e}", 1.0 / largest.max(1) as f64)))
}

/// Each number once, ascending.
fn distinct(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    numbers
}

/// Up to three names, and how many more there are.
fn some(names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(3));
    match more.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::top;
    use super::*;

    /// Tables over matrices `m0`, `m1` … whose scores are given for each data set.
    fn tables(cap: f64, data: &[(&str, &[&[f32]])]) -> BTreeMap<String, RankTable> {
        let one = |scores: &[&[f32]]| {
            scores.iter().enumerate().map(|(at, scores)| top(&format!("m{at}"), scores, 1, cap).unwrap()).collect()
        };
        data.iter().map(|(name, scores)| ((*name).into(), RankTable { cap, matrices: one(scores) })).collect()
    }

    fn at(p: f64, q: f64) -> Point {
        Point { p: Some(p), q }
    }

    const A: &[&[f32]] = &[&[9.0, 8.0, 7.0, 0.0], &[1.0, 2.0]];
    const B: &[&[f32]] = &[&[0.0, 8.0, 9.0, 7.0], &[2.0, 1.0]];
    const G: &[&[f32]] = &[&[0.0, 0.0, 9.0, 8.0], &[0.0, 1.0]];

    #[test]
    fn points_share_masks_and_keep_their_order() {
        let tables = tables(1.0, &[("a", A), ("b", B), ("g", G)]);
        let rule = Rule::parse("a & b - g").unwrap();
        let points = [at(0.0, 0.75), at(0.25, 0.75), at(0.25, 0.5), at(1.0, 1.0), at(0.0, 0.0)];
        let selection = select(&rule, &points, &tables, &|_| true).unwrap();
        assert_eq!(selection.rule, "a & b - g");
        assert_eq!(selection.points.iter().map(|point| point.weights).collect::<Vec<_>>(), [2, 1, 1, 0, 0]);
        assert_eq!(selection.points[1].mask, selection.points[2].mask);
        assert_eq!(selection.mask(&selection.points[0].mask).unwrap().tensors, [("m0".into(), vec![1, 2])]);
        assert_eq!(selection.mask(&selection.points[1].mask).unwrap().tensors, [("m0".into(), vec![1])]);
        assert!(selection.mask(&selection.points[3].mask).unwrap().is_empty());
        assert_eq!(selection.masks.len(), 3);
        assert!(selection.masks.is_sorted_by_key(|mask| mask.digest));

        let only = select(&rule, &[at(0.0, 1.0)], &tables, &|tensor| tensor == "m1").unwrap();
        assert_eq!(only.masks[0].tensors, [("m1".into(), vec![0, 1])]);
    }

    #[test]
    fn what_does_not_fit_is_an_error_with_a_setting_in_it() {
        let all = tables(0.5, &[("a", A), ("b", B), ("g", G), ("short", &A[..1]), ("long", &[A[0], G[0]])]);
        let message = |rule: &str, points: &[Point]| {
            let rule = Rule::parse(rule).unwrap();
            select(&rule, points, &all, &|tensor| tensor != "m9").unwrap_err().message().to_owned()
        };
        let q = |q| [Point { p: None, q }];
        insta::assert_snapshot!(message("a & x", &q(0.5)), @"select.rule `a & x` names `x`, but there is no such data set");
        insta::assert_snapshot!(message("a & b", &q(0.6)), @"select.q = 6e-1 is above score.cap = 5e-1, which is all that the rank table of `a` holds");
        insta::assert_snapshot!(message("a - g", &[at(0.75, 0.5)]), @"select.p = 7.5e-1 is above score.cap = 5e-1, which is all that the rank table of `g` holds");
        insta::assert_snapshot!(message("a - g", &q(0.5)), @"select.rule `a - g` uses p, but the point q = 5e-1 has none");
        insta::assert_snapshot!(message("a", &[at(0.5, 0.5)]), @"select.rule `a` does not use p, but a point has p = 5e-1");
        insta::assert_snapshot!(message("a", &q(-0.5)), @"select.q = -5e-1 is not a part of a matrix");
        insta::assert_snapshot!(message("a", &q(f64::NAN)), @"select.q = NaN is not a part of a matrix");
        insta::assert_snapshot!(message("a", &[]), @"there is no point to select at");
        insta::assert_snapshot!(message("a | short", &q(0.5)), @"the rank tables of `a` and `short` are not of the same matrices: m1 is 2 weights in one and absent in the other");
        insta::assert_snapshot!(message("short | a", &q(0.5)), @"the rank tables of `short` and `a` are not of the same matrices: m1 is absent in one and 2 weights in the other");
        insta::assert_snapshot!(message("a | long", &q(0.5)), @"the rank tables of `a` and `long` are not of the same matrices: m1 is 2 weights in one and 4 weights in the other");
        assert!(select(&Rule::parse("a").unwrap(), &q(0.5), &all, &|_| false).is_err());
    }

    #[test]
    fn empty_tops_are_seen_from_shapes() {
        let shapes: Vec<(String, u64)> =
            [100, 100, 100, 100, 1000].iter().enumerate().map(|(at, n)| (format!("m{at}"), *n)).collect();
        let message = |points: &[Point]| check_k(points, &shapes).unwrap().join("\n");
        assert_eq!(message(&[at(0.01, 0.01)]), "");
        insta::assert_snapshot!(message(&[at(1e-4, 0.1), at(1e-4, 5e-3), at(1e-3, 5e-3), at(1e-3, 1e-5)]), @"
        q = 1e-5 is less than one weight of every one of 5 matrices (m0, m1, m2 and 2 more): nothing is selected there
        q = 5e-3 is less than one weight of 4 matrices (m0, m1, m2 and 1 more): nothing is selected there
        p = 1e-4 is less than one weight of every matrix: nothing is protected there
        ");
        let error = check_k(&[at(0.5, 1e-4), at(0.5, 5e-4)], &shapes).unwrap_err();
        insta::assert_snapshot!(error.message(), @"nothing can be selected: q = 5e-4 is less than one weight even of the largest of 5 matrices, which has 1000");
        assert_eq!(error.hint_text(), Some("raise select.q above 1.0e-3"));
        assert!(check_k(&[], &shapes).is_err() && check_k(&[at(0.5, 0.5)], &[]).is_err());
    }
}
