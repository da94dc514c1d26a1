//! The loss of plain text, for perplexity.
//!
//! Must not know: where windows come from, files.

use super::Decoder;
use crate::error::Result;
use crate::model::ops;

/// Rows of logits that are computed at once. With a vocabulary of 150,000 entries they take 150 MB.
const ROWS: usize = 256;

impl Decoder {
    /// Σ −log p(idᵢ | ids before it) over all ids but the first, in nats.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn negative_log_likelihood(&self, ids: &[u32]) -> Result<f64> {
        let inputs = ids.len().saturating_sub(1);
        if inputs == 0 {
            return Ok(0.0);
        }
        ops::run(self.ops, || {
            let (batch, x) = self.read(&[&ids[..inputs]])?;
            let loss = |first: usize| {
                let count = ROWS.min(inputs - first);
                let rows = batch.rows.join(vec![x.clone().narrow(0, first, count)]);
                let logits = self.logits(rows).narrow(0, 0, count);
                self.ops.negative_log_likelihood(logits, &ids[first + 1..=first + count]).iter().sum::<f64>()
            };
            Ok((0..inputs).step_by(ROWS).map(loss).sum())
        })
    }
}
