//! Selecting at the size of a 7B model: ten thousand points on synthetic rank tables.
//!
//! `cargo bench --bench plane`. The tables are those of Qwen2-7B's MLP matrices (28 layers, 3 of 67.9 million weights each) with
//! cap 1e-3, of three data sets whose tops overlap about as those of real ones do. Timed are reading the Parquet files, as
//! `dean grid` does, and counting every point of 100 values of p and 100 of q. Takes about a minute and 2 GB of memory.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints what it measured")]

use std::collections::BTreeMap;
use std::time::Instant;

use dean::rank::{MatrixRanks, RankTable, Rule, plane};

const LAYERS: usize = 28;
const NUMEL: u64 = 3584 * 18_944;
const CAP: f64 = 1e-3;
/// Of a table's weights, so many hundredths come from one range that the three data sets share.
const SHARED: u64 = 60;

/// A step of a generator of numbers (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "made for this"
)]
fn matrix(tensor: String, seed: u64) -> MatrixRanks {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let rows = (CAP * NUMEL as f64) as usize;
    let mut seen = std::collections::HashSet::with_capacity(rows);
    let mut index = Vec::with_capacity(rows);
    while index.len() < rows {
        let range = if next(&mut state) % 100 < SHARED { 2 * rows as u64 } else { NUMEL };
        let candidate = (next(&mut state) % range) as u32;
        if seen.insert(candidate) {
            index.push(candidate);
        }
    }
    let score = (0..rows).map(|rank| 1.0 / (1.0 + rank as f32)).collect::<Vec<_>>();
    let next = score.last().map(|score| score / 2.0);
    MatrixRanks { tensor, numel: NUMEL, index, score, next, ties: 1 }
}

fn table(seed: u64) -> Vec<u8> {
    let names = (0..LAYERS).flat_map(|layer| {
        ["gate_proj", "up_proj", "down_proj"].map(|name| format!("model.layers.{layer}.mlp.{name}.weight"))
    });
    let matrices = names.zip(1..).map(|(name, number)| matrix(name, 1000 * seed + number)).collect();
    RankTable { cap: CAP, matrices }.to_parquet().expect("a table")
}

fn main() {
    let files: Vec<(&str, Vec<u8>)> = ["fairness", "privacy", "general"].into_iter().zip((1..).map(table)).collect();
    let rule = Rule::parse("fairness & privacy - general").expect("a rule");
    let axis: Vec<f64> = (0..100).map(|step| 1e-6 * 1000_f64.powf(f64::from(step) / 99.0)).collect();
    let megabytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() / 1_000_000;
    for _ in 0..3 {
        let started = Instant::now();
        let read = |(name, bytes): &(&str, Vec<u8>)| {
            ((*name).to_owned(), RankTable::from_parquet(bytes.clone()).expect("a table"))
        };
        let tables: BTreeMap<String, RankTable> = files.iter().map(read).collect();
        let reading = started.elapsed().as_secs_f64();
        let places = plane(&rule, &axis, &axis, &tables, &|_| true).expect("a plane").expect("rectangles");
        let all = started.elapsed().as_secs_f64();
        let rows: usize = tables.values().flat_map(|table| &table.matrices).map(|matrix| matrix.index.len()).sum();
        let most = places.iter().flatten().map(|place| place.weights).max().unwrap_or(0);
        println!(
            "10,000 points of {rows} ranked weights ({megabytes} MB): {all:.2} s, of which {reading:.2} s to read the tables; up to {most} weights are selected"
        );
    }
}
