//! Generation: new tokens a second, at several batch sizes.
//!
//! `cargo bench --bench generation`. `generation --prompts FILE` is the Rust side of `benches/generation-vs-transformers`: FILE
//! is a JSON list of lists of token ids; commands come on standard input, one a line, and each is answered by one line of
//! JSON. Ratios hold on one machine in one run; seconds do not travel.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own input")]

mod support;

use std::io::BufRead;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use dean::error::Result;
use dean::model::Decoder;
use dean::model::decoder::Edit;
use dean::model::decoder::generate::{Continuation, Watch};
use dean::model::greedy::Greedy;
use dean::model::matrix::MatrixId;
use serde_json::{Value, json};

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--prompts");
    match arguments.nth(1) {
        Some(file) => serve(&file),
        None => sizes(),
    }
}

fn sizes() {
    let (_, decoder) = support::model();
    println!("greedy generation by SmolLM2-135M-Instruct, f32, prompts of 48 tokens, 16 new tokens");
    for size in [1, 16, 48, 96] {
        let prompt = |row: usize| -> Vec<u32> {
            (0..48).map(|i| u32::try_from((i * 31 + row * 17) % 40_000 + 100).unwrap_or(0)).collect()
        };
        let prompts: Vec<Vec<u32>> = (0..size).map(prompt).collect();
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let seconds = |new: usize| {
            support::median(3, || drop(decoder.continue_greedily(&views, new, &Greedy::default()).expect("answers")))
        };
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

/// Drafts for every prompt, and how they did.
#[derive(Default)]
struct Drafted<'a> {
    drafts: &'a [Vec<u32>],
    read: usize,
    right: usize,
}

impl Watch for Drafted<'_> {
    fn draft(&mut self, prompt: usize) -> Vec<u32> {
        self.drafts.get(prompt).cloned().unwrap_or_default()
    }

    fn supposed(&mut self, read: usize, right: usize) {
        self.read += read;
        self.right += right;
    }

    fn done(&mut self, _: usize, _: &Continuation) -> Result<()> {
        Ok(())
    }
}

/// Answers of so many tokens, never ended early, their seconds, and of tokens of drafts how many were read and were right.
fn generated(
    decoder: &Decoder,
    prompts: &[&[u32]],
    new: usize,
    drafts: &[Vec<u32>],
) -> (Vec<Vec<u32>>, f64, [usize; 2]) {
    let order: Vec<usize> = (0..prompts.len()).collect();
    let mut watch = Drafted { drafts, ..Drafted::default() };
    let started = Instant::now();
    let answers = decoder.generate(prompts, &order, new, &Greedy::default(), &mut watch).expect("answers");
    let seconds = started.elapsed().as_secs_f64();
    (answers.into_iter().map(|answer| answer.ids).collect(), seconds, [watch.read, watch.right])
}

/// The model without the greatest weights of each MLP matrix, `count` in all.
fn without_greatest(decoder: &Decoder, count: usize) -> Decoder {
    let ids: Vec<MatrixId> =
        MatrixId::all(decoder.config.layers()).filter(|id| id.projection.module() == "mlp").collect();
    let edits = ids.iter().enumerate().map(|(place, id)| {
        let weights = decoder.weights(*id).expect("weights");
        let mut order: Vec<u32> = (0..u32::try_from(weights.len()).expect("an index")).collect();
        let size = |index: &u32| weights[*index as usize].abs();
        let mine = (count + place) / ids.len();
        order.select_nth_unstable_by(mine, |a, b| size(b).total_cmp(&size(a)));
        Edit { id: *id, values: order[..mine].iter().map(|index| (*index, 0.0)).collect() }
    });
    decoder.edited(&edits.collect::<Vec<_>>()).expect("a variant")
}

/// Seconds a prompt of reading prompts that begin with the same `head` tokens and go on with `tail` others, as those of a judge
/// do, for the one token of a verdict. First `count` of them with the head shared, which is read once for all; then an eighth
/// as many, whose heads differ in their first token and so are not shared: without sharing, the time is that of each.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn heads(decoder: &Decoder, count: usize, head: usize, tail: usize) -> [f64; 2] {
    let id = |at: usize| u32::try_from(at * 7919 % 40_000 + 100).unwrap_or(0);
    let prompt = |row: usize, first: u32| -> Vec<u32> {
        std::iter::once(first).chain((1..head).map(id)).chain((0..tail).map(|at| id(at * 31 + row * 17))).collect()
    };
    [(false, count), (true, count.div_ceil(8))].map(|(different, count)| {
        let first = |row: usize| if different { id(row) } else { 1 };
        let prompts: Vec<Vec<u32>> = (0..count).map(|row| prompt(row, first(row))).collect();
        let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        generated(decoder, &views, 1, &[]).1 / count as f64
    })
}

/// Operations that continuing prompts by so many tokens needs: products with weights, and attention.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn needed(decoder: &Decoder, prompts: &[&[u32]], new: usize) -> f64 {
    let config = &decoder.config;
    let sizes = |id: MatrixId| decoder.linear(id).weight.dims().iter().product::<usize>();
    let weights: usize = MatrixId::all(config.layers()).map(sizes).sum();
    let of = |prompt: &&[u32]| {
        // The last token is written and never read.
        let read = prompt.len() + new - 1;
        let pairs = read * (read + 1) / 2 * 2 * config.heads * config.head_dim * config.layers();
        2.0 * (read * weights + new * config.hidden_size * config.vocab_size + pairs) as f64
    };
    prompts.iter().map(of).sum()
}

/// What the machine's products reach, in GFLOP/s: the better of the backend's and of those that generation uses.
fn product_rate(decoder: &Decoder) -> f64 {
    let device = Device::flex();
    let random = |shape| Tensor::<2>::random(shape, Distribution::Default, &device);
    let own = |rows: usize| {
        let (x, w) = (random([rows, 1536]), random([576, 1536]));
        let seconds = support::median(9, || drop(std::hint::black_box(decoder.ops.row_products(x.clone(), &[&w]))));
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let operations = (2 * rows * 1536 * 576) as f64;
        operations / seconds / 1e9
    };
    [96, 256, 512].into_iter().flat_map(|rows| [own(rows), support::gemm_rate(rows)]).fold(0.0, f64::max)
}

fn serve(file: &str) {
    let text = std::fs::read_to_string(file).expect("a file of prompts");
    let prompts: Vec<Vec<u32>> = serde_json::from_str(&text).expect("a JSON list");
    let every: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let (_, decoder) = support::model();
    // Warm, as transformers is.
    generated(&decoder, &every, 2, &[]);
    println!("{}", json!({"ready": "dean"}));
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let numbers: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
        println!("{}", answer(&decoder, &every, command, &numbers));
    }
}

fn answer(decoder: &Decoder, every: &[&[u32]], command: &str, numbers: &[usize]) -> Value {
    match (command, numbers) {
        ("generate", [count, new]) => {
            let prompts = &every[..*count];
            let (ids, seconds, _) = generated(decoder, prompts, *new, &[]);
            json!({"seconds": seconds, "ids": ids, "needed": needed(decoder, prompts, *new)})
        }
        ("drafts", [count, new, weights]) => {
            let prompts = &every[..*count];
            let variant = without_greatest(decoder, *weights);
            let base = generated(decoder, prompts, *new, &[]).0;
            // In turns, so that a disturbance meets both.
            let mut seconds = [f64::INFINITY; 2];
            let mut found = None;
            for _ in 0..2 {
                let (plain, without, _) = generated(&variant, prompts, *new, &[]);
                let (drafted, with, counts) = generated(&variant, prompts, *new, &base);
                assert!(plain == drafted, "a draft changed an answer");
                seconds = [seconds[0].min(without), seconds[1].min(with)];
                found = Some((plain, counts));
            }
            let (answers, [read, right]) = found.unwrap_or_default();
            let changed = answers.iter().zip(&base).filter(|(one, other)| one != other).count();
            json!({"without": seconds[0], "with": seconds[1], "read": read, "right": right, "changed": changed})
        }
        ("heads", [count, head, tail]) => {
            let [shared, own] = heads(decoder, *count, *head, *tail);
            json!({"shared": shared, "own": own})
        }
        ("rate", []) => json!({"gflops": product_rate(decoder)}),
        _ => json!({"error": format!("unknown command: {command}")}),
    }
}
