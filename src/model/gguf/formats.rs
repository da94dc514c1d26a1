//! The formats of GGUF tensors: how large their blocks are, and how values come out of them.
//!
//! Most are dequantised by candle, which lacks the formats in [`iq4`]. Must not know: where in a file a tensor lies, what it is for.

use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};

use super::iq4;
use crate::error::{Error, Result};
use crate::model::floats::{Dtype, floats};

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Candle(GgmlDType),
    Iq4Nl,
    Iq4Xs,
}

/// The hint for what cannot.
pub const READABLE: &str =
    "use a file of type Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS, F16, BF16 or F32";

impl Format {
    /// The format with this number in a file, and its name.
    ///
    /// # Errors
    /// The name of a format that cannot be read.
    pub fn of(number: u32) -> std::result::Result<(&'static str, Self), String> {
        let candle = |name, kind| Ok((name, Self::Candle(kind)));
        match number {
            0 => candle("F32", GgmlDType::F32),
            1 => candle("F16", GgmlDType::F16),
            2 => candle("Q4_0", GgmlDType::Q4_0),
            3 => candle("Q4_1", GgmlDType::Q4_1),
            6 => candle("Q5_0", GgmlDType::Q5_0),
            7 => candle("Q5_1", GgmlDType::Q5_1),
            8 => candle("Q8_0", GgmlDType::Q8_0),
            10 => candle("Q2_K", GgmlDType::Q2K),
            11 => candle("Q3_K", GgmlDType::Q3K),
            12 => candle("Q4_K", GgmlDType::Q4K),
            13 => candle("Q5_K", GgmlDType::Q5K),
            14 => candle("Q6_K", GgmlDType::Q6K),
            20 => Ok(("IQ4_NL", Self::Iq4Nl)),
            23 => Ok(("IQ4_XS", Self::Iq4Xs)),
            30 => candle("BF16", GgmlDType::BF16),
            other => Err(FOREIGN
                .iter()
                .find(|(number, _)| *number == other)
                .map_or_else(|| format!("type {other}"), |(_, name)| (*name).to_owned())),
        }
    }

    /// How many values share a block.
    pub fn block_size(self) -> usize {
        match self {
            Self::Candle(kind) => kind.block_size(),
            Self::Iq4Nl => iq4::NL_VALUES,
            Self::Iq4Xs => iq4::XS_VALUES,
        }
    }

    /// The bytes of a block.
    pub fn type_size(self) -> usize {
        match self {
            Self::Candle(kind) => kind.type_size(),
            Self::Iq4Nl => iq4::NL_BYTES,
            Self::Iq4Xs => iq4::XS_BYTES,
        }
    }

    /// The values of whole blocks. `bytes` are aligned as in a file, and there are as many as `shape` asks for.
    ///
    /// # Errors
    /// Fault: they are not.
    pub fn dequantize(self, bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>> {
        let kind = match self {
            Self::Candle(GgmlDType::F32) => return Ok(floats(bytes, Dtype::F32)),
            Self::Candle(GgmlDType::F16) => return Ok(floats(bytes, Dtype::F16)),
            Self::Candle(GgmlDType::BF16) => return Ok(floats(bytes, Dtype::BF16)),
            Self::Candle(kind) => kind,
            Self::Iq4Nl => return Ok(iq4::nl(bytes)),
            Self::Iq4Xs => return Ok(iq4::xs(bytes)),
        };
        // candle casts the slice to blocks that may hold f16: the header's check of offsets keeps it aligned
        let cpu = &candle_core::Device::Cpu;
        qtensor_from_ggml(kind, bytes, shape.to_vec(), cpu)
            .and_then(|quantised| quantised.dequantize(cpu)?.flatten_all()?.to_vec1::<f32>())
            .map_err(|cause| Error::fault(format!("cannot dequantise: {cause}")))
    }
}

/// Names of formats that cannot be read, for the error.
const FOREIGN: [(u32, &str); 15] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];
