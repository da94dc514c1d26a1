//! Full score tensors as a safetensors file. The whole file is never in memory.
//!
//! Must not know: what the numbers mean.

use std::io::Write;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

use crate::error::{Error, Result};

/// A tensor: name, shape, row-major values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// How many values become bytes at once.
const PIECE: usize = 1 << 14;

/// Writes f32 tensors whose names and shapes are known, and asks for the values of one after the other, in the order of
/// the names. Equal tensors give equal bytes, those of the safetensors crate.
///
/// # Errors
/// What `values` says. Values that are not as many as the shape says.
pub fn write(
    mut tensors: Vec<(String, Vec<usize>)>,
    out: &mut dyn Write,
    mut values: impl FnMut(&str) -> Result<Vec<f32>>,
) -> Result<()> {
    tensors.sort();
    let mut end = 0;
    let info = |(name, shape): &(String, Vec<usize>)| {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape: shape.clone(), data_offsets: (start, end) })
    };
    let header = Metadata::new(None, tensors.iter().map(info).collect()).map_err(unwritten)?;
    let mut header = serde_json::to_vec(&header).map_err(unwritten)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&header)).map_err(unwritten)?;
    for (name, shape) in &tensors {
        let values = values(name)?;
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::fault(format!("{name} has {} scores, its shape is {shape:?}", values.len())));
        }
        for piece in values.chunks(PIECE) {
            out.write_all(&to_bytes(piece)).map_err(unwritten)?;
        }
    }
    Ok(())
}

/// Copies a file of tensors into an output.
///
/// # Errors
/// What keeps `out` from being written.
pub fn copy(bytes: &[u8], out: &mut dyn Write) -> Result<()> {
    out.write_all(bytes).map_err(unwritten)
}

fn unwritten(cause: impl std::fmt::Display) -> Error {
    Error::fault(format!("scores cannot be written: {cause}"))
}

/// f32 values as the bytes of the file, little-endian.
pub fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of bytes from [`to_bytes`].
pub fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Reads f32 tensors, one at a time.
///
/// # Errors
/// A file of another kind, tensors of another type, and what `each` says.
pub fn each(bytes: &[u8], mut each: impl FnMut(Named) -> Result<()>) -> Result<()> {
    let bad = |what: String| {
        Error::user(format!("this is not a file of scores: {what}"))
            .hint("scores are written by `dean run` with score.keep = \"full\"")
    };
    let file = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(bad(format!("{name} is not f32")));
        }
        each((name.to_owned(), view.shape().to_vec(), from_bytes(view.data())))?;
    }
    Ok(())
}

/// Reads f32 tensors.
///
/// # Errors
/// Those of [`each`].
pub fn read(bytes: &[u8]) -> Result<Vec<Named>> {
    let mut tensors = Vec::new();
    each(bytes, |tensor| {
        tensors.push(tensor);
        Ok(())
    })?;
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn a_stream_is_what_the_safetensors_crate_writes() {
        // More values than one piece, and an order of names that is not that of numbers.
        let large: Vec<f32> = (0..40_000).map(|value| value as f32 / 7.0).collect();
        let tensors: Vec<Named> = vec![
            ("layers.2".into(), vec![2, 2], vec![1.0, 2.0, 3.0, -4.0]),
            ("layers.10".into(), vec![200, 200], large),
            ("a \"quoted\" name".into(), vec![1, 1], vec![f32::MIN_POSITIVE]),
        ];
        let mut written = Vec::new();
        let shapes = tensors.iter().map(|(name, shape, _)| (name.clone(), shape.clone())).collect();
        let values = |name: &str| Ok(tensors.iter().find(|tensor| tensor.0 == name).unwrap().2.clone());
        write(shapes, &mut written, values).unwrap();
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., values)| to_bytes(values)).collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        assert_eq!(written, safetensors::serialize(views, None).unwrap());

        let mut read = read(&written).unwrap();
        read.sort_by_key(|tensor| tensor.1.clone());
        let mut tensors = tensors;
        tensors.sort_by_key(|tensor| tensor.1.clone());
        assert_eq!(read, tensors);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let shapes = || vec![("a".to_owned(), vec![2, 2])];
        assert!(write(shapes(), &mut Vec::new(), |_| Ok(vec![0.0; 3])).is_err());
        assert!(write(shapes(), &mut &mut [0_u8; 20][..], |_| Ok(vec![0.0; 4])).is_err());
        assert!(read(b"nonsense").is_err());
    }
}
