//! Two tiny random models with every detail that SmolLM2 lacks: attention bias, BOS, sliding window,
//! a head of its own. Here whole score tensors are compared.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use dean::choice::Choice;
use dean::model::decoder::Edit;
use dean::model::matrix::MatrixId;
use dean::model::text::prompt_template::{PromptTemplate, prompt_ids};
use dean::model::{Checkpoint, Decoder, Message};
use dean::score;
use serde_json::Value;

use libtest_mimic::Trial;

use super::golden::{ids, json, samples, texts};
use super::needs::{self, Found};

pub fn tests() -> Vec<Trial> {
    needs::tests![models => losses_and_whole_score_tensors_are_pytorchs, greedy_answers_are_pytorchs,
        perplexities_are_pytorchs]
}

struct Tiny {
    shared: PathBuf,
    golden: PathBuf,
    truth: Value,
    checkpoint: Checkpoint,
    decoder: Decoder,
}

fn models() -> Found<Vec<Tiny>> {
    let shared = needs::shared()?;
    let open = |name| {
        let path = shared.join("golden/tiny").join(name);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let decoder = Decoder::load(&checkpoint, &Device::flex(), DType::F32, &mut |_, _| ()).unwrap();
        let golden = path.join("golden");
        Tiny { shared: shared.clone(), truth: json(&golden.join("golden.json")), golden, checkpoint, decoder }
    };
    Ok(["qwen2-tied", "mistral-sw"].map(open).into())
}

fn tensors(path: &Path) -> Vec<dean::tensors::Named> {
    dean::tensors::read(&dean::files::read(path).unwrap()).unwrap()
}

fn losses_and_whole_score_tensors_are_pytorchs(models: Vec<Tiny>) {
    for tiny in &models {
        for (name, set) in tiny.truth["datasets"].as_object().unwrap() {
            let rows: Vec<usize> = ids(&set["rows"]).into_iter().map(|row| row as usize).collect();
            let file = tiny.shared.join("data").join(set["csv"].as_str().unwrap());
            let samples = samples(tiny.checkpoint.text().unwrap(), &file, &rows);
            let mut scorer = Choice::<dyn score::Method>::of("snip").unwrap().start(&tiny.decoder, &|_| true).unwrap();
            for (index, sample) in samples.iter().enumerate() {
                assert_eq!(sample.ids, ids(&set["inp"][index]), "token ids of {name}");
                let one = std::slice::from_ref(sample);
                let loss = tiny.decoder.losses_and_gradients(one, &mut dean::model::decoder::tap::Closed).unwrap()[0];
                let expected = set["losses"][index].as_f64().unwrap();
                assert!((loss - expected).abs() < 1e-4, "{name}: loss {loss} against {expected}");
                scorer.add(&tiny.decoder, one).unwrap();
            }
            for (module, shape, expected) in tensors(&tiny.golden.join(format!("scores_{name}.safetensors"))) {
                let id = MatrixId::parse(&format!("{module}.weight")).unwrap();
                let found = scorer.finish(&tiny.decoder, id).unwrap();
                assert_eq!(found.len(), shape.iter().product::<usize>());
                let largest = expected.iter().copied().fold(0.0_f32, f32::max);
                for (a, b) in found.iter().zip(&expected) {
                    assert!((a - b).abs() <= 1e-4 * b.abs() + 1e-6 * largest, "{name}, {module}: {a} against {b}");
                }
            }
        }
    }
}

/// The decoder with a golden set of MLP weights zeroed.
fn variant(tiny: &Tiny, name: &str) -> Decoder {
    let Some(p) = name.strip_prefix("true_mlp_") else { return tiny.decoder.clone() };
    let mut edits = Vec::new();
    for (module, set) in tiny.truth["sets"][p].as_object().unwrap() {
        let id = MatrixId::parse(&format!("{module}.weight")).unwrap();
        if id.projection.module() == "mlp" {
            let values = ids(&set["true"]).into_iter().map(|index| (index, 0.0)).collect();
            edits.push(Edit { id, values });
        }
    }
    tiny.decoder.edited(&edits).unwrap()
}

fn greedy_answers_are_pytorchs(models: Vec<Tiny>) {
    for tiny in &models {
        let text = tiny.checkpoint.text().unwrap();
        for row in tiny.truth["generations"].as_array().unwrap() {
            let decoder = variant(tiny, row["variant"].as_str().unwrap());
            let template = if row["mode"] == "raw" { PromptTemplate::None } else { PromptTemplate::Model };
            let message = [Message::user(row["prompt"].as_str().unwrap())];
            let prompt = prompt_ids(text, &template, None, &message).unwrap();
            assert_eq!(prompt, ids(&row["prompt_ids"]), "{} prompt of {}", row["mode"], row["prompt"]);
            let expected = ids(&row["gen_ids"]);
            let found = decoder.continue_greedily(&[&prompt], expected.len(), text.greedy()).unwrap();
            let tie = row["near_tie_positions"].as_array().unwrap().first().and_then(Value::as_u64);
            let until = tie.map_or(expected.len(), |tie| usize::try_from(tie).unwrap());
            assert_eq!(found[0].ids[..until.min(found[0].ids.len())], expected[..until], "{row}");
        }
    }
}

fn perplexities_are_pytorchs(models: Vec<Tiny>) {
    for tiny in &models {
        let file = tiny.shared.join("data/alpaca_cleaned_no_safety_train_1k.csv");
        let rows = texts(&file, &["response"]);
        let corpus: Vec<&str> = rows.iter().take(40).map(|row| row[0].as_str()).collect();
        let tokens = tiny.checkpoint.text().unwrap().encode(&corpus.join("\n\n"), true).unwrap();
        assert_eq!(tokens.len() as u64, tiny.truth["ppl_tokens"].as_u64().unwrap());
        for (name, windows) in tiny.truth["ppl"].as_object().unwrap() {
            let decoder = variant(tiny, name);
            for (window, expected) in windows.as_object().unwrap() {
                let window: usize = window.parse().unwrap();
                let pieces: Vec<&[u32]> = tokens.chunks_exact(window).collect();
                let total: f64 = pieces.iter().map(|ids| decoder.negative_log_likelihood(ids).unwrap()).sum();
                #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
                let found = (total / (pieces.len() * (window - 1)) as f64).exp();
                let expected = expected.as_f64().unwrap();
                assert!((found / expected - 1.0).abs() < 1e-3, "{name}, window {window}: {found} against {expected}");
            }
        }
    }
}
