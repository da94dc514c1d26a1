//! What can be read off an answer without a judge: whether it is empty, cut, repeats itself, or has no words in it, and how often
//! it says cautionary phrases.
//!
//! An inspection sees the text of one answer and whether it was cut. It is the same for every model, language and question set, but
//! for the phrases, of which each set has a list.
//! Each is one file in this folder and one line in [`INSPECTIONS`]. Must not know: tables, models, variants, judges, and what
//! a report says of a measure.

pub mod caution;
mod cut;
mod degenerate;
mod empty;
mod not_words;
mod repeating;
mod words;

/// One answer as it is inspected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inspected<'a> {
    /// The name of the question set.
    pub set: &'a str,
    /// The text that is judged: without thoughts, and without white space around it.
    pub answer: &'a str,
    /// Whether it ends at the limit of new tokens or inside a thought.
    pub is_cut: bool,
    /// The cautionary phrases that are looked for.
    pub phrases: &'a [String],
}

/// One member of the registry.
pub trait Inspection: Sync {
    /// The name of its file, with a blank for an underscore.
    fn name(&self) -> &'static str;

    /// Tells the measures that it takes of an answer, each with its value.
    fn inspect(&self, answer: &Inspected<'_>, tell: &mut dyn FnMut(&str, f64));
}

/// Every inspection. Outcomes of an answer have this order.
pub const INSPECTIONS: &[&dyn Inspection] = &[
    &empty::Empty,
    &cut::Cut,
    &repeating::Repeating,
    &not_words::NotWords,
    &degenerate::Degenerate,
    &caution::Caution,
];

/// The measures of an answer and their values, of all inspections.
pub fn inspect(answer: &Inspected<'_>) -> Vec<(String, f64)> {
    let mut found = Vec::new();
    INSPECTIONS.iter().for_each(|inspection| {
        inspection.inspect(answer, &mut |measure, value| found.push((measure.to_owned(), value)))
    });
    found
}

/// 1 for yes, 0 for no.
fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_inspection_is_one_file_and_one_line() {
        const SHARED: [&str; 2] = ["mod", "words"];
        let files = crate::files::list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inspect")).unwrap();
        let mut files: Vec<String> = files
            .iter()
            .map(|path| path.file_stem().unwrap().to_string_lossy().replace('_', " "))
            .filter(|name| !SHARED.contains(&name.as_str()))
            .collect();
        files.dedup();
        let mut listed: Vec<&str> = INSPECTIONS.iter().map(|inspection| inspection.name()).collect();
        listed.sort_unstable();
        assert_eq!(files, listed);
    }

    #[test]
    fn an_answer_has_each_measure_once_and_yes_is_one() {
        let of = |answer: &str, is_cut| inspect(&Inspected { answer, is_cut, ..Inspected::default() });
        let ones = |answer: &str, is_cut| -> Vec<String> {
            of(answer, is_cut).into_iter().filter(|(_, value)| *value == 1.0).map(|(measure, _)| measure).collect()
        };
        assert_eq!(ones("The capital of France is Paris.", false), [""; 0]);
        assert_eq!(ones("The capital of France is", true), ["cut"]);
        assert_eq!(ones("", true), ["empty", "cut", "degenerate"]);
        assert_eq!(ones(&"so it goes ".repeat(9), false), ["repeating", "degenerate"]);
        assert_eq!(ones(&"javAFLAGS".repeat(9), true), ["cut", "not words", "degenerate"]);
        let mut names: Vec<String> = of("", false).into_iter().map(|(measure, _)| measure).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), of("", false).len());
    }
}
