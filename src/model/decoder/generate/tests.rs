//! Answers have the same bits in any company, and with any drafts.

use std::collections::BTreeSet;

use burn::tensor::Device;

use super::*;
use crate::model::arch::config::DecoderConfig;
use crate::model::decoder::Edit;
use crate::model::decoder::draw::Sampling;
use crate::model::greedy::Adjustments;
use crate::model::matrix::MatrixId;
use crate::model::testing::{kinds, random, small};

const STOPS: [u32; 4] = [5, 11, 17, 23];

/// Bits of the logits after every prompt, which answers are done, and what was drafted.
#[derive(Default, PartialEq, Debug)]
struct Seen {
    first: Vec<(usize, Vec<u32>)>,
    done: Vec<usize>,
    drafts: Vec<Vec<u32>>,
    passes: usize,
    right: usize,
}

impl Watch for Seen {
    fn shown(&mut self, prompt: usize, logits: &Tensor<1>) -> Result<()> {
        self.first.push((prompt, logits.to_data().iter::<f32>().map(f32::to_bits).collect()));
        Ok(())
    }

    fn step(&mut self, _: usize) -> Result<()> {
        self.passes += 1;
        Ok(())
    }

    fn draft(&mut self, prompt: usize) -> Vec<u32> {
        self.drafts.get(prompt).cloned().unwrap_or_default()
    }

    fn supposed(&mut self, read: usize, right: usize) {
        assert!(right <= read);
        self.right += right;
    }

    fn done(&mut self, prompt: usize, _: &Continuation) -> Result<()> {
        self.done.push(prompt);
        Ok(())
    }
}

fn prompts(config: &DecoderConfig, count: usize) -> Vec<Vec<u32>> {
    let id = |prompt: usize, at: usize| u32::try_from((prompt * 31 + at * 7 + 3) % config.vocab_size).unwrap();
    (0..count).map(|prompt| (0..1 + prompt * 5 % 17).map(|at| id(prompt, at)).collect()).collect()
}

/// Answers, and the bits of the logits after every prompt.
type Generated = (Vec<Continuation>, Vec<(usize, Vec<u32>)>);

fn generated(decoder: &Decoder, prompts: &[Vec<u32>], order: &[usize], slots: usize) -> Generated {
    by(&Greedy::until(&STOPS), decoder, prompts, order, slots)
}

fn by(greedy: &Greedy, decoder: &Decoder, prompts: &[Vec<u32>], order: &[usize], slots: usize) -> Generated {
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut seen = Seen::default();
    let answers = decoder.generate_in_slots(&views, order, 9, greedy, Some(slots), &mut seen).unwrap();
    assert_eq!(seen.done.len(), order.len());
    seen.first.sort();
    (answers, seen.first)
}

#[test]
fn answers_and_logits_have_the_same_bits_whatever_shares_their_batch() {
    let mut ends = BTreeSet::new();
    for config in kinds() {
        let decoder = random(&config, &Device::flex(), 3);
        let prompts = prompts(&config, 160);
        let order: Vec<usize> = (0..prompts.len()).collect();
        let alone = generated(&decoder, &prompts, &order, 1);
        ends.extend(alone.0.iter().map(|answer| (answer.ids.len(), answer.stop == Stop::Eos)));
        for slots in [7, 32, 96] {
            assert!(generated(&decoder, &prompts, &order, slots) == alone, "{slots} slots, {config:?}");
        }
        let mut shuffled = order.clone();
        shuffled.sort_by_key(|prompt| (prompt * 7919) % 163);
        assert!(generated(&decoder, &prompts, &shuffled, 32) == alone, "shuffled, {config:?}");
    }
    assert!(ends.len() > 5 && ends.contains(&(9, false)), "sequences leave at many steps: {ends:?}");
}

#[test]
fn what_all_prompts_begin_with_is_read_once_and_changes_no_bit() {
    for config in kinds() {
        let decoder = random(&config, &Device::flex(), 3);
        let mut prompts = prompts(&config, 30);
        // Longer than what follows, so that it lies in several slots.
        let head: Vec<u32> = (0..31).map(|at| u32::try_from(at * 11 % config.vocab_size).unwrap()).collect();
        prompts.iter_mut().for_each(|prompt| *prompt = [&head, &prompt[..]].concat());
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let order: Vec<usize> = (0..prompts.len()).collect();
        assert_eq!(shared_tokens(&views, &order), 31);
        let together = generated(&decoder, &prompts, &order, 7);
        let alone: Vec<_> = order.iter().map(|prompt| generated(&decoder, &prompts, &[*prompt], 1)).collect();
        for (prompt, alone) in alone.iter().enumerate() {
            assert_eq!(together.0[prompt], alone.0[prompt], "{config:?}");
            assert!(together.1.contains(&alone.1[0]), "first logits of prompt {prompt}, {config:?}");
        }
    }
    assert_eq!(shared_tokens(&[&[7; 9], &[7; 12]], &[0, 1]), 8, "of each prompt something is left to read");
    assert_eq!(shared_tokens(&[&[7; 9], &[7; 12]], &[1]), 0, "nobody shares it");
    assert_eq!(shared_tokens(&[&[7; 5], &[7; 12]], &[0, 1]), 0, "too short");
}

#[test]
fn only_what_is_asked_for_is_continued() {
    let decoder = random(&small(), &Device::flex(), 3);
    let prompts = prompts(&small(), 5);
    let all = generated(&decoder, &prompts, &[0, 1, 2, 3, 4], 2).0;
    let some = generated(&decoder, &prompts, &[4, 1], 2).0;
    assert_eq!((&some[1], &some[4]), (&all[1], &all[4]));
    assert!(some[0].ids.is_empty());
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut seen = Seen::default();
    let read = decoder.generate(&views, &[0, 3], 0, &Greedy::default(), &mut seen).unwrap();
    assert!(read.iter().all(|answer| answer.ids.is_empty()) && seen.first.len() == 2);
}

/// Draws, and ends each answer where two tokens in a row are of one kind.
struct Drawn<'a> {
    draws: Draws,
    drafts: &'a [Vec<u32>],
}

impl Watch for Drawn<'_> {
    fn draws(&self) -> Option<&Draws> {
        Some(&self.draws)
    }

    fn draft(&mut self, prompt: usize) -> Vec<u32> {
        self.drafts.get(prompt).cloned().unwrap_or_default()
    }

    fn ends(&mut self, _: usize, ids: &[u32]) -> Result<Option<Stop>> {
        Ok(matches!(ids, [.., one, other] if one % 5 == other % 5).then_some(Stop::Text))
    }
}

#[test]
fn drawn_answers_depend_neither_on_their_batch_nor_on_drafts() {
    let decoder = random(&small(), &Device::flex(), 3);
    let prompts = prompts(&small(), 60);
    let drawn = |order: &[usize], slots: usize, seed: u64, drafts: &[Vec<u32>]| {
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let sampling = Sampling { temperature: 1.3, top_k: Some(40), top_p: Some(0.95), seed };
        let mut watch = Drawn { draws: Draws::new(sampling, &views), drafts };
        decoder.generate_in_slots(&views, order, 9, &Greedy::until(&[5, 11]), Some(slots), &mut watch).unwrap()
    };
    let order: Vec<usize> = (0..prompts.len()).collect();
    let alone = drawn(&order, 1, 0, &[]);
    let mut shuffled = order.clone();
    shuffled.sort_by_key(|prompt| (prompt * 37) % 61);
    let right: Vec<Vec<u32>> = alone.iter().map(|answer| answer.ids.clone()).collect();
    let others = drawn(&order, 7, 1, &[]);
    assert!(others != alone, "another seed draws other tokens");
    let wrong: Vec<Vec<u32>> = others.into_iter().map(|answer| answer.ids).collect();
    for slots in [7, 32] {
        for drafts in [&[][..], &right, &wrong] {
            assert!(drawn(&order, slots, 0, drafts) == alone, "{slots} slots");
            assert!(drawn(&shuffled, slots, 0, drafts) == alone, "{slots} slots, shuffled");
        }
    }
    let stops: BTreeSet<&str> = alone.iter().map(|answer| answer.stop.name()).collect();
    assert_eq!(stops.into_iter().collect::<Vec<_>>(), ["eos", "length", "text"]);
}

#[test]
fn each_sequence_follows_the_rules_for_its_own_text() {
    let decoder = random(&small(), &Device::flex(), 3);
    let prompts = prompts(&small(), 40);
    let order: Vec<usize> = (0..prompts.len()).collect();
    let plain = generated(&decoder, &prompts, &order, 7).0;
    let repeats = |answers: &[Continuation]| {
        let again = |(prompt, answer): (&Vec<u32>, &Continuation)| {
            let text = [prompt.as_slice(), &answer.ids].concat();
            let pairs: Vec<&[u32]> = text.windows(2).collect();
            (prompt.len().max(2) - 1..pairs.len()).any(|at| pairs[..at].contains(&pairs[at]))
        };
        prompts.iter().zip(answers).filter(|both| again(*both)).count()
    };
    assert!(repeats(&plain) > 3, "the rule has nothing to do");
    let adjustments = Adjustments { no_repeat_ngram_size: 2, ..Adjustments::default() };
    let greedy = Greedy { adjustments, ..Greedy::until(&STOPS) };
    let alone = by(&greedy, &decoder, &prompts, &order, 1);
    assert_eq!(repeats(&alone.0), 0);
    assert!(by(&greedy, &decoder, &prompts, &order, 32) == alone);
    // A penalty of one changes nothing, though it is computed elsewhere. Drafts change nothing either.
    let adjustments = Adjustments { repetition_penalty: Some(1.0), ..Adjustments::default() };
    let penalty = Greedy { adjustments, ..Greedy::until(&STOPS) };
    assert_eq!(by(&penalty, &decoder, &prompts, &order, 7).0, plain);
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    for drafts in [&alone.0, &plain] {
        let drafts = drafts.iter().map(|answer| answer.ids.clone()).collect();
        let mut seen = Seen { drafts, ..Seen::default() };
        let drafted = decoder.generate_in_slots(&views, &order, 9, &greedy, Some(7), &mut seen).unwrap();
        assert!(drafted == alone.0 && seen.right > 0);
    }
}

#[test]
fn who_watches_may_stop_it() {
    struct Stopper;
    impl Watch for Stopper {
        fn step(&mut self, _: usize) -> Result<()> {
            Err(Error::user("enough"))
        }
    }
    let decoder = random(&small(), &Device::flex(), 3);
    assert!(decoder.generate(&[&[1, 2]], &[0], 4, &Greedy::default(), &mut Stopper).is_err());
}

/// Answers and first logits with these drafts, how many passes they took, and how many supposed tokens were right.
fn drafted(decoder: &Decoder, prompts: &[Vec<u32>], slots: usize, drafts: &[Vec<u32>]) -> (Generated, usize, usize) {
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let order: Vec<usize> = (0..prompts.len()).collect();
    let mut seen = Seen { drafts: drafts.to_vec(), ..Seen::default() };
    let answers =
        decoder.generate_in_slots(&views, &order, 24, &Greedy::until(&STOPS), Some(slots), &mut seen).unwrap();
    seen.first.sort();
    ((answers, seen.first), seen.passes, seen.right)
}

#[test]
fn drafts_change_how_many_passes_an_answer_takes_and_not_one_bit_of_it() {
    for config in kinds() {
        let decoder = random(&config, &Device::flex(), 3);
        let prompts = prompts(&config, 24);
        let none = vec![Vec::new(); prompts.len()];
        let (plain, passes, _) = drafted(&decoder, &prompts, 2, &none);
        let answers: Vec<Vec<u32>> = plain.0.iter().map(|answer| answer.ids.clone()).collect();
        let broken = |answer: &Vec<u32>| -> Vec<u32> {
            // Other words in the middle, one word more, and nonsense behind the end.
            let (head, tail) = answer.split_at(answer.len() / 3);
            [head, &[1, 1], tail, &[2; 9]].concat()
        };
        let broken: Vec<Vec<u32>> = answers.iter().map(broken).collect();
        let others: Vec<Vec<u32>> = answers.iter().rev().cloned().collect();
        for slots in [1, 2, 24] {
            for drafts in [&answers, &broken, &others] {
                let (found, ..) = drafted(&decoder, &prompts, slots, drafts);
                assert!(found == plain, "{slots} slots, {config:?}");
            }
        }
        let (_, fewer, right) = drafted(&decoder, &prompts, 2, &answers);
        assert!(fewer * 2 < passes && right > 0, "{fewer} passes instead of {passes}, {config:?}");
        let (_, fewer, _) = drafted(&decoder, &prompts, 1, &broken);
        let (_, alone, _) = drafted(&decoder, &prompts, 1, &none);
        assert!(fewer < alone, "answer and draft meet again: {fewer} passes instead of {alone}, {config:?}");
    }
}

/// Some weight becomes zero.
fn zeroed(decoder: &Decoder, index: usize) -> Edit {
    let ids: Vec<MatrixId> = MatrixId::all(decoder.config.layers()).collect();
    let id = ids[index % ids.len()];
    let size = decoder.linear(id).weight.dims().iter().product::<usize>();
    Edit { id, values: vec![(u32::try_from(index * 7919 % size).unwrap(), 0.0)] }
}

#[test]
fn the_answers_of_the_base_are_drafts_for_variants_of_every_damage() {
    let decoder = random(&small(), &Device::flex(), 3);
    let prompts = prompts(&small(), 40);
    let none = vec![Vec::new(); prompts.len()];
    let base = drafted(&decoder, &prompts, 40, &none).0.0;
    let drafts: Vec<Vec<u32>> = base.iter().map(|answer| answer.ids.clone()).collect();
    let mut changed = Vec::new();
    for count in [3, 60, 600] {
        let edits: Vec<Edit> = (0..count).map(|index| zeroed(&decoder, index)).collect();
        let variant = decoder.edited(&edits).unwrap();
        let plain = drafted(&variant, &prompts, 40, &none).0;
        for slots in [1, 40] {
            assert!(drafted(&variant, &prompts, slots, &drafts).0 == plain, "{count} weights, {slots} slots");
        }
        changed.push(plain.0.iter().zip(&base).filter(|(variant, base)| variant != base).count());
    }
    assert!(changed[0] < 20 && changed[2] > 30, "from few answers to most: {changed:?}");
}
