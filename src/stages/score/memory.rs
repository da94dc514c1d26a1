//! What scoring one data set will take, and the groups of layers in which it stays within `score.memory`.
//!
//! Must not know: how scores are computed.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Params;
use crate::error::{Error, Result};
use crate::model::decoder::memory_plan::{self, Estimate, Length, Setup};
use crate::model::decoder::sample::Sample;
use crate::model::device;
use crate::model::matrix::MatrixId;
use crate::size::{Budget, size};
use crate::stages::{Forecast, Preview, Role};

/// What changes no score.
#[derive(Serialize, Deserialize)]
pub(super) struct Unkeyed {
    /// How much memory may be taken.
    pub memory: Budget,
}

/// The groups of layers in which scoring stays within `score.memory`, and what it then takes.
///
/// # Errors
/// If no grouping does.
pub(super) fn within_memory(preview: &Preview<'_>, params: &Params, samples: &[Sample]) -> Result<Estimate> {
    let Unkeyed { memory } = preview.unkeyed()?;
    let checkpoint = preview.checkpoint(Role::Subject)?;
    let config = checkpoint.config();
    let chosen = preview.models.device()?;
    let matrices: Vec<MatrixId> =
        MatrixId::all(config.layers()).filter(|id| id.is_in(params.modules, &params.layers)).collect();
    let lengths: Vec<Length> =
        samples.iter().map(|sample| Length { inputs: sample.inputs(), labels: sample.labels().len() }).collect();
    let on_host = chosen.is_cpu();
    let setup = Setup {
        value_bytes: params.dtype.unwrap_or_default().dtype().size() as u64,
        batch_tokens: chosen.batch_tokens(),
        fused: on_host,
        budget: match memory {
            Budget::Bytes(bytes) => Some(bytes),
            Budget::Auto => device::allowance(&chosen),
        },
        // A shard is made in the machine's memory, which a CPU shares.
        saved: on_host,
        packs: on_host,
        kept_percent: if on_host { Setup::KEPT_ON_CPU } else { 0 },
    };
    let estimate = memory_plan::estimate(config, &matrices, &lengths, &setup);
    match setup.budget {
        Some(budget) if !estimate.fits => Err(too_little(memory, budget, &estimate)),
        _ => Ok(estimate),
    }
}

fn too_little(memory: Budget, budget: u64, estimate: &Estimate) -> Error {
    let (needed, budget) = (estimate.peak_bytes, size(budget));
    let less = "fewer or shorter samples need less, and so do fewer modules and layers";
    let needs = format!("scoring needs {} at least, with layers in groups", size(needed));
    match memory {
        Budget::Auto => Error::user(format!("{needs}, and {budget} are available")).hint(format!(
            "free memory or take a larger machine; {less}; score.memory = {needed} tries it all the same"
        )),
        Budget::Bytes(_) => Error::user(format!("{needs}, and score.memory allows {budget}"))
            .hint(format!("raise score.memory to {needed} or more; {less}")),
    }
}

/// An estimate in words and for a program.
pub(super) fn forecast(estimate: &Estimate) -> Forecast {
    let (needed, peak) = (operations(estimate.flops.needed()), size(estimate.peak_bytes));
    let words = match estimate.groups.len() {
        0 | 1 => format!("takes {needed} and at most {peak}, all layers at once"),
        groups => {
            let again = operations(estimate.flops.recomputed);
            format!("takes {needed}, {again} more for {groups} groups of layers, and at most {peak}")
        }
    };
    let groups: Vec<[usize; 2]> = estimate.groups.iter().map(|group| [group.start, group.end]).collect();
    let facts = json!({
        "operations": estimate.flops.needed(), "recomputed": estimate.flops.recomputed,
        "peak_bytes": estimate.peak_bytes, "groups": groups, "batch_tokens": estimate.batch_tokens,
    });
    Forecast { words, facts }
}

/// An amount of work: `812 MFLOP`, `3.4 TFLOP`.
fn operations(flops: f64) -> String {
    const UNITS: [&str; 5] = ["kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"];
    let mut value = flops / 1e3;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        if value < 999.5 {
            break;
        }
        value /= 1e3;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::operations;

    #[test]
    fn operations_have_two_digits_and_a_unit() {
        assert_eq!(
            [0.0, 1234.0, 9.96e5, 9.996e8, 3.39e12, 7.434e14, 5e19].map(operations),
            ["0.0 kFLOP", "1.2 kFLOP", "996 kFLOP", "1.0 GFLOP", "3.4 TFLOP", "743 TFLOP", "50000 PFLOP"]
        );
    }
}
