//! score: token ids to the rank table of one data set.
//!
//! A score method ([`crate::score`]) says which number a weight gets. This file has the loop over samples, its shards, and the
//! cut to the table. To stay within `score.memory`, a method may need several rounds through the samples, one for each group
//! of layers. The resulting bytes are the same.
//!
//! A shard is the state of the running sums after sample n of a round, or the result of an earlier round. So a killed run
//! continues with the same bits. The scores of the whole model are never in memory together: if all of them are kept, they
//! are written matrix by matrix. Must not know: selection, other data sets.

use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::memory::{Unkeyed, forecast, within_memory};
use self::saved::Saved;
use super::{
    Context, Forecast, Input, ModelPart, Node, Outputs, Planning, Preview, Role, Stage, model_inputs, params_of,
};
use crate::choice::Choice;
use crate::error::{Error, Result};
use crate::model::decoder::Decoder;
use crate::model::decoder::sample::Sample;
use crate::model::device::Precision;
use crate::model::matrix::MatrixId;
use crate::model::matrix::{Layers, Modules};
use crate::rank::{RankTable, top};
use crate::score::{Keep, Method, Scorer};
use crate::tables::Tokens;
use crate::tensors;

mod memory;
mod saved;

pub struct Score;

/// What changes the scores or how much of them is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    pub method: Choice<dyn Method>,
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
    pub dtype: Option<Precision>,
    /// Left out when only ranks are kept.
    #[serde(default, skip_serializing_if = "ranks_only")]
    pub keep: Keep,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn ranks_only(keep: &Keep) -> bool {
    *keep == Keep::Ranks
}

impl Stage for Score {
    fn name(&self) -> &'static str {
        "score"
    }

    fn version(&self) -> u32 {
        3
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        let pipeline = planning.pipeline;
        let reads = pipeline.score.method.reads();
        let params = params_of(&Params {
            method: pipeline.score.method,
            seed: reads.seed.then_some(pipeline.score.seed),
            modules: pipeline.score.modules,
            layers: pipeline.score.layers.clone(),
            cap: pipeline.score.cap,
            dtype: reads.weights.then_some(pipeline.model.dtype),
            keep: pipeline.score.keep,
        })?;
        let unkeyed = params_of(&Unkeyed { memory: pipeline.score.memory })?;
        let nodes = pipeline.data.keys().map(|name| {
            let mut inputs = model_inputs(Role::Subject, &[ModelPart::Architecture]);
            if reads.weights {
                inputs.extend(model_inputs(Role::Subject, &[ModelPart::Weights]));
            }
            // If the method reads no data, the nodes of all data sets have one key, which is computed once.
            if reads.tokens {
                inputs.insert("tokens".into(), Input::output(&format!("tokenize[{name}]"), "tokens"));
            }
            let name = format!("score[{name}]");
            Node { name, params: params.clone(), unkeyed: unkeyed.clone(), inputs, ..Node::default() }
        });
        Ok(nodes.collect())
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        let params: Params = preview.params()?;
        params.layers.fit("score.layers", preview.checkpoint(Role::Subject)?.config().layers())?;
        Ok(Vec::new())
    }

    fn forecast(&self, preview: &Preview<'_>) -> Result<Option<Forecast>> {
        let params: Params = preview.params()?;
        if !params.method.in_groups() {
            return Ok(None);
        }
        match (preview.known)("tokens")? {
            Some(bytes) => {
                let estimate = within_memory(preview, &params, &Tokens::from_parquet(bytes)?.samples())?;
                Ok(Some(forecast(&estimate)))
            }
            // The token ids are not known yet. What does not fit with the shortest sample will never fit.
            None => within_memory(preview, &params, &[Sample { ids: vec![0, 0], response: 1 }]).map(|_| None),
        }
    }

    /// Floating-point operations, where the score method counts them.
    fn work(&self, preview: &Preview<'_>) -> Result<Option<f64>> {
        let params: Params = preview.params()?;
        match (preview.known)("tokens")? {
            Some(bytes) if params.method.in_groups() => {
                let estimate = within_memory(preview, &params, &Tokens::from_parquet(bytes)?.samples())?;
                Ok(Some(estimate.flops.needed() + estimate.flops.recomputed))
            }
            _ => Ok(None),
        }
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        if let Some(scores) = kept_scores(context, &params)? {
            context.progress.note("every score is in the store already; only the table is made anew");
            let table = table_of_file(&scores, params.cap)?;
            context.outlet.write("ranks", &mut |out| table.write(out))?;
            context.outlet.write("scores", &mut |out| tensors::copy(&scores, out))?;
            return Ok(Vec::new());
        }

        let method = params.method;
        let samples = if method.reads().tokens { samples(context)? } else { Vec::new() };
        let estimate = method.in_groups().then(|| within_memory(&context.preview(), &params, &samples)).transpose()?;
        let decoder = context.decoder(Role::Subject, params.dtype.unwrap_or_default())?;
        let scored = |id: MatrixId| id.is_in(params.modules, &params.layers);
        let mut scorer = match &estimate {
            Some(estimate) => method.start_in_groups(&decoder, &scored, &estimate.groups, estimate.batch_tokens)?,
            None => method.start(&decoder, &scored)?,
        };
        scorer.seed(params.seed.unwrap_or_default());

        let shards = Saved::new(context, &params, scorer.rounds());
        let rounds = shards.rounds.len();
        if rounds > 1 {
            context.progress.note(&format!("layers are scored in {rounds} groups, to stay within score.memory"));
        }
        let (mut finished, mut done) = shards.resume(scorer.as_mut(), &decoder, samples.len())?;
        let mut saved = Instant::now();
        for round in finished.len()..rounds {
            if round > 0 && done == 0 {
                scorer.begin(&decoder, round);
            }
            let told = |done: usize| {
                let (done, total) = (round * samples.len() + done, rounds * samples.len());
                context.progress.at(done as u64, total as u64, "samples");
            };
            if !samples.is_empty() {
                told(done);
            }
            while done < samples.len() {
                let next = scorer.group(&samples[done..]);
                scorer
                    .add(&decoder, &samples[done..done + next])
                    .map_err(|error| error.within(format!("samples {done} to {}", done + next - 1)))?;
                done += next;
                told(done);
                let stopping = (context.stop)();
                if done < samples.len() && (stopping || saved.elapsed() >= context.checkpoint_every) {
                    if let Some(state) = scorer.snapshot()? {
                        shards.put_sums(round, done, &state)?;
                    }
                    saved = Instant::now();
                }
                if done < samples.len() {
                    context.check_stop()?;
                }
            }
            let last = round + 1 == rounds;
            let table = cut(scorer.as_ref(), &decoder, &shards.rounds[round], params.cap, &mut |id, scores| {
                if last { Ok(()) } else { shards.put_scores(round, id, scores) }
            })?;
            if !last {
                shards.put_table(round, &table)?;
            }
            finished.push(table);
            done = 0;
        }

        // Rounds go from the top of the model down, tables from the bottom up.
        let matrices = finished.into_iter().rev().flat_map(|table| table.matrices).collect();
        let table = RankTable { cap: params.cap, matrices };
        context.outlet.write("ranks", &mut |out| table.write(out))?;
        drop(table);
        if params.keep == Keep::Full {
            let named = |id: &MatrixId| (id.weight(), decoder.linear(*id).weight.dims().to_vec());
            let tensors: Vec<(String, Vec<usize>)> = shards.rounds.iter().flatten().map(named).collect();
            // The scorer holds the sums of the last round. The scores of earlier rounds are in shards.
            let scores = |tensor: &str| match place(&shards.rounds, tensor)? {
                (round, id) if round + 1 == rounds => scorer.finish(&decoder, id),
                (round, id) => shards.scores(round, id),
            };
            context.outlet.write("scores", &mut |mut out| tensors::write(tensors.clone(), &mut out, scores))?;
        }
        Ok(Vec::new())
    }
}

/// The rank table of a round. Only one matrix's scores are in memory at a time; `each` gets them too.
fn cut(
    scorer: &dyn Scorer,
    decoder: &Decoder,
    matrices: &[MatrixId],
    cap: f64,
    each: &mut dyn FnMut(MatrixId, &[f32]) -> Result<()>,
) -> Result<RankTable> {
    let mut table = RankTable { cap, matrices: Vec::with_capacity(matrices.len()) };
    for id in matrices.iter().copied() {
        let columns = decoder.linear(id).weight.dims()[1];
        let scores = scorer.finish(decoder, id)?;
        table.matrices.push(top(&id.weight(), &scores, columns, cap)?);
        each(id, &scores)?;
    }
    Ok(table)
}

/// The round in which a tensor is scored, and the tensor's matrix.
fn place(rounds: &[Vec<MatrixId>], tensor: &str) -> Result<(usize, MatrixId)> {
    let id = MatrixId::parse(tensor);
    let round = rounds.iter().position(|ids| ids.iter().any(|other| Some(*other) == id));
    round.zip(id).ok_or_else(|| Error::fault(format!("{tensor} is scored in no round")))
}

fn samples(context: &Context<'_>) -> Result<Vec<Sample>> {
    let samples = Tokens::from_parquet(context.read("tokens")?)?.samples();
    if samples.is_empty() {
        return Err(Error::user("there is no sample to score").hint("raise `samples` of this data set"));
    }
    Ok(samples)
}

/// All scores, if an earlier run kept them and differs only in `cap`.
fn kept_scores(context: &Context<'_>, params: &Params) -> Result<Option<Bytes>> {
    if params.keep == Keep::Ranks {
        return Ok(None);
    }
    let same_but_for_cap = |other: &serde_json::Value| {
        let mut other = other.clone();
        other["cap"] = context.params["cap"].clone();
        other == *context.params
    };
    (context.earlier)(&same_but_for_cap, "scores")
}

fn table_of_file(bytes: &[u8], cap: f64) -> Result<RankTable> {
    let mut matrices = Vec::new();
    tensors::each(bytes, |(tensor, shape, scores)| {
        let columns = shape.last().copied().unwrap_or(1);
        matrices.push((MatrixId::parse(&tensor), top(&tensor, &scores, columns, cap)?));
        Ok(())
    })?;
    matrices.sort_by_key(|(place, _)| *place);
    Ok(RankTable { cap, matrices: matrices.into_iter().map(|(_, ranks)| ranks).collect() })
}
