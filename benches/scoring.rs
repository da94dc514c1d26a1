//! Scoring: seconds a sample, and how near that is to the machine's own matrix products.
//!
//! `cargo bench --bench scoring`. Ratios hold on one machine in one run; seconds do not travel.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints what it measured")]

mod support;

use dean::model::backward::Sample;
use dean::model::projection::Projection;
use dean::score;

fn main() {
    let (_, decoder) = support::model();
    let config = &decoder.config;
    println!("scoring of SmolLM2-135M-Instruct, f32, MLP matrices, one sample at a time");
    for tokens in [64, 128, 256] {
        let ids = (0..=tokens).map(|i| u32::try_from((i * 7919 + 13) % config.vocab_size).unwrap_or(0)).collect();
        let sample = Sample { ids, response: tokens / 3 };
        let mlp = |_: usize, part: Projection| part.module() == "mlp";
        let mut scorer = score::method("snip").and_then(|method| method.start(&decoder, &mlp)).expect("a scorer");
        let seconds = support::median(5, || scorer.add(&decoder, std::slice::from_ref(&sample)).expect("a sample"));
        let linears = |part: fn(&str) -> bool| -> usize {
            config.linears(0).iter().filter(|linear| part(&linear.name)).map(|linear| linear.out * linear.input).sum()
        };
        let (all, scored) = (linears(|_| true), linears(|name| name.contains("mlp")));
        // Forward and backward of every linear, dyᵀx of the scored ones, the head forward and backward at label rows.
        let needed = 2 * tokens * config.layers * (2 * all + scored)
            + 4 * sample.labels().len() * config.vocab_size * config.hidden_size;
        let rate = support::gemm_rate(tokens);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let reached = needed as f64 / seconds / 1e9;
        println!(
            "{tokens:4} tokens: {seconds:.3} s a sample, {reached:.0} GFLOP/s = {:.0} % of this machine's {rate:.0}",
            100.0 * reached / rate
        );
    }
}
