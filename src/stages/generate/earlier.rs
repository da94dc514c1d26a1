//! Answers that follow from earlier ones.
//!
//! Must not know: how answers are generated.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{Asked, Params};
use crate::error::Result;
use crate::model::decoder::generate::{Continuation, Stop};
use crate::stages::{Context, params_of};
use crate::tables::{Answer, End, Row};

/// The answers that follow from earlier ones with another limit of new tokens: a longer answer begins with the shorter, and
/// one that ended by itself is the same under every limit that it is within.
pub fn known(context: &Context<'_>, params: &Params, asked: &[Asked]) -> Result<Vec<Option<Continuation>>> {
    let limit = params.max_new_tokens;
    let of_limit = |other: &Value, fits: &dyn Fn(usize) -> bool| {
        let same = |other: &Params| params_of(&Params { max_new_tokens: limit, ..other.clone() });
        Params::deserialize(other).is_ok_and(|other| {
            fits(other.max_new_tokens) && same(&other).ok().is_some_and(|other| other == *context.params)
        })
    };
    let mut known = vec![None; asked.len()];
    let longer = (context.earlier)(&|other| of_limit(other, &|other| other > limit), "answers")?;
    let shorter = match &longer {
        Some(_) => None,
        None => (context.earlier)(&|other| of_limit(other, &|other| other < limit), "answers")?,
    };
    let answers = longer.or(shorter);
    let is_same_limit = answers.is_none();
    let answers = if is_same_limit { of_other_rows(context, params)? } else { answers };
    // The inputs are the same, so a row of a set is the same question.
    let answers = answers.map(Answer::from_parquet).transpose()?.unwrap_or_default();
    let mut answers: BTreeMap<(String, u32), Answer> =
        answers.into_iter().map(|answer| ((answer.set.clone(), answer.row), answer)).collect();
    for (place, asked) in known.iter_mut().zip(asked) {
        let Some(answer) = answers.remove(&(asked.set.clone(), asked.row)) else { continue };
        if asked.prompt.ids != answer.prompt_ids {
            continue;
        }
        let mut ids = answer.answer_ids;
        let stop = match answer.stop {
            _ if ids.len() > limit => Some(Stop::Length),
            End::Eos | End::Thought => Some(Stop::Eos),
            End::Text => Some(Stop::Text),
            End::Length => is_same_limit.then_some(Stop::Length),
        };
        ids.truncate(limit);
        *place = stop.map(|stop| Continuation { ids, stop });
    }
    Ok(known)
}

/// Answers to more or fewer of the same questions, under the same limit of new tokens: an answer does not depend on the questions
/// beside it, unless tokens are drawn.
fn of_other_rows(context: &Context<'_>, params: &Params) -> Result<Option<Bytes>> {
    if params.sampling.is_some() {
        return Ok(None);
    }
    let of_all_rows = |params: &Params| {
        let mut params = params.clone();
        params.sets.values_mut().for_each(|set| set.limit = None);
        params_of(&params)
    };
    let wanted = of_all_rows(params)?;
    let fits = |other: &Value| {
        Params::deserialize(other).is_ok_and(|other| of_all_rows(&other).is_ok_and(|other| other == wanted))
    };
    (context.earlier)(&fits, "answers")
}
