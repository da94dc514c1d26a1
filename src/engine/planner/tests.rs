use std::time::{Duration, Instant};

use super::*;
use crate::engine::testing::job;
use crate::rank::{RankTable, top};
use crate::stages::Role;
use crate::store::Acquired;
use crate::tables::OUTCOMES;

/// A sweep of so many points, each with a mask of its own; 1280 weights are in the largest matrix.
fn sweep(points: usize) -> String {
    let points: Vec<String> = (1..=points).map(|k| format!("{}", (k as f64 + 0.5) / 1280.0)).collect();
    format!(
        "[score]\ncap = 1.0\n[select]\nrule = \"a\"\nq = [{}]\n[questions.q]\npath = \"rows.csv\"\ncolumn = \"prompt\"\n\
         [perplexity]\npath = \"rows.csv\"\nwindow = 2\n",
        points.join(", ")
    )
}

/// Outputs that no stage has made, but for those that planning reads.
fn outputs(planner: &Planner<'_>, plan: &Plan, planned: &Planned) -> Vec<(String, Vec<u8>)> {
    let ranks = || {
        let (checkpoint, _) = planner.model(Role::Subject).unwrap();
        let linears = (0..checkpoint.config().layers()).flat_map(|layer| checkpoint.linears(layer));
        let matrix = |(name, out, input): (String, usize, usize)| {
            let scores: Vec<f32> = (0..out * input).map(|index| (index * 7919 % (out * input)) as f32).collect();
            top(&name, &scores, input, 1.0).unwrap()
        };
        let matrices = linears.map(|linear| matrix((linear.name, linear.out, linear.input))).collect();
        RankTable { cap: 1.0, matrices }.to_parquet().unwrap()
    };
    let names: &[&str] = match planned.stage.name() {
        "tokenize" => &["tokens", "prompts"],
        "score" => return vec![("ranks".into(), ranks())],
        "select" => return planner.anew(plan, "select").unwrap(),
        "patch" => &["patch"],
        "generate" => &["answers"],
        "judge" => &["verdicts"],
        other => &[other],
    };
    let measured = planned.stage.measures().then_some(OUTCOMES);
    let named = |name: &str| (name.to_owned(), planned.node.name.clone().into_bytes());
    names.iter().copied().chain(measured).map(named).collect()
}

/// Publishes made-up outputs of the first node that is missing.
fn advance(planner: &Planner<'_>, plan: &Plan) -> bool {
    let missing = plan.nodes.iter().find(|planned| planned.state != State::Hit && planned.key.is_some());
    let Some(planned) = missing else { return false };
    let key = planned.key.unwrap();
    match planner.inputs.store.acquire(planned.stage.name(), &key, &|| false, &mut |_| ()).unwrap() {
        Acquired::Hit(record) => planner.learn(record),
        Acquired::Claim(claim) => {
            let outputs = outputs(planner, plan, planned);
            planner.learn(claim.publish(planned.manifest.as_ref().unwrap(), outputs, 0.0, "none").unwrap());
        }
    }
    true
}

/// Everything that a plan says.
fn said(plan: &Plan) -> Vec<(&str, State, Option<Digest>, &[String])> {
    let nodes = plan.nodes.iter();
    nodes
        .map(|planned| (planned.node.name.as_str(), planned.state, planned.key, planned.waits_for.as_slice()))
        .collect()
}

#[test]
fn a_plan_that_goes_on_says_what_a_new_one_says() {
    let (dir, pipeline) = job(&sweep(3));
    let (store, models) = (Store::open(&pipeline.run.store).unwrap(), Loaded::new(crate::model::device::Device::Cpu));
    let planner = Planner::new(&pipeline, &store, &models);
    let mut plan = planner.plan(true).unwrap();
    for number in 0.. {
        let another = Planner::new(&pipeline, &store, &models).plan(true).unwrap();
        assert_eq!(said(&plan), said(&another), "after {number} nodes");
        if !advance(&planner, &plan) {
            break;
        }
        if number == 8 {
            // A file that changes in the middle of a run gives other keys.
            crate::files::write_atomic(&dir.path().join("rows.csv"), b"prompt,response\nHow is it?,Well.\n").unwrap();
        }
        plan = planner.again().unwrap();
    }
    assert!(plan.is_complete());
    // What is gone is only seen by a plan that looks anew.
    crate::files::remove(&pipeline.run.store).unwrap();
    assert!(planner.again().unwrap().is_complete());
    assert!(!planner.plan(true).unwrap().is_complete());
}

/// Planning 500 nodes after each of 500 nodes. `--nocapture` shows what it takes: see ARCHITECTURE.md.
#[test]
#[expect(clippy::disallowed_macros, reason = "a measurement, for whoever asks for it")]
fn a_sweep_of_five_hundred_nodes_is_planned_after_every_node() {
    let (_dir, pipeline) = job(&sweep(100));
    let (store, models) = (Store::open(&pipeline.run.store).unwrap(), Loaded::new(crate::model::device::Device::Cpu));
    let planner = Planner::new(&pipeline, &store, &models);
    let mut plan = planner.plan(true).unwrap();
    let (mut plans, mut took) = (0, Duration::ZERO);
    while advance(&planner, &plan) {
        let begun = Instant::now();
        plan = planner.again().unwrap();
        took += begun.elapsed();
        plans += 1;
    }
    assert!(plan.is_complete());
    assert_eq!((plan.nodes.len(), plans), (509, 509));
    eprintln!("planning {} nodes {plans} times took {took:.2?}", plan.nodes.len());
}
