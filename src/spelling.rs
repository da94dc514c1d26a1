//! Words that were typed against words that are known: the nearest one, and lists for messages.
//!
//! Must not know: whose words they are.

/// The candidate that `typed` is most likely a slip of, if one is near enough: a third of its letters may be wrong, and
/// capitals do not count.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &str| (candidate.chars().count() / 3).max(1);
    let measured = candidates.into_iter().map(|candidate| (distance(typed, candidate), candidate));
    let slips = measured.filter(|(distance, candidate)| *distance <= near(candidate));
    slips.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// How many slips lie between two words: letters that are wrong, missing, too many, or swapped with their neighbour.
pub fn distance(one: &str, other: &str) -> usize {
    strsim::damerau_levenshtein(&one.to_lowercase(), &other.to_lowercase())
}

/// "; did you mean `x`?", or nothing.
pub fn did_you_mean<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, candidates).map_or(String::new(), |candidate| format!("; did you mean `{candidate}`?"))
}

/// `"a", "b" or "c"`.
pub fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let keys = ["path", "prompt", "response", "samples", "seed"];
        assert_eq!(nearest("sampels", keys), Some("samples"));
        assert_eq!(nearest("sample", keys), Some("samples"));
        assert_eq!(nearest("sed", keys), Some("seed"));
        assert_eq!(nearest("Prompt", keys), Some("prompt"));
        assert_eq!(nearest("window", keys), None);
        assert_eq!(did_you_mean("pormpt", keys), "; did you mean `prompt`?");
        assert_eq!(did_you_mean("window", keys), "");
    }

    #[test]
    fn words_are_listed_as_a_person_would() {
        assert_eq!(one_of(&["a", "b", "c"]), r#""a", "b" or "c""#);
        assert_eq!((one_of(&["a"]), one_of(&[])), ("\"a\"".into(), String::new()));
    }
}
