//! The hand-written backward against Burn's autodiff, on small random decoders of every shape.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::model::arch::config::DecoderConfig;
use crate::model::arch::families::{self, FAMILIES, Family};
use crate::model::decoder::backward::{Hook, Sample};
use crate::model::decoder::rows;
use crate::model::decoder::{Decoder, Linear};
use crate::model::matrix::{MatrixId, Projection};
use crate::model::ops::Ops;
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
    copy.ops = Ops::Backend;
    copy.embedding = copy.embedding.autodiff().require_grad();
    copy.head = copy.head.autodiff();
    copy.norm = copy.norm.autodiff();
    for layer in &mut copy.layers {
        for part in
            [&mut layer.q, &mut layer.k, &mut layer.v, &mut layer.o, &mut layer.gate, &mut layer.up, &mut layer.down]
        {
            *part = linear(part);
        }
        layer.input_norm = layer.input_norm.clone().autodiff();
        layer.post_norm = layer.post_norm.clone().autodiff();
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

impl Hook for Gradients {
    fn wants(&self, _: MatrixId) -> bool {
        true
    }

    fn take(&mut self, id: MatrixId, dy: &Tensor<2>, x: &Tensor<2>) {
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
    let batch = model.batch(vec![0], 0, inputs);
    let hidden = model.hidden(model.embed(&sample.ids[..inputs]).unwrap(), &batch, None, false);
    let count = sample.labels().len();
    let logits = model.logits(hidden.narrow(0, inputs - count, count));
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

fn check(config: &DecoderConfig, ops: Ops) {
    check_seeded(config, ops, 11);
}

fn check_seeded(config: &DecoderConfig, ops: Ops, seed: u64) {
    let mut decoder = random(config, &Device::flex(), seed);
    decoder.ops = ops;
    let samples = [sample(config, 9, 4, 0), sample(config, 6, 2, 1), sample(config, 12, 11, 2)];
    let mut hook = Gradients { rows: rows::rows(samples.iter().map(Sample::inputs)).collect(), ..Gradients::default() };
    let losses = decoder.losses_and_gradients(&samples, &mut hook).unwrap();
    for (index, sample) in samples.iter().enumerate() {
        let (loss, gradients) = oracle(&decoder, sample);
        assert!((loss - losses[index]).abs() < 1e-5, "loss {loss} against {}", losses[index]);
        for (place, expected) in gradients {
            let found: Vec<f32> = hook.of[&place][index].to_data().iter().collect();
            let largest = expected.iter().fold(0.0_f32, |high, value| high.max(value.abs()));
            for (a, b) in found.iter().zip(&expected) {
                assert!(
                    (a - b).abs() <= 2e-4 * b.abs() + 2e-5 * largest,
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
        check(config, Ops::Host);
        check(config, Ops::Backend);
    }
}

/// A decoder of a family, with those of the settings that the family has.
fn of_family(family: &Family, settings: &[(&str, Value)]) -> DecoderConfig {
    let read = |map: &Map<String, Value>| families::from_config(Path::new("config.json"), map);
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
            check_seeded(&config, Ops::Host, seed);
            check_seeded(&config, Ops::Backend, seed);
        }
    }
}

#[test]
fn reading_with_a_cache_is_reading_without_one() {
    let config = small().with_window(5);
    let decoder = random(&config, &Device::flex(), 3);
    let prompts: Vec<Vec<u32>> = vec![vec![1, 2, 3], vec![4, 5, 6, 7, 8, 9], vec![10]];
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let together = decoder.continue_greedily(&views, 8, &[], &mut |_| Ok(())).unwrap();
    for (prompt, answer) in prompts.iter().zip(&together) {
        let mut ids = prompt.clone();
        for _ in 0..8 {
            let batch = decoder.batch(vec![0], 0, ids.len());
            let hidden = decoder.hidden(decoder.embed(&ids).unwrap(), &batch, None, true);
            ids.extend(decoder.ops.argmax(decoder.logits(hidden)));
        }
        assert_eq!(answer.ids, ids[prompt.len()..], "greedy answers do not depend on padding or cache");
    }
}

#[test]
fn sequences_end_at_a_stop_token_or_at_the_end_of_the_context() {
    let config = DecoderConfig { context: 12, ..small() };
    let decoder = random(&config, &Device::flex(), 3);
    let free = decoder.continue_greedily(&[&[1, 2, 3]], 64, &[], &mut |_| Ok(())).unwrap();
    assert_eq!(free[0].ids.len(), 9, "the context has room for nine more");
    assert_eq!(free[0].stop, crate::model::decoder::generate::Stop::Length);
    let stop = free[0].ids[2];
    let first = free[0].ids.iter().position(|id| *id == stop).unwrap();
    let ended = decoder.continue_greedily(&[&[1, 2, 3]], 64, &[stop], &mut |_| Ok(())).unwrap();
    assert_eq!(ended[0].ids, free[0].ids[..=first], "the stop id is kept");
    assert_eq!(ended[0].stop, crate::model::decoder::generate::Stop::Eos);
    assert!(decoder.continue_greedily(&[&[1; 12]], 1, &[], &mut |_| Ok(())).is_err());
    assert!(decoder.continue_greedily(&[&[]], 1, &[], &mut |_| Ok(())).is_err());
    assert!(decoder.continue_greedily(&[&[999]], 1, &[], &mut |_| Ok(())).is_err());
}

#[test]
fn an_edit_changes_one_weight_of_one_model() {
    let decoder = random(&small(), &Device::flex(), 5);
    let edit = crate::model::decoder::Edit { id: MatrixId::new(1, Projection::Down), values: vec![(7, 0.0)] };
    let edited = decoder.edited(&[edit]).unwrap();
    let read = |decoder: &Decoder| -> Vec<f32> { decoder.layers[1].down.weight.to_data().iter().collect() };
    let (before, after) = (read(&decoder), read(&edited));
    assert!(before[7] != 0.0 && after[7] == 0.0);
    assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 1);
    assert!(
        decoder
            .edited(&[crate::model::decoder::Edit { id: MatrixId::new(9, Projection::Up), values: vec![] }])
            .is_err()
    );
}

#[test]
fn long_texts_are_read_in_blocks_that_change_nothing() {
    let config = DecoderConfig { context: 1024, ..small() }.with_window(100);
    for config in [config.clone(), config.with_blocks(|block| block.window = None)] {
        let decoder = random(&config, &Device::flex(), 9);
        let long = sample(&config, 601, 1, 4);
        let whole = decoder.negative_log_likelihood(&long.ids).unwrap();
        let cached = {
            let mut total = 0.0;
            let mut cache =
                crate::model::decoder::cache::LayerCache::for_model(&config, 1, 601, &decoder.device, decoder.dtype);
            for slot in 0..600 {
                let batch = decoder.batch(vec![0], slot, 1);
                let ids = &long.ids[slot..=slot];
                let hidden = decoder.hidden(decoder.embed(ids).unwrap(), &batch, Some(&mut cache), false);
                total += decoder.ops.negative_log_likelihood(decoder.logits(hidden), &[long.ids[slot + 1]])[0];
            }
            total
        };
        assert!((whole - cached).abs() < 1e-3 * whole, "in blocks {whole}, token by token {cached}");
    }
}
