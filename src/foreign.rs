//! Everything that reads what others wrote, fed with thousands of broken inputs, the same ones at every run: it returns, soon,
//! and holds no more memory than its input warrants.
//!
//! The table [`READERS`] has a line for each reader of bytes. Whole models have several files and are broken in
//! `model/tests.rs`, with the tools of this file. Both together are more than 20,000 inputs. Must not know: how any format is
//! read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dean_testing::Random;
use serde_json::{Value, json};

use crate::allocator::counting::peak;
use crate::config::Pipeline;
use crate::data::{Format, Wanted, read_rows};
use crate::digest::{Digest, Manifest};
use crate::error::Result;
use crate::judge::{Label, Template, Verdict};
use crate::model::Dtype;
use crate::model::patch::{Patch, PatchedTensor};
use crate::rank::{Mask, RankTable, Rule, SelectedPoint, Selection, top};
use crate::report;
use crate::store::{Record, Run};
use crate::tables::{Answer, End, Joined, Outcome, Row, Tokens, VerdictRow};

/// Broken inputs of each reader, and of each file of a model.
pub(crate) const CASES: usize = 800;
/// How long one may take.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);
/// What a reader may hold besides its input, and how often its input.
const LEAST: usize = 8 << 20;
/// The same for Parquet, whose library believes the sizes in a page's header before it has the page.
const LEAST_OF_PARQUET: usize = 512 << 20;
const TIMES: usize = 60;

/// A reader, valid inputs, and how it is called.
struct Reader {
    name: &'static str,
    valid: fn() -> Vec<Vec<u8>>,
    read: fn(&[u8]) -> Result<()>,
}

const READERS: &[Reader] = &[
    Reader { name: "CSV", valid: || vec![CSV.into()], read: |bytes| rows(bytes, "csv", &["a", "b"]) },
    Reader { name: "JSON lines", valid: || vec![JSONL.into()], read: |bytes| rows(bytes, "jsonl", &["a", "b"]) },
    Reader { name: "JSON list", valid: || vec![JSON.into()], read: |bytes| rows(bytes, "json", &["a", "b"]) },
    Reader {
        name: "rows in Parquet",
        valid: || vec![answers()],
        read: |bytes| rows(bytes, "parquet", &["question", "answer"]),
    },
    Reader { name: "pipeline.toml", valid: || vec![include_bytes!("../pipeline.toml").into()], read: pipeline },
    Reader { name: "rule", valid: rules, read: |bytes| Rule::parse(&text(bytes)).map(drop) },
    Reader { name: "judge template", valid: judge_templates, read: |bytes| Template::parse(&text(bytes)).map(drop) },
    Reader {
        name: "rank table",
        valid: || vec![rank_table()],
        read: |bytes| RankTable::from_parquet(bytes.to_vec()).map(drop),
    },
    Reader {
        name: "token ids",
        valid: || vec![tokens()],
        read: |bytes| Tokens::from_parquet(bytes.to_vec()).map(drop),
    },
    Reader { name: "answers", valid: || vec![answers()], read: |bytes| Answer::from_parquet(bytes.to_vec()).map(drop) },
    Reader {
        name: "verdicts",
        valid: || vec![verdicts()],
        read: |bytes| VerdictRow::from_parquet(bytes.to_vec()).map(drop),
    },
    Reader {
        name: "outcomes",
        valid: || vec![outcomes()],
        read: |bytes| Joined::from_parquet(bytes.to_vec()).map(drop),
    },
    Reader {
        name: "masks",
        valid: || vec![selection().masks_parquet().unwrap()],
        read: |bytes| Selection::masks_from_parquet(bytes.to_vec()).map(drop),
    },
    Reader {
        name: "points",
        valid: || vec![selection().points_parquet().unwrap()],
        read: |bytes| Selection::points_from_parquet(bytes.to_vec()).map(drop),
    },
    Reader {
        name: "patch",
        valid: || vec![a_patch()],
        read: |bytes| Patch::from_safetensors(bytes).and_then(|patch| patch.edits().map(drop)),
    },
    Reader { name: "report.json", valid: || vec![REPORT.into()], read: |bytes| report::json::read(bytes).map(drop) },
    Reader { name: "record", valid: || vec![record()], read: json::<Record> },
    Reader { name: "run", valid: || vec![RUN.into()], read: json::<Run> },
];

#[test]
fn whatever_others_wrote_is_survived() {
    for reader in READERS {
        for whole in (reader.valid)() {
            (reader.read)(&whole).unwrap_or_else(|error| panic!("{}: {error}", reader.name));
            let (mut random, mut refused) = (Breaker::new(), 0);
            for case in 0..CASES {
                let broken = broken(&mut random, &whole, case);
                let begun = Instant::now();
                let (outcome, held) = peak(|| (reader.read)(&broken));
                refused += usize::from(outcome.is_err());
                let (name, took) = (reader.name, begun.elapsed());
                assert!(took < LONGEST, "{name}, case {case}: {took:?}; {outcome:?}");
                let least = if whole.starts_with(b"PAR1") { LEAST_OF_PARQUET } else { LEAST };
                let most = least + TIMES * broken.len();
                assert!(held <= most, "{name}, case {case}: {held} bytes were held, {most} are the most; {outcome:?}");
                if let Err(error) = outcome {
                    let fault = error.kind() == crate::error::Kind::Fault;
                    assert!(!fault && !error.message().is_empty(), "{name}, case {case}: {error:?}");
                }
            }
            assert!((1..CASES).contains(&refused), "{}: of {CASES} inputs {refused} were refused", reader.name);
        }
    }
}

/// A valid input, broken: as bytes, or every other time, where it is a JSON document, one of its values.
pub(crate) fn broken(random: &mut Breaker, whole: &[u8], case: usize) -> Vec<u8> {
    match serde_json::from_slice::<Value>(whole) {
        Ok(mut document) if case.is_multiple_of(2) => {
            random.replace(&mut document);
            document.to_string().into_bytes()
        }
        _ => random.mutate(whole.to_vec()),
    }
}

/// Breaks files and documents at random.
pub(crate) struct Breaker(Random);

impl Breaker {
    /// The same breaker at every run.
    pub fn new() -> Self {
        Self(Random(0))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit)
    }

    /// A place, every other time near the beginning, where headers are.
    fn place(&mut self, length: usize) -> usize {
        let within = if self.below(2) == 0 { length.min(600) } else { length };
        self.below(within)
    }

    pub fn mutate(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            let at = self.place(bytes.len());
            let end = (at + 1 + self.below(24)).min(bytes.len());
            match self.below(8) {
                0 | 1 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte = self.0.bits() as u8),
                2 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << self.0.below(8)),
                3 => {
                    let numbers = [u64::MAX, 0, 1 << 63, 1 << 40, u64::from(u32::MAX), 1 << 31, 3];
                    let extreme = numbers[self.below(numbers.len())].to_le_bytes();
                    let width = [1, 2, 4, 8][self.below(4)];
                    bytes.iter_mut().skip(at).zip(&extreme[..width]).for_each(|(byte, extreme)| *byte = *extreme);
                }
                4 => drop(bytes.drain(at..end)),
                5 => {
                    let copy = bytes[at..end].to_vec();
                    let to = self.place(bytes.len());
                    bytes.splice(to..to, copy);
                }
                6 => {
                    let texts: [&[u8]; 8] = [b"9", b"-", b"\"", b"99999999999", b"{", b"null", b"[", b"1e999"];
                    let text = texts[self.below(texts.len())];
                    bytes.splice(at..end.min(at + self.below(2) * 3), text.iter().copied());
                }
                _ if self.below(4) == 0 => bytes.truncate(at),
                _ => {}
            }
            if bytes.is_empty() {
                return bytes;
            }
        }
        bytes
    }

    /// Replaces one value somewhere in a JSON document.
    pub fn replace(&mut self, value: &mut Value) {
        let within = match value {
            Value::Object(map) if !map.is_empty() && self.below(6) > 0 => {
                let at = self.below(map.len());
                map.values_mut().nth(at)
            }
            Value::Array(list) if !list.is_empty() && self.below(6) > 0 => {
                let at = self.below(list.len());
                list.get_mut(at)
            }
            _ => None,
        };
        if let Some(within) = within {
            return self.replace(within);
        }
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let others = [
            json!(null),
            json!(-1),
            json!(0),
            json!(1),
            json!(2),
            json!(1e308),
            json!(u64::MAX),
            json!(1 << 24),
            json!(4096),
            json!(""),
            json!("a".repeat(3000)),
            json!([]),
            json!({}),
            json!(true),
            json!(0.5),
            json!("../x"),
            deep,
        ];
        *value = others[self.below(others.len())].clone();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<()> {
    serde_json::from_slice::<T>(bytes).map(drop).map_err(|cause| crate::error::Error::user(cause.to_string()))
}

fn rows(bytes: &[u8], format: &str, columns: &[&str]) -> Result<()> {
    let wanted: Vec<Wanted> = columns.iter().map(|column| Wanted::any(*column)).collect();
    let format = Format::of(format).expect("a container of this name");
    read_rows(&Bytes::copy_from_slice(bytes), format, &wanted).map(drop)
}

fn pipeline(bytes: &[u8]) -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.toml");
    crate::files::write_atomic(&file, bytes).unwrap();
    crate::config::load(&file, &[], dir.path()).map(|_: Pipeline| ())
}

const CSV: &str = "a,b\r\n1,\"two, \"\"quoted\"\"\nlines\"\r\n3,é\n\"5\",6\n";
const JSON: &str = "{\"rows\": [{\"a\": \"1\", \"b\": \"2\"}, {\"b\": [\"é\"], \"a\": \"\\n\"}]}";
const JSONL: &str = "{\"a\": \"1\", \"b\": \"2\\n\"}\n\n{\"b\": \"é\", \"a\": \"\", \"c\": [1, {\"d\": null}]}\n";
const RUN: &str = r#"{"id": "20260102T030405Z-6543211a2b", "started": "2026-01-02T03:04:05Z", "pipeline": {"a": [1]},
    "command": ["dean", "run"], "nodes": {"score[a]": {"stage": "score", "key": null, "manifest": null}}}"#;
const REPORT: &str = r#"{"schema": 2, "base": "base", "bootstrap": {"draws": 1, "seed": 0}, "variants": [{"variant": "base",
    "name": "base", "mask": null, "weights": 0, "points": [{"p": null, "q": 0.1}], "rule": "a", "calibration": {},
    "outcomes": []}]}"#;

fn rules() -> Vec<Vec<u8>> {
    ["a & (b | c@p) - d@q", "fairness & privacy - general"].map(|rule| rule.into()).into()
}

fn judge_templates() -> Vec<Vec<u8>> {
    ["Q: {question}\nA: {answer}\n", "<s>%s [SEP] %s</s>"].map(|template| template.into()).into()
}

fn rank_table() -> Vec<u8> {
    let scores: Vec<f32> = (0_u8..200).map(|n| f32::from(n % 97) * 0.013).collect();
    let matrices = ["model.layers.0.a.weight", "model.layers.1.a.weight"];
    let matrices = matrices.map(|name| top(name, &scores, 1, 0.3).unwrap()).into();
    RankTable { cap: 0.3, matrices }.to_parquet().unwrap()
}

fn tokens() -> Vec<u8> {
    let mut tokens = Tokens::default();
    (0..30).for_each(|row| tokens.push(row, (0..40).collect(), row).unwrap());
    tokens.to_parquet().unwrap()
}

fn answers() -> Vec<u8> {
    let answer = |row: u32| Answer {
        set: "privacy".into(),
        row,
        question: "Where does she live?\nTell me.".into(),
        prompt_ids: vec![1, 2],
        answer_ids: vec![3; 5],
        answer: "No.".into(),
        thought: row.is_multiple_of(2).then(|| "Hm.".into()),
        stop: End::Eos,
    };
    Answer::to_parquet(&(0..20).map(answer).collect::<Vec<_>>()).unwrap()
}

fn verdicts() -> Vec<u8> {
    let verdict = |row: u32| {
        let category = Some("refusal".to_owned());
        VerdictRow::new(
            "fairness",
            row,
            Verdict {
                label: Label::Safe,
                score: Some(0.25),
                severity: None,
                category,
                refusal: None,
                raw: "No".into(),
            },
        )
    };
    VerdictRow::to_parquet(&(0..20).map(verdict).collect::<Vec<_>>()).unwrap()
}

fn outcomes() -> Vec<u8> {
    let outcome = |row: u32| Joined::new("base", "perplexity", Outcome::new("text", row, "nll", Some(f64::from(row))));
    Joined::to_parquet(&(0..20).map(outcome).collect::<Vec<_>>()).unwrap()
}

fn selection() -> Selection {
    let mask = Mask::new([("model.layers.0.a.weight".to_owned(), vec![1, 5, 9]), ("b".to_owned(), vec![2])]);
    let point = SelectedPoint { p: Some(0.1), q: 0.2, mask: mask.digest, weights: mask.len() };
    Selection { rule: "a - b".into(), masks: vec![mask], points: vec![point] }
}

fn a_patch() -> Vec<u8> {
    let one = |name: &str| PatchedTensor::zeroing(name, Dtype::F32, &[1.0, -2.0, 0.5, 4.0], &[1, 3]).unwrap();
    let tensors = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"].map(one).into();
    Patch { tensors }.to_safetensors().unwrap()
}

fn record() -> Vec<u8> {
    let inputs = [("model".to_owned(), Digest::of(b"m"))].into();
    let manifest = Manifest { stage: "score".into(), version: 1, params: json!({ "cap": 0.1 }), inputs };
    let outputs = json!({ "ranks": { "digest": Digest::of(b"r"), "bytes": 7 } });
    let key = manifest.key();
    json!({ "manifest": manifest, "key": key, "outputs": outputs, "seconds": 1.5, "backend": "cpu", "host": "h", "tool": "dean" })
        .to_string()
        .into_bytes()
}
