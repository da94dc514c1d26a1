//! The lines under a report that is shown: which run it is of, where things are, and what to type next.
//!
//! Must not know: how anything was measured, how the table is made.

use super::args::{Job, PIPELINE, PipelineArgs};
use crate::layout::{Look, wrap};
use crate::report::measures::{Summary, find};
use crate::report::text::label;
use crate::report::{Report, VariantReport};

/// The footer.
pub fn text(pipeline: &PipelineArgs, job: &Job, report: &Report, look: &Look) -> String {
    let mut lines = Vec::new();
    let run = report.job.as_ref().and_then(|made_of| made_of.run.as_deref());
    let run = run.map(|run| format!("run {run}, ")).unwrap_or_default();
    lines.push(wrap(&format!("{run}in the store {}", job.store.root().display()), look.width, 2));
    let same = same_job(pipeline);
    let mut next = Vec::new();
    if let Some(row) = most_interesting(report) {
        next.push((format!("dean show {} --flipped{same}", quoted(&label(row))), "the answers whose verdict flipped"));
    }
    next.push((format!("dean report --out results{same}"), "the report and its tables as files"));
    next.push((format!("dean status --json{same}"), "where each file lies"));
    next.push((format!("dean report --json{same}"), "everything that was compared, for a program"));
    let longest = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    for (command, what) in next {
        let line = format!("  {command:longest$}  {what}");
        lines.push(if line.chars().count() <= look.width { line } else { format!("  {command}") });
    }
    lines.join("\n")
}

/// The point whose verdicts are the least likely to have flipped by chance, else the first.
fn most_interesting(report: &Report) -> Option<&VariantReport> {
    let surprise = |row: &VariantReport| {
        let shares = row.outcomes.iter().filter(|found| matches!(find(&found.measure).summary, Summary::Share { .. }));
        shares.filter_map(|found| found.paired.as_ref()?.p).fold(1.0, f64::min)
    };
    let others = report.variants.iter().filter(|row| row.mask.is_some() && !row.points.is_empty());
    others.min_by(|one, other| surprise(one).total_cmp(&surprise(other)))
}

/// The arguments that name the same job again. The device changes no result.
pub fn same_job(pipeline: &PipelineArgs) -> String {
    let config = pipeline.config.display().to_string();
    let config = (config != PIPELINE).then(|| format!(" --config {}", quoted(&config)));
    let sets = pipeline.sets.iter().map(|set| format!(" --set {}", quoted(set)));
    config.into_iter().chain(sets).collect()
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_=+./,".contains(letter);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_cut_them() {
        for (word, shown) in [("p=q=1e-5", "p=q=1e-5"), ("p 1e-5, q 2e-5", "'p 1e-5, q 2e-5'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn what_is_typed_next_is_about_the_same_job() {
        let sets = vec!["select.q=[1e-5]".to_owned(), "model.dtype=f32".to_owned()];
        let pipeline = |config: &str, sets| PipelineArgs {
            config: config.into(),
            sets,
            device: Some("cpu".into()),
            swept: Vec::new(),
        };
        assert_eq!(same_job(&pipeline(PIPELINE, Vec::new())), "");
        let named = same_job(&pipeline("my job.toml", sets));
        assert_eq!(named, " --config 'my job.toml' --set 'select.q=[1e-5]' --set model.dtype=f32");
    }
}
