//! Thoughts apart from answers: the text between `<think>` and `</think>`, and the tags that other models write for it.
//!
//! A thought is not said to whoever asked, so nobody may judge it as if it were the answer. Some chat templates write the
//! opening tag themselves, at the end of the prompt, and the model's text begins inside the thought. Must not know: tokens,
//! prompts' templates, judges.

use crate::choice::choices;

choices! {
    /// Whether a model is asked to think before it answers, by a variable of its own chat template.
    #[derive(Default)]
    Think {
        Off = "off",
        On = "on",
        /// The variable is not set: what the template does by itself.
        #[default]
        Model = "model",
    }
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Everything outside of thoughts, without white space around it.
    pub answer: String,
    /// The thoughts, in their order. None where there is no thought, and empty where it has no word in it.
    pub thought: Option<String>,
    /// Whether the text ends inside a thought.
    pub open: bool,
    /// Whether the answer was cut before a text that ends answers.
    pub stopped: bool,
}

/// The tags around a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    open: &'static str,
    close: &'static str,
}

/// The tags of models that are known. In a vocabulary they may be tokens or text, special or not.
const TAGS: [Tags; 4] = [
    // Qwen3, DeepSeek-R1 and most others
    Tags { open: "<think>", close: "</think>" },
    Tags { open: "<thinking>", close: "</thinking>" },
    Tags { open: "<thought>", close: "</thought>" },
    // Magistral
    Tags { open: "[THINK]", close: "[/THINK]" },
];

/// What stands between the parts of an answer that has several, and between thoughts.
const BETWEEN: &str = "\n\n";

/// Whether a text is one of the tags.
pub fn is_tag(text: &str) -> bool {
    TAGS.iter().any(|tags| [tags.open, tags.close].contains(&text.trim()))
}

/// The tags of the thought in which a text after this prompt begins: the prompt ends with an opening tag.
pub fn opened_by(prompt: &str) -> Option<Tags> {
    TAGS.into_iter().find(|tags| prompt.trim_end().ends_with(tags.open))
}

/// Whether a text begins with a thought, or may still turn out to, since so far it is the beginning of a tag.
pub fn may_begin(text: &str) -> bool {
    let text = text.trim_start();
    TAGS.iter().any(|tags| text.starts_with(tags.open) || tags.open.starts_with(text))
}

/// Takes a text apart that begins `inside` a thought or outside. An answer ends before the first of the texts `stops` in it.
/// Inside of thoughts they mean nothing.
///
/// The first closing tag ends a thought, because models are trained on thoughts that do not nest. A closing tag that nothing
/// opened ends one too: the opening tag stood in a prompt that is not known, or it is the outer one of two. What comes
/// before it then belongs to the thought.
pub fn split(mut inside: Option<Tags>, text: &str, stops: &[String]) -> Said {
    let (mut answers, mut thoughts): (Vec<&str>, Option<Vec<&str>>) = (Vec::new(), None);
    let (mut rest, mut stopped) = (text, false);
    loop {
        if let Some(tags) = inside {
            let (thought, after) =
                rest.split_once(tags.close).map_or((rest, None), |(in_it, after)| (in_it, Some(after)));
            thoughts.get_or_insert_default().push(thought);
            let Some(after) = after else { break };
            // What separates a thought from its answer is no part of either.
            (rest, inside) = (after.trim_start(), None);
            continue;
        }
        let tag = next(rest);
        if let Some((at, tags, false)) = tag {
            thoughts.get_or_insert_default().push(&rest[..at]);
            rest = rest[at + tags.close.len()..].trim_start();
            continue;
        }
        let part = tag.map_or(rest, |(at, ..)| &rest[..at]);
        let end = stops.iter().filter_map(|stop| part.find(stop.as_str())).min();
        answers.push(&part[..end.unwrap_or(part.len())]);
        stopped = end.is_some();
        let Some((at, tags, _)) = tag.filter(|_| !stopped) else { break };
        (rest, inside) = (&rest[at + tags.open.len()..], Some(tags));
    }
    Said { answer: joined(&answers), thought: thoughts.map(|parts| joined(&parts)), open: inside.is_some(), stopped }
}

/// The first tag of a text: where it begins, which it is, and whether it opens.
fn next(text: &str) -> Option<(usize, Tags, bool)> {
    let find = |tags: Tags| {
        let (open, close) = (text.find(tags.open), text.find(tags.close));
        [open.map(|at| (at, tags, true)), close.map(|at| (at, tags, false))]
    };
    TAGS.into_iter().flat_map(find).flatten().min_by_key(|(at, ..)| *at)
}

fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
    parts.join(BETWEEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(prompt: &str, text: &str) -> (String, Option<String>, bool) {
        let Said { answer, thought, open, stopped } = split(opened_by(prompt), text, &[]);
        assert!(!stopped);
        (answer, thought, open)
    }

    fn closed(answer: &str, thought: &str) -> (String, Option<String>, bool) {
        (answer.into(), Some(thought.into()), false)
    }

    fn unfinished(answer: &str, thought: &str) -> (String, Option<String>, bool) {
        (answer.into(), Some(thought.into()), true)
    }

    #[test]
    fn an_answer_is_what_stands_outside_of_thoughts() {
        assert_eq!(said("", " Sure. \n"), ("Sure.".into(), None, false));
        assert_eq!(said("", "<think>\nNo?\n</think>\n\nSure."), closed("Sure.", "No?"));
        assert_eq!(said("", "<think>\n\n</think>\n\nSure."), closed("Sure.", ""), "an empty thought is one");
        assert_eq!(said("", "[THINK]No?[/THINK]Sure."), closed("Sure.", "No?"));
        assert_eq!(said("", "<think>a</think>One.<think>b</think> Two."), closed("One.\n\nTwo.", "a\n\nb"));
        assert_eq!(said("", "Well. <think>a</think>"), closed("Well.", "a"));
    }

    #[test]
    fn a_thought_that_is_never_closed_leaves_no_answer() {
        assert_eq!(said("", "<think>Sure, but"), unfinished("", "Sure, but"));
        assert_eq!(said("", "<think>"), unfinished("", ""));
        assert_eq!(said("…<think>\n", ""), unfinished("", ""));
        assert_eq!(said("", "<think>a</think><think>b"), unfinished("", "a\n\nb"));
        assert_eq!(said("", "<think>a</thi"), unfinished("", "a</thi"));
        assert_eq!(said("", "[THINK]a</think>b"), unfinished("", "a</think>b"), "the other tag does not close it");
    }

    #[test]
    fn prompts_may_open_a_thought() {
        let prompt = "<｜Assistant｜><think>\n";
        assert!(opened_by(prompt).is_some());
        assert_eq!(said(prompt, "No?\n</think>\n\nSure."), closed("Sure.", "No?"));
        assert_eq!(said(prompt, "Sure."), unfinished("", "Sure."));
        assert_eq!(said(prompt, "<think>No?</think>Sure."), closed("Sure.", "<think>No?"));
        assert_eq!([opened_by("<think>\n\n</think>\n\n"), opened_by("What is <think> for?")], [None; 2]);
        assert_eq!(said("", "No?\n</think>\n\nSure."), closed("Sure.", "No?"), "the prompt is not known");
    }

    #[test]
    fn tags_inside_a_thought_do_not_nest() {
        assert_eq!(said("", "<think>The tag <think> is odd.</think>Sure."), closed("Sure.", "The tag <think> is odd."));
        assert_eq!(said("", "<think>a <think>b</think> c</think>Sure."), closed("Sure.", "a <think>b\n\nc"));
    }

    #[test]
    fn a_text_begins_with_a_thought_or_may() {
        for text in ["", " \n", "<", "<thi", "\n<think>", "<thinking>x", "[THI"] {
            assert!(may_begin(text), "{text:?}");
        }
        for text in ["safe", "<b>", "a <think>", "[INST]"] {
            assert!(!may_begin(text), "{text:?}");
        }
        assert!(is_tag("</think>") && is_tag("[THINK]") && !is_tag("think"));
    }

    #[test]
    fn texts_that_end_answers_end_them_outside_of_thoughts() {
        let cut = |text: &str, stops: &[&str]| {
            let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
            let Said { answer, open, stopped, .. } = split(None, text, &stops);
            (answer, open, stopped)
        };
        assert_eq!(cut("Sure.\n\nUser: more", &["\n\nUser:"]), ("Sure.".into(), false, true));
        assert_eq!(cut("a b c", &["c", "b"]), ("a".into(), false, true), "the first in the text, not in the list");
        assert_eq!(cut("Sure.", &["User:"]), ("Sure.".into(), false, false));
        assert_eq!(cut("<think>a\n\nb</think>\n\nSure.\n\nx", &["\n\n"]), ("Sure.".into(), false, true));
        assert_eq!(cut("<think>a\n\nb", &["\n\n"]), (String::new(), true, false));
        assert_eq!(cut("é\u{fffd}User:", &["User:"]), ("é\u{fffd}".into(), false, true));
        assert_eq!(cut("Sure.User:<think>", &["User:"]), ("Sure.".into(), false, true));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_closed_thought_is_left(text in r"(<think>|</think>|[a-z]|é| |\n){0,12}", open: bool) {
            let said = split(opened_by(if open { "<think>" } else { "" }), &text, &[]);
            prop_assert!(!said.answer.contains("</think>") && !said.answer.contains("<think>"));
            let bare = |text: &str| text.replace("<think>", "").replace("</think>", "").split_whitespace().collect::<String>();
            let mut kept: Vec<char> = (bare(&said.answer) + &bare(said.thought.as_deref().unwrap_or_default())).chars().collect();
            let mut all: Vec<char> = bare(&text).chars().collect();
            kept.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(kept, all);
        }
    }
}
