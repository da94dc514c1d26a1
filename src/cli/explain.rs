//! `dean explain NODE`: why a node has to run, or why it does not, in sentences.
//!
//! Must not know: how reasons are found.

use clap::Args as ClapArgs;
use serde_json::Value;

use super::args::{JsonArg, PipelineArgs};
use super::{format, print};
use crate::digest::Digest;
use crate::engine::State;
use crate::engine::explain::{Explanation, Reason, explain};
use crate::error::Result;

#[derive(ClapArgs, Debug)]
pub struct Args {
    /// A node as `dean plan` names it, such as 'score[privacy]' or 'generate[p=q=1e-5]'
    node: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    json: JsonArg,
}

pub fn run(args: &Args) -> Result<()> {
    let job = args.pipeline.job()?;
    let (planner, plan) = job.plan()?;
    let explanations = explain(&planner, &plan, &args.node)?;
    if args.json.json {
        return print::json(&explanations);
    }
    explanations.iter().for_each(|explanation| print::line(words(explanation, &|node| plan.called(node))));
    Ok(())
}

/// One sentence for one reason; a heading and a line for each where there are more.
/// `called` is what people call the node of a name.
fn words(explanation: &Explanation, called: &dyn Fn(&str) -> String) -> String {
    let node = called(&explanation.node);
    let all = |nodes: &[String]| nodes.iter().map(|node| called(node)).collect::<Vec<_>>().join(", ");
    let reason = |reason: &Reason| self::reason(reason, called);
    let (state, reasons) = match explanation.reasons.as_slice() {
        [Reason::Hit { key, seconds, backend, host }] => {
            let seconds = format::seconds(*seconds);
            return format!(
                "{node} is in the store, computed in {seconds} on {backend} at {host} (key {})",
                key.short()
            );
        }
        [Reason::WaitsFor { nodes }, rest @ ..] => (format!("{node} waits for {}", all(nodes)), rest),
        // Not finished and never changed since: that is reason enough.
        [Reason::OutputsGone] if explanation.state == State::Partial => {
            return format!("{node} was begun, and goes on where it was");
        }
        reasons if explanation.state == State::Partial => {
            (format!("{node} was begun, and goes on where it was"), reasons)
        }
        reasons => (format!("{node} has to run"), reasons),
    };
    let compared = match &explanation.compared_with {
        Some(with) if !reasons.is_empty() => format!(" (compared with {with})"),
        _ => String::new(),
    };
    match reasons {
        [] => state,
        [one] => format!("{state}: {}{compared}", reason(one)),
        many => {
            let lines: Vec<String> = many.iter().map(|one| format!("\n  {}", reason(one))).collect();
            format!("{state}{compared}:{}", lines.concat())
        }
    }
}

fn reason(reason: &Reason, called: &dyn Fn(&str) -> String) -> String {
    match reason {
        Reason::NeverRan => "nothing of this stage was computed in this store yet".into(),
        Reason::Hit { key, .. } => format!("its outputs are in the store (key {})", key.short()),
        Reason::Parameter { name, old: Value::Null, new } => format!("parameter `{name}` was not set, is now {new}"),
        Reason::Parameter { name, old, new: Value::Null } => format!("parameter `{name}` was {old}, is no longer set"),
        Reason::Parameter { name, old, new } => format!("parameter `{name}` was {old}, is now {new}"),
        Reason::Input { name, from, old, new } => {
            let from = if from.is_empty() { String::new() } else { format!(" from {}", called(from)) };
            match (old, new) {
                (None, Some(new)) => format!("input `{name}`{from} is new: {}", new.short()),
                (Some(old), None) => format!("input `{name}` is gone, was {}", old.short()),
                (old, new) => {
                    format!("input `{name}`{from} changed: {} -> {}", short(old.as_ref()), short(new.as_ref()))
                }
            }
        }
        Reason::Version { old, new } => format!("the stage itself changed: version {old} -> {new}"),
        Reason::OutputsGone => {
            "nothing changed, but its outputs are not in the store: it never ended, or they were removed".into()
        }
        Reason::WaitsFor { nodes } => {
            let nodes: Vec<String> = nodes.iter().map(|node| called(node)).collect();
            format!("it waits for {}", nodes.join(", "))
        }
    }
}

fn short(digest: Option<&Digest>) -> String {
    digest.map_or("nothing".into(), Digest::short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn explanation(state: State, reasons: Vec<Reason>) -> Explanation {
        let compared_with = Some("run 20260102T030405Z-1a2b3c4d".into());
        let node = "score[privacy]".to_owned();
        Explanation { name: node.clone(), node, state, key: None, compared_with, reasons }
    }

    fn told(explanation: &Explanation) -> String {
        words(explanation, &str::to_owned)
    }

    #[test]
    fn one_reason_is_one_sentence() {
        let cap = Reason::Parameter { name: "cap".into(), old: json!(0.001), new: json!(0.002) };
        insta::assert_snapshot!(told(&explanation(State::Miss, vec![cap])), @"score[privacy] has to run: parameter `cap` was 0.001, is now 0.002 (compared with run 20260102T030405Z-1a2b3c4d)");
        let hit = Reason::Hit { key: Digest::of(b"k"), seconds: 41.23, backend: "cpu".into(), host: "box".into() };
        insta::assert_snapshot!(told(&explanation(State::Hit, vec![hit])), @"score[privacy] is in the store, computed in 41.2 s on cpu at box (key 5cbcb0ce)");
        insta::assert_snapshot!(told(&explanation(State::Partial, vec![Reason::OutputsGone])), @"score[privacy] was begun, and goes on where it was");
        let waits = Reason::WaitsFor { nodes: vec!["select".into()] };
        insta::assert_snapshot!(told(&explanation(State::Miss, vec![waits])), @"score[privacy] waits for select");
    }

    #[test]
    fn more_reasons_are_a_list() {
        let (old, new) = (Some(Digest::of(b"old")), Some(Digest::of(b"new")));
        let reasons = vec![
            Reason::WaitsFor { nodes: vec!["model".into()] },
            Reason::Version { old: 1, new: 2 },
            Reason::Parameter { name: "keep".into(), old: json!(null), new: json!("full") },
            Reason::Input { name: "tokens".into(), from: "tokenize[privacy]".into(), old, new },
            Reason::Input { name: "template".into(), from: String::new(), old, new: None },
        ];
        insta::assert_snapshot!(told(&explanation(State::Miss, reasons)), @r#"
        score[privacy] waits for model (compared with run 20260102T030405Z-1a2b3c4d):
          the stage itself changed: version 1 -> 2
          parameter `keep` was not set, is now "full"
          input `tokens` from tokenize[privacy] changed: 96a42572 -> b20ab0a0
          input `template` is gone, was 96a42572
        "#);
    }
}
