//! Generation: new tokens a second, at several batch sizes.
//!
//! `cargo bench --bench generation`. Ratios hold on one machine in one run; seconds do not travel.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints what it measured")]

mod support;

fn main() {
    let (_, decoder) = support::model();
    println!("greedy generation by SmolLM2-135M-Instruct, f32, prompts of 48 tokens, 16 new tokens");
    for size in [1, 16, 48, 96] {
        let prompt = |row: usize| -> Vec<u32> {
            (0..48).map(|i| u32::try_from((i * 31 + row * 17) % 40_000 + 100).unwrap_or(0)).collect()
        };
        let prompts: Vec<Vec<u32>> = (0..size).map(prompt).collect();
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let seconds =
            |new: usize| support::median(3, || drop(decoder.continue_greedily(&views, new, &[]).expect("answers")));
        // The first token comes with the reading of the prompt; the others are what is measured.
        let (first, all) = (seconds(1), seconds(16));
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = (size * 15) as f64 / (all - first);
        println!(
            "batch of {size:3}: {rate:6.0} tokens/s, {:.0} ms a step; prompts read in {first:.2} s",
            1e3 * (all - first) / 15.0
        );
    }
}
