//! ARCHITECTURE.md's key table against the code: what enters the key of which stage.
//!
//! Every row of the table is tried: one value is changed, the plan is made again, and the stages whose
//! parameters or inputs changed must be the ones that the table names, each in the way it says. No
//! stage runs and no tensor is made: every node is given the same made-up outputs, so that keys are known
//! to the end of the plan, and an effect can only be a stage's own. Must not know: what a stage computes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dean::config;
use dean::digest::{Digest, canonical_json};
use dean::engine::{Plan, Planner, State};
use dean::files;
use dean::model::Loaded;
use dean::score::METHODS;
use dean::stages::{Input, REGISTRY};
use dean::store::{Acquired, Store};
use serde_json::Value;

#[path = "key_table/cases.rs"]
mod cases;
#[path = "key_table/world.rs"]
mod world;

use cases::Change::{self, Mask, Named, Output, Points, Rename, Set};
use cases::{CASES, EXCEPTIONS};
use world::{outputs, world};

const PIPELINE: &str = r#"
[model]
source = "model"
[data.fairness]
path = "rows.csv"
[data.privacy]
path = "rows.csv"
[data.general]
path = "rows.csv"
[questions.fairness]
path = "rows.csv"
[questions.harmless]
path = "rows.csv"
[score]
cap = 0.5
[select]
points = [[0.125, 0.25]]
[judge]
source = "model"
[perplexity]
path = "rows.csv"
[run]
store = "store"
"#;

#[test]
fn the_key_table_says_what_the_code_does() {
    let world = world();
    let table = table();
    let mut wrong = Vec::new();
    for (row, base, change) in CASES {
        let Some(said) = table.get(*row) else {
            wrong.push(format!("`{row}` has no row"));
            continue;
        };
        let done = try_row(world.path(), base, change);
        for (stage, how) in &done.effects {
            if said[stage] != *how {
                wrong.push(format!("`{row}`, {stage}: the table says {:?}, the code {how:?}", said[stage]));
            }
        }
        // What enters nowhere must leave every key as it is, and not only the stages' own parts.
        if said.values().all(|cell| cell == "-") && !done.keys_stay {
            wrong.push(format!("`{row}` enters nowhere, but keys changed"));
        }
    }
    let cases: BTreeSet<&str> = CASES.iter().map(|(row, ..)| *row).collect();
    wrong.extend(table.keys().filter(|row| !cases.contains(row.as_str())).map(|row| format!("`{row}` has no case")));
    let settings: Vec<String> = config::keys(&config::schema()).into_iter().map(|(key, _)| key).collect();
    assert!(settings.len() > 30, "{settings:?}");
    wrong.extend(settings.iter().filter(|key| !table.contains_key(*key)).map(|key| format!("`{key}` has no row")));
    assert!(wrong.is_empty(), "ARCHITECTURE.md and the code differ:\n{}", wrong.join("\n"));
}

/// The documentation of a setting, which editors show, ends with the keys that it enters.
#[test]
fn every_setting_says_which_keys_it_enters() {
    let (schema, table) = (config::schema(), table());
    for (key, told) in config::keys(&schema) {
        let said = told["description"].as_str().and_then(|text| text.split_once("\n\nKey: "));
        let said = said.map(|(_, keys)| keys.trim_end_matches('.').split(';').next().unwrap());
        let stages: Vec<&str> = stage_names().filter(|stage| table[&key][stage] != "-").collect();
        let enters = if stages.is_empty() { "none".to_owned() } else { stages.join(", ") };
        assert_eq!(said, Some(enters.as_str()), "{key}");
    }
}

#[test]
fn the_exceptions_leave_every_key_as_it_is() {
    let world = world();
    let text = files::read_to_string(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (footnote, one, other) in EXCEPTIONS {
        assert!(text.contains(&format!("\n[^{footnote}]: ")), "no footnote {footnote}");
        let keys = |sets: &[&str]| Made::plan(world.path(), PIPELINE, sets, None).keys;
        assert_eq!(keys(one), keys(other), "[^{footnote}]: {one:?} and {other:?}");
    }
    // Every mark leads to a footnote.
    for mark in text.split("[^").skip(1).filter_map(|rest| rest.split_once(']')) {
        assert!(text.contains(&format!("\n[^{}]: ", mark.0)), "[^{}] is explained nowhere", mark.0);
    }
}

/// `[^read]`: what a method does not read changes none of its keys.
#[test]
fn a_score_depends_on_what_its_method_reads() {
    let world = world();
    let scores = |sets: &[&str], other: Option<(&str, &str)>| {
        let keys = Made::plan(world.path(), PIPELINE, sets, other).keys;
        keys.into_iter().filter(|(node, _)| node.starts_with("score[")).collect::<BTreeMap<_, _>>()
    };
    let (other_tokens, weights) = (Some(("tokenize", "tokens")), "model.source=\"weights\"");
    for (method, tokens, weighed) in
        [("snip", true, true), ("wanda", true, true), ("magnitude", false, true), ("random", false, false)]
    {
        let method = format!("score.method=\"{method}\"");
        let base = scores(&[&method], None);
        assert_eq!(base.values().collect::<BTreeSet<_>>().len(), 1, "rows, and so token ids, are the same");
        assert_eq!(scores(&[&method], other_tokens) != base, tokens, "{method}");
        assert_eq!(scores(&[&method, weights], None) != base, weighed, "{method}");
        assert!(scores(&[&method, "model.source=\"architecture\""], None) != base, "{method}");
    }
}

/// `[^draws]`: a draw's rows and scores are those of a job with that seed.
#[test]
fn a_draw_is_the_data_set_with_a_higher_seed() {
    let world = world();
    let keys = |sets: &[&str]| Made::plan(world.path(), PIPELINE, sets, None).keys;
    let seed = "data.fairness.seed=3";
    let drawn = keys(&[seed, "select.rule=\"stable(fairness, 2 of 3) & privacy - general\""]);
    for (draw, seed) in [("fairness", 3), ("fairness~1", 4), ("fairness~2", 5)] {
        let plain = keys(&[&format!("data.fairness.seed={seed}")]);
        for stage in ["tokenize", "score"] {
            assert_eq!(drawn[&format!("{stage}[{draw}]")], plain[&format!("{stage}[fairness]")], "{stage}, {draw}");
        }
    }
    assert!(!drawn.contains_key("score[fairness~3]") && !drawn.contains_key("score[privacy~1]"));
}

#[test]
fn every_score_method_is_one_file_and_one_line() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/score");
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let found: BTreeSet<String> = files::list(&room).unwrap().iter().map(stem).filter(|stem| stem != "mod").collect();
    let listed: BTreeSet<String> = METHODS.iter().map(|method| method.name().to_owned()).collect();
    assert_eq!((found, METHODS.len()), (listed.clone(), listed.len()));
}

/// What a change did: to each stage, and to the keys as a whole.
struct Done {
    effects: BTreeMap<&'static str, String>,
    keys_stay: bool,
}

fn try_row(world: &Path, base: &[&str], change: &Change) -> Done {
    let before = Made::plan(world, PIPELINE, base, None);
    let with = |sets: &[&'static str]| -> Vec<&str> { base.iter().chain(sets).copied().collect() };
    let (after, whole, left_out) = match change {
        Named(name) => {
            let cell = |stage: &str| if before.stages[stage].has_param(name) { "param" } else { "-" };
            let effects = stage_names().map(|stage| (stage, cell(stage).to_owned())).collect();
            return Done { effects, keys_stay: false };
        }
        Set(sets) => (Made::plan(world, PIPELINE, &with(sets), None), false, None),
        Rename(from, to, sets) => {
            assert!(PIPELINE.contains(from));
            (Made::plan(world, &PIPELINE.replace(from, to), &with(sets), None), false, None)
        }
        Output(stage, output) => (Made::plan(world, PIPELINE, base, Some((stage, output))), true, None),
        Mask => (Made::plan(world, PIPELINE, base, Some(("score", "order"))), true, Some("select")),
        Points => {
            let after = Made::plan(world, PIPELINE, &with(&["select.points=[[0.1250001, 0.25]]"]), None);
            (after, true, Some("select"))
        }
    };
    let effect = |stage: &str| {
        let (a, b) = (&before.stages[stage], &after.stages[stage]);
        let inputs = if whole { a.inputs != b.inputs } else { a.own_inputs != b.own_inputs };
        match (left_out == Some(stage), a.params != b.params, inputs) {
            (true, ..) | (_, false, false) => "-",
            (_, true, false) => "param",
            (_, false, true) => "input",
            (_, true, true) => "param, input",
        }
    };
    let effects = stage_names().map(|stage| (stage, effect(stage).to_owned())).collect();
    Done { effects, keys_stay: before.keys == after.keys }
}

/// What the keys of a plan's nodes are made of, with the nodes of a stage taken together.
struct Made {
    stages: BTreeMap<&'static str, StageParts>,
    keys: BTreeMap<String, Digest>,
}

#[derive(Default)]
struct StageParts {
    params: BTreeSet<String>,
    /// Name and digest of every input.
    inputs: BTreeSet<String>,
    /// The same without what other stages put out: of that only the name.
    own_inputs: BTreeSet<String>,
}

impl StageParts {
    fn has_param(&self, name: &str) -> bool {
        fn holds(value: &Value, name: &str) -> bool {
            value.as_object().is_some_and(|map| map.iter().any(|(key, value)| key == name || holds(value, name)))
        }
        self.params.iter().any(|params| holds(&serde_json::from_str(params).unwrap(), name))
    }
}

impl Made {
    /// Plans a pipeline to its end, with made-up outputs wherever something is missing. `other`: a
    /// stage's output that is made up differently.
    fn plan(world: &Path, text: &str, sets: &[&str], other: Option<(&str, &str)>) -> Self {
        let file = world.join("pipeline.toml");
        files::write_atomic(&file, text.as_bytes()).unwrap();
        let mut sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        if let Some((stage, output)) = other {
            // Else the outputs of before would be found. That the store is another one must not matter anyway.
            sets.push(format!("run.store=\"store-{stage}-{output}\""));
        }
        let pipeline = config::load(&file, &sets, world).unwrap();
        let store = Store::open(&pipeline.run.store).unwrap();
        let models = Loaded::new(pipeline.run.device);
        let planner = Planner::new(&pipeline, &store, &models);
        for _ in 0..=REGISTRY.len() {
            let plan = planner.plan(false).unwrap();
            let mut missing = 0;
            for planned in &plan.nodes {
                if planned.state == State::Hit || planned.stage.is_cheap() {
                    continue;
                }
                missing += 1;
                let (Some(manifest), Some(key)) = (&planned.manifest, &planned.key) else { continue };
                match store.acquire(planned.stage.name(), key, &|| false, &mut |_| ()).unwrap() {
                    Acquired::Hit(_) => {}
                    Acquired::Claim(claim) => {
                        let outputs = outputs(planned.stage.name(), other);
                        claim.publish(manifest, outputs, 0.0, "none").unwrap();
                    }
                }
            }
            if missing == 0 {
                return Self::of(&plan);
            }
        }
        panic!("a plan did not come to its end");
    }

    fn of(plan: &Plan) -> Self {
        let mut made =
            Self { stages: stage_names().map(|stage| (stage, StageParts::default())).collect(), keys: BTreeMap::new() };
        for planned in &plan.nodes {
            let (key, manifest) = (planned.key.unwrap(), planned.manifest.as_ref().unwrap());
            made.keys.insert(planned.node.name.clone(), key);
            let parts = made.stages.get_mut(planned.stage.name()).unwrap();
            parts.params.insert(canonical_json(&manifest.params));
            for (name, input) in &planned.node.inputs {
                let whole = format!("{name} {}", manifest.inputs[name]);
                // A variant's name is that of its mask, so it goes with what select put out.
                let plain = name.split('[').next().unwrap();
                let plain = if plain.starts_with("answers of ") { "answers of" } else { plain }.to_owned();
                let from_a_stage = matches!(input, Input::Output { .. } | Input::Part { .. } | Input::Unknown { .. });
                parts.own_inputs.insert(if from_a_stage { plain } else { whole.clone() });
                parts.inputs.insert(whole);
            }
        }
        assert!(made.stages.values().all(|parts| !parts.params.is_empty()), "every stage is in the plan");
        made
    }
}

fn stage_names() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().map(|stage| stage.name())
}

/// The rows of the table, without quotes and footnote marks: name to stage to cell.
fn table() -> BTreeMap<String, BTreeMap<&'static str, String>> {
    let text = files::read_to_string(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let part = text.split_once("<!-- key table -->").unwrap().1.split_once("<!-- end of key table -->").unwrap().0;
    let plain = |cell: &str| cell.split("[^").next().unwrap().replace('`', "").trim().to_owned();
    let mut lines = part.lines().filter(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(plain).collect();
        assert_eq!(cells.len(), REGISTRY.len() + 1, "{line}");
        cells
    });
    assert!(lines.next().unwrap()[1..].iter().eq(stage_names()), "a column for each stage");
    let mut rows = BTreeMap::new();
    for cells in lines.filter(|cells| !cells[1].starts_with("---")) {
        let row = stage_names().zip(cells[1..].iter().cloned()).collect();
        assert!(rows.insert(cells[0].clone(), row).is_none(), "{} has two rows", cells[0]);
    }
    rows
}
