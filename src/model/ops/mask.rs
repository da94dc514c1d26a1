//! Which keys a query may see: causal, windowed, and never the padding before a sequence.
//!
//! Must not know: heads, layers, what the numbers mean.

use std::ops::Range;

/// The visible keys of a batch of B sequences whose queries stand at slots `first..first + T`.
#[derive(Clone, Debug)]
pub struct Mask {
    starts: Vec<usize>,
    first: usize,
    window: Option<usize>,
}

impl Mask {
    /// `starts[b]` is the slot of the first real token of sequence b (0 without left padding), `first` the slot
    /// of query 0, `window` how many keys a query sees, itself included.
    pub fn new(starts: Vec<usize>, first: usize, window: Option<usize>) -> Self {
        Self { starts, first, window }
    }

    /// The slots that query t of sequence b sees. Never empty: a padding query sees itself.
    pub fn visible(&self, b: usize, t: usize) -> Range<usize> {
        let last = self.first + t;
        let near = self.window.map_or(0, |window| (last + 1).saturating_sub(window));
        let start = self.starts.get(b).copied().unwrap_or(0).max(near).min(last);
        start..last + 1
    }

    /// 0 where a key is visible and −∞ where not, row-major [B, 1, T, S].
    pub fn additive(&self, queries: usize, keys: usize) -> Vec<f32> {
        let mut bias = vec![f32::NEG_INFINITY; self.starts.len() * queries * keys];
        for (row, values) in bias.chunks_mut(keys).enumerate() {
            let visible = self.visible(row / queries, row % queries);
            values[visible.start..visible.end.min(keys)].fill(0.0);
        }
        bias
    }

    /// The same mask for the queries from number `query` on.
    pub fn from(&self, query: usize) -> Self {
        Self { first: self.first + query, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causal_window_and_padding_meet() {
        let mask = Mask::new(vec![0, 3], 2, Some(4));
        assert_eq!(mask.visible(0, 0), 0..3);
        assert_eq!(mask.visible(0, 3), 2..6, "four keys, itself included");
        assert_eq!(mask.visible(1, 3), 3..6, "never the padding");
        assert_eq!(mask.visible(1, 0), 2..3, "a padding query sees itself, so that softmax has a row");
    }

    #[test]
    fn the_additive_form_says_the_same() {
        let mask = Mask::new(vec![0, 1], 0, None);
        let bias = mask.additive(2, 2);
        let open: Vec<bool> = bias.iter().map(|value| *value == 0.0).collect();
        assert_eq!(open, [true, false, true, true, true, false, false, true]);
    }
}
