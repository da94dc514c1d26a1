//! The hand-written backward against Burn's autodiff, on small random decoders of every shape.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::model::arch::config::DecoderConfig;
use crate::model::arch::families::{self, FAMILIES, Family};
use crate::model::decoder::generate::Stop;
use crate::model::decoder::sample::Sample;
use crate::model::decoder::tap::{SITES, Tap};
use crate::model::decoder::{Decoder, Linear};
use crate::model::greedy::Greedy;
use crate::model::matrix::{MatrixId, Projection};
use crate::model::ops::rows::Rows;
use crate::model::ops::{Host, Ops, Plain};
use crate::model::testing::{kinds, random, sample, small};

/// The same decoder on another device, with the operations of any device.
fn tracked(decoder: &Decoder) -> Decoder {
    let device = Device::flex().autodiff();
    let linear = |linear: &Linear| Linear {
        weight: linear.weight.clone().autodiff().require_grad(),
        bias: linear.bias.clone().map(Tensor::autodiff),
    };
    let mut copy = decoder.clone();
    copy.device = device;
    copy.ops = &Plain;
    copy.embedding = copy.embedding.autodiff().require_grad();
    copy.head = copy.head.autodiff();
    copy.final_norm = copy.final_norm.autodiff();
    for layer in &mut copy.layers {
        for part in
            [&mut layer.q, &mut layer.k, &mut layer.v, &mut layer.o, &mut layer.gate, &mut layer.up, &mut layer.down]
        {
            *part = linear(part);
        }
        layer.before_attention = layer.before_attention.clone().autodiff();
        layer.after_attention = layer.after_attention.clone().map(Tensor::autodiff);
        layer.before_mlp = layer.before_mlp.clone().autodiff();
        layer.after_mlp = layer.after_mlp.clone().map(Tensor::autodiff);
        layer.qk_norm = layer.qk_norm.clone().map(|(q, k)| (q.autodiff(), k.autodiff()));
    }
    copy
}

/// Builds dyᵀx of each sample, as a plain program would.
#[derive(Default)]
struct Gradients {
    rows: Vec<Range<usize>>,
    of: BTreeMap<MatrixId, Vec<Tensor<2>>>,
}

impl Tap for Gradients {
    fn wants(&self, _: MatrixId) -> bool {
        true
    }

    fn gradient(&mut self, id: MatrixId, dy: &Tensor<2>, x: &Tensor<2>) {
        for rows in &self.rows {
            let dy = dy.clone().narrow(0, rows.start, rows.len());
            let x = x.clone().narrow(0, rows.start, rows.len());
            self.of.entry(id).or_default().push(dy.transpose().matmul(x));
        }
    }
}

/// Loss and gradients of one sample by autodiff.
fn oracle(decoder: &Decoder, sample: &Sample) -> (f64, BTreeMap<MatrixId, Vec<f32>>) {
    let model = tracked(decoder);
    let inputs = sample.inputs();
    let (_, x) = model.read(&[&sample.ids[..inputs]]).unwrap();
    let count = sample.labels().len();
    let logits = model.logits(x.narrow(0, inputs - count, count));
    let log_p = burn::tensor::activation::log_softmax(logits, 1);
    let labels: Vec<i64> = sample.labels().iter().map(|label| i64::from(*label)).collect();
    let labels =
        Tensor::<2, burn::tensor::Int>::from_data(burn::tensor::TensorData::new(labels, [count, 1]), &model.device);
    let loss = log_p.gather(1, labels).mean().neg();
    let value = f64::from(loss.clone().into_scalar::<f32>());
    let gradients = loss.backward();
    let mut of = BTreeMap::new();
    for (index, layer) in model.layers.iter().enumerate() {
        for projection in Projection::ALL {
            let gradient = layer.linear(projection).weight.grad(&gradients).expect("a tracked weight");
            of.insert(MatrixId::new(index, projection), gradient.to_data().iter().collect());
        }
    }
    (value, of)
}

fn check(config: &DecoderConfig, ops: &'static dyn Ops) {
    check_seeded(config, ops, 11);
}

fn check_seeded(config: &DecoderConfig, ops: &'static dyn Ops, seed: u64) {
    let mut decoder = random(config, &Device::flex(), seed);
    decoder.ops = ops;
    let samples = [sample(config, 9, 4, 0), sample(config, 6, 2, 1), sample(config, 12, 11, 2)];
    let mut hook = Gradients { rows: rows_of(&samples), ..Gradients::default() };
    let losses = decoder.losses_and_gradients(&samples, &mut hook).unwrap();
    for (index, sample) in samples.iter().enumerate() {
        let (loss, gradients) = oracle(&decoder, sample);
        assert!((loss - losses[index]).abs() < 1e-5, "loss {loss} against {}", losses[index]);
        for (place, expected) in gradients {
            let found: Vec<f32> = hook.of[&place][index].to_data().iter().collect();
            let largest = expected.iter().fold(0.0_f32, |high, value| high.max(value.abs()));
            for (a, b) in found.iter().zip(&expected) {
                // Random models have attention that hardly attends: gradients are then differences of numbers that are alike,
                // and their errors are as large as those of the numbers.
                assert!(
                    (a - b).abs() <= 2e-4 * b.abs() + 1e-4 * largest,
                    "{place:?} of sample {index}: {a} against {b}"
                );
            }
            assert!(largest > 0.0, "{place:?} has a gradient");
        }
    }
}

#[test]
fn gradients_are_those_of_autodiff_for_every_kind_of_decoder() {
    for config in &kinds() {
        check(config, &Host);
        check(config, &Plain);
    }
}

/// A decoder of a family, with those of the settings that the family has.
fn of_family(family: &Family, settings: &[(&str, Value)]) -> DecoderConfig {
    let read = |map: &Map<String, Value>| families::from_config(Path::new("config.json"), map, &mut Vec::new());
    let mut map = Map::new();
    let always = [
        ("model_type", json!(family.name)),
        ("vocab_size", json!(32)),
        ("hidden_size", json!(16)),
        ("intermediate_size", json!(24)),
        ("num_hidden_layers", json!(2)),
        ("num_attention_heads", json!(4)),
        ("max_position_embeddings", json!(64)),
    ];
    map.extend(always.map(|(key, value)| (key.to_owned(), value)));
    for (key, value) in settings {
        let before = map.insert((*key).to_owned(), value.clone());
        if read(&map).is_err() {
            map.remove(*key);
            map.extend(before.map(|value| ((*key).to_owned(), value)));
        }
    }
    read(&map).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn gradients_of_random_models_of_every_family_are_those_of_autodiff(
        kv_heads in prop::sample::select(vec![1, 2, 4]),
        head_dim in prop::sample::select(vec![4, 8]),
        window in prop::option::of(2..7_u64),
        scaling in prop::sample::select(vec![
            json!(null),
            json!({"rope_type": "linear", "factor": 3.0}),
            json!({"rope_type": "dynamic", "factor": 2.0}),
            json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 1.5}),
            json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 16}),
        ]),
        flags in prop::array::uniform4(any::<bool>()),
        theta in 100.0..1e6_f64,
        seed in 0..1000_u64,
    ) {
        let [attention_bias, mlp_bias, tied, windowed] = flags;
        let settings = [
            ("num_key_value_heads", json!(kv_heads)),
            ("head_dim", json!(head_dim)),
            ("attention_bias", json!(attention_bias)),
            ("mlp_bias", json!(mlp_bias)),
            ("tie_word_embeddings", json!(tied)),
            ("rope_theta", json!(theta)),
            ("rope_scaling", scaling),
            ("max_window_layers", json!(0)),
            ("use_sliding_window", json!(windowed)),
            ("sliding_window", json!(window)),
        ];
        for family in FAMILIES {
            let config = of_family(family, &settings);
            prop_assert_eq!((config.kv_heads, config.tied_head), (kv_heads, tied));
            check_seeded(&config, &Host, seed);
            check_seeded(&config, &Plain, seed);
        }
    }
}

/// The rows of each sample of a batch.
fn rows_of(samples: &[Sample]) -> Vec<Range<usize>> {
    Rows::whole(samples.iter().map(Sample::inputs), 0).sequences.into_iter().map(|sequence| sequence.rows).collect()
}

#[test]
fn reading_with_a_cache_is_reading_without_one() {
    for config in kinds() {
        for ops in [&Host as &'static dyn Ops, &Plain] {
            let mut decoder = random(&config, &Device::flex(), 3);
            decoder.ops = ops;
            let prompts: Vec<Vec<u32>> = vec![vec![1, 2, 3], vec![4, 5, 6, 7, 8, 9], vec![10]];
            let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
            let together = decoder.continue_greedily(&views, 8, &Greedy::default()).unwrap();
            for (prompt, answer) in prompts.iter().zip(&together) {
                let mut ids = prompt.clone();
                for _ in 0..8 {
                    let (batch, x) = decoder.read(&[&ids]).unwrap();
                    let last = x.narrow(0, batch.rows.used() - 1, 1);
                    ids.extend(decoder.ops.argmax(decoder.logits(last)));
                }
                assert_eq!(answer.ids, ids[prompt.len()..], "{ops:?}, {config:?}");
            }
        }
    }
}

#[test]
fn sequences_end_at_a_stop_token_or_at_the_end_of_the_context() {
    let config = DecoderConfig { context: 12, ..small() };
    let decoder = random(&config, &Device::flex(), 3);
    let free = decoder.continue_greedily(&[&[1, 2, 3]], 64, &Greedy::default()).unwrap();
    assert_eq!(free[0].ids.len(), 9, "the context has room for nine more");
    assert_eq!(free[0].stop, Stop::Length);
    let stop = free[0].ids[2];
    let first = free[0].ids.iter().position(|id| *id == stop).unwrap();
    let ended = decoder.continue_greedily(&[&[1, 2, 3]], 64, &Greedy::until(&[stop])).unwrap();
    assert_eq!(ended[0].ids, free[0].ids[..=first], "the stop id is kept");
    assert_eq!(ended[0].stop, Stop::Eos);
    for bad in [&[1; 12][..], &[], &[999]] {
        assert!(decoder.continue_greedily(&[bad], 1, &Greedy::default()).is_err());
    }
}

#[test]
fn long_texts_are_read_in_blocks_that_change_nothing() {
    let config = DecoderConfig { context: 1024, ..small() }.with_window(100);
    for config in [config.clone(), config.with_blocks(|block| block.window = None)] {
        let mut decoder = random(&config, &Device::flex(), 9);
        let long = sample(&config, 601, 1, 4);
        let whole = decoder.negative_log_likelihood(&long.ids).unwrap();
        decoder.ops = &Plain;
        let plain = decoder.negative_log_likelihood(&long.ids).unwrap();
        decoder.ops = &Host;
        // Token by token: every prefix is read anew, and its last row counts.
        let step_by_step: f64 = (1..long.ids.len())
            .step_by(50)
            .map(|end| {
                let (_, x) = decoder.read(&[&long.ids[..end]]).unwrap();
                let logits = decoder.logits(x.narrow(0, end - 1, 1));
                decoder.ops.negative_log_likelihood(logits, &long.ids[end..=end])[0]
            })
            .sum();
        let (_, x) = decoder.read(&[&long.ids[..600]]).unwrap();
        let at_once: f64 = (1..long.ids.len())
            .step_by(50)
            .map(|end| {
                let logits = decoder.logits(x.clone().narrow(0, end - 1, 1));
                decoder.ops.negative_log_likelihood(logits, &long.ids[end..=end])[0]
            })
            .sum();
        assert!((whole - plain).abs() < 1e-4 * whole, "{whole} against {plain}");
        assert!((step_by_step - at_once).abs() < 1e-4 * at_once, "{step_by_step} against {at_once}");
    }
}

type Inputs = BTreeMap<MatrixId, Vec<f32>>;

/// Keeps x of everything that a pass shows; wants what lies at or before a place.
struct Shown {
    until: MatrixId,
    seen: Inputs,
}

impl Tap for Shown {
    fn wants(&self, id: MatrixId) -> bool {
        id <= self.until
    }

    fn input(&mut self, layer: usize, site: &'static [Projection], x: &Tensor<2>) {
        for projection in site {
            self.seen.insert(MatrixId::new(layer, *projection), x.to_data().iter().collect());
        }
    }

    fn gradient(&mut self, id: MatrixId, _: &Tensor<2>, x: &Tensor<2>) {
        let x = x.clone().narrow(0, 0, 7);
        self.seen.insert(id, x.to_data().iter().collect());
    }
}

#[test]
fn a_walk_sees_the_inputs_of_the_scoring_pass_and_ends_where_nothing_is_wanted() {
    for config in kinds() {
        let decoder = random(&config, &Device::flex(), 4);
        let sample = Sample { ids: vec![3, 1, 4, 1, 5, 9, 2, 6], response: 3 };
        assert_eq!(sample.inputs(), 7);
        let last = MatrixId::new(config.layers() - 1, Projection::Down);
        let mut oracle = Shown { until: last, seen: Inputs::new() };
        decoder.losses_and_gradients(std::slice::from_ref(&sample), &mut oracle).unwrap();
        assert_eq!(oracle.seen.len(), 7 * config.layers());
        for until in
            [last, MatrixId::new(0, Projection::Up), MatrixId::new(0, Projection::O), MatrixId::new(0, Projection::Q)]
        {
            let mut found = Shown { until, seen: Inputs::new() };
            decoder.visit_inputs(&sample.ids[..sample.inputs()], &mut found).unwrap();
            // Whoever shares the input of the last wanted matrix is told as well.
            let site = SITES.into_iter().find(|site| site.contains(&until.projection)).unwrap();
            let reach = MatrixId::new(until.layer, *site.last().unwrap());
            assert!(found.seen.keys().eq(oracle.seen.keys().filter(|place| **place <= reach)), "{until:?}");
            for (place, x) in &found.seen {
                let expected = &oracle.seen[place];
                assert_eq!(x.len(), expected.len());
                let near = x.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()));
                assert!(near, "{place:?}");
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_a_sentence() {
    let decoder = random(&small(), &Device::flex(), 4);
    let mut tap = Shown { until: MatrixId::new(9, Projection::Down), seen: Inputs::new() };
    assert!(decoder.visit_inputs(&[], &mut tap).is_err());
    assert!(decoder.visit_inputs(&[1, 9_999], &mut tap).is_err());
}
