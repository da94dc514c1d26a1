//! Full score tensors as a safetensors file.
//!
//! Must not know: what the numbers mean.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};

/// A tensor: name, shape, row-major values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Writes f32 tensors; equal tensors give equal bytes.
pub fn write(tensors: &[Named]) -> Result<Vec<u8>> {
    let fault = |error: safetensors::SafeTensorError| Error::fault(format!("scores cannot be written: {error}"));
    let buffers: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&buffers)
        .map(|((name, shape, _), bytes)| {
            Ok((name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(fault)?))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).map_err(fault)
}

/// Reads f32 tensors.
///
/// # Errors
/// A file of another kind, or tensors of another type.
pub fn read(bytes: &[u8]) -> Result<Vec<Named>> {
    let bad = |what: String| {
        Error::user(format!("this is not a file of scores: {what}"))
            .hint("scores are written by `dean run` with score.keep = \"full\"")
    };
    let file = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(bad(format!("{name} is not f32")));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        tensors.push((name.to_owned(), view.shape().to_vec(), values));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_the_file() {
        let tensors =
            vec![("b".to_owned(), vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]), ("a".to_owned(), vec![1, 1], vec![0.5])];
        let mut read = read(&write(&tensors).unwrap()).unwrap();
        read.sort_by_key(|tensor| std::cmp::Reverse(tensor.0.clone()));
        assert_eq!(read, tensors);
        assert!(super::read(b"nonsense").is_err());
    }
}
