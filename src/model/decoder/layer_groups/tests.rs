//! Any grouping of layers and any packing of samples gives the bits of one sample at a time, and a walk that was written
//! down goes on with them.
//!
//! Must not know: what the sums are for.
#![allow(clippy::single_range_in_vec_init, reason = "one group is a grouping too")]

use super::*;
use crate::model::arch::config::DecoderConfig;
use crate::model::decoder::gradient_sums::GradientSums;
use crate::model::matrix::MatrixId;
use crate::model::ops::{Host, Ops, Plain};
use crate::model::testing::{kinds, random, sample, small};

type Scored<'a> = &'a dyn Fn(MatrixId) -> bool;
type Sums = Vec<(MatrixId, Vec<u32>)>;

/// Four samples, put together so many at a time. One has a single token to read, two have a single label.
type Packing = &'static [usize];
const PACKINGS: [Packing; 4] = [&[1, 1, 1, 1], &[4], &[1, 2, 1], &[3, 1]];

fn batches(config: &DecoderConfig, packing: Packing) -> Vec<Vec<Sample>> {
    let samples =
        [sample(config, 9, 4, 0), sample(config, 6, 5, 1), sample(config, 70, 11, 2), sample(config, 2, 1, 3)];
    let mut rest = &samples[..];
    let take = |count: &usize| {
        let (batch, others) = rest.split_at(*count);
        rest = others;
        batch.to_vec()
    };
    packing.iter().map(take).collect()
}

fn bits(sums: &GradientSums) -> Sums {
    let of = |id| sums.values(id).unwrap().into_iter().map(f32::to_bits).collect();
    sums.matrices().map(|place| (place, of(place))).collect()
}

fn add(walk: &mut LayerGroups, sums: &mut GradientSums, decoder: &Decoder, batch: &[Sample]) -> Vec<f64> {
    sums.expect(batch.iter().map(Sample::inputs));
    walk.add(decoder, batch, sums).unwrap()
}

fn start(decoder: &Decoder, group: &Range<usize>, scored: Scored<'_>) -> GradientSums {
    GradientSums::new(decoder, |id| group.contains(&id.layer) && scored(id))
}

/// All sums and losses. Each group packs the samples in its own way, beginning with that one. With `stop`, the walk is
/// written down before that step and another one goes on.
fn walked(
    decoder: &Decoder,
    groups: &[Range<usize>],
    scored: Scored<'_>,
    packing: usize,
    stop: Option<usize>,
) -> (Sums, Vec<f64>) {
    let mut walk = LayerGroups::new(decoder, groups.to_vec());
    let (mut all, mut losses, mut step) = (Sums::new(), Vec::new(), 0);
    for (at, group) in groups.iter().enumerate() {
        walk.begin(at);
        let mut sums = start(decoder, group, scored);
        for batch in batches(&decoder.config, PACKINGS[(packing + at) % PACKINGS.len()]) {
            if stop == Some(step) {
                let (mut sum_bytes, mut bytes) = (Vec::new(), Vec::new());
                sums.snapshot(&mut sum_bytes).unwrap();
                walk.snapshot(&mut bytes).unwrap();
                assert_eq!((bytes.len(), sum_bytes.len()), (walk.snapshot_len(), sums.snapshot_len()));
                walk = LayerGroups::new(decoder, groups.to_vec());
                walk.begin(at);
                sums = start(decoder, group, scored);
                if groups.len() > 1 {
                    assert!(!walk.restore(&bytes[1..]) && !walk.restore(&[&bytes[..], &[0]].concat()));
                }
                assert!(walk.restore(&bytes) && sums.restore(&sum_bytes));
            }
            losses.extend(add(&mut walk, &mut sums, decoder, &batch));
            step += 1;
        }
        all.extend(bits(&sums));
    }
    all.sort_by_key(|(place, _)| *place);
    (all, losses)
}

#[test]
fn any_grouping_and_packing_gives_the_bits_of_one_sample_at_a_time_for_every_kind_of_decoder() {
    let odd = |id: MatrixId| id.layer > 0 && (id.layer + id.projection as usize) % 2 == 1;
    let scorings: [(&str, usize, Scored<'_>); 3] = [
        ("all", 0, &|_| true),
        ("mlp", 0, &|id| id.projection.module() == "mlp"),
        ("some, none in the lowest layer", 1, &odd),
    ];
    for config in kinds() {
        let config = config.with_layers(4);
        for ops in [&Host as &'static dyn Ops, &Plain] {
            let mut decoder = random(&config, &Device::flex(), 11);
            decoder.ops = ops;
            for (name, lowest, scored) in scorings {
                let mut sums = GradientSums::new(&decoder, scored);
                let mut losses = Vec::new();
                for batch in batches(&config, PACKINGS[0]) {
                    sums.expect(batch.iter().map(Sample::inputs));
                    losses.extend(decoder.losses_and_gradients(&batch, &mut sums).unwrap());
                }
                let plain = (bits(&sums), losses);
                assert!(plain.0.iter().all(|(_, sums)| sums.iter().any(|bits| *bits != 0)), "{name}: sums are there");
                for groups in [vec![lowest..4], vec![2..4, lowest..2], vec![3..4, 1..3, lowest..1]] {
                    let groups: Vec<_> = groups.into_iter().filter(|group| !group.is_empty()).collect();
                    for packing in 0..PACKINGS.len() {
                        let walked = walked(&decoder, &groups, scored, packing, None);
                        assert!(walked == plain, "{name}, {ops:?}, {groups:?}, packing {packing}, {config:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_walk_that_was_written_down_goes_on_with_the_same_bits() {
    let config = small().with_layers(3);
    let decoder = random(&config, &Device::flex(), 4);
    for groups in [vec![0..3], vec![1..3, 0..1], vec![2..3, 1..2, 0..1]] {
        let whole = walked(&decoder, &groups, &|_| true, 0, None);
        let steps: usize = (0..groups.len()).map(|at| PACKINGS[at].len()).sum();
        for stop in 0..steps {
            let resumed = walked(&decoder, &groups, &|_| true, 0, Some(stop));
            assert!(resumed == whole, "{groups:?}, written down before step {stop}");
        }
    }
}

#[test]
fn a_group_without_the_one_above_it_is_a_fault_and_no_panic() {
    let decoder = random(&small(), &Device::flex(), 4);
    let mut walk = LayerGroups::new(&decoder, vec![1..2, 0..1]);
    let mut sums = start(&decoder, &(0..1), &|_| true);
    for group in [1, 2] {
        walk.begin(group);
        assert!(walk.add(&decoder, &[sample(&decoder.config, 5, 2, 0)], &mut sums).is_err());
    }
}
