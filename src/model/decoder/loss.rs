//! The loss of plain text, for perplexity.
//!
//! Must not know: windows' origin, files.

use crate::error::Result;
use crate::model::decoder::Decoder;

/// Rows of logits that exist at once: a vocabulary of 150,000 entries times this is 150 MB.
const ROWS: usize = 256;

impl Decoder {
    /// Σ −log p(idᵢ | ids before it) over all ids but the first, in nats.
    pub fn negative_log_likelihood(&self, ids: &[u32]) -> Result<f64> {
        let inputs = ids.len().saturating_sub(1);
        if inputs == 0 {
            return Ok(0.0);
        }
        let batch = self.batch(vec![0], 0, inputs);
        let x = self.embed(&ids[..inputs])?;
        Ok(self.ops.run(|| {
            let hidden = self.hidden(x, &batch, None, false);
            let loss = |first: usize| {
                let count = ROWS.min(inputs - first);
                let logits = self.logits(hidden.clone().narrow(0, first, count));
                self.ops.negative_log_likelihood(logits, &ids[first + 1..=first + count]).iter().sum::<f64>()
            };
            (0..inputs).step_by(ROWS).map(loss).sum()
        }))
    }
}
