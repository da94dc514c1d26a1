//! The shards of scoring: the running sums after sample n of a round, and the results of earlier rounds.
//!
//! Must not know: what a score is.

use std::collections::BTreeSet;

use super::Params;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::matrix::MatrixId;
use crate::rank::RankTable;
use crate::score::{Keep, Scorer};
use crate::stages::Context;
use crate::tensors;

/// The shards of one scoring. Their names contain a digest of the rounds, so that shards of other matrices or of another
/// grouping are not used by mistake.
pub(super) struct Saved<'a> {
    context: &'a Context<'a>,
    params: &'a Params,
    pub rounds: Vec<Vec<MatrixId>>,
    /// A short digest of the rounds.
    geometry: String,
}

impl<'a> Saved<'a> {
    pub fn new(context: &'a Context<'a>, params: &'a Params, rounds: Vec<Vec<MatrixId>>) -> Self {
        let geometry = Digest::of(format!("{rounds:?}").as_bytes()).short();
        Self { context, params, rounds, geometry }
    }

    fn name(&self, what: &str, round: usize) -> String {
        format!("{what}-{}-{round:04}", self.geometry)
    }

    fn sums(&self, round: usize, samples: usize) -> String {
        format!("{}-{samples:08}", self.name("sums", round))
    }

    /// The name of the shard with the scores of one matrix.
    fn matrix(&self, round: usize, id: MatrixId) -> String {
        format!("{}-{id}", self.name("scores", round))
    }

    /// The names of the shards that a finished round leaves.
    fn left(&self, round: usize) -> Vec<String> {
        let matrices = self.rounds.get(round).filter(|_| self.params.keep == Keep::Full).into_iter().flatten();
        let scores = matrices.map(|id| self.matrix(round, *id));
        scores.chain([self.name("ranks", round)]).collect()
    }

    /// Saves the state after some samples of a round. Removes all other shards except the results of earlier rounds.
    pub fn put_sums(&self, round: usize, samples: usize, state: &[u8]) -> Result<()> {
        let name = self.sums(round, samples);
        self.context.shards.put(&name, state)?;
        let earlier: BTreeSet<String> = (0..round).flat_map(|round| self.left(round)).collect();
        for old in self.context.shards.names()?.iter().filter(|old| **old != name && !earlier.contains(*old)) {
            self.context.shards.remove(old)?;
        }
        Ok(())
    }

    /// Saves all scores of one matrix of a round, if `keep` asks for them.
    pub fn put_scores(&self, round: usize, id: MatrixId, scores: &[f32]) -> Result<()> {
        match self.params.keep {
            Keep::Full => self.context.shards.put(&self.matrix(round, id), &tensors::to_bytes(scores)),
            Keep::Ranks => Ok(()),
        }
    }

    /// The saved scores of one matrix of a round.
    ///
    /// # Errors
    /// User: the shard is damaged or missing.
    pub fn scores(&self, round: usize, id: MatrixId) -> Result<Vec<f32>> {
        let bytes = self.context.shards.get(&self.matrix(round, id))?;
        let lost = || Error::user(format!("the scores of {id} were damaged in the store while others were computed"));
        let bytes = bytes.ok_or_else(|| lost().hint("run again: they are computed again"))?;
        Ok(tensors::from_bytes(&bytes))
    }

    /// Saves the table of a round. Its scores must have been saved before.
    pub fn put_table(&self, round: usize, table: &RankTable) -> Result<()> {
        self.context.shards.put(&self.name("ranks", round), &table.to_parquet()?)
    }

    /// The table of an earlier round; `None` if any of that round's shards is missing.
    fn finished(&self, round: usize, names: &[String]) -> Result<Option<RankTable>> {
        if !self.left(round).iter().all(|name| names.contains(name)) {
            return Ok(None);
        }
        self.context.shards.get(&self.name("ranks", round))?.map(RankTable::from_parquet).transpose()
    }

    /// Restores the newest usable state. Returns the tables of the rounds that are finished, and how many samples of the next
    /// round the scorer holds.
    pub fn resume(&self, scorer: &mut dyn Scorer, decoder: &Decoder, total: usize) -> Result<(Vec<RankTable>, usize)> {
        let names = self.context.shards.names()?;
        let prefix = format!("sums-{}-", self.geometry);
        let place = |name: &String| -> Option<(usize, usize)> {
            let (round, done) = name.strip_prefix(&prefix)?.split_once('-')?;
            Some((round.parse().ok()?, done.parse().ok()?))
        };
        let mut places: Vec<(usize, usize)> = names.iter().filter_map(place).collect();
        places.retain(|(round, done)| *round < self.rounds.len() && (1..total).contains(done));
        places.sort_unstable();
        for (round, done) in places.into_iter().rev() {
            let Some(finished) =
                (0..round).map(|round| self.finished(round, &names)).collect::<Result<Option<Vec<_>>>>()?
            else {
                continue;
            };
            scorer.begin(decoder, round);
            if let Some(state) = self.context.shards.get(&self.sums(round, done))?
                && scorer.restore(&state)
            {
                let place = match self.rounds.len() {
                    1 => String::new(),
                    rounds => format!(" in group {} of {rounds}", round + 1),
                };
                self.context.progress.note(&format!("going on after sample {done} of {total}{place}"));
                return Ok((finished, done));
            }
        }
        scorer.begin(decoder, 0);
        Ok((Vec::new(), 0))
    }
}
