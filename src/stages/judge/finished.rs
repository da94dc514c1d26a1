//! The verdicts that are there: those of shards of an earlier run that was stopped, those that other variants' nodes put out
//! for the same questions and answers, and those that come while this one lasts.
//!
//! A verdict depends on question and answer alone, so it does not matter where it comes from. Must not know: who judges.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::judge::{Exchange, Label, Listener, Verdict};
use crate::stages::Context;
use crate::tables::{Answer, Row, VerdictRow};

/// Verdicts that one shard holds, so that little is lost with a killed process.
const SHARD: usize = 16;

/// So many verdicts in a row that cannot be read are no accident.
const UNREAD: usize = 32;

/// How many of them are shown, and how many characters of each.
const EXAMPLES: usize = 3;
const EXAMPLE: usize = 160;

/// The verdicts on some answers.
pub struct Finished<'a> {
    context: &'a Context<'a>,
    answers: &'a [Answer],
    /// By question and answer.
    verdicts: HashMap<(&'a str, &'a str), Verdict>,
    /// One answer for each question and answer that nothing is known of: what is judged.
    pub asked: Vec<usize>,
    /// Positions in `asked` that no shard holds yet.
    pending: Vec<usize>,
    shards: usize,
    kept: Instant,
    /// How many verdicts there will be.
    total: usize,
    /// Whether every verdict so far could not be read.
    none_read: bool,
}

impl<'a> Finished<'a> {
    /// Starts with what is known.
    pub fn resume(context: &'a Context<'a>, answers: &'a [Answer]) -> Result<Self> {
        let mut verdicts = HashMap::new();
        let of_row: BTreeMap<(&str, u32), &Answer> =
            answers.iter().map(|answer| ((answer.set.as_str(), answer.row), answer)).collect();
        let names = context.shards.names()?;
        for name in &names {
            let shard = context.shards.get(name)?.and_then(|bytes| VerdictRow::from_parquet(bytes).ok());
            for row in shard.unwrap_or_default() {
                if let Some(answer) = of_row.get(&(row.set.as_str(), row.row)) {
                    verdicts.insert(pair(answer), row.into_verdict());
                }
            }
        }
        let resumed = verdicts.len();
        from_relatives(context, answers, &mut verdicts)?;
        let mut seen = HashSet::new();
        let is_new = |row: &usize| {
            let pair = pair(&answers[*row]);
            !verdicts.contains_key(&pair) && seen.insert(pair)
        };
        let asked: Vec<usize> = (0..answers.len()).filter(is_new).collect();
        if resumed < verdicts.len() {
            let known = answers.iter().filter(|answer| verdicts.contains_key(&pair(answer))).count();
            let text = format!("{known} of {} answers were judged already, as another variant's", answers.len());
            context.progress.note(&text);
        }
        let none_read = verdicts.values().all(|verdict| verdict.label == Label::Unparsed);
        let (pending, shards, kept) = (Vec::new(), names.len(), Instant::now());
        let total = verdicts.len() + asked.len();
        let finished = Self { context, answers, verdicts, asked, pending, shards, kept, total, none_read };
        finished.tell();
        Ok(finished)
    }

    /// What is to be judged.
    pub fn exchanges(&self) -> Vec<Exchange<'a>> {
        let exchange = |row: &usize| {
            let (question, answer) = pair(&self.answers[*row]);
            Exchange { question, answer }
        };
        self.asked.iter().map(exchange).collect()
    }

    fn tell(&self) {
        self.context.progress.at(self.verdicts.len() as u64, self.total as u64, "answers");
    }

    /// Puts what is done and not kept yet into a shard.
    pub fn keep(&mut self) -> Result<()> {
        self.kept = Instant::now();
        if self.pending.is_empty() {
            return Ok(());
        }
        let rows: Vec<VerdictRow> = self.pending.iter().filter_map(|at| self.row(self.asked[*at])).collect();
        self.context.shards.put(&format!("verdicts-{:06}", self.shards), &VerdictRow::to_parquet(&rows)?)?;
        self.shards += 1;
        self.pending.clear();
        Ok(())
    }

    fn row(&self, row: usize) -> Option<VerdictRow> {
        let answer = &self.answers[row];
        let verdict = self.verdicts.get(&pair(answer))?;
        Some(VerdictRow::new(&answer.set, answer.row, verdict.clone()))
    }

    /// One verdict for each answer.
    ///
    /// # Errors
    /// Fault: an answer that nobody judged.
    pub fn rows(&self) -> Result<Vec<VerdictRow>> {
        let rows: Option<Vec<VerdictRow>> = (0..self.answers.len()).map(|row| self.row(row)).collect();
        rows.ok_or_else(|| Error::fault("a judge did not say as many verdicts as there are answers"))
    }

    /// That no verdict can be read, with some of them.
    fn unread(&self) -> Error {
        let examples = self.verdicts.values().map(|verdict| {
            let line = verdict.raw.split_whitespace().collect::<Vec<_>>().join(" ");
            let short: String = line.chars().take(EXAMPLE).collect();
            if short.len() < line.len() { format!("\"{short}…\"") } else { format!("\"{short}\"") }
        });
        let mut examples: Vec<String> = examples.collect();
        examples.sort_unstable();
        examples.dedup();
        examples.truncate(EXAMPLES);
        Error::user(format!(
            "none of the first {} verdicts can be read; the judge wrote {}",
            self.verdicts.len(),
            examples.join(", ")
        ))
        .hint(
            "set judge.kind to what this model is, and judge.template to the text that it was trained on; a small chat \
             model may not be able to judge at all",
        )
    }
}

impl Listener<Verdict> for Finished<'_> {
    fn hear(&mut self, at: usize, verdict: Verdict) -> Result<()> {
        let row = *self.asked.get(at).ok_or_else(|| Error::fault("a judge judged what it was not asked"))?;
        self.none_read &= verdict.label == Label::Unparsed;
        self.verdicts.insert(pair(&self.answers[row]), verdict);
        if self.none_read && self.verdicts.len() >= UNREAD {
            return Err(self.unread());
        }
        self.pending.push(at);
        self.tell();
        if self.pending.len() >= SHARD { self.keep() } else { Ok(()) }
    }

    fn go_on(&mut self) -> Result<()> {
        self.context.check_stop()?;
        if self.kept.elapsed() >= self.context.checkpoint_every { self.keep() } else { Ok(()) }
    }
}

fn pair(answer: &Answer) -> (&str, &str) {
    (&answer.question, &answer.answer)
}

/// Adds what other variants' nodes say of the same questions and answers. What cannot be read is passed over.
fn from_relatives<'a>(
    context: &Context<'_>,
    answers: &'a [Answer],
    verdicts: &mut HashMap<(&'a str, &'a str), Verdict>,
) -> Result<()> {
    if !context.inputs.contains_key("answers") {
        return Ok(());
    }
    let mut wanted: HashMap<(&str, &str), (&'a str, &'a str)> =
        answers.iter().map(|answer| (pair(answer), pair(answer))).collect();
    wanted.retain(|pair, _| !verdicts.contains_key(pair));
    for relative in (context.relatives)("answers", "verdicts")? {
        let theirs = relative.input.and_then(|bytes| Answer::from_parquet(bytes).ok()).unwrap_or_default();
        let said = VerdictRow::from_parquet(relative.output).unwrap_or_default();
        for (answer, row) in theirs.iter().zip(said) {
            let same = (answer.set.as_str(), answer.row) == (row.set.as_str(), row.row);
            if let Some(pair) = wanted.get(&pair(answer)).filter(|_| same) {
                verdicts.entry(*pair).or_insert_with(|| row.into_verdict());
            }
        }
    }
    Ok(())
}
