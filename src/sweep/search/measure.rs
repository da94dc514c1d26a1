//! Measures points of a search with the engine: each as a job that differs from the user's in its points and limits of questions.
//!
//! So all that a search computes are ordinary nodes of ordinary plans: kept, shared with runs, resumed after a stop. What is in the
//! store is read without a run, so that a search which was made before is read back by being made again. Must not know: which
//! point is chosen, how a table looks.

use std::collections::BTreeMap;
use std::time::Instant;

use super::gains::{Objective, Part, Readings, Split};
use crate::config::Pipeline;
use crate::engine::Part as Whole;
use crate::engine::{Observer, Plan, Planned, Planner, Runner, Session, State};
use crate::error::{Error, Result};
use crate::model::Loaded;
use crate::rank::{ControlPoints, Point, RankTable};
use crate::report::leaks;
use crate::report::questions::{asked, by_set};
use crate::report::split::{Tune, tuning_rows};
use crate::search::{Answered, Estimate, Evaluate, Limits, Space, Test};
use crate::stages::Variant;
use crate::store::Store;
use crate::tables::{Answer, CalibrationPrompt, Control, OUTCOMES, Outcome, Row};

/// Questions of one block.
const BLOCK: usize = 64;
/// The stages before there are variants.
const EARLY: [&str; 3] = ["tokenize", "score", "select"];
/// The stages that read a variant's own answers, and the one that makes them.
const OF_ANSWERS: [&str; 3] = ["generate", "inspect", "judge"];

/// What a search needs of the program.
pub struct Tools<'a> {
    pub pipeline: &'a Pipeline,
    pub store: &'a Store,
    pub models: &'a Loaded,
    pub observer: &'a dyn Observer,
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// What was typed, for the run's file.
    pub command: Vec<String>,
    /// Whether anything is computed; else what is not in the store ends the search.
    pub computes: bool,
    /// No point is begun after this.
    pub deadline: Option<Instant>,
}

/// The nodes of a job, some of them computed as parts of one run.
pub struct Parts<'a> {
    pub tools: &'a Tools<'a>,
    pub session: Session,
}

impl Parts<'_> {
    /// The plan of a job once the wanted nodes are there.
    pub fn plan(&self, pipeline: &Pipeline, wanted: &dyn Fn(&Planned) -> bool) -> Result<Plan> {
        let Tools { store, models, observer, stop, computes, .. } = *self.tools;
        let planner = Planner::new(pipeline, store, models);
        let plan = planner.plan(false)?;
        if !plan.nodes.iter().any(|planned| wanted(planned) && planned.state != State::Hit) {
            return Ok(plan);
        }
        if !computes {
            return Err(Error::stopped("the search has not come further yet"));
        }
        let runner =
            Runner { planner, observer, stop, command: self.tools.command.clone(), name: None, part: Whole::default() };
        Ok(runner.run_part(wanted, &self.session)?.plan)
    }

    fn output(&self, plan: &Plan, node: &str, output: &str) -> Result<Option<Vec<u8>>> {
        let record = plan.find(node).and_then(|planned| planned.record.as_ref());
        match record.and_then(|record| record.outputs.get(output)) {
            Some(output) => self.tools.store.read(&output.digest).map(Some),
            None => Ok(None),
        }
    }

    fn must(&self, plan: &Plan, node: &str, output: &str) -> Result<Vec<u8>> {
        let missing = || Error::fault(format!("{node} was computed and has no output `{output}`"));
        self.output(plan, node, output)?.ok_or_else(missing)
    }

    /// The rank tables, after scoring.
    pub fn tables(&self) -> Result<BTreeMap<String, RankTable>> {
        let mut pipeline = job(self.tools.pipeline, &[]);
        pipeline.select.points.truncate(1);
        let plan = self.plan(&pipeline, &|planned| matches!(planned.stage.name(), "tokenize" | "score"))?;
        let mut tables = BTreeMap::new();
        for name in pipeline.select.rule.names() {
            let ranks = self.must(&plan, &format!("score[{name}]"), "ranks")?;
            tables.insert(name.clone(), RankTable::from_parquet(ranks).map_err(|error| error.within(name))?);
        }
        Ok(tables)
    }

    /// What was measured on a variant.
    fn readings(&self, plan: &Plan, label: &str) -> Result<Readings> {
        let mut readings = Readings::default();
        for planned in plan.nodes.iter().filter(|planned| planned.stage.measures()) {
            let Some((by, _)) = Variant::of_node(&planned.node.name).filter(|(_, here)| *here == label) else {
                continue;
            };
            if let Some(outcomes) = self.output(plan, &planned.node.name, OUTCOMES)? {
                readings.add(by, Outcome::from_parquet(outcomes)?);
            }
        }
        Ok(readings)
    }
}

/// The user's job with these points, and nothing beside them.
fn job(pipeline: &Pipeline, points: &[Point]) -> Pipeline {
    let mut job = pipeline.clone();
    job.controls.points = ControlPoints::None;
    if !points.is_empty() {
        job.select.points = points.to_vec();
        job.select.points.sort_by(|one, other| {
            let share = |point: &Point| point.p.unwrap_or(0.0);
            one.q.total_cmp(&other.q).then(share(one).total_cmp(&share(other)))
        });
    }
    job
}

/// Whether a node is in front of all variants, or of this one.
fn is_of(planned: &Planned, label: &str) -> bool {
    EARLY.contains(&planned.stage.name()) || Variant::of_node(&planned.node.name).is_some_and(|(_, here)| here == label)
}

/// The label of the one variant beside the base.
fn label(plan: &Plan) -> Result<String> {
    let patched = plan.nodes.iter().find(|planned| planned.stage.name() == "patch");
    let label = patched.and_then(|planned| Variant::of_node(&planned.node.name)).map(|(_, label)| label.to_owned());
    label.ok_or_else(|| Error::fault("a point that selects weights has no variant"))
}

/// Measures points.
pub struct Measuring<'a> {
    pub parts: &'a Parts<'a>,
    pub space: &'a Space,
    pub objectives: &'a [Objective],
    pub guards: &'a [Objective],
    pub limits: &'a Limits,
    base: Readings,
    split: Split,
    /// The most questions of a set.
    rows: usize,
}

const BASE: &str = crate::naming::BASE;

impl<'a> Measuring<'a> {
    /// Measures the base, and finds out which questions are for what.
    pub fn new(
        parts: &'a Parts<'a>,
        space: &'a Space,
        (objectives, guards): (&'a [Objective], &'a [Objective]),
        limits: &'a Limits,
    ) -> Result<Self> {
        let pipeline = parts.tools.pipeline;
        let first: Vec<Point> = space.sites().first().map(|site| site.point).into_iter().collect();
        let plan = parts.plan(&job(pipeline, &first), &|planned| is_of(planned, BASE))?;
        let base = parts.readings(&plan, BASE)?;
        let answers = Answer::from_parquet(parts.must(&plan, &format!("generate[{BASE}]"), "answers")?)?;
        let questions = asked(&answers);
        let mut split = Split::default();
        for (name, questions) in by_set(&questions) {
            match pipeline.questions.get(name).and_then(|set| set.tune.as_ref()) {
                Some(Tune::Share(share)) => {
                    split.divided.insert(name.to_owned());
                    let rows = tuning_rows(&questions, &Tune::Share(*share));
                    rows.into_iter().for_each(|row| split.for_tuning.add(name, row));
                }
                Some(Tune::Listed(_)) => {
                    return Err(Error::user(format!(
                        "questions.{name}.tune is a file, and a search divides questions by a share"
                    ))
                    .hint(format!("--set questions.{name}.tune=0.5")));
                }
                None => {}
            }
        }
        if pipeline.report.drop_leaked && pipeline.score.method.reads().tokens {
            let mut prompts = BTreeMap::new();
            for name in pipeline.select.rule.names() {
                let table = parts.must(&plan, &format!("tokenize[{name}]"), "prompts")?;
                prompts.insert(name.clone(), CalibrationPrompt::from_parquet(table)?);
            }
            split.dropped = leaks::rows(&leaks::find(&questions, &prompts));
        }
        let rows = by_set(&questions).values().map(Vec::len).max().unwrap_or(0);
        Ok(Self { parts, space, objectives, guards, limits, base, split, rows })
    }

    /// Whether some questions have no part in choosing.
    pub fn is_divided(&self) -> bool {
        self.objectives.iter().all(|objective| self.split.divided.contains(&objective.set))
    }

    fn point(&self, site: usize) -> Result<Point> {
        let site = self.space.sites().get(site).ok_or_else(|| Error::fault(format!("there is no site {site}")))?;
        Ok(site.point)
    }

    fn gains(&self, readings: &Readings, objectives: &[Objective], part: Part<'_>) -> Result<Vec<Test>> {
        let gain = |objective: &Objective| {
            readings.gain(&self.base, objective, part).ok_or_else(|| {
                Error::user(format!("no judge read an answer to {} of base and variant", objective.set))
                    .hint("`dean report` shows what was read; a judge that reads nothing cannot lead a search")
            })
        };
        objectives.iter().map(gain).collect()
    }

    /// The points of the front on the questions for testing, and random masks beside them: by round, then by point.
    ///
    /// # Errors
    /// What running them fails with.
    pub fn beside(&self, front: &[usize]) -> Result<Beside> {
        let points: Vec<Point> = front.iter().map(|site| self.point(*site)).collect::<Result<_>>()?;
        let mut job = job(self.parts.tools.pipeline, &points);
        job.controls.points = ControlPoints::All;
        let plan = self.parts.plan(&job, &|_| true)?;
        let controls = Control::from_parquet(self.parts.must(&plan, "controls", "controls")?)?;
        let own = self.masks(&plan, front)?;
        // On what was not chosen on, where there is some.
        let part = if self.is_divided() { Part::Testing(&self.split) } else { Part::Tuning(&self.split) };
        let mut found = Beside::default();
        for label in &own {
            let readings = self.parts.readings(&plan, label)?;
            found.tests.push(self.gains(&readings, self.objectives, part)?);
        }
        let mut seeds: Vec<u64> = controls.iter().filter_map(|control| control.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        for seed in seeds {
            let mut round = Vec::new();
            for label in &own {
                let is_it = |control: &&Control| control.seed == Some(seed) && control.of.short() == *label;
                let Some(control) = controls.iter().find(is_it) else { continue };
                let readings = self.parts.readings(&plan, &control.mask.short())?;
                let gains = self.gains(&readings, self.objectives, part)?;
                round.push(gains.into_iter().map(|test| test.gain.value).collect());
            }
            found.rounds.push(round);
        }
        Ok(found)
    }

    /// The labels of the sites' variants in a plan of several points.
    fn masks(&self, plan: &Plan, front: &[usize]) -> Result<Vec<String>> {
        let points = self.parts.must(plan, "select", "points")?;
        let (_, selected) = crate::rank::Selection::points_from_parquet(points)?;
        let label = |site: &usize| {
            let point = self.point(*site)?;
            let found = selected.iter().find(|selected| (selected.p, selected.q) == (point.p, point.q));
            found
                .map(|selected| selected.mask.short())
                .ok_or_else(|| Error::fault("a point of the front was not selected"))
        };
        front.iter().map(label).collect()
    }
}

/// What stands beside the front.
#[derive(Debug, Default)]
pub struct Beside {
    /// By point and objective.
    pub tests: Vec<Vec<Test>>,
    /// By round, point and objective.
    pub rounds: Vec<Vec<Vec<f64>>>,
}

impl Evaluate for Measuring<'_> {
    fn cheap(&mut self, site: usize) -> Result<Vec<Option<f64>>> {
        let job = job(self.parts.tools.pipeline, &[self.point(site)?]);
        let wanted = |planned: &Planned| {
            is_of(planned, BASE)
                || (planned.stage.name() != "report"
                    && !OF_ANSWERS.contains(&planned.stage.name())
                    && Variant::of_node(&planned.node.name).is_some())
        };
        let plan = self.parts.plan(&job, &wanted)?;
        let readings = self.parts.readings(&plan, &label(&plan)?)?;
        let ratio = || Some(readings.perplexity()? / self.base.perplexity()?);
        let read = |name: &str| if name == "kl" { readings.kl() } else { ratio() };
        Ok(self.limits.cheap.iter().map(|(name, _)| read(name)).collect())
    }

    fn answers(&mut self, site: usize, blocks: usize) -> Result<Answered> {
        let mut job = job(self.parts.tools.pipeline, &[self.point(site)?]);
        let asked = BLOCK.saturating_mul(blocks);
        let is_all = asked >= self.rows;
        if !is_all {
            for set in job.questions.values_mut() {
                set.limit = Some(set.limit.map_or(asked, |limit| limit.min(asked)));
            }
        }
        let wanted = |planned: &Planned| {
            let of_variant =
                Variant::of_node(&planned.node.name).is_some_and(|(_, label)| label != BASE && label != "controls");
            EARLY.contains(&planned.stage.name())
                || (of_variant && (planned.stage.name() == "patch" || OF_ANSWERS.contains(&planned.stage.name())))
        };
        let plan = self.parts.plan(&job, &wanted)?;
        let readings = self.parts.readings(&plan, &label(&plan)?)?;
        let part = Part::Tuning(&self.split);
        let values = |tests: Vec<Test>| -> Vec<Estimate> { tests.into_iter().map(|test| test.gain).collect() };
        let gains = values(self.gains(&readings, self.objectives, part)?);
        let guards = values(self.gains(&readings, self.guards, part)?);
        Ok(Answered { gains, guards, is_all })
    }

    fn is_over(&self) -> bool {
        self.parts.tools.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
