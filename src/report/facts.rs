//! The facts of a report: the findings of each variant, compared with those of the base.
//!
//! A [`Report`] has one [`VariantReport`] for each variant, the base first. It has a [`Finding`] for each set and measure. Nothing
//! here knows a measure by name. Must not know: stages, the store, how facts are shown.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agreement::{self, Agreement, JudgeControl};
use super::job::Job;
use super::leaks::LeakReport;
use super::measures::{Measure, Summary, find};
use super::paired::{self, Groups, Paired};
use super::tuning::TuningReport;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::stats::{DRAWS, SEED, wilson};
use crate::tables::{ControlKind, Outcome, Tokens};

/// The form of a report. The first was a bare list of variants; a reader of one form does not read another.
pub const SCHEMA: u32 = 2;

/// Everything that was measured, and how it compares with the base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The variant that all others are compared with.
    pub base: String,
    pub bootstrap: Bootstrap,
    pub variants: Vec<VariantReport>,
    /// How far judges agree on the base's answers, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreement: Vec<Agreement>,
    /// What judges said of answers of which anybody knows what they should say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<JudgeControl>,
    /// Questions that are calibration prompts, by their sets' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leaks: BTreeMap<String, LeakReport>,
    /// The best point, and the questions that it was chosen on. The variants' findings are of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<TuningReport>,
    /// The findings on the questions for tuning, by variant; none where no set is divided.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tuning_outcomes: BTreeMap<String, Vec<Finding>>,
    /// What it was made of. It is not in the store's report, whose bytes depend on what was measured alone: whoever takes a
    /// report out puts it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
}

/// How the rows were drawn anew for the intervals [`Paired::bootstrap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bootstrap {
    pub draws: u32,
    pub seed: u64,
}

impl Report {
    /// The report of these variants, the base first, with everything compared: `measured` holds the rows that their findings
    /// were made of.
    pub fn new(mut variants: Vec<VariantReport>, measured: &[Measured], groups: &Groups) -> Self {
        compare(&mut variants);
        paired::compare(&mut variants, measured, groups);
        let base = variants.first().map(|base| base.variant.clone()).unwrap_or_default();
        let (agreement, controls) = (agreement::agreements(measured, &base), agreement::controls(measured));
        let bootstrap = Bootstrap { draws: DRAWS, seed: SEED };
        Self {
            schema: SCHEMA,
            base,
            bootstrap,
            variants,
            agreement,
            controls,
            leaks: BTreeMap::new(),
            tuning: None,
            tuning_outcomes: BTreeMap::new(),
            job: None,
        }
    }
}

/// The rows that one node measured on one variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The node's name without the variant.
    pub by: String,
    pub variant: String,
    pub found: Vec<Outcome>,
}

/// One variant of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VariantReport {
    /// `base`, or the beginning of the mask's digest.
    pub variant: String,
    /// What people call it.
    pub name: String,
    pub mask: Option<Digest>,
    /// Weights that differ from the base.
    pub weights: u64,
    /// Every point of the grid that gives this variant; an empty mask is the base.
    pub points: Vec<PointReport>,
    /// The masks of the grid that this one is a control of; none for one that the rule chose alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<ControlReport>,
    pub rule: String,
    /// What was scored, by the data set's name; empty if the score method reads no data.
    pub calibration: BTreeMap<String, CalibrationReport>,
    /// What was measured, by who measured, set and measure.
    pub outcomes: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointReport {
    pub p: Option<f64>,
    pub q: f64,
}

/// Beside which mask a control stands, and how its weights were chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlReport {
    pub of: Digest,
    pub kind: ControlKind,
    /// Of a random one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The data set whose top it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// The rows that a data set was scored on. Rows are the same if their token ids are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CalibrationReport {
    pub samples: u64,
    /// Rows that repeat an earlier one of the set.
    pub repeated: u64,
    /// Rows that another set of the rule holds as well, by its name.
    pub shared: BTreeMap<String, u64>,
}

/// The one value that a measure has on all rows of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Who measured: the node's name without the variant.
    pub by: String,
    pub set: String,
    pub measure: String,
    /// Rows that were measured.
    pub rows: u64,
    /// Those of them without a reading. They are counted here and nowhere else.
    pub unread: u64,
    /// Rows whose value is 1, of a measure that says yes or no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What the value is a mean over, where that is not rows: so many tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<f64>,
    /// A share, a mean, a perplexity. JSON has no infinity and no NaN, so there is none of them here.
    pub value: Option<f64>,
    /// What 95 of 100 rows do not exceed, of a measure that is a distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Wilson 95 % interval of a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// The value minus that of the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<f64>,
    /// The value over that of the base, of a measure whose ratios mean something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The same rows before and after, where the base has them too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paired: Option<Paired>,
}

/// Why a value is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Why {
    #[serde(rename = "no row could be read")]
    Unread,
    #[serde(rename = "infinite")]
    Infinite,
    #[serde(rename = "not a number")]
    Undefined,
}

/// Row to value, in the order of the rows.
pub(super) type Values = BTreeMap<u32, Option<f64>>;

/// The rows of each set and measure.
pub(super) fn grouped(outcomes: &[Outcome]) -> BTreeMap<(&str, &str), Values> {
    let mut groups: BTreeMap<(&str, &str), Values> = BTreeMap::new();
    for Outcome { set, row, measure, value } in outcomes {
        groups.entry((set, measure)).or_default().insert(*row, *value);
    }
    groups
}

/// The findings from the outcomes of one node, ordered by set and measure.
///
/// # Errors
/// Fault: a measure that says yes or no says something else; a sum without what it is a mean over.
pub fn findings(by: &str, outcomes: &[Outcome]) -> Result<Vec<Finding>> {
    let groups = grouped(outcomes);
    let measured: BTreeSet<&str> = groups.keys().map(|(_, measure)| *measure).collect();
    let measures: BTreeMap<&str, Measure> = measured.into_iter().map(|name| (name, find(name))).collect();
    let per: BTreeSet<&str> = measures
        .values()
        .filter_map(|measure| match measure.summary {
            Summary::ExpMean { per } => Some(per),
            Summary::Share { .. }
            | Summary::Mean
            | Summary::Distance { .. }
            | Summary::Portion { .. }
            | Summary::Flaw { .. }
            | Summary::Detail => None,
        })
        .collect();
    let mut findings = Vec::new();
    for ((set, name), values) in groups.iter().filter(|((_, name), _)| !per.contains(name)) {
        let Some(measure) = measures.get(name) else { continue };
        let mut finding = Finding::nothing(by, set, name, values);
        match measure.summary {
            Summary::Share { .. } | Summary::Portion { .. } | Summary::Flaw { .. } | Summary::Detail => {
                finding.share(values)?
            }
            Summary::Mean => finding.mean(values),
            Summary::Distance { .. } => finding.distance(values),
            Summary::ExpMean { per } => finding.exp_mean(values, groups.get(&(*set, per)), per)?,
        }
        findings.push(finding);
    }
    Ok(findings)
}

impl Finding {
    fn nothing(by: &str, set: &str, measure: &str, values: &Values) -> Self {
        Self {
            by: by.into(),
            set: set.into(),
            measure: measure.into(),
            rows: values.len() as u64,
            unread: values.values().filter(|value| value.is_none()).count() as u64,
            count: None,
            over: None,
            value: None,
            high: None,
            why: Some(Why::Unread),
            interval: None,
            change: None,
            ratio: None,
            paired: None,
        }
    }

    fn read(&self) -> u64 {
        self.rows.saturating_sub(self.unread)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn share(&mut self, values: &Values) -> Result<()> {
        let mut ones = 0;
        for (row, value) in values {
            match value {
                Some(1.0) => ones += 1,
                None | Some(0.0) => {}
                Some(other) => {
                    let Self { set, measure, .. } = self;
                    return Err(Error::fault(format!("{measure} of row {row} of {set} is {other}, not 0 or 1")));
                }
            }
        }
        self.count = Some(ones);
        if self.read() > 0 {
            self.set_value(ones as f64 / self.read() as f64);
        }
        self.interval = wilson(ones, self.read());
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of rows")]
    fn mean(&mut self, values: &Values) {
        if self.read() > 0 {
            self.set_value(values.values().flatten().sum::<f64>() / self.read() as f64);
        }
    }

    fn distance(&mut self, values: &Values) {
        self.mean(values);
        self.high = percentile(values.values().flatten().copied().collect(), 0.95).filter(|high| high.is_finite());
    }

    fn exp_mean(&mut self, values: &Values, over: Option<&Values>, per: &str) -> Result<()> {
        let (mut sum, mut total) = (0.0, 0.0);
        for (row, value) in values.iter().filter_map(|(row, value)| Some((row, (*value)?))) {
            let here = over
                .and_then(|over| *over.get(row)?)
                .ok_or_else(|| Error::fault(format!("row {row} of {} has {} and no {per}", self.set, self.measure)))?;
            sum += value;
            total += here;
        }
        self.over = Some(total);
        if self.read() > 0 {
            self.set_value((sum / total).exp());
        }
        Ok(())
    }

    fn set_value(&mut self, value: f64) {
        (self.value, self.why) = match value {
            _ if value.is_nan() => (None, Some(Why::Undefined)),
            _ if value.is_infinite() => (None, Some(Why::Infinite)),
            _ => (Some(value), None),
        };
    }
}

/// The value below which a share of the values lies, between the nearest two in proportion, as NumPy has it by default. None of
/// no values.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place within a list"
)]
fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = share * values.len().checked_sub(1)? as f64;
    let below = *values.get(place.floor() as usize)?;
    let above = *values.get(place.ceil() as usize)?;
    // What is infinite lies at no distance.
    Some(if below == above { below } else { below + (above - below) * place.fract() })
}

/// Fills in the differences to the first row, which is the base. Each value is that of all rows that were read, so they may be of
/// different rows; [`Paired`] is of the same.
pub(super) fn compare(rows: &mut [VariantReport]) {
    let Some((base, others)) = rows.split_first_mut() else { return };
    let key = |finding: &Finding| (finding.by.clone(), finding.set.clone(), finding.measure.clone());
    let base: BTreeMap<_, _> =
        base.outcomes.iter().filter_map(|finding| Some((key(finding), finding.value?))).collect();
    for finding in others.iter_mut().flat_map(|row| &mut row.outcomes) {
        let (Some(after), Some(before)) = (finding.value, base.get(&key(finding))) else { continue };
        match find(&finding.measure).summary {
            Summary::Share { .. }
            | Summary::Mean
            | Summary::Portion { .. }
            | Summary::Flaw { .. }
            | Summary::Detail => {
                finding.change = Some(after - before);
            }
            Summary::Distance { .. } => {}
            Summary::ExpMean { .. } => finding.ratio = Some(after / before).filter(|ratio| ratio.is_finite()),
        }
    }
}

/// Counts the rows of each data set that occur more than once.
pub fn calibration(tables: &BTreeMap<String, Tokens>) -> BTreeMap<String, CalibrationReport> {
    let report = |name: &String, tokens: &Tokens| {
        let others = tables.iter().filter(|(other, _)| *other != name);
        CalibrationReport {
            samples: tokens.rows().len() as u64,
            repeated: tokens.repeated() as u64,
            shared: others.map(|(other, table)| (other.clone(), tokens.shared(table) as u64)).collect(),
        }
    };
    tables.iter().map(|(name, tokens)| (name.clone(), report(name, tokens))).collect()
}

#[cfg(test)]
mod tests;
