//! Scoring: seconds a sample, and how near that is to the machine's own matrix products.
//!
//! `cargo bench --bench scoring` prints both for three lengths; with `-- --memory` it prints the predicted and the
//! measured peak memory of several groupings of layers instead, a process for each. `scoring --rows FILE` is the Rust side of
//! `benches/scoring-vs-pytorch`: FILE is a JSON list of `{"ids": […], "response": n}`; commands come on standard
//! input, one a line, and each is answered by one line of JSON. Ratios hold on one machine in one run; seconds do
//! not travel. Only what stages use is used here: a score method's `start`, `add`, `finish`, and the cut to ranks.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own input and its process's state")]

mod support;

use std::io::BufRead;
use std::time::Instant;

use dean::choice::Choice;
use dean::model::Decoder;
use dean::model::decoder::memory_plan::{Estimate, Length, Setup, estimate};
use dean::model::decoder::sample::Sample;
use dean::model::device::CPU_BATCH_TOKENS;
use dean::model::matrix::{MatrixId, Projection};
use dean::rank::top;
use dean::score::{self, Scorer};
use serde_json::{Value, json};

fn main() {
    let after = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    match (after("--rows"), after("--groups")) {
        (Some(file), _) => serve(&file),
        (_, Some(groups)) => in_groups(groups.parse().expect("how many groups")),
        _ if std::env::args().any(|argument| argument == "--memory") => memory(),
        _ => lengths(),
    }
}

type Scored<'a> = &'a dyn Fn(MatrixId) -> bool;

fn in_mlp(id: MatrixId) -> bool {
    id.projection.module() == "mlp"
}

fn start(decoder: &Decoder, scored: Scored<'_>) -> Box<dyn Scorer> {
    let cost = cost(decoder, scored, &[]);
    let method = Choice::<dyn score::Method>::of("snip").expect("snip");
    method.start_in_groups(decoder, scored, &cost.groups, cost.batch_tokens).expect("a scorer")
}

fn cost(decoder: &Decoder, scored: Scored<'_>, samples: &[&Sample]) -> Estimate {
    cost_within(decoder, scored, samples, None)
}

fn cost_within(decoder: &Decoder, scored: Scored<'_>, samples: &[&Sample], budget: Option<u64>) -> Estimate {
    let matrices: Vec<_> = MatrixId::all(decoder.config.layers()).filter(|id| scored(*id)).collect();
    let length = |sample: &&Sample| Length { inputs: sample.inputs(), labels: sample.labels().len() };
    let setup =
        Setup { budget, batch_tokens: CPU_BATCH_TOKENS, packs: true, kept_percent: Setup::KEPT_ON_CPU, ..Setup::CPU };
    estimate(&decoder.config, &matrices, &samples.iter().map(length).collect::<Vec<_>>(), &setup)
}

/// Each grouping in a process of its own: freed memory stays with a process.
fn memory() {
    println!("peak memory of scoring SmolLM2-135M-Instruct, f32, MLP matrices, 12 samples of 90 to 310 tokens");
    for groups in ["1", "2", "3", "5", "10"] {
        let program = std::env::current_exe().expect("this program");
        let status = std::process::Command::new(program).args(["--groups", groups]).status().expect("a process");
        assert!(status.success(), "{groups} groups: {status}");
    }
}

/// Scores some samples in so many groups or a few more, cuts as the stage does, and prints both peaks.
fn in_groups(groups: usize) {
    let (_, decoder) = support::model();
    let vocabulary = decoder.config.vocab_size;
    let id = |sample: usize, at: usize| u32::try_from((at * 7919 + sample * 104_729 + 13) % vocabulary).unwrap_or(0);
    // Of many lengths, so that every batch is of another size.
    let length = |sample: usize| 91 + sample * 37 % 12 * 20;
    let samples: Vec<Sample> = (0..12)
        .map(|sample| Sample { ids: (0..length(sample)).map(|at| id(sample, at)).collect(), response: 51 })
        .collect();
    let borrowed: Vec<&Sample> = samples.iter().collect();
    let mut cost = cost(&decoder, &in_mlp, &borrowed);
    while cost.groups.len() < groups && cost.fits {
        cost = cost_within(&decoder, &in_mlp, &borrowed, Some(cost.peak_bytes - 1));
    }
    let loaded = status("VmRSS");
    std::fs::write("/proc/self/clear_refs", "5").ok();
    let started = Instant::now();
    let method = Choice::<dyn score::Method>::of("snip").expect("snip");
    let mut scorer = method.start_in_groups(&decoder, &in_mlp, &cost.groups, cost.batch_tokens).expect("a scorer");
    for (round, matrices) in scorer.rounds().into_iter().enumerate() {
        scorer.begin(&decoder, round);
        add(scorer.as_mut(), &decoder, &samples);
        for id in matrices {
            let scores = scorer.finish(&decoder, id).expect("scores");
            let shape = decoder.linear(id).weight.dims();
            std::hint::black_box(top(&id.weight(), &scores, shape[1], 1e-3).expect("ranks"));
        }
    }
    let (seconds, measured) = (started.elapsed().as_secs_f64(), status("VmHWM"));
    let mega = |bytes: u64| bytes / 1_000_000;
    println!(
        "{:2} groups: predicted {} MB, measured {} MB ({} MB after loading, weights are {} MB), {seconds:.1} s",
        cost.groups.len(),
        mega(cost.peak_bytes),
        mega(measured),
        mega(loaded),
        mega(cost.weight_bytes)
    );
}

fn lengths() {
    let (_, decoder) = support::model();
    println!("scoring of SmolLM2-135M-Instruct, f32, MLP matrices, one sample at a time");
    for tokens in [64, 128, 256] {
        let vocabulary = decoder.config.vocab_size;
        let ids = (0..=tokens).map(|i| u32::try_from((i * 7919 + 13) % vocabulary).unwrap_or(0)).collect();
        let sample = Sample { ids, response: tokens / 3 };
        let mut scorer = start(&decoder, &in_mlp);
        let seconds = support::median(5, || scorer.add(&decoder, std::slice::from_ref(&sample)).expect("a sample"));
        let reached = cost(&decoder, &in_mlp, &[&sample]).flops.needed() / seconds / 1e9;
        let rate = support::gemm_rate(tokens);
        println!(
            "{tokens:4} tokens: {seconds:.3} s a sample, {reached:.0} GFLOP/s = {:.0} % of this machine's {rate:.0}",
            100.0 * reached / rate
        );
    }
}

/// A number of /proc/self/status in bytes; 0 where there is no such file.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Adds samples in the groups that the stage would take. Seconds.
fn add(scorer: &mut dyn Scorer, decoder: &Decoder, samples: &[Sample]) -> f64 {
    let started = Instant::now();
    let mut rest = samples;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(scorer.group(rest));
        scorer.add(decoder, now).expect("samples");
        rest = later;
    }
    started.elapsed().as_secs_f64()
}

/// The sum of response losses per token, from two prefixes of plain text, so that it owes nothing to the scoring pass.
#[expect(clippy::cast_precision_loss, reason = "a token count")]
fn loss(decoder: &Decoder, sample: &Sample) -> f64 {
    let whole = decoder.negative_log_likelihood(&sample.ids).expect("a loss");
    let prompt = decoder.negative_log_likelihood(&sample.ids[..sample.response.max(1)]).expect("a loss");
    (whole - prompt) / sample.labels().len() as f64
}

/// Seconds and needed operations of three passes that each do more: forward and head alone (but for one matrix), the
/// backward pass through all layers besides, the scored matrices' gradients and sums besides. The least of three turns,
/// because differences are taken of them.
fn parts(decoder: &Decoder, samples: &[Sample]) -> Value {
    let last = decoder.config.layers() - 1;
    let forward = move |id: MatrixId| id == MatrixId::new(last, Projection::Down);
    let backward = |id: MatrixId| id == MatrixId::new(0, Projection::Down);
    let sets: [(&str, Scored<'_>); 3] = [("forward", &forward), ("backward", &backward), ("all", &in_mlp)];
    let borrowed: Vec<&Sample> = samples.iter().collect();
    let mut least = [f64::INFINITY; 3];
    for _ in 0..3 {
        for ((_, scored), least) in sets.iter().zip(&mut least) {
            let mut scorer = start(decoder, *scored);
            add(scorer.as_mut(), decoder, &samples[..1]);
            *least = least.min(add(scorer.as_mut(), decoder, samples));
        }
    }
    let fact =
        |seconds: f64, scored| json!({"seconds": seconds, "flops": cost(decoder, scored, &borrowed).flops.needed()});
    Value::Object(
        sets.into_iter().zip(least).map(|((name, scored), least)| (name.to_owned(), fact(least, scored))).collect(),
    )
}

fn serve(file: &str) {
    let text = std::fs::read_to_string(file).expect("a file of rows");
    let rows: Vec<Value> = serde_json::from_str(&text).expect("a JSON list");
    let number = |value: &Value| value.as_u64().expect("a number");
    let samples: Vec<Sample> = rows
        .iter()
        .map(|row| Sample {
            ids: row["ids"]
                .as_array()
                .expect("ids")
                .iter()
                .map(|id| u32::try_from(number(id)).expect("an id"))
                .collect(),
            response: usize::try_from(number(&row["response"])).expect("a place"),
        })
        .collect();

    let (_, decoder) = support::model();
    let every: Vec<&Sample> = samples.iter().collect();
    let whole = cost(&decoder, &in_mlp, &every);
    // Warm, as PyTorch is: the first batch, the largest here, finds every page and thread.
    let mut longest = samples.clone();
    longest.sort_by_key(|sample| std::cmp::Reverse(sample.inputs()));
    let mut warm = start(&decoder, &in_mlp);
    let first = warm.group(&longest);
    add(warm.as_mut(), &decoder, &longest[..first]);
    drop(warm);
    // From here on VmHWM counts, so that reading and dequantising the file does not, where the system lets us.
    let loading = status("VmHWM");
    let since = if std::fs::write("/proc/self/clear_refs", "5").is_ok() { "load" } else { "start" };

    let started = Instant::now();
    let mut scorer = start(&decoder, &in_mlp);
    println!(
        "{}",
        json!({"ready": "dean", "start_seconds": started.elapsed().as_secs_f64(), "needed": whole.flops.needed(), "predicted_peak": whole.peak_bytes, "layers": decoder.config.layers()})
    );
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let indices: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
        let chosen: Vec<Sample> = indices.iter().filter_map(|index| samples.get(*index).cloned()).collect();
        let borrowed: Vec<&Sample> = chosen.iter().collect();
        let answer = match command {
            "loss" => json!({"loss": chosen.iter().map(|sample| loss(&decoder, sample)).collect::<Vec<_>>()}),
            "add" => {
                let seconds = add(scorer.as_mut(), &decoder, &chosen);
                json!({"seconds": seconds, "flops": cost(&decoder, &in_mlp, &borrowed).flops.needed()})
            }
            // The machine's rate: the best of shapes as in the model's MLPs, and at the given number of rows.
            "gemm" => {
                let best = [128, 256, 512].map(support::gemm_rate).into_iter().fold(0.0, f64::max);
                json!({"best": best, "at_rows": indices.first().map(|rows| support::gemm_rate(*rows))})
            }
            "parts" => parts(&decoder, &chosen),
            "finish" => finish(&decoder, scorer.as_ref(), loading, since),
            _ => json!({"error": format!("unknown command: {line}")}),
        };
        println!("{answer}");
    }
}

fn finish(decoder: &Decoder, scorer: &dyn Scorer, loading: u64, since: &str) -> Value {
    let (mut seconds, mut ranking) = (0.0, 0.0);
    let mut facts = serde_json::Map::new();
    for id in scorer.matrices() {
        let started = Instant::now();
        let scores = scorer.finish(decoder, id).expect("scores");
        seconds += started.elapsed().as_secs_f64();
        let shape = decoder.linear(id).weight.dims();
        let started = Instant::now();
        std::hint::black_box(top(&id.weight(), &scores, shape[1], 1e-3).expect("ranks"));
        ranking += started.elapsed().as_secs_f64();
        let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
        let most = scores.iter().copied().fold(0.0, f32::max);
        facts.insert(id.weight(), json!([sum, most]));
    }
    let peak = status("VmHWM");
    json!({
        "seconds": seconds, "ranking_seconds": ranking, "scores": facts, "peak": peak,
        "peak_process": peak.max(loading), "peak_since": since, "file_pages": status("RssFile"),
    })
}
