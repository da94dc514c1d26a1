//! What an endpoint answered: the reply's text, and how likely the words of a verdict were in its place.
//!
//! Must not know: how it was asked.

use serde::Deserialize;

use crate::judge::Completion;
use crate::judge::form::Form;
use crate::model::text::thoughts::split;

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<Place>>,
}

#[derive(Deserialize)]
struct Place {
    token: String,
    #[serde(default)]
    top_logprobs: Vec<Likely>,
}

#[derive(Deserialize)]
struct Likely {
    token: String,
    logprob: f64,
}

/// A completion, or why there is none in these words.
pub fn read(text: &str, form: &Form) -> Result<Completion, String> {
    let answer: Answer = serde_json::from_str(text).map_err(|_| "it answers with something else than a completion")?;
    let choice = answer.choices.into_iter().next().ok_or("it answers with no choice")?;
    let raw = choice.message.content.unwrap_or_default();
    let text = split(None, &raw, &[]).answer;
    let places = choice.logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
    // Before a thought's end no place is that of the verdict, and tokens do not tell where it ends.
    let places = if text.trim() == raw.trim() { places } else { Vec::new() };
    Ok(Completion { text, raw, candidate_probabilities: probabilities(&places, form) })
}

/// One for each candidate, or none where the place is not there.
fn probabilities(places: &[Place], form: &Form) -> Vec<f64> {
    let mut before = String::new();
    let mut found = None;
    for place in places {
        let said = before.trim();
        let here = if form.after.is_empty() { said.is_empty() } else { said.ends_with(form.after) };
        if here {
            found = Some(place);
        } else if found.is_some() {
            break;
        }
        before.push_str(&place.token);
    }
    let Some(place) = found else { return Vec::new() };
    let likely = |candidate: &str| -> f64 {
        let begins = |likely: &&Likely| {
            let token = likely.token.trim();
            !token.is_empty() && candidate.trim().starts_with(token)
        };
        place.top_logprobs.iter().filter(begins).map(|likely| likely.logprob.exp()).sum()
    };
    form.candidates.iter().map(|candidate| likely(candidate.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::JUDGES;

    fn form(name: &str) -> &'static Form {
        JUDGES.iter().find(|entry| entry.name == name).and_then(|entry| entry.form).unwrap()
    }

    fn place(token: &str, top: &[(&str, f64)]) -> serde_json::Value {
        let top: Vec<_> =
            top.iter().map(|(token, p)| serde_json::json!({ "token": token, "logprob": p.ln() })).collect();
        serde_json::json!({ "token": token, "logprob": 0.0, "top_logprobs": top })
    }

    fn answer(content: &str, places: &[serde_json::Value]) -> String {
        let choice = serde_json::json!({ "message": { "content": content }, "logprobs": { "content": places } });
        serde_json::json!({ "choices": [choice] }).to_string()
    }

    #[test]
    fn the_words_of_a_verdict_are_found_in_their_place() {
        let first = place("unsafe", &[("unsafe", 0.5), ("Unsafe", 0.1), ("safe", 0.2), ("O", 0.1)]);
        let said = read(&answer("unsafe\nO5", &[first, place("\nO5", &[("safe", 1.0)])]), form("md-judge")).unwrap();
        assert_eq!(said.text, "unsafe\nO5");
        let score = form("md-judge").score(&said.candidate_probabilities).unwrap();
        assert!((score - 0.6 / 0.8).abs() < 1e-12, "{score}");
        let places = [
            place("Safety", &[("Safety", 1.0)]),
            place(":", &[(":", 1.0)]),
            place(" Contro", &[(" Contro", 0.6), (" Un", 0.4)]),
            place("versial", &[("versial", 1.0)]),
        ];
        let said = read(&answer("Safety: Controversial", &places), form("qwen3guard")).unwrap();
        let score = form("qwen3guard").score(&said.candidate_probabilities).unwrap();
        assert!((score - 0.7).abs() < 1e-12, "{score}");
    }

    #[test]
    fn log_probabilities_may_be_missing_and_thoughts_come_apart() {
        let said = read(r#"{"choices": [{"message": {"content": "safe"}}]}"#, form("md-judge")).unwrap();
        assert_eq!((said.text.as_str(), said.candidate_probabilities.len()), ("safe", 0));
        let text = answer("<think>unsafe?</think>safe", &[place("<think>", &[("safe", 1.0)])]);
        let said = read(&text, form("md-judge")).unwrap();
        assert_eq!((said.text.as_str(), said.candidate_probabilities.len()), ("safe", 0));
        let said =
            read(r#"{"choices": [{"message": {"content": null}, "logprobs": null}]}"#, form("md-judge")).unwrap();
        assert_eq!(said.raw, "");
    }

    #[test]
    fn what_is_no_completion_says_so() {
        for text in ["", "<html>", "{}", r#"{"choices": [{}]}"#, "[]"] {
            assert_eq!(read(text, form("md-judge")).unwrap_err(), "it answers with something else than a completion");
        }
        assert_eq!(read(r#"{"choices": []}"#, form("md-judge")).unwrap_err(), "it answers with no choice");
    }
}
