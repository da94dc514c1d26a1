//! report: everything that was measured, as one JSON array with one object for each variant.
//!
//! The base comes first, then the masks in the order of the grid. Awareness is safe / (safe + unsafe)
//! with a Wilson interval; what leaves the denominator (unparsed) or flatters it (empty answers) is
//! counted beside it. Must not know: how a table looks on a terminal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::variant::{Variant, selection};
use super::{Context, Input, Node, Outputs, Planning, Stage, params_of};
use crate::choice::Choice;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::judge::{Entry, Label};
use crate::rank::Selection;
use crate::stats::wilson;
use crate::tables::{Answer, Row, Tokens, VerdictRow};

pub struct Report;

/// In front of a data set's name: the input with its token ids.
const CALIBRATION: &str = "tokens of ";

/// What is said about the numbers but not in them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    pub judge: Choice<Entry>,
}

/// One row of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VariantReport {
    /// `base`, or the beginning of the mask's digest.
    pub variant: String,
    pub mask: Option<Digest>,
    /// Weights that differ from the base.
    pub weights: u64,
    /// Every point of the grid that gives this variant; an empty mask is the base.
    pub points: Vec<PointReport>,
    pub rule: String,
    pub judge: Choice<Entry>,
    /// What was scored, by the data set's name; empty if the score method reads no data.
    pub calibration: BTreeMap<String, CalibrationReport>,
    /// By the question set's name.
    pub sets: BTreeMap<String, SetReport>,
    pub perplexity: Option<PerplexityReport>,
}

/// The rows that a data set was scored on. Rows are the same if their token ids are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationReport {
    pub samples: u64,
    /// Rows that repeat an earlier one of the set.
    pub repeated: u64,
    /// Rows that another set of the rule holds as well, by its name.
    pub shared: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointReport {
    pub p: Option<f64>,
    pub q: f64,
}

/// Verdicts on the answers to one question set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetReport {
    pub questions: u64,
    pub safe: u64,
    #[serde(rename = "unsafe")]
    pub not_safe: u64,
    pub unparsed: u64,
    /// Answers without a word; they are judged like any other.
    pub empty: u64,
    /// safe / (safe + unsafe); none if nothing could be read.
    pub awareness: Option<f64>,
    /// Wilson 95 % interval of awareness.
    pub interval: Option<(f64, f64)>,
    /// Difference to the base.
    pub change: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PerplexityReport {
    pub perplexity: f64,
    pub tokens: u64,
    pub windows: u64,
    pub window: u64,
    /// Perplexity over the base's.
    #[serde(default)]
    pub ratio: Option<f64>,
}

impl Stage for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    fn version(&self) -> u32 {
        2
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let pipeline = planning.pipeline;
        let params = params_of(&Params { judge: pipeline.judge.kind })?;
        let mut inputs = BTreeMap::from([("points".to_owned(), Input::output("select", "points"))]);
        if pipeline.score.method.reads().tokens {
            for name in pipeline.select.rule.names() {
                let tokens = Input::output(&format!("tokenize[{name}]"), "tokens");
                inputs.insert(format!("{CALIBRATION}{name}"), tokens);
            }
        }
        let Some(selection) = selection(planning)? else {
            inputs.insert("variants".into(), Input::Unknown { node: "select".into() });
            return Ok(vec![Node { name: "report".into(), params, inputs, ..Node::default() }]);
        };
        let masks = selection.masks.iter().filter(|mask| !mask.is_empty()).map(|mask| Variant::of_mask(mask.digest));
        for variant in std::iter::once(Variant::base()).chain(masks) {
            let mut add = |stage: &str, output: &str| {
                inputs.insert(format!("{output}[{}]", variant.label), Input::output(&variant.node(stage), output));
            };
            if !pipeline.questions.is_empty() {
                add("generate", "answers");
                add("judge", "verdicts");
            }
            if pipeline.perplexity.is_some() {
                add("perplexity", "perplexity");
            }
        }
        Ok(vec![Node { name: "report".into(), params, inputs, ..Node::default() }])
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let (rule, points) = Selection::points_from_parquet(context.read("points")?)?;
        let calibration = calibration(context)?;
        let mut rows: Vec<VariantReport> = vec![row(context, "base", None, &rule, params.judge)?];
        for point in &points {
            let here = PointReport { p: point.p, q: point.q };
            let mask = (point.weights > 0).then_some(point.mask);
            match rows.iter_mut().find(|row| row.mask == mask) {
                Some(row) => row.points.push(here),
                None => {
                    let label = Variant::of_mask(point.mask).label;
                    let mut new = row(context, &label, mask, &rule, params.judge)?;
                    new.weights = point.weights;
                    new.points.push(here);
                    rows.push(new);
                }
            }
        }
        compare(&mut rows);
        rows.iter_mut().for_each(|row| row.calibration.clone_from(&calibration));
        let value =
            serde_json::to_value(&rows).map_err(|error| Error::fault(format!("a report is not JSON: {error}")))?;
        let mut bytes = serde_json::to_vec_pretty(&value)
            .map_err(|error| Error::fault(format!("a report is not JSON: {error}")))?;
        bytes.push(b'\n');
        Ok(vec![("report".into(), bytes)])
    }
}

/// Counts the rows of each data set that occur more than once.
fn calibration(context: &Context<'_>) -> Result<BTreeMap<String, CalibrationReport>> {
    let mut tables = BTreeMap::new();
    for input in context.inputs.keys() {
        if let Some(name) = input.strip_prefix(CALIBRATION) {
            tables.insert(name.to_owned(), Tokens::from_parquet(context.read(input)?)?);
        }
    }
    let report = |name: &String, tokens: &Tokens| {
        let others = tables.iter().filter(|(other, _)| *other != name);
        CalibrationReport {
            samples: tokens.rows().len() as u64,
            repeated: tokens.repeated() as u64,
            shared: others.map(|(other, table)| (other.clone(), tokens.shared(table) as u64)).collect(),
        }
    };
    Ok(tables.iter().map(|(name, tokens)| (name.clone(), report(name, tokens))).collect())
}

fn row(
    context: &Context<'_>,
    label: &str,
    mask: Option<Digest>,
    rule: &str,
    judge: Choice<Entry>,
) -> Result<VariantReport> {
    let given = |output: &str| {
        let name = format!("{output}[{label}]");
        if context.inputs.contains_key(&name) { context.read(&name).map(Some) } else { Ok(None) }
    };
    let mut sets: BTreeMap<String, SetReport> = BTreeMap::new();
    if let (Some(answers), Some(verdicts)) = (given("answers")?, given("verdicts")?) {
        let (answers, verdicts) = (Answer::from_parquet(answers)?, VerdictRow::from_parquet(verdicts)?);
        if answers.len() != verdicts.len() {
            return Err(Error::fault(format!("{label} has not as many verdicts as answers")));
        }
        for (answer, verdict) in answers.iter().zip(&verdicts) {
            let set = sets.entry(answer.set.clone()).or_insert_with(SetReport::nothing);
            set.questions += 1;
            set.empty += u64::from(answer.answer.is_empty());
            match verdict.verdict {
                Label::Safe => set.safe += 1,
                Label::Unsafe => set.not_safe += 1,
                Label::Unparsed => set.unparsed += 1,
            }
        }
        sets.values_mut().for_each(SetReport::finish);
    }
    let perplexity = match given("perplexity")? {
        Some(bytes) => Some(
            serde_json::from_slice(&bytes)
                .map_err(|error| Error::user(format!("the perplexity of {label} does not read back: {error}")))?,
        ),
        None => None,
    };
    Ok(VariantReport {
        variant: label.into(),
        mask,
        weights: 0,
        points: Vec::new(),
        rule: rule.into(),
        judge,
        calibration: BTreeMap::new(),
        sets,
        perplexity,
    })
}

impl SetReport {
    fn nothing() -> Self {
        Self {
            questions: 0,
            safe: 0,
            not_safe: 0,
            unparsed: 0,
            empty: 0,
            awareness: None,
            interval: None,
            change: None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of questions")]
    fn finish(&mut self) {
        let read = self.safe + self.not_safe;
        self.awareness = (read > 0).then(|| self.safe as f64 / read as f64);
        self.interval = wilson(self.safe, read);
    }
}

/// Fills in the differences to the first row, which is the base.
fn compare(rows: &mut [VariantReport]) {
    let Some((base, others)) = rows.split_first_mut() else { return };
    for row in others {
        for (name, set) in &mut row.sets {
            let before = base.sets.get(name).and_then(|set| set.awareness);
            set.change = set.awareness.zip(before).map(|(after, before)| after - before);
        }
        if let (Some(after), Some(before)) = (&mut row.perplexity, &base.perplexity) {
            after.ratio = Some(after.perplexity / before.perplexity);
        }
    }
}
