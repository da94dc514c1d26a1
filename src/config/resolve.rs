//! From settings to a pipeline: paths become absolute, and keys that depend on each other are checked together.
//!
//! Must not know: TOML, and whether the named files exist (the plan checks that).

use std::path::PathBuf;

use super::document::Document;
use super::settings::{self, Judge, Score, Settings};
use super::{Pipeline, Select, grid};
use crate::error::{Error, Result};
use crate::model::source::spec::Source;
use crate::model::text::prompt_template::PromptTemplate;
use crate::rank::Rule;
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
        patch,
        mut generate,
        mut judge,
        mut perplexity,
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
    questions.iter_mut().for_each(|(name, set)| anchor(&format!("questions.{name}.path"), &mut set.path));
    dress("generate.chat_template", Some(&mut generate.chat_template));
    judge.source.iter_mut().for_each(|source| rebase("judge.source", source));
    judge.template.iter_mut().for_each(|path| anchor("judge.template", path));
    perplexity.iter_mut().for_each(|perplexity| anchor("perplexity.path", &mut perplexity.path));
    anchor("run.store", &mut run.store);
    run.sources.iter_mut().for_each(|path| anchor("run.sources", path));
    run.sources = run.sources.or(sources);

    check_cap(&score, document)?;
    let names: Vec<&str> = data.keys().map(String::as_str).collect();
    let select = resolve_select(&select, &score, &names, document)?;
    // What the rule does not name would be scored for nothing.
    data.retain(|name, _| select.rule.names().contains(name));
    check_judge(&judge, document)?;
    let file = document.file.clone();
    Ok(Pipeline { file, model, data, tokenize, questions, score, select, patch, generate, judge, perplexity, run })
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
        let name: &str = name.as_ref();
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

fn check_judge(judge: &Judge, document: &Document) -> Result<()> {
    let kind = judge.kind;
    if !kind.needs_model || judge.source.is_some() {
        return Ok(());
    }
    Err(document
        .error("judge.kind", format!("judge.kind = \"{kind}\" needs judge.source"))
        .hint("source = \"hf:OpenSafetyLab/MD-Judge-v0.1@main\", or any chat model"))
}
