//! What others wrote never reaches the terminal as something that it obeys, whatever prints it: not from data, answers,
//! names, settings or templates, and not in errors about them.
//!
//! Must not know: where it is made harmless.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::Project;

/// Turns text red, clears the screen, sets the title, goes back, and turns the direction of what follows.
const EVIL: &str = "\u{1b}[31m\u{1b}[2J\u{1b}]0;owned\u{7}\u{8}\r\u{9b}1m\u{202e}\u{2066}\u{7f}";
/// What is left of it for a person, in whatever way the rest is written.
const SHOWN: &str = "[31m";

fn obeyed(text: &str) -> Option<char> {
    let controls = |char: char| char.is_control() && !matches!(char, '\n' | '\t');
    text.chars().find(|char| controls(*char) || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// Runs the program and returns its exit code and both of its outputs, none of which a terminal obeys.
fn harmless(project: &Project, arguments: &[&str]) -> (Option<i32>, String) {
    let output = project.dean(arguments).env("DEAN_LOG", "debug").stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    for said in &said {
        assert_eq!(obeyed(said), None, "{arguments:?}: {said:?}");
    }
    (output.status.code(), said.concat())
}

/// As [`harmless`], of a project that was spoiled: the command is refused and the text is shown.
fn refused(spoil: impl Fn(&Project), arguments: &[&str]) {
    let project = Project::new();
    spoil(&project);
    let (code, said) = harmless(&project, arguments);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(SHOWN), "{arguments:?} does not show it: {said}");
}

#[test]
fn errors_show_what_others_wrote() {
    let escaped = serde_json::to_string(EVIL).unwrap();
    let in_toml = escaped.replace("\\b", "\\u0008").replace("\\r", "\\u000d").replace('\u{7f}', "\\u007f");
    refused(|project| project.configure("model_type", json!(EVIL)), &["run"]);
    refused(|project| project.configure("rope_scaling", json!({ "rope_type": EVIL })), &["run"]);
    refused(|project| project.write("data/fairness.csv", format!("\"{EVIL}\",response\na,b\n")), &["run"]);
    refused(|project| project.edit("[run]", &format!("[run]\n{in_toml} = 1")), &["run"]);
    refused(|project| project.edit("device = \"cpu\"", &format!("device = {in_toml}")), &["run"]);
    refused(|project| project.edit("\"data/text.txt\"", &in_toml), &["run"]);
    refused(|project| project.edit("source = \"model\"", &format!("source = {in_toml}")), &["run"]);
    refused(
        |project| {
            let template = format!("{{{{ raise_exception({escaped}) }}}}");
            project.write("model/chat_template.jinja", template);
        },
        &["run"],
    );
    // The engine does not repeat what it cannot read.
    let project = Project::new();
    project.write("model/chat_template.jinja", format!("{{% {EVIL} %}}"));
    assert_eq!(harmless(&project, &["run"]).0, Some(1));
    refused(|_| (), &["run", "--set", &format!("run.{EVIL}=1")]);
    refused(|_| (), &["run", "--config", EVIL]);
    // clap takes colours out of what it repeats.
    assert_eq!(harmless(&Project::new(), &["run", &format!("--{EVIL}")]).0, Some(1));
    refused(|_| (), &["explain", EVIL]);
}

#[test]
fn answers_and_names_are_shown_in_reports_tables_and_json() {
    let project = Project::new();
    // What a model says is made of its tokens, and every byte is one here; a question is repeated in the answers' table.
    let mut questions = String::from("questions\n");
    (0..130).for_each(|row| questions.push_str(&format!("\"{row} {EVIL}?\"\n")));
    project.write("data/questions.csv", questions);
    let file = project.dir.join("pipeline.toml");
    let text = fs::read_to_string(&file).unwrap().replace("data/text.txt", "data/te\\u001B[31mxt.txt");
    fs::rename(project.dir.join("data/text.txt"), project.dir.join("data/te\u{1b}[31mxt.txt")).unwrap();
    fs::write(file, text).unwrap();
    for arguments in [
        &["plan"][..],
        &["run"],
        &["run", "--json"],
        &["status"],
        &["status", "--json"],
        &["report"],
        &["report", "--json"],
        &["grid"],
        &["explain", "report"],
        &["doctor"],
        &["doctor", "--json"],
        &["cache", "ls"],
        &["cache", "du"],
    ] {
        let (code, said) = harmless(&project, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        if arguments.contains(&"--json") {
            let start = said.find(['{', '[']).unwrap();
            let first = serde_json::Deserializer::from_str(&said[start..]).into_iter::<Value>().next();
            assert!(first.is_some_and(|value| value.is_ok()), "{arguments:?}: {said}");
        }
    }
}
