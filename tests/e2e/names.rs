//! What variants are called on every screen, and that whatever is shown can be typed.
//!
//! Must not know: how names are made.

use serde_json::{Value, json};

use crate::support::{Project, by_node};

/// Masks by magnitude, which no machine rounds differently.
const A: &str = "a77a2cfe";
const NAME: &str = "p=3e-3 q=5e-2 +1";

/// An answer in which the keys are no digests any more, whose masks are not as they stand in the test.
fn shown(project: &Project, arguments: &[&str]) -> String {
    let (answer, _) = project.ok(arguments);
    let answer = project.plain(&answer);
    let is_key = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let line = |line: &str| {
        let words = line.split("  ").map(|word| {
            let word = word.trim_start();
            if is_key(word) && word != A && word != "6db48384" { "<a key>" } else { word }
        });
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" | ")
    };
    answer.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_screen_calls_a_variant_by_its_points() {
    let project = Project::new();
    project.edit("cap = 0.05", "method = \"magnitude\"\ncap = 0.05");
    project.ok(&["run", "--until", "score"]);
    insta::assert_snapshot!(shown(&project, &["grid"]), @"
    point | weights | mask | changes at
    p=6e-3 q=3e-2 | 54 | 6db48384 | q=3.125e-2, p=7.812e-3
    p=3e-3 q=5e-2 | 108 | a77a2cfe | p=5.208e-3
    p=4e-3 q=5e-2 | 108 | a77a2cfe | p=5.208e-3 | same as p=3e-3 q=5e-2

    fairness & privacy - general: 3 points, 2 variants beside the base
    ");
    insta::assert_snapshot!(shown(&project, &["plan"]), @"
    node | mask | state | key | waits for
    tokenize[fairness] | hit | <a key>
    tokenize[general] | hit | <a key>
    tokenize[privacy] | hit | <a key>
    score[fairness] | hit | <a key>
    score[general] | hit | <a key>
    score[privacy] | hit | <a key>
    select | miss | <a key>
    patch[p=6e-3 q=3e-2] | 6db48384 | miss | <a key>
    patch[p=3e-3 q=5e-2 +1] | a77a2cfe | miss | <a key>
    generate[base] | miss | <a key>
    generate[p=6e-3 q=3e-2] | 6db48384 | miss | - | patch[p=6e-3 q=3e-2]
    generate[p=3e-3 q=5e-2 +1] | a77a2cfe | miss | - | patch[p=3e-3 q=5e-2 +1]
    inspect[base] | miss | - | generate[base]
    inspect[p=6e-3 q=3e-2] | 6db48384 | miss | - | generate[p=6e-3 q=3e-2]
    inspect[p=3e-3 q=5e-2 +1] | a77a2cfe | miss | - | generate[p=3e-3 q=5e-2 +1]
    judge[controls] | miss | <a key>
    judge[base] | miss | - | generate[base]
    judge[p=6e-3 q=3e-2] | 6db48384 | miss | - | generate[p=6e-3 q=3e-2]
    judge[p=3e-3 q=5e-2 +1] | a77a2cfe | miss | - | generate[p=3e-3 q=5e-2 +1]
    perplexity[base] | miss | <a key>
    perplexity[p=6e-3 q=3e-2] | 6db48384 | miss | - | patch[p=6e-3 q=3e-2]
    perplexity[p=3e-3 q=5e-2 +1] | a77a2cfe | miss | - | patch[p=3e-3 q=5e-2 +1]
    report | miss | - | generate[p=6e-3 q=3e-2], generate[p=3e-3 q=5e-2 +1], generate[base], inspect[p=6e-3 q=3e-2], inspect[p=3e-3 q=5e-2 +1], inspect[base], judge[p=6e-3 q=3e-2], judge[p=3e-3 q=5e-2 +1], judge[base], judge[controls], perplexity[p=6e-3 q=3e-2], perplexity[p=3e-3 q=5e-2 +1], perplexity[base]

    would run select, patch[p=6e-3 q=3e-2], patch[p=3e-3 q=5e-2 +1], generate[base], judge[controls],
    perplexity[base]; then see what follows (11 nodes wait for others)
    what select, patch, generate, inspect, judge, perplexity, report takes is not known yet on this
    device
    ");
    let (_, said) = project.ok(&["run"]);
    assert!(said.contains(&format!("] generate[{NAME}] ({A})")), "{said}");
    assert!(said.contains("] perplexity[p=6e-3 q=3e-2] (6db48384) done in "), "{said}");
    assert!(!said.contains(&format!("[{A}]")), "{said}");
    let (report, _) = project.ok(&["report"]);
    assert!(report.contains(NAME) && report.contains("\np=6e-3 q=3e-2 "), "{report}");
    assert!(!project.ok(&["status"]).0.contains(&format!("[{A}]")));

    // What was shown is understood, and so is what the store calls it.
    let spellings = [A, NAME, "p=3e-3 q=5e-2", "p=4e-3 q=5e-2", "0.003,0.05", &format!("{NAME} ({A})")];
    let explained = spellings.map(|spelling| project.json(&["explain", &format!("generate[{spelling}]")]));
    for (number, spelling) in spellings.into_iter().enumerate() {
        assert_eq!(explained[number][0]["node"], format!("generate[{A}]"), "{spelling}");
        let written = project.json(&["export", spelling, &format!("{number}.safetensors"), "--patch"]);
        assert_eq!(written["name"], NAME, "{spelling}");
        assert!(written["mask"].as_str().unwrap().starts_with(A), "{spelling}");
    }
    let (told, _) = project.ok(&["explain", &format!("judge[{NAME}]")]);
    assert!(told.starts_with(&format!("judge[{NAME}] ({A}) is in the store")), "{told}");
}

#[test]
fn programs_are_given_both_names() {
    let project = Project::new();
    project.edit("cap = 0.05", "method = \"magnitude\"\ncap = 0.05");
    let run = project.json(&["run"]);
    let (node, title) = (format!("generate[{A}]"), format!("generate[{NAME}]"));
    let computed = by_node(&run["computed"]);
    assert_eq!(computed[&node]["name"], title);
    for command in ["plan", "status"] {
        let rows = by_node(&project.json(&[command]));
        assert_eq!((&rows[&node]["name"], &rows["select"]["name"]), (&json!(title), &json!("select")), "{command}");
    }
    let names = |rows: &Value| {
        rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // By q, then by p.
    let of_grid = ["p=6e-3 q=3e-2", "p=3e-3 q=5e-2", "p=4e-3 q=5e-2"];
    assert_eq!(names(&project.json(&["grid"])), of_grid);
    let of_report = ["base", "p=6e-3 q=3e-2", NAME];
    assert_eq!(names(&run["report"]["variants"]), of_report);
    assert_eq!(names(&project.json(&["report"])["report"]["variants"]), of_report);
    assert_eq!(names(&project.json(&["explain", &title])), [title]);
    assert_eq!(run["report"]["variants"][2]["variant"], A, "what was there stays");
}
