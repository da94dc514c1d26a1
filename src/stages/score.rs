//! score: token ids to the rank table of one data set.
//!
//! Which number a weight gets is a score method ([`crate::score`]); here are the loop over samples,
//! its shards and the cut to the table. A shard is the state of the running sums after sample n, so
//! a killed run goes on with the same bits. Must not know: selection, other data sets.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Input, ModelName, ModelPart, Node, Outputs, Planning, Stage, Work, model_inputs, params_of};
use crate::config::{Keep, Layers, Modules};
use crate::error::{Error, Result};
use crate::model::backward::Sample;
use crate::model::projection::Projection;
use crate::rank::{RankTable, top};
use crate::score::{self, Scorer};
use crate::tables::Tokens;
use crate::tensors;

pub struct Score;

/// What changes the scores or how much of them is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    /// A name of [`crate::score::METHODS`].
    pub method: String,
    /// Only where the method draws numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// In their canonical spelling.
    pub modules: Modules,
    /// Left out when all are scored.
    #[serde(default = "Layers::all", skip_serializing_if = "Layers::is_all")]
    pub layers: Layers,
    /// The fraction of every matrix that the rank table holds.
    pub cap: f64,
    /// The type that weights have on the device; only where the method reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// `full` also keeps every score; left out when only ranks are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
}

/// How a model is loaded whose weights are not read.
const ANY_DTYPE: &str = "f32";

/// The name of the shard after sample n. The matrices' range is part of it, so that a shard of other ranges is
/// never taken for one of these.
fn shard_name(matrices: usize, samples: usize) -> String {
    format!("sums-{matrices}-{samples:08}")
}

impl Stage for Score {
    fn name(&self) -> &'static str {
        "score"
    }

    fn version(&self) -> u32 {
        2
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let pipeline = planning.pipeline;
        let reads = score::method(pipeline.score.method.name())?.reads();
        let params = params_of(&Params {
            method: pipeline.score.method.to_string(),
            seed: reads.seed.then_some(pipeline.score.seed),
            modules: pipeline.score.modules,
            layers: pipeline.score.layers.clone(),
            cap: pipeline.score.cap,
            dtype: reads.weights.then(|| pipeline.model.dtype.to_string()),
            keep: (pipeline.score.keep == Keep::Full).then(|| "full".to_owned()),
        })?;
        let nodes = pipeline.data.keys().map(|name| {
            let mut inputs = model_inputs(ModelName::Model, &[ModelPart::Architecture]);
            if reads.weights {
                inputs.extend(model_inputs(ModelName::Model, &[ModelPart::Weights]));
            }
            // Without data all sets ask for one node under one key: it is computed once.
            if reads.tokens {
                inputs.insert("tokens".into(), Input::output(&format!("tokenize[{name}]"), "tokens"));
            }
            Node { name: format!("score[{name}]"), params: params.clone(), inputs }
        });
        Ok(nodes.collect())
    }

    fn run(&self, work: &Work<'_>) -> Result<Outputs> {
        let params: Params = work.params()?;
        if let Some(scores) = kept_scores(work, &params)? {
            work.progress.note("every score is in the store already; only the table is made anew");
            let table = table_of_file(&scores, params.cap)?;
            return Ok(vec![("ranks".into(), table.to_parquet()?), ("scores".into(), scores)]);
        }

        let method = score::method(&params.method)?;
        let samples = if method.reads().tokens { samples(work)? } else { Vec::new() };
        let decoder = work.decoder(ModelName::Model, params.dtype.as_deref().unwrap_or(ANY_DTYPE))?;
        let scored = |layer: usize, projection: Projection| projection.is_in(layer, params.modules, &params.layers);
        let mut scorer = method.start(&decoder, &scored)?;
        scorer.seed(params.seed.unwrap_or_default());
        let matrices = scorer.matrices().len();

        let mut done = resume(work, scorer.as_mut(), matrices, samples.len())?;
        let mut saved = Instant::now();
        let total = samples.len() as u64;
        if total > 0 {
            work.progress.at(done as u64, total, "samples");
        }
        while done < samples.len() {
            let next = scorer.group(&samples[done..]);
            scorer
                .add(&decoder, &samples[done..done + next])
                .map_err(|error| error.within(format!("samples {done} to {}", done + next - 1)))?;
            done += next;
            work.progress.at(done as u64, total, "samples");
            let stopping = (work.stop)();
            if done < samples.len() && (stopping || saved.elapsed() >= work.checkpoint_every) {
                if let Some(state) = scorer.snapshot()? {
                    let name = shard_name(matrices, done);
                    work.shards.put(&name, &state)?;
                    for old in work.shards.names()?.iter().filter(|old| **old != name) {
                        work.shards.remove(old)?;
                    }
                }
                saved = Instant::now();
            }
            if done < samples.len() {
                work.check_stop()?;
            }
        }

        let mut table = RankTable { cap: params.cap, matrices: Vec::with_capacity(matrices) };
        let mut full = Vec::new();
        for (layer, projection) in scorer.matrices() {
            let tensor = projection.tensor(layer);
            let shape = decoder.layers[layer].linear(projection).weight.dims();
            let scores = scorer.finish(&decoder, layer, projection)?;
            table.matrices.push(top(&tensor, &scores, shape[1], params.cap)?);
            if params.keep.is_some() {
                full.push((tensor, shape.to_vec(), scores));
            }
        }
        let mut outputs = vec![("ranks".to_owned(), table.to_parquet()?)];
        if params.keep.is_some() {
            outputs.push(("scores".into(), tensors::write(&full)?));
        }
        Ok(outputs)
    }
}

fn samples(work: &Work<'_>) -> Result<Vec<Sample>> {
    let samples = Tokens::from_parquet(work.read("tokens")?)?.samples();
    if samples.is_empty() {
        return Err(Error::user("there is no sample to score").hint("raise `samples` of this data set"));
    }
    Ok(samples)
}

/// Every score of an earlier run that differs only in `cap`.
fn kept_scores(work: &Work<'_>, params: &Params) -> Result<Option<Vec<u8>>> {
    if params.keep.is_none() {
        return Ok(None);
    }
    let same_but_for_cap = |other: &serde_json::Value| {
        let mut other = other.clone();
        other["cap"] = work.params["cap"].clone();
        other == *work.params
    };
    (work.earlier)(&same_but_for_cap, "scores")
}

fn table_of_file(bytes: &[u8], cap: f64) -> Result<RankTable> {
    let mut matrices = Vec::new();
    for (tensor, shape, scores) in tensors::read(bytes)? {
        let columns = shape.last().copied().unwrap_or(1);
        matrices.push((Projection::parse(&tensor), top(&tensor, &scores, columns, cap)?));
    }
    matrices.sort_by_key(|(place, _)| *place);
    Ok(RankTable { cap, matrices: matrices.into_iter().map(|(_, ranks)| ranks).collect() })
}

/// Puts the newest usable shard back and says how many samples it holds.
fn resume(work: &Work<'_>, scorer: &mut dyn Scorer, matrices: usize, total: usize) -> Result<usize> {
    let mut counts: Vec<usize> = Vec::new();
    for name in work.shards.names()? {
        let count = name.rsplit('-').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        if count > 0 && count < total && name == shard_name(matrices, count) {
            counts.push(count);
        }
    }
    counts.sort_unstable();
    while let Some(count) = counts.pop() {
        if let Some(state) = work.shards.get(&shard_name(matrices, count))?
            && scorer.restore(&state)
        {
            work.progress.note(&format!("going on after sample {count} of {total}"));
            return Ok(count);
        }
    }
    Ok(0)
}
