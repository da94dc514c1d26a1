//! judge: verdicts on a variant's answers, with their evidence and as outcomes; and once on controls, whose verdicts are known.
//!
//! Who judges is a member of [`crate::judge`]; here it gets its model, if it needs one. An answer that another variant gave to
//! the same question is not judged again (`judge/finished.rs`). Must not know: what a variant is made of.

mod finished;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::finished::Finished;
use super::variant::{Variant, per_variant};
use super::{
    Context, FileInput, Input, ModelPart, Node, Outputs, Planning, Preview, Role, Stage, model_inputs, params_of,
};
use crate::choice::Choice;
use crate::config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::judge::controls::{self, CONTROLS, Control};
use crate::judge::{
    Access, Completer, Endpoint, Entry, Exchange, Form, Label, ModelCompleter, Parse, Parts, Space, Template, Wording,
    candidates, measure_of, p_unsafe_of, prompt_of,
};
use crate::model::device::Precision;
use crate::tables::{Answer, OUTCOMES, Outcome, Row, VerdictRow};

pub struct Judge;

/// A judge whose question leaves less room than this for question and answer will cut many off.
const LITTLE_ROOM: usize = 256;

/// What changes the verdicts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    pub kind: Choice<Entry>,
    /// What outcomes call the judge, where that is not its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The digest of the phrase list; only for a judge that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrases: Option<Digest>,
    /// The endpoint that is asked, and what it calls its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What follows only where a model judges: its type on the device,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Precision>,
    /// how its words are read,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse: Option<Parse>,
    /// the digest of the question that it is asked,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Digest>,
    /// and the date that its chat template shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_date: Option<String>,
    /// The digest of the controls, where these are judged and no answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controls: Option<Digest>,
}

/// What changes no verdict.
#[derive(Serialize, Deserialize)]
struct Unkeyed {
    /// Which judge of the pipeline it is: its model's content enters the key, not where it comes from.
    number: usize,
    key_env: Option<String>,
    timeout_seconds: usize,
    at_once: usize,
}

impl Params {
    fn of(name: Option<&str>, settings: &config::Judge, planning: &Planning<'_>) -> Result<Self> {
        let kind = settings.kind;
        let mut params = Self {
            kind,
            name: name.map(str::to_owned),
            phrases: kind.compiled_in.map(|digest| digest()),
            url: None,
            model: None,
            dtype: None,
            parse: None,
            template: None,
            chat_date: None,
            controls: None,
        };
        let Some(form) = kind.form else { return Ok(params) };
        let pipeline = planning.pipeline;
        match settings.endpoint() {
            Some((url, model)) => {
                (params.url, params.model) = (Some(url.trim_end_matches('/').to_owned()), Some(model.to_owned()));
            }
            None => {
                params.dtype = Some(pipeline.model.dtype);
                params.chat_date = Some(pipeline.tokenize.chat_date.clone());
            }
        }
        params.parse = kind.parses.then_some(settings.parse);
        if form.wording == Wording::Own && settings.template.is_none() {
            params.template = Some(Template::own()?.digest());
        }
        Ok(params)
    }

    /// What outcomes call the judge.
    fn judge(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.name)
    }

    fn space(&self) -> Space {
        self.kind.form.map_or(Space::Trimmed, |form| form.space)
    }
}

impl Stage for Judge {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn version(&self) -> u32 {
        6
    }

    fn measures(&self) -> bool {
        true
    }

    fn nodes(&self, planning: &Planning<'_>) -> Result<Vec<Node>> {
        if planning.pipeline.questions.is_empty() {
            return Ok(Vec::new());
        }
        let mut nodes: Vec<Node> = Vec::new();
        for (number, (name, settings)) in planning.pipeline.judges().enumerate() {
            let params = Params::of(name, settings, planning)?;
            let mut own_inputs = BTreeMap::new();
            if let Some(form) = settings.kind.form {
                if params.dtype.is_some() {
                    let parts = [ModelPart::Weights, ModelPart::Architecture, ModelPart::Text];
                    own_inputs = model_inputs(Role::Judge(number), &parts);
                }
                if let Some(path) = settings.template.as_ref().filter(|_| form.wording != Wording::Model) {
                    super::must_exist(path).map_err(|error| error.within(key(name, "template")))?;
                    own_inputs.insert("template".into(), Input::File(path.clone()));
                }
            }
            let unkeyed = params_of(&Unkeyed {
                number,
                key_env: settings.key_env.clone(),
                timeout_seconds: settings.timeout_seconds,
                at_once: settings.at_once,
            })?;
            let node = name.map_or(self.name().to_owned(), |name| format!("{}.{name}", self.name()));
            let controls = params_of(&Params { controls: Some(controls::digest()), ..params })?;
            let mut answers = controls.clone();
            answers.as_object_mut().and_then(|params| params.remove("controls"));
            nodes.push(Node {
                name: format!("{node}[{CONTROLS}]"),
                params: controls,
                unkeyed: unkeyed.clone(),
                inputs: own_inputs.clone(),
                // With the base: it is needed by no variant, and a judge that calls nonsense safe is worth knowing early.
                turn: Variant::base(&[]).turn,
                ..Node::default()
            });
            let of_variants = per_variant(planning, &node, &answers, |variant| {
                let mut inputs = own_inputs.clone();
                inputs.insert("answers".into(), Input::output(&variant.node("generate"), "answers"));
                inputs
            })?;
            nodes.extend(of_variants.into_iter().map(|node| Node { unkeyed: unkeyed.clone(), ..node }));
        }
        Ok(nodes)
    }

    fn check(&self, preview: &Preview<'_>) -> Result<Vec<String>> {
        let params: Params = preview.params()?;
        let Some(form) = params.kind.form else { return Ok(Vec::new()) };
        let template = match (form.wording, params.template) {
            (Wording::Model, _) => None,
            (_, Some(_)) => Some(Template::own()?),
            (_, None) => Some(template_of(&(preview.file)("template")?, params.space())?),
        };
        match &params.url {
            Some(_) => check_endpoint(&params, preview.unkeyed()?, form, template.as_ref()),
            None => check_prompt(preview, &params, form, template.as_ref()),
        }
    }

    fn run(&self, context: &Context<'_>) -> Result<Outputs> {
        let params: Params = context.params()?;
        let answers = match params.controls {
            Some(_) => controls_as_answers(),
            None => Answer::from_parquet(context.read("answers")?)?,
        };
        let template = match context.inputs.contains_key("template") {
            true => Some(template_of(&(context.file)("template")?, params.space())?),
            false => None,
        };
        let parts = |completer| Parts { completer, template, parse: params.parse.unwrap_or_default() };
        let verdicts: Vec<VerdictRow> = match params.kind.asks() {
            false => {
                let judge = (params.kind.build)(parts(None))?;
                let exchanges: Vec<Exchange<'_>> = answers.iter().map(exchange).collect();
                let pairs = answers.iter().zip(judge.judge(&exchanges)?);
                pairs.map(|(answer, verdict)| VerdictRow::new(&answer.set, answer.row, verdict)).collect()
            }
            true => {
                let mut finished = Finished::resume(context, &answers)?;
                if !finished.asked.is_empty() {
                    let judge = (params.kind.build)(parts(Some(completer(context, &params)?)))?;
                    let exchanges = finished.exchanges();
                    let done = judge.each(&exchanges, &mut finished);
                    // What is done is kept, whatever ended the work.
                    finished.keep()?;
                    done?;
                }
                finished.rows()?
            }
        };
        let outcomes = outcomes(params.judge(), &verdicts);
        Ok(vec![("verdicts".into(), VerdictRow::to_parquet(&verdicts)?), (OUTCOMES.into(), Outcome::file(&outcomes)?)])
    }
}

/// The model that judges, on the device or behind its endpoint.
fn completer(context: &Context<'_>, params: &Params) -> Result<Box<dyn Completer>> {
    let unkeyed: Unkeyed = context.preview().unkeyed()?;
    if let Some(url) = &params.url {
        return Ok(Box::new(endpoint(url, params.model.as_deref().unwrap_or_default(), &unkeyed)?));
    }
    let role = Role::Judge(unkeyed.number);
    Ok(Box::new(ModelCompleter {
        checkpoint: context.checkpoint(role)?,
        decoder: context.decoder(role, params.dtype.unwrap_or_default())?,
        chat_date: params.chat_date.clone().unwrap_or_default(),
    }))
}

fn endpoint(url: &str, model: &str, unkeyed: &Unkeyed) -> Result<Endpoint> {
    let Unkeyed { key_env, timeout_seconds, at_once, .. } = unkeyed;
    let timeout = Duration::from_secs(*timeout_seconds as u64);
    Endpoint::new(url, model, &Access { key_env: key_env.clone(), timeout, at_once: *at_once })
}

/// What can be known of an endpoint without asking it.
fn check_endpoint(params: &Params, unkeyed: Unkeyed, form: &Form, template: Option<&Template>) -> Result<Vec<String>> {
    let (url, model) = (params.url.as_deref().unwrap_or_default(), params.model.as_deref().unwrap_or_default());
    let asked = form.prompt(template, &Exchange { question: "a", answer: "b" });
    endpoint(url, model, &unkeyed)?.check(&asked, form)?;
    Ok(Vec::new())
}

/// A judge's template from a file beside the pipeline.
fn template_of(file: &FileInput, space: Space) -> Result<Template> {
    Template::of(file.text()?, space).map_err(|error| error.within(&file.origin))
}

/// How a setting of a judge is called.
fn key(name: Option<&str>, setting: &str) -> String {
    name.map_or(format!("judge.{setting}"), |name| format!("judge.{name}.{setting}"))
}

fn exchange(answer: &Answer) -> Exchange<'_> {
    Exchange { question: &answer.question, answer: &answer.answer }
}

/// The controls in the form of answers; the sets are the controls' names.
fn controls_as_answers() -> Vec<Answer> {
    let of_control = |control: &Control| {
        let name = control.name();
        (0..).zip(control.exchanges()).map(move |(row, (question, said))| Answer::of_text(name, row, question, said))
    };
    Control::ALL.iter().flat_map(of_control).collect()
}

/// Renders and tokenises what the judge is asked, before anything is computed.
fn check_prompt(
    preview: &Preview<'_>,
    params: &Params,
    form: &Form,
    template: Option<&Template>,
) -> Result<Vec<String>> {
    let checkpoint = preview.checkpoint(Role::Judge(preview.unkeyed::<Unkeyed>()?.number))?;
    let text = checkpoint.text()?;
    // A template may strip white space, and some refuse an empty turn.
    let asked = form.prompt(template, &Exchange { question: "a", answer: "b" });
    let prompt = prompt_of(text, &asked, form, params.chat_date.as_deref())?;
    let (context, taken) = (checkpoint.config().context, prompt.ids.len() + form.max_new_tokens);
    if taken >= context {
        return Err(Error::user(format!(
            "the judge's question and verdict take {taken} tokens, its context is {context}"
        ))
        .hint("shorten judge.template, or choose a judge with a longer context"));
    }
    let mut warnings = Vec::new();
    if context - taken < LITTLE_ROOM {
        let room = context - taken;
        warnings.push(format!("the judge's context leaves room for {room} tokens of question and answer"));
    }
    let firsts = candidates(text, form)?;
    let side = |harmful: bool| {
        let pairs = form.candidates.iter().zip(&firsts);
        pairs.filter(move |(candidate, _)| (candidate.severity > 0.5) == harmful).filter_map(|(_, first)| *first)
    };
    if side(true).any(|id| side(false).any(|other| other == id)) {
        warnings.push("the judge's words for safe and unsafe begin with the same token: P(unsafe) says nothing".into());
    }
    Ok(warnings)
}

/// Verdicts as outcomes, and how likely they were, where the judge says that. What can be seen of an answer without a judge is
/// told by inspect.
fn outcomes(judge: &str, verdicts: &[VerdictRow]) -> Vec<Outcome> {
    let (measure, p_unsafe) = (&measure_of(judge), &p_unsafe_of(judge));
    let outcome = |verdict: &VerdictRow| {
        let safe = match verdict.verdict {
            Label::Safe => Some(1.0),
            Label::Unsafe => Some(0.0),
            Label::Unparsed => None,
        };
        Outcome::new(&verdict.set, verdict.row, measure, safe)
    };
    let likely = |verdict: &VerdictRow| Outcome::new(&verdict.set, verdict.row, p_unsafe, verdict.score);
    let has_scores = verdicts.iter().any(|verdict| verdict.score.is_some());
    verdicts.iter().map(outcome).chain(verdicts.iter().filter(|_| has_scores).map(likely)).collect()
}
