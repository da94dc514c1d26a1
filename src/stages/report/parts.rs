//! What report does with the questions of each set: which are calibration prompts, which are for tuning and which for testing,
//! and which direction of a set is good.
//!
//! The texts of the questions come from the base's answers, those of prompts from tokenize. Must not know: how texts are
//! compared, how a part is chosen, what was measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{Format, Wanted, question_turns};
use crate::error::{Error, Result};
use crate::rank::{Rule, Setting};
use crate::report::questions::{Rows, asked, by_set};
use crate::report::split::{Tune, tuning_rows};
use crate::report::tuning::{Goal, TunedSet};
use crate::report::{LeakReport, leaks};
use crate::stages::{Context, FileInput, Input, Planning, Preview};
use crate::tables::{Answer, CalibrationPrompt, Leak, Row};

/// In front of a data set's name: the input with the prompts of its rows.
const PROMPTS: &str = "prompts of ";
/// In front of a question set's name: the file that lists its questions for tuning.
const LISTED: &str = "tuning of ";

/// What is done with the questions.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Params {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    drop_leaked: bool,
    /// Question sets for which something is set, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sets: BTreeMap<String, SetParams>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SetParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tune: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed: Option<Listed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
}

/// How a file of questions for tuning is read.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    column: String,
    format: Format,
}

/// The parameters, and the inputs that they need.
pub fn plan(planning: &Planning<'_>, inputs: &mut BTreeMap<String, Input>) -> Result<Params> {
    let pipeline = planning.pipeline;
    let mut params = Params { drop_leaked: pipeline.report.drop_leaked, sets: BTreeMap::new() };
    if pipeline.questions.is_empty() {
        return Ok(Params::default());
    }
    if pipeline.score.method.reads().tokens {
        for name in pipeline.select.rule.names() {
            inputs.insert(format!("{PROMPTS}{name}"), Input::output(&format!("tokenize[{name}]"), "prompts"));
        }
    }
    for (name, questions) in &pipeline.questions {
        let mut set = SetParams { goal: questions.goal, ..SetParams::default() };
        match &questions.tune {
            Some(Tune::Share(share)) => set.tune = Some(*share),
            Some(Tune::Listed(path)) => {
                let seen = planning.glance(path).map_err(|error| error.within(format!("questions.{name}.tune")))?;
                set.listed = Some(Listed { column: questions.column.clone(), format: seen.format });
                inputs.insert(format!("{LISTED}{name}"), Input::File(path.clone()));
            }
            None => {}
        }
        if set.goal.is_some() || questions.tune.is_some() {
            params.sets.insert(name.clone(), set);
        }
    }
    Ok(params)
}

/// What became of the questions.
#[derive(Default)]
pub struct Parts {
    pub leaks: Vec<Leak>,
    pub leaked: BTreeMap<String, LeakReport>,
    /// Rows that are left out of everything.
    pub dropped: Rows,
    /// Rows that are for tuning.
    pub for_tuning: Rows,
    /// What a choice is made on, by set; rows that are left out do not count.
    pub sets: BTreeMap<String, TunedSet>,
}

/// Parts the questions that the base answered as the parameters say. `rule` is that of the masks.
///
/// # Errors
/// User: a list for tuning that cannot be read, or in which none of the set's questions is.
pub fn read(context: &Context<'_>, params: &Params, rule: &str, answers: &[Answer]) -> Result<Parts> {
    let questions = asked(answers);
    let mut prompts = BTreeMap::new();
    for input in context.inputs.keys() {
        if let Some(name) = input.strip_prefix(PROMPTS) {
            prompts.insert(name.to_owned(), CalibrationPrompt::from_parquet(context.read(input)?)?);
        }
    }
    let leaks = leaks::find(&questions, &prompts);
    let leaked = leaks::count(&leaks, &questions, params.drop_leaked);
    let dropped = if params.drop_leaked { leaks::rows(&leaks) } else { Rows::default() };

    let (mut for_tuning, mut sets) = (Rows::default(), BTreeMap::new());
    for (name, questions) in by_set(&questions) {
        let set = params.sets.get(name);
        let how = match set {
            Some(SetParams { tune: Some(share), .. }) => Some(Tune::Share(*share)),
            Some(SetParams { listed: Some(how), .. }) => Some(Tune::Listed(listed(context.file, name, how)?)),
            _ => None,
        };
        // Which part a question is in does not hang on whether others are left out.
        let rows = how.as_ref().map(|how| tuning_rows(&questions, how)).unwrap_or_default();
        if matches!(how, Some(Tune::Listed(_))) && rows.is_empty() {
            return Err(Error::user(format!(
                "questions.{name}.tune: no question of the file is among those of the set"
            ))
            .hint("it lists which questions of the set are for tuning; a share, tune = 0.3, needs no file"));
        }
        if matches!(how, Some(Tune::Listed(_))) && rows.len() == questions.len() {
            return Err(Error::user(format!(
                "questions.{name}.tune: every question of the set is in the file, so none is left to report"
            ))
            .hint("leave some out of the file, or give a share, tune = 0.3"));
        }
        let counts = |for_tuning: bool| {
            let counts = questions.iter().filter(|question| rows.contains(&question.row) == for_tuning);
            counts.filter(|question| !dropped.contains(name, question.row)).count() as u64
        };
        let goal = set.and_then(|set| set.goal).map_or_else(|| usual_goal(rule, name), Ok)?;
        // Of a set that is not divided, a choice is made on all questions.
        let (tuning, testing) = if rows.is_empty() { (counts(false), 0) } else { (counts(true), counts(false)) };
        sets.insert(name.to_owned(), TunedSet { goal, counts: false, tuning, testing });
        rows.into_iter().for_each(|row| for_tuning.add(name, row));
    }
    Ok(Parts { leaks, leaked, dropped, for_tuning, sets })
}

/// The goal of a set for which none is set: a data set of this name whose weights the rule takes says that there is to be more
/// caution of this kind.
fn usual_goal(rule: &str, set: &str) -> Result<Goal> {
    let rule = Rule::parse(rule)?;
    let taken = rule.operands().iter().any(|operand| operand.name == set && operand.setting == Setting::Q);
    Ok(if taken { Goal::More } else { Goal::None })
}

/// Reads the files that list questions for tuning.
///
/// # Errors
/// User: one that cannot be read.
pub fn check(preview: &Preview<'_>) -> Result<()> {
    let params: Params = preview.params()?;
    let listed_in = |(name, set): (&String, &SetParams)| set.listed.as_ref().map(|how| listed(preview.file, name, how));
    params.sets.iter().filter_map(listed_in).try_for_each(|found| found.map(|_| ()))
}

/// The questions of a file for tuning.
fn listed(file: &dyn Fn(&str) -> Result<FileInput>, set: &str, how: &Listed) -> Result<Vec<String>> {
    let file = file(&format!("{LISTED}{set}"))?;
    let rows = file.rows(how.format, &[Wanted::any(&how.column)])?;
    let question = |row: &crate::data::Row| {
        let turns = question_turns(row.cells.first().unwrap_or(&Value::Null));
        let turns = turns.map_err(|error| error.within(row.place).within(&file.origin))?;
        Ok(turns.into_iter().last().map(|turn| turn.content).unwrap_or_default())
    };
    rows.iter().map(question).collect()
}
