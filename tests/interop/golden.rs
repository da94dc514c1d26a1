//! A model with the numbers that transformers gave for it: a committed one, or a real one that a variable tells the place of.
//!
//! `golden/golden.json` has token ids, losses, answers and selected sets, with the scores at every cut;
//! `logits.safetensors` and `scores_fairness.safetensors` hold whole tensors. `make.py` writes them. Of a real model they
//! hold the scores of some layers, `layers`, and the logits of the `last` positions; losses, scores and sets are then those of
//! f64, and `rounding` says how far transformers' f32 lies from them. Must not know: how dean's numbers are
//! compared with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use dean::model::decoder::sample::Sample;
use dean::model::{Checkpoint, Decoder};
use dean::tensors::Named;
use serde_json::Value;

/// The folder of all models.
pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/models")
}

/// Models that are not committed, and the variable that names the file of each. The numbers lie beside it.
const REAL: &[(&str, &str)] = &[("gemma-3-270m", "DEAN_GEMMA_3_270M")];

/// What dean opens, and the folder of the numbers.
fn places(name: &str) -> (PathBuf, PathBuf) {
    let Some((_, variable)) = REAL.iter().find(|(real, _)| *real == name) else {
        let model = models().join(name);
        return (model.clone(), model.join("golden"));
    };
    let file = PathBuf::from(std::env::var_os(variable).expect("tests/interop has a script that sets this variable"));
    let golden = file.parent().unwrap().join("golden");
    (file, golden)
}

/// How far the scores of a matrix lie from the exact ones.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// The root of the sum of squares, relative to that of the exact ones.
    pub whole: f64,
    /// Of the score that lies farthest, relative to itself and a hundredth of the largest.
    pub farthest: f64,
}

/// What transformers says of a model.
#[derive(Clone)]
pub struct Golden {
    pub truth: Value,
    /// `logits_N` of the sequence N, [tokens, vocabulary].
    pub logits: BTreeMap<String, Named>,
    /// SNIP scores of the data set fairness by the matrix' name.
    pub scores: BTreeMap<String, Named>,
}

impl Golden {
    pub fn read(name: &str) -> Self {
        let (_, folder) = places(name);
        let tensors = |file: &str| {
            let bytes = dean::files::read(&folder.join(file)).unwrap();
            dean::tensors::read(&bytes).unwrap().into_iter().map(|tensor| (tensor.0.clone(), tensor)).collect()
        };
        let truth = dean::files::read(&folder.join("golden.json")).unwrap();
        Self {
            truth: serde_json::from_slice(&truth).unwrap(),
            logits: tensors("logits.safetensors"),
            scores: tensors("scores_fairness.safetensors"),
        }
    }

    /// Where losses, scores and sets are those of f64: how far transformers' own f32 scores of a matrix lie from them.
    pub fn rounding(&self, tensor: &str) -> Option<Distance> {
        let numbers = self.truth["rounding"]["scores"][tensor].as_array()?;
        Some(Distance { whole: numbers[0].as_f64()?, farthest: numbers[1].as_f64()? })
    }

    /// Where sets are those of f64: how many weights transformers' own f32 scores would select otherwise.
    pub fn differing_in_f32(&self) -> Option<u64> {
        self.truth["rounding"]["sets"][0].as_u64()
    }

    /// Whether the scores of a layer's matrices are here.
    pub fn has_scores_of(&self, layer: usize) -> bool {
        self.truth["layers"].as_array().is_none_or(|layers| layers.contains(&layer.into()))
    }

    /// After how many of a sequence's tokens the logits are here.
    pub fn positions(&self, tokens: usize) -> usize {
        self.truth["last"].as_u64().map_or(tokens, |last| usize::try_from(last).unwrap())
    }

    /// The calibration samples of each data set, as token ids.
    pub fn samples(&self) -> BTreeMap<String, Vec<Sample>> {
        let sample = |(ids_, labels): (&Value, &Value)| {
            let masked = list(labels).iter().filter(|label| label.as_i64() == Some(-100)).count();
            Sample { ids: ids(ids_), response: masked }
        };
        let of = |set: &Value| list(&set["inp"]).iter().zip(list(&set["tar"])).map(sample).collect();
        self.truth["datasets"].as_object().unwrap().iter().map(|(name, set)| (name.clone(), of(set))).collect()
    }
}

/// A model as dean reads it.
pub struct Model {
    pub checkpoint: Checkpoint,
    pub decoder: Decoder,
}

impl Model {
    pub fn open(name: &str) -> Self {
        let checkpoint = Checkpoint::open(&places(name).0).unwrap();
        let decoder = Decoder::load(&checkpoint, &Device::flex(), DType::F32, &mut |_, _| ()).unwrap();
        Self { checkpoint, decoder }
    }
}

pub fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

pub fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// Prints past the test harness: `run` shows these lines.
#[allow(clippy::disallowed_macros, reason = "a test tells how close it was")]
pub fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "interop: {text}");
}
