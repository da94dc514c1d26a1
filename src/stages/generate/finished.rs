//! The answers that are done: those that are known before anything is generated, those of an earlier run that was stopped, and
//! those that come while this one lasts.
//!
//! Must not know: questions, what an answer says.

use super::drafts::Drafts;
use super::ending::Ending;
use crate::error::{Error, Result};
use crate::model::decoder::draw::Draws;
use crate::model::decoder::generate::{Continuation, Stop, Watch};
use crate::stages::Context;

/// Answers that one shard holds, so that little is lost with a killed process.
const SHARD: usize = 16;

/// The answers that are done, by row, and the shards that hold them.
pub struct Finished<'a> {
    context: &'a Context<'a>,
    prompts: &'a [&'a [u32]],
    pub drafts: Drafts,
    /// Tokens of drafts that were read, and those that were right.
    drafted: (usize, usize),
    pub rows: Vec<Option<Continuation>>,
    /// Rows that no shard holds yet.
    pending: Vec<usize>,
    max_new_tokens: usize,
    ending: &'a Ending<'a>,
    draws: Option<Draws>,
    /// New tokens so far; an answer that ended early counts in full.
    tokens: u64,
}

impl<'a> Finished<'a> {
    /// Starts with the answers that are known, and with those in the shards of an earlier run. Which answers share a shard
    /// does not matter, because an answer does not depend on the others.
    pub fn resume(
        context: &'a Context<'a>,
        prompts: &'a [&'a [u32]],
        mut rows: Vec<Option<Continuation>>,
        max_new_tokens: usize,
        ending: &'a Ending<'a>,
        draws: Option<Draws>,
    ) -> Result<Self> {
        for name in context.shards.names()? {
            let shard = context.shards.get(&name)?.and_then(|bytes| read_shard(&bytes)).unwrap_or_default();
            for (row, continuation) in shard {
                if let Some(place) = rows.get_mut(row) {
                    *place = Some(continuation);
                }
            }
        }
        let tokens = (rows.iter().flatten().count() * max_new_tokens) as u64;
        let (drafts, drafted, pending) = (Drafts::new(), (0, 0), Vec::new());
        let finished = Self { context, prompts, drafts, drafted, rows, pending, max_new_tokens, ending, draws, tokens };
        finished.tell();
        Ok(finished)
    }

    fn tell(&self) {
        self.context.progress.at(self.tokens, (self.rows.len() * self.max_new_tokens) as u64, "tokens");
    }

    pub fn tell_of_drafts(&self) {
        let (read, right) = self.drafted;
        if read > 0 {
            let text = format!("{right} of {read} tokens that the nearest variant had written were right here too");
            self.context.progress.note(&text);
        }
    }

    /// Puts what is done and not kept yet into a shard.
    pub fn keep(&mut self) -> Result<()> {
        let Some(first) = self.pending.first() else { return Ok(()) };
        let name = format!("rows-{first:06}");
        let rows = self.pending.iter().filter_map(|row| Some((*row, self.rows[*row].as_ref()?)));
        self.context.shards.put(&name, &write_shard(rows)?)?;
        self.pending.clear();
        Ok(())
    }
}

impl Watch for Finished<'_> {
    fn draws(&self) -> Option<&Draws> {
        self.draws.as_ref()
    }

    fn ends(&mut self, row: usize, ids: &[u32]) -> Result<Option<Stop>> {
        Ok(self.ending.ends(row, ids)?.then_some(Stop::Text))
    }

    fn step(&mut self, tokens: usize) -> Result<()> {
        self.tokens += tokens as u64;
        self.tell();
        self.context.check_stop()
    }

    fn draft(&mut self, row: usize) -> Vec<u32> {
        self.drafts.get(self.prompts[row]).cloned().unwrap_or_default()
    }

    fn supposed(&mut self, read: usize, right: usize) {
        self.drafted = (self.drafted.0 + read, self.drafted.1 + right);
    }

    fn done(&mut self, row: usize, answer: &Continuation) -> Result<()> {
        self.tokens += (self.max_new_tokens - answer.ids.len()) as u64;
        self.rows[row] = Some(answer.clone());
        self.pending.push(row);
        if self.pending.len() >= SHARD { self.keep() } else { Ok(()) }
    }
}

fn write_shard<'a>(rows: impl Iterator<Item = (usize, &'a Continuation)>) -> Result<Vec<u8>> {
    let rows: Vec<(usize, &[u32], Stop)> =
        rows.map(|(row, answer)| (row, answer.ids.as_slice(), answer.stop)).collect();
    serde_json::to_vec(&rows).map_err(|error| Error::fault(format!("a shard of answers cannot be written: {error}")))
}

/// Rows and their answers; none if the shard is something else. They are then generated again.
fn read_shard(bytes: &[u8]) -> Option<Vec<(usize, Continuation)>> {
    let read: Vec<(usize, Vec<u32>, Stop)> = serde_json::from_slice(bytes).ok()?;
    Some(read.into_iter().map(|(row, ids, stop)| (row, Continuation { ids, stop })).collect())
}
