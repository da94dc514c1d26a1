//! Published guards against transformers: what they are asked, token by token, and how likely the words of their verdicts are.
//!
//! `guards.py` wrote `guards.json`, with templates that have the form of the guards' own. The models are those of `models/`, with
//! these templates in place of theirs. Must not know: how the numbers were made.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Device};
use dean::choice::Choice;
use dean::error::Result;
use dean::judge::{
    Completer, Completion, Entry, Exchange, Form, Listener, ModelCompleter, Prompt, Template, Wording, candidates,
    prompt_of,
};
use dean::model::{Checkpoint, Decoder};
use serde_json::{Value, json};

use crate::golden::{ids, list, models, say};

/// Probabilities by row.
struct Likely(Vec<Vec<f64>>);

impl Listener<Completion> for Likely {
    fn hear(&mut self, row: usize, said: Completion) -> Result<()> {
        self.0[row] = said.candidate_probabilities;
        Ok(())
    }
}

/// The model with another template, and with the words of the verdict as tokens where the numbers were made so.
fn open(guard: &str, truth: &Value, form: &Form, room: &Path) -> ModelCompleter {
    let from = models().join(truth["model"].as_str().unwrap());
    for path in dean::files::list(&from).unwrap().into_iter().filter(|path| path.is_file()) {
        let mut bytes = dean::files::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "tokenizer.json" && guard == "qwen3guard" {
            let mut tokenizer: Value = serde_json::from_slice(&bytes).unwrap();
            let tokens = tokenizer["added_tokens"].as_array_mut().unwrap();
            tokens.extend(form.candidates.iter().zip(304..).map(|(word, id)| {
                json!({ "id": id, "content": word.text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": false })
            }));
            bytes = serde_json::to_vec(&tokenizer).unwrap();
        }
        if name == "chat_template.jinja" {
            continue;
        }
        dean::files::write_atomic(&room.join(name), &bytes).unwrap();
    }
    if form.wording == Wording::Model {
        let template = truth["template"].as_str().unwrap();
        dean::files::write_atomic(&room.join("chat_template.jinja"), template.as_bytes()).unwrap();
    }
    let checkpoint = Arc::new(Checkpoint::open(room).unwrap());
    let decoder = Decoder::load(&checkpoint, &Device::flex(), DType::F32, &mut |_, _| ()).unwrap();
    ModelCompleter { checkpoint, decoder: Arc::new(decoder), chat_date: String::new() }
}

fn word<'v>(row: &'v Value, key: &str) -> &'v str {
    row[key].as_str().unwrap()
}

#[test]
fn guards_are_asked_and_read_as_in_transformers() {
    let truth: Value = serde_json::from_str(include_str!("guards.json")).unwrap();
    for (guard, truth) in truth.as_object().unwrap() {
        let form = Choice::<Entry>::of(guard).unwrap().form.unwrap();
        let room = tempfile::tempdir().unwrap();
        let completer = open(guard, truth, form, room.path());
        let text = completer.checkpoint.text().unwrap();
        let template = (form.wording == Wording::File)
            .then(|| Template::of(truth["template"].as_str().unwrap(), form.space).unwrap());
        let rows = list(&truth["rows"]);

        // What is asked.
        for row in rows {
            let exchange = Exchange { question: word(row, "question"), answer: word(row, "answer") };
            let asked = prompt_of(text, &form.prompt(template.as_ref(), &exchange), form, Some("")).unwrap();
            assert_eq!(asked.ids, ids(&row["ids"]), "{guard}: {row}");
            assert!(asked.inside.is_none(), "{guard}: no thought is open");
        }
        let first: Vec<u32> = candidates(text, form).unwrap().into_iter().map(Option::unwrap).collect();
        assert_eq!(first, ids(&truth["first"]), "{guard}");

        // How likely the words are. A small model does not write the words before them, so these are put behind the prompt;
        // tests/e2e/judges.rs has models that write them.
        let (prompts, form): (Vec<Prompt>, Form) = if form.after.is_empty() {
            let pair = |row: &Value| Prompt::Pair {
                question: word(row, "question").into(),
                answer: word(row, "answer").into(),
            };
            (rows.iter().map(pair).collect(), *form)
        } else {
            let begun = |row: &Value| Prompt::Raw(format!("{}{}", word(row, "text"), form.after));
            (rows.iter().map(begun).collect(), Form { after: "", max_new_tokens: 8, ..*form })
        };
        let mut likely = Likely(vec![Vec::new(); rows.len()]);
        completer.complete(&prompts, &form, &mut likely).unwrap();
        let mut largest = 0.0_f64;
        for (row, likely) in rows.iter().zip(&likely.0) {
            let expected: Vec<f64> = list(&row["probabilities"]).iter().map(|p| p.as_f64().unwrap()).collect();
            assert_eq!(likely.len(), expected.len(), "{guard}");
            // The words are unlikely, so how far they are apart counts in parts of them.
            for (one, other) in expected.iter().zip(likely) {
                assert!((one - other).abs() < 1e-3 * one, "{guard}: {likely:?} against {expected:?}");
            }
            let apart = (form.score(likely).unwrap() - row["p_unsafe"].as_f64().unwrap()).abs();
            assert!(apart < 1e-4, "{guard}: P(unsafe) is {apart} apart");
            largest = largest.max(apart);
        }
        say(&format!("{guard}: the prompts are equal, P(unsafe) differs by at most {largest:.1e} from transformers"));
    }
}
