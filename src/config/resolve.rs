//! From what was typed to what it means: paths become absolute, spellings become enums, and keys
//! that depend on each other are held against each other.
//!
//! Must not know: TOML, and whether the files that are named exist (the plan looks at them).

use std::path::PathBuf;

use super::choices::{Device, Template};
use super::document::Document;
use super::typed::{JudgeToml, PipelineToml, RunToml, SelectToml};
use super::{Data, Generate, Judge, Model, Perplexity, Pipeline, Questions, Run, Score, Select, Tokenize, grid};
use crate::error::{Error, Result};
use crate::model::source::spec::Source;
use crate::rank::Rule;
use crate::spelling::did_you_mean;

/// `sources` is the value of $DEAN_SOURCES, absolute.
pub fn resolve(toml: PipelineToml, document: &Document, sources: Option<PathBuf>) -> Result<Pipeline> {
    let data: Vec<String> = toml.data.keys().cloned().collect();
    check_cap(&toml.score, document)?;
    Ok(Pipeline {
        file: document.file.clone(),
        model: Model { source: parse_source("model.source", &toml.model.source, document)?, dtype: toml.model.dtype },
        data: toml
            .data
            .into_iter()
            .map(|(name, data)| {
                let path = document.path(&format!("data.{name}.path"), &data.path);
                let super::typed::DataToml { prompt, response, samples, seed, skip, .. } = data;
                (name, Data { path, prompt, response, samples, seed, skip })
            })
            .collect(),
        tokenize: Tokenize {
            chat_template: template("tokenize.chat_template", &toml.tokenize.chat_template, document),
            drop_first_response_token: toml.tokenize.drop_first_response_token,
            chat_date: toml.tokenize.chat_date,
        },
        questions: toml
            .questions
            .into_iter()
            .map(|(name, questions)| {
                let path = document.path(&format!("questions.{name}.path"), &questions.path);
                (name, Questions { path, column: questions.column, limit: questions.limit })
            })
            .collect(),
        select: select(&toml.select, &toml.score, &data, document)?,
        score: toml.score,
        patch: toml.patch,
        generate: Generate {
            max_new_tokens: toml.generate.max_new_tokens,
            chat_template: template("generate.chat_template", &toml.generate.chat_template, document),
        },
        judge: judge(toml.judge, document)?,
        perplexity: toml.perplexity.map(|perplexity| Perplexity {
            path: document.path("perplexity.path", &perplexity.path),
            window: perplexity.window,
            join: perplexity.join,
            limit: perplexity.limit,
        }),
        run: run(&toml.run, document, sources)?,
    })
}

fn check_cap(score: &Score, document: &Document) -> Result<()> {
    if score.cap > 0.0 && score.cap <= 1.0 {
        return Ok(());
    }
    Err(document
        .error("score.cap", format!("score.cap = {:?} must be above 0 and at most 1", score.cap))
        .hint("it is the share of each matrix that a rank table keeps; 1e-3 serves every sweep"))
}

fn select(select: &SelectToml, score: &Score, data: &[String], document: &Document) -> Result<Select> {
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
        if !data.iter().any(|known| known == name) {
            let nearest = did_you_mean(name, data.iter().map(String::as_str));
            let message = format!("{origin}: rule `{rule}` names the data set `{name}`, which is not there{nearest}");
            let known = if data.is_empty() { "none".to_owned() } else { data.join(", ") };
            return Err(Error::user(message)
                .hint(format!("data sets of this pipeline: {known}; add [data.{name}] or change select.rule")));
        }
    }
    Ok(Select { modules, layers, points: grid::points(select, &rule, score.cap, document)?, rule })
}

fn judge(judge: JudgeToml, document: &Document) -> Result<Judge> {
    let kind = judge.kind;
    if kind.needs_model && judge.source.is_none() {
        return Err(document
            .error("judge.kind", format!("judge.kind = \"{kind}\" needs judge.source"))
            .hint("source = \"hf:OpenSafetyLab/MD-Judge-v0.1@main\", or any chat model"));
    }
    let source = judge.source.map(|text| parse_source("judge.source", &text, document)).transpose()?;
    let template = judge.template.map(|text| document.path("judge.template", &text));
    Ok(Judge { kind, source, template, parse: judge.parse })
}

fn run(run: &RunToml, document: &Document, sources: Option<PathBuf>) -> Result<Run> {
    let device = run.device.parse::<Device>().map_err(|error| error.within(document.origin("run.device")))?;
    let store = document.path("run.store", &run.store);
    let typed = run.sources.as_deref().map(|text| document.path("run.sources", text));
    Ok(Run {
        device,
        threads: run.threads,
        checkpoint_seconds: run.checkpoint_seconds,
        sources: typed.or(sources).unwrap_or_else(|| store.join("sources")),
        store,
    })
}

fn parse_source(key: &str, text: &str, document: &Document) -> Result<Source> {
    Source::parse(text, document.base(key)).map_err(|error| error.within(document.origin(key)))
}

fn template(key: &str, text: &str, document: &Document) -> Template {
    match text {
        "none" => Template::None,
        "model" => Template::Model,
        path => Template::File(document.path(key, path)),
    }
}
