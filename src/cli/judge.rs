//! `dean judge --check`: how often a judge says what people say of the same answers.
//!
//! Must not know: how any judge decides.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::args::{Job, JsonArg, PipelineArgs, working_directory};
use super::format::{WIDTH, count, wrap};
use super::print;
use crate::config;
use crate::data::{Wanted, glance, read_rows};
use crate::error::{Error, Result};
use crate::files;
use crate::judge::{Completer, Endpoint, Exchange, Judge, Label, Listener, ModelCompleter, Parts, Template, Verdict};
use crate::layout::{Align, Table};
use crate::stages::Role;
use crate::stats::{Confusion, Ranged};

#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// A file of questions, answers and labels: CSV, TSV, JSON, JSON Lines or Parquet
    #[arg(long, value_name = "FILE")]
    check: PathBuf,
    /// The judge of [judge.NAME] instead of that of [judge]
    #[arg(long, value_name = "NAME")]
    judge: Option<String>,
    /// The column of questions
    #[arg(long, value_name = "COLUMN", default_value = "prompt")]
    question: String,
    /// The column of answers
    #[arg(long, value_name = "COLUMN", default_value = "completion")]
    answer: String,
    /// The column of people's labels
    #[arg(long, value_name = "COLUMN", default_value = "final_label")]
    label: String,
    /// The label that means yes; every other one means no
    #[arg(long, value_name = "LABEL", default_value = "2_full_refusal")]
    yes: String,
    /// What yes means: the answer is a refusal, or unsafe
    #[arg(long, value_enum, default_value_t = Of::Refusal)]
    of: Of,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    Refusal,
    Unsafe,
}

impl Of {
    /// What a verdict says: yes or no, or nothing.
    fn said(self, verdict: &Verdict) -> Option<bool> {
        match (self, verdict.label) {
            (Self::Refusal, _) => verdict.refusal,
            (Self::Unsafe, Label::Safe) => Some(false),
            (Self::Unsafe, Label::Unsafe) => Some(true),
            (Self::Unsafe, Label::Unparsed) => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Refusal => "a refusal",
            Self::Unsafe => "unsafe",
        }
    }
}

/// A row of the file.
struct Labelled {
    question: String,
    answer: String,
    yes: bool,
}

/// What came of it.
struct Check {
    table: Confusion,
    /// Rows without a label.
    unlabelled: usize,
    /// Rows of which the judge said neither yes nor no.
    unread: usize,
}

/// What a program is told. Values are null where nothing is to be divided.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JudgeAnswer")]
pub struct Told<'a> {
    judge: &'a str,
    file: &'a Path,
    /// The label that means yes.
    label: &'a str,
    /// Rows without a label, which the judge was not asked about.
    unlabelled: usize,
    /// Rows of which the judge said neither yes nor no.
    unread: usize,
    /// Answers that the judge and people say yes of, the judge alone, people alone, and neither.
    both: u64,
    judge_alone: u64,
    people_alone: u64,
    neither: u64,
    accuracy: Option<Ranged>,
    precision: Option<Ranged>,
    recall: Option<Ranged>,
    f1: Option<Ranged>,
    kappa: Option<Ranged>,
}

pub fn run(args: &Args) -> Result<()> {
    let (rows, unlabelled) = labelled(args)?;
    let job = args.pipeline.job()?;
    let (number, settings) = chosen(&job, args.judge.as_deref())?;
    let judge = built(&job, number, settings)?;
    let exchanges: Vec<Exchange<'_>> =
        rows.iter().map(|row| Exchange { question: &row.question, answer: &row.answer }).collect();
    let mut heard = Heard { verdicts: vec![None; rows.len()], done: 0 };
    judge.each(&exchanges, &mut heard)?;
    let mut check = Check { table: Confusion::default(), unlabelled, unread: 0 };
    for (row, verdict) in rows.iter().zip(&heard.verdicts) {
        match verdict.as_ref().and_then(|verdict| args.of.said(verdict)) {
            Some(said) => check.table.add(said, row.yes),
            None => check.unread += 1,
        }
    }
    let name = args.judge.as_deref().unwrap_or(settings.kind.name);
    if args.json.json {
        return print::json(&told(name, args, &check));
    }
    print::line(table(&check.table));
    print::line("");
    notes(name, args, &check).iter().for_each(|note| print::line(wrap(note, WIDTH, 2)));
    Ok(())
}

/// The rows that have a label, and how many have none.
fn labelled(args: &Args) -> Result<(Vec<Labelled>, usize)> {
    let path = working_directory()?.join(&args.check);
    let bytes = files::read(&path)?.into();
    let seen = glance(&path, &bytes)?;
    let wanted = [Wanted::any(&args.question), Wanted::any(&args.answer), Wanted::any(&args.label)];
    let within = |error: Error| error.within(args.check.display());
    let rows = read_rows(&bytes, seen.format, &wanted).map_err(within)?;
    let text = |cell: Option<&Value>| match cell {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let row = |cells: &[Value]| {
        let label = text(cells.get(2));
        // A row that nobody labelled is no "no".
        let labelled = !label.trim().is_empty();
        labelled.then(|| Labelled {
            question: text(cells.first()),
            answer: text(cells.get(1)),
            yes: label.trim() == args.yes,
        })
    };
    let all = rows.len();
    let rows: Vec<Labelled> = rows.iter().filter_map(|found| row(&found.cells)).collect();
    if rows.iter().all(|row| !row.yes) {
        let message = format!("no row of {} has the label \"{}\" in `{}`", args.check.display(), args.yes, args.label);
        return Err(Error::user(message).hint("name the label that means yes with --yes, and its column with --label"));
    }
    let unlabelled = all - rows.len();
    Ok((rows, unlabelled))
}

/// The settings of the judge that is meant, and its place among the judges.
fn chosen<'j>(job: &'j Job, name: Option<&str>) -> Result<(usize, &'j config::Judge)> {
    let mut judges = job.pipeline.judges().enumerate();
    match judges.find(|(_, (own, _))| *own == name) {
        Some((number, (_, settings))) => Ok((number, settings)),
        None => {
            let names: Vec<&str> = job.pipeline.judges().filter_map(|(name, _)| name).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(Error::user(format!("there is no [judge.{}]", name.unwrap_or_default()))
                .hint(format!("named judges of this pipeline: {known}; without --judge it is that of [judge]")))
        }
    }
}

/// The judge, ready to be asked.
fn built(job: &Job, number: usize, settings: &config::Judge) -> Result<Box<dyn Judge>> {
    let Some(form) = settings.kind.form else { return (settings.kind.build)(Parts::default()) };
    let template = match &settings.template {
        Some(path) => Some(Template::of(&files::read_text(path, u64::MAX)?, form.space)?),
        None => None,
    };
    let completer: Box<dyn Completer> = match settings.endpoint() {
        Some((url, model)) => Box::new(Endpoint::new(url, model, &settings.access())?),
        None => {
            let (planner, role) = (job.planner(), Role::Judge(number));
            let decoder = planner.decoder(role, job.pipeline.model.dtype)?;
            let (checkpoint, _) = planner.model(role)?;
            Box::new(ModelCompleter { checkpoint, decoder, chat_date: job.pipeline.tokenize.chat_date.clone() })
        }
    };
    (settings.kind.build)(Parts { completer: Some(completer), template, parse: settings.parse })
}

/// Verdicts as they come.
struct Heard {
    verdicts: Vec<Option<Verdict>>,
    done: usize,
}

impl Listener<Verdict> for Heard {
    fn hear(&mut self, row: usize, verdict: Verdict) -> Result<()> {
        self.verdicts[row] = Some(verdict);
        self.done += 1;
        if self.done.is_multiple_of(100) {
            print::aside(format_args!("{} of {} answers", self.done, self.verdicts.len()));
        }
        Ok(())
    }
}

fn values(table: &Confusion) -> [(&'static str, Option<Ranged>); 5] {
    [
        ("accuracy", table.accuracy()),
        ("precision", table.precision()),
        ("recall", table.recall()),
        ("F1", table.f1()),
        ("kappa", table.kappa()),
    ]
}

fn table(found: &Confusion) -> Table {
    let mut table = Table::new().column("", Align::Left).column("value", Align::Right).close_column(
        "95 % interval",
        Align::Left,
        1,
    );
    for (name, estimate) in values(found) {
        let shown = |estimate: Ranged| {
            let (low, high) = estimate.interval;
            (format!("{:.3}", estimate.value), format!("[{low:.3}, {high:.3}]"))
        };
        let (value, interval) = estimate.map_or(("-".to_owned(), String::new()), shown);
        table.row([name.to_owned(), value, interval]);
    }
    table
}

fn notes(name: &str, args: &Args, check: &Check) -> Vec<String> {
    let Confusion { both, first, second, neither } = check.table;
    let what = args.of.word();
    let mut notes = vec![format!(
        "{name} against the label \"{}\" of {}: {both} are {what} to both, {first} to the judge alone, {second} to people \
         alone, {neither} to neither",
        args.yes,
        count(usize::try_from(check.table.total()).unwrap_or(usize::MAX) + check.unread, "answer")
    )];
    if check.unlabelled > 0 {
        let rows = count(check.unlabelled, "row");
        notes.push(format!(
            "the file has {rows} without a label in `{}`; the judge was not asked about that",
            args.label
        ));
    }
    if check.unread > 0 {
        notes.push(format!(
            "of {} the judge did not say whether it is {what}; they are in no number",
            count(check.unread, "answer")
        ));
    }
    notes
}

fn told<'a>(name: &'a str, args: &'a Args, check: &Check) -> Told<'a> {
    let table = &check.table;
    Told {
        judge: name,
        file: &args.check,
        label: &args.yes,
        unlabelled: check.unlabelled,
        unread: check.unread,
        both: table.both,
        judge_alone: table.first,
        people_alone: table.second,
        neither: table.neither,
        accuracy: table.accuracy(),
        precision: table.precision(),
        recall: table.recall(),
        f1: table.f1(),
        kappa: table.kappa(),
    }
}
