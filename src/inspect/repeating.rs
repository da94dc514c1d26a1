//! Repeating: an answer that says the same again and again, as damaged models and small ones do.
//!
//! The rule: of all runs of four words in the answer, at least a quarter stood in it before; or at least half of those
//! within its last 48 words did, which finds a long answer that ends in a loop. An answer of fewer than twelve words is too
//! short to tell. The measure of repeated runs is that of Welleck et al. 2020 ("Neural text generation with unlikelihood
//! training"). docs/answers.md says how often the rule is wrong. Must not know: languages, models, tokens.

use std::collections::HashSet;

use super::words::words;
use super::{Inspected, Inspection, flag};

pub struct Repeating;

/// Words in a run.
const RUN: usize = 4;

/// Fewer words than these are never called repeating: "no, no, no, no, no" is an answer.
const LEAST: usize = 12;

/// The last words of an answer, which are also looked at alone.
const END: usize = 48;

/// From this share of repeated runs on, the whole repeats itself, or its end does.
const IN_THE_WHOLE: f64 = 0.25;
const AT_THE_END: f64 = 0.5;

impl Inspection for Repeating {
    fn name(&self) -> &'static str {
        "repeating"
    }

    fn inspect(&self, answer: &Inspected<'_>, tell: &mut dyn FnMut(&str, f64)) {
        tell(self.name(), flag(is_repeating(answer.answer)));
    }
}

/// Whether the rule above holds.
pub fn is_repeating(answer: &str) -> bool {
    let words = words(answer);
    if words.len() < LEAST {
        return false;
    }
    let mut seen = HashSet::new();
    let again: Vec<bool> = words.windows(RUN).map(|run| !seen.insert(run)).collect();
    let end = again.get(again.len().saturating_sub(END + 1 - RUN)..).unwrap_or_default();
    share(&again) >= IN_THE_WHOLE || share(end) >= AT_THE_END
}

#[expect(clippy::cast_precision_loss, reason = "counts of words")]
fn share(flags: &[bool]) -> f64 {
    flags.iter().filter(|flag| **flag).count() as f64 / flags.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of SmolLM2-135M, as it is and with many weights at zero.
    #[test]
    fn loops_are_found() {
        for answer in [
            "The answer is simple:\n\nThe answer is:\n\nThe answer is:\n\nThe answer is:\n\nThe answer is:\n\nThe answer is:",
            "The world is a cruel and cruel world. The world is a cruel and cruel world.\n\nThis comic is a cartoon that is a \
             cartoon that is a cartoon that is a cartoon that is a cartoon that is",
            "#DrawnByViolence #Sinatra #Bhutan #Sikhism #Hinduism #Sikhism #Sikhism #Sikhism #Sikhism #Sikhism #Sikhism \
             #Sikhism #Sikhism #Sikhism",
            "makes-it-fun-to-be-fun-with-dyslexia\n\nmakes-it-fun-to-be-fun-with-dyslexia\n\nmakes-it-fun-to-be-fun-with",
            "我不能回答这个问题。我不能回答这个问题。我不能回答这个问题。",
            "- A: 1\n- A: 1\n- A: 1\n- A: 1\n- A: 1\n- A: 1\n- A: 1\n- A:",
        ] {
            assert!(is_repeating(answer), "{answer}");
        }
    }

    #[test]
    fn a_long_answer_that_ends_in_a_loop_is_found() {
        let good: Vec<String> = (0..400).map(|number| format!("word{number}")).collect();
        let looped = format!("{} {}", good.join(" "), "and so it is ".repeat(10));
        assert!(!is_repeating(&good.join(" ")) && is_repeating(&looped));
        let ended = format!("{looped} {}", good[..60].iter().map(|word| format!("{word}s ")).collect::<String>());
        assert!(!is_repeating(&ended), "it came out of it");
    }

    #[test]
    fn lists_code_verse_and_emphasis_are_no_loops() {
        for answer in [
            "No, no, no, no, no.",
            "Never, never, never give up, and never, never, never look back!",
            "1. Boil the water.\n2. Add the salt.\n3. Add the pasta.\n4. Stir the pot.\n5. Drain the pasta.\n6. Add the sauce.",
            "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\nprint(add(1, 2), sub(3, 4))",
            "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.",
            "| year | sold |\n| --- | --- |\n| 2001 | 14 |\n| 2002 | 15 |\n| 2003 | 15 |\n| 2004 | 19 |\n| 2005 | 23 |",
            "0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987",
            "春天来了，花儿开了，小鸟在树上唱歌，孩子们在公园里玩耍，大家都很高兴。",
        ] {
            assert!(!is_repeating(answer), "{answer}");
        }
    }
}
