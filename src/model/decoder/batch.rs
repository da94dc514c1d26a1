//! One batch of a decoder: its rows, and the angles of their positions for every kind of layer.
//!
//! Must not know: what is computed with them.

use super::Decoder;
use crate::error::{Error, Result};
use crate::model::arch::rope::Rope;
use crate::model::ops::angles::Angles;
use crate::model::ops::rows::{Rows, least_rows};

/// Who multiplies rows with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// The backend, in an order of sums that depends on the number of rows: scoring, and reading of whole texts.
    Backend,
    /// `Ops::row_products`, in which a row does not depend on the others: generation.
    ByRow,
}

/// The rows of one pass, with the angles of their positions.
pub struct Batch {
    pub rows: Rows,
    /// How its rows are multiplied with weights.
    pub products: Products,
    /// One for each kind of rotary embedding that the layers have.
    angles: Vec<(Rope, Angles)>,
}

impl Decoder {
    /// A batch of whole sequences. `tokens` are their lengths.
    pub fn batch(&self, tokens: impl IntoIterator<Item = usize>) -> Batch {
        self.batch_of(Rows::whole(tokens, least_rows(&self.config)), Products::Backend)
    }

    /// A batch of these rows.
    pub(in crate::model) fn batch_of(&self, rows: Rows, products: Products) -> Batch {
        let positions = rows.positions();
        let mut angles: Vec<(Rope, Angles)> = Vec::new();
        for block in &self.config.blocks {
            if !angles.iter().any(|(rope, _)| *rope == block.rope) {
                let of = Angles::of(&block.rope, self.config.head_dim, &positions, &self.device, self.dtype);
                angles.push((block.rope.clone(), of));
            }
        }
        Batch { rows, products, angles }
    }

    /// The angles of a layer's rotary embedding. [`Decoder::batch_of`] made those of every layer.
    pub(in crate::model) fn angles<'a>(&self, layer: usize, batch: &'a Batch) -> Result<&'a Angles> {
        let rope = &self.config.blocks[layer].rope;
        let found = batch.angles.iter().find(|(known, _)| known == rope);
        found.map(|(_, angles)| angles).ok_or_else(|| Error::fault("a batch was made for another decoder"))
    }
}
