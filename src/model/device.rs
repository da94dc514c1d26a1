//! Devices: which ones this build and this machine have, and how one is chosen by name.
//!
//! Burn's `Device::default()` is the first *compiled* backend whether or not its hardware is there,
//! and opening a missing GPU panics on a worker thread, so devices are counted first.
//! Must not know: models.

use burn::tensor::{DType, Device};

use crate::error::{Error, Result};
use crate::machine;

/// A device that was asked for by name and is there.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub device: Device,
    /// The name to show and to record: `cpu` or `cuda:N`.
    pub name: String,
}

impl Chosen {
    /// The most tokens that should share a batch of the scoring pass. It changes no score.
    pub fn batch_tokens(&self) -> usize {
        if self.is_cpu() { CPU_BATCH_TOKENS } else { GPU_BATCH_TOKENS }
    }

    /// Whether the device's memory is the machine's own.
    pub fn is_cpu(&self) -> bool {
        self.name == "cpu"
    }
}

/// Tokens that share a batch of the scoring pass on a CPU, where memory allows. More gain nothing there: weights are read
/// and packed seldom enough.
pub const CPU_BATCH_TOKENS: usize = 512;

/// The same on a GPU, which wants more rows to a product.
const GPU_BATCH_TOKENS: usize = 2048;

/// How many NVIDIA GPUs Burn can reach: 0 without the `cuda` feature, without a driver or without a card.
pub fn cuda_count() -> usize {
    #[cfg(feature = "cuda")]
    return Device::enumerate(burn::tensor::DeviceType::Cuda).len();
    #[cfg(not(feature = "cuda"))]
    0
}

/// Whether this build can use CUDA at all.
pub const fn has_cuda_feature() -> bool {
    cfg!(feature = "cuda")
}

/// The bytes that this process may hold on a device, all in all: what it holds already and nine tenths of what is
/// available. None where that is not known: Burn does not tell how much of a GPU's memory is free.
pub fn allowance(chosen: &Chosen) -> Option<u64> {
    if !chosen.is_cpu() {
        return None;
    }
    Some(machine::held().saturating_add(machine::memory()?.available_bytes / 10 * 9))
}

/// Chooses a device: `auto` (the first GPU if there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.
pub fn choose(name: &str) -> Result<Chosen> {
    match name {
        "auto" => choose(if cuda_count() > 0 { "cuda:0" } else { "cpu" }),
        "cpu" | "flex" => Ok(Chosen { device: Device::flex(), name: "cpu".into() }),
        "cuda" => cuda(0),
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => cuda(index),
            _ => Err(Error::user(format!("`{name}` is not a device"))
                .hint("devices are auto, cpu, cuda and cuda:N; `dean doctor` lists those of this machine")),
        },
    }
}

fn cuda(index: usize) -> Result<Chosen> {
    if !has_cuda_feature() {
        return Err(Error::user(format!("device cuda:{index} was asked for, but this build has no GPU support"))
            .hint("build with `cargo build --release --features cuda` (README.md, \"GPU\"), or use --device cpu"));
    }
    let count = cuda_count();
    if index >= count {
        let found = match count {
            0 => "no NVIDIA GPU was found".to_owned(),
            1 => "there is one NVIDIA GPU, cuda:0".to_owned(),
            many => format!("there are {many} NVIDIA GPUs, cuda:0 to cuda:{}", many - 1),
        };
        return Err(Error::user(format!("device cuda:{index} was asked for, but {found}"))
            .hint("use --device cpu, or look at `dean doctor` and `nvidia-smi`"));
    }
    #[cfg(feature = "cuda")]
    return Ok(Chosen { device: Device::cuda(index), name: format!("cuda:{index}") });
    #[cfg(not(feature = "cuda"))]
    Err(Error::fault("the cuda feature is missing after it was checked"))
}

/// The tensor type of a `dtype` setting.
pub fn dtype(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::BF16),
        other => Err(Error::user(format!("`{other}` is not a number type")).hint("use f32, bf16 or f16")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_or_refused_with_a_way_out() {
        assert_eq!(choose("cpu").unwrap().name, "cpu");
        assert!(choose("auto").is_ok());
        let error = choose("tpu").unwrap_err();
        assert!(error.hint_text().unwrap().contains("dean doctor"));
        let error = choose("cuda:99").unwrap_err();
        assert!(error.message().contains("cuda:99"));
    }

    #[test]
    fn a_cpus_allowance_is_known_where_its_memory_is() {
        let cpu = choose("cpu").unwrap();
        assert_eq!(allowance(&cpu).is_some(), machine::memory().is_some());
    }
}
