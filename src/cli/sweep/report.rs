//! `dean report` of a sweep: one table of what its jobs have in the store by now.
//!
//! Must not know: how draws are joined.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Swept, member};
use crate::cli::format::{WIDTH, count, wrap};
use crate::cli::print;
use crate::error::{Error, Result};
use crate::report::joined::{self, Joined};

/// The report of a sweep for a program.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SweepReportAnswer")]
pub struct Told {
    jobs: Vec<ReportedJob>,
    /// Joined over draws.
    rows: Vec<Joined>,
}

/// One job of a sweep, as far as it is.
#[derive(Serialize, JsonSchema)]
struct ReportedJob {
    /// What is set for it, as `--set` takes it.
    set: Vec<String>,
    /// Whether anything of it is in the rows.
    begun: bool,
    /// Results that it still needs, as far as they are known.
    missing: usize,
}

/// What all jobs have by now, joined over draws.
///
/// # Errors
/// User: no job has anything yet.
pub fn rows(jobs: &[Swept]) -> Result<Vec<Joined>> {
    Ok(read(jobs)?.0)
}

fn read(jobs: &[Swept]) -> Result<(Vec<Joined>, Vec<ReportedJob>)> {
    let (mut members, mut told) = (Vec::new(), Vec::new());
    for swept in jobs {
        let (planner, plan) = swept.job.plan()?;
        let (found, missing) = member(swept, &planner, &plan)?;
        told.push(ReportedJob { set: swept.sets.clone(), begun: found.is_some(), missing: missing.len() });
        members.extend(found);
    }
    if members.is_empty() {
        return Err(Error::user("no job of the sweep has a result in the store").hint(
            "`dean run` computes them; `dean plan` says what that takes; --no-sweep looks at the job without [sweep]",
        ));
    }
    Ok((joined::join(&members), told))
}

/// Shows what there is.
pub fn show(jobs: &[Swept], in_json: bool) -> Result<()> {
    let (rows, told) = read(jobs)?;
    if in_json {
        return print::json(&Told { jobs: told, rows });
    }
    print::line(joined::show(&rows));
    let finished = told.iter().filter(|job| job.missing == 0).count();
    let begun = told.iter().filter(|job| job.begun).count();
    let words = match finished == told.len() {
        true => format!("all {} are finished", count(told.len(), "job")),
        false => format!(
            "so far: {finished} of {} are finished, {begun} are in the table; `dean run` goes on",
            count(told.len(), "job")
        ),
    };
    print::line(format_args!("\n{}", wrap(&words, WIDTH, 2)));
    Ok(())
}
