//! The shards of scoring: the running sums after sample n of a round, and what earlier rounds came to.
//!
//! Must not know: what a score is.

use super::{Finished, Params};
use crate::digest::Digest;
use crate::error::Result;
use crate::model::decoder::Decoder;
use crate::model::matrix::MatrixId;
use crate::rank::RankTable;
use crate::score::{Keep, Scorer};
use crate::stages::Context;
use crate::tensors;

/// The shards of one way through the samples. Their names hold what the rounds are, so that a shard of other matrices or
/// of another grouping is never taken for one of these.
pub(super) struct Saved<'a> {
    context: &'a Context<'a>,
    params: &'a Params,
    pub rounds: Vec<Vec<MatrixId>>,
    /// A short digest of them.
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

    /// Keeps the state after some samples of a round; of the other shards only what earlier rounds came to stays.
    pub fn put_sums(&self, round: usize, samples: usize, state: &[u8]) -> Result<()> {
        let name = self.sums(round, samples);
        self.context.shards.put(&name, state)?;
        let earlier: Vec<String> =
            (0..round).flat_map(|round| [self.name("ranks", round), self.name("scores", round)]).collect();
        for old in self.context.shards.names()?.iter().filter(|old| **old != name && !earlier.contains(old)) {
            self.context.shards.remove(old)?;
        }
        Ok(())
    }

    pub fn put_finished(&self, round: usize, found: &Finished) -> Result<()> {
        if self.params.keep == Keep::Full {
            self.context.shards.put(&self.name("scores", round), &tensors::write(&found.full)?)?;
        }
        self.context.shards.put(&self.name("ranks", round), &found.table.to_parquet()?)
    }

    /// What an earlier round came to; none if that is not there in full.
    fn finished(&self, round: usize) -> Result<Option<Finished>> {
        let Some(table) = self.context.shards.get(&self.name("ranks", round))? else { return Ok(None) };
        let table = RankTable::from_parquet(table)?;
        let mut full = Vec::new();
        if self.params.keep == Keep::Full {
            let Some(bytes) = self.context.shards.get(&self.name("scores", round))? else { return Ok(None) };
            full = tensors::read(&bytes)?;
            full.sort_by_key(|(tensor, ..)| MatrixId::parse(tensor));
        }
        Ok(Some(Finished { table, full }))
    }

    /// Puts the newest usable state back: what earlier rounds came to, and how many samples of the next one the scorer
    /// holds.
    pub fn resume(&self, scorer: &mut dyn Scorer, decoder: &Decoder, total: usize) -> Result<(Vec<Finished>, usize)> {
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
            let Some(finished) = (0..round).map(|round| self.finished(round)).collect::<Result<Option<Vec<_>>>>()?
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
