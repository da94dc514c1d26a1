//! Answers that follow from earlier ones.
//!
//! Must not know: how answers are generated.

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
    // The inputs are the same, so the questions are, in the same order.
    let answers = longer.or(shorter).map(Answer::from_parquet).transpose()?.unwrap_or_default();
    for ((place, asked), answer) in known.iter_mut().zip(asked).zip(answers) {
        if asked.prompt.ids != answer.prompt_ids {
            continue;
        }
        let mut ids = answer.answer_ids;
        let stop = match answer.stop {
            _ if ids.len() > limit => Some(Stop::Length),
            End::Eos | End::Thought => Some(Stop::Eos),
            End::Text => Some(Stop::Text),
            End::Length => None,
        };
        ids.truncate(limit);
        *place = stop.map(|stop| Continuation { ids, stop });
    }
    Ok(known)
}
