//! Devices: which ones this build and this machine have, and how one is chosen by name.
//!
//! Burn's `Device::default()` is the first *compiled* backend, whether or not its hardware is there. Opening a missing GPU
//! panics on a worker thread. So devices are counted first.
//! Must not know: models.

use std::fmt;
use std::str::FromStr;

use burn::tensor::DType;
use serde::{Serialize, Serializer};

use crate::choice::choices;
use crate::error::{Error, Result};
use crate::machine;

/// Where tensors live, as it is typed. Never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The first GPU where there is one, else the CPU.
    Auto,
    Cpu,
    /// The NVIDIA GPU of this index; `cuda` alone means the first.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .filter(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| {
                    Error::user(format!(
                        "`device` must be \"auto\", \"cpu\", \"cuda\" or \"cuda:N\", found \"{other}\""
                    ))
                    .hint("`dean doctor` lists the devices of this machine")
                }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

choices! {
    /// The number format that a model computes in.
    #[derive(Default)]
    Precision {
        /// 32-bit floats, on every device.
        #[default]
        F32 = "f32",
    }
}

impl Precision {
    /// The type of its tensors.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
        }
    }
}

/// A device that was asked for and is there.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub device: burn::tensor::Device,
    /// Which one it is, to show and to record; never `Auto`.
    pub is: Device,
}

impl Chosen {
    /// The most tokens that should share a batch of the scoring pass. It changes no score.
    pub fn batch_tokens(&self) -> usize {
        if self.is_cpu() { CPU_BATCH_TOKENS } else { GPU_BATCH_TOKENS }
    }

    /// Whether the device's memory is the machine's own.
    pub fn is_cpu(&self) -> bool {
        self.is == Device::Cpu
    }
}

/// Tokens that share a batch of the scoring pass on a CPU, if memory allows. More tokens would not make it faster: reading and
/// packing the weights takes little of the time then.
pub const CPU_BATCH_TOKENS: usize = 512;

/// The same on a GPU, which is faster with more rows in a product.
const GPU_BATCH_TOKENS: usize = 2048;

/// How many NVIDIA GPUs Burn can reach: 0 without the `cuda` feature, without a driver or without a card.
pub fn cuda_count() -> usize {
    #[cfg(feature = "cuda")]
    return burn::tensor::Device::enumerate(burn::tensor::DeviceType::Cuda).len();
    #[cfg(not(feature = "cuda"))]
    0
}

/// Whether this build can use CUDA at all.
pub const fn has_cuda_feature() -> bool {
    cfg!(feature = "cuda")
}

/// The bytes that this process may hold on a device in total: what it holds already, and nine tenths of what is available.
/// `None` if that is not known: Burn does not say how much of a GPU's memory is free.
pub fn allowance(chosen: &Chosen) -> Option<u64> {
    if !chosen.is_cpu() {
        return None;
    }
    Some(machine::held().saturating_add(machine::memory()?.available_bytes / 10 * 9))
}

/// Chooses a device that is there.
pub fn choose(device: Device) -> Result<Chosen> {
    match device {
        Device::Auto if cuda_count() > 0 => cuda(0),
        Device::Auto | Device::Cpu => Ok(Chosen { device: burn::tensor::Device::flex(), is: Device::Cpu }),
        Device::Cuda(index) => cuda(index),
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
    return Ok(Chosen { device: burn::tensor::Device::cuda(index), is: Device::Cuda(index) });
    #[cfg(not(feature = "cuda"))]
    Err(Error::fault("the cuda feature is missing after it was checked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_survive_text() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for bad in ["gpu", "cuda:", "cuda:+1", "cuda:99999999999999999999999", "CPU", ""] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        assert_eq!(choose(Device::Cpu).unwrap().is, Device::Cpu);
        assert!(choose(Device::Auto).unwrap().is != Device::Auto);
        let error = choose(Device::Cuda(99)).unwrap_err();
        assert!(error.message().contains("cuda:99"));
    }

    #[test]
    fn a_cpus_allowance_is_known_where_its_memory_is() {
        let cpu = choose(Device::Cpu).unwrap();
        assert_eq!(allowance(&cpu).is_some(), machine::memory().is_some());
    }
}
