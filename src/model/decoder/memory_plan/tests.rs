//! The estimates against numbers that were counted by hand, and docs/scaling.md against the estimates.
//!
//! Must not know: how the estimates are made.

use super::*;
use crate::model::testing::small;

const MLP: [Projection; 3] = [Projection::Gate, Projection::Up, Projection::Down];

fn smollm2() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 49152,
        hidden_size: 576,
        intermediate_size: 1536,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        context: 8192,
        ..small().with_layers(30)
    }
}

fn qwen2_7b() -> DecoderConfig {
    DecoderConfig {
        family: "qwen2".into(),
        vocab_size: 152_064,
        hidden_size: 3584,
        intermediate_size: 18944,
        heads: 28,
        kv_heads: 4,
        head_dim: 128,
        context: 32768,
        qkv_bias: true,
        tied_head: false,
        ..small().with_layers(28)
    }
}

fn every(config: &DecoderConfig, parts: &[Projection]) -> Vec<MatrixId> {
    (0..config.layers()).flat_map(|layer| parts.iter().map(move |part| MatrixId::new(layer, *part))).collect()
}

fn giga(value: f64) -> f64 {
    (value / 1e7).round() / 100.0
}

#[test]
fn one_sample_of_smollm2_costs_what_a_hand_counts() {
    let config = smollm2();
    let length = [Length { inputs: 150, labels: 150 }];
    let mlp = estimate(&config, &every(&config, &MLP), &length, &Setup::CPU);
    // A layer has 2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576 = 3,538,944 weights; 2,654,208 are of the MLP.
    assert_eq!(mlp.flops.forward, 2.0 * 150.0 * 30.0 * 3_538_944.0);
    assert_eq!(mlp.flops.gradients, 2.0 * 150.0 * 30.0 * 2_654_208.0);
    // 29 layers in full, and of the lowest one only down's: gate and up have nothing below that is scored.
    assert_eq!(mlp.flops.backward, 2.0 * 150.0 * (29.0 * 3_538_944.0 + 884_736.0));
    assert_eq!(mlp.flops.head, 4.0 * 150.0 * 49152.0 * 576.0);
    // 150 * 151 / 2 pairs, 576 wide: two products forward in 30 layers, four backward in 29.
    assert_eq!(mlp.flops.attention, 2.0 * 11325.0 * 576.0 * (2.0 * 30.0 + 4.0 * 29.0));
    assert_eq!((giga(mlp.flops.needed()), mlp.flops.recomputed), (106.08, 0.0));

    // With every matrix, and attention over the square instead of the triangle, it is the 117 GFLOP that were
    // measured as 0.57 s at 205 GFLOP/s.
    let all = estimate(&config, &every(&config, &Projection::ALL), &length, &Setup::CPU);
    assert_eq!(giga(all.flops.needed() + all.flops.attention), 117.07);
}

#[test]
fn what_is_held_is_what_the_pass_keeps() {
    let config = smollm2();
    let length = [Length { inputs: 150, labels: 100 }, Length { inputs: 80, labels: 20 }];
    let mlp = estimate(&config, &every(&config, &MLP), &length, &Setup::CPU);
    assert_eq!(mlp.weight_bytes, 4 * 134_515_008);
    assert_eq!((mlp.scored, mlp.accumulator_bytes), (30 * 2_654_208, 4 * 30 * 2_654_208));
    assert_eq!(mlp.activation_bytes, 4 * 30 * 150 * (2 * 576 + 2 * 576 + 2 * 192 + 2 * 1536));
    assert_eq!(mlp.head_bytes, 4 * 2 * 100 * 49152);
    assert_eq!(mlp.working_bytes, 4 * 150 * (4 * 1536 + 3 * 576));
    assert_eq!(mlp.accumulator_traffic, 2 * 8 * 30 * 2_654_208);
    assert_eq!(mlp.peak_bytes, mlp.weight_bytes + mlp.accumulator_bytes + mlp.activation_bytes + mlp.head_bytes);
    assert_eq!((mlp.groups.len(), mlp.groups[0].clone(), mlp.group_input_bytes, mlp.fits), (1, 0..30, 0, true));

    // A copy of the sums is more than what a sample's pass holds, and at another time.
    let saved = estimate(&config, &every(&config, &MLP), &length, &Setup { saved: true, ..Setup::CPU });
    assert_eq!(saved.saved_bytes, mlp.accumulator_bytes);
    assert_eq!(saved.peak_bytes, mlp.weight_bytes + 2 * mlp.accumulator_bytes);

    let kept = estimate(&config, &every(&config, &MLP), &length, &Setup { kept_percent: 25, ..Setup::CPU });
    assert_eq!(kept.peak_bytes, mlp.peak_bytes + (mlp.activation_bytes + mlp.head_bytes) / 4);

    let packed = estimate(&config, &every(&config, &MLP), &length, &Setup { packs: true, ..Setup::CPU });
    assert_eq!(packed.peak_bytes, mlp.peak_bytes + 4 * 49152 * 576);

    // Both samples fit a batch of 256 tokens, end to end.
    let batched = Setup { batch_tokens: 256, fused: false, ..Setup::CPU };
    let batched = estimate(&config, &every(&config, &MLP), &length, &batched);
    assert_eq!(batched.activation_bytes, mlp.activation_bytes / 150 * 230);
    assert_eq!(batched.head_bytes, mlp.head_bytes / 100 * 120);
    assert_eq!(batched.working_bytes, mlp.working_bytes / 150 * 230 + 4 * 884_736);
    assert_eq!(batched.accumulator_traffic, 2 * mlp.accumulator_traffic);
    assert_eq!((batched.batch_tokens, mlp.batch_tokens), (256, 0));
}

#[test]
fn no_gradient_is_counted_below_the_lowest_scored_matrix() {
    let config = smollm2();
    let length = [Length { inputs: 100, labels: 10 }];
    let of = |matrices: &[MatrixId]| estimate(&config, matrices, &length, &Setup::CPU).flops;
    let backward = |layer, part| of(&[MatrixId::new(layer, part)]).backward / 200.0;
    let (mlp, o, layer) = (884_736.0, 331_776.0, 3_538_944.0);
    assert_eq!(backward(29, Projection::Down), 0.0);
    assert_eq!(backward(29, Projection::Up), mlp);
    assert_eq!(backward(29, Projection::O), 3.0 * mlp);
    assert_eq!(backward(29, Projection::V), 3.0 * mlp + o);
    assert_eq!(backward(27, Projection::Down), 2.0 * layer);
    let none = of(&[]);
    assert_eq!((none.backward, none.gradients), (0.0, 0.0));
    assert_eq!(none.forward, of(&[MatrixId::new(0, Projection::Q)]).forward);
    assert_eq!(of(&[MatrixId::new(29, Projection::O)]).attention, none.attention);
    assert_eq!(of(&[MatrixId::new(29, Projection::Q)]).attention, none.attention * (30.0 + 2.0) / 30.0);
    assert_eq!(of(&[MatrixId::new(30, Projection::Q)]), none, "a matrix that is not there");
}

#[test]
fn a_window_hides_pairs() {
    let config = smollm2().with_layers(1).with_window(3);
    let flops = estimate(&config, &[], &[Length { inputs: 5, labels: 1 }], &Setup::CPU).flops;
    // 1 + 2 + 3 + 3 + 3 pairs, two products.
    assert_eq!(flops.attention, 2.0 * 12.0 * 576.0 * 2.0);
}

#[test]
fn groups_are_the_fewest_that_fit_and_cost_less_than_a_forward_pass() {
    let config = smollm2();
    let matrices = every(&config, &MLP);
    let lengths = vec![Length { inputs: 150, labels: 100 }; 16];
    let free = estimate(&config, &matrices, &lengths, &Setup::CPU);
    let mut before = free.clone();
    for budget in [820, 750, 700].map(|mega| mega * 1_000_000) {
        let grouped = estimate(&config, &matrices, &lengths, &Setup { budget: Some(budget), ..Setup::CPU });
        assert!(grouped.fits && grouped.peak_bytes <= budget, "{budget}: {}", grouped.peak_bytes);
        assert!(grouped.groups.len() > before.groups.len(), "{budget}: {:?}", grouped.groups);
        assert_eq!(grouped.flops.needed(), free.flops.needed());
        assert!(grouped.flops.recomputed > before.flops.recomputed);
        assert!(grouped.flops.recomputed < free.flops.forward + free.flops.attention);
        let ends: Vec<usize> = grouped.groups.iter().rev().flat_map(|group| [group.start, group.end]).collect();
        assert_eq!((ends.first(), ends.last()), (Some(&0), Some(&30)));
        assert!(ends[1..ends.len() - 1].chunks(2).all(|pair| pair[0] == pair[1]), "a gap: {ends:?}");
        before = grouped;
    }
    let exact = estimate(&config, &matrices, &lengths, &Setup { budget: Some(free.peak_bytes), ..Setup::CPU });
    assert_eq!(exact.groups.len(), 1);
    let hopeless = estimate(&config, &matrices, &lengths, &Setup { budget: Some(1), ..Setup::CPU });
    assert!(!hopeless.fits);
    assert!(hopeless.peak_bytes < before.peak_bytes);
}

/// The numbers of docs/scaling.md.
#[test]
fn a_7b_model_costs_what_the_page_on_scaling_says() {
    let config = qwen2_7b();
    let matrices = every(&config, &MLP);
    let lengths = vec![Length { inputs: 150, labels: 100 }; 128];
    let gpu = |value_bytes, batch_tokens, budget: u64| {
        let budget = Some(budget * 1_000_000_000);
        let setup = Setup { value_bytes, batch_tokens, fused: false, budget, ..Setup::CPU };
        estimate(&config, &matrices, &lengths, &setup)
    };
    let large = gpu(4, 2048, 72);
    assert_eq!((large.groups.len(), large.fits, large.scored), (1, true, 5_703_204_864));
    let held = [large.weight_bytes, large.accumulator_bytes, large.activation_bytes, large.head_bytes];
    assert_eq!(held.map(|bytes| bytes / 10_000_000), [3046, 2281, 1162, 158]);
    assert_eq!(large.peak_bytes / 10_000_000, 6648);
    let Flops { forward, backward, gradients, head, attention, recomputed } = large.flops;
    let tera = [forward, backward, gradients, head, attention].map(|flops| (flops / 1e11).round() / 10.0);
    assert_eq!((tera, recomputed), ([250.6, 244.2, 219.0, 27.9, 1.7], 0.0));
    assert_eq!(large.accumulator_traffic, 16 * 128 * 5_703_204_864);

    let small = gpu(2, 1024, 22);
    assert_eq!((small.groups.len(), small.groups[0].clone(), small.batch_tokens), (4, 21..28, 256));
    let held = [
        small.weight_bytes,
        small.group_accumulator_bytes,
        small.activation_bytes,
        small.working_bytes,
        small.group_input_bytes,
    ];
    let found = (held.map(|bytes| bytes / 10_000_000), small.peak_bytes / 10_000_000, small.flops.recomputed / 1e12);
    assert_eq!((found.0, found.1, found.2.round()), ([1523, 570, 11, 29, 55], 2189, 188.0));
    assert!(!gpu(4, 1024, 22).fits, "f32 weights alone exceed it");
}

#[test]
fn batches_shrink_before_layers_are_grouped() {
    let config = smollm2();
    let matrices = every(&config, &MLP);
    let lengths = vec![Length { inputs: 100, labels: 60 }; 16];
    let within = |budget| estimate(&config, &matrices, &lengths, &Setup { batch_tokens: 512, budget, ..Setup::CPU });
    let (free, single) = (within(None), estimate(&config, &matrices, &lengths, &Setup::CPU));
    assert_eq!((free.batch_tokens, free.activation_bytes), (512, 5 * single.activation_bytes));
    let half = within(Some(free.peak_bytes - 1));
    assert_eq!((half.batch_tokens, half.groups.len(), half.fits), (256, 1, true));
    let least = within(Some(single.peak_bytes));
    assert_eq!((least.batch_tokens, least.groups.len(), least.fits), (128, 1, true), "one sample of 100 tokens");
    let grouped = within(Some(single.peak_bytes - 1));
    assert_eq!((grouped.groups.len(), grouped.fits), (2, true));
    assert!(grouped.batch_tokens > 0, "what the groups give free is used");
    assert!(!within(Some(1)).fits);
}

#[test]
fn impossible_amounts_saturate() {
    let config = DecoderConfig {
        hidden_size: 1 << 18,
        intermediate_size: 1 << 22,
        vocab_size: 1 << 24,
        ..smollm2().with_layers(1 << 12)
    };
    let lengths = [Length { inputs: 1 << 40, labels: 1 << 40 }];
    let setup = Setup { budget: Some(1), ..Setup::CPU };
    let matrices = every(&config.clone().with_layers(2), &MLP);
    let huge = estimate(&config, &matrices, &lengths, &setup);
    assert_eq!((huge.peak_bytes, huge.fits), (u64::MAX, false));
    assert!(huge.flops.total().is_finite());
}
