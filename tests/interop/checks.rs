//! dean's numbers of a model against transformers': each check says what differs first, so that a test can also see that a
//! changed golden is noticed.
//!
//! Must not know: which models there are.

use std::collections::{BTreeMap, BTreeSet};

use dean::choice::Choice;
use dean::model::decoder::generate::Stop;
use dean::model::decoder::sample::Sample;
use dean::model::decoder::tap::Closed;
use dean::model::matrix::MatrixId;
use dean::model::text::prompt_template::{PromptTemplate, prompt_ids};
use dean::model::{Decoder, Message};
use dean::rank::{Point, RankTable, Rule, select, top};
use dean::score;
use serde_json::Value;

use super::golden::{Distance, Golden, Model, ids, list};

pub type Check = Result<f64, String>;

/// Relative to each number. What is added below is a part of the largest number beside it, since sums that nearly cancel
/// keep no relative exactness in f32.
const RELATIVE: f64 = 1e-4;
const OF_LARGEST_SCORE: f64 = 1e-6;
/// A golden whose f32 lies farther than this from f64 is of something else.
const FARTHEST_ROUNDING: Distance = Distance { whole: 1e-3, farthest: 2e-2 };
/// Computed in f64, the logits of these models lie up to 1.6e-6 of the largest from transformers' and as far from dean's.
const OF_LARGEST_LOGIT: f64 = 5e-6;

fn tolerance(expected: f64, largest: f64, of_largest: f64) -> f64 {
    RELATIVE * expected.abs() + of_largest * largest
}

/// The largest share of the tolerance that a difference takes, or what lies outside it.
fn compare(what: &str, found: &[f32], expected: &[f32], of_largest: f64) -> Check {
    if found.len() != expected.len() {
        return Err(format!("{what}: {} values against {}", found.len(), expected.len()));
    }
    let largest = expected.iter().fold(0.0, |largest, value| f64::max(largest, f64::from(value.abs())));
    let mut worst = 0.0;
    for (at, (a, b)) in found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b))).enumerate() {
        let share = (a - b).abs() / tolerance(b, largest, of_largest);
        if share.is_nan() || share > 1.0 {
            return Err(format!("{what}, value {at}: {a:e} against {b:e}, with {largest:e} the largest"));
        }
        worst = f64::max(worst, share);
    }
    Ok(worst)
}

/// Of scores in f64: how far these lie, as a share of how far transformers' own f32 scores lie, or that they lie farther.
fn nearer(what: &str, found: &[f32], exact: &[f32], theirs: Distance) -> Check {
    if found.len() != exact.len() {
        return Err(format!("{what}: {} values against {}", found.len(), exact.len()));
    }
    let largest = f64::from(exact.iter().copied().fold(0.0, f32::max));
    let (mut apart, mut whole, mut farthest) = (0.0, 0.0, 0.0);
    for (a, b) in found.iter().zip(exact).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
        apart += (a - b) * (a - b);
        whole += b * b;
        // written so that a NaN is the farthest
        let far = (a - b).abs() / of_itself_and_largest(b, largest);
        farthest = if far <= farthest { farthest } else { far };
    }
    let found = Distance { whole: (apart / whole).sqrt(), farthest };
    let within = |found: Distance, limit: Distance| found.whole <= limit.whole && found.farthest <= limit.farthest;
    if !within(theirs, FARTHEST_ROUNDING) {
        return Err(format!("{what}: transformers' f32 lies {theirs:?} from f64"));
    }
    if !within(found, theirs) {
        return Err(format!("{what}: {found:?} from f64, and transformers' f32 {theirs:?}"));
    }
    Ok(f64::max(found.whole / theirs.whole, found.farthest / theirs.farthest))
}

/// What [`Distance::farthest`] is relative to.
fn of_itself_and_largest(score: f64, largest: f64) -> f64 {
    score + largest / 100.0
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} against {expected:?}")) }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn prompt(model: &Model, row: &Value) -> Vec<u32> {
    let template = if row["mode"] == "raw" { PromptTemplate::None } else { PromptTemplate::Model };
    let message = [Message::user(text_of(&row["prompt"]))];
    prompt_ids(model.checkpoint.text().unwrap(), &template, None, &message).unwrap()
}

/// Token ids of plain texts, of calibration rows, and of prompts with and without the chat template.
pub fn tokens(model: &Model, golden: &Golden) -> Check {
    let text = model.checkpoint.text().unwrap();
    for case in list(&golden.truth["tokenizer"]) {
        let case_text = text_of(&case["text"]);
        equal(&format!("ids of {case_text:?}"), &text.encode(case_text, true).unwrap(), &ids(&case["ids"]))?;
    }
    for (name, set) in golden.truth["datasets"].as_object().unwrap() {
        let rows = list(&set["prompt"]).iter().zip(list(&set["response"]));
        for ((before, after), expected) in rows.zip(&golden.samples()[name]) {
            let mut ids = text.encode(text_of(before), true).unwrap();
            let response = ids.len();
            ids.extend(text.encode(text_of(after), false).unwrap());
            equal(&format!("sample of {name}"), &Sample { ids, response }, expected)?;
        }
    }
    for row in list(&golden.truth["generations"]) {
        equal(&format!("{} prompt {}", row["mode"], row["prompt"]), &prompt(model, row), &ids(&row["prompt_ids"]))?;
    }
    Ok(0.0)
}

/// Logits after the tokens of a sequence, all or those that the golden has, and after the last one where sequences share a
/// batch.
pub fn logits(model: &Model, golden: &Golden) -> Check {
    let sequences: Vec<Vec<u32>> = list(&golden.truth["sequences"]).iter().map(ids).collect();
    let mut worst = 0.0;
    let mut last = Vec::new();
    for (at, ids) in sequences.iter().enumerate() {
        let (_, shape, expected) = &golden.logits[&format!("logits_{at}")];
        equal("shape of the logits", shape, &vec![golden.positions(ids.len()), model.decoder.config.vocab_size])?;
        let found = all_logits(&model.decoder, ids);
        let found = &found[found.len() - expected.len()..];
        worst = f64::max(worst, compare(&format!("logits of sequence {at}"), found, expected, OF_LARGEST_LOGIT)?);
        last.push(&expected[expected.len() - shape[1]..]);
    }
    let prompts: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let (batch, x) = model.decoder.read(&prompts).unwrap();
    for (at, (sequence, expected)) in batch.rows.sequences.iter().zip(last).enumerate() {
        let row = model.decoder.logits(x.clone().narrow(0, sequence.rows.end - 1, 1));
        let found: Vec<f32> = row.into_data().iter::<f32>().collect();
        let what = format!("last logits of sequence {at} in a batch");
        worst = f64::max(worst, compare(&what, &found, expected, OF_LARGEST_LOGIT)?);
    }
    Ok(worst)
}

/// The logits after each token of a sequence.
pub fn all_logits(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let (batch, x) = decoder.read(&[ids]).unwrap();
    decoder.logits(batch.rows.without_rest(&x)).into_data().iter::<f32>().collect()
}

/// dean's SNIP scores: data set, then matrix.
pub type Scores = BTreeMap<String, BTreeMap<String, Vec<f32>>>;

/// The scores over the golden's samples of every MLP and attention matrix, in all layers or in those that it has.
pub fn score(model: &Model, golden: &Golden) -> Scores {
    let of = |samples: &Vec<Sample>| {
        let mut scorer = Choice::<dyn score::Method>::of("snip")
            .unwrap()
            .start(&model.decoder, &|id: MatrixId| golden.has_scores_of(id.layer))
            .unwrap();
        for sample in samples {
            scorer.add(&model.decoder, std::slice::from_ref(sample)).unwrap();
        }
        let finish = |id: MatrixId| (id.weight(), scorer.finish(&model.decoder, id).unwrap());
        scorer.matrices().into_iter().map(finish).collect()
    };
    golden.samples().iter().map(|(name, samples)| (name.clone(), of(samples))).collect()
}

/// Losses of every sample, sums of the scores of every set and matrix, and every single score of one set.
pub fn losses_and_scores(model: &Model, golden: &Golden, scores: &Scores) -> Check {
    let close = |what: &str, found: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        let share = (found - expected).abs() / (RELATIVE * expected.abs());
        if share <= 1.0 { Ok(share) } else { Err(format!("{what}: {found:e} against {expected:e}")) }
    };
    let mut worst = 0.0;
    for (name, samples) in golden.samples() {
        let set = &golden.truth["datasets"][&name];
        for (at, (sample, expected)) in samples.iter().zip(list(&set["losses"])).enumerate() {
            let one = std::slice::from_ref(sample);
            let loss = model.decoder.losses_and_gradients(one, &mut Closed).unwrap()[0];
            worst = f64::max(worst, close(&format!("loss of sample {at} of {name}"), loss, expected)?);
        }
        let sums = set["score_sum"].as_object().unwrap();
        equal("scored matrices", &scores[&name].keys().collect(), &sums.keys().collect::<BTreeSet<_>>())?;
        for (tensor, expected) in sums {
            let found: f64 = scores[&name][tensor].iter().map(|score| f64::from(*score)).sum();
            worst = f64::max(worst, close(&format!("sum of the scores of {tensor} for {name}"), found, expected)?);
        }
    }
    equal("matrices", &golden.scores.keys().collect(), &scores["fairness"].keys().collect::<BTreeSet<_>>())?;
    for (tensor, (_, _, expected)) in &golden.scores {
        let (what, found) = (format!("scores of {tensor}"), &scores["fairness"][tensor]);
        let share = match golden.rounding(tensor) {
            Some(theirs) => nearer(&what, found, expected, theirs),
            None => compare(&what, found, expected, OF_LARGEST_SCORE),
        };
        worst = f64::max(worst, share?);
    }
    Ok(worst)
}

/// The sets that both rules select. Returns how many weights differ, all of which lie at a cut that is narrower than
/// what scores may differ by.
pub fn sets(model: &Model, golden: &Golden, scores: &Scores) -> Check {
    let cap = 0.1;
    let rank = |(tensor, scores): (&String, &Vec<f32>)| {
        let id = MatrixId::parse(tensor).unwrap();
        top(tensor, scores, model.decoder.linear(id).weight.dims()[1], cap).unwrap()
    };
    let tables: BTreeMap<String, RankTable> = scores
        .iter()
        .map(|(name, matrices)| (name.clone(), RankTable { cap, matrices: matrices.iter().map(rank).collect() }))
        .collect();
    let mut differing = 0_u32;
    for point in list(&golden.truth["selections"]) {
        let (p, q) = (point["p"].as_f64().unwrap(), point["q"].as_f64().unwrap());
        for (key, rule) in [("true", "fairness & privacy - general"), ("ref", "released-code")] {
            let rule = Rule::parse(rule).unwrap();
            let selection = select(&rule, &[Point { p: Some(p), q }], &tables, &|_| true).unwrap();
            let mask = selection.mask(&selection.points[0].mask).unwrap();
            let found: BTreeMap<&str, &Vec<u32>> =
                mask.tensors.iter().map(|(name, set)| (name.as_str(), set)).collect();
            let expected = point["sets"].as_object().unwrap();
            equal("matrices of the sets", &expected.len(), &scores["fairness"].len())?;
            for (tensor, expected) in expected {
                let found: BTreeSet<u32> = found.get(tensor.as_str()).into_iter().copied().flatten().copied().collect();
                let expected: BTreeSet<u32> = ids(&expected[key]).into_iter().collect();
                for index in found.symmetric_difference(&expected) {
                    let cuts = &point["cuts"][tensor];
                    // the released code pairs positions, so that one weight more or less moves all that follow it
                    let at = (key == "true").then_some(*index);
                    if !at_a_narrow_cut(scores, tensor, (cuts, golden.rounding(tensor)), at) {
                        return Err(format!(
                            "{rule} at p {p}, q {q}: weight {index} of {tensor}, which is no near-tie"
                        ));
                    }
                    differing += 1;
                }
            }
        }
    }
    match golden.differing_in_f32() {
        Some(theirs) if u64::from(differing) > theirs => {
            Err(format!("{differing} weights differ from the sets of f64, and {theirs} in transformers' f32"))
        }
        _ => Ok(f64::from(differing)),
    }
}

/// Whether some set's cut is so narrow that the numbers need not agree about which side of it a weight, or any, is on.
fn at_a_narrow_cut(
    scores: &Scores,
    tensor: &str,
    (cuts, rounding): (&Value, Option<Distance>),
    index: Option<u32>,
) -> bool {
    cuts.as_object().unwrap().iter().any(|(data, cut)| {
        let Some(cut) = cut.as_array() else { return false };
        let (kth, next) = (cut[0].as_f64().unwrap(), cut[1].as_f64().unwrap());
        let scores = &scores[data][tensor];
        let largest = f64::from(scores.iter().copied().fold(0.0, f32::max));
        let slack = 2.0
            * match rounding {
                Some(theirs) => theirs.farthest * of_itself_and_largest(kth, largest),
                None => tolerance(kth, largest, OF_LARGEST_SCORE),
            };
        let near = |index: u32| (f64::from(scores[index as usize]) - kth).abs() <= slack;
        kth - next <= slack && index.is_none_or(near)
    })
}

/// Greedy answers, all prompts together; up to where two tokens were nearly as likely.
pub fn answers(model: &Model, golden: &Golden) -> Check {
    let rows = list(&golden.truth["generations"]);
    let text = model.checkpoint.text().unwrap();
    let prompts: Vec<Vec<u32>> = rows.iter().map(|row| ids(&row["prompt_ids"])).collect();
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let most = rows.iter().map(|row| list(&row["gen_ids"]).len()).max().unwrap();
    let found = model.decoder.continue_greedily(&views, most, text.greedy()).unwrap();
    for (row, found) in rows.iter().zip(found) {
        let what = format!("{} answer to {}", row["mode"], row["prompt"]);
        let expected = ids(&row["gen_ids"]);
        let tie = list(&row["near_tie_positions"]).first().and_then(Value::as_u64);
        if let Some(tie) = tie.filter(|_| found.ids != expected) {
            let until = usize::try_from(tie).unwrap();
            equal(&what, &found.ids.get(..until), &expected.get(..until))?;
            continue;
        }
        equal(&what, &found.ids, &expected)?;
        equal(&format!("end of the {what}"), &(found.stop == Stop::Eos), &row["stopped"].as_bool().unwrap())?;
        equal(
            &format!("text of the {what}"),
            &text.decode(&found.ids, true).unwrap().as_str(),
            &text_of(&row["text"]),
        )?;
    }
    Ok(0.0)
}
