//! What nodes will cost, by what others cost before: seconds and bytes, each with a range.
//!
//! Every record of the store says how long its node took, on which device of which machine, and how much its stage says that it
//! did (`Stage::work`). A missing node is priced by the records of its stage that are most like it: the same device and
//! machine, the same kind of inputs (a variant begins with drafts, the base does not), and the nearest amounts of work. What
//! nobody has done yet has no price, and that is said. Must not know: any particular stage.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::plan::{Plan, Planned, State};
use super::planner::Planner;
use crate::digest::Manifest;
use crate::error::Result;
use crate::machine;
use crate::stages::{Input, Node, REGISTRY};
use crate::store::Record;

/// The records that a price is made of: the most that are looked at.
const NEIGHBOURS: usize = 9;
/// How far the range reaches beyond the values that were seen, as a factor: times of one and the same work differ so much from
/// one run to the next.
const NOISE: f64 = 1.15;
/// The same where other settings or another model were measured: work is counted, and not everything scales with it.
const SCALED: f64 = 1.5;

/// What something takes, in seconds or bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Range {
    pub expected: f64,
    pub low: f64,
    pub high: f64,
}

impl Range {
    fn plus(self, other: Self) -> Self {
        Self { expected: self.expected + other.expected, low: self.low + other.low, high: self.high + other.high }
    }

    fn times(self, factor: f64) -> Self {
        Self { expected: self.expected * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// What a node will cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Price {
    pub seconds: Range,
    pub bytes: Range,
}

/// What a whole plan will cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Total {
    pub seconds: Range,
    pub bytes: Range,
    /// Nodes that will run. Those that are not known before selection are counted as if every point had a mask of its own.
    pub nodes: usize,
    /// Stages of which nothing was recorded on this device, so that their nodes are not in the sums.
    pub unknown: Vec<String>,
}

impl Total {
    /// Of two plans whose nodes are counted in one of them only.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        self.unknown
            .extend(other.unknown.into_iter().filter(|stage| !self.unknown.contains(stage)).collect::<Vec<_>>());
        Self {
            seconds: self.seconds.plus(other.seconds),
            bytes: self.bytes.plus(other.bytes),
            nodes: self.nodes + other.nodes,
            unknown: self.unknown,
        }
    }
}

/// One recorded computation.
#[derive(Clone, Debug)]
struct Past {
    /// The names of its inputs.
    inputs: Vec<String>,
    params: Value,
    work: Option<f64>,
    seconds: f64,
    bytes: f64,
    /// What was expected when it began.
    predicted: Option<f64>,
}

/// The computations that a store remembers, by stage.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    stages: BTreeMap<String, Vec<Past>>,
}

impl Experience {
    /// What these records say of this machine's `backend`.
    pub fn of(records: impl IntoIterator<Item = Record>, backend: &str) -> Self {
        let mut experience = Self::default();
        let host = machine::host();
        for record in records.into_iter().filter(|record| record.backend == backend && record.host == host) {
            experience.learn(&record);
        }
        experience
    }

    /// Takes a record into account.
    pub fn learn(&mut self, record: &Record) {
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let bytes = record.outputs.values().map(|output| output.bytes).sum::<u64>() as f64;
        self.stages.entry(record.manifest.stage.clone()).or_default().push(Past {
            inputs: names(&record.manifest),
            params: record.manifest.params.clone(),
            work: record.work,
            seconds: record.seconds,
            bytes,
            predicted: record.predicted,
        });
    }

    /// The price of a node of a stage with these parameters, names of inputs, and amount of work.
    fn price(&self, stage: &str, params: &Value, inputs: &[String], work: Option<f64>) -> Option<Price> {
        let all = self.stages.get(stage)?;
        // The same kind of inputs if there are such: what a variant takes says little of the base.
        let alike = all.iter().any(|past| past.inputs == inputs);
        let kin = all.iter().filter(|past| !alike || past.inputs == inputs);
        let exact: Vec<&Past> = kin.clone().filter(|past| past.params == *params && past.work == work).collect();
        let mut samples: Vec<(f64, &Past)> = match (exact.is_empty(), work) {
            (false, _) => exact.into_iter().map(|past| (1.0, past)).collect(),
            (true, Some(work)) => {
                kin.filter_map(|past| Some((work / past.work.filter(|past| *past > 0.0)?, past))).collect()
            }
            (true, None) => kin.map(|past| (1.0, past)).collect(),
        };
        // The nearest amounts of work first, and of these the newest: they come last in a store's order.
        samples.reverse();
        samples.sort_by(|(left, _), (right, _)| left.ln().abs().total_cmp(&right.ln().abs()));
        samples.truncate(NEIGHBOURS);
        let wide = match samples.first()? {
            (factor, past) if alike && *factor == 1.0 && past.params == *params => NOISE,
            _ => SCALED,
        };
        let range = |of: &dyn Fn(&Past) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(|(factor, past)| factor * of(past)).collect();
            values.sort_by(f64::total_cmp);
            let (low, high) = (values.first().copied()?, values.last().copied()?);
            let expected = values.get(values.len() / 2).copied()?;
            Some(Range { expected, low: low / wide, high: high * wide })
        };
        Some(Price { seconds: range(&|past| past.seconds)?, bytes: range(&|past| past.bytes)? })
    }

    /// By stage: how many nodes ran after a prediction, and the median of |predicted / took − 1|.
    pub fn errors(&self) -> BTreeMap<&str, (usize, f64)> {
        let error = |past: &Past| Some((past.predicted? / past.seconds - 1.0).abs()).filter(|error| error.is_finite());
        let of_stage = |(_, pasts): (&String, &Vec<Past>)| {
            let mut errors: Vec<f64> = pasts.iter().filter_map(error).collect();
            errors.sort_by(f64::total_cmp);
            Some((errors.len(), *errors.get(errors.len() / 2)?))
        };
        self.stages.iter().filter_map(|entry| Some((entry.0.as_str(), of_stage(entry)?))).collect()
    }
}

/// The names of a manifest's inputs.
fn names(manifest: &Manifest) -> Vec<String> {
    manifest.inputs.keys().cloned().collect()
}

/// Prices of one plan after another, with what was asked of stages kept.
pub struct Pricer<'a> {
    planner: &'a Planner<'a>,
    pub experience: Experience,
    work: HashMap<String, Option<f64>>,
    /// Prices by stage and question, as long as nothing new is known of the stage.
    prices: HashMap<String, HashMap<String, Option<Price>>>,
}

impl<'a> Pricer<'a> {
    /// # Errors
    /// The device is not there.
    pub fn new(planner: &'a Planner<'a>) -> Result<Self> {
        let backend = planner.inputs.models.device()?.is.to_string();
        let mut records = Vec::new();
        for stage in REGISTRY {
            // A price is a comfort: what cannot be read for it is no reason to stop.
            match planner.inputs.store.records(stage.name()) {
                Ok(found) => records.extend(found),
                Err(error) => tracing::warn!("records of {} are left out of prices: {error}", stage.name()),
            }
        }
        Ok(Self {
            planner,
            experience: Experience::of(records, &backend),
            work: HashMap::new(),
            prices: HashMap::new(),
        })
    }

    /// How much a node does, in its stage's own unit, if that can be said before it runs.
    pub fn work(&mut self, plan: &Plan, planned: &Planned) -> Option<f64> {
        let question = question(planned);
        if let Some(known) = self.work.get(&question) {
            return *known;
        }
        // What cannot be said now is said, with its reason, where the node is checked.
        let work = self.planner.work(plan, planned).ok().flatten();
        self.work.insert(question, work);
        work
    }

    /// What a missing node will cost.
    pub fn price(&mut self, plan: &Plan, planned: &Planned) -> Option<Price> {
        let (stage, question) = (planned.stage.name(), question(planned));
        if let Some(known) = self.prices.get(stage).and_then(|prices| prices.get(&question)) {
            return *known;
        }
        let inputs: Vec<String> = planned.node.inputs.keys().cloned().collect();
        let work = self.work(plan, planned);
        let price = self.experience.price(stage, &planned.node.params, &inputs, work);
        self.prices.entry(stage.to_owned()).or_default().insert(question, price);
        price
    }

    /// Takes what a node took into account.
    pub fn learn(&mut self, record: &Record) {
        self.experience.learn(record);
        self.prices.remove(&record.manifest.stage);
    }

    /// What the `wanted` nodes that are missing will cost together.
    pub fn total(&mut self, plan: &Plan, wanted: &dyn Fn(&Planned) -> bool) -> Total {
        let mut total = Total::default();
        for planned in plan.nodes.iter().filter(|planned| planned.state != State::Hit && wanted(planned)) {
            let (times, price) = match is_placeholder(&planned.node) {
                false => (1, self.price(plan, planned)),
                true => (self.planner.pipeline.select.points.len(), self.of_variants(plan, planned)),
            };
            total.nodes += times;
            match price {
                Some(price) => {
                    #[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
                    let times = times as f64;
                    total.seconds = total.seconds.plus(price.seconds.times(times));
                    total.bytes = total.bytes.plus(price.bytes.times(times));
                }
                None if total.unknown.iter().any(|known| known == planned.stage.name()) => {}
                None => total.unknown.push(planned.stage.name().to_owned()),
            }
        }
        total
    }

    /// The price of one of the variants that a placeholder stands for: that of a variant of another time, or else of the base.
    fn of_variants(&mut self, plan: &Plan, placeholder: &Planned) -> Option<Price> {
        let stage = placeholder.stage.name();
        let Some(base) = plan.find(&placeholder.node.name.replace("[…]", "[base]")) else {
            return self.experience.price(stage, &placeholder.node.params, &[], None);
        };
        let mut inputs: Vec<String> = base.node.inputs.keys().cloned().chain(["patch".to_owned()]).collect();
        inputs.sort();
        let work = self.work(plan, base);
        self.experience.price(stage, &base.node.params, &inputs, work)
    }
}

/// What decides over a node's work and price. Variants differ in what other nodes put out, and in nothing else.
fn question(planned: &Planned) -> String {
    let node = &planned.node;
    let outside = node.inputs.iter().filter(|(_, input)| !matches!(input, Input::Output { .. } | Input::Part { .. }));
    let own = if node.turn > 0 { "" } else { node.name.as_str() };
    let names = node.inputs.keys().collect::<Vec<_>>();
    format!("{} {own} {} {names:?} {:?}", planned.stage.name(), node.params, outside.collect::<Vec<_>>())
}

/// Whether a node stands for all that selection will find.
fn is_placeholder(node: &Node) -> bool {
    node.inputs.values().any(|input| matches!(input, Input::Unknown { .. }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn past(inputs: &[&str], tokens: u64, work: Option<f64>, seconds: f64) -> Past {
        let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
        Past { inputs, params: json!({ "tokens": tokens }), work, seconds, bytes: seconds * 100.0, predicted: None }
    }

    fn experience(pasts: Vec<Past>) -> Experience {
        Experience { stages: [("generate".to_owned(), pasts)].into() }
    }

    fn seconds(experience: &Experience, inputs: &[&str], tokens: u64, work: Option<f64>) -> Option<Range> {
        let inputs: Vec<String> = inputs.iter().map(|name| (*name).to_owned()).collect();
        Some(experience.price("generate", &json!({ "tokens": tokens }), &inputs, work)?.seconds)
    }

    #[test]
    fn the_same_work_takes_what_it_took() {
        let base = past(&["weights"], 64, Some(10.0), 38.0);
        let variants = [30.0, 20.0, 25.0].map(|took| past(&["patch", "weights"], 64, Some(10.0), took));
        let known = experience([vec![base], variants.into()].concat());
        let of = |inputs: &[&str]| seconds(&known, inputs, 64, Some(10.0)).unwrap();
        assert_eq!(of(&["weights"]), Range { expected: 38.0, low: 38.0 / NOISE, high: 38.0 * NOISE });
        assert_eq!(of(&["patch", "weights"]), Range { expected: 25.0, low: 20.0 / NOISE, high: 30.0 * NOISE });
    }

    #[test]
    fn other_work_is_scaled_from_the_nearest_and_its_range_is_wider() {
        let known = experience(vec![past(&["weights"], 64, Some(10.0), 40.0), past(&["weights"], 1, Some(0.1), 9.0)]);
        let found = seconds(&known, &["weights"], 128, Some(20.0)).unwrap();
        assert!(found.low <= 80.0 / SCALED && found.high >= 80.0 * SCALED, "{found:?}");
        assert_eq!(seconds(&known, &["weights"], 64, Some(10.0)).unwrap().expected, 40.0);
    }

    #[test]
    fn what_nobody_did_has_no_price() {
        let known = experience(vec![past(&["weights"], 64, None, 40.0)]);
        assert_eq!(seconds(&known, &["weights"], 64, Some(10.0)), None, "its work was not recorded");
        assert_eq!(experience(Vec::new()).price("generate", &json!({}), &[], None), None);
        assert_eq!(known.price("score", &json!({}), &[], None), None);
    }
}
