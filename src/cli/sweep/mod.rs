//! `dean run --sweep KEY=VALUES`: the same job for every combination of values, and one table of all.
//!
//! What the jobs have in common is computed once, since they share a store. Must not know: how a job runs, what a value means.

use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Job, PipelineArgs};
use super::format::count;
use super::{print, run};
use crate::error::{Error, Result};
use crate::rank::Selection;
use crate::report;
use crate::report::joined::{self, Joined, Member};

/// The most jobs of one sweep: more were typed by mistake.
const MOST: usize = 10_000;

/// One axis: a setting and its values, each as TOML.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The key as it was typed; `*` stands for every data set.
    key: String,
    values: Vec<String>,
}

impl Axis {
    /// Reads `data.*.seed=0..5`, `score.method=snip,wanda`, `select.q=logspace(1e-6,1e-4,5)` or `KEY=[…]`.
    ///
    /// # Errors
    /// What is wrong, in words for clap.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let (key, values) = text.split_once('=').ok_or("write KEY=VALUES, such as data.*.seed=0..5")?;
        let values = values_of(values.trim()).map_err(|error| error.message().to_owned())?;
        if values.is_empty() {
            return Err(format!("{key} has no values"));
        }
        Ok(Self { key: key.trim().to_owned(), values })
    }

    /// Whether other values of it are other draws of the same thing.
    fn is_draw(&self) -> bool {
        self.key.ends_with(".seed") || self.key.ends_with(".skip")
    }

    /// Whether its values are points of one grid, so that one job has them all.
    fn is_grid(&self) -> bool {
        matches!(self.key.as_str(), "select.p" | "select.q" | "select.points")
    }

    /// What `--set` would take for one value.
    fn sets(&self, value: &str, data_sets: &[&String]) -> Vec<String> {
        match self.key.split_once('*') {
            Some((before, after)) => data_sets.iter().map(|name| format!("{before}{name}{after}={value}")).collect(),
            None => vec![format!("{}={value}", self.key)],
        }
    }
}

/// The values that a text stands for, each as TOML.
fn values_of(text: &str) -> Result<Vec<String>> {
    let wrong = || {
        Error::user(format!("`{text}` is no list of values: write a,b,c or [a, b] or 0..5 or logspace(1e-6,1e-4,5)"))
    };
    if let Some(inner) = text.strip_prefix("logspace(").and_then(|rest| rest.strip_suffix(')')) {
        let numbers: Vec<f64> =
            inner.split(',').map(|part| part.trim().parse().map_err(|_| wrong())).collect::<Result<_>>()?;
        let [from, to, count] = numbers[..] else { return Err(wrong()) };
        return logspace(from, to, count).ok_or_else(wrong);
    }
    if text.starts_with('[') || text.contains('"') {
        let list = if text.starts_with('[') { text.to_owned() } else { format!("[{text}]") };
        let table: toml::Table = format!("values = {list}").parse().map_err(|_| wrong())?;
        let values = table.get("values").and_then(toml::Value::as_array).ok_or_else(wrong)?;
        return Ok(values.iter().map(ToString::to_string).collect());
    }
    if let Some((from, to)) = text.split_once("..").filter(|_| !text.contains(['/', ','])) {
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
        let (from, to) = (number(from)?, number(to)?);
        return if to.saturating_sub(from) <= MOST as u64 {
            Ok((from..to).map(|value| value.to_string()).collect())
        } else {
            Err(wrong())
        };
    }
    // A word that is no TOML is a text: `snip,wanda` needs no quotes.
    let value = |part: &str| match format!("value = {part}").parse::<toml::Table>() {
        Ok(_) => part.to_owned(),
        Err(_) => toml::Value::from(part).to_string(),
    };
    Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(value).collect())
}

/// So many numbers, evenly in their logarithm, both ends as they were typed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "checked to be small"
)]
fn logspace(from: f64, to: f64, count: f64) -> Option<Vec<String>> {
    if !(from > 0.0 && to > 0.0 && count >= 2.0 && count.fract() == 0.0 && count <= MOST as f64) {
        return None;
    }
    let steps = count as usize - 1;
    let value = |step: usize| match step {
        0 => from,
        last if last == steps => to,
        _ => from * (to / from).powf(step as f64 / steps as f64),
    };
    // Three digits are enough to tell points apart, and to type them again.
    let is_end = |step: usize| step == 0 || step == steps;
    let typed = |step| if is_end(step) { format!("{:e}", value(step)) } else { format!("{:.2e}", value(step)) };
    Some((0..=steps).map(typed).collect())
}

/// One job of the sweep: what is set, and which of it is no draw.
struct Combination {
    sets: Vec<String>,
    settings: Vec<(String, String)>,
}

/// Every combination of the axes' values, the first axis slowest; or, zipped, the first values of all, the second, and so on.
fn combinations(axes: &[Axis], zip: bool, data_sets: &[&String]) -> Result<Vec<Combination>> {
    let (grid, axes): (Vec<&Axis>, Vec<&Axis>) = axes.iter().partition(|axis| axis.is_grid());
    if zip && grid.len() > 1 {
        return Err(Error::user("p and q of one sweep make a grid, and cannot be zipped")
            .hint("write the pairs: --sweep 'select.points=[[1e-5,1e-5],[3e-5,1e-5]]'"));
    }
    let in_all: Vec<String> = grid.iter().map(|axis| format!("{}=[{}]", axis.key, axis.values.join(", "))).collect();
    let mut picks: Vec<Vec<usize>> = vec![Vec::new()];
    if zip {
        let lengths: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
        if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(Error::user("axes that are zipped have different numbers of values")
                .hint("give each axis as many values, or leave out --zip for every combination"));
        }
        picks = (0..lengths.first().copied().unwrap_or(1)).map(|at| vec![at; axes.len()]).collect();
    } else {
        for axis in &axes {
            let longer = |pick: &Vec<usize>| {
                (0..axis.values.len()).map(|at| [pick.as_slice(), &[at]].concat()).collect::<Vec<_>>()
            };
            picks = picks.iter().flat_map(longer).collect();
            if picks.len() > MOST {
                return Err(
                    Error::user(format!("the sweep has more than {MOST} combinations")).hint("give fewer values")
                );
            }
        }
    }
    let combination = |pick: Vec<usize>| {
        let chosen = || axes.iter().zip(&pick).filter_map(|(axis, at)| Some((*axis, axis.values.get(*at)?)));
        let sets = in_all.iter().cloned().chain(chosen().flat_map(|(axis, value)| axis.sets(value, data_sets)));
        let settings =
            chosen().filter(|(axis, _)| !axis.is_draw()).map(|(axis, value)| (axis.key.clone(), value.clone()));
        Combination { sets: sets.collect(), settings: settings.collect() }
    };
    Ok(picks.into_iter().map(combination).collect())
}

/// A sweep for a program.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SweepAnswer")]
pub struct Told {
    seconds: f64,
    runs: Vec<SweptRun>,
    /// Joined over draws.
    rows: Vec<Joined>,
}

/// One job of a sweep.
#[derive(Serialize, JsonSchema)]
struct SweptRun {
    /// What was set for it, as `--set` takes it.
    set: Vec<String>,
    run: String,
    /// Nodes that it computed.
    computed: usize,
}

/// Runs every combination, and shows all of them as one table.
pub fn sweep(pipeline: &PipelineArgs, axes: &[Axis], zip: bool, quiet: bool, in_json: bool) -> Result<()> {
    let started = Instant::now();
    let data_sets = pipeline.pipeline()?.data;
    let all = combinations(axes, zip, &data_sets.keys().collect::<Vec<_>>())?;
    let jobs: Vec<Job> = all.iter().map(|combination| job(pipeline, combination)).collect::<Result<_>>()?;
    let (mut members, mut runs) = (Vec::new(), Vec::new());
    for (number, (combination, job)) in all.into_iter().zip(&jobs).enumerate() {
        if !in_json {
            print::line(format_args!("[{}/{}] {}", number + 1, jobs.len(), combination.sets.join("  ")));
        }
        let summary = run::missing(job, quiet, None, None)?;
        let output = |node: &str, output: &str| job.output(&summary.plan, node, output);
        let report = output("report", "report")?.ok_or_else(|| Error::fault("a run that ended well has no report"))?;
        let selection = match (output("select", "masks")?, output("select", "points")?) {
            (Some(masks), Some(points)) => Some(Selection::from_parquet(masks, points)?),
            _ => None,
        };
        runs.push(SweptRun { set: combination.sets, run: summary.run, computed: summary.computed.len() });
        members.push(Member { settings: combination.settings, report: report::json::read(&report)?, selection });
    }
    let joined = joined::join(&members);
    if in_json {
        let seconds = started.elapsed().as_secs_f64();
        return print::json(&Told { seconds, runs, rows: joined });
    }
    print::line(format_args!("\n{}, joined over draws:\n\n{}", count(members.len(), "run"), joined::show(&joined)));
    Ok(())
}

fn job(pipeline: &PipelineArgs, combination: &Combination) -> Result<Job> {
    let mut pipeline = pipeline.clone();
    pipeline.sets.extend(combination.sets.iter().cloned());
    pipeline.job()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_write_lists() {
        let values = |text: &str| values_of(text).unwrap();
        assert_eq!(values("0..3"), ["0", "1", "2"]);
        assert_eq!(values("snip, wanda"), ["\"snip\"", "\"wanda\""]);
        assert_eq!(values("\"a, b\", 3"), ["\"a, b\"", "3"]);
        assert_eq!(values("[\"a, b\", 2]"), ["\"a, b\"", "2"]);
        assert_eq!(values("1e-5,3e-5"), ["1e-5", "3e-5"]);
        assert_eq!(values("logspace(1e-6, 1e-4, 3)"), ["1e-6", "1.00e-5", "1e-4"]);
        assert_eq!(values("[\"../a\", \"../b\"]"), ["\"../a\"", "\"../b\""]);
        assert_eq!(values("../x.csv,../y.csv"), ["\"../x.csv\"", "\"../y.csv\""]);
        for wrong in ["logspace(0,1,3)", "logspace(1,2)", "1..x", "[1, ", "0..99999999"] {
            assert!(values_of(wrong).is_err(), "{wrong}");
        }
        assert!(Axis::parse("data.a.seed").is_err() && Axis::parse("data.a.seed=").is_err());
    }

    #[test]
    fn axes_are_combined_or_zipped_and_draws_are_no_settings() {
        let axes: Vec<Axis> = ["score.method=snip,wanda", "data.*.seed=0..2", "select.q=1e-5,3e-5"]
            .map(|text| Axis::parse(text).unwrap())
            .into();
        let names = ["a".to_owned(), "b".to_owned()];
        let all = combinations(&axes, false, &names.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!(all[1].sets, ["select.q=[1e-5, 3e-5]", "score.method=\"snip\"", "data.a.seed=1", "data.b.seed=1"]);
        assert_eq!(all[1].settings, [("score.method".to_owned(), "\"snip\"".to_owned())]);
        let zipped = combinations(&axes, true, &[]).unwrap();
        assert_eq!(zipped.len(), 2);
        let uneven = [Axis::parse("a.b=1,2").unwrap(), Axis::parse("c.d=1,2,3").unwrap()];
        assert!(combinations(&uneven, true, &[]).is_err() && combinations(&uneven, false, &[]).unwrap().len() == 6);
    }
}
