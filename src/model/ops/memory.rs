//! The memory of a CPU tensor as a slice, and how much work a task should have.
//!
//! Must not know: what is computed.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Device, Shape, Tensor, TensorData};

/// The fewest elements that are worth a task of their own.
pub const GRAIN: usize = 1 << 13;

/// The memory of a tensor, contiguous and row-major. Copies only if the tensor is a strided view.
pub struct Memory(FloatTensor<Flex>);

impl Memory {
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let primitive = tensor.try_into_primitive::<Flex>().expect("Ops::of chose host loops for a CPU tensor");
        Self(if primitive.as_slice::<f32>().is_some() { primitive } else { primitive.to_contiguous() })
    }

    pub fn slice(&self) -> &[f32] {
        self.0.as_slice().expect("contiguous f32 by construction")
    }

    /// The values. They are moved if nobody else holds the tensor, otherwise copied.
    pub fn into_vec(self) -> Vec<f32> {
        let values = self.slice();
        if self.0.is_unique() && self.0.layout().start_offset() == 0 && self.0.storage::<f32>().len() == values.len() {
            let data = self.0.into_data();
            return data.try_into_vec::<f32>().expect("f32 by construction");
        }
        values.to_vec()
    }
}

/// A tensor of the CPU backend that takes ownership of the values.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: impl Into<Shape>) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Rows per task, so that a task has about [`GRAIN`] elements.
pub fn rows_per_task(columns: usize) -> usize {
    (GRAIN / columns.max(1)).max(1)
}
