//! Every family and variant of the decoder against transformers: logits, losses, scores, selected sets and greedy answers
//! of the small random models in `models/`, which `make.py` makes and `run` makes again. And what is selected is exported
//! and undone.
//!
//! A test needs neither Python nor a network. `real.rs` has the same tests for a model that does. Must not know: how the
//! numbers were made.

mod checks;
mod exports;
mod golden;
mod guards;
#[macro_use]
mod suite;

use std::collections::BTreeSet;

use golden::{Golden, Model, models};

macro_rules! variants {
    ($($test:ident: $name:literal,)*) => {
        const NAMES: &[&str] = &[$($name),*];

        $(checked! {
            $test: $name
            #[test]
            fn an_export_is_the_model_without_the_set_and_can_be_undone() {
                crate::exports::check(&Model::open($name), &Golden::read($name));
            }
        })*
    };
}

variants! {
    llama1: "llama1",
    llama3: "llama3",
    llama3_tied: "llama3-tied",
    llama_linear: "llama-linear",
    llama_yarn: "llama-yarn",
    llama_dynamic: "llama-dynamic",
    llama_biases: "llama-biases",
    smollm: "smollm",
    qwen2: "qwen2",
    qwen2_tied: "qwen2-tied",
    qwen2_window: "qwen2-window",
    qwen2_5: "qwen2.5",
    qwen3: "qwen3",
    qwen3_window: "qwen3-window",
    qwen3_yarn: "qwen3-yarn",
    mistral_window: "mistral-window",
    mistral: "mistral",
    gemma2: "gemma2",
    gemma2_plain: "gemma2-plain",
    gemma3: "gemma3",
    gemma3_pattern: "gemma3-pattern",
    gemma3_mixed: "gemma3-mixed",
}

#[test]
fn every_family_has_a_model_and_every_model_is_tested_and_small() {
    let folders = dean::files::list(&models()).unwrap();
    let found: BTreeSet<&str> = folders.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(found, NAMES.iter().copied().collect());

    let families: BTreeSet<String> = NAMES.iter().map(|name| Model::open(name).decoder.config.family).collect();
    assert_eq!(families, dean::model::arch::families::FAMILIES.iter().map(|family| family.name.to_owned()).collect());

    let bytes = |folder: &std::path::Path| {
        let files = dean::files::list(folder).unwrap().into_iter().filter(|path| path.is_file());
        files.map(|path| dean::files::Stamp::of(&path).unwrap().bytes).sum::<u64>()
    };
    assert!(folders.iter().all(|folder| bytes(folder) < 300_000));
    let all: u64 = folders.iter().map(|folder| bytes(folder) + bytes(&folder.join("golden"))).sum();
    // a family takes about one million: two models or three, and the numbers
    assert!(all < 8_000_000, "{all} bytes");
}

/// A check that cannot fail proves nothing: each must notice a golden that was changed in one place.
#[test]
fn a_changed_golden_is_noticed() {
    let name = "mistral-window";
    let (model, golden) = (Model::open(name), Golden::read(name));
    let scores = checks::score(&model, &golden);
    let passes = |golden: &Golden| {
        [
            checks::tokens(&model, golden),
            checks::logits(&model, golden),
            checks::losses_and_scores(&model, golden, &scores),
            checks::sets(&model, golden, &scores),
            checks::answers(&model, golden),
        ]
        .map(|found| found.is_ok())
    };
    let [tokens, logits, losses_and_scores, sets, answers] = [0, 1, 2, 3, 4];
    assert_eq!(passes(&golden), [true; 5]);

    type Change = fn(&mut Golden);
    let first = "model.layers.0.self_attn.q_proj.weight";
    let changes: [(usize, Change); 9] = [
        (tokens, |golden| golden.truth["tokenizer"][7]["ids"][0] = 9.into()),
        (logits, |golden| golden.logits.get_mut("logits_0").unwrap().2[77] += 1e-3),
        (logits, |golden| golden.logits.get_mut("logits_1").unwrap().2[0] *= 1.001),
        (losses_and_scores, |golden| {
            let loss = &mut golden.truth["datasets"]["general"]["losses"][3];
            *loss = (loss.as_f64().unwrap() * 1.001).into();
        }),
        (losses_and_scores, |golden| {
            let sums = golden.truth["datasets"]["privacy"]["score_sum"].as_object_mut().unwrap();
            let sum = sums.values_mut().next().unwrap();
            *sum = (sum.as_f64().unwrap() * 1.001).into();
        }),
        (losses_and_scores, |golden| {
            let score = golden.scores.values_mut().next().unwrap().2.iter_mut().max_by(|a, b| a.total_cmp(b)).unwrap();
            *score *= 1.001;
        }),
        (answers, |golden| golden.truth["generations"][2]["gen_ids"][23] = 300.into()),
        (answers, |golden| golden.truth["generations"][5]["stopped"] = true.into()),
        (answers, |golden| golden.truth["generations"][0]["text"] = "".into()),
    ];
    for (at, (check, change)) in changes.into_iter().enumerate() {
        let mut changed = golden.clone();
        change(&mut changed);
        assert!(!passes(&changed)[check], "change {at}");
    }
    // Against f64, scores may lie as far away as transformers' f32, and no farther.
    let with_rounding = |distance: [f64; 2]| {
        let of = |tensor: &String| (tensor.clone(), serde_json::json!(distance));
        let mut changed = golden.clone();
        let scores: serde_json::Map<_, _> = golden.scores.keys().map(of).collect();
        changed.truth["rounding"] = serde_json::json!({ "scores": scores });
        changed
    };
    assert_eq!(passes(&with_rounding([1e-4, 1e-3])), [true; 5]);
    let mut moved = with_rounding([1e-4, 1e-3]);
    let one = &mut moved.scores.values_mut().next().unwrap().2;
    let largest = one.iter().copied().fold(0.0, f32::max);
    *one.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap() += 1e-3 * largest;
    for changed in [moved, with_rounding([1e-9, 1e-3]), with_rounding([1e-4, 1e-9]), with_rounding([1e-2, 1e-1])] {
        assert!(!passes(&changed)[losses_and_scores]);
    }
    for (point, rule) in [(0, "true"), (1, "true"), (2, "ref"), (3, "ref")] {
        let mut changed = golden.clone();
        changed.truth["selections"][point]["sets"][first][rule].as_array_mut().unwrap().push(1000.into());
        assert!(!passes(&changed)[sets], "a weight more at point {point}");
        let mut changed = golden.clone();
        for set in changed.truth["selections"][point]["sets"].as_object_mut().unwrap().values_mut() {
            set[rule].as_array_mut().unwrap().pop();
        }
        assert!(!passes(&changed)[sets], "a weight less at point {point}");
    }
}
