//! From settings to a pipeline: paths become absolute, and keys that depend on each other are checked together.
//!
//! Must not know: TOML, and whether the named files exist (the plan checks that).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::Document;
use super::settings::{self, Data, Divergence, Generate, Judge, Questions, Score, Settings};
use super::{Pipeline, Select, grid, search as searching};
use crate::data::AnswersOf;
use crate::error::{Error, Result};
use crate::judge;
use crate::model::source::spec::Source;
use crate::model::text::prompt_template::PromptTemplate;
use crate::rank::{Rule, draw_of};
use crate::report::split::Tune;
use crate::spelling::did_you_mean;

/// `sources` is the value of $DEAN_SOURCES, absolute.
pub fn resolve(settings: Settings, document: &Document, sources: Option<PathBuf>) -> Result<Pipeline> {
    let Settings {
        mut model,
        mut data,
        mut tokenize,
        mut questions,
        score,
        select,
        sweep,
        controls,
        patch,
        mut generate,
        mut judge,
        mut judges,
        divergence,
        mut perplexity,
        inspect,
        report,
        search,
        mut run,
    } = settings;
    let anchor = |key: &str, path: &mut PathBuf| *path = document.path(key, path);
    let rebase = |key: &str, source: &mut Source| source.rebase(document.base(key));
    let dress = |key: &str, template: Option<&mut PromptTemplate<PathBuf>>| {
        if let Some(PromptTemplate::File(path)) = template {
            anchor(key, path);
        }
    };
    rebase("model.source", &mut model.source);
    data.iter_mut().for_each(|(name, data)| anchor(&format!("data.{name}.path"), &mut data.path));
    dress("tokenize.chat_template", tokenize.chat_template.as_mut());
    for (name, set) in &mut questions {
        anchor(&format!("questions.{name}.path"), &mut set.path);
        if let Some(Tune::Listed(path)) = &mut set.tune {
            anchor(&format!("questions.{name}.tune"), path);
        }
    }
    generate.path.iter_mut().for_each(|path| anchor("generate.path", path));
    dress("generate.chat_template", Some(&mut generate.chat_template));
    let settle = |section: &str, judge: &mut Judge| {
        judge.source.iter_mut().for_each(|source| rebase(&format!("{section}.source"), source));
        judge.template.iter_mut().for_each(|path| anchor(&format!("{section}.template"), path));
    };
    settle("judge", &mut judge);
    judges.iter_mut().for_each(|(name, judge)| settle(&format!("judges.{name}"), judge));
    perplexity.iter_mut().for_each(|perplexity| anchor("perplexity.path", &mut perplexity.path));
    anchor("run.store", &mut run.store);
    run.sources.iter_mut().for_each(|path| anchor("run.sources", path));
    run.sources = run.sources.or(sources);

    check_cap(&score, document)?;
    let names: Vec<&str> = data.keys().map(String::as_str).collect();
    let select = resolve_select(&select, &score, &names, document)?;
    let data = spoken_of(&select.rule, &data);
    check_judge("judge", &judge, document)?;
    judges.iter().try_for_each(|(name, judge)| check_judge(&format!("judges.{name}"), judge, document))?;
    if let Some(name) = judges.keys().find(|name| **name == judge.kind.name) {
        return Err(document
            .error(&format!("judges.{name}"), format!("[judge] and [judge.{name}] are both called {name} in reports"))
            .hint(format!("[judge] is called by its kind: give [judge.{name}] another name")));
    }
    check_answers(&generate, document)?;
    let search = searching::resolve(search, &questions, score.cap, document)?;
    let divergence = resolve_divergence(divergence, &questions, document)?;
    let file = document.file.clone();
    Ok(Pipeline {
        file,
        model,
        data,
        tokenize,
        questions,
        score,
        select,
        sweep,
        controls,
        patch,
        generate,
        judge,
        judges,
        divergence,
        perplexity,
        inspect,
        report,
        search,
        run,
    })
}

/// The data sets of a rule. What it does not name would be scored for nothing. A further draw is the same set with a higher seed.
fn spoken_of(rule: &Rule, data: &BTreeMap<String, Data>) -> BTreeMap<String, Data> {
    let draw = |name: &String| {
        let (set, number) = draw_of(name);
        let whole = data.get(set)?;
        Some((name.clone(), Data { seed: whole.seed.wrapping_add(number), ..whole.clone() }))
    };
    rule.names().iter().filter_map(draw).collect()
}

fn check_cap(score: &Score, document: &Document) -> Result<()> {
    if score.cap > 0.0 && score.cap <= 1.0 {
        return Ok(());
    }
    Err(document
        .error("score.cap", format!("score.cap = {:?} must be above 0 and at most 1", score.cap))
        .hint("it is the share of each matrix that a rank table keeps; 1e-3 serves every sweep"))
}

fn resolve_select(select: &settings::Select, score: &Score, data: &[&str], document: &Document) -> Result<Select> {
    let modules = select.modules.unwrap_or(score.modules);
    if !score.modules.contains(modules) {
        return Err(document
            .error(
                "select.modules",
                format!("select.modules = {modules} is not within score.modules = {}", score.modules),
            )
            .hint("only scored weights can be selected: widen score.modules (scores are computed again) or narrow select.modules"));
    }
    let layers = select.layers.clone().unwrap_or_else(|| score.layers.clone());
    if !score.layers.contains(&layers) {
        return Err(document
            .error(
                "select.layers",
                format!("select.layers = {layers} is not within score.layers = {}", score.layers),
            )
            .hint("only scored weights can be selected: widen score.layers (scores are computed again) or narrow select.layers"));
    }
    let origin = document.origin("select.rule");
    let rule = Rule::parse(&select.rule).map_err(|error| error.within(&origin))?;
    for name in rule.names() {
        let name = draw_of(name).0;
        if !data.contains(&name) {
            let nearest = did_you_mean(name, data.iter().copied());
            let message = format!("{origin}: rule `{rule}` names the data set `{name}`, which is not there{nearest}");
            let known = if data.is_empty() { "none".to_owned() } else { data.join(", ") };
            return Err(Error::user(message)
                .hint(format!("data sets of this pipeline: {known}; add [data.{name}] or change select.rule")));
        }
    }
    Ok(Select { modules, layers, points: grid::points(select, &rule, score.cap, document)?, rule })
}

/// `section` is where the judge's settings are in the document.
fn check_judge(section: &str, judge: &Judge, document: &Document) -> Result<()> {
    let (kind, typed) = (judge.kind, section.replacen("judges.", "judge.", 1));
    let needs = |key: &str, why: &str| {
        document.error(&format!("{section}.kind"), format!("{typed}.kind = \"{kind}\" needs {typed}.{key}{why}"))
    };
    if !kind.asks() {
        return Ok(());
    }
    match (&judge.url, &judge.source, kind.only_endpoint) {
        (None, _, Some(why)) => {
            return Err(needs("url", &format!(": {why}")).hint(
                "an OpenAI-compatible endpoint, url = \"http://localhost:8000/v1\", and what it calls its model",
            ));
        }
        (None, None, None) => {
            return Err(needs("source", "")
                .hint("source = \"hf:OpenSafetyLab/MD-Judge-v0.1@main\", or any chat model; or url, an endpoint"));
        }
        (Some(_), Some(_), None) => {
            return Err(document
                .error(&format!("{section}.url"), format!("{typed} has a source and a url"))
                .hint("a judge is a model here or an endpoint: take one of them out"));
        }
        (Some(url), ..) => {
            let place = |error: Error| error.within(document.origin(&format!("{section}.url")));
            judge::checked_endpoint(url, judge.key_env.is_some()).map_err(place)?;
            if judge.model.is_none() {
                return Err(needs("model", "").hint("what the endpoint calls its model"));
            }
        }
        (None, Some(_), None) => {}
    }
    if kind.needs_template() && judge.template.is_none() {
        return Err(needs("template", "")
            .hint("a file with the text that it was trained on; docs/judges.md says where its publisher has it"));
    }
    Ok(())
}

/// Without questions of the name that is the default, nothing is compared. A name that was typed must be there.
fn resolve_divergence(
    divergence: Divergence,
    questions: &BTreeMap<String, Questions>,
    document: &Document,
) -> Result<Option<Divergence>> {
    const KEY: &str = "divergence.questions";
    if questions.contains_key(&divergence.questions) {
        return Ok(Some(divergence));
    }
    if !document.has(KEY) {
        return Ok(None);
    }
    let name = &divergence.questions;
    let nearest = did_you_mean(name, questions.keys().map(String::as_str));
    let known: Vec<&str> = questions.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(document
        .error(KEY, format!("divergence.questions names the question set `{name}`, which is not there{nearest}"))
        .hint(format!(
            "question sets of this pipeline: {known}; add [questions.{name}] or change divergence.questions"
        )))
}

fn check_answers(generate: &Generate, document: &Document) -> Result<()> {
    if generate.kind == AnswersOf::Model || generate.path.is_some() {
        return Ok(());
    }
    Err(document
        .error("generate.kind", "generate.kind = \"file\" needs generate.path")
        .hint("path = \"answers.jsonl\"; docs/answers.md says what such a file holds"))
}
