//! Where an answer ends, and what of its tokens is the answer.
//!
//! Must not know: shards, how tokens are chosen.

use crate::error::Result;
use crate::model::text::Text;
use crate::model::text::thoughts::{Said, Tags, split};

/// Where answers end, and what they say.
pub struct Ending<'a> {
    text: &'a Text,
    /// The thought in which each answer begins.
    inside: Vec<Option<Tags>>,
    /// Texts that end an answer.
    stops: &'a [String],
    /// Tokens that end an answer.
    pub ids: Vec<u32>,
    /// So many tokens at the end are looked at before a whole answer is.
    window: usize,
}

/// Tokens that a text may begin or end in without being in them whole, and special ones, which are no text.
const AROUND: usize = 8;

impl<'a> Ending<'a> {
    /// `inside` has, for each prompt, the tags of the thought in which its answer begins.
    pub fn new(text: &'a Text, inside: Vec<Option<Tags>>, stops: &'a [String]) -> Self {
        // Special tokens are no part of an answer's text, so one that is named as an end is looked for among the ids.
        let special = stops.iter().filter_map(|stop| text.special_id(stop));
        let ids = text.stop_ids().iter().copied().chain(special).collect();
        let window = stops.iter().map(|stop| stop.len() + AROUND).max().unwrap_or_default();
        Self { text, inside, stops, ids, window }
    }

    /// What the new tokens of a prompt say.
    pub fn said(&self, row: usize, ids: &[u32]) -> Result<Said> {
        Ok(split(self.inside[row], &self.text.decode_answer(ids)?, self.stops))
    }

    /// Whether a text that ends answers was written. A token of a text has at least one byte, so the last tokens hold it if it
    /// has just been written. Whether it stands in the answer or in a thought, only the whole shows. A character of which some
    /// bytes are still to come is not one that a text could have.
    pub fn ends(&self, row: usize, ids: &[u32]) -> Result<bool> {
        if self.stops.is_empty() {
            return Ok(false);
        }
        let tail = self.text.decode_answer(&ids[ids.len().saturating_sub(self.window)..])?;
        Ok(self.stops.iter().any(|stop| tail.contains(stop.as_str())) && self.said(row, ids)?.stopped)
    }
}
