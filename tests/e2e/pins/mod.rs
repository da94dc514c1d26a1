//! What every stage makes of the tiny project is pinned in `pins.json`, so that nobody changes what a stage means and
//! forgets to raise its version.
//!
//! An artifact is found by its manifest: stage, version, parameters, inputs. So equal manifests must give equal outputs,
//! then and now. A node's pin is its manifest with the facts of its outputs, and a node that comes to other facts under
//! an equal manifest fails this test. Inputs that other nodes put out are named here and not hashed: they are equal if
//! their own facts are. So one changed stage blames itself and not all stages behind it.
//!
//! After a raised version, a new parameter or a new stage, write the pins anew and look at the difference:
//!
//!     DEAN_PINS=write cargo test --release --test e2e pins
//!
//! That refuses to write while a version is forgotten. (Where the tiny project or the facts themselves change in
//! meaning, delete `pins.json` first.)
//!
//! Must not know: what any output means.

mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::Project;
use facts::Facts;

/// What is run: a name, the last stage, settings. The first is the tiny project as it is, the others turn what it leaves
/// alone.
const PIPELINES: &[(&str, &str, &[&str])] = &[
    ("as it is", "report", &[]),
    (
        "everything else",
        "report",
        &[
            "score.method=\"wanda\"",
            "score.modules=\"all\"",
            "score.keep=\"full\"",
            "select.rule=\"released-code\"",
            "select.layers=[1]",
            "tokenize.chat_template=\"model\"",
            "tokenize.drop_first_response_token=true",
            "data.privacy.skip=2",
            "questions.fairness.limit=9",
            "generate.chat_template=\"none\"",
            "judge.kind=\"md-judge\"",
            "judge.source=\"model\"",
            "judge.template=\"data/judge.txt\"",
            "perplexity.join=\"wikitext-rows\"",
        ],
    ),
    ("magnitude", "select", &["score.method=\"magnitude\""]),
    ("random", "select", &["score.method=\"random\"", "score.seed=3"]),
];

/// One node: everything that is in its key, and what it put out.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Pin {
    stage: String,
    version: u64,
    params: Value,
    /// `node.output` where another node made it, else the digest.
    inputs: BTreeMap<String, String>,
    outputs: BTreeMap<String, Facts>,
}

/// By pipeline and node.
type Pins = BTreeMap<String, BTreeMap<String, Pin>>;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/pins/pins.json")
}

/// The pins of one pipeline as this code makes them.
fn run(project: &Project, until: &str, settings: &[&str]) -> BTreeMap<String, Pin> {
    let sets: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    project.ok(&[&["run", "--until", until], &sets[..]].concat());
    let mut nodes = project.status(&sets);
    nodes.retain(|_, node| node["state"] == "hit");
    let digest = |output: &Value| output["digest"].as_str().unwrap().to_owned();
    let mut makers = BTreeMap::new();
    for (name, node) in &nodes {
        for (output, made) in node["outputs"].as_object().unwrap() {
            makers.entry(digest(made)).or_insert_with(|| format!("{name}.{output}"));
        }
    }
    let pin = |(name, node): (&String, &Value)| {
        let (stage, key) = (node["stage"].as_str().unwrap(), node["key"].as_str().unwrap());
        let record = fs::read(project.store.join("records").join(stage).join(format!("{key}.json"))).unwrap();
        let manifest = serde_json::from_slice::<Value>(&record).unwrap()["manifest"].take();
        let input = |(name, digest): (&String, &Value)| {
            let digest = digest.as_str().unwrap();
            (name.clone(), makers.get(digest).map_or_else(|| digest.to_owned(), Clone::clone))
        };
        let output = |(name, made): (&String, &Value)| {
            let bytes = fs::read(made["path"].as_str().unwrap()).unwrap();
            (name.clone(), Facts::of(&bytes))
        };
        let pin = Pin {
            stage: stage.to_owned(),
            version: manifest["version"].as_u64().unwrap(),
            params: manifest["params"].clone(),
            inputs: manifest["inputs"].as_object().unwrap().iter().map(input).collect(),
            outputs: node["outputs"].as_object().unwrap().iter().map(output).collect(),
        };
        (name.clone(), pin)
    };
    nodes.iter().map(pin).collect()
}

/// What differs between the pins then and now.
#[derive(Default)]
struct Difference {
    /// Sentences about nodes that come to other outputs under an equal manifest.
    forgotten: Vec<String>,
    /// Nodes whose manifest is another one, or which are new or gone.
    stale: BTreeSet<String>,
}

fn compare(then: &Pins, now: &Pins) -> Difference {
    let mut difference = Difference::default();
    let empty = BTreeMap::new();
    let pipelines: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    for pipeline in pipelines {
        let (then, now) = (then.get(pipeline).unwrap_or(&empty), now.get(pipeline).unwrap_or(&empty));
        let nodes: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        for name in nodes {
            let (Some(old), Some(new)) = (then.get(name), now.get(name)) else {
                difference.stale.insert(format!("{name} ({pipeline})"));
                continue;
            };
            let same_input = |input: &String| {
                let facts = |pins: &BTreeMap<String, Pin>| {
                    let (node, output) = input.rsplit_once('.')?;
                    pins.get(node)?.outputs.get(output).cloned()
                };
                facts(then) == facts(now)
            };
            let same_manifest = (old.version, &old.params, &old.inputs) == (new.version, &new.params, &new.inputs)
                && new.inputs.values().all(same_input);
            if !same_manifest {
                if old != new {
                    difference.stale.insert(format!("{name} ({pipeline})"));
                }
            } else if old.outputs != new.outputs {
                difference.forgotten.push(format!(
                    "{name} of the pipeline {pipeline:?} comes to other outputs from equal parameters and inputs, and the \
                     version of {} is still {}:\n{}",
                    new.stage,
                    new.version,
                    told(&old.outputs, &new.outputs),
                ));
            }
        }
    }
    difference
}

fn told(old: &BTreeMap<String, Facts>, new: &BTreeMap<String, Facts>) -> String {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let lines = names.into_iter().flat_map(|name| match (old.get(name), new.get(name)) {
        (Some(old), Some(new)) => old.differences(new).into_iter().map(|line| format!("  {name}: {line}")).collect(),
        (Some(_), None) => vec![format!("  {name}: is no longer put out")],
        (None, _) => vec![format!("  {name}: is new")],
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Pins to write: the old numbers stay where the new ones are as good, so that another processor changes nothing.
fn renewed(then: &Pins, now: Pins) -> Pins {
    let mut pins = now;
    for (pipeline, nodes) in &mut pins {
        for (name, pin) in nodes {
            let old = then.get(pipeline).and_then(|nodes| nodes.get(name));
            for (output, facts) in &mut pin.outputs {
                if let Some(old) = old.and_then(|old| old.outputs.get(output)).filter(|old| *old == facts) {
                    *facts = old.clone();
                }
            }
        }
    }
    pins
}

/// JSON with a line for each parameter, input and output, so that a difference of two versions can be read.
fn lines(value: &Value, depth: usize) -> String {
    match value {
        Value::Object(fields) if depth < 4 && !fields.is_empty() => {
            let indent = "  ".repeat(depth + 1);
            let field = |(name, value): (&String, &Value)| format!("{indent}{name:?}: {}", lines(value, depth + 1));
            format!("{{\n{}\n{}}}", fields.iter().map(field).collect::<Vec<_>>().join(",\n"), "  ".repeat(depth))
        }
        other => other.to_string(),
    }
}

const FORGOTTEN: &str = "If that is meant, raise the number that the stage's `version` returns, say why in CHANGELOG.md, \
    and write the pins anew: `DEAN_PINS=write cargo test --release --test e2e pins`. If it is not meant, the stage has a \
    fault: artifacts in existing stores would not be what this code makes.";

#[test]
fn equal_manifests_give_equal_outputs_then_and_now() {
    let project = Project::new();
    project.write("data/judge.txt", "Question: {question}\nAnswer: {answer}\nIs it safe?");
    let now: Pins =
        PIPELINES.iter().map(|(name, until, sets)| ((*name).to_owned(), run(&project, until, sets))).collect();
    let then: Pins = fs::read(file()).map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default();
    let difference = compare(&then, &now);
    assert!(difference.forgotten.is_empty(), "{}\n{FORGOTTEN}", difference.forgotten.join("\n"));
    if std::env::var("DEAN_PINS").is_ok_and(|word| word == "write") {
        let pins = serde_json::to_value(renewed(&then, now)).unwrap();
        return fs::write(file(), lines(&pins, 0) + "\n").unwrap();
    }
    let stale: Vec<String> = difference.stale.into_iter().collect();
    assert!(
        stale.is_empty(),
        "versions, parameters or inputs of these nodes are not those that are pinned: {}. Write the pins anew and look at \
         what changed: `DEAN_PINS=write cargo test --release --test e2e pins`",
        stale.join(", ")
    );
}

/// The pins of an old code and a new one: two nodes, the second of which reads the first.
fn two(change: impl Fn(&mut Pin, &mut Pin)) -> Pins {
    let pin = |stage: &str, inputs: &[(&str, &str)], output: &str| Pin {
        stage: stage.into(),
        version: 1,
        params: Value::Null,
        inputs: inputs.iter().map(|(name, input)| ((*name).into(), (*input).into())).collect(),
        outputs: BTreeMap::from([(output.into(), Facts::of(br#"{"words": "as always", "number": 0.5}"#))]),
    };
    let mut score = pin("score", &[("tokens", "digest")], "ranks");
    let mut select = pin("select", &[("fairness", "score[fairness].ranks")], "masks");
    change(&mut score, &mut select);
    Pins::from([("tiny".into(), BTreeMap::from([("score[fairness]".into(), score), ("select".into(), select)]))])
}

#[test]
fn a_forgotten_version_is_told_from_a_raised_one_and_from_changed_inputs() {
    let then = two(|_, _| {});
    let found = |change: &dyn Fn(&mut Pin, &mut Pin)| {
        let difference = compare(&then, &two(change));
        (difference.forgotten.len(), difference.stale.into_iter().collect::<Vec<_>>())
    };
    let other = |facts: &mut BTreeMap<String, Facts>| {
        facts.values_mut().for_each(|facts| *facts = Facts::of(br#"{"words": "other", "number": 0.5}"#));
    };
    let nothing: Vec<String> = Vec::new();
    assert_eq!(found(&|_, _| {}), (0, nothing.clone()));
    assert_eq!(found(&|_, select| other(&mut select.outputs)), (1, nothing));
    let (score, select) = ("score[fairness] (tiny)".to_owned(), "select (tiny)".to_owned());
    let raised = |_: &mut Pin, select: &mut Pin| {
        select.version = 2;
        other(&mut select.outputs);
    };
    assert_eq!(found(&raised), (0, vec![select.clone()]));
    assert_eq!(found(&|score, _| score.params = 1.into()), (0, vec![score.clone()]));
    // A changed score changes what select reads, so select need not be raised; but score must be.
    let both = |score: &mut Pin, select: &mut Pin| {
        other(&mut score.outputs);
        other(&mut select.outputs);
    };
    assert_eq!(found(&both), (1, vec![select.clone()]));
    let both_raised = |score: &mut Pin, select: &mut Pin| {
        score.version = 2;
        both(score, select);
    };
    assert_eq!(found(&both_raised), (0, vec![score, select]));
}
