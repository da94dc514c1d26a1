//! report: everything that was measured, for each variant: as facts in JSON, and row by row in one table.
//!
//! The base comes first, then the masks in the order of the grid, each with its controls behind it. The report shows the outcomes of all earlier stages, and does
//! not know which stages these are. Must not know: what was measured, how facts are made and how they are shown.

use std::collections::BTreeMap;

use super::variant::Variant;
use super::{Context, Input, Node, Outputs, Planning, Preview, Stage, controls, params_of};
use crate::error::Result;
use crate::naming;
use crate::rank::{ControlPoints, SelectedPoint, Selection};
use crate::report::{
    self, CalibrationReport, ControlReport, Groups, Measured, PointReport, VariantReport, answers, facts, tuning,
};
use crate::tables::{Answer, Control, Joined, Leak, OUTCOMES, Outcome, Row, Tokens};

mod parts;

use self::parts::Parts;

pub struct Report;

/// The input that says which variants there are.
const POINTS: &str = "points";
/// In front of a data set's name: the input with its token ids.
const CALIBRATION: &str = "tokens of ";
/// In front of a node's name: the input with its outcomes.
const MEASURED: &str = "outcomes of ";
/// In front of a variant's name: the input with its answers. A report without them says nothing of answers that changed, and
/// takes every question for a witness of its own.
const ANSWERS: &str = "answers of ";
/// What a node that measures answers calls them among its inputs.
const MEASURED_ON: &str = "answers";

impl Stage for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    fn version(&self) -> u32 {
        7
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let pipeline = planning.pipeline;
        let mut inputs = BTreeMap::from([(POINTS.to_owned(), Input::output("select", "points"))]);
        if pipeline.controls.points != ControlPoints::None {
            inputs.insert(controls::TABLE.into(), Input::output(controls::NODE, controls::TABLE));
        }
        if pipeline.score.method.reads().tokens {
            for name in pipeline.select.rule.names() {
                let tokens = Input::output(&format!("tokenize[{name}]"), "tokens");
                inputs.insert(format!("{CALIBRATION}{name}"), tokens);
            }
        }
        for node in planning.measured {
            // A placeholder for variants that are not known yet has no outputs. The report then waits for the same node as
            // the placeholder.
            let unknown = node.inputs.values().find(|input| matches!(input, Input::Unknown { .. }));
            let input = unknown.cloned().unwrap_or_else(|| Input::output(&node.name, OUTCOMES));
            inputs.insert(format!("{MEASURED}{}", node.name), input);
            if let (Some(answers), Some((_, variant))) = (node.inputs.get(MEASURED_ON), Variant::of_node(&node.name)) {
                inputs.insert(format!("{ANSWERS}{variant}"), answers.clone());
            }
        }
        let params = params_of(&parts::plan(planning, &mut inputs)?)?;
        Ok(vec![Node { name: "report".into(), params, inputs, ..Node::default() }])
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        parts::check(preview).map(|()| Vec::new())
    }

    fn takes_parts_with(&self) -> Option<&'static str> {
        Some(POINTS)
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let (rule, points) = Selection::points_from_parquet(context.read(POINTS)?)?;
        let controls = match context.inputs.contains_key(controls::TABLE) {
            true => Control::from_parquet(context.read(controls::TABLE)?)?,
            false => Vec::new(),
        };
        let (mut measured, answers) = (measured(context)?, answers(context)?);
        let base = answers.get(naming::BASE).map(Vec::as_slice).unwrap_or_default();
        for (variant, answers) in answers.iter().filter(|(variant, _)| variant.as_str() != naming::BASE) {
            let found = answers::changed(base, answers);
            measured.push(Measured { by: self.name().to_owned(), variant: variant.clone(), found });
        }
        let parts = parts::read(context, &context.params()?, &rule, base)?;
        let calibration = facts::calibration(&calibration(context)?);
        let masks = Masks { rule: &rule, points: &points, controls: &controls, calibration: &calibration };
        outputs(&masks, measured, &answers::groups(base), parts)
    }
}

/// What is known of the masks before anything was measured.
struct Masks<'a> {
    rule: &'a str,
    points: &'a [SelectedPoint],
    controls: &'a [Control],
    calibration: &'a BTreeMap<String, CalibrationReport>,
}

fn outputs(masks: &Masks<'_>, measured: Vec<Measured>, groups: &Groups, parts: Parts) -> Result<Outputs> {
    let joined: Vec<Joined> = measured.iter().cloned().flat_map(joined).collect();
    let Parts { leaks, leaked, dropped, for_tuning, sets } = parts;
    let (mut tuned, mut tested) = (Vec::new(), Vec::new());
    for Measured { by, variant, found } in measured {
        let (_, kept) = dropped.part(found);
        let (here, others) = for_tuning.part(kept);
        tuned.push(Measured { by: by.clone(), variant: variant.clone(), found: here });
        tested.push(Measured { by, variant, found: others });
    }
    let mut report = report::Report::new(rows(masks, &tested)?, &tested, groups);
    report.tuning = tuning::best(&report.variants, &tuned, &tested, sets);
    report.leaks = leaked;
    if !for_tuning.is_empty() {
        let tuned = report::Report::new(rows(masks, &tuned)?, &tuned, groups).variants;
        report.tuning_outcomes = tuned.into_iter().map(|row| (row.variant, row.outcomes)).collect();
    }
    Ok(vec![
        ("report".into(), report::json::write(&report)?),
        (OUTCOMES.into(), Joined::to_parquet(&joined)?),
        ("leaks".into(), Leak::to_parquet(&leaks)?),
    ])
}

/// One row for each variant, the base first.
fn rows(masks: &Masks<'_>, measured: &[Measured]) -> Result<Vec<VariantReport>> {
    let Masks { rule, points, controls, calibration } = *masks;
    let row = |variant: Variant, weights: u64| -> Result<VariantReport> {
        let mut outcomes = Vec::new();
        for Measured { by, found, .. } in measured.iter().filter(|measured| measured.variant == variant.label) {
            outcomes.extend(facts::findings(by, found)?);
        }
        let (rule, calibration) = (rule.to_owned(), calibration.clone());
        let Variant { label: variant, name, mask, .. } = variant;
        let (points, controls) = (Vec::new(), Vec::new());
        Ok(VariantReport { variant, name, mask, weights, points, controls, rule, calibration, outcomes })
    };
    let mut rows = vec![row(Variant::base(points), 0)?];
    for point in points {
        let here = PointReport { p: point.p, q: point.q };
        let mask = (point.weights > 0).then_some(point.mask);
        match rows.iter_mut().find(|row| row.mask == mask) {
            Some(row) => row.points.push(here),
            None => {
                let mut new = row(Variant::of_mask(point.mask, points), point.weights)?;
                new.points.push(here);
                rows.push(new);
            }
        }
    }
    for control in controls {
        let Control { mask, of, kind, seed, data, weights } = control.clone();
        let here = ControlReport { of, kind, seed, data };
        if let Some(row) = rows.iter_mut().find(|row| row.mask == Some(mask)) {
            row.controls.push(here);
            continue;
        }
        let stands = |row: &VariantReport| row.mask == Some(of) || row.controls.iter().any(|control| control.of == of);
        let behind = rows.iter().rposition(stands).map_or(rows.len(), |place| place + 1);
        let mut new = row(Variant::of_control(control), weights)?;
        new.controls.push(here);
        rows.insert(behind, new);
    }
    Ok(rows)
}

fn joined(measured: Measured) -> impl Iterator<Item = Joined> {
    let Measured { by, variant, found } = measured;
    found.into_iter().map(move |outcome| Joined::new(&variant, &by, outcome))
}

/// The outcomes of every node that measured, in the order of their names.
fn measured(context: &Context<'_>) -> Result<Vec<Measured>> {
    let mut all = Vec::new();
    for input in context.inputs.keys() {
        let Some((by, variant)) = input.strip_prefix(MEASURED).and_then(Variant::of_node) else { continue };
        let found = Outcome::from_parquet(context.read(input)?)?;
        all.push(Measured { by: by.to_owned(), variant: variant.to_owned(), found });
    }
    Ok(all)
}

/// The answers of every variant whose answers were measured, by its name.
fn answers(context: &Context<'_>) -> Result<BTreeMap<String, Vec<Answer>>> {
    let mut all = BTreeMap::new();
    for input in context.inputs.keys() {
        if let Some(variant) = input.strip_prefix(ANSWERS) {
            all.insert(variant.to_owned(), Answer::from_parquet(context.read(input)?)?);
        }
    }
    Ok(all)
}

/// The token ids that were scored, by the data set's name.
fn calibration(context: &Context<'_>) -> Result<BTreeMap<String, Tokens>> {
    let mut tables = BTreeMap::new();
    for input in context.inputs.keys() {
        if let Some(name) = input.strip_prefix(CALIBRATION) {
            tables.insert(name.to_owned(), Tokens::from_parquet(context.read(input)?)?);
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Pipeline};
    use crate::digest::Digest;
    use crate::files;
    use crate::stages::context::Parsed;
    use crate::stages::variant::unknown_node;

    fn pipeline() -> Pipeline {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pipeline.toml");
        let text = "[model]\nsource = \"model\"\n[data.a]\npath = \"rows.csv\"\n[select]\nrule = \"a\"\nq = [0.001]\n";
        files::write_atomic(&file, text.as_bytes()).unwrap();
        config::load(&file, &[], dir.path()).unwrap()
    }

    #[test]
    fn a_stage_that_nobody_knows_is_reported() {
        let answers = Input::output("say[base]", "answers");
        let arc = Node {
            name: "arc[base]".into(),
            inputs: [("answers".to_owned(), answers.clone())].into(),
            ..Node::default()
        };
        let nodes = Report
            .nodes(&Planning {
                pipeline: &pipeline(),
                digest: &|_, _| None,
                output: &|_, _| Ok(None),
                parsed: &Parsed::default(),
                measured: &[&arc, &unknown_node("arc", "select")],
            })
            .unwrap();
        let inputs = &nodes[0].inputs;
        assert_eq!(inputs["outcomes of arc[base]"], Input::output("arc[base]", "outcomes"));
        assert_eq!((&inputs["answers of base"], inputs.contains_key("answers of …")), (&answers, false));
        assert_eq!(inputs["outcomes of arc[…]"], Input::Unknown { node: "select".into() });

        let mask = Digest::of(b"a mask");
        let point = |q, weights| SelectedPoint { p: None, q, mask, weights };
        let right = |variant: &str, right: f64| Measured {
            by: "arc".into(),
            variant: variant.into(),
            found: vec![Outcome::new("easy", 7, "accuracy", Some(right))],
        };
        let all = vec![right("base", 1.0), right(&mask.short(), 0.25)];
        let points = [point(1e-9, 0), point(1e-3, 5)];
        let masks = Masks { rule: "a", points: &points, controls: &[], calibration: &BTreeMap::new() };
        let made = outputs(&masks, all, &Groups::default(), Parts::default()).unwrap();
        let [(_, facts), (_, joined), _] = made.try_into().unwrap();
        let report = report::json::read(&facts).unwrap();
        assert_eq!(report.variants[1].outcomes[0].paired.as_ref().map(|paired| paired.rows), Some(1));
        let rows = report.variants.iter();
        let said = rows.map(|row| (row.weights, row.points[0].q, row.outcomes[0].value, row.outcomes[0].change));
        let expected = [(0, 1e-9, Some(1.0), None), (5, 1e-3, Some(0.25), Some(-0.75))];
        assert_eq!(said.collect::<Vec<_>>(), expected);
        let joined = Joined::from_parquet(joined).unwrap();
        let told = joined.iter().map(|row| (row.variant.as_str(), row.by.as_str(), row.row, row.value));
        assert_eq!(told.collect::<Vec<_>>(), [("base", "arc", 7, Some(1.0)), (&mask.short(), "arc", 7, Some(0.25))]);
    }
}
