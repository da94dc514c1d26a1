//! `dean show [POINT]`: what the base and a variant said to each question, with the words that differ and the verdicts.
//!
//! Must not know: how answers are compared, how a page looks.

use std::num::NonZeroUsize;

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Job, JsonArg, PipelineArgs};
use super::format::{count, wrap};
use super::{pager, print, variant};
use crate::digest::Digest;
use crate::engine::{Plan, Planned, Planner};
use crate::error::{Error, Result};
use crate::export::point;
use crate::naming;
use crate::show::{Ink, Page, Pair, Piece, Side, Style, Wanted, difference, pairs};
use crate::spelling::did_you_mean;
use crate::stages::Variant;
use crate::tables::{Answer, Row, VerdictRow};

/// Lines are not longer, however wide the terminal is: nobody reads such.
const WIDEST: usize = 120;

#[derive(ClapArgs, Debug)]
#[command(mut_arg("sets", |arg| arg
    .value_name("NAME|KEY=VALUE")
    .help("Show this question set only; with `=` in it, override a setting as in every command. May be repeated")))]
pub struct Args {
    /// A point as the screens call it (p=q=1e-5, 'p=1e-5 q=2e-5') or as `p,q`, the beginning of a mask's digest, or base [default:
    /// the last point of the grid]
    point: Option<String>,
    /// Only questions to which the variant says something else than the base
    #[arg(long)]
    changed: bool,
    /// Only questions on which a judge calls one answer other than the other
    #[arg(long)]
    flipped: bool,
    /// Only questions of which an answer was cut off
    #[arg(long)]
    cut: bool,
    /// Only questions that hold these words, or whose answers do; capitals do not count
    #[arg(long, value_name = "WORDS")]
    grep: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Show what the model thought before it answered
    #[arg(long)]
    thoughts: bool,
    /// Write straight to the terminal, whatever `DEAN_PAGER` and `PAGER` say
    #[arg(long)]
    no_pager: bool,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

/// One question for a program: a line of `dean show --json`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ShownPair")]
pub struct Shown<'a> {
    /// What people call the variant that is compared with the base.
    name: &'a str,
    /// What the store calls it: `base`, or the beginning of the mask's digest.
    variant: &'a str,
    /// Null of the base.
    mask: Option<Digest>,
    #[serde(flatten)]
    pair: &'a Pair,
    /// Whether both said something else.
    changed: bool,
    /// The judges that call one answer other than the other.
    flipped: Vec<&'a str>,
    /// Both answers as one text; empty where the base is alone.
    difference: Vec<Piece>,
}

pub fn run(args: &Args) -> Result<()> {
    let mut pipeline = args.pipeline.clone();
    let (overrides, sets): (Vec<String>, Vec<String>) = pipeline.sets.drain(..).partition(|set| set.contains('='));
    pipeline.sets = overrides;
    let job = pipeline.job()?;
    check_sets(&job, &sets)?;
    let (planner, plan) = job.plan()?;
    let variant = meant(args.point.as_deref(), &planner, &plan)?;
    let base = Variant::base(&[]);
    let is_base = variant.mask.is_none();
    if is_base && (args.changed || args.flipped) {
        return Err(Error::user("the base is compared with nothing, so none of its answers changed or flipped")
            .hint("name a point, such as those of `dean grid`"));
    }
    let before = side(&job, &plan, &base)?;
    let after = if is_base { None } else { Some(side(&job, &plan, &variant)?) };
    let all = pairs(before, after);
    let words = args.grep.clone().filter(|words| !words.trim().is_empty());
    let wanted = Wanted { sets, changed: args.changed, flipped: args.flipped, cut: args.cut, words };
    let found: Vec<&Pair> = all.iter().filter(|pair| wanted.fits(pair)).collect();
    let limit = args.limit.map_or(usize::MAX, NonZeroUsize::get);
    if args.json.json {
        return found.iter().take(limit).try_for_each(|pair| print::json_line(&in_json(&variant, pair)));
    }
    let heading = heading(&variant, &all, &wanted, found.len(), limit);
    let ink = Ink { visible: &print::visible, paint: &paint };
    let page = Page { width: print::width().min(WIDEST), thoughts: args.thoughts, ink };
    pager::show(!args.no_pager, |out| {
        let mut goes_on = out(&wrap(&heading, page.width, 2));
        for (number, pair) in (1..).zip(found.iter().take(limit)) {
            goes_on = goes_on && out("") && out(&page.show(pair, number, found.len()));
        }
        Ok(())
    })
}

/// Question sets that are asked for must be there.
fn check_sets(job: &Job, sets: &[String]) -> Result<()> {
    let known: Vec<&str> = job.pipeline.questions.keys().map(String::as_str).collect();
    if known.is_empty() {
        return Err(Error::user(format!("{} asks no questions", job.pipeline.file.display()))
            .hint("add a section [questions.NAME] with a path, and type `dean run`"));
    }
    match sets.iter().find(|set| !known.contains(&set.as_str())) {
        Some(set) => {
            Err(Error::user(format!("there is no question set `{set}`{}", did_you_mean(set, known.iter().copied())))
                .hint(format!("question sets are: {}; an override is written KEY=VALUE", known.join(", "))))
        }
        None => Ok(()),
    }
}

/// The variant that a person means; without a word of it, that of the last point of the grid.
fn meant(text: Option<&str>, planner: &Planner<'_>, plan: &Plan) -> Result<Variant> {
    let known = plan
        .nodes
        .iter()
        .filter(|planned| is_of(planned, "generate"))
        .filter_map(|planned| planned.node.variant.as_ref());
    let label = text.map(naming::without_mask);
    if label == Some(naming::BASE) {
        return Ok(Variant::base(&[]));
    }
    let patched = known.filter(|variant| variant.mask.is_some());
    if let Some(variant) = label.and_then(|label| patched.clone().find(|variant| variant.is_called(label))) {
        return Ok(variant.clone());
    }
    let points =
        variant::points(planner, plan).map_err(|error| error.hint("`dean run` computes it, and the answers"))?;
    let mask = match label {
        Some(label) => Some(point::find(&points, label)?.mask),
        None => points.iter().rfind(|point| point.weights > 0).map(|point| point.mask),
    };
    match mask {
        Some(mask) => Ok(patched
            .clone()
            .find(|variant| variant.mask == Some(mask))
            .cloned()
            .unwrap_or_else(|| Variant::of_mask(mask, &points))),
        None => Err(Error::user("every point of the grid selects no weight, so there is nothing but the base")
            .hint("`dean show base` shows what it said; `dean grid` shows what each point selects")),
    }
}

fn is_of(planned: &Planned, stage: &str) -> bool {
    planned.stage.name() == stage
}

/// What a variant said, and what the judges that are done called it.
fn side(job: &Job, plan: &Plan, variant: &Variant) -> Result<Side> {
    let of_variant = |planned: &&std::sync::Arc<Planned>| {
        planned.node.variant.as_ref().is_some_and(|other| other.label == variant.label)
    };
    let mut nodes = plan.nodes.iter().filter(of_variant);
    let answers = nodes.clone().find(|planned| is_of(planned, "generate"));
    let bytes = match answers {
        Some(planned) => job.output(plan, &planned.node.name, "answers")?,
        None => None,
    };
    let bytes = bytes.ok_or_else(|| {
        let node = answers.map_or_else(|| variant.node("generate"), |planned| planned.node.called());
        Error::user(format!("{node} is not in the store yet"))
            .hint("`dean run` computes it, and `dean run --until judge` no more than it and the verdicts")
    })?;
    let mut side = Side { answers: Answer::from_parquet(bytes)?, verdicts: Vec::new() };
    nodes.try_for_each(|planned| {
        if !is_of(planned, "judge") {
            return Ok(());
        }
        match job.output(plan, &planned.node.name, "verdicts")? {
            Some(bytes) => side.verdicts.push((judge(planned), VerdictRow::from_parquet(bytes)?)),
            None => print::aside(format_args!(
                "{} is not in the store yet: `dean run` judges these answers",
                planned.node.called()
            )),
        }
        Ok::<(), Error>(())
    })?;
    Ok(side)
}

/// The judge's own name, else its kind.
fn judge(planned: &Planned) -> String {
    let params = &planned.node.params;
    let name = ["name", "kind"].into_iter().find_map(|key| params.get(key)?.as_str());
    name.unwrap_or(&planned.node.name).to_owned()
}

/// `p=q=1e-5 (a77a2cfe) against the base: 96 questions, 48 answers changed, 13 verdicts flipped, 81 cut; 13 fit --flipped`
fn heading(variant: &Variant, all: &[Pair], wanted: &Wanted, found: usize, limit: usize) -> String {
    let number = |is: fn(&Pair) -> bool| all.iter().filter(|pair| is(pair)).count();
    let name = naming::with_mask(&variant.name, variant.mask.as_ref());
    let cut = format!("{} cut", number(Pair::is_cut));
    let mut text = if variant.mask.is_none() {
        format!("{name}: {}, {cut}", count(all.len(), "question"))
    } else {
        let flipped = number(|pair| !pair.flipped().is_empty());
        format!(
            "{name} against the base: {}, {} changed, {flipped} flipped, {cut}",
            count(all.len(), "question"),
            number(Pair::is_changed)
        )
    };
    let mut asked: Vec<String> = wanted.sets.iter().map(|set| format!("--set {set}")).collect();
    let flags = [(wanted.changed, "--changed"), (wanted.flipped, "--flipped"), (wanted.cut, "--cut")];
    asked.extend(flags.into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag.to_owned()));
    asked.extend(wanted.words.iter().map(|words| format!("--grep '{words}'")));
    if !asked.is_empty() {
        text.push_str(&format!(
            "; {} {} {}",
            if found == 0 { "none".to_owned() } else { found.to_string() },
            if found == 1 { "fits" } else { "fit" },
            asked.join(" ")
        ));
    }
    if limit < found {
        text.push_str(&format!("; the first {limit} are shown"));
    }
    text
}

fn in_json<'a>(variant: &'a Variant, pair: &'a Pair) -> Shown<'a> {
    let after = pair.after.as_ref();
    Shown {
        name: &variant.name,
        variant: &variant.label,
        mask: variant.mask,
        pair,
        changed: pair.is_changed(),
        flipped: pair.flipped().into_iter().map(|(judge, ..)| judge).collect(),
        difference: after.map(|after| difference(&pair.before.answer, &after.answer)).unwrap_or_default(),
    }
}

/// A part of a page in its colour.
fn paint(style: Style, text: &str) -> String {
    let code = match style {
        Style::Plain => return text.to_owned(),
        Style::Removed => "31",
        Style::Added => "32",
        Style::Label => "36",
        Style::Heading => "1",
        Style::Faint => "2",
        Style::Loud => "1;33",
    };
    print::coloured_answer(text, code)
}
