//! The formats IQ4_NL and IQ4_XS: four bits choose one of sixteen levels that lie closer to each other near zero.
//!
//! Format: llama.cpp's `ggml-common.h` (`block_iq4_nl`, `block_iq4_xs`). `tests/gguf/iq4.py` makes the reference with the
//! Python package gguf. Must not know: where in a file a tensor lies.

/// The levels, before they are scaled.
const LEVELS: [f32; 16] = [-127., -104., -83., -65., -49., -35., -22., -10., 1., 13., 25., 38., 53., 69., 89., 113.];

/// Of IQ4_NL: an f16 scale, and half a byte for each value.
pub const NL_VALUES: usize = 32;
pub const NL_BYTES: usize = 2 + NL_VALUES / 2;

/// Of IQ4_XS: an f16 scale, six bits of a scale for each 32 values (two of them in the first field, four in the second), and
/// half a byte for each value.
pub const XS_VALUES: usize = 256;
pub const XS_BYTES: usize = 2 + 2 + XS_VALUES / 64 + XS_VALUES / 2;

/// The values of IQ4_NL blocks; a trailing part of a block is dropped.
pub fn nl(bytes: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len() / NL_BYTES * NL_VALUES);
    for block in bytes.as_chunks::<NL_BYTES>().0 {
        let (scale, halves) = block.split_at(2);
        push(&mut values, half_float(scale), halves);
    }
    values
}

/// The values of IQ4_XS blocks; a trailing part of a block is dropped.
pub fn xs(bytes: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len() / XS_BYTES * XS_VALUES);
    for block in bytes.as_chunks::<XS_BYTES>().0 {
        let (scales, halves) = block.split_at(XS_BYTES - XS_VALUES / 2);
        let (scale, high, low) = (half_float(scales), u16::from_le_bytes([scales[2], scales[3]]), &scales[4..]);
        for (group, halves) in halves.chunks_exact(16).enumerate() {
            let low = low[group / 2] >> (4 * (group % 2)) & 0xF;
            let high = high >> (2 * group) & 3;
            let own = f32::from(low) + f32::from(high << 4) - 32.0;
            push(&mut values, scale * own, halves);
        }
    }
    values
}

fn half_float(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// First the lower halves of the bytes, then the upper ones.
fn push(values: &mut Vec<f32>, scale: f32, halves: &[u8]) {
    values.extend(halves.iter().map(|byte| scale * LEVELS[usize::from(byte & 0xF)]));
    values.extend(halves.iter().map(|byte| scale * LEVELS[usize::from(byte >> 4)]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Reference {
        format: String,
        bytes: Vec<u8>,
        values: Vec<f32>,
    }

    #[test]
    fn blocks_give_the_values_that_the_reference_gives() {
        let all: Vec<Reference> = serde_json::from_str(include_str!("../../../tests/gguf/iq4.json")).unwrap();
        let mut formats = Vec::new();
        for Reference { format, bytes, values } in all {
            let found = if format == "IQ4_NL" { nl(&bytes) } else { xs(&bytes) };
            assert!(found.iter().any(|value| *value != 0.0) && found == values, "{format}");
            formats.push(format);
        }
        assert_eq!(formats, ["IQ4_NL", "IQ4_XS"]);
    }
}
